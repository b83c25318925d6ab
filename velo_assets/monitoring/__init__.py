"""Drift, post-race evaluation, triggers for retraining. No Dagster."""
