"""Orders against quotes: limits, partial fills, reasons."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets.betting.execution import REASONS, Limits, Quotes, SyntheticBook, execute, stream_quotes


def quotes(back: list[float], size: float = 1000.0, spread: float = 0.02, filled: bool = True) -> Quotes:
    price = np.array(back)
    return Quotes(
        price,
        price * (1 + spread),
        np.full(len(back), size),
        np.full(len(back), size),
        np.full(len(back), filled),
    )


def send(stakes: list[float], book: Quotes, limits: Limits, probability: float = 0.5, side: str = "back"):  # type: ignore[no-untyped-def]
    count = len(stakes)
    fills = execute(
        np.array(stakes),
        np.full(count, probability),
        np.zeros(count, int),
        np.zeros(count, int),
        book,
        limits,
        side,  # type: ignore[arg-type]
    )
    return fills, [REASONS[int(code)] for code in fills.reason]


def test_an_order_within_the_limits_is_matched_at_the_quote() -> None:
    fills, why = send([10.0], quotes([4.0]), Limits())
    assert (fills.stake[0], why) == (10.0, [None])


@pytest.mark.parametrize(
    ("book", "limits", "reason"),
    [
        (quotes([4.0], filled=False), Limits(), "not matched before the off"),
        (quotes([4.0], spread=0.2), Limits(max_spread=0.1), "spread too wide"),
        (quotes([4.0], spread=float("nan")), Limits(max_spread=0.1), "spread too wide"),  # nobody lays
        (quotes([1.9]), Limits(min_ev=0.0), "expected value at the available price below the floor"),
        (quotes([float("nan")]), Limits(), "no price on offer at the decision time"),
        (quotes([4.0], size=1.0), Limits(min_stake=2.0), "what could be matched is below the smallest stake"),
    ],
)
def test_refused_orders_say_why(book: Quotes, limits: Limits, reason: str) -> None:
    fills, why = send([10.0], book, limits)
    assert fills.stake[0] == 0
    assert why == [reason]


def test_depth_cuts_an_order() -> None:
    fills, why = send([10.0], quotes([4.0], size=6.0), Limits())
    assert (fills.stake[0], why) == (6.0, ["partly matched: depth"])


def test_race_cap_is_first_come_first_served() -> None:
    fills, why = send([10.0, 10.0, 10.0], quotes([4.0] * 3), Limits(race_liability=15.0))
    assert fills.stake.tolist() == [10.0, 5.0, 0.0]
    assert why == [None, "partly matched: race liability cap", "race liability cap reached"]


def test_the_liability_of_a_lay_is_what_it_may_have_to_pay() -> None:
    book = quotes([3.0], spread=1 / 3)  # lay at 4.0: 3 units of liability per unit
    fills, _ = send([10.0], book, Limits(bet_liability=15.0), probability=0.1, side="lay")
    assert fills.stake[0] == pytest.approx(5.0)


@given(st.lists(st.floats(0.1, 500), min_size=1, max_size=30), st.floats(1, 300), st.floats(1, 300), st.floats(1, 300))
@settings(max_examples=60, deadline=None)
def test_stakes_never_pass_the_request_nor_any_cap(stakes: list[float], bet: float, race: float, day: float) -> None:
    count = len(stakes)
    races = np.arange(count) // 3
    days = np.arange(count) // 9
    book = SyntheticBook(seed=3).quotes(np.arange(count), np.full(count, 6.0), np.full(count, 9))
    fills = execute(np.array(stakes), np.full(count, 0.3), races, days, book, Limits(None, None, bet, race, day))
    assert (fills.stake <= np.array(stakes) + 1e-9).all()
    assert fills.stake.max() <= bet + 1e-9
    assert np.bincount(races, weights=fills.stake).max() <= race + 1e-6
    assert np.bincount(days, weights=fills.stake).max() <= day + 1e-6


def test_the_book_depends_on_runner_and_seed_only() -> None:
    keys, odds, field = np.arange(1000) * 977, np.full(1000, 8.0), np.full(1000, 10)
    whole = SyntheticBook(seed=1).quotes(keys, odds, field)
    part = SyntheticBook(seed=1).quotes(keys[500:], odds[500:], field[500:])
    other = SyntheticBook(seed=2).quotes(keys, odds, field)
    assert np.array_equal(whole.back_price[500:], part.back_price)
    assert not np.array_equal(whole.back_price, other.back_price)
    assert (whole.back_price < whole.lay_price).all()
    assert 0.8 < whole.filled.mean() < 0.97


def test_longer_prices_have_wider_spreads_and_less_depth() -> None:
    keys, field = np.arange(4000), np.full(4000, 10)
    short = SyntheticBook().quotes(keys, np.full(4000, 3.0), field)
    long = SyntheticBook().quotes(keys, np.full(4000, 30.0), field)
    assert np.median(short.spread) < np.median(long.spread)
    assert np.median(short.back_size) > np.median(long.back_size)


def test_real_quotes_are_the_last_ones_before_the_decision() -> None:
    stream = pl.DataFrame(
        {
            "runner_key": [1, 1, 2],
            "quoted_at": [datetime(2024, 1, 1, 12, 0), datetime(2024, 1, 1, 12, 5), datetime(2024, 1, 1, 12, 9)],
            "back_price": [4.0, 4.4, 9.0],
            "back_size": [50.0, 60.0, 5.0],
            "lay_price": [4.1, 4.5, 9.6],
            "lay_size": [50.0, 60.0, 5.0],
        }
    )
    orders = pl.DataFrame(
        {"runner_key": [2, 1, 1], "decided_at": [datetime(2024, 1, 1, 12, 6)] * 2 + [datetime(2024, 1, 1, 12, 1)]}
    )
    got = stream_quotes(orders, stream)
    assert np.array_equal(got.back_price, [np.nan, 4.4, 4.0], equal_nan=True)
    assert got.filled.tolist() == [False, True, True]
