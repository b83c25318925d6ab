"""Causes to retrain: a CUSUM on the log-loss gap to the market, drift of columns, the calendar.

Belongs here: measuring whether a cause is there, with a false-alarm rate that is known. Does not belong here: what
follows from it (retraining.py), how drift is measured (drift.py).

Source of the CUSUM: Page (1954), Continuous Inspection Schemes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.modelling.bootstrap import resample
from velo_assets.monitoring.drift import BINS, population_stability

FloatArray = NDArray[np.float64]

RACES_PER_YEAR = 10_000
"""The year that the false-alarm rate is stated for: about all flat and jump races of Britain and Ireland."""

FALSE_ALARMS_PER_YEAR = 0.25
"""A quarter of what is promised (one a year). Quiet worlds alarm half as often again as the bootstrap of one world's
days expects: the served model is not the one the reference was made with (docs/loop.md)."""

ALLOWANCE = 0.05
"""What a race may be worse than usual, in standard deviations, before the sum rises: half the smallest shift that
matters, .1. Smaller shifts are the business of the promotion gate, which sees every race anew."""

CALIBRATION_DRAWS = 1000
"""Resampled quiet years behind a threshold."""

DRIFT_NULL = 0.001
"""Columns cross their thresholds this often when nothing has changed (drift.NULL_QUANTILE)."""

DRIFT_ALARM = 0.0005
"""Share of reports in which so many columns cross by chance."""

LEAST_COLUMNS = 3
"""Fewer moved columns tell of nothing: neighbours are made from the same input and move together."""

GONE = 0.2
"""Rise of a column's missing share that no season explains: its source has broken off."""

WHOLE_YEAR_DAYS = 330
"""From here on a period has all seasons."""

USUAL_TIMES = 2.0
"""So many times the largest movement between quiet years is unusual: there are only a few years to know it by."""

LEAST_YEARS = 3
"""With fewer years the usual movement is not known, and a young root would raise an alarm every night: nothing but a
source that broke off is told then."""

LEAST_ROWS_OF_A_YEAR = 200
"""With fewer values a year's histogram is mostly chance."""

CALENDAR_DAYS = 365
"""A model is trained anew once a year whatever the monitors say: horses come and go."""


