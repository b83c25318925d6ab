"""The market's opinion: prices turned into probabilities that sum to 1 in each race.

Belongs here: the five de-vig methods, vectorised over all races at once, their comparison by likelihood, and the choice
of one for a year from the years before it.
Does not belong here: reading prices (core.prices) and the models built on top of the market (blend, experts).

With `q = 1 / odds` and the book `B = sum q` of a race (sources: docs/methods.md):

- multiplicative: `q / B`
- power: `q^k` with `k` such that the race sums to 1
- odds ratio (Cheung): `logit p = logit q - u` with `u` such that the race sums to 1
- Shin: `p = (sqrt(z^2 + 4 (1 - z) q^2 / B) - z) / (2 (1 - z))`, `z` the share of insiders
- goto: `p = q - k sqrt(q (1 - q))`: every price steps back by the same number of standard errors

Only full books are normalised: a race with an unpriced runner has no probabilities, because the missing runner's share
would be handed to the others.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.modelling.bootstrap import DEFAULT_DRAWS, paired_delta_r2, r2_interval
from velo_assets.modelling.races import Races

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

MINIMUM_ODDS = 1.01
"""The shortest price an exchange or a bookmaker lays; anything below is a typing error, not a price."""

MINIMUM_BOOK = 0.9
"""Below this sum of 1/odds a runner must be missing: no layer gives a tenth of the stakes away."""

GOTO_FLOOR = 0.1
"""A long price in a fat book would step below 0; it keeps this share of `1/odds` and the others carry the rest."""

METHODS = ("multiplicative", "power", "odds_ratio", "shin", "goto")

FALLBACK_METHOD = "power"
"""Without enough earlier races. On bookmaker SP it leads multiplicative by about .001 R2 (docs/methods.md), and on
exchange prices the choice does not matter (docs/market_study.md)."""

MIN_CHOICE_RACES = 1000
"""Settled full books of earlier years that a choice needs; with fewer, luck decides between methods .0004 R2 apart."""

KEY_COLUMNS = ("race_date", "race_key", "runner_key", "price_kind")

_TOLERANCE = 1e-13
_MAXIMUM_STEPS = 100


class MarketError(ValueError):
    """Prices that can't be read as a market: says which rows and what to do."""


def race_lengths(race_starts: Integers, runners: int) -> Integers:
    """Runners per race from the offsets of each race's first runner.

    Args:
        race_starts: shape (races,), ascending, the first is 0.
        runners: total number of runners.

    Raises:
        MarketError: if the offsets are not strictly ascending from 0 to below `runners`.
    """
    lengths = np.diff(np.append(race_starts, runners))
    if len(race_starts) and (race_starts[0] != 0 or (lengths <= 0).any()):
        raise MarketError("race_starts must begin at 0 and rise strictly; sort the runners by race first")
    return lengths.astype(np.int64)


def usable_odds(odds: Floats) -> Floats:
    """Decimal odds with everything that is no price (null, infinite, below 1.01) as NaN."""
    values = np.asarray(odds, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values) & (values >= MINIMUM_ODDS), values, np.nan)


def books(odds: Floats, race_starts: Integers) -> tuple[Floats, Booleans]:
    """Book of each race and whether it is complete.

    Args:
        odds: shape (runners,), decimal odds; null, infinite and below 1.01 count as unpriced.
        race_starts: shape (races,).

    Returns:
        `book`: shape (races,), sum of 1/odds of the priced runners (1.0 is a fair book), NaN when none is priced.
        `complete`: shape (races,), every runner priced and book at least 0.9.
    """
    implied = 1.0 / usable_odds(odds)
    race_lengths(race_starts, len(implied))
    if not len(race_starts):
        return np.empty(0), np.empty(0, dtype=bool)
    priced = ~np.isnan(implied)
    book = np.add.reduceat(np.where(priced, implied, 0.0), race_starts)
    any_priced = np.logical_or.reduceat(priced, race_starts)
    complete = np.logical_and.reduceat(priced, race_starts) & (book >= MINIMUM_BOOK)
    return np.where(any_priced, book, np.nan), complete


