"""Benchmarks: ours and its peers side by side in one run, on this machine. `make bench` runs them all."""
