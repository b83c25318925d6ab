"""Measured claims: `python -m benchmarks` prints each beside its yardstick."""
