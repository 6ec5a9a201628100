"""`./dev bench all` and `quick`: every verb in its turn, and one result file of them all."""
