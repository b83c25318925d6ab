"""Dagster assets, one thin module per layer. No logic lives here."""