@dataclass(frozen=True, eq=False)
class DayGaps:
    """Log-loss gaps to the market summed over racing days; the day is the unit, as its races share going and crowd.

    Attributes:
        race_date: `(days,)` datetime64[D], rising.
        races: `(days,)` number of races.
        gap: `(days,)` sum of `log_loss_model - log_loss_market`, nats; positive = worse than the market.
    """

    race_date: NDArray[np.datetime64]
    races: FloatArray
    gap: FloatArray

    @classmethod
    def from_races(cls, race_date: NDArray[np.datetime64], gap: FloatArray) -> DayGaps:
        """Sum races up to days.

        Args:
            race_date: `(races,)` in any order.
            gap: `(races,)` nats, finite.

        Raises:
            ValueError: the lengths differ or a gap is not finite.
        """
        if len(race_date) != len(gap) or not np.isfinite(gap).all():
            raise ValueError(
                f"gaps to the market: {len(gap)} gaps for {len(race_date)} races, all must be finite; leave out races "
                "without a result or a full book"
            )
        days, place = np.unique(np.asarray(race_date, dtype="datetime64[D]"), return_inverse=True)
        size = len(days)
        return cls(
            days,
            np.bincount(place, minlength=size).astype(np.float64),
            np.bincount(place, weights=gap, minlength=size).astype(np.float64),
        )

    @classmethod
    def empty(cls) -> DayGaps:
        """No day at all."""
        return cls(np.zeros(0, dtype="datetime64[D]"), np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        return len(self.race_date)

    @property
    def total_races(self) -> int:
        """Races of all days."""
        return int(self.races.sum())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "race_date": [str(day) for day in self.race_date],
            "races": self.races.astype(int).tolist(),
            "gap": self.gap.tolist(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> DayGaps:
        """Inverse of `to_dict`."""
        return cls(
            np.asarray(stored["race_date"], dtype="datetime64[D]"),
            np.asarray(stored["races"], dtype=np.float64),
            np.asarray(stored["gap"], dtype=np.float64),
        )


@dataclass(frozen=True)
class CusumRule:
    """A one-sided CUSUM `S <- max(0, S + z - k n)` over racing days.

    A day of n races with gap sum g adds `z = (g - n mean) / sd`, where sd is per root of a race and taken between days.

    Attributes:
        mean: gap per race in quiet times [nats].
        sd: standard deviation of a day's gap sum per root of its races [nats].
        allowance: k, per race [sd].
        threshold: alarm when S exceeds it [sd].
        false_alarms_per_year: at `RACES_PER_YEAR`, what the threshold was set for.
    """

    mean: float
    sd: float
    allowance: float
    threshold: float
    false_alarms_per_year: float


@dataclass(frozen=True, eq=False)
class CusumReading:
    """A rule applied to the days since a model began to serve.

    Attributes:
        rule: the rule.
        value: S after the last day [sd].
        path: `(days,)` S after each day.
        races: races watched.
        alarm_date: first day above the threshold; None while quiet.
        races_to_alarm: races watched up to and including that day.
    """

    rule: CusumRule
    value: float
    path: FloatArray
    races: int
    alarm_date: date | None
    races_to_alarm: int | None

    @property
    def alarm(self) -> bool:
        """Whether the sum has crossed the threshold."""
        return self.alarm_date is not None


def calibrate_cusum(
    reference: DayGaps,
    *,
    false_alarms_per_year: float = FALSE_ALARMS_PER_YEAR,
    allowance: float = ALLOWANCE,
    draws: int = CALIBRATION_DRAWS,
    seed: int = 7,
) -> CusumRule:
    """Set the threshold by a block bootstrap of quiet days.

    Each draw takes a reference of its own (as many days, drawn with replacement) for mean and sd, so that their error
    counts, then a year of `RACES_PER_YEAR` races of drawn days. Alarms of a rate r leave a share `exp(-r)` of the years
    quiet: the threshold is that quantile of the yearly maxima.

    Args:
        reference: quiet days of the champion, out of sample.
        false_alarms_per_year: rate r.
        allowance: k, per race [sd].
        draws: number of drawn years.
        seed: of the bootstrap.

    Raises:
        ValueError: fewer than 30 days, or the gap never varies.
    """
    if len(reference) < 30:
        raise ValueError(
            f"CUSUM: {len(reference)} quiet days are too few to know how the gap varies; at least 30 are needed"
        )
    mean, sd = _moments(reference.races, reference.gap)
    if not sd > 0:
        raise ValueError("CUSUM: the gap to the market never varies, so no threshold can be set")
    days = len(reference)
    squares = np.column_stack((reference.races, reference.gap, reference.gap**2, reference.races * reference.gap))
    squares = np.column_stack((squares, reference.races**2))
    sums = resample(squares, draws, seed)
    own_mean = sums[:, 1] / sums[:, 0]
    own_variance = sums[:, 2] - 2 * own_mean * sums[:, 3] + own_mean**2 * sums[:, 4]
    own_sd = np.sqrt(np.maximum(own_variance / sums[:, 0], 1e-300))
    generator = np.random.default_rng([seed, 1])
    value, highest = np.zeros(draws), np.zeros(draws)
    for _ in range(max(1, round(RACES_PER_YEAR / float(reference.races.mean())))):
        drawn = generator.integers(0, days, draws)
        races, gap = reference.races[drawn], reference.gap[drawn]
        value = np.maximum(0.0, value + (gap - races * own_mean) / own_sd - allowance * races)
        highest = np.maximum(highest, value)
    threshold = float(np.quantile(highest, np.exp(-false_alarms_per_year)))
    return CusumRule(mean, sd, allowance, threshold, false_alarms_per_year)


def run_cusum(rule: CusumRule, watched: DayGaps) -> CusumReading:
    """Follow the CUSUM over the days since the model began to serve.

    Args:
        rule: from `calibrate_cusum`.
        watched: days in order of time; none is quiet.
    """
    steps = (watched.gap - watched.races * rule.mean) / rule.sd - rule.allowance * watched.races
    path = np.zeros(len(steps))
    value = 0.0
    for day, step in enumerate(steps):
        value = max(0.0, value + step)
        path[day] = value
    over = np.flatnonzero(path > rule.threshold)
    first = int(over[0]) if len(over) else None
    return CusumReading(
        rule,
        value,
        path,
        watched.total_races,
        None if first is None else watched.race_date[first].astype("datetime64[D]").item(),
        None if first is None else int(watched.races[: first + 1].sum()),
    )


def watch(
    reference: Mapping[str, DayGaps],
    watched: Mapping[str, DayGaps],
    *,
    false_alarms_per_year: float = FALSE_ALARMS_PER_YEAR,
    seed: int = 7,
) -> dict[str, CusumReading]:
    """One CUSUM per channel, the false-alarm rate shared between them.

    The recipe is what earns or loses; the fundamental model alone hardly moves a blend that leans on the market, but
    shows a broken feature long before.

    Args:
        reference: quiet days by channel (`recipe`, `fundamental`), see `Bundle.reference`.
        watched: days since the model began to serve, by channel.
        false_alarms_per_year: of all channels together.
        seed: of the bootstrap.

    Returns:
        Readings of the channels that have a reference of 30 days or more; a channel whose gap never varies is left out.
    """
    usable = {
        channel: gaps
        for channel, gaps in reference.items()
        if len(gaps) >= 30 and _moments(gaps.races, gaps.gap)[1] > 0
    }
    return {
        channel: run_cusum(
            calibrate_cusum(gaps, false_alarms_per_year=false_alarms_per_year / len(usable), seed=seed),
            watched.get(channel, DayGaps.empty()),
        )
        for channel, gaps in usable.items()
    }


@dataclass(frozen=True)
class DriftReading:
    """What a drift report says about retraining.

    Attributes:
        columns: columns judged.
        drifted: names of the columns that moved, those with missing values first.
        limit: so many moved columns or more are a cause.
        gone: columns whose missing share rose by `GONE` or more; one of them is a cause.
    """

    columns: int
    drifted: tuple[str, ...]
    limit: int
    gone: tuple[str, ...] = ()

    @property
    def alarm(self) -> bool:
        """Whether more columns moved than chance moves, or one has gone missing."""
        return len(self.drifted) >= self.limit or bool(self.gone)


def read_drift(table: pl.DataFrame) -> DriftReading:
    """Count the moved columns of a drift report against what chance moves.

    Args:
        table: `column`, `verdict` (missingness, drift or quiet), `missing_reference`, `missing_current`, see
            `drift.drift_table`.
    """
    moved = table.filter(pl.col("verdict") != "quiet")
    order = pl.col("verdict").replace_strict({"missingness": 0, "drift": 1}, return_dtype=pl.Int8)
    drifted = tuple(moved.sort(order, maintain_order=True)["column"].to_list())
    gone = moved.filter(pl.col("missing_current") - pl.col("missing_reference") >= GONE)["column"].to_list()
    return DriftReading(table.height, drifted, max(LEAST_COLUMNS, _beyond_chance(table.height)), tuple(gone))


def read_unlearnt_drift(table: pl.DataFrame, learnt_until: date | None) -> DriftReading | None:
    """As `read_drift`, of a report about racing that the serving model has not learnt.

    With few racing days since the training the report holds the last year against the years before it. The model has
    learnt that year: a training would learn it again, and the same report would ask for the next one.

    Args:
        table: as for `read_drift`, with `current_start`.
        learnt_until: last training day of the serving model; None when there is none.

    Returns:
        The reading; None when the period of the report begins on or before that day.
    """
    if learnt_until is not None and table["current_start"][0] <= learnt_until:
        return None
    return read_drift(table)


def same_season(reference: pl.DataFrame, start: date, end: date) -> pl.DataFrame:
    """Rows of the reference from the same weeks of its years: jumping in winter is no drift from flat racing in summer.

    Args:
        reference: rows with `race_date`.
        start: first day of the current period.
        end: last day; a period of eleven months or more is compared with whole years.
    """
    days = (end - start).days + 1
    if days >= WHOLE_YEAR_DAYS:
        return reference
    since = (pl.col("race_date").dt.ordinal_day() - start.timetuple().tm_yday) % 366
    return reference.filter(since < days)


def beyond_usual(table: pl.DataFrame, reference: pl.DataFrame, start: date, end: date) -> pl.DataFrame:
    """Quieten columns that moved no more than they moved between the reference's own years.

    Resampled days know nothing of what a whole year has in common (rules, weather, the horses in training), so the
    thresholds of `drift.drift_table` are passed by quiet years too. Each year of the reference, same season, is
    compared with the others; a column has moved when its PSI, or the change of its missing share, is `USUAL_TIMES` the
    largest of these. A missing share that rose by `GONE` is never quietened: young data lack values for want of
    history, and would hide a source that breaks off.

    Args:
        table: from `drift.drift_table`, made against `same_season(reference, start, end)`.
        reference: rows of the champion's training years, with `race_date` and the columns of the table.
        start: first day of the current period.
        end: last day.

    Returns:
        The table with `psi_usual` and `missing_usual` (null with fewer than `LEAST_YEARS` years to compare) and its
        verdicts revised.
    """
    season = same_season(reference, start, end)
    _, years = np.unique(season["race_date"].dt.year().to_numpy(), return_inverse=True)
    usual: list[float | None] = []
    missing: list[float | None] = []
    for name in table["column"]:
        values = season[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        usual.append(_largest_between_years(values, years))
        missing.append(_missing_between_years(values, years))
    table = table.with_columns(
        pl.Series("psi_usual", usual, dtype=pl.Float64), pl.Series("missing_usual", missing, dtype=pl.Float64)
    )
    rise = pl.col("missing_current") - pl.col("missing_reference")
    unusual = (pl.col("psi") > USUAL_TIMES * pl.col("psi_usual")).fill_null(False)
    unusual_gaps = (rise.abs() > USUAL_TIMES * pl.col("missing_usual")).fill_null(False) | (rise >= GONE)
    quieted = ((pl.col("verdict") == "drift") & ~unusual) | ((pl.col("verdict") == "missingness") & ~unusual_gaps)
    return table.with_columns(verdict=pl.when(quieted).then(pl.lit("quiet")).otherwise(pl.col("verdict")))


def _missing_between_years(values: FloatArray, years: NDArray[np.integer[Any]]) -> float | None:
    """Largest difference of a year's missing share from that of the other years; None with too few years.

    Args:
        values: `(rows,)`, not finite where missing.
        years: `(rows,)` number of the year, from 0.
    """
    rows = np.bincount(years)
    gone = np.bincount(years, weights=~np.isfinite(values))
    whole = rows >= LEAST_ROWS_OF_A_YEAR
    if whole.sum() < LEAST_YEARS:
        return None
    other_rows, other_gone = rows.sum() - rows[whole], gone.sum() - gone[whole]
    return float(np.abs(gone[whole] / rows[whole] - other_gone / other_rows).max())


def _largest_between_years(values: FloatArray, years: NDArray[np.integer[Any]]) -> float | None:
    """Largest PSI of a year against the other years; None with too few years of values.

    Args:
        values: `(rows,)`, not finite where missing.
        years: `(rows,)` number of the year, from 0.
    """
    known = np.isfinite(values)
    values, years = values[known], years[known]
    whole = np.flatnonzero(np.bincount(years) >= LEAST_ROWS_OF_A_YEAR)
    if len(whole) < LEAST_YEARS:
        return None
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = len(edges) + 1
    cell = years * bins + np.searchsorted(edges, values, side="right")
    counts = np.bincount(cell, minlength=(int(years.max()) + 1) * bins).reshape(-1, bins)[whole].astype(float)
    return float(population_stability(counts.sum(axis=0) - counts, counts).max())


def _beyond_chance(columns: int) -> int:
    """Smallest count of moved columns that chance reaches in less than `DRIFT_ALARM` of the reports (binomial)."""
    reached = 1.0
    for moved in range(columns + 1):
        if reached < DRIFT_ALARM:
            return moved
        reached -= math.comb(columns, moved) * DRIFT_NULL**moved * (1 - DRIFT_NULL) ** (columns - moved)
    return columns + 1


def _moments(races: FloatArray, gap: FloatArray) -> tuple[float, float]:
    """Gap per race, and its standard deviation between days per root of a race."""
    total = float(races.sum())
    if not total:
        return 0.0, 0.0
    mean = float(gap.sum()) / total
    return mean, float(np.sqrt(((gap - races * mean) ** 2).sum() / total))
