"""`./dev bench throughput`: Postern against the bare path and wireguard-go, in the same lab and the same run.

Modules: subjects (what is compared), measure (one transfer), accounting (CPU and memory of processes and machine),
report (medians, ratios, targets, the result file), cli.
"""
