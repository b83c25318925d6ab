"""Layer monitoring: drift, post-race evaluation, retrain decision."""

from __future__ import annotations

import dagster as dg


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return []
