"""Layer features: one SQL file per family, and the matrix with its Parquet export."""

from __future__ import annotations

from typing import Any

import dagster as dg
import duckdb

from velo_assets.assets.sql_tables import AfterBuild, sql_assets
from velo_assets.code_versions import code_version
from velo_assets.partitions import Window
from velo_assets.settings import DataRoot

EXPORT_CODE = code_version("assets/features", "warehouse/export")


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return sql_assets("features", after_build={"features/runner_features": AfterBuild(EXPORT_CODE, _export)})


def _export(connection: duckdb.DuckDBPyConnection, root: DataRoot, window: Window) -> dict[str, Any]:
    from velo_assets.warehouse.export import export_matrix

    files = export_matrix(connection, root.exports, window.years)
    return {"exports": dg.MetadataValue.json([str(file) for file in files])}
