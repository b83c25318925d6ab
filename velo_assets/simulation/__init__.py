"""A simulated racing world with known truth, written in raceform format. No Dagster."""
