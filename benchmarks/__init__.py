"""How fast it is, beside SQL written by hand on the same server in the same run. `python -m benchmarks`."""
