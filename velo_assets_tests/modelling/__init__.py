"""Tests of velo_assets.modelling."""
