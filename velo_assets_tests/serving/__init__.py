"""Tests of serving: bundles, predictions, the log, the card page."""
