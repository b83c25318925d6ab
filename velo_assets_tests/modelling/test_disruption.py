"""Disruption signals, by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from velo_assets.modelling.disruption import HYPE_SIGNALS, fit_disruption
from velo_assets_tests.modelling.worlds import before, world


def test_class_rise_counts_only_after_a_win() -> None:
    frame = pl.DataFrame({"won_last": [1, 1, 0, None], "class_drop": [-2, 1, -2, -2]})
    rise = next(signal for signal in HYPE_SIGNALS if signal.name == "class_rise_after_win")
    assert frame.select(rise.expression).to_series().to_list() == [2, 0, 0, None]


def test_every_hype_signal_is_reported_with_its_error() -> None:
    frame = before(world(700, seed=41), date(2018, 12, 31))
    generator = np.random.default_rng(42)
    names = sorted({column for signal in HYPE_SIGNALS for column in signal.columns()})
    frame = frame.with_columns(pl.Series(name, generator.normal(size=frame.height)) for name in names)
    table = fit_disruption(frame, date(2019, 1, 1)).coefficients()
    assert table.get_column("signal").to_list()[1:] == [signal.name for signal in HYPE_SIGNALS]
    assert table.get_column("standard_error").null_count() == 0
