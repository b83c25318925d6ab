"""Pieces of a season with values worked by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from velo_assets.simulation.season import LAYOFF_WORST, layoff_effect, race_softmax, rank_in_race


def test_race_softmax_by_hand() -> None:
    # Utilities log 1, log 3 give 1/4 and 3/4; a lone runner is certain.
    p = race_softmax(np.log([1.0, 3.0, 7.0]), np.array([0, 2]), np.array([2, 1]))
    np.testing.assert_allclose(p, [0.25, 0.75, 1.0])


@given(st.lists(st.lists(st.floats(-50, 50), min_size=1, max_size=8), min_size=1, max_size=5))
def test_race_softmax_sums_to_one_in_every_race(races: list[list[float]]) -> None:
    size = np.array([len(race) for race in races])
    first = np.cumsum(size) - size
    p = race_softmax(np.concatenate(races), first, size)
    np.testing.assert_allclose(np.add.reduceat(p, first), 1.0)


def test_rank_in_race_by_hand() -> None:
    rank = rank_in_race(
        np.array([3.0, 1.0, 2.0, 9.0, 8.0]), np.array([0, 0, 0, 1, 1]), np.array([0, 3]), np.array([3, 2])
    )
    assert rank.tolist() == [3, 1, 2, 2, 1]


def test_layoff_effect_by_hand() -> None:
    # Nothing after a week, a little when fresh, half the loss half way from 60 to 300 days, no more after that.
    days = np.array([7.0, 45.0, 180.0, 300.0, 900.0, np.nan])
    np.testing.assert_allclose(layoff_effect(days), [0.0, 0.08, LAYOFF_WORST / 2, LAYOFF_WORST, LAYOFF_WORST, 0.0])
