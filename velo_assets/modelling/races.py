"""Runners as flat arrays grouped by race, and the race softmax with its likelihood.

Belongs here: the layout every model shares (runners sorted by race, `race_starts`), the softmax, the loss per race and
McFadden's R2. Not here: anything that learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.modelling.guards import NoPricesError, require_columns, require_earlier, require_races

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

KEYS = ("race_date", "race_key", "runner_key")
"""Sort order of every frame that enters a model, and the key of every prediction that leaves one."""

SETTLED_TOLERANCE = 1e-6
"""`win_share` is a ratio of small integers; anything further from 1 than this is a race without a full result."""


def race_sum(values: FloatArray, starts: IntArray) -> FloatArray:
    """Sum over the runners of each race.

    Args:
        values: `(runners,)` or `(runners, columns)`.
        starts: `(races,)` offset of each race's first runner.

    Returns:
        `(races,)` or `(races, columns)`.
    """
    return np.add.reduceat(values, starts, axis=0)


def field_sizes(starts: IntArray, runners: int) -> IntArray:
    """Number of runners of each race.

    Args:
        starts: `(races,)` offsets.
        runners: number of rows in all.

    Returns:
        `(races,)` counts.
    """
    return np.diff(starts, append=runners)


def race_softmax(scores: FloatArray, starts: IntArray) -> FloatArray:
    """Conditional-logit probability `exp(s_i) / sum_j exp(s_j)` over the runners of each race.

    Args:
        scores: `(runners,)` log-odds scores, finite, sorted by race.
        starts: `(races,)` offset of each race's first runner.

    Returns:
        `(runners,)` probabilities; each race sums to 1. A race that holds a NaN score is NaN throughout.
    """
    if len(scores) == 0:
        return np.zeros(0)
    sizes = field_sizes(starts, len(scores))
    weights = np.exp(scores - np.repeat(np.maximum.reduceat(scores, starts), sizes))
    probability: FloatArray = weights / np.repeat(np.add.reduceat(weights, starts), sizes)
    return probability


def log_loss_per_race(probability: FloatArray, win_share: FloatArray, starts: IntArray) -> FloatArray:
    """Loss of each race, `-sum_i w_i log c_i`, where dead-heaters split the winner's weight w.

    Args:
        probability: `(runners,)`.
        win_share: `(runners,)` 1 for a sole winner, 1/n for each of n dead-heaters, else 0.
        starts: `(races,)` offset of each race's first runner.

    Returns:
        `(races,)` losses in nats.
    """
    won = win_share > 0
    terms = np.zeros(len(probability))
    terms[won] = -win_share[won] * np.log(np.maximum(probability[won], 1e-300))
    return race_sum(terms, starts)


def mcfadden_r2(loss_per_race: FloatArray, field_size: IntArray) -> float:
    """McFadden's `R2 = 1 - mean(loss) / mean(ln n)`: 0 for picking at random, 1 for certainty.

    Args:
        loss_per_race: `(races,)` from `log_loss_per_race`.
        field_size: `(races,)` runners n of each race.

    Returns:
        The pooled R2; NaN when there is no race or every race is a walk-over.
    """
    null = float(np.log(field_size).sum()) if len(field_size) else 0.0
    return 1.0 - float(loss_per_race.sum()) / null if null > 0 else float("nan")


@dataclass(frozen=True, eq=False)
class Races:
    """Runners of many races as flat arrays, sorted by `race_date, race_key, runner_key`.

    Attributes:
        race_key: `(races,)`.
        race_date: `(races,)` datetime64[D].
        race_starts: `(races,)` offset of each race's first runner.
        field_size: `(races,)` runners of each race.
        win_share: `(runners,)` 1, 1/n for dead-heaters, 0; NaN for races without a result (upcoming cards).
    """

    race_key: IntArray
    race_date: NDArray[np.datetime64]
    race_starts: IntArray
    field_size: IntArray
    win_share: FloatArray

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Races:
        """Group a sorted frame.

        Args:
            frame: runners with `race_date`, `race_key` and, where known, `win_share`, sorted by `KEYS`.

        Raises:
            MissingFeatureError: a key column is missing.
            ValueError: the rows of some race are not next to each other, or dates do not rise.
        """
        require_columns(frame, ("race_date", "race_key"), "races")
        keys = frame.get_column("race_key").to_numpy().astype(np.int64)
        dates = frame.get_column("race_date").to_numpy().astype("datetime64[D]")
        if len(keys) == 0:
            empty = np.zeros(0, dtype=np.int64)
            return cls(empty, np.zeros(0, dtype="datetime64[D]"), empty, empty, np.zeros(0))
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))).astype(np.int64)
        if len(np.unique(keys[starts])) != len(starts):
            raise ValueError(
                "races: the runners of a race are not next to each other; sort the frame with sort_runners()"
            )
        if np.any(dates[1:] < dates[:-1]):
            raise ValueError("races: race dates do not rise; sort the frame with sort_runners()")
        share = (
            frame.get_column("win_share").cast(pl.Float64).to_numpy().astype(np.float64)
            if "win_share" in frame.columns
            else np.full(len(keys), np.nan)
        )
        return cls(keys[starts], dates[starts], starts, field_sizes(starts, len(keys)), share)

    def __len__(self) -> int:
        return len(self.race_key)

    @property
    def runners(self) -> int:
        """Number of runners in all."""
        return len(self.win_share)

    def spread(self, per_race: NDArray[np.generic]) -> NDArray[np.generic]:
        """Repeat a value of each race for each of its runners: `(races,)` to `(runners,)`."""
        return np.repeat(per_race, self.field_size)

    def softmax(self, scores: FloatArray) -> FloatArray:
        """`race_softmax` over these races: `(runners,)` to `(runners,)`."""
        return race_softmax(scores, self.race_starts)

    def loss(self, probability: FloatArray) -> FloatArray:
        """`log_loss_per_race` over these races: `(runners,)` to `(races,)`."""
        return log_loss_per_race(probability, self.win_share, self.race_starts)

    def r2(self, probability: FloatArray) -> float:
        """Pooled `mcfadden_r2` of probabilities of these races."""
        return mcfadden_r2(self.loss(probability), self.field_size)

    def settled(self) -> BoolArray:
        """`(races,)` whether the win shares sum to 1."""
        return np.abs(race_sum(self.win_share, self.race_starts) - 1.0) < SETTLED_TOLERANCE

    def runner_mask(self, race_mask: BoolArray) -> BoolArray:
        """`(runners,)` mask of the runners of the chosen races."""
        return np.repeat(race_mask, self.field_size)

    def subset(self, race_mask: BoolArray) -> Races:
        """The chosen races, as a `Races` of their own."""
        sizes = self.field_size[race_mask]
        starts = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64) if len(sizes) else sizes
        return Races(
            self.race_key[race_mask],
            self.race_date[race_mask],
            starts,
            sizes,
            self.win_share[self.runner_mask(race_mask)],
        )


def sort_runners(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort a frame by `race_date, race_key, runner_key`, the order every model expects; one in order is not copied."""
    require_columns(frame, KEYS, "sort_runners")
    in_order = np.zeros(max(frame.height - 1, 0), dtype=bool)
    tied = np.ones(max(frame.height - 1, 0), dtype=bool)
    for name in KEYS:
        values = frame.get_column(name).to_numpy()
        in_order |= tied & (values[1:] > values[:-1])
        tied &= values[1:] == values[:-1]
    return frame if bool(np.all(in_order | tied)) else frame.sort(list(KEYS))


