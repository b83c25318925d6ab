"""The whole path from predictions to settled bets, and bad input on the way."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets.betting.execution import Limits, SyntheticBook
from velo_assets.betting.ledger import LEDGER, place_bets, totals
from velo_assets.betting.staking import Staking
from velo_assets.betting.strategies import Execution, Strategy
from velo_assets.modelling.guards import MissingFeatureError
from velo_assets_tests.betting.frames import random_world, wide

ALL = Strategy("all", "All", "market")


def test_level_stakes_on_everything() -> None:
    bets = place_bets(wide([[2.0, 4.0, 4.0], [3.0, 1.5]], [1, 0]), [ALL])
    assert bets.columns == list(LEDGER)
    assert bets.get_column("profit").to_list() == [-1, 3, -1, 2, -1]
    assert bets.get_column("status").to_list() == ["lost", "won", "lost", "won", "lost"]


def test_staked_to_price_every_winner_returns_the_same() -> None:
    bets = place_bets(
        wide([[2.0, 4.0, 5.0], [3.0, 1.5]], [1, 0]), [Strategy("p", "P", "market", staking=Staking("to_price"))]
    )
    assert bets.filter(pl.col("status") == "won").get_column("return").to_list() == pytest.approx([1.0, 1.0])


def test_bad_rows_are_void_with_a_reason_and_the_totals_say_so() -> None:
    frame = wide([[2.0, 4.0], [1.0, 5.0], [3.0, 3.0], [2.5, None]], [0, 1, None, 0])
    nonrunner = (pl.col("race_key") == 1) & (pl.col("runner_key") == 101)
    frame = frame.with_columns(
        settles=pl.when(nonrunner).then(None).otherwise("settles"),
        win_share=pl.when(nonrunner).then(None).otherwise("win_share"),
    )
    bets = place_bets(frame, [ALL])
    said = {(row["status"], row["reason"]): row["orders"] for row in totals(bets).iter_rows(named=True)}
    assert said == {
        ("won", None): 3,
        ("void", "non-runner"): 1,
        ("void", "price below 1.01"): 1,
        ("void", "race has no winner"): 2,
    }
    assert bets.filter(pl.col("status") == "void").get_column("profit").to_list() == [0.0] * 4


def test_a_book_leaves_unmatched_orders_in_the_ledger() -> None:
    limits = Limits(min_ev=0.0, day_liability=40.0)
    strategy = Strategy(
        "x", "X", "blend", min_edge=-0.05, staking=Staking(unit=10.0), execution=Execution("exchange", limits)
    )
    bets = place_bets(random_world(120, seed=4, edge=0.4), [strategy], book=SyntheticBook(seed=9))
    unmatched = bets.filter(pl.col("status") == "unmatched")
    assert unmatched.height > 0
    assert unmatched.get_column("reason").null_count() == 0
    assert unmatched.get_column("profit").abs().sum() == 0
    matched = bets.filter(pl.col("stake") > 0)
    assert (matched.get_column("matched_price") < matched.get_column("decision_price")).all()
    assert matched.group_by("race_date").agg(pl.col("stake").sum()).get_column("stake").max() <= 40.0 + 1e-6
    assert (matched.get_column("matched_price") * matched.get_column("probability") - 1 >= 0).all()


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.05]))
@settings(max_examples=8, deadline=None)
def test_kelly_bankroll_and_ledger_tell_the_same_story(seed: int, commission: float) -> None:
    strategy = Strategy(
        "k", "K", "blend", min_edge=0.0, staking=Staking("kelly", fraction=0.5, cap_bet=0.1, cap_race=0.2)
    )
    bets = place_bets(random_world(90, seed=seed, edge=0.5), [strategy], commission=commission)
    days = bets.group_by("race_date", maintain_order=True).agg(
        pl.col("profit").sum(), pl.col("bankroll").first(), pl.col("stake").sum()
    )
    opening = days.get_column("bankroll").to_numpy()
    assert opening[0] == 1000.0
    assert opening[1:] == pytest.approx(opening[:-1] + days.get_column("profit").to_numpy()[:-1])
    assert (days.get_column("stake").to_numpy() <= 0.2 * opening + 1e-9).all()
    assert (bets.get_column("stake") <= 0.1 * bets.get_column("bankroll") + 1e-9).all()


def test_the_drawdown_stop_is_in_the_ledger() -> None:
    strategy = Strategy(
        "d",
        "D",
        "market",
        staking=Staking("proportional", fraction=0.2, cap_bet=0.2, cap_race=1, cap_day=1, drawdown_stop=0.3),
    )
    bets = place_bets(wide([[2.0, 2.0]] * 2, [0, 1]), [strategy])
    assert bets.get_column("status").to_list() == ["won", "lost", "lost", "won"]
    losing = wide([[3.0, 3.0], [3.0, 3.0]], [0, 0]).with_columns(win_share=pl.lit(0.0))
    stopped = place_bets(losing, [strategy])
    assert stopped.get_column("reason").to_list() == [None, None, "drawdown stop reached", "drawdown stop reached"]
    assert stopped.get_column("status").to_list() == ["lost", "lost", "unmatched", "unmatched"]


def test_bets_can_settle_at_bsp() -> None:
    frame = wide([[2.0, 4.0]], [1]).with_columns(bsp=pl.Series([2.2, 4.6]))
    bets = place_bets(frame, [Strategy("b", "B", "market", settle_at="bsp")])
    assert bets.get_column("profit").to_list() == pytest.approx([-1.0, 3.6])
    assert bets.get_column("price_kind").to_list() == ["bsp", "bsp"]


def test_missing_inputs_are_named() -> None:
    with pytest.raises(MissingFeatureError, match="probability_experts"):
        place_bets(wide([[2.0, 4.0]], [0]), [Strategy("e", "E", "experts")])


@pytest.mark.parametrize("staking", [Staking(), Staking("kelly"), Staking("proportional")])
def test_a_strategy_that_chooses_nothing_gives_an_empty_ledger(staking: Staking) -> None:
    assert place_bets(wide([[2.0, 4.0]], [0]), [Strategy("n", "N", "market", min_edge=9.0, staking=staking)]).is_empty()
