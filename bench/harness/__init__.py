"""What all benchmarks share: a lab, what is compared in it, one measurement with its cost, and the result file.

Modules: session (a lab for one benchmark), network (offloads and MTU of the lab's links), subjects, wireguard, openvpn
and ours (what is compared), measure (one transfer or one ping-pong), accounting (CPU and memory of processes and
machine), rounds (interleaved measurements), report (medians, ratios, targets, the result file).
"""
