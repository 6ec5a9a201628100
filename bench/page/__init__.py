"""`./dev bench page`: docs/benchmarks.md and its plots, from a result file."""
