"""DuckDB storage: connection with lock wait, SQL table loader, window replace, lineage, leakage lint. No Dagster."""
