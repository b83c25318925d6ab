"""What the market takes of an order: available price, depth, spread, limits, partial fills.

Belongs here: a synthetic exchange book (seeded, a function of the runner, so that order of calls changes nothing),
quotes from real exchange streams, and the limits an order must pass. Not here: which orders are sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Side = Literal["back", "lay"]

(
    MATCHED,
    PART_DEPTH,
    PART_RACE,
    PART_DAY,
    PART_BET,
    NO_EV,
    WIDE,
    NOT_FILLED,
    NO_RACE_ROOM,
    NO_DAY_ROOM,
    TOO_SMALL,
    NO_QUOTE,
) = range(12)

REASONS: dict[int, str | None] = {
    MATCHED: None,
    PART_DEPTH: "partly matched: depth",
    PART_RACE: "partly matched: race liability cap",
    PART_DAY: "partly matched: day liability cap",
    PART_BET: "partly matched: bet liability cap",
    NO_EV: "expected value at the available price below the floor",
    WIDE: "spread too wide",
    NOT_FILLED: "not matched before the off",
    NO_RACE_ROOM: "race liability cap reached",
    NO_DAY_ROOM: "day liability cap reached",
    TOO_SMALL: "what could be matched is below the smallest stake",
    NO_QUOTE: "no price on offer at the decision time",
}
"""Words of each reason code, as they stand in the ledger."""


@dataclass(frozen=True)
class Limits:
    """Limits an order must pass. Money in the currency of the stakes; None = no limit.

    Attributes:
        min_ev: least expected value per unit at the available price.
        max_spread: widest (lay - back) / mid accepted.
        bet_liability: most that one bet may lose.
        race_liability: most that all bets of a race may lose together.
        day_liability: most that all bets of a day may lose together.
        min_stake: smallest stake the market takes.
    """

    min_ev: float | None = None
    max_spread: float | None = None
    bet_liability: float | None = None
    race_liability: float | None = None
    day_liability: float | None = None
    min_stake: float = 0.0


@dataclass(frozen=True, eq=False)
class Quotes:
    """The best prices and money on offer for each order.

    Attributes:
        back_price: `(orders,)` decimal odds at which one can back; NaN = none.
        lay_price: `(orders,)` decimal odds at which one can lay.
        back_size: `(orders,)` money that can be backed there.
        lay_size: `(orders,)` backer's money that can be laid there.
        filled: `(orders,)` whether an order is reached before the off.
    """

    back_price: FloatArray
    lay_price: FloatArray
    back_size: FloatArray
    lay_size: FloatArray
    filled: BoolArray

    def take(self, rows: NDArray[np.int64] | slice) -> Quotes:
        """The chosen rows."""
        return Quotes(
            self.back_price[rows], self.lay_price[rows], self.back_size[rows], self.lay_size[rows], self.filled[rows]
        )

    def where(self, mask: BoolArray, other: Quotes) -> Quotes:
        """The rows of `other` where the mask says so, these elsewhere."""
        return Quotes(
            np.where(mask, other.back_price, self.back_price),
            np.where(mask, other.lay_price, self.lay_price),
            np.where(mask, other.back_size, self.back_size),
            np.where(mask, other.lay_size, self.lay_size),
            np.where(mask, other.filled, self.filled),
        )

    @property
    def spread(self) -> FloatArray:
        """`(orders,)` (lay - back) / mid."""
        return (self.lay_price - self.back_price) / (0.5 * (self.lay_price + self.back_price))


@dataclass(frozen=True, eq=False)
class ExchangeBook:
    """What a real exchange offered when the orders were sent, for the races whose stream has landed.

    Attributes:
        quotes: one row per runner of the predictions.
        covered: `(runners,)` whether the race has a stream with an order book; elsewhere a synthetic book stands in.
        last_traded: `(runners,)` price of the last trade, NaN where no stream is: a stream without an order book, as
            the free files are, still says around which price the synthetic book has to stand.
        ordered_at: `(runners,)` UTC time of the order (datetime64), NaT where no stream is.
    """

    quotes: Quotes
    covered: BoolArray
    last_traded: FloatArray
    ordered_at: NDArray[np.datetime64]


@dataclass(frozen=True)
class SyntheticBook:
    """A made-up exchange book around a price. Its parameters are assumptions, not fits; reports say so.

    Spread widens and depth thins with price and with field size, as on any exchange: at 5.0 in a field of 10 the spread
    is `spread_at_5` and the depth `depth_at_5` (median); spread grows with odds^0.4, depth falls with 1/odds.

    Attributes:
        seed: with the runner key it fixes every draw.
        spread_at_5: relative spread of the odds.
        depth_at_5: money at the best price.
        fill_probability: chance that an order at the best price is matched in time when the spread is narrow.
    """

    seed: int = 2026
    spread_at_5: float = 0.02
    depth_at_5: float = 250.0
    fill_probability: float = 0.95

    def quotes(self, runner_key: IntArray, decimal_odds: FloatArray, field_size: IntArray) -> Quotes:
        """Quotes for orders at a decision price.

        Args:
            runner_key: `(orders,)`.
            decimal_odds: `(orders,)` price in the middle of the book.
            field_size: `(orders,)` runners of the race.

        Returns:
            Quotes; the same for the same runner, seed and price, whatever else is asked.
        """
        crowd = np.maximum(field_size, 2) / 10.0
        spread = (
            self.spread_at_5 * (decimal_odds / 5.0) ** 0.4 * crowd**0.3 * np.exp(0.35 * self._normal(runner_key, 1))
        )
        spread = np.clip(spread, 0.002, 1.0)
        depth = self.depth_at_5 * (5.0 / decimal_odds) / crowd**0.5
        reached = self.fill_probability * np.exp(-2.0 * spread)
        return Quotes(
            back_price=1.0 + (decimal_odds - 1.0) * (1.0 - spread / 2.0),
            lay_price=1.0 + (decimal_odds - 1.0) * (1.0 + spread / 2.0),
            back_size=depth * np.exp(0.8 * self._normal(runner_key, 2)),
            lay_size=depth * np.exp(0.8 * self._normal(runner_key, 3)),
            filled=_uniform(runner_key, self.seed, 4) < reached,
        )

    def _normal(self, key: IntArray, stream: int) -> FloatArray:
        """Standard normal draw per runner (Box-Muller on hashed uniforms)."""
        first = np.maximum(_uniform(key, self.seed, 10 * stream), 1e-12)
        second = _uniform(key, self.seed, 10 * stream + 1)
        normal: FloatArray = np.sqrt(-2.0 * np.log(first)) * np.cos(2.0 * np.pi * second)
        return normal


def stream_quotes(orders: pl.DataFrame, stream: pl.DataFrame) -> Quotes:
    """Quotes from a real exchange stream: for each order the last quote at or before its decision time.

    Args:
        orders: `runner_key` and `decided_at` (Datetime; null where there is no stream), one row per order.
        stream: `runner_key`, `quoted_at` (Datetime), `back_price`, `back_size`, `lay_price`, `lay_size`; any order.

    Returns:
        Quotes in the order of `orders`; NaN where nothing was quoted yet, or with no money behind it.
    """
    columns = _last_known(orders, stream, ("back_price", "lay_price", "back_size", "lay_size"))
    sizes = {side: np.nan_to_num(columns[f"{side}_size"]) for side in ("back", "lay")}
    # A price with no money behind it is no offer.
    prices = {side: np.where(sizes[side] > 0, columns[f"{side}_price"], np.nan) for side in ("back", "lay")}
    offered = np.isfinite(prices["back"]) | np.isfinite(prices["lay"])
    return Quotes(prices["back"], prices["lay"], sizes["back"], sizes["lay"], offered)


def last_traded(orders: pl.DataFrame, stream: pl.DataFrame) -> FloatArray:
    """Price of the last trade at or before the decision time of each order; NaN where there was none.

    Args:
        orders: as in `stream_quotes`.
        stream: `runner_key`, `quoted_at`, `last_traded`.
    """
    return _last_known(orders, stream, ("last_traded",))["last_traded"]


def _last_known(orders: pl.DataFrame, stream: pl.DataFrame, names: Sequence[str]) -> dict[str, FloatArray]:
    """Columns of the last row of the stream at or before each order, in the order of `orders`; NaN for none."""
    rows = orders.select("runner_key", "decided_at").with_row_index("_order").sort("decided_at")
    known = (
        rows.join_asof(
            stream.sort("quoted_at"),
            left_on="decided_at",
            right_on="quoted_at",
            by="runner_key",
            strategy="backward",
            check_sortedness=False,
        )
        .sort("_order")
        .select(pl.col(names).cast(pl.Float64).fill_null(float("nan")))
    )
    return {name: known.get_column(name).to_numpy() for name in names}


@dataclass(frozen=True, eq=False)
class Fills:
    """Result of sending orders.

    Attributes:
        stake: `(orders,)` matched money, never above the requested stake nor above any cap.
        reason: `(orders,)` code, see `REASONS`.
    """

    stake: FloatArray
    reason: IntArray


def execute(
    requested: FloatArray,
    probability: FloatArray,
    race: IntArray,
    day: IntArray,
    quotes: Quotes,
    limits: Limits,
    side: Side = "back",
) -> Fills:
    """Send orders in the order of their rows, which must be the order of time.

    Args:
        requested: `(orders,)` stake wanted (for a lay: the backer's stake).
        probability: `(orders,)` own win probability.
        race: `(orders,)` integer label, equal labels next to each other.
        day: `(orders,)` integer label, equal labels next to each other.
        quotes: what is on offer.
        limits: what an order must pass.
        side: back or lay.

    Returns:
        Fills.
    """
    price = quotes.back_price if side == "back" else quotes.lay_price
    size = quotes.back_size if side == "back" else quotes.lay_size
    quoted = np.isfinite(price)
    price = np.where(quoted, price, 2.0)
    value = probability * price - 1.0 if side == "back" else 1.0 - probability * price
    liability_per_unit = np.ones(len(requested)) if side == "back" else price - 1.0
    reason = np.full(len(requested), MATCHED, dtype=np.int64)
    stake = requested.astype(np.float64).copy()

    for cap, code in ((size, PART_DEPTH), (_per_unit(limits.bet_liability, liability_per_unit), PART_BET)):
        reason = np.where(stake > cap, code, reason)
        stake = np.minimum(stake, cap)
    refusals: list[tuple[BoolArray, int]] = [(~quotes.filled, NOT_FILLED)]
    if limits.max_spread is not None:
        # A book with offers on one side only has no spread, which is no narrow one.
        refusals.append((~(quotes.spread <= limits.max_spread), WIDE))
    if limits.min_ev is not None:
        refusals.append((value < limits.min_ev, NO_EV))
    refusals.append((~quoted, NO_QUOTE))
    for refused, code in refusals:
        reason = np.where(refused, code, reason)
        stake = np.where(refused, 0.0, stake)
    for label, limit, part, full in (
        (race, limits.race_liability, PART_RACE, NO_RACE_ROOM),
        (day, limits.day_liability, PART_DAY, NO_DAY_ROOM),
    ):
        if limit is not None:
            stake, reason = _within_cap(stake, reason, liability_per_unit, label, limit, part, full)
    small = (stake > 0) & (stake < limits.min_stake)
    reason = np.where(small, TOO_SMALL, reason)
    stake = np.where(small, 0.0, stake)
    return Fills(stake, reason)


def _per_unit(limit: float | None, liability_per_unit: FloatArray) -> FloatArray:
    """Largest stake whose liability stays within the limit."""
    if limit is None:
        return np.full(len(liability_per_unit), np.inf)
    return limit / np.maximum(liability_per_unit, 1e-12)


def _within_cap(
    stake: FloatArray,
    reason: IntArray,
    liability_per_unit: FloatArray,
    label: IntArray,
    limit: float,
    part: int,
    full: int,
) -> tuple[FloatArray, IntArray]:
    """First come, first served under a cap on the liability of each group of adjacent rows."""
    if len(stake) == 0:
        return stake, reason
    liability = stake * liability_per_unit
    first = np.flatnonzero(np.concatenate(([True], label[1:] != label[:-1])))
    size = np.diff(first, append=len(label))
    running = np.cumsum(liability) - liability
    used = running - np.repeat(running[first], size)
    allowed = np.clip(limit - used, 0.0, liability)
    # Sums of thousands of stakes carry rounding of about 1e-12; less than that is not a cut.
    cut = (allowed < liability * (1.0 - 1e-9)) & (stake > 0)
    gone = cut & (allowed <= 1e-9)
    kept = np.where(gone, 0.0, np.where(cut, allowed / np.maximum(liability_per_unit, 1e-12), stake))
    return kept, np.where(gone, full, np.where(cut, part, reason))


def _uniform(key: IntArray, seed: int, stream: int) -> FloatArray:
    """Uniform draw in [0, 1) that depends on key, seed and stream only (SplitMix64 finaliser)."""
    with np.errstate(over="ignore"):
        state = key.astype(np.uint64) + np.uint64((seed * 1_000_003 + stream * 7_919 + 1) & 0xFFFFFFFF) * np.uint64(
            0x9E3779B97F4A7C15
        )
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    uniform: FloatArray = (state >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    return uniform