def devig(odds: Floats, race_starts: Integers, method: str = FALLBACK_METHOD) -> Floats:
    """Market probabilities of many races at once.

    Args:
        odds: shape (runners,), decimal odds, runners of a race contiguous.
        race_starts: shape (races,), offset of each race's first runner.
        method: one of `METHODS`.

    Returns:
        Shape (runners,); sums to 1 within each complete race, NaN in the others.

    Raises:
        MarketError: if the method is unknown or the offsets are wrong.
    """
    if method not in METHODS:
        raise MarketError(f"unknown de-vig method {method!r}; choose one of {', '.join(METHODS)}")
    book, complete = books(odds, race_starts)
    out = np.full(len(odds), np.nan)
    if not complete.any():
        return out
    lengths = race_lengths(race_starts, len(odds))
    keep = np.repeat(complete, lengths)
    implied = 1.0 / np.asarray(odds, dtype=np.float64)[keep]
    kept_lengths = lengths[complete]
    starts = np.concatenate(([0], np.cumsum(kept_lengths)[:-1]))
    raw = _SOLVERS[method](implied, starts, kept_lengths, book[complete])
    # The solvers stop within rounding of 1; the last division makes the sums exact to the last bit or two.
    out[keep] = raw / np.repeat(np.add.reduceat(raw, starts), kept_lengths)
    return out


def _multiplicative(implied: Floats, starts: Integers, lengths: Integers, book: Floats) -> Floats:
    return implied / np.repeat(book, lengths)


def _power(implied: Floats, starts: Integers, lengths: Integers, book: Floats) -> Floats:
    log_implied = np.log(implied)
    exponent = np.zeros(len(starts))
    # ln sum q^k is convex and falls in k, and is ln n >= 0 at k = 0: Newton from there can't pass the root.
    for _ in range(_MAXIMUM_STEPS):
        weights = np.exp(np.repeat(exponent, lengths) * log_implied)
        total = np.add.reduceat(weights, starts)
        step = -np.log(total) * total / np.add.reduceat(weights * log_implied, starts)
        exponent += step
        if np.abs(step).max() < _TOLERANCE:
            break
    return np.asarray(np.exp(np.repeat(exponent, lengths) * log_implied))


def _odds_ratio(implied: Floats, starts: Integers, lengths: Integers, book: Floats) -> Floats:
    logit = np.log(implied) - np.log1p(-implied)
    # At the bracket's ends every runner is at least, or at most, 1/n. A lone runner's bracket would be infinite; its
    # final division gives 1 from any point.
    log_rivals = np.log(np.maximum(lengths - 1, 1))
    low = np.minimum.reduceat(logit, starts) + log_rivals
    high = np.maximum.reduceat(logit, starts) + log_rivals

    def excess(shift: Floats) -> tuple[Floats, Floats]:
        probability = 1.0 / (1.0 + np.exp(np.repeat(shift, lengths) - logit))
        slope = -np.add.reduceat(probability * (1.0 - probability), starts)
        return np.add.reduceat(probability, starts) - 1.0, slope

    shift = _falling_root(excess, low, high, np.log(book))
    return np.asarray(1.0 / (1.0 + np.exp(np.repeat(shift, lengths) - logit)))


def _shin(implied: Floats, starts: Integers, lengths: Integers, book: Floats) -> Floats:
    squared = implied * implied / np.repeat(book, lengths)

    def root(insiders: Floats) -> Floats:
        return np.asarray(np.sqrt(insiders * insiders + 4.0 * (1.0 - insiders) * squared))

    def excess(insiders: Floats) -> tuple[Floats, Floats]:
        z = np.repeat(insiders, lengths)
        square_root = root(z)
        probability = (square_root - z) / (2.0 * (1.0 - z))
        slope = ((z - 2.0 * squared) / square_root - 1.0) / (2.0 * (1.0 - z)) + probability / (1.0 - z)
        return np.add.reduceat(probability, starts) - 1.0, np.add.reduceat(slope, starts)

    # A book of 1 or less holds no margin for insiders to explain: z is 0 and Shin's formula is multiplicative.
    overround = book > 1.0
    high = np.where(overround, 1.0 - 1e-9, 0.0)
    z = np.repeat(_falling_root(excess, np.zeros(len(starts)), high, np.zeros(len(starts))), lengths)
    return np.asarray((root(z) - z) / (2.0 * (1.0 - z)))


