"""Dagster assets, one thin module per layer. No logic lives here."""

from __future__ import annotations

import dagster as dg


def all_assets() -> list[dg.AssetsDefinition]:
    """Every asset of the house, layer by layer."""
    from velo_assets.assets import backtest, core, features, landing, market, models, monitoring, serving

    return [
        asset
        for layer in (landing, core, features, market, models, backtest, monitoring, serving)
        for asset in layer.assets()
    ]
