"""Place terms: the usual ones, own ones, none."""

from __future__ import annotations

import pytest

from velo_assets.racing.place_terms import PlaceTerm, place_terms


@pytest.mark.parametrize(
    ("field_size", "handicap", "places", "fraction"),
    [
        (4, False, 0, 0.0),
        (5, False, 2, 0.25),
        (7, True, 2, 0.25),
        (8, False, 3, 0.2),
        (11, True, 3, 0.2),
        (12, True, 3, 0.25),
        (12, False, 3, 0.2),
        (16, True, 4, 0.25),
        (20, False, 3, 0.2),
    ],
)
def test_standard_terms(field_size: int, handicap: bool, places: int, fraction: float) -> None:
    got = place_terms([field_size], [handicap])
    assert (got[0][0], got[1][0]) == (places, fraction)


def test_terms_are_configuration() -> None:
    places, fraction = place_terms([6], [False], (PlaceTerm(1, 3, 0.2),))
    assert (places[0], fraction[0]) == (3, 0.2)


def test_a_field_without_terms_is_an_error() -> None:
    with pytest.raises(ValueError, match="field of 3"):
        place_terms([3, 9], [False, False], (PlaceTerm(8, 3, 0.2),))
