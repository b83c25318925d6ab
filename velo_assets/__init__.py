"""velo_assets: raw race results to point-in-time features, models per odds regime, honest backtests, run by Dagster."""
