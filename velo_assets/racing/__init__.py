"""The sport: odds, distances, goings, comments, identity, settlement rules. No I/O, no Dagster."""
