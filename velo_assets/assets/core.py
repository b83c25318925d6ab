"""Layer core: races, entries, results, prices and sectionals, one SQL file each."""

from __future__ import annotations

import dagster as dg

from velo_assets.assets.sql_tables import sql_assets
from velo_assets.code_versions import code_version

CORE_CODE = code_version("assets/core", "racing", "ingestion/betfair_sp")
"""Macros of the sport are part of the SQL that calls them."""


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return sql_assets("core", CORE_CODE)
