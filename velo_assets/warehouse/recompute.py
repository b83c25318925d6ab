"""Dynamic leak proofs: features are computed again from data that lack, or falsify, what was not yet known.

T1 time travel, T2 future perturbation, T3 self row, T4 same day, T6 tripwire, T7 permutation, T8 parity
(docs/leak_proofs.md).
All run beside the warehouse, in an attached in-memory database whose `core` schema is views over the real one, so that
the same SQL reads altered data and the warehouse itself is never written.

Belongs here: the checks as plain functions, and what they found. Does not belong here: reading SQL (lint.py), planted
leaks (mutations.py), asset checks (velo_assets/checks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import numpy as np
import polars as pl

from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import all_tables, load_table

POST_RACE_TABLES = ("core/results", "core/prices", "core/sectionals")
"""Tables whose rows of a day exist only after that day."""

ENTRY_TABLES = ("core/races", "core/entries")
"""Tables whose rows of a day exist before that day's racing."""

TOLERANCE = 1e-9
"""Relative, and absolute below 1: sums of floats in another order differ by less, any leak by far more."""

SINGLE_TOLERANCE = 2.5e-7
"""The same for columns held in single precision: two steps of it."""

AUC_ALARM = 0.80
"""Pooled AUC of a single feature above this is a leak: no public value known before the race comes near it."""

ALARM_Z = 2.0
"""A feature raises the alarm when it beats the market's concordance by this many standard errors: not by chance."""

PERMUTATION_Z = 3.0
"""R2 on shuffled winners above this many standard errors is information that cannot be there."""

SCRAMBLE_DAYS = 400
"""Days after the date that T2 falsifies; still later results are left out, which falsifies them as well."""

AFTERMATH_DAYS = 60
"""Days after the date in the window that planted SQL is built over, as a yearly build has them."""

_KEYS = ("race_date", "race_key", "runner_key", "horse_key", "price_kind", "call_number", "entity")
_FIRST_DIFFERENCES = 8
"""Differences that a report prints; the result holds all."""


@dataclass(frozen=True)
class CheckResult:
    """What a dynamic check found.

    Attributes:
        name: the check and what it ran on, such as 'T1 time travel'.
        passed: nothing was found.
        rows: rows (or runners, races) compared.
        differences: a line for each column that differs; empty when passed.
        measures: numbers worth keeping, by name.
    """

    name: str
    passed: bool
    rows: int
    differences: tuple[str, ...] = ()
    measures: Mapping[str, float] | None = None

    def __str__(self) -> str:
        state = "passed" if self.passed else "FAILED"
        more = len(self.differences) - _FIRST_DIFFERENCES
        shown = (*self.differences[:_FIRST_DIFFERENCES], *([f"and {more} more"] if more > 0 else []))
        return "\n  ".join([f"{self.name}: {state} on {self.rows} rows", *shown])


Texts = Mapping[str, str]
"""SQL texts to use in place of the files, by `schema/table`: the planted leaks."""


MATRIX = "features/runner_features"


def feature_order(names: Iterable[str] | None = None) -> tuple[str, ...]:
    """Feature tables, each after the feature tables that it reads.

    Args:
        names: tables wanted, with all that they read; None for all.
    """
    tables = {table.name: table for table in all_tables() if table.schema == "features"}
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order or name not in tables:
            return
        for dependency in tables[name].dependencies:
            if dependency != name:
                visit(dependency)
        order.append(name)

    for name in tables if names is None else names:
        visit(name)
    return tuple(order)


