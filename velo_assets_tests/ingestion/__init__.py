"""Tests of velo_assets.ingestion."""
