"""Widening predictions: one row per runner, results joined, baselines by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from velo_assets.betting.predictions import recipes, wide_predictions
from velo_assets.modelling.guards import MissingFeatureError

DAY = date(2024, 5, 1)
RUNNERS = [11, 12, 13]


def long(probability: dict[str, list[float]]) -> pl.DataFrame:
    return pl.concat(
        pl.DataFrame(
            {
                "race_date": [DAY] * 3,
                "race_key": [1] * 3,
                "runner_key": RUNNERS,
                "fold": [2024] * 3,
                "cutoff": [date(2024, 1, 1)] * 3,
                "recipe": [recipe] * 3,
                "probability": values,
            }
        )
        for recipe, values in probability.items()
    )


MARKET = pl.DataFrame(
    {
        "runner_key": RUNNERS * 2,
        "price_kind": ["sp"] * 3 + ["morning"] * 3,
        "decimal_odds": [2.0, 4.0, 4.0, 2.5, 4.0, 3.0],
        "probability": [0.5, 0.25, 0.25, 0.4, 0.25, 0.35],
    }
)
RESULTS = pl.DataFrame(
    {"race_key": [1, 1], "runner_key": [11, 12], "position": [1, 2], "won": [1, 0], "dead_heat_runners": [1, 1]}
)
RACES = pl.DataFrame({"race_key": [1], "course": ["York"], "code": ["flat"], "field_size": [3], "is_handicap": [False]})


def test_one_row_per_runner_with_results_and_names() -> None:
    entries = pl.DataFrame({"runner_key": RUNNERS, "horse": ["A", "B", "C"]})
    frame = wide_predictions(long({"blend": [0.6, 0.2, 0.2]}), MARKET, RESULTS, RACES, entries=entries)
    assert frame.get_column("runner_key").to_list() == RUNNERS
    assert frame.get_column("probability_blend").to_list() == [0.6, 0.2, 0.2]
    assert frame.get_column("horse").to_list() == ["A", "B", "C"]
    assert frame.get_column("win_share").to_list() == [1.0, 0.0, None]  # 13 did not run
    assert frame.get_column("settles").to_list() == [True, True, None]
    assert frame.get_column("race_known").to_list() == [True] * 3
    assert recipes(frame) == ["blend", "market"]


def test_the_decision_price_may_be_another_kind_than_the_closing_price() -> None:
    stored = long({"blend": [0.6, 0.2, 0.2], "market": [0.5, 0.25, 0.25]})
    frame = wide_predictions(stored, MARKET, RESULTS, RACES, decision_price_kind="morning")
    assert frame.get_column("decision_price").to_list() == [2.5, 4.0, 3.0]
    assert frame.get_column("closing_price").to_list() == [2.0, 4.0, 4.0]
    assert frame.get_column("market_probability").to_list() == [0.4, 0.25, 0.35]
    assert frame.get_column("probability_market").to_list() == [0.4, 0.25, 0.35]


def test_the_benter_baseline_is_the_normalised_product() -> None:
    frame = wide_predictions(long({"fundamental": [0.2, 0.4, 0.4]}), MARKET, RESULTS, RACES)
    # .2 * .5, .4 * .25, .4 * .25: each .1
    assert frame.get_column("probability_benter").to_numpy() == pytest.approx(np.full(3, 1 / 3))


def test_module_offsets_become_log_ratios_to_the_market() -> None:
    modules = pl.DataFrame(
        {"runner_key": RUNNERS, "tie_offset": [np.log(2.0), 0.0, 0.0], "nds_offset": [0.1, 0.1, 0.1]}
    )
    frame = wide_predictions(long({"fundamental": [0.2, 0.4, 0.4]}), MARKET, RESULTS, RACES, modules=modules)
    # The market's .5 doubled against .25 and .25: 1, .25, .25 of 1.5.
    own = np.array([1.0, 0.25, 0.25]) / 1.5
    assert np.exp(frame.get_column("module_tie").to_numpy()) == pytest.approx(own / [0.5, 0.25, 0.25])
    assert frame.get_column("module_nds").to_numpy() == pytest.approx(np.zeros(3), abs=1e-12)
    assert np.exp(frame.get_column("module_sqpe").to_numpy()) == pytest.approx([0.4, 1.6, 1.6])


def test_bad_input_is_named() -> None:
    good = long({"blend": [0.6, 0.2, 0.2]})
    with pytest.raises(MissingFeatureError, match="recipe"):
        wide_predictions(good.drop("recipe"), MARKET, RESULTS, RACES)
    with pytest.raises(ValueError, match="empty"):
        wide_predictions(good.clear(), MARKET, RESULTS, RACES)
    with pytest.raises(ValueError, match="no 'bsp' prices"):
        wide_predictions(good, MARKET, RESULTS, RACES, decision_price_kind="bsp")
    with pytest.raises(ValueError, match="'blend' predicts some runner twice"):
        wide_predictions(pl.concat([good, good]), MARKET, RESULTS, RACES)
