"""Rule 4: what a late withdrawal takes off the winnings of bets struck before it.

Belongs here: the table of deductions and their sum over a race's withdrawals. Not here: which bets settle how
(`settlement`, `betting.settle`).
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

RULE4_TABLE: tuple[tuple[float, int], ...] = (
    (0.0, 90),
    (2 / 17, 85),
    (1 / 5, 80),
    (2 / 7, 75),
    (1 / 3, 70),
    (4 / 9, 65),
    (4 / 7, 60),
    (4 / 6, 55),
    (5 / 6, 50),
    (1.0, 45),
    (5 / 4, 40),
    (13 / 8, 35),
    (15 / 8, 30),
    (5 / 2, 25),
    (10 / 3, 20),
    (9 / 2, 15),
    (6.0, 10),
    (10.0, 5),
)
"""Shortest fractional price of each band and its deduction in pence in the pound. Source: Tattersalls Rule 4(c). A
price that falls between two bands (9.5/1 on an exchange) stays in the shorter band: the bettor's worse case."""

LONGEST_DEDUCTED = 14.0
"""A withdrawn runner at more than 14/1 costs nothing."""

MAX_DEDUCTION_PENCE = 90
"""However many runners come out, the winner keeps at least 10p in the pound."""

_TOLERANCE = 1e-9


def deduction_pence(decimal_odds: ArrayLike) -> NDArray[np.int64]:
    """Deduction for one withdrawn runner.

    Args:
        decimal_odds: price of the withdrawn runner when it came out, at least 1.

    Returns:
        Pence in the pound, 0 to 90, same shape; 0 where the price is missing (NaN).

    Raises:
        ValueError: a price below 1.
    """
    odds = np.asarray(decimal_odds, dtype=np.float64)
    if np.any(odds < 1.0):
        raise ValueError(f"rule 4: decimal odds of a withdrawn runner must be at least 1, got {np.nanmin(odds)}")
    fraction = odds - 1.0
    lows = np.array([low for low, _ in RULE4_TABLE])
    pence = np.array([deduction for _, deduction in RULE4_TABLE], dtype=np.int64)
    band = np.searchsorted(lows, fraction + _TOLERANCE, side="right") - 1
    deducted = pence[np.clip(band, 0, len(pence) - 1)]
    return np.where(np.isnan(fraction) | (fraction > LONGEST_DEDUCTED + _TOLERANCE), 0, deducted).astype(np.int64)


def deductions_for_bets(bets: pl.DataFrame, withdrawals: pl.DataFrame) -> pl.Series:
    """Rule 4 deduction of every bet: the sum over runners withdrawn from its race after it was struck, at most 90.

    Args:
        bets: one row per bet with `race_key` and `placed_at` (Datetime; null = no time known, so no deduction can be
            proven and none is made).
        withdrawals: one row per withdrawn runner with `race_key`, `withdrawn_at` (Datetime) and `decimal_odds` (its
            price then).

    Returns:
        `rule4_pence`, Int64, one value per row of `bets`, in the same order.
    """
    if withdrawals.is_empty() or bets.is_empty():
        return pl.Series("rule4_pence", np.zeros(bets.height, dtype=np.int64))
    priced = withdrawals.select(
        "race_key",
        "withdrawn_at",
        pl.Series("pence", deduction_pence(withdrawals.get_column("decimal_odds").cast(pl.Float64).to_numpy())),
    )
    rows = bets.select("race_key", "placed_at").with_row_index("bet")
    summed = (
        rows.join(priced, on="race_key", how="inner")
        .filter(pl.col("withdrawn_at") > pl.col("placed_at"))
        .group_by("bet")
        .agg(pl.col("pence").sum().clip(0, MAX_DEDUCTION_PENCE))
    )
    return (
        rows.join(summed, on="bet", how="left", maintain_order="left")
        .get_column("pence")
        .fill_null(0)
        .cast(pl.Int64)
        .alias("rule4_pence")
    )