class Bench:
    """The in-memory database beside the warehouse, in which altered copies are built.

    Attributes:
        connection: the warehouse's connection, its default database switched to the bench.
        origin: name of the warehouse's database, for reading the real tables.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, origin: str) -> None:
        self.connection = connection
        self.origin = origin

    def real(self, name: str) -> str:
        """The real table, as SQL names it from here."""
        return f'"{self.origin}".{name.replace("/", ".")}'

    def exists(self, name: str) -> bool:
        """Whether the warehouse has the table."""
        schema, table = name.split("/")
        found = self.connection.execute(
            "select 1 from information_schema.tables where table_catalog = ? and table_schema = ? and table_name = ?",
            [self.origin, schema, table],
        ).fetchall()
        return bool(found)

    def show(self, name: str, condition: str = "true") -> None:
        """Let the bench's `name` be the real one, restricted by a condition of our own making."""
        if self.exists(name):
            relation = name.replace("/", ".")
            self.connection.execute(f"drop view if exists {relation}")
            self.connection.execute(f"create view {relation} as select * from {self.real(name)} where {condition}")

    def show_with(self, name: str, condition: str, rows: pl.DataFrame) -> None:
        """Let the bench's `name` be the real one restricted by a condition, and `rows` besides."""
        if not self.exists(name):
            return
        relation, stored = name.replace("/", "."), f"altered_{name.split('/')[1]}"
        self.connection.register("bench_rows", rows.to_arrow())
        self.connection.execute(f"create or replace table {stored} as select * from {self.real(name)} limit 0")
        self.connection.execute(f"insert into {stored} by name select * from bench_rows")
        self.connection.unregister("bench_rows")
        self.connection.execute(f"drop view if exists {relation}")
        self.connection.execute(
            f"create view {relation} as select * from {self.real(name)} where {condition} "
            f"union all by name select * from {stored}"
        )

    def rows(self, name: str, condition: str) -> pl.DataFrame:
        """Rows of a real table."""
        return frame_of(self.connection, f"select * from {self.real(name)} where {condition}")

    def build(self, name: str, start: date, end: date, texts: Texts) -> None:
        """Build a feature table of the bench for a window."""
        text = texts.get(name) or load_table(name).text
        parameters = {key: day for key, day in {"start": start, "end": end}.items() if f"${key}" in text}
        self.connection.execute(
            f"create or replace table {name.replace('/', '.')} as {text.rstrip().rstrip(';')}", parameters
        )

    def build_all(self, names: Sequence[str], start: date, end: date, texts: Texts) -> None:
        """Build feature tables in order; tables dated by year get the years they need."""
        for name in names:
            # Strengths are dated 1 January, so a window within a year starts there.
            self.build(name, start if load_table(name).is_by_runner else date(start.year, 1, 1), end, texts)


Alteration = Callable[[Bench, date], None]
"""Shows the bench an altered world as of a day."""

Selection = Callable[[Bench, date], pl.DataFrame]
"""Chooses the `runner_key`s whose features are compared."""


@contextmanager
def bench(connection: duckdb.DuckDBPyConnection) -> Iterator[Bench]:
    """Attach the bench, and take it away again whatever happens."""
    origin = str(connection.execute("select current_database()").fetchall()[0][0])
    connection.execute("attach ':memory:' as leak_bench (read_write)")
    try:
        connection.execute("use leak_bench")
        for schema in ("core", "features", "market"):
            connection.execute(f"create schema if not exists {schema}")
        yield Bench(connection, origin)
    finally:
        connection.execute(f'use "{origin}"')
        connection.execute("detach leak_bench")


