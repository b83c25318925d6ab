"""Metrics by hand, intervals that cover, the best-of-K null."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

from velo_assets.betting.ledger import ledgers, place_bets
from velo_assets.betting.metrics import (
    BREAKDOWNS,
    NullReturn,
    archie,
    breakdown,
    bucket_label,
    daily_profit,
    drawdown,
    equity,
    longest_losing_run,
    null_band,
    null_return,
    pearson3_quantile,
    sharpe,
    strategy_table,
)
from velo_assets.betting.staking import Staking
from velo_assets.betting.strategies import Strategy
from velo_assets_tests.betting.frames import random_world, wide

ALL = Strategy("all", "All", "market")


def test_a_row_by_hand() -> None:
    # Day 1: bets at 2.0, 4.0, 4.0; 4.0 wins: +1. Day 2: 3.0 wins, 1.5 loses: +1. Day 3 has no winner: void.
    bets = place_bets(wide([[2.0, 4.0, 4.0], [3.0, 1.5], [2.0, 2.0]], [1, 0, None]), [ALL])
    row = strategy_table(bets, names={"all": "Everything"}).row(0, named=True)
    assert (row["name"], row["orders"], row["bets"], row["void"]) == ("Everything", 7, 5, 2)
    assert (row["wins"], row["win_rate"], row["turnover"], row["profit"], row["roi"]) == (2.0, 0.4, 5.0, 2.0, 0.4)
    assert row["expected_wins"] == pytest.approx(2.0)
    assert row["a_over_e"] == pytest.approx(1.0)
    assert row["archie"] == pytest.approx(0.0)
    assert row["longest_losing_run"] == 1
    assert row["max_drawdown"] == 0.0
    assert row["closing_line_value"] is None
    # Net +1 in each race: 2% of 2 is .04 less.
    assert row["roi_commission_2"] == pytest.approx((2.0 - 0.04) / 5)
    assert row["price_kind"] == "sp"


def test_closing_line_value_of_a_price_taken() -> None:
    frame = wide([[2.2, 4.0]], [0]).with_columns(closing_price=pl.Series([2.0, 5.0]), price_kind=pl.lit("morning"))
    row = strategy_table(place_bets(frame, [ALL])).row(0, named=True)
    assert row["closing_line_value"] == pytest.approx((0.1 - 0.2) / 2)


def test_archie_by_hand() -> None:
    # 100 bets, 20 wins, 10 expected: 100 * 100 / (10 * 90)
    assert archie(20, 10, 100) == pytest.approx(11.1111, abs=1e-4)
    assert archie(0, 0, 10) is None


def test_losing_runs_and_drawdown() -> None:
    assert longest_losing_run(np.array([1.0, -1, -1, 2, -1, -1, -1])) == 3
    assert longest_losing_run(np.array([-1.0, -1])) == 2
    assert longest_losing_run(np.array([])) == 0
    assert drawdown(np.array([-2.0, 1, 3, 0, 4])).tolist() == [-2, 0, 0, -3, 0]


def test_sharpe_by_definition() -> None:
    days = np.array(["2024-01-01", "2024-12-30"], dtype="datetime64[D]")
    # Mean 1, standard deviation sqrt(2), two days in 365: 1/sqrt(2) * sqrt(2 * 365.25 / 365)
    assert sharpe(np.array([0.0, 2.0]), days) == pytest.approx((365.25 / 365) ** 0.5)
    assert sharpe(np.array([1.0]), days[:1]) is None
    assert sharpe(np.array([1.0, 1.0]), days) is None


def test_ledgers_one_by_one_give_the_same_table() -> None:
    frame = random_world(200, seed=5)
    strategies = [ALL, Strategy("top", "Top", "blend", top_share=0.2)]
    whole = strategy_table(place_bets(frame, strategies))
    assert_frame_equal(whole, strategy_table(ledgers(frame, strategies)))


def test_strategies_that_found_no_bet_close_the_table() -> None:
    bets = place_bets(wide([[2.0, 4.0]], [0]), [ALL])
    table = strategy_table(bets, names={"idle": "Too choosy"}, trials=9, without_orders=["idle"])
    row = table.row(1, named=True)
    assert (row["strategy_id"], row["name"], row["orders"], row["bets"], row["roi"]) == (
        "idle",
        "Too choosy",
        0,
        0,
        None,
    )
    assert (row["trials"], row["best_of_k_95"]) == (9, None)


def test_an_empty_strategy_has_nulls_not_zeros() -> None:
    frame = wide([[2.0, 2.0]], [None])
    row = strategy_table(place_bets(frame, [ALL])).row(0, named=True)
    assert (row["orders"], row["bets"], row["roi"], row["best_of_k_95"]) == (2, 0, None, None)


@pytest.mark.parametrize("by", [*BREAKDOWNS, "year_month"])
def test_breakdowns_add_up(by: str) -> None:
    bets = place_bets(random_world(300, seed=6), [ALL])
    parts = breakdown(bets, by)
    assert parts.get_column("bets").sum() == bets.height
    assert parts.get_column("profit").sum() == pytest.approx(bets.get_column("profit").sum())


@pytest.mark.parametrize("by", BREAKDOWNS)
def test_winners_that_no_market_expected_are_not_held_against_its_expectation(by: str) -> None:
    # Three races of two runners at evens; the market of the third is not known, as of a partial book.
    frame = wide([[2.0, 2.0]] * 3, [0, 0, 0]).with_columns(probability_fundamental=pl.lit(0.5))
    partial = frame["race_key"] == frame["race_key"][-1]
    frame = frame.with_columns(market_probability=pl.when(~partial).then(pl.col("market_probability")))
    bets = place_bets(frame, [Strategy("form", "Form", "fundamental")])
    assert strategy_table(bets)["a_over_e"].item() == pytest.approx(1.0)
    parts = breakdown(bets, by)
    assert (parts["bets"].sum(), parts["wins"].sum()) == (6, 3.0)
    assert parts["a_over_e"].to_list() == [pytest.approx(1.0)]


def test_price_bands_are_low_included_high_excluded() -> None:
    bets = place_bets(wide([[4.9, 5.0, 7.9, 8.0]], [0]), [ALL])
    parts = breakdown(bets, "price_band")
    assert dict(zip(parts["group"], parts["bets"], strict=True)) == {"1: under 5": 1, "2: 5-8": 2, "3: 8-15": 1}
    assert parts.get_column("roi_low").null_count() == 3  # one day only: no interval
    assert bucket_label(40.0, 1001.0, 5) == "6: 40+"


def test_each_group_counts_as_another_try() -> None:
    bets = place_bets(random_world(300, seed=7), [ALL])
    parts = breakdown(bets, "price_band", trials=5)
    band = parts.row(1, named=True)
    low, high = (5.0, 8.0) if band["group"] == "2: 5-8" else (1.0, 5.0)
    null = null_return(bets.filter(pl.col("decision_price").is_between(low, high, closed="left")))
    assert null is not None
    assert band["best_of_k_95"] == pytest.approx(null.best_of(5 * parts.height, 0.95))
    assert "best_of_k_95" not in breakdown(bets, "price_band").columns


def test_a_single_group_has_the_interval_of_the_table() -> None:
    bets = place_bets(random_world(300, seed=7), [ALL])
    table, part = strategy_table(bets).row(0, named=True), breakdown(bets, "code").row(0, named=True)
    assert (part["roi_low"], part["roi_high"]) == pytest.approx((table["roi_low"], table["roi_high"]))


def test_unknown_dimension() -> None:
    with pytest.raises(ValueError, match="unknown dimension 'moon'"):
        breakdown(place_bets(wide([[2.0, 2.0]], [0]), [ALL]), "moon")


def test_the_null_by_hand() -> None:
    # One race, both backed at 3.0 with p = 1/2 each: whoever wins, profit is -2 + 3 = 1 on 2 staked, no spread.
    null = null_return(place_bets(wide([[3.0, 3.0]], [0]), [ALL]))
    assert null is not None
    assert (null.mean, null.sd) == pytest.approx((0.5, 0.0))
    # One of the two backed: +2 or -1 with equal chances: mean .5, standard deviation 1.5.
    single = place_bets(wide([[3.0, 3.0]], [0]), [ALL]).head(1)
    null = null_return(single)
    assert null is not None
    assert (null.mean, null.sd, null.skewness) == pytest.approx((0.5, 1.5, 0.0))


def test_the_best_of_100_random_filters_over_634_bets_shows_about_30_percent() -> None:
    # Zero edge, fair odds up to 20 (standard deviation 2.8 per bet): the figure of docs/methods.md.
    null = NullReturn(0.0, 2.8 / 634**0.5, 3.0 / 634**0.5)
    assert null.best_of(100, 0.5) == pytest.approx(0.30, abs=0.03)
    assert null.best_of(1, 0.5) == pytest.approx(0.0, abs=0.02)


def test_pearson_quantiles_agree_with_scipy() -> None:
    skewness = np.array([-1.5, -0.01, 0.0, 1e-3, 0.2, 2.0, 6.0])
    for level in (0.01, 0.5, 0.95, 0.999):
        assert pearson3_quantile(level, skewness) == pytest.approx(stats.pearson3.ppf(level, skewness), abs=1e-4)


def test_the_null_agrees_with_simulation() -> None:
    frame = random_world(150, seed=8)
    null = null_return(place_bets(frame, [ALL]))
    assert null is not None
    generator = np.random.default_rng(0)
    p = frame.get_column("market_probability").to_numpy().reshape(150, 8)
    odds = frame.get_column("decision_price").to_numpy().reshape(150, 8)
    winner = (p.cumsum(axis=1)[None] > generator.random((4000, 150, 1))).argmax(axis=2)
    roi = np.take_along_axis(odds[None], winner[:, :, None], axis=2).sum(axis=(1, 2)) / (150 * 8) - 1
    assert null.mean == pytest.approx(roi.mean(), abs=4 * roi.std() / 4000**0.5)
    assert null.sd == pytest.approx(roi.std(), rel=0.06)
    best_of_20 = roi.reshape(200, 20).max(axis=1)
    assert null.best_of(20, 0.5) == pytest.approx(np.median(best_of_20), abs=0.3 * null.sd)


def test_the_null_band_ends_where_the_null_return_says() -> None:
    bets = place_bets(random_world(150, seed=9), [ALL])
    null, band = null_return(bets), null_band(bets, trials=20)
    assert null is not None
    last = band.row(-1, named=True)
    assert last["null_mean"] / bets.height == pytest.approx(null.mean)
    assert last["null_best"] / bets.height == pytest.approx(null.best_of(20, 0.95))


def test_equity_ends_at_the_profit_and_its_band_holds_it() -> None:
    bets = place_bets(random_world(300, seed=10), [ALL])
    path = equity(bets)
    last = path.row(-1, named=True)
    assert last["cumulative"] == pytest.approx(bets.get_column("profit").sum())
    assert last["band_low"] < last["cumulative"] < last["band_high"]
    assert daily_profit(bets).height == path.height


def test_intervals_cover_the_truth_in_worlds_without_edge() -> None:
    # Backing all at prices that carry a take-out of 1/1.15: the true ROI given the prices is known in each world.
    worlds, covered = 200, 0
    for world in range(worlds):
        bets = place_bets(random_world(360, seed=1000 + world, runners=6), [ALL])
        null = null_return(bets)
        row = strategy_table(bets).row(0, named=True)
        assert null is not None
        covered += row["roi_low"] <= null.mean <= row["roi_high"]
    assert 0.91 <= covered / worlds <= 0.985


def test_the_win_rate_of_lays_counts_the_beaten() -> None:
    # Four runners laid, one of them wins: three lays of four are won, and A/E stays that of the runners.
    bets = place_bets(wide([[2.0, 4.0, 4.0, 5.0]], [0]), [Strategy("l", "L", "market", side="lay")])
    row = strategy_table(bets).row(0, named=True)
    assert row["win_rate"] == 0.75
    assert row["a_over_e"] == pytest.approx(1.0)


def test_no_interval_promises_less_than_the_stake() -> None:
    bets = place_bets(random_world(12, seed=3, runners=20), [Strategy("x", "X", "market", low_odds=15.0)])
    row = strategy_table(bets).row(0, named=True)
    assert row["roi_low"] is None or row["roi_low"] >= -1.0


def test_a_planted_edge_is_found() -> None:
    frame = random_world(3000, seed=11, edge=0.5)
    bets = place_bets(frame, [Strategy("v", "V", "blend", min_edge=0.1)])
    row = strategy_table(bets).row(0, named=True)
    truth = float((bets.get_column("probability") * bets.get_column("decision_price") - 1).mean())  # type: ignore[arg-type]
    assert row["roi_low"] < truth < row["roi_high"]
    assert row["roi_low"] > 0
    assert row["beats_best_of_k"]


def test_dates_are_dates() -> None:
    assert place_bets(wide([[2.0, 2.0]], [0]), [ALL]).get_column("race_date").to_list()[0] == date(2024, 5, 1)


def test_where_every_outcome_returns_the_same_there_is_no_luck_to_beat() -> None:
    # 400 whole fields at 1.15 of book: 1/1.15 comes back whoever wins, but for rounding.
    bets = place_bets(random_world(400, seed=12), [Strategy("p", "P", "market", staking=Staking(method="to_price"))])
    null = null_return(bets)
    assert null is not None
    assert (null.sd, null.skewness) == (0.0, 0.0)
    for trials in (1, 54, 500):
        row = strategy_table(bets, trials=trials).row(0, named=True)
        assert row["beats_best_of_k"] is None
        assert row["best_of_k_95"] == pytest.approx(row["roi"]) == pytest.approx(1 / 1.15 - 1)
    assert breakdown(bets, "year", trials=54)["best_of_k_95"].to_numpy() == pytest.approx(1 / 1.15 - 1)
    assert null_band(bets, trials=54)["null_best"].to_numpy()[-1] == pytest.approx(bets["profit"].sum())


def test_each_way_bets_have_no_null() -> None:
    frame = random_world(300, seed=13)
    each_way = [Strategy("e", "E", "market", bet_type="each-way"), ALL]
    bets = place_bets(frame, each_way)
    table = strategy_table(bets)
    assert table["best_of_k_95"].is_null().to_list() == [True, False]
    assert table["best_of_k_median"].is_null().to_list() == [True, False]
    assert table["beats_best_of_k"].is_null().to_list() == [True, False]
    assert table["a_over_e"][0] == pytest.approx(table["a_over_e"][1])
    parts = breakdown(bets, "year", trials=2)
    assert parts.filter(pl.col("strategy_id") == "e")["best_of_k_95"].null_count() == 1
    assert null_return(bets.filter(pl.col("bet_type") == "each-way")) is None
    assert null_band(bets.filter(pl.col("bet_type") == "each-way"), trials=2).is_empty()
