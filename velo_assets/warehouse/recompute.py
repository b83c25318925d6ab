"""Dynamic leak proofs: features are computed again from data that lack, or falsify, what was not yet known.

T1 time travel, T2 future perturbation, T3 self row, T4 same day, T8 parity (docs/leak_proofs.md).

Belongs here: the checks as plain functions, and all proofs in a row. Does not belong here: reading SQL (lint.py), the
database that they are made in (bench.py), proofs by outcomes (outcome_proofs.py), planted leaks (mutations.py), asset
checks (velo_assets/checks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta

import duckdb
import numpy as np
import polars as pl

from velo_assets.warehouse.bench import (
    ENTRY_TABLES,
    KEYS,
    POST_RACE_TABLES,
    Bench,
    CheckResult,
    Texts,
    bench,
)
from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.export import MATRIX
from velo_assets.warehouse.outcome_proofs import tripwire
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import build_order, load_table

TOLERANCE = 1e-9
"""Relative, and absolute below 1: sums of floats in another order differ by less, any leak by far more."""

SINGLE_TOLERANCE = 2.5e-7
"""The same for columns held in single precision: two steps of it."""

SCRAMBLE_DAYS = 400
"""Days after the date that T2 falsifies; still later results are left out, which falsifies them as well."""

AFTERMATH_DAYS = 60
"""Days after the date in the window that planted SQL is built over, as a yearly build has them."""

Alteration = Callable[[Bench, date], None]
"""Shows the bench an altered world as of a day."""

Selection = Callable[[Bench, date], pl.DataFrame]
"""Chooses the `runner_key`s whose features are compared."""


def sample_dates(
    connection: duckdb.DuckDBPyConnection,
    count: int,
    *,
    after: date | None = None,
    until: date | None = None,
    table: str = "core/results",
) -> list[date]:
    """Race days spread evenly over the data, the last one among them where there are several.

    Args:
        connection: an open warehouse.
        count: how many.
        after: only days after this one, so that there is history to be wrong about.
        until: no day after this one.
        table: where the days are taken from; `core/entries` knows those of cards too.
    """
    rows = connection.execute(
        f"select distinct race_date from {table.replace('/', '.')} where race_date > ? and race_date <= ? "
        "order by race_date",
        [after or date.min, until or date.max],
    ).fetchall()
    days = [row[0] for row in rows]
    if len(days) <= count:
        return days
    return [days[round(i)] for i in np.linspace(len(days) / (count + 1), len(days) - 1, count)]


def time_travel(
    connection: duckdb.DuckDBPyConnection,
    dates: Sequence[date],
    tables: Sequence[str] | None = None,
    *,
    texts: Texts | None = None,
    rebuild_upstream: bool = True,
) -> CheckResult:
    """T1: features of day d from data cut at d equal the stored ones.

    Args:
        connection: an open warehouse with features built.
        dates: days d.
        tables: feature tables compared; None for all.
        texts: planted SQL; the features compared with are then built from it and the whole data.
        rebuild_upstream: build the feature tables they read anew as well, else take those as stored.
    """

    def alter(bench: Bench, day: date) -> None:
        for name in ENTRY_TABLES:
            bench.show(name, f"race_date <= date '{day}'")
        for name in POST_RACE_TABLES:
            bench.show(name, f"race_date < date '{day}'")

    return _compared("T1 time travel", connection, dates, tables, alter, texts, rebuild_upstream)


def parity(
    connection: duckdb.DuckDBPyConnection,
    dates: Sequence[date],
    tables: Sequence[str] | None = None,
    *,
    texts: Texts | None = None,
    rebuild_upstream: bool = True,
) -> CheckResult:
    """T8: a past day at stage 'card', its own results unseen, has the features of the batch build.

    The entries stay those of the result; that a card lands as the same entries is shown by
    velo_assets_tests/features/test_card_parity.py.
    """

    def alter(bench: Bench, day: date) -> None:
        for name in ENTRY_TABLES:
            columns = bench.rows(name, "false").columns
            card = bench.rows(name, f"race_date = date '{day}'").with_columns(
                [pl.lit(value).alias(c) for c, value in (("stage", "card"), ("source_file", "card")) if c in columns]
            )
            bench.show_with(name, f"race_date < date '{day}'", card)
        for name in POST_RACE_TABLES:
            bench.show(name, f"race_date < date '{day}'")

    return _compared("T8 parity", connection, dates, tables, alter, texts, rebuild_upstream)


def future_perturbation(
    connection: duckdb.DuckDBPyConnection,
    dates: Sequence[date],
    tables: Sequence[str] | None = None,
    *,
    texts: Texts | None = None,
    rebuild_upstream: bool = True,
    seed: int = 7,
) -> CheckResult:
    """T2: every result column from day d on is shuffled among runners; the features of day d stay."""

    def alter(bench: Bench, day: date) -> None:
        for name in ENTRY_TABLES:
            bench.show(name)
        for name in POST_RACE_TABLES:
            last = day + timedelta(days=SCRAMBLE_DAYS)
            rows = bench.rows(name, f"race_date between date '{day}' and date '{last}'")
            bench.show_with(name, f"race_date < date '{day}'", _shuffled(rows, seed, together=False))

    return _compared("T2 future perturbation", connection, dates, tables, alter, texts, rebuild_upstream)


def self_row(
    connection: duckdb.DuckDBPyConnection,
    dates: Sequence[date],
    tables: Sequence[str] | None = None,
    *,
    texts: Texts | None = None,
    rebuild_upstream: bool = True,
) -> CheckResult:
    """T3: without its own result, price and sectionals a runner keeps its features (one runner of every race)."""

    def chosen(bench: Bench, day: date) -> pl.DataFrame:
        # The winner, whose result says most; the first key where a race has none.
        return frame_of(
            bench.connection,
            f"select arg_max(runner_key, coalesce(won, 0)) as runner_key from {bench.real('core/results')} "
            f"where race_date = date '{day}' group by race_key",
        )

    def alter(bench: Bench, day: date) -> None:
        runners = chosen(bench, day)["runner_key"].to_list()
        for name in ENTRY_TABLES:
            bench.show(name)
        for name in POST_RACE_TABLES:
            rows = bench.rows(name, f"race_date = date '{day}'") if bench.exists(name) else pl.DataFrame()
            nulled = rows.with_columns(
                pl.when(pl.col("runner_key").is_in(runners)).then(None).otherwise(pl.col(c)).alias(c)
                for c in rows.columns
                if c not in KEYS
            )
            bench.show_with(name, f"race_date <> date '{day}'", nulled)

    return _compared("T3 self row", connection, dates, tables, alter, texts, rebuild_upstream, only=chosen)


def same_day(
    connection: duckdb.DuckDBPyConnection,
    dates: Sequence[date],
    tables: Sequence[str] | None = None,
    *,
    texts: Texts | None = None,
    rebuild_upstream: bool = True,
    seed: int = 7,
) -> CheckResult:
    """T4: the results of day d are dealt out among its runners anew; the features of day d stay."""

    def alter(bench: Bench, day: date) -> None:
        for name in ENTRY_TABLES:
            bench.show(name)
        for name in POST_RACE_TABLES:
            rows = bench.rows(name, f"race_date = date '{day}'") if bench.exists(name) else pl.DataFrame()
            bench.show_with(name, f"race_date <> date '{day}'", _shuffled(rows, seed, together=True))

    return _compared("T4 same day", connection, dates, tables, alter, texts, rebuild_upstream)


def prove(
    connection: duckdb.DuckDBPyConnection, days: int, tables: Sequence[str] | None = None
) -> Iterator[CheckResult]:
    """T1 to T4, T6 and T8 one after another. T7 is left to the tests: it builds all features of all years again.

    Args:
        connection: an open warehouse with features built; read-only is enough.
        days: how many race days are tried.
        tables: feature tables; None for all.

    Raises:
        ValueError: no such feature table.
        FileNotFoundError: a table is not built yet.
    """
    order = build_order("features")
    for table in tables or ():
        if table not in order:
            raise ValueError(f"There is no feature table {table!r}; there are {', '.join(sorted(order))}.")
    for table in ("core/results", *(tables or (*order, MATRIX))):
        if not table_exists(connection, table):
            raise FileNotFoundError(f"There is no table {table} yet: `velo run` builds it.")
    dates = sample_dates(connection, days)
    for check in (time_travel, future_perturbation, self_row, same_day, parity):
        yield check(connection, dates, tables)
    for table in tables or (MATRIX,):
        yield tripwire(connection, table=table)


def sampled_recomputation(connection: duckdb.DuckDBPyConnection, table: str, dates: Sequence[date]) -> CheckResult:
    """T1 for one table on a few days: cheap enough to block every materialization.

    Args:
        connection: an open warehouse.
        table: `features/...`, just built.
        dates: the days.
    """
    result = time_travel(connection, dates, (table,), rebuild_upstream=False)
    return CheckResult(f"{result.name} of {table}", result.passed, result.rows, result.differences)


def _compared(
    name: str,
    connection: duckdb.DuckDBPyConnection,
    dates: Sequence[date],
    tables: Sequence[str] | None,
    alter: Alteration,
    texts: Texts | None,
    rebuild_upstream: bool,
    only: Selection | None = None,
) -> CheckResult:
    planted = texts or {}
    wanted = [table for table in build_order("features") if tables is None or table in tables]
    built = build_order("features", wanted) if rebuild_upstream else tuple(wanted)
    differences: list[str] = []
    rows = 0
    with bench(connection) as copy:
        if not rebuild_upstream:
            for upstream in sorted({u for table in wanted for u in load_table(table).dependencies} - set(wanted)):
                if upstream.startswith(("features/", "market/")):
                    copy.show(upstream)
        for day in dates:
            runners = only(copy, day) if only else None
            end = day + timedelta(days=AFTERMATH_DAYS) if planted else day
            if planted:
                for source in (*ENTRY_TABLES, *POST_RACE_TABLES):
                    copy.show(source)
                copy.build_all(built, day, end, planted)
                expected = {table: _day_rows(copy, table, day, real=False) for table in wanted}
            else:
                expected = {table: _day_rows(copy, table, day, real=True) for table in wanted}
            alter(copy, day)
            copy.build_all(built, day, end, planted)
            for table in wanted:
                found = _day_rows(copy, table, day, real=False)
                rows += found.height
                differences += _differences(table, day, expected[table], found, runners)
    return CheckResult(name, not differences, rows, tuple(differences))


def _day_rows(copy: Bench, table: str, day: date, *, real: bool) -> pl.DataFrame:
    relation = copy.real(table) if real else copy.built(table)
    wanted = day if load_table(table).is_by_race else date(day.year, 1, 1)
    return frame_of(copy.connection, f"select * from {relation} where race_date = ?", [wanted])


def _differences(
    table: str, day: date, expected: pl.DataFrame, found: pl.DataFrame, runners: pl.DataFrame | None
) -> list[str]:
    keys = [key for key in ("race_date", "race_key", "runner_key", "entity") if key in expected.columns]
    if runners is not None and "runner_key" in keys:
        expected, found = (part.join(runners, on="runner_key", how="semi") for part in (expected, found))
    if set(expected.columns) == set(found.columns):
        # A table that grew new columns keeps them at its end.
        found = found.select(expected.columns)
    else:
        odd = sorted(set(expected.columns) ^ set(found.columns))
        return [f"{table} has other columns than its SQL makes: {', '.join(odd)}; build it anew"]
    if expected.height != found.height:
        return [f"{table} on {day}: {expected.height} rows stored, {found.height} rows recomputed"]
    both = expected.join(found, on=keys, how="inner", suffix=":found")
    if both.height != expected.height:
        return [f"{table} on {day}: {expected.height - both.height} runners differ"]
    out = []
    for column in expected.columns:
        if column in keys:
            continue
        one, other = pl.col(column), pl.col(f"{column}:found")
        if expected.schema[column].is_float():
            precision = SINGLE_TOLERANCE if expected.schema[column] == pl.Float32 else TOLERANCE
            allowed = precision * pl.max_horizontal(one.abs(), other.abs(), pl.lit(1.0))
            same = ((one - other).abs() <= allowed) | (one.is_nan() & other.is_nan()) | (one == other)
            same = same | (one.is_null() & other.is_null())
            different = ~same.fill_null(False)
        else:
            different = one.ne_missing(other)
        wrong = both.filter(different)
        if wrong.height:
            first = wrong.row(0, named=True)
            place = " ".join(str(first[key]) for key in keys)
            out.append(
                f"{table}.{column}: {wrong.height} of {both.height} values differ on {day}, first at {place}: "
                f"{first[column]} stored, {first[column + ':found']} recomputed"
            )
    return out


def _shuffled(rows: pl.DataFrame, seed: int, *, together: bool) -> pl.DataFrame:
    """Values of the non-key columns dealt out anew, each column for itself or whole rows together."""
    payload = [column for column in rows.columns if column not in KEYS]
    if rows.height < 2 or not payload:
        return rows
    rng = np.random.default_rng(seed)

    def order() -> pl.Series:
        # A cyclic step after the shuffle leaves nobody with its own result.
        shuffle = rng.permutation(rows.height)
        target = np.empty(rows.height, dtype=np.int64)
        target[shuffle] = np.roll(shuffle, 1)
        return pl.Series(target)

    whole = order()
    return rows.with_columns(rows[column].gather(whole if together else order()) for column in payload)
