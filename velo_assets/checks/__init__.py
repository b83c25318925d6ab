"""Dagster asset checks by purpose: contract, leakage, quality."""
