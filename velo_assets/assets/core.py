"""Layer core: races, entries, results, prices and sectionals, one SQL file each."""

from __future__ import annotations

import dagster as dg

from velo_assets.assets.sql_tables import sql_assets
from velo_assets.code_versions import code_version


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer; macros of the sport are part of their code."""
    return sql_assets("core", code_version("racing"))
