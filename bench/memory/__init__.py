"""`./dev bench memory`: what client and connector hold for flows that say nothing."""
