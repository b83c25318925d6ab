"""Pictures of the UI: which side of a limit is good."""

from __future__ import annotations

import numpy as np
import polars as pl

from velo_assets.reports.asset_pictures import bar_colours, bars_png
from velo_assets.reports.plots import GREEN, MUTED, RED


def test_beyond_its_limit_drift_is_red_and_a_return_is_green() -> None:
    lengths, limits = np.array([0.3, 0.1]), np.array([0.2, 0.2])
    assert bar_colours(lengths, limits) == [RED, GREEN]
    returns = np.array([0.3, 0.1, -0.52, -0.05, 0.4])
    luck = np.array([0.2, 0.2, 0.2, -0.10, np.inf])
    # A loss stays one where luck alone would lose more, and what has no luck to beat proves nothing.
    assert bar_colours(returns, luck, beyond_is_good=True) == [GREEN, MUTED, RED, RED, MUTED]


def test_bars_are_drawn() -> None:
    table = pl.DataFrame({"name": ["a", "b", "c"], "roi": [0.1, -0.2, None], "luck": [0.05, None, None]})
    assert bars_png(table, "name", "roi", "luck", beyond_is_good=True).startswith(b"\x89PNG")
