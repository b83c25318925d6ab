"""The loop over years that the model assets share: a year without races leaves a hole, not a failure."""

from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from velo_assets.modelling.guards import NoPricesError, TooFewRacesError
from velo_assets.modelling.yearly import (
    blend_folds,
    disruption_folds,
    expert_folds,
    fundamental_folds,
    gate_folds,
    intent_folds,
)
from velo_assets.settings import PRICE_REGIMES
from velo_assets_tests.modelling.worlds import world

FEATURES = ("x0", "x1", "x2")
WITH_A_GAP = world(3600, days=2190).filter(pl.col("race_date").dt.year() != 2019)
"""2016 to 2021; the file of 2019 was forgotten."""
YEARS = range(2016, 2022)
FROM_AUTUMN = world(1560, first_day=date(2016, 9, 1), days=1217)
"""2016 to 2019, 470 races a year; the 160 of the first autumn are too few for the trees and the offsets."""


def test_a_forgotten_year_between_others_is_passed_over() -> None:
    fundamental = fundamental_folds(WITH_A_GAP, FEATURES, YEARS)
    rows = {outcome.fold.fold: outcome.predictions.height for outcome in fundamental}
    assert rows[2019] == 0
    assert rows[2020] > 0
    scores = pl.concat([outcome.predictions for outcome in fundamental]).select("runner_key", "score")
    blend = {outcome.fold.fold: outcome for outcome in blend_folds(WITH_A_GAP, scores, YEARS)}
    assert blend[2019].metrics["r2"] is None
    assert blend[2020].predictions.height == rows[2020]


def test_a_window_before_the_first_fold_has_none() -> None:
    first = WITH_A_GAP.filter(pl.col("race_date").dt.year() == 2016)
    assert fundamental_folds(first, FEATURES, (2016,)) == []
    assert expert_folds(first, FEATURES, (2016,), PRICE_REGIMES[0]) == []
    assert intent_folds(first, (2016,)) == []
    assert disruption_folds(first, (2016,)) == []
    assert blend_folds(first, first.select("runner_key", score=pl.lit(0.0)).clear(), (2016,)) == []
    assert gate_folds(first, first.select("runner_key").clear(), (2016,)) == []
    assert fundamental_folds(first.clear(), FEATURES, (2016,)) == []


def test_the_warm_up_year_alone_is_scored_as_in_the_whole() -> None:
    year = pl.col("race_date").dt.year()
    (whole, _) = fundamental_folds(WITH_A_GAP.filter(year <= 2018), FEATURES, (2016, 2017, 2018))
    (alone,) = fundamental_folds(WITH_A_GAP.filter(year <= 2017), FEATURES, (2017,))
    assert alone.fold == whole.fold
    assert_frame_equal(alone.predictions, whole.predictions)


def test_experts_and_gate_pass_over_it_too() -> None:
    corrections = WITH_A_GAP.select("runner_key")
    for regime in PRICE_REGIMES:
        outcomes = expert_folds(WITH_A_GAP, FEATURES, (2018, 2019, 2020), regime)
        assert [outcome.predictions.height > 0 for outcome in outcomes] == [True, False, True]
        table = pl.concat([outcome.predictions for outcome in outcomes])
        corrections = corrections.join(
            table.select("runner_key", pl.col("correction").alias(f"correction_{regime.name}")),
            on="runner_key",
            how="inner",
        )
    gates = {outcome.fold.fold: outcome for outcome in gate_folds(WITH_A_GAP, corrections, (2019, 2020))}
    assert gates[2019].predictions.height == 0
    assert gates[2020].predictions.height > 0


def test_a_year_of_cards_alone_is_passed_over_until_something_has_run() -> None:
    card = pl.col("race_date").dt.year() == 2020
    unrun = [
        pl.when(~card).then(pl.col(name)).alias(name) for name in ("win_share", "decimal_odds", "market_probability")
    ]
    world_of_cards = WITH_A_GAP.with_columns(unrun)
    scores = world_of_cards.select("runner_key", score=pl.lit(0.0))
    assert [outcome.fold.fold for outcome in blend_folds(world_of_cards, scores, (2018, 2020))] == [2018]
    corrections = world_of_cards.select(
        "runner_key", *(pl.lit(0.0).alias(f"correction_{regime.name}") for regime in PRICE_REGIMES)
    )
    assert [outcome.fold.fold for outcome in gate_folds(world_of_cards, corrections, (2018, 2020))] == [2018]


def test_results_that_begin_in_autumn_are_modelled_from_the_first_year_that_has_enough_behind_it() -> None:
    fundamental = fundamental_folds(FROM_AUTUMN, FEATURES, YEARS)
    assert [outcome.fold.fold for outcome in fundamental] == [2018, 2019]
    experts = expert_folds(FROM_AUTUMN, FEATURES, YEARS, PRICE_REGIMES[0])
    assert [outcome.fold.fold for outcome in experts] == [2018, 2019]
    scores = pl.concat([outcome.predictions for outcome in fundamental]).select("runner_key", "score")
    (blend,) = blend_folds(FROM_AUTUMN, scores, YEARS)
    assert blend.fold.fold == 2019
    assert blend.metrics["r2"] is not None


def test_a_window_of_years_with_too_little_behind_them_is_refused() -> None:
    with pytest.raises(TooFewRacesError, match=r"cutoff 2017-01-01.* at least 500 needed; add earlier years"):
        fundamental_folds(FROM_AUTUMN, FEATURES, (2016, 2017))
    scores = FROM_AUTUMN.filter(pl.col("race_date").dt.year() == 2018).select("runner_key", score=pl.lit(0.0))
    with pytest.raises(TooFewRacesError, match="no predictions of an earlier year"):
        blend_folds(FROM_AUTUMN, scores, (2018,))
    unpriced = FROM_AUTUMN.with_columns(market_probability=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(NoPricesError, match="cutoff 2019-01-01"):
        expert_folds(unpriced, FEATURES, YEARS, PRICE_REGIMES[0])


def test_results_without_a_full_book_are_passed_over_by_blend_and_gate() -> None:
    # One runner a race is unpriced from 2020 on, as in the first days of a year or an export without prices.
    late, first = (
        pl.col("race_date").dt.year() >= 2020,
        pl.col("runner_key") == pl.col("runner_key").min().over("race_key"),
    )
    gaps = WITH_A_GAP.with_columns(
        pl.when(~(late & first)).then(pl.col("market_probability")).alias("market_probability")
    )
    scores = gaps.select("runner_key", score=pl.lit(0.0))
    assert [outcome.fold.fold for outcome in blend_folds(gaps, scores, (2018, 2020, 2021))] == [2018]
    corrections = gaps.select(
        "runner_key", *(pl.lit(0.0).alias(f"correction_{regime.name}") for regime in PRICE_REGIMES)
    )
    assert [outcome.fold.fold for outcome in gate_folds(gaps, corrections, (2018, 2020, 2021))] == [2018]
