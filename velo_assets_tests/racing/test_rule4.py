"""Rule 4: the table, the time of withdrawal, the ceiling of 90p."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from velo_assets.racing.rule4 import MAX_DEDUCTION_PENCE, deduction_pence, deductions_for_bets


@pytest.mark.parametrize(
    ("fraction", "pence"),
    [
        (1 / 10, 90),
        (1 / 9, 90),
        (2 / 17, 85),
        (2 / 11, 85),
        (1 / 5, 80),
        (1 / 4, 80),
        (2 / 7, 75),
        (3 / 10, 75),
        (1 / 3, 70),
        (2 / 5, 70),
        (4 / 9, 65),
        (8 / 15, 65),
        (4 / 7, 60),
        (8 / 13, 60),
        (4 / 6, 55),
        (4 / 5, 55),
        (5 / 6, 50),
        (20 / 21, 50),
        (1, 45),
        (6 / 5, 45),
        (5 / 4, 40),
        (6 / 4, 40),
        (13 / 8, 35),
        (7 / 4, 35),
        (15 / 8, 30),
        (9 / 4, 30),
        (5 / 2, 25),
        (3, 25),
        (10 / 3, 20),
        (4, 20),
        (9 / 2, 15),
        (11 / 2, 15),
        (6, 10),
        (9, 10),
        (10, 5),
        (14, 5),
        (15, 0),
        (100, 0),
    ],
)
def test_both_ends_of_every_band(fraction: float, pence: int) -> None:
    assert deduction_pence(1.0 + fraction) == pence


def test_a_price_between_two_bands_takes_the_larger_deduction() -> None:
    assert deduction_pence(10.5) == 10


def test_a_price_below_evens_money_back_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        deduction_pence(0.5)


def test_missing_price_deducts_nothing() -> None:
    assert deduction_pence([np.nan, 2.0]).tolist() == [0, 45]


@given(st.lists(st.floats(1.0, 1001.0), min_size=2, max_size=30))
def test_a_longer_price_never_deducts_more(odds: list[float]) -> None:
    assert (np.diff(deduction_pence(sorted(odds))) <= 0).all()


def test_only_withdrawals_after_the_bet_count_and_they_sum_to_at_most_90() -> None:
    bets = pl.DataFrame(
        {
            "race_key": [1, 1, 1, 2],
            "placed_at": [datetime(2024, 5, 1, 9), datetime(2024, 5, 1, 11), None, datetime(2024, 5, 1, 9)],
        }
    )
    withdrawals = pl.DataFrame(
        {
            "race_key": [1, 1],
            "withdrawn_at": [datetime(2024, 5, 1, 10), datetime(2024, 5, 1, 12)],
            "decimal_odds": [2.0, 1.5],
        }
    )
    # 1.0 -> 45 and .5 -> 65: 110 for the first bet, cut to 90; the second saw only the later withdrawal.
    assert deductions_for_bets(bets, withdrawals).to_list() == [MAX_DEDUCTION_PENCE, 65, 0, 0]


def test_without_withdrawals_nothing_is_deducted() -> None:
    bets = pl.DataFrame({"race_key": [1], "placed_at": [datetime(2024, 5, 1)]})
    empty = pl.DataFrame(schema={"race_key": pl.Int64, "withdrawn_at": pl.Datetime, "decimal_odds": pl.Float64})
    assert deductions_for_bets(bets, empty).to_list() == [0]
