"""`./dev bench connections`: how many new TCP flows per second pass, beside wireguard-go in the same run."""
