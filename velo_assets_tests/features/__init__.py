"""Tests of velo_assets/sql/features: one file per table, values worked by hand."""
