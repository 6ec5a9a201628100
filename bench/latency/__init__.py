"""`./dev bench latency`: how long one has to wait, alone and beside a bulk transfer, here and over a long line."""
