"""Tests of the assets on a small simulated world, built by one real Dagster run."""
