"""Settled ledgers: worked examples, voids with their reasons, money conserved."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets.betting.settle import settle_bets, unit_profits
from velo_assets.racing.settlement import settling_results

RESULTS = settling_results(
    pl.DataFrame(
        {
            "race_key": [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4],
            "runner_key": [11, 12, 13, 14, 15, 16, 17, 18, 21, 22, 23, 31, 32, 41, 42],
            "position": [1, 2, 3, 4, 5, 6, 7, None, 1, 1, 3, 2, 3, 1, 1],
            "won": [1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1],
            "dead_heat_runners": [1] * 8 + [2, 2, 1] + [1, 1] + [1, 1],
        }
    )
)


def bet(runner: int, price: float | None, stake: float = 10.0, race: int | None = None, **more: Any) -> pl.DataFrame:
    row = {
        "strategy_id": "s",
        "race_key": race if race is not None else runner // 10,
        "runner_key": runner,
        "stake": stake,
        "matched_price": price,
        "field_size": 8,
        "is_handicap": False,
    } | more
    return pl.DataFrame([row], schema_overrides={"matched_price": pl.Float64})


def one(bets: pl.DataFrame, **options: Any) -> dict[str, Any]:
    return settle_bets(bets, RESULTS, **options).row(0, named=True)


def test_a_winner_returns_stake_and_winnings() -> None:
    row = one(bet(11, 3.5))
    assert (row["status"], row["return"], row["profit"]) == ("won", 35.0, 25.0)


def test_a_loser_and_a_faller_lose_the_stake() -> None:
    assert one(bet(12, 3.5))["profit"] == -10.0
    assert one(bet(18, 3.5))["status"] == "lost"


def test_a_dead_heat_halves_the_stake() -> None:
    row = one(bet(21, 11.0))
    assert (row["status"], row["return"], row["profit"]) == ("won", 55.0, 45.0)


@pytest.mark.parametrize(
    ("bets", "reason"),
    [
        (bet(19, 5.0, race=1), "non-runner"),
        (bet(91, 5.0, race=9), "race has no result"),
        (bet(31, 5.0), "race has no winner"),
        (bet(41, 5.0), "2 winners not flagged as a dead heat"),
        (bet(11, 1.0), "price below 1.01"),
        (bet(11, None), "no price"),
        (bet(11, 5.0, status="void", reason="own reason"), "own reason"),
    ],
)
def test_bets_that_do_not_count_are_void_and_say_why(bets: pl.DataFrame, reason: str) -> None:
    row = one(bets)
    assert (row["status"], row["reason"], row["return"], row["profit"]) == ("void", reason, 10.0, 0.0)


def test_an_unmatched_order_keeps_its_reason_and_moves_no_money() -> None:
    row = one(bet(11, None, stake=0.0, status="unmatched", reason="spread too wide"))
    assert (row["status"], row["reason"], row["return"], row["profit"]) == ("unmatched", "spread too wide", 0.0, 0.0)


def test_commission_is_on_the_net_winnings_of_the_race() -> None:
    # +25 on the winner, -10 on the second: net 15, at 5% = 0.75, borne by the winner.
    both = settle_bets(pl.concat([bet(11, 3.5), bet(12, 6.0)]), RESULTS, commission=0.05)
    assert both.get_column("commission").to_list() == pytest.approx([0.75, 0.0])
    assert both.get_column("profit").sum() == pytest.approx(14.25)


def test_no_commission_on_a_losing_race() -> None:
    both = settle_bets(pl.concat([bet(11, 1.5), bet(12, 6.0)]), RESULTS, commission=0.05)
    assert both.get_column("commission").sum() == 0.0


def test_a_lay_wins_the_stake_of_a_loser_and_pays_the_liability_of_a_winner() -> None:
    lost = one(bet(12, 4.0, side="lay"))
    paid = one(bet(11, 4.0, side="lay"))
    assert (lost["status"], lost["profit"], lost["return"]) == ("won", 10.0, 40.0)
    assert (paid["status"], paid["profit"], paid["return"]) == ("lost", -30.0, 0.0)


def test_each_way_third_of_eight_gets_a_fifth_of_the_odds() -> None:
    # 5 to win lost; 5 placed at a fifth of 10/1 returns 5 * 3 = 15.
    row = one(bet(13, 11.0, bet_type="each-way"))
    assert (row["status"], row["return"], row["profit"]) == ("placed", 15.0, 5.0)


def test_each_way_winner_is_paid_twice() -> None:
    assert one(bet(11, 11.0, bet_type="each-way"))["return"] == pytest.approx(55.0 + 15.0)


def test_each_way_fourth_loses_and_four_runners_make_it_a_win_bet() -> None:
    assert one(bet(14, 11.0, bet_type="each-way"))["status"] == "lost"
    assert one(bet(11, 11.0, bet_type="each-way", field_size=4))["return"] == pytest.approx(110.0)


WITHDRAWN = pl.DataFrame({"race_key": [1], "withdrawn_at": [datetime(2024, 5, 1, 12)], "decimal_odds": [3.5]})


def test_rule_4_touches_prices_taken_before_the_withdrawal_only() -> None:
    early = bet(11, 5.0, placed_at=datetime(2024, 5, 1, 9))
    assert one(early, withdrawals=WITHDRAWN)["return"] == pytest.approx(10 + 40 * 0.75)
    assert one(bet(11, 5.0, placed_at=datetime(2024, 5, 1, 13)), withdrawals=WITHDRAWN)["return"] == 50.0
    assert one(early.with_columns(price_kind=pl.lit("sp")), withdrawals=WITHDRAWN)["return"] == 50.0


@pytest.mark.parametrize(
    ("bets", "options", "words"),
    [
        (bet(11, 5.0), {"commission": 1.0}, "commission"),
        (bet(11, 5.0, stake=-1.0), {}, "negative stake"),
        (bet(11, 5.0, side="sideways"), {}, "unknown side"),
        (bet(11, 5.0, side="lay", bet_type="each-way"), {}, "can't be laid"),
        (bet(11, 5.0, bet_type="each-way").drop("field_size"), {}, "field_size"),
    ],
)
def test_bad_ledgers_are_refused(bets: pl.DataFrame, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settle_bets(bets, RESULTS, **options)


def test_the_columns_of_the_result_are_not_left_behind() -> None:
    settled = settle_bets(bet(11, 5.0), RESULTS)
    assert not {"settles", "win_share", "race_known", "_void"} & set(settled.columns)


orders = st.lists(
    st.tuples(
        st.sampled_from([11, 12, 13, 18, 21, 22, 23, 31, 41]),
        st.floats(1.01, 500),
        st.floats(0.01, 1000),
        st.sampled_from(["back", "lay"]),
    ),
    min_size=1,
    max_size=20,
)


@given(orders, st.sampled_from([0.0, 0.02, 0.05]))
@settings(max_examples=40, deadline=None)
def test_money_is_conserved_between_bettor_layer_and_commission(
    rows: list[tuple[int, float, float, str]], commission: float
) -> None:
    bets = pl.concat([bet(runner, price, stake, side=side) for runner, price, stake, side in rows])
    other = bets.with_columns(side=pl.when(pl.col("side") == "back").then(pl.lit("lay")).otherwise(pl.lit("back")))
    mine, theirs = settle_bets(bets, RESULTS, commission=commission), settle_bets(other, RESULTS)
    assert mine.get_column("gross_profit").to_numpy() == pytest.approx(-theirs.get_column("gross_profit").to_numpy())
    in_all = (
        mine.get_column("profit").sum() + mine.get_column("commission").sum() + theirs.get_column("gross_profit").sum()
    )
    assert in_all == pytest.approx(0.0, abs=1e-6)
    assert (mine.get_column("commission").to_numpy() >= 0).all()


@given(orders)
@settings(max_examples=30, deadline=None)
def test_profit_is_proportional_to_the_stake(rows: list[tuple[int, float, float, str]]) -> None:
    bets = pl.concat([bet(runner, price, stake, side=side) for runner, price, stake, side in rows])
    joined = bets.join(RESULTS.drop("race_key"), on="runner_key", how="left", maintain_order="left").with_columns(
        pl.lit(True).alias("race_known")
    )
    per_unit = unit_profits(joined)
    settled = settle_bets(joined)
    assert settled.get_column("gross_profit").to_numpy() == pytest.approx(
        per_unit * np.array([stake for _, _, stake, _ in rows])
    )
