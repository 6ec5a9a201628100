"""`./dev bench throughput`: bulk transfers, beside the bare path, wireguard-go and OpenVPN in the same lab and run."""
