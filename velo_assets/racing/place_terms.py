"""Place terms: how many places an each-way bet pays and at what part of the win odds.

Belongs here: the terms as configuration and their look-up. Not here: settlement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class PlaceTerm:
    """Terms for races of some size.

    Attributes:
        min_runners: smallest field, counted at the off.
        places: places paid; 0 = win only (the whole stake is on the win).
        fraction: part of the win odds paid for a place, such as 0.2.
        handicap: True = handicaps only, False = other races only, None = all races.
    """

    min_runners: int
    places: int
    fraction: float
    handicap: bool | None = None


STANDARD_PLACE_TERMS: tuple[PlaceTerm, ...] = (
    PlaceTerm(1, 0, 0.0),
    PlaceTerm(5, 2, 0.25),
    PlaceTerm(8, 3, 0.20),
    PlaceTerm(12, 3, 0.25, handicap=True),
    PlaceTerm(16, 4, 0.25, handicap=True),
)
"""The usual British and Irish terms. Later rows take precedence where several apply."""


def place_terms(
    field_size: ArrayLike, is_handicap: ArrayLike, terms: Sequence[PlaceTerm] = STANDARD_PLACE_TERMS
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Terms of every race.

    Args:
        field_size: `(races,)` runners at the off.
        is_handicap: `(races,)` booleans.
        terms: the terms; later rows take precedence.

    Returns:
        `(places, fraction)`, both `(races,)`.

    Raises:
        ValueError: some field size has no terms.
    """
    sizes = np.asarray(field_size, dtype=np.int64)
    handicaps = np.asarray(is_handicap, dtype=np.bool_)
    places = np.full(sizes.shape, -1, dtype=np.int64)
    fraction = np.zeros(sizes.shape)
    for term in terms:
        applies = sizes >= term.min_runners
        if term.handicap is not None:
            applies &= handicaps == term.handicap
        places[applies] = term.places
        fraction[applies] = term.fraction
    if np.any(places < 0):
        raise ValueError(
            f"place terms: no terms for a field of {int(sizes[places < 0].min())}; add a row with a smaller min_runners"
        )
    return places, fraction
