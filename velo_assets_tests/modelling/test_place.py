"""Discounted Harville by hand and by brute force, its laws, and both fits on simulated places."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets.modelling.guards import TooFewRacesError
from velo_assets.modelling.place import (
    UK_IRE_REFERENCE,
    PlaceModel,
    fit_from_placed,
    fit_from_positions,
)
from velo_assets.modelling.races import Races

ONE_RACE = np.array([0])


def test_plain_harville_by_hand() -> None:
    # P(first runner second) = .3 * .5/.7 + .2 * .5/.8.
    table = PlaceModel(1.0, 1.0).finish_probabilities(np.array([0.5, 0.3, 0.2]), ONE_RACE)
    assert table[0].tolist() == pytest.approx([0.5, 0.3 * 5 / 7 + 0.2 * 5 / 8, 0.5 - 0.3 * 5 / 7 - 0.2 * 5 / 8])
    assert table[2].tolist() == pytest.approx([0.2, 0.5 * 0.4 + 0.3 * 2 / 7, 1 - 0.2 - 0.2 - 0.6 / 7])


def brute_force(p: np.ndarray, gamma: float, delta: float) -> np.ndarray:
    sigma, tau = p**gamma / (p**gamma).sum(), p**delta / (p**delta).sum()
    out = np.zeros((len(p), 3))
    out[:, 0] = p
    for first, second in itertools.permutations(range(len(p)), 2):
        chain = p[first] * sigma[second] / (1 - sigma[first])
        out[second, 1] += chain
        for third in set(range(len(p))) - {first, second}:
            out[third, 2] += chain * tau[third] / (1 - tau[first] - tau[second])
    return out


fields = st.lists(st.floats(-3.0, 2.5), min_size=3, max_size=12).map(lambda s: np.exp(s) / np.exp(s).sum())


@settings(max_examples=40, deadline=None)
@given(p=fields, gamma=st.floats(0.3, 1.2), delta=st.floats(0.3, 1.2))
def test_matches_the_triple_sum_and_its_laws(p: np.ndarray, gamma: float, delta: float) -> None:
    model = PlaceModel(gamma, delta)
    table = model.finish_probabilities(p, ONE_RACE)
    np.testing.assert_allclose(table, brute_force(p, gamma, delta), atol=1e-10)
    np.testing.assert_allclose(table.sum(axis=0), 1.0, atol=1e-10)
    places = [model.place_probabilities(p, ONE_RACE, count) for count in (1, 2, 3)]
    assert (np.diff(places, axis=0) >= 0).all()
    # The likelier winner is the likelier to be placed.
    assert (np.diff(places[2][np.argsort(p)]) >= -1e-10).all()


def test_races_of_every_size_at_once() -> None:
    fields = [
        np.array([1.0]),
        np.array([0.6, 0.4]),
        np.array([0.5, 0.3, 0.2]),
        np.full(40, 1 / 40),
        np.array([0.7, 0.3]),
    ]
    starts = np.cumsum([0] + [len(field) for field in fields[:-1]])
    table = UK_IRE_REFERENCE.finish_probabilities(np.concatenate(fields), starts)
    for start, field in zip(starts, fields, strict=True):
        alone = UK_IRE_REFERENCE.finish_probabilities(field, ONE_RACE)
        np.testing.assert_array_equal(table[start : start + len(field)], alone)
    np.testing.assert_allclose(table[6:46], 1 / 40)
    assert table[1:3].tolist() == [pytest.approx([0.6, 0.4, 0.0]), pytest.approx([0.4, 0.6, 0.0])]
    placed = UK_IRE_REFERENCE.place_probabilities(np.concatenate(fields), starts, np.array([1, 2, 2, 3, 3]))
    np.testing.assert_allclose(np.add.reduceat(placed, starts), [1, 2, 2, 3, 2])


def test_an_unpriced_race_stays_null() -> None:
    p = np.array([np.nan, np.nan, np.nan, 0.5, 0.3, 0.2])
    placed = UK_IRE_REFERENCE.place_probabilities(p, np.array([0, 3]), 3)
    assert np.isnan(placed[:3]).all()
    assert placed[3:].tolist() == [1.0, 1.0, 1.0]


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="above 0"):
        UK_IRE_REFERENCE.finish_probabilities(np.array([1.0, 0.0]), ONE_RACE)
    with pytest.raises(ValueError, match="places must be 1 to 3"):
        UK_IRE_REFERENCE.place_probabilities(np.array([0.5, 0.5]), ONE_RACE, 4)


def simulated(races: int, gamma: float, delta: float) -> tuple[Races, np.ndarray, np.ndarray]:
    """Races of nine runners with places drawn by the model itself: races, probabilities, positions."""
    generator = np.random.default_rng(17)
    scores = generator.normal(size=(races, 9))
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    position = np.full((races, 9), np.nan)
    weights = p.copy()
    for place, exponent in ((1, 1.0), (2, gamma), (3, delta)):
        weights = np.where(np.isnan(position), p**exponent, 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
        chosen = (weights.cumsum(axis=1) > generator.random((races, 1))).argmax(axis=1)
        position[np.arange(races), chosen] = place
    frame = pl.DataFrame(
        {
            "race_date": np.repeat(np.datetime64("2020-01-01") + np.arange(races) // 10, 9),
            "race_key": np.repeat(np.arange(races), 9),
            "win_share": (position == 1).astype(float).ravel(),
        }
    )
    return Races.from_frame(frame), p.ravel(), position.ravel()


def test_both_fits_find_the_exponents() -> None:
    races, p, position = simulated(4000, 0.7, 0.8)
    fit = fit_from_positions(p, position, races)
    assert abs(fit.gamma - 0.7) < 3 * fit.gamma_se < 0.1
    assert abs(fit.delta - 0.8) < 3 * fit.delta_se < 0.12
    # Half of the races pay two places, half three; the order of the placed is hidden.
    places = races.spread(np.where(np.arange(4000) % 2, 2, 3))
    hidden = fit_from_placed(p, position <= places, races)
    assert abs(hidden.gamma - 0.7) < 3 * hidden.gamma_se < 0.15
    assert abs(hidden.delta - 0.8) < 3 * hidden.delta_se < 0.3
    assert hidden.delta_se > fit.delta_se


def test_too_few_races_are_named() -> None:
    races, p, position = simulated(100, 0.7, 0.8)
    with pytest.raises(TooFewRacesError, match="place 2"):
        fit_from_positions(p, position, races)
    with pytest.raises(TooFewRacesError, match="2 places"):
        fit_from_placed(p, position <= 3, races)
