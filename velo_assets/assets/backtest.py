"""Layer backtest: out-of-sample predictions, bets, strategies, reports."""

from __future__ import annotations

import dagster as dg

from velo_assets.assets.sql_tables import sql_assets


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return sql_assets("backtest")
