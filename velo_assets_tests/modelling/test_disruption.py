"""Disruption signals and the convergence count, by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling.disruption import HYPE_SIGNALS, convergence, fit_disruption
from velo_assets.modelling.guards import MissingFeatureError
from velo_assets_tests.modelling.worlds import before, world

RACE = pl.DataFrame(
    {
        "race_date": [date(2020, 1, 1)] * 3 + [date(2020, 1, 2)] * 2,
        "race_key": [1, 1, 1, 2, 2],
        "runner_key": [1, 2, 3, 4, 5],
        "market_probability": [0.5, 0.3, 0.2, None, 0.5],
        "fundamental_probability": [0.6, 0.2, 0.2, 0.5, 0.5],
        "tie_offset": [0.2, 0.0, 0.3, 0.0, 0.0],
        "nds_offset": [0.1, -0.4, 0.2, 0.0, 0.0],
    }
)


def test_convergence_by_hand() -> None:
    counted = convergence(RACE)
    assert counted.get_column("sqpe_above").to_list() == [True, False, False, None, False]
    # tie weights .5e^.2, .3, .2e^.3 are .611, .300, .270 of 1.181: .517, .254, .229
    assert counted.get_column("tie_above").to_list()[:3] == [True, False, True]
    assert counted.get_column("nds_above").to_list()[:3] == [True, False, True]
    assert counted.get_column("modules_above").to_list() == [3, 0, 2, None, None]
    assert counted.get_column("two_of_three").to_list() == [True, False, True, None, None]
    assert counted.get_column("three_of_three").to_list() == [True, False, False, None, None]


def test_convergence_needs_its_columns() -> None:
    with pytest.raises(MissingFeatureError, match="nds_offset"):
        convergence(RACE.drop("nds_offset"))


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
