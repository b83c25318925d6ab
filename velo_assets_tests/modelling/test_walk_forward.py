"""Folds by hand; a run that never looks ahead, repeats itself and keeps its predictions long."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling.experts import ExpertSettings
from velo_assets.modelling.fundamental import FundamentalSettings
from velo_assets.modelling.guards import MissingFeatureError, NoPricesError, TooFewRacesError
from velo_assets.modelling.races import Races, between
from velo_assets.modelling.softmax import BoosterSettings
from velo_assets.modelling.walk_forward import (
    FoldPlan,
    WalkForwardRun,
    folds,
    require_scored_year,
    run_walk_forward,
    scored_rows,
    train_rows,
)
from velo_assets.settings import PriceRegime
from velo_assets_tests.modelling.worlds import world

TREES = BoosterSettings(rounds=12, learning_rate=0.3, num_leaves=4, min_data_in_leaf=50, early_stopping_rounds=4)
QUICK = FundamentalSettings(booster=TREES, seeds=(1,), min_races=100)
EXPERT = ExpertSettings(booster=TREES, seeds=(1,), min_races=100)
BAND = (PriceRegime("value_zone", 8.0, 15.0),)
FEATURES = ("x0", "x1", "x2")
WORLD = world(1000, market_noise=0.7)


@pytest.fixture(scope="module")
def run() -> WalkForwardRun:
    return run_walk_forward(WORLD, FEATURES, fundamental=QUICK, expert=EXPERT, regimes=BAND, with_single=True)


def test_yearly_folds_by_hand() -> None:
    cut = folds(date(2016, 1, 1), date(2019, 6, 30))
    assert [(f.fold, f.warm_up) for f in cut] == [(2017, True), (2018, False), (2019, False)]
    assert cut[1].cutoff == date(2018, 1, 1)
    assert cut[1].train_end == date(2017, 12, 31)
    assert cut[1].horizon_end == date(2019, 1, 1)
    assert cut[1].train_start is None


def test_quarterly_folds_refit_once_a_year_on_two_years() -> None:
    plan = FoldPlan(step_months=3, refit=4, input_size_years=2)
    cut = folds(date(2016, 1, 1), date(2018, 12, 31), plan)
    assert [f.fold for f in cut] == [201701, 201704, 201707, 201710, 201801, 201804, 201807, 201810]
    assert {f.fit_cutoff for f in cut[4:]} == {date(2018, 1, 1)}
    assert cut[5].train_start == date(2016, 1, 1)
    assert cut[5].train_end == date(2017, 12, 31)
    assert [f.warm_up for f in cut] == [True] * 4 + [False] * 4


def test_a_span_cut_short_has_the_first_folds_of_the_whole() -> None:
    whole = folds(date(2016, 1, 1), date(2019, 6, 30))
    assert [folds(date(2016, 1, 1), date(year, 12, 31)) for year in (2016, 2017, 2018)] == [(), whole[:1], whole[:2]]


def test_too_little_history_is_refused() -> None:
    with pytest.raises(TooFewRacesError, match="from 2016 to 2017, and the first year to be scored is 2018"):
        require_scored_year(2016, 2017)
    require_scored_year(2016, 2018)
    with pytest.raises(TooFewRacesError, match="first year to be scored is 2018"):
        run_walk_forward(between(WORLD, None, date(2018, 1, 1)), FEATURES)
    with pytest.raises(ValueError, match="step_months"):
        folds(date(2016, 1, 1), date(2019, 1, 1), FoldPlan(step_months=5))


def test_races_are_never_split_and_train_ends_before_the_embargo() -> None:
    for fold in folds(date(2016, 1, 1), date(2019, 12, 31), FoldPlan(embargo_days=3)):
        train, scored = train_rows(WORLD, fold), scored_rows(WORLD, fold)
        last, first = train.get_column("race_date").max(), scored.get_column("race_date").min()
        assert isinstance(last, date)
        assert isinstance(first, date)
        assert (first - last).days >= 4
        assert not set(train.get_column("race_key")) & set(scored.get_column("race_key"))


def test_predictions_are_long_complete_and_sum_to_1(run: WalkForwardRun) -> None:
    assert set(run.predictions.get_column("recipe")) == {
        "market", "market_beta", "fundamental", "blend", "experts", "single",
    }  # fmt: skip
    assert run.predictions.get_column("fold").unique().sort().to_list() == [2018, 2019]
    scored = WORLD.filter(pl.col("race_date") >= date(2018, 1, 1)).height
    assert run.predictions.height == 6 * scored
    sums = run.predictions.group_by("recipe", "race_key").agg(pl.col("probability").sum())
    assert sums.get_column("probability").to_numpy() == pytest.approx(np.ones(sums.height))
    assert run.predictions.get_column("probability").null_count() == 0


def test_models_know_only_earlier_races(run: WalkForwardRun) -> None:
    for fold in run.folds:
        assert run.fundamentals[fold.fold].train_end < fold.train_end
        if not fold.warm_up:
            blend = run.blends[fold.fold]
            assert blend.fit_end < fold.train_end
            assert blend.fit_start >= date(2017, 1, 1)
    assert run.out_of_sample.get_column("fold").unique().sort().to_list() == [2017, 2018, 2019]


def test_predictions_do_not_depend_on_later_results(run: WalkForwardRun) -> None:
    scrambled = WORLD.with_columns(
        pl.when(pl.col("race_date") >= date(2019, 1, 1))
        .then(pl.col("win_share").reverse().over("race_key"))
        .otherwise(pl.col("win_share"))
        .alias("win_share"),
        pl.when(pl.col("race_date") < date(2019, 1, 1)).then(pl.col("position")).alias("position"),
    )
    again = run_walk_forward(scrambled, FEATURES, fundamental=QUICK, expert=EXPERT, regimes=BAND, with_single=True)
    assert again.predictions.equals(run.predictions)


def test_blend_beats_a_noisy_market(run: WalkForwardRun) -> None:
    wide = (
        run.predictions.pivot(on="recipe", index=["race_date", "race_key", "runner_key"], values="probability")
        .join(WORLD.select("runner_key", "win_share"), on="runner_key")
        .sort("race_date", "race_key", "runner_key")
    )
    races = Races.from_frame(wide)
    r2 = {recipe: races.r2(wide.get_column(recipe).to_numpy()) for recipe in ("market", "fundamental", "blend")}
    assert r2["blend"] > r2["market"]
    assert r2["blend"] > 0.1


def test_quarterly_refits_learn_as_they_go_and_repeat_themselves() -> None:
    plan = FoldPlan(step_months=3, refit=2, first_train_years=2, warm_up_years=1)
    first = run_walk_forward(WORLD, FEATURES, plan, fundamental=QUICK, expert=EXPERT, regimes=BAND)
    scored = [fold for fold in first.folds if not fold.warm_up]
    assert [fold.fold for fold in scored] == [201801, 201804, 201807, 201810, 201901, 201904, 201907, 201910]
    # Fitted at every second cutoff; between, the model of the quarter before scores on.
    hashes = [first.fundamentals[fold.fold].model_hash for fold in scored]
    assert hashes[0::2] == hashes[1::2]
    assert len(set(hashes)) == 4
    for fold in scored:
        assert first.fundamentals[fold.fold].train_end < fold.fit_cutoff
        rows = first.predictions.filter(pl.col("fold") == fold.fold)
        assert rows["race_date"].min() >= fold.cutoff
        assert rows["race_date"].max() < fold.horizon_end
    # Weights are learnt anew every quarter, from all predictions before it.
    assert len({blend.model_hash for blend in first.blends.values()}) == len(scored)
    again = run_walk_forward(WORLD, FEATURES, plan, fundamental=QUICK, expert=EXPERT, regimes=BAND)
    assert again.predictions.equals(first.predictions)


def test_without_room_for_a_warm_up_the_inner_races_feed_the_blend() -> None:
    plan = FoldPlan(first_train_years=1, warm_up_years=1)
    two_years = world(1200, days=700)
    run = run_walk_forward(two_years, FEATURES, plan, fundamental=QUICK, with_experts=False)
    assert [fold.fold for fold in run.folds] == [2017]
    assert run.blends[2017].fit_start > date(2016, 9, 1)


def test_clear_errors() -> None:
    with pytest.raises(MissingFeatureError, match="draw_iv"):
        run_walk_forward(WORLD, ("draw_iv",), fundamental=QUICK)
    with pytest.raises(TooFewRacesError, match="empty"):
        run_walk_forward(WORLD.clear(), FEATURES, fundamental=QUICK)
    blank = WORLD.with_columns(
        pl.when(pl.col("race_date") < date(2019, 1, 1)).then(pl.col("market_probability")).alias("market_probability")
    )
    with pytest.raises(NoPricesError, match="cutoff 2019-01-01"):
        run_walk_forward(blank, FEATURES, fundamental=QUICK, with_experts=False)
