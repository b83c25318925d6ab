"""Fold metrics against the functions they are made of."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling.races import Races
from velo_assets.reports.accuracy import RECIPES, comparable, fold_metrics
from velo_assets.reports.scoreboard import FOLD_KEYS
from velo_assets_tests.betting.frames import random_world, wide


def world(races: int = 2400) -> pl.DataFrame:
    return random_world(races, seed=1, edge=0.3)


def test_folds_and_pooled_have_the_scoreboards_keys() -> None:
    weights = pl.DataFrame(
        {"fold": [2020, 2021], "alpha": [0.1, 0.2], "alpha_se": [0.01] * 2, "beta": [0.9, 0.8], "beta_se": [0.02] * 2}
    )
    folds, pooled = fold_metrics(world(), weights=weights, draws=100)
    assert [fold["year"] for fold in folds] == [2020, 2021]
    assert all(set(fold) == set(FOLD_KEYS) for fold in (*folds, pooled))
    assert (folds[0]["alpha"], pooled["alpha"], pooled["beta"]) == (0.1, 0.2, 0.8)
    assert sum(fold["races"] for fold in folds) == pooled["races"] == 2400
    assert pooled["r2_experts"] is None


def test_numbers_agree_with_their_definitions() -> None:
    frame = world()
    _, pooled = fold_metrics(frame, draws=200)
    races = Races.from_frame(frame)
    market, blend = (
        races.r2(frame.get_column(name).to_numpy()) for name in ("market_probability", "probability_blend")
    )
    assert (pooled["r2_market"], pooled["r2_blend"]) == pytest.approx((market, blend))
    assert pooled["delta_r2"] == pytest.approx(blend - market)
    assert pooled["delta_r2_ci"][0] > 0  # the blend is the truth, the market is blurred
    assert pooled["calibration_slope"] == pytest.approx(1.0, abs=0.06)
    assert 0.3 * pooled["ece_floor"] < pooled["ece"] < 2.0 * pooled["ece_floor"]


def test_races_that_do_not_settle_or_are_not_priced_in_full_are_left_out() -> None:
    frame = wide([[2.0, 2.0], [2.0, 2.0], [2.0, 4.0, 4.0]], [0, None, 1]).with_columns(
        probability_fundamental=pl.Series([0.5, 0.5, 0.5, 0.5, 0.5, None, 0.5])
    )
    assert comparable(frame, "blend").get_column("race_key").unique().to_list() == [1]


def test_a_recipe_that_prices_nothing_is_null_and_demands_nothing() -> None:
    frame = world(600).with_columns(probability_experts=pl.lit(None, pl.Float64))
    _, pooled = fold_metrics(frame, draws=50)
    assert (pooled["races"], pooled["r2_experts"]) == (600, None)
    assert set(RECIPES) >= {"market", "blend"}


def test_no_race_no_number() -> None:
    folds, pooled = fold_metrics(wide([[2.0, 2.0]], [None]), draws=10)
    assert folds == []
    assert (pooled["races"], pooled["r2_market"], pooled["ece"]) == (0, None, None)


def test_a_model_that_never_misses_is_told_to_be_bolder_or_has_no_slope() -> None:
    frame = wide([[2.0, 2.0]] * 40, [0] * 40).with_columns(probability_blend=pl.Series(np.tile([0.9, 0.1], 40)))
    _, pooled = fold_metrics(frame, draws=10)
    slope = pooled["calibration_slope"]
    assert slope is None or slope > 5