def _goto(implied: Floats, starts: Integers, lengths: Integers, book: Floats) -> Floats:
    deviation = np.sqrt(implied * (1.0 - implied))
    floor = GOTO_FLOOR * implied

    def excess(steps: Floats) -> tuple[Floats, Floats]:
        stepped = implied - np.repeat(steps, lengths) * deviation
        slope = -np.where(stepped > floor, deviation, 0.0)
        return np.add.reduceat(np.maximum(stepped, floor), starts) - 1.0, np.add.reduceat(slope, starts)

    first = (book - 1.0) / np.add.reduceat(deviation, starts)
    # Past this step every runner is on its floor.
    last = np.maximum.reduceat((implied - floor) / deviation, starts)
    steps = _falling_root(excess, np.minimum(first, 0.0), np.maximum(first, last), first)
    return np.maximum(implied - np.repeat(steps, lengths) * deviation, floor)


_SOLVERS: dict[str, Callable[[Floats, Integers, Integers, Floats], Floats]] = {
    "multiplicative": _multiplicative,
    "power": _power,
    "odds_ratio": _odds_ratio,
    "shin": _shin,
    "goto": _goto,
}


def _falling_root(
    function: Callable[[Floats], tuple[Floats, Floats]], low: Floats, high: Floats, guess: Floats
) -> Floats:
    """Root of a falling function for all races at once: Newton steps, halved into the bracket where they leave it."""
    low, high = low.copy(), high.copy()
    point = np.clip(guess, low, high)
    for _ in range(_MAXIMUM_STEPS):
        value, slope = function(point)
        low = np.where(value > 0, point, low)
        high = np.where(value < 0, point, high)
        if (np.abs(value) < _TOLERANCE).all():
            break
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = point - value / slope
        inside = (newton >= low) & (newton <= high)
        moved = np.where(inside, newton, 0.5 * (low + high))
        moved = np.where(np.abs(value) < _TOLERANCE, point, moved)
        if (np.abs(moved - point) <= 1e-15 * np.abs(point)).all():
            break
        point = moved
    return np.asarray(point)


