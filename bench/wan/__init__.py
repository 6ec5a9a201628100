"""One TCP flow over a long way with loss (tests/wan): what a person far from home gets."""
