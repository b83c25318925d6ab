"""Tests of the simulated racing world."""
