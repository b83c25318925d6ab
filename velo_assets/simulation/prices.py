"""The bookmaker's board of the simulated world: fractional prices, favourite marks, opening shows.

Not here: what the market believes (`season`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from velo_assets.simulation.names import words

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LADDER = words(
    """
    1/100 1/50 1/33 1/25 1/20 1/16 1/14 1/12 1/10 1/9 1/8 2/15 1/7 2/13 1/6 2/11 1/5 2/9 1/4 2/7 3/10 1/3 4/11 2/5 4/9
    1/2 8/15 4/7 8/13 4/6 8/11 4/5 5/6 10/11 Evens 11/10 6/5 5/4 11/8 6/4 13/8 7/4 15/8 2/1 9/4 5/2 11/4 3/1 100/30
    7/2 4/1 9/2 5/1 11/2 6/1 13/2 7/1 15/2 8/1 17/2 9/1 10/1 11/1 12/1 14/1 16/1 18/1 20/1 22/1 25/1 28/1 33/1 40/1
    50/1 66/1 80/1 100/1 125/1 150/1 200/1 250/1 300/1 400/1 500/1 750/1 1000/1
    """
)
"""Every price the ring calls, shortest first. Some are unreduced by custom (6/4, 4/6, 100/30)."""
ODD_FORMS = {
    "2/1": "4/2",
    "5/2": "10/4",
    "5/1": "10/2",
    "4/1": "8/2",
    "3/1": "6/2",
    "10/1": "20/2",
    "9/2": "18/4",
    "7/2": "14/4",
}
"""Unreduced ways to write a price, found in the real files beside the usual ones."""


def decimal_ladder() -> Floats:
    """Decimal odds of `LADDER`, ascending."""
    pairs = [(1, 1) if text == "Evens" else tuple(map(int, text.split("/"))) for text in LADDER]
    return np.array([1.0 + up / down for up, down in pairs])


def nearest_price(implied: Floats) -> Ints:
    """Index into `LADDER` of the price nearest to an implied probability, by ratio.

    Args:
        implied: probability with the bookmaker's margin, shape (n,); 1 and above become the shortest price.
    """
    log_odds = np.log(decimal_ladder() - 1.0)
    wanted = np.log(1.0 / np.clip(implied, 1e-6, 0.985) - 1.0)
    above = np.searchsorted(log_odds, wanted).clip(1, len(log_odds) - 1)
    return np.asarray(np.where(wanted - log_odds[above - 1] <= log_odds[above] - wanted, above - 1, above))


def favourite_marks(price: Ints, first: Ints, size: Ints) -> NDArray[np.object_]:
    """`F` for the favourite, `J` for two joint favourites, `C` for three or more; empty for the others."""
    shortest = np.repeat(np.minimum.reduceat(price, first), size)
    is_favourite = price == shortest
    sharing = np.repeat(np.add.reduceat(is_favourite.astype(int), first), size)
    marks = np.array(["", "F", "J", "C"], dtype=object)
    return np.asarray(marks[np.where(is_favourite, sharing.clip(1, 3), 0)], dtype=object)