def sample_dates(connection: duckdb.DuckDBPyConnection, count: int, *, after: date | None = None) -> list[date]:
    """Race days spread evenly over the data, the last one among them.

    Args:
        connection: an open warehouse.
        count: how many.
        after: only days after this one, so that there is history to be wrong about.
    """
    rows = connection.execute(
        "select distinct race_date from core.results where race_date > ? order by race_date", [after or date.min]
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
    """T8: a past day served as an upcoming card (stage 'card', no results) has the features of the batch build."""

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
                if c not in _KEYS
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
    order = feature_order()
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


def sampled_recomputation(
    connection: duckdb.DuckDBPyConnection, table: str, dates: Sequence[date] | None = None, *, count: int = 2
) -> CheckResult:
    """T1 for one table on a few days: cheap enough to block every materialization.

    Args:
        connection: an open warehouse.
        table: `features/...`, just built.
        dates: days; None for `count` days of the table, spread evenly.
        count: days when none are given.
    """
    if dates is None:
        relation = load_table(table).relation
        days = [
            row[0] for row in connection.execute(f"select distinct race_date from {relation} order by 1").fetchall()
        ]
        dates = [days[round(i)] for i in np.linspace(0, len(days) - 1, min(count + 1, len(days)))][1:] or days
    result = time_travel(connection, dates, (table,), rebuild_upstream=False)
    return CheckResult(f"{result.name} of {table}", result.passed, result.rows, result.differences)


def tripwire(connection: duckdb.DuckDBPyConnection, *, table: str = MATRIX, max_races: int = 20_000) -> CheckResult:
    """T6 on the stored matrix and the closing prices: no feature ranks runners within races better than the market.

    Args:
        connection: an open warehouse.
        table: the matrix, or one family.
        max_races: the latest races are enough, and bound the memory.
    """
    relation = load_table(table).relation
    frame = frame_of(
        connection,
        f"""
        with latest as (
            select race_key from core.results group by race_key having sum(won) > 0
            order by max(race_date) desc, race_key limit {int(max_races)}
        ),
        closing as (
            select runner_key, -decimal_odds as market_rank_value from core.prices
            where price_kind in ('sp', 'bsp') and book_complete
            qualify row_number() over (partition by runner_key order by price_kind desc) = 1
        )
        select matrix.*, results.won as leak_check_won, closing.market_rank_value
        from {relation} as matrix
        inner join core.results as results on results.runner_key = matrix.runner_key
        left join closing on closing.runner_key = matrix.runner_key
        where matrix.race_key in (select race_key from latest)
        """,
    )
    return tripwire_of(frame, won="leak_check_won", market="market_rank_value")


def tripwire_of(frame: pl.DataFrame, *, won: str, market: str) -> CheckResult:
    """T6 on a frame.

    Args:
        frame: runners with `race_key`, the winner flag, the market's ranking value (higher is better) and features.
        won: winner column, 0 or 1.
        market: market column.

    Returns:
        Failed when a numeric column, either way round, orders winners before losers of the same race better than the
        market does on the same pairs by more than chance, or has a pooled AUC above the alarm line.
    """
    frame = frame.filter(pl.col(won).is_not_null())
    numeric = [
        name
        for name, kind in frame.schema.items()
        if (kind.is_numeric() or kind == pl.Boolean) and name not in (*_KEYS, won, market)
    ]
    if frame.is_empty():
        return CheckResult("T6 tripwire", True, 0)
    winner, loser = _pairs(frame, won)
    race = frame["race_key"].rank("dense").to_numpy().astype(np.int64)[winner] - 1
    labels = frame[won].to_numpy() > 0
    market_score = _scores(frame[market], winner, loser)
    differences: list[str] = []
    measures: dict[str, float] = {"market concordance": float(np.nanmean(market_score)) if len(winner) else np.nan}
    for name in numeric:
        score = _scores(frame[name], winner, loser)
        both = np.isfinite(score) & np.isfinite(market_score)
        if both.any():
            direction = 1.0 if score[both].mean() >= 0.5 else -1.0
            gain = direction * (score[both] - 0.5) - (market_score[both] - 0.5)
            by_race = np.bincount(race[both], weights=gain - gain.mean())
            error = float(np.sqrt((by_race**2).sum())) / len(gain)
            if gain.mean() > 0 and gain.mean() > ALARM_Z * error:
                share, market_share = 0.5 + abs(score[both].mean() - 0.5), market_score[both].mean()
                differences.append(
                    f"{name} ranks winners above losers in {share:.3f} of pairs, the market in {market_share:.3f} "
                    f"(standard error of the difference {error:.3f})"
                )
                continue
        area = _auc(frame[name].cast(pl.Float64).to_numpy(), labels)
        if max(area, 1 - area) > AUC_ALARM:
            differences.append(f"{name} has a pooled AUC of {max(area, 1 - area):.3f}, above {AUC_ALARM}")
    return CheckResult("T6 tripwire", not differences, frame.height, tuple(differences), measures)


def permutation(
    connection: duckdb.DuckDBPyConnection,
    start: date,
    end: date,
    *,
    table: str = MATRIX,
    texts: Texts | None = None,
    features: Sequence[str] | None = None,
    seed: int = 7,
) -> CheckResult:
    """T7: with the results of every race dealt out anew, a model on rebuilt features knows nothing.

    The payload of `core.results` and `core.sectionals` moves between the runners of a race; prices stay. All features
    are built again from it. A price-free conditional logit is fitted on the first 70% of the days, judged on the rest.

    Args:
        connection: an open warehouse.
        start: first day of the window that is built.
        end: last day.
        table: the matrix, or one family.
        texts: planted SQL.
        features: its columns; None for all numeric ones.
        seed: of the shuffle.

    Returns:
        Failed when R2 on shuffled winners exceeds 0 by more than chance.
    """
    with bench(connection) as copy:
        for name in (*ENTRY_TABLES, "core/prices"):
            copy.show(name)
        order = copy.rows("core/results", "true").select("race_key", "runner_key")
        deal = _deal(order, seed)
        for name in ("core/results", "core/sectionals"):
            if copy.exists(name):
                rows = copy.rows(name, "true")
                keyed = rows.join(deal, on="runner_key", how="left")
                dealt = keyed.with_columns(pl.coalesce("dealt_to", "runner_key").alias("runner_key")).drop("dealt_to")
                if "horse_key" in dealt.columns:
                    own = rows.select("runner_key", "horse_key")
                    dealt = dealt.drop("horse_key").join(own, on="runner_key", how="left")
                copy.show_with(name, "false", dealt.select(rows.columns))
        copy.build_all(feature_order((table,)), start, end, texts or {})
        frame = frame_of(
            connection,
            f"select matrix.*, results.win_share from {load_table(table).relation} as matrix "
            "inner join core.results as results on results.runner_key = matrix.runner_key",
        )
    return permutation_of(frame, features)


def permutation_of(frame: pl.DataFrame, features: Sequence[str] | None = None) -> CheckResult:
    """T7 on a frame whose winners have been shuffled within races.

    Args:
        frame: runners with `race_date`, `race_key`, `runner_key`, `win_share` and features, whole races only.
        features: columns; None for all numeric ones.
    """
    from velo_assets.modelling.conditional_logit import LinearLogit
    from velo_assets.modelling.races import Races, log_loss_per_race

    whole = pl.col("win_share").sum().over("race_key").is_between(0.999, 1.001) & (pl.len().over("race_key") > 1)
    frame = frame.filter(whole).sort("race_date", "race_key", "runner_key")
    wanted = features or [
        name for name, kind in frame.schema.items() if kind.is_numeric() and name not in (*_KEYS, "win_share")
    ]
    days = frame["race_date"].unique().sort()
    split = days[int(0.7 * len(days))]
    train, test = frame.filter(pl.col("race_date") < split), frame.filter(pl.col("race_date") >= split)
    matrices = [part.select(pl.col(wanted).cast(pl.Float32)).to_numpy() for part in (train, test)]
    model = LinearLogit.fit(matrices[0], Races.from_frame(train), wanted, ridge=25.0)
    races = Races.from_frame(test)
    probability = races.softmax(model.score(matrices[1], races))
    gain = np.log(races.field_size) - log_loss_per_race(probability, races.win_share, races.race_starts)
    null = float(np.log(races.field_size).mean())
    r2, error = float(gain.mean()) / null, float(gain.std(ddof=1)) / np.sqrt(len(gain)) / null
    passed = r2 <= PERMUTATION_Z * error
    found = (
        () if passed else (f"R2 on shuffled winners is {r2:.4f}, standard error {error:.4f}: features know winners",)
    )
    return CheckResult("T7 permutation", passed, test.height, found, {"R2": r2, "standard error": error})


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
    wanted = [table for table in feature_order() if tables is None or table in tables]
    built = feature_order(wanted) if rebuild_upstream else tuple(wanted)
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
    relation = copy.real(table) if real else table.replace("/", ".")
    wanted = day if load_table(table).is_by_runner else date(day.year, 1, 1)
    return frame_of(copy.connection, f"select * from {relation} where race_date = ?", [wanted])


def _differences(
    table: str, day: date, expected: pl.DataFrame, found: pl.DataFrame, runners: pl.DataFrame | None
) -> list[str]:
    keys = [key for key in ("race_date", "runner_key", "entity") if key in expected.columns]
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
    payload = [column for column in rows.columns if column not in _KEYS]
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


def deal(rows: pl.DataFrame, seed: int, column: str = "win_share") -> pl.DataFrame:
    """Deal the values of `column` out anew among the runners of each race."""
    dealt_to = _deal(rows.select("race_key", "runner_key"), seed)
    dealt = rows.select("runner_key", column).join(dealt_to, on="runner_key").select(column, runner_key="dealt_to")
    return rows.drop(column).join(dealt, on="runner_key", how="left")


def _deal(runners: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Within each race, a permutation of its runners: `runner_key` to `dealt_to`."""
    runners = runners.sort("race_key", "runner_key")
    rng = np.random.default_rng(seed)
    shuffled = runners.with_columns(pl.Series("luck", rng.random(runners.height))).sort("race_key", "luck")
    return pl.DataFrame({"runner_key": runners["runner_key"], "dealt_to": shuffled["runner_key"]})


def _pairs(frame: pl.DataFrame, won: str) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of every (winner, loser) pair within a race."""
    numbered = frame.select("race_key", won).with_row_index("row")
    winners = numbered.filter(pl.col(won) > 0).select("race_key", winner="row")
    losers = numbered.filter(pl.col(won) == 0).select("race_key", loser="row")
    pairs = winners.join(losers, on="race_key")
    return pairs["winner"].to_numpy(), pairs["loser"].to_numpy()


def _scores(column: pl.Series, winner: np.ndarray, loser: np.ndarray) -> np.ndarray:
    """1 where the winner's value is higher, 0.5 where equal, 0 where lower, NaN where one is missing."""
    values = column.cast(pl.Float64).to_numpy()
    gap = values[winner] - values[loser]
    return np.where(np.isnan(gap), np.nan, 0.5 + 0.5 * np.sign(gap))


def _auc(values: np.ndarray, labels: np.ndarray) -> float:
    known = np.isfinite(values)
    values, labels = values[known], labels[known]
    positives = int(labels.sum())
    if positives == 0 or positives == len(labels):
        return 0.5
    ranks = pl.Series(values).rank("average").to_numpy()
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))
