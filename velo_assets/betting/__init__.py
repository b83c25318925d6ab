"""Settlement, staking, execution, strategies, metrics. No Dagster."""
