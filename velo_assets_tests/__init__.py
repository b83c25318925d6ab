"""Tests: one module per module of the package, on real DuckDB, real Dagster runs and tiny literal tables."""
