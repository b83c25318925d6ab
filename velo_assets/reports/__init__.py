"""HTML templates and plots. No Dagster."""