def settled_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of races that have a full result: at least two runners and win shares that sum to 1.

    Args:
        frame: runners with `KEYS` and `win_share`, in any order.

    Returns:
        The rows kept, sorted by `KEYS`.
    """
    require_columns(frame, (*KEYS, "win_share"), "settled_frame")
    ordered = sort_runners(frame)
    races = Races.from_frame(ordered)
    return _keep(ordered, races.runner_mask(races.settled() & (races.field_size > 1)))


def priced_frame(frame: pl.DataFrame, probability: str = "market_probability") -> pl.DataFrame:
    """Rows of races in which every runner has a market probability above 0: partial books never count.

    Args:
        frame: runners with `KEYS` and `probability`, sorted by `KEYS`.
        probability: name of the market's column.

    Returns:
        The rows kept, in the same order.
    """
    require_columns(frame, (*KEYS, probability), "priced_frame")
    races = Races.from_frame(frame)
    if len(races) == 0:
        return frame
    priced = frame.get_column(probability).fill_null(0.0).fill_nan(0.0).to_numpy() > 0
    return _keep(frame, races.runner_mask(np.logical_and.reduceat(priced, races.race_starts)))


def settled_and_priced(
    earlier: pl.DataFrame, columns: Sequence[str], cutoff: date, what: str, *, embargo_days: int, min_races: int
) -> pl.DataFrame:
    """What a fit on top of the market may learn from: settled races with a full set of prices, checked for look-ahead.

    Args:
        earlier: runners offered to the fit, with `KEYS`, `win_share`, `market_probability` and `columns`.
        columns: what else the fit reads.
        cutoff: first day of the scored fold.
        what: name of the fit with its cutoff, for the messages.
        embargo_days: days before the cutoff that are not used.
        min_races: fewest races.

    Returns:
        The rows kept, sorted by `KEYS`.

    Raises:
        LookAheadError: rows reach into the embargo or the fold.
        MissingFeatureError: a column is missing.
        NoPricesError: no settled race has a full set of prices.
        TooFewRacesError: fewer than `min_races` are left.
    """
    require_columns(earlier, (*KEYS, "win_share", "market_probability", *columns), what)
    require_earlier(earlier, cutoff, embargo_days, what)
    settled = settled_frame(earlier)
    priced = priced_frame(settled)
    if settled.height and priced.is_empty():
        raise NoPricesError(f"{what}: no settled race has a full set of prices")
    require_races(len(Races.from_frame(priced)), min_races, what)
    return priced


def latest_races(frame: pl.DataFrame, count: int) -> pl.DataFrame:
    """Rows of the latest so many races of a frame sorted by `KEYS`."""
    races = Races.from_frame(frame)
    return frame if len(races) <= count else frame.slice(int(races.race_starts[-count]))


def _keep(frame: pl.DataFrame, mask: BoolArray) -> pl.DataFrame:
    """Rows of the mask, without a copy when it keeps all: a matrix of 2 million runners takes gigabytes."""
    return frame if mask.all() else frame.filter(pl.Series(mask))


def feature_matrix(frame: pl.DataFrame, features: Sequence[str]) -> NDArray[np.float32]:
    """Columns as a float32 matrix; nulls become NaN, which every model here reads as missing.

    Args:
        frame: runners.
        features: numeric or boolean columns.

    Returns:
        `(runners, features)`, stored by column.

    Raises:
        MissingFeatureError: a column is missing.
    """
    require_columns(frame, features, "feature_matrix")
    matrix = np.empty((frame.height, len(features)), dtype=np.float32, order="F")
    for position, name in enumerate(features):
        matrix[:, position] = frame.get_column(name).cast(pl.Float32).to_numpy()
    return matrix


def between(frame: pl.DataFrame, start: date | None, end: date | None) -> pl.DataFrame:
    """Rows with `start <= race_date < end`; None leaves that side open. A frame sorted by date is not copied."""
    dates = frame.get_column("race_date")
    if dates.is_sorted():
        first = 0 if start is None else int(dates.search_sorted(start, side="left"))
        last = frame.height if end is None else int(dates.search_sorted(end, side="left"))
        return frame.slice(first, max(last - first, 0))
    if start is not None:
        frame = frame.filter(pl.col("race_date") >= start)
    return frame if end is None else frame.filter(pl.col("race_date") < end)
