"""Tests of the SQL tables, on tiny literal files."""
