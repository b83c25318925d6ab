from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets_tests.racing.macro_connection import call

SP = {
    "7/2": (4.5, None),
    "11/4F": (3.75, "F"),
    "7/2J": (4.5, "J"),
    "5/1C": (6.0, "C"),
    "5/1JF": (6.0, "JF"),
    "Evs": (2.0, None),
    "Evens": (2.0, None),
    "EvensF": (2.0, "F"),
    "EvsJ": (2.0, "J"),
    "evensf": (2.0, "F"),
    "100/30": (1 + 100 / 30, None),
    "4/6F": (1 + 4 / 6, "F"),
    "1/100": (1.01, None),
    "999/1": (1000.0, None),
    "27/5": (6.4, None),
    " 7/2 ": (4.5, None),
    "F": (None, "F"),
    "": (None, None),
    "–": (None, None),
    "0/1": (None, None),
    "5/0": (None, None),
    "-5/1": (None, None),
    "5/-1": (None, None),
    "4.5": (None, None),
    "nan/1": (None, None),
    "inf/1": (None, None),
    "1e3/1": (None, None),
    "7/2/1": (None, None),
    "seven": (None, None),
}


def test_every_form_of_starting_price() -> None:
    texts = list(SP)
    found = list(zip(call("sp_odds(value)", texts), call("sp_favourite_mark(value)", texts), strict=True))
    assert found == [(pytest.approx(odds) if odds else None, mark) for odds, mark in SP.values()]


def test_missing_price_is_null_not_an_error() -> None:
    assert call("sp_odds(value)", [None]) == [None]
    assert call("sp_unreadable(value)", ["7/2", "F", "", "–", "-5/1", "seven", "0/1"]) == [
        False, False, False, False, True, True, True,
    ]  # fmt: skip
    assert call("sp_unreadable(value)", [None]) == [False]


def test_decimal_odds() -> None:
    assert call("decimal_odds_of(value)", ["3.00", "13", "1.01", "1.0", "0", "-2", "", "inf", "x", None]) == [
        3.0, 13.0, 1.01, None, None, None, None, None, None, None,
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9999), st.integers(1, 999), st.sampled_from("FJC")), min_size=1, max_size=40))
def test_any_fraction_written_is_read_back(fractions: list[tuple[int, int, str]]) -> None:
    texts = [f"{'Evens' if up == down else f'{up}/{down}'}{mark}" for up, down, mark in fractions]
    assert call("sp_odds(value)", texts) == [1.0 + up / down for up, down, _ in fractions]
    assert call("sp_favourite_mark(value)", texts) == [mark for _, _, mark in fractions]
