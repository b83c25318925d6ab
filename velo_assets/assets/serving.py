"""Layer serving: predictions for upcoming races and the card pages."""

from __future__ import annotations

import dagster as dg


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return []
