"""The rules that turn an official result into a return per unit staked.

Belongs here: dead heats, the result as at weigh-in, sound and unsound results, the pay-out formulas. Not here: bets,
ledgers, commission (`betting.settle`).
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

MIN_DECIMAL_ODDS = 1.01
"""The shortest price any market offers. A lower one is a fault of the data, never a bet."""


def win_return(decimal_odds: ArrayLike, win_share: ArrayLike, rule4_pence: ArrayLike = 0) -> FloatArray:
    """Return of 1 unit staked to win, stake included.

    A dead heat of n puts 1/n of the stake on at full odds and loses the rest; Rule 4 reduces winnings, never the stake.
    Example: 10 at 10/1 in a two-way dead heat returns 5 * 11 = 55.

    Args:
        decimal_odds: price of the bet.
        win_share: 1 won, 1/n dead-heated with n - 1 others, 0 lost.
        rule4_pence: deduction in pence in the pound.

    Returns:
        Units returned, at least 0.
    """
    odds, share, pence = (np.asarray(values, dtype=np.float64) for values in (decimal_odds, win_share, rule4_pence))
    return share * (1.0 + (odds - 1.0) * (1.0 - pence / 100.0))


def place_share(position: ArrayLike, tied_runners: ArrayLike, places: ArrayLike) -> FloatArray:
    """Part of a place bet that is paid.

    Runners that tie for the last place share what is left of it: two tied for third with three places get half each.

    Args:
        position: official position, NaN for non-finishers; runners that tie hold the same (best) position.
        tied_runners: runners that hold that position, 1 when alone.
        places: places paid, 0 for none.

    Returns:
        Shares from 0 to 1.
    """
    finished, tied, paid = (np.asarray(values, dtype=np.float64) for values in (position, tied_runners, places))
    share = np.clip((paid - (finished - 1.0)) / np.maximum(tied, 1.0), 0.0, 1.0)
    return np.where(np.isfinite(finished), share, 0.0)


def place_return(
    decimal_odds: ArrayLike, fraction: ArrayLike, share: ArrayLike, rule4_pence: ArrayLike = 0
) -> FloatArray:
    """Return of 1 unit staked on the place part of an each-way bet, stake included.

    Args:
        decimal_odds: win price of the bet.
        fraction: part of the win odds paid for a place.
        share: from `place_share`.
        rule4_pence: deduction in pence in the pound.

    Returns:
        Units returned, at least 0.
    """
    odds, part = (np.asarray(values, dtype=np.float64) for values in (decimal_odds, fraction))
    return win_return(1.0 + (odds - 1.0) * part, share, rule4_pence)


def settling_results(results: pl.DataFrame) -> pl.DataFrame:
    """The result each runner settles on, and whether its race settles at all.

    Bets settle on the result as at weigh-in: a later disqualification changes nothing. Where `results` has a
    `weighed_in_position`, it rules; otherwise the recorded result is taken as the result at weigh-in.

    Args:
        results: `core.results`, at least `race_key, runner_key, position, won, dead_heat_runners`; optionally
            `weighed_in_position`. All runners of a race.

    Returns:
        One row per runner: `race_key`, `runner_key`, `settles` (Boolean), `unsettled_reason` (null when it settles),
        `weighed_in_position`, `win_share` (1, 1/n, 0), `tied_runners` (runners that share the position) and `winners`
        (of the race). A race
        without a winner, and one with several winners that are not flagged as a dead heat of that many, does not
        settle.
    """
    weighed_in = "weighed_in_position" in results.columns
    position = (
        pl.coalesce(pl.col("weighed_in_position"), pl.col("position")) if weighed_in else pl.col("position")
    ).cast(pl.Int64)
    amended = (
        (pl.col("weighed_in_position").is_not_null() & (pl.col("weighed_in_position") != pl.col("position")))
        .any()
        .over("race_key")
        if weighed_in
        else pl.lit(False)
    )
    # In an amended race the recorded winner and dead-heat flags belong to the later result: they are derived anew.
    won = pl.when(amended).then(position == 1).otherwise(pl.col("won").fill_null(0) > 0)
    frame = results.select(
        "race_key",
        "runner_key",
        position.alias("weighed_in_position"),
        won.fill_null(False).alias("_won"),
        amended.fill_null(False).alias("_amended"),
        pl.col("dead_heat_runners").fill_null(1).clip(lower_bound=1).cast(pl.Int64).alias("_flagged"),
    ).with_columns(
        pl.col("_won").sum().over("race_key").cast(pl.Int64).alias("winners"),
        pl.when(pl.col("weighed_in_position").is_null())
        .then(1)
        .otherwise(pl.len().over("race_key", "weighed_in_position"))
        .cast(pl.Int64)
        .alias("tied_runners"),
    )
    unflagged = (pl.col("_won") & ~pl.col("_amended") & (pl.col("_flagged") != pl.col("winners"))).any().over(
        "race_key"
    ) & (pl.col("winners") > 1)
    reason = (
        pl.when(pl.col("winners") == 0)
        .then(pl.lit("race has no winner"))
        .when(unflagged)
        .then(pl.concat_str(pl.col("winners").cast(pl.String), pl.lit(" winners not flagged as a dead heat")))
        .otherwise(None)
    )
    return frame.with_columns(
        reason.alias("unsettled_reason"),
        pl.when(pl.col("_won")).then(1.0 / pl.col("winners")).otherwise(0.0).alias("win_share"),
    ).select(
        "race_key",
        "runner_key",
        pl.col("unsettled_reason").is_null().alias("settles"),
        "unsettled_reason",
        "weighed_in_position",
        "win_share",
        "tied_runners",
        "winners",
    )
