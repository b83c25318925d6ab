"""Predictions for upcoming races: champion and challengers, the log, the card page. No Dagster."""