def probabilities(
    frame: pl.DataFrame, method: str = FALLBACK_METHOD, chosen: Mapping[tuple[int, str], str] | None = None
) -> pl.DataFrame:
    """The table `market.probabilities` from prices.

    Args:
        frame: race_date, race_key, runner_key, price_kind, decimal_odds; one row per runner and price kind, a null
            price for an unpriced runner. Optional `book_complete`: false there wins.
        method: the one copied to `probability`.
        chosen: (year, price kind) to the method copied instead; see `choose_methods`.

    Returns:
        The keys, decimal_odds (null where unusable), book_percent (sum of 1/odds: 1.18 is 118%), book_complete,
        p_multiplicative, p_power, p_odds_ratio, p_shin, p_goto, probability and method (its name); probabilities are
        null where the book is partial. Sorted by race_date, race_key, runner_key, price_kind.

    Raises:
        MarketError: if a column is missing or a runner has two prices of one kind.
    """
    chosen = chosen or {}
    for name in (method, *chosen.values()):
        if name not in METHODS:
            raise MarketError(f"unknown de-vig method {name!r}; choose one of {', '.join(METHODS)}")
    missing = [name for name in (*KEY_COLUMNS, "decimal_odds") if name not in frame.columns]
    if missing:
        raise MarketError(f"prices lack the columns {', '.join(missing)}; give the rows of core.prices")
    ordered = frame.sort("race_date", "race_key", "price_kind", "runner_key")
    twice = ordered.select(pl.struct(KEY_COLUMNS).is_duplicated()).to_series()
    if twice.any():
        first = ordered.filter(twice).row(0, named=True)
        raise MarketError(
            f"{int(twice.sum())} price rows are duplicates, first: race {first['race_key']}, runner "
            f"{first['runner_key']}, kind {first['price_kind']}; keep one price per runner and kind"
        )
    odds = usable_odds(ordered["decimal_odds"].cast(pl.Float64).to_numpy())
    starts = race_starts_of(ordered, "race_date", "race_key", "price_kind")
    book, complete = books(odds, starts)
    lengths = race_lengths(starts, len(odds))
    if "book_complete" in frame.columns and len(starts):
        complete &= np.logical_and.reduceat(ordered["book_complete"].fill_null(False).to_numpy(), starts)
    odds_for_devig = np.where(np.repeat(complete, lengths), odds, np.nan)
    columns = {f"p_{name}": devig(odds_for_devig, starts, name) for name in METHODS}
    return (
        ordered.select(
            *KEY_COLUMNS,
            pl.Series("decimal_odds", odds, nan_to_null=True),
            pl.Series("book_percent", np.repeat(book, lengths), nan_to_null=True),
            pl.Series("book_complete", np.repeat(complete, lengths)),
            *(pl.Series(name, values, nan_to_null=True) for name, values in columns.items()),
        )
        .with_columns(method=_method_of(chosen, method))
        .with_columns(probability=_probability_of())
        .select(pl.exclude("method"), "method")
        .sort(KEY_COLUMNS)
    )


def _method_of(chosen: Mapping[tuple[int, str], str], otherwise: str) -> pl.Expr:
    """Name of the method of each row, by its year and price kind."""
    name = pl.lit(otherwise)
    for (year, kind), method in chosen.items():
        of_year = (pl.col("race_date").dt.year() == year) & (pl.col("price_kind") == kind)
        name = pl.when(of_year).then(pl.lit(method)).otherwise(name)
    return name


def _probability_of() -> pl.Expr:
    """The column that `method` names."""
    return pl.coalesce(pl.when(pl.col("method") == name).then(pl.col(f"p_{name}")) for name in METHODS)


def race_starts_of(frame: pl.DataFrame, *keys: str) -> Integers:
    """Offset of the first row of each run of equal keys in a sorted frame; shape (races,)."""
    if not frame.height:
        return np.empty(0, dtype=np.int64)
    changed = frame.select(pl.struct(keys).rle_id()).to_series().to_numpy()
    return np.flatnonzero(np.append(True, changed[1:] != changed[:-1])).astype(np.int64)


