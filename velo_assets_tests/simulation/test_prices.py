"""The price ladder and favourite marks."""

from __future__ import annotations

import numpy as np
import pytest

from velo_assets.simulation.prices import LADDER, ODD_FORMS, decimal_ladder, favourite_marks, nearest_price


def test_ladder_rises_and_prices_find_themselves() -> None:
    odds = decimal_ladder()
    assert (np.diff(odds) > 0).all()
    usual = odds[odds > 1.02]
    assert [LADDER[i] for i in nearest_price(1.0 / usual)] == LADDER[len(LADDER) - len(usual) :]


@pytest.mark.parametrize(
    ("implied", "text"), [(0.5, "Evens"), (0.4, "6/4"), (0.231, "100/30"), (1.3, "1/50"), (1e-9, "1000/1")]
)
def test_nearest_price_by_hand(implied: float, text: str) -> None:
    assert LADDER[int(nearest_price(np.array([implied]))[0])] == text


def test_odd_forms_are_worth_the_same() -> None:
    for usual, odd in ODD_FORMS.items():
        up, down = map(int, usual.split("/"))
        odd_up, odd_down = map(int, odd.split("/"))
        assert up * odd_down == odd_up * down


def test_favourite_marks_by_hand() -> None:
    price = np.array([3, 5, 4, 4, 9, 2, 2, 2])
    marks = favourite_marks(price, np.array([0, 2, 5]), np.array([2, 3, 3]))
    assert marks.tolist() == ["F", "", "J", "J", "", "C", "C", "C"]
