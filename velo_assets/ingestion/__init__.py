"""Source files to landing Parquet: layouts, manifest, rejects. No Dagster."""
