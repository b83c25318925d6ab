"""Layer features: one SQL file per family, and the matrix with its Parquet export."""

from __future__ import annotations

from typing import Any

import dagster as dg
import duckdb

from velo_assets.assets.sql_tables import sql_assets
from velo_assets.partitions import Window
from velo_assets.settings import DataRoot


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return sql_assets("features", after_build={"features/runner_features": _export})


def _export(connection: duckdb.DuckDBPyConnection, root: DataRoot, window: Window) -> dict[str, Any]:
    from velo_assets.warehouse.export import export_matrix

    files = export_matrix(connection, root.exports, window.years)
    return {"exports": dg.MetadataValue.json([str(file) for file in files])}
