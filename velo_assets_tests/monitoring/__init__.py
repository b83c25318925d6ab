"""Tests of drift, evaluation and triggers."""
