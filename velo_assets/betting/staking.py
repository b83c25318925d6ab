"""How much to stake: flat, in proportion to price or bankroll, exact simultaneous Kelly, and the bankroll it grows or
ruins.

Belongs here: stakes as money or as fractions of the bankroll, and the day-by-day bankroll path. Not here: which runners
are backed (`strategies`), what fills (`execution`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

StakingMethod = Literal["flat", "to_price", "proportional", "kelly"]


@dataclass(frozen=True)
class Staking:
    """A staking plan.

    Attributes:
        method: `flat` = `unit` per bet; `to_price` = `unit` times 1/odds, so that every winner returns the same;
            `proportional` = `fraction` of the bankroll per bet; `kelly` = `fraction` of the exact Kelly stake.
        unit: money staked per bet by the first two methods.
        fraction: of the bankroll, or of the Kelly stake. A quarter by default: full Kelly on probabilities that are off
            by a few per cent halves the bankroll as often as it doubles it.
        bankroll: money at the start, for the methods that need one.
        cap_bet: largest stake as a fraction of the bankroll, per bet.
        cap_race: the same for all bets of a race together.
        cap_day: the same for all bets of a day together.
        drawdown_stop: betting ends for good when the bankroll is this fraction below its peak; None = never.
    """

    method: StakingMethod = "flat"
    unit: float = 1.0
    fraction: float = 0.25
    bankroll: float = 1000.0
    cap_bet: float = 0.02
    cap_race: float = 0.05
    cap_day: float = 0.20
    drawdown_stop: float | None = None

    def __post_init__(self) -> None:
        if self.method not in ("flat", "to_price", "proportional", "kelly"):
            raise ValueError(f"staking: unknown method {self.method!r}; use flat, to_price, proportional or kelly")
        for name in ("unit", "fraction", "bankroll", "cap_bet", "cap_race", "cap_day"):
            if not getattr(self, name) > 0:
                raise ValueError(f"staking: {name} must be above 0, got {getattr(self, name)}")
        if self.drawdown_stop is not None and not 0 < self.drawdown_stop <= 1:
            raise ValueError(f"staking: drawdown_stop must be in (0, 1], got {self.drawdown_stop}")

    @property
    def uses_bankroll(self) -> bool:
        """Whether stakes depend on the bankroll of the day."""
        return self.method in ("proportional", "kelly")


PRESETS: dict[str, Staking] = {
    "paper_trading": Staking(method="kelly", fraction=0.1, bankroll=1000.0, drawdown_stop=0.5),
}
"""Plans with a name, for `staking = { preset = "..." }`. Paper trading: bankroll 1,000, a tenth of Kelly (with three
modules in agreement, which the strategy asks for)."""


def simultaneous_kelly(
    probability: FloatArray, decimal_odds: FloatArray, race_starts: IntArray, eligible: BoolArray | None = None
) -> FloatArray:
    """Exact Kelly fractions for win bets on several runners of one race, for many races at once.

    Maximises expected log wealth over the stakes of a race. Runners enter in falling order of `e = p * O` while `e`
    exceeds the reserve rate `b = (1 - sum p_S) / (1 - sum 1/O_S)`; the stake is `p - b/O`. Source: Smoczynski
    and Tomkins (2010).

    Args:
        probability: `(runners,)` win probabilities, sorted by race.
        decimal_odds: `(runners,)` decimal odds; NaN = not on offer.
        race_starts: `(races,)` offset of each race's first runner.
        eligible: `(runners,)` runners that may be backed; None = all that have a price and a probability.

    Returns:
        `(runners,)` fractions of the bankroll; 0 where nothing is staked.
    """
    runners = len(probability)
    fractions = np.zeros(runners)
    if runners == 0:
        return fractions
    race = np.repeat(np.arange(len(race_starts)), np.diff(race_starts, append=runners))
    usable = np.isfinite(probability) & np.isfinite(decimal_odds) & (decimal_odds > 1.0)
    if eligible is not None:
        usable &= eligible
    expected = np.where(usable, probability * np.where(usable, decimal_odds, 1.0), 0.0)
    # A race without a runner above evens value stakes nothing, so only the others are sorted.
    hopeful = np.zeros(len(race_starts), dtype=np.bool_)
    hopeful[race[expected > 1.0]] = True
    rows = np.flatnonzero(hopeful[race] & usable)
    if len(rows) == 0:
        return fractions
    rows = rows[np.lexsort((-expected[rows], race[rows]))]
    p, implied, value, group = probability[rows], 1.0 / decimal_odds[rows], expected[rows], race[rows]
    first = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))
    size = np.diff(first, append=len(rows))
    p_before = _cumulated_before(p, first, size)
    implied_before = _cumulated_before(implied, first, size)
    room = 1.0 - implied_before
    reserve = np.where(room > 1e-12, (1.0 - p_before) / np.where(room > 1e-12, room, 1.0), np.inf)
    enters = value > reserve
    # The set is a prefix: the first runner refused ends it.
    refused_before = _cumulated_before((~enters).astype(np.float64), first, size) > 0
    enters &= ~refused_before
    p_set = np.add.reduceat(np.where(enters, p, 0.0), first)
    implied_set = np.add.reduceat(np.where(enters, implied, 0.0), first)
    # With the set's book at or below 1 there is nothing left to hold in reserve (an arbitrage): stake in proportion to
    # p.
    final = np.where(
        implied_set < 1.0 - 1e-12, (1.0 - p_set) / np.where(implied_set < 1.0 - 1e-12, 1.0 - implied_set, 1.0), 0.0
    )
    fractions[rows] = np.where(enters, np.maximum(p - np.repeat(np.maximum(final, 0.0), size) * implied, 0.0), 0.0)
    return fractions


def cap_fractions(fraction: FloatArray, race: IntArray, day: IntArray, staking: Staking) -> FloatArray:
    """Apply the caps per bet, race and day.

    Args:
        fraction: `(bets,)` of the bankroll.
        race: `(bets,)` any integer label of the race.
        day: `(bets,)` any integer label of the day.
        staking: caps.

    Returns:
        `(bets,)` capped fractions. A race or day over its cap is scaled down as a whole, which keeps the proportions.
    """
    capped = np.minimum(fraction, staking.cap_bet)
    for label, cap in ((race, staking.cap_race), (day, staking.cap_day)):
        if len(capped):
            _, group = np.unique(label, return_inverse=True)
            total = np.bincount(group, weights=capped)
            capped = capped * np.minimum(1.0, cap / np.maximum(total, 1e-300))[group]
    return capped


@dataclass(frozen=True, eq=False)
class BankrollPath:
    """What the bankroll did.

    Attributes:
        stake: `(bets,)` matched money.
        bankroll: `(bets,)` bankroll at the start of the bet's day.
        reason: `(bets,)` code from the fill function, or `STOPPED`.
        closing: bankroll after the last day.
    """

    stake: FloatArray
    bankroll: FloatArray
    reason: IntArray
    closing: float


STOPPED = -1
"""Reason code of a bet not placed because the drawdown stop had ended betting."""

Fill = Callable[[FloatArray, slice], tuple[FloatArray, IntArray]]
"""Takes requested stakes and the rows they belong to; returns matched stakes and reason codes."""


def bankroll_path(
    fraction: FloatArray,
    day: IntArray,
    race: IntArray,
    profit_per_unit: FloatArray,
    staking: Staking,
    fill: Fill,
    commission: float = 0.0,
) -> BankrollPath:
    """Stake fractions of a bankroll that changes from day to day.

    The loop is over race days, not bets: the stakes of a day depend on the bankroll the day before left.

    Args:
        fraction: `(bets,)` capped fractions, sorted by day, then race.
        day: `(bets,)` integer label of the day, rising.
        race: `(bets,)` integer label of the race.
        profit_per_unit: `(bets,)` profit of 1 unit staked before commission; 0 for void bets.
        staking: opening bankroll and drawdown stop.
        fill: what the market takes of the requested stakes.
        commission: share of the net winnings of each race.

    Returns:
        The path.
    """
    bets = len(fraction)
    stake, opening = np.zeros(bets), np.zeros(bets)
    reason = np.zeros(bets, dtype=np.int64)
    balance = peak = staking.bankroll
    edges = (
        np.flatnonzero(np.concatenate(([True], day[1:] != day[:-1], [True]))) if bets else np.zeros(0, dtype=np.int64)
    )
    for begin, end in pairwise(edges):
        rows = slice(int(begin), int(end))
        opening[rows] = balance
        if staking.drawdown_stop is not None and balance <= (1.0 - staking.drawdown_stop) * peak:
            reason[begin:] = STOPPED
            opening[begin:] = balance
            break
        stake[rows], reason[rows] = fill(fraction[rows] * balance, rows)
        gross = stake[rows] * profit_per_unit[rows]
        balance += float(gross.sum())
        if commission > 0:
            _, market = np.unique(race[rows], return_inverse=True)
            balance -= commission * float(np.maximum(np.bincount(market, weights=gross), 0.0).sum())
        peak = max(peak, balance)
    return BankrollPath(stake, opening, reason, balance)


def _cumulated_before(values: FloatArray, first: IntArray, size: IntArray) -> FloatArray:
    """Sum of the earlier values of the same group, for groups laid end to end."""
    running = np.cumsum(values) - values
    return running - np.repeat(running[first], size)
