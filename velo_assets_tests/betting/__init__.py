"""Tests of settlement, staking, strategies and metrics."""