def settled_books(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of `probabilities`, with `win_share`, of full books of two or more runners whose win shares sum to 1."""
    group = ("race_date", "race_key", "price_kind")
    settled = (pl.col("win_share").sum().over(group) - 1.0).abs() < 1e-9
    kept = frame.filter(pl.col("book_complete"), settled, pl.len().over(group) > 1)
    return kept.sort("price_kind", "race_date", "race_key", "runner_key")


def method_losses(frame: pl.DataFrame) -> pl.DataFrame:
    """Log-loss of every de-vig method per year and price kind: what a later year chooses by.

    No method has a fitted parameter, so every likelihood is out of sample.

    Args:
        frame: `probabilities` with a column `win_share` from core.results.

    Returns:
        `race_date` (1 January of the year), `price_kind, method, races, loss` (nats, summed over settled full books),
        `log_runners` (summed ln n), `r2`; a kind that has prices but no settled full book has 0 races and a null r2.
    """
    rows: list[dict[str, object]] = []
    years = frame.with_columns(year=pl.col("race_date").dt.year())
    books_of = settled_books(years).partition_by("year", "price_kind", as_dict=True)
    for year, kind in years.select("year", "price_kind").unique().sort("year", "price_kind").iter_rows():
        part = books_of.get((year, kind))
        races = None if part is None else Races.from_frame(part)
        log_runners = 0.0 if races is None else float(np.log(races.field_size).sum())
        for name in METHODS:
            loss = 0.0 if races is None or part is None else float(races.loss(part[f"p_{name}"].to_numpy()).sum())
            rows.append(
                {
                    "race_date": dt.date(year, 1, 1),
                    "price_kind": kind,
                    "method": name,
                    "races": 0 if races is None else len(races),
                    "loss": loss,
                    "log_runners": log_runners,
                    "r2": 1.0 - loss / log_runners if log_runners > 0 else None,
                }
            )
    schema = {"race_date": pl.Date, "price_kind": pl.String, "method": pl.String, "races": pl.Int64}
    return pl.DataFrame(rows, schema={**schema, **dict.fromkeys(("loss", "log_runners", "r2"), pl.Float64)})


def choose_methods(
    losses: pl.DataFrame, years: Iterable[int], min_races: int = MIN_CHOICE_RACES
) -> dict[tuple[int, str], str]:
    """The de-vig method of each year and price kind: the likeliest over all years before it.

    Args:
        losses: `method_losses` of earlier years.
        years: years asked for. Years from a year on never count for it.
        min_races: settled full books of earlier years that a choice needs.

    Returns:
        (year, price kind) to the method; left out where there is too little history. Ties go to the first of `METHODS`.
    """
    order = {name: place for place, name in enumerate(METHODS)}
    chosen: dict[tuple[int, str], str] = {}
    for year in years:
        earlier = losses.filter(pl.col("race_date").dt.year() < year)
        sums = earlier.group_by("price_kind", "method").agg(pl.col("races").sum(), pl.col("loss").sum())
        enough = sums.filter(pl.col("races") >= min_races)
        for kind in sorted(enough["price_kind"].unique().to_list()):
            of_kind = enough.filter(pl.col("price_kind") == kind).rows(named=True)
            best = min(of_kind, key=lambda row: (row["loss"], order[row["method"]]))
            chosen[year, kind] = best["method"]
    return chosen


def compare_methods(
    frame: pl.DataFrame, before: dt.date | None = None, draws: int = DEFAULT_DRAWS, seed: int = 0
) -> pl.DataFrame:
    """R2 of every de-vig method per price kind, and its paired difference to multiplicative.

    No method has a fitted parameter, so every likelihood here is out of sample.

    Args:
        frame: `probabilities` with a column `win_share` from core.results. Races that do not settle (win shares not
            summing to 1), partial books and walkovers are left out.
        before: only races before this date: the races that may choose the method for a year.
        draws: bootstrap draws.
        seed: of the bootstrap.

    Returns:
        One row per price_kind and method: races, r2, r2_low, r2_high, delta_r2, delta_low, delta_high (difference to
        multiplicative, 95% interval over race days), mean_book; best first within a kind.

    Raises:
        MarketError: if there is no settled race with a full book.
    """
    chosen = settled_books(frame if before is None else frame.filter(pl.col("race_date") < before))
    if not chosen.height:
        raise MarketError("no settled race with a full book to compare de-vig methods on")
    rows: list[dict[str, object]] = []
    for (kind,), part in chosen.group_by("price_kind", maintain_order=True):
        races = Races.from_frame(part)
        log_n = np.log(races.field_size)
        losses = {name: races.loss(part[f"p_{name}"].to_numpy()) for name in METHODS}
        for name, loss in losses.items():
            own = r2_interval(loss, log_n, races.race_date, draws, seed)
            gain = paired_delta_r2(loss, losses["multiplicative"], log_n, races.race_date, draws, seed)
            rows.append(
                {
                    "price_kind": kind,
                    "method": name,
                    "races": len(races),
                    "mean_book": float(part["book_percent"].to_numpy()[races.race_starts].mean()),
                    "r2": own.estimate,
                    "r2_low": own.low,
                    "r2_high": own.high,
                    "delta_r2": gain.estimate,
                    "delta_low": gain.low,
                    "delta_high": gain.high,
                }
            )
    return pl.DataFrame(rows).sort("price_kind", "r2", descending=[False, True], nulls_last=True)
