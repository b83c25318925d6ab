"""Freshness: how old each table may become before the UI shows it as late.

Belongs here: the policies, and which assets they hold for. Does not belong here: when runs start (schedules, sensors).
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from velo_assets.settings import LAYERS

NIGHTLY_WARN = timedelta(hours=27)
"""From one 02:00 to the next, the hour that autumn adds, and two for the run itself."""

NIGHTLY_FAIL = timedelta(hours=36)
"""By the afternoon after a missed night the cards are wrong, and someone has to look."""

WEEKLY_WARN, WEEKLY_FAIL = timedelta(days=7, hours=4), timedelta(days=8)

_TRAINED_LAYERS = ("models", "backtest")
"""Rebuilt by the nightly too, but a model is old by the gate's judgement, not by the clock."""


def with_freshness(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The asset with the policy of its layer."""
    return asset.map_asset_specs(_with_policy)


def _with_policy(spec: dg.AssetSpec) -> dg.AssetSpec:
    layer = spec.key.path[0]
    if layer not in LAYERS or layer in _TRAINED_LAYERS or spec.key.path[-1] == "recipe":
        return spec
    warn, fail = (WEEKLY_WARN, WEEKLY_FAIL) if spec.key.path[-1] == "weekly_report" else (NIGHTLY_WARN, NIGHTLY_FAIL)
    policy = dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)
    dressed: dg.AssetSpec = dg.apply_freshness_policy(spec, policy)
    return dressed
