"""Replaces windows of tables, one transaction each, and refreshes years from the first day that can differ.

Belongs here: delete window, insert window, evolving a table whose SQL changed. Does not belong here: what the SQL says,
who asks for it, records of changes (changes.py) and of builds (builds.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import duckdb

from velo_assets.racing.macros import register
from velo_assets.warehouse.builds import forget_other_years
from velo_assets.warehouse.changes import (
    Days,
    days_of,
    ensure_records,
    first_change,
    first_difference,
    is_dated_by_declarations,
    is_watched,
    record_change,
    record_change_of_columns,
    record_refresh,
)
from velo_assets.warehouse.query import row_of
from velo_assets.warehouse.sql_table import Column, Declared, SqlTable, SqlTableError, described_columns, load_table

if TYPE_CHECKING:
    import polars as pl

TEXT_READING_LAYER = "core"
"""The layer whose SQL turns raw text into typed columns, with the raceform macros; later ones never see text."""

SINGLE_PRECISION_LAYER = "features"
"""The layer that holds fractions in single precision, which is what the models read: half the bytes to write, and no
trace of the order in which a sum was added up."""

SHORT_WINDOW_DAYS = 32
"""A window shorter than this is staged: there it is the planning of its select that costs, which is so done once."""

FEW_DAYS = 3
"""So few race days are built one by one: a select may leave out of a single day's past all that does not bear on its
runners, of whom nothing then is known later than they are declared."""

DAYS_TOLD_BY = ("core/races", "core/entries")
"""Tables that say which days have racing."""

SPAN_YEARS = 3
"""Years of a table that is written in spans: the joins of ten years outgrow the processor's cache, those of one leave a
core idle."""

SPAN_ROWS = 500_000
"""Where nothing it reads has more rows, a table is written at once: planning the spans would cost more than they save.
"""

_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")


Catalogued = Sequence[tuple[str, str, str | None]]
"""Column, DuckDB type and comment of each column of a table; empty where there is none."""


@dataclass(frozen=True)
class Built:
    """What a build left behind.

    Attributes:
        name: `schema/table`.
        rows: rows in the window.
        columns: (column, DuckDB type) of the table.
        since: first day that was built, where that is not the first of the window.
    """

    name: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    since: date | None = None


def refresh_table(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    start: date,
    end: date,
    touched: tuple[date, date] | None = None,
    catalogued: Catalogued | None = None,
) -> Built:
    """As `build_table`, from the first day on that can differ from what the table holds.

    A change of columns or types is recorded for every year of the table, which has them in common.

    Args:
        connection: an open warehouse.
        name: `schema/table`.
        start: first race date of the window, a 1 January.
        end: last race date of the window, a 31 December.
        touched: first and last day that have to be built, where the caller knows that no other day can differ.
        catalogued: what the catalog says of the table at this moment, where the caller knows (`catalogued_tables`).

    Returns:
        Rows of the whole window, the columns of the table, and since when it was built.

    Raises:
        ValueError: the window is not of whole years, which is what the records tell of.
        SqlTableError: the SQL has an output column without a description.
        duckdb.Error: the SQL failed; table and records are as they were before.
    """
    if (start.month, start.day, end.month, end.day) != (1, 1, 12, 31):
        raise ValueError(f"{name} is refreshed by whole years, not from {start} to {end}.")
    table = load_table(name)
    _register_macros(connection, table)
    ensure_records(connection)
    # A table that somebody dropped holds none of the days that its records tell of.
    if catalogued is None:
        catalogued = _catalogued(connection, name)
    held = tuple((column, kind) for column, kind, _ in catalogued)
    since, until = start, end
    is_up_to_date = False
    if held and touched:
        since, until = max(start, touched[0]), min(end, touched[1])
    elif held:
        changed = first_change(connection, table, start, end)
        # Who builds a table that is up to date wants it built; what reads it need not be, if it comes out as it was.
        since, is_up_to_date = changed or start, changed is None
    with transaction(connection):
        before = _watched_days(connection, table, held, since, until, even_so=is_up_to_date)
        built = _build(connection, table, since, until, catalogued)
        if held and built.columns != held:
            # Its other years hold other columns now too. On record before the window, which alone was rebuilt.
            record_change_of_columns(connection, table, start, end)
            first_day: date | None = since
        else:
            after = _watched_days(connection, table, held, since, until, even_so=is_up_to_date)
            first_day = first_difference(before, after) if before is not None and after is not None else since
        # Its own change is the last there is.
        record_refresh(connection, table, start, end, record_change(connection, name, since, until, first_day))
    if (since, until) == (start, end):
        return built
    (rows,) = row_of(connection, f"select count(*) from {table.relation} where race_date between ? and ?", [start, end])
    return replace(built, rows=int(rows), since=since)


def build_table(connection: duckdb.DuckDBPyConnection, name: str, start: date, end: date) -> Built:
    """Run the SQL file of `name` and replace the window `start` to `end` (both inclusive) of its table.

    Nothing is written down of it: for warehouses that nobody refreshes (`refresh_table`) afterwards.

    Args:
        connection: an open warehouse.
        name: `schema/table`.
        start: first race date of the window.
        end: last race date of the window.

    Returns:
        Rows of the window and the columns of the table.

    Raises:
        SqlTableError: the SQL has an output column without a description.
        duckdb.Error: the SQL failed; the table is as it was before.
    """
    table = load_table(name)
    _register_macros(connection, table)
    with transaction(connection):
        return _build(connection, table, start, end)


def replace_window(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    frame: pl.DataFrame,
    start: date,
    end: date,
    columns: tuple[Column, ...] = (),
) -> Built:
    """Replace the window of a table whose rows were made in Python.

    Args:
        connection: an open warehouse.
        name: `schema/table`.
        frame: rows with a `race_date` column within the window; its column order is the table's.
        start: first race date of the window.
        end: last race date of the window.
        columns: descriptions to store with the table.

    Raises:
        ValueError: rows outside the window, which a later rerun would duplicate.
    """
    days = frame["race_date"]
    outside = int(((days < start) | (days > end)).sum())
    if outside:
        raise ValueError(f"{name}: {outside} rows lie outside the window {start} to {end}.")
    with transaction(connection):
        _stage(connection, frame)
        built = _swap_window(connection, name, _staged_columns(connection), "window_rows", start, end, columns)
        connection.execute("drop table window_rows")
    return built


def replace_table(
    connection: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame, columns: tuple[Column, ...] = ()
) -> Built:
    """Replace a whole, unpartitioned table by the rows of `frame`."""
    with transaction(connection):
        _stage(connection, frame)
        schema, table = _split(name)
        connection.execute(f"drop table if exists {schema}.{table}")
        connection.execute(f"create table {schema}.{table} as select * from window_rows")
        connection.execute("drop table window_rows")
        comment_columns(connection, name, columns)
    return Built(name, frame.height, describe(connection, name))


def append_rows(
    connection: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame, columns: tuple[Column, ...] = ()
) -> Built:
    """Add rows to a table that only grows, such as a log of decisions; it is made when it is not there yet."""
    with transaction(connection):
        _stage(connection, frame)
        schema, table = _split(name)
        connection.execute(f"create table if not exists {schema}.{table} as select * from window_rows limit 0")
        connection.execute(f"insert into {schema}.{table} by name select * from window_rows")
        connection.execute("drop table window_rows")
        comment_columns(connection, name, columns)
    (rows,) = row_of(connection, f"select count(*) from {schema}.{table}")
    return Built(name, int(rows), describe(connection, name))


def ensure_table(connection: duckdb.DuckDBPyConnection, name: str, declared: Declared) -> None:
    """Make a table that only grows, where it is not there yet, and describe its columns where words changed."""
    schema, table = _split(name)
    columns = ", ".join(f'"{column}" {kind}' for column, (kind, _, _) in declared.items())
    connection.execute(f"create table if not exists {schema}.{table} ({columns})")
    comments = {column: comment for column, _, comment in _catalogued(connection, name)}
    comment_columns(connection, name, described_columns(declared), comments)


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing: commit on success, roll back on any exception."""
    connection.execute("begin transaction")
    try:
        yield
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")


def table_exists(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether `schema/table` exists as a table or view."""
    schema, table = _split(name)
    (count,) = row_of(
        connection,
        "select count(*) from information_schema.tables where table_schema = ? and table_name = ?",
        [schema, table],
    )
    return bool(count)


def describe(connection: duckdb.DuckDBPyConnection, name: str) -> tuple[tuple[str, str], ...]:
    """(column, DuckDB type) of a table, in order."""
    return tuple((column, kind) for column, kind, _ in _catalogued(connection, name))


def catalogued_tables(connection: duckdb.DuckDBPyConnection, only: str | None = None) -> dict[str, Catalogued]:
    """(column, DuckDB type, comment) of every table, or of one, in order; the whole catalog is read in either case."""
    rows = connection.execute(
        "select schema_name || '/' || table_name as name, column_name, data_type, comment from duckdb_columns() "
        "where database_name = current_database() and ($only is null or name = $only) order by name, column_index",
        {"only": only},
    ).fetchall()
    return {name: [tuple(column) for _, *column in columns] for name, columns in groupby(rows, key=itemgetter(0))}


def _catalogued(connection: duckdb.DuckDBPyConnection, name: str) -> Catalogued:
    """(column, DuckDB type, comment) of a table, in order; the whole catalog is read for it, so ask once."""
    return catalogued_tables(connection, "/".join(_split(name))).get(name, [])


def _split(name: str) -> tuple[str, str]:
    schema, _, table = name.partition("/")
    if not (_NAME.match(schema) and _NAME.match(table)):
        raise ValueError(f"{name!r} is not a table name of the form schema/table.")
    return schema, table


def _stage(connection: duckdb.DuckDBPyConnection, frame: pl.DataFrame) -> None:
    connection.register("window_frame", frame.to_arrow())
    try:
        connection.execute("create or replace temp table window_rows as select * from window_frame")
    finally:
        connection.unregister("window_frame")


def _staged_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return dict(
        connection.execute(
            "select column_name, data_type from duckdb_columns() "
            "where table_name = 'window_rows' and database_name = 'temp' order by column_index"
        ).fetchall()
    )


def _swap_window(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: Mapping[str, str],
    source: str,
    start: date,
    end: date,
    described: tuple[Column, ...],
    parameters: Iterable[Mapping[str, object]] = ({},),
    *,
    sort: bool = True,
    catalogued: Catalogued | None = None,
) -> Built:
    schema, table = _split(name)
    if catalogued is None:
        catalogued = _catalogued(connection, name)
    if catalogued and not _clear_window(connection, name, start, end):
        catalogued = []
    present = {column: kind for column, kind, _ in catalogued}
    evolved = _evolve(connection, name, present, columns)
    if evolved and present:
        # What it holds of other years lacks a column now: they are no longer what their records tell.
        forget_other_years(connection, name, start.year, end.year)
    # Ordered by date so that row groups prune for every later window.
    order = ", ".join(key for key in ("race_date", "race_key") if key in columns and sort)
    insert = f"insert into {schema}.{table} by name select * from {source} {f'order by {order}' if order else ''}"
    rows = sum(int(row_of(connection, insert, dict(each))[0]) for each in parameters)
    if evolved:
        comment_columns(connection, name, described)
        return Built(name, rows, describe(connection, name))
    comment_columns(connection, name, described, {column: comment for column, _, comment in catalogued})
    return Built(name, rows, tuple(present.items()))


def _parameters(table: SqlTable, start: date, end: date) -> dict[str, date]:
    return {key: day for key, day in {"start": start, "end": end}.items() if f"${key}" in table.text}


def _register_macros(connection: duckdb.DuckDBPyConnection, table: SqlTable) -> None:
    """Before the transaction of a build, whose rollback would take the macros back unnoticed."""
    if table.schema == TEXT_READING_LAYER:
        register(connection)


def _build(
    connection: duckdb.DuckDBPyConnection,
    table: SqlTable,
    start: date,
    end: date,
    catalogued: Catalogued | None = None,
) -> Built:
    days = _few_race_days(connection, table, start, end)
    if days or (end - start).days < SHORT_WINDOW_DAYS:
        make = "create or replace temp table window_rows as"
        for first, last in days or [(start, end)]:
            connection.execute(f"{make} {table.select}", _parameters(table, first, last))
            make = "insert into window_rows"
        source = "window_rows"
        windows: list[Mapping[str, object]] = [{}]
    else:
        # Straight into the table: staging the rows first would write and read the widest tables twice.
        source = f"({table.select})"
        in_spans = table.is_written_in_spans and _most_rows(connection, table.dependencies) > SPAN_ROWS
        windows = [
            _parameters(table, first, last) for first, last in (_spans(start, end) if in_spans else [(start, end)])
        ]
    described = connection.execute(f"describe select * from {source}", windows[0]).fetchall()
    columns = {str(column): _stored(table, str(kind)) for column, kind, *_ in described}
    nameless = columns.keys() - {column.name for column in table.columns}
    if nameless:
        # The lint, the matrix and the records of changes go by the described columns.
        raise SqlTableError(
            f"{table.path}: {', '.join(sorted(nameless))} lacks a description; write `column, -- description [unit]`."
        )
    built = _swap_window(
        connection,
        table.name,
        columns,
        source,
        start,
        end,
        table.columns,
        windows,
        sort=not table.is_written_as_it_comes,
        catalogued=catalogued,
    )
    connection.execute("drop table if exists window_rows")
    connection.execute(f"comment on table {table.relation} is {_literal(table.header['description'])}")
    return built


def _watched_days(
    connection: duckdb.DuckDBPyConnection,
    table: SqlTable,
    columns: tuple[tuple[str, str], ...],
    start: date,
    end: date,
    *,
    even_so: bool,
) -> Days | None:
    """Days of a table that others are made of, within one year; None where nobody will ask, or there is no table.

    What is made of such a table is built from the first day on that differs. Features follow what they are made of, and
    are only looked at where nothing of that has changed (`even_so`).
    """
    follows = is_dated_by_declarations(table) and not even_so
    if start.year != end.year or follows or not is_watched(table.name) or not columns:
        return None
    return days_of(connection, table.relation, columns, start, end)


def _most_rows(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> int:
    """Rows of the largest of the tables, as the catalog has them."""
    sizes = connection.execute(
        "select schema_name || '/' || table_name, estimated_size from duckdb_tables() "
        "where database_name = current_database()"
    ).fetchall()
    wanted = set(names)
    return max((int(rows) for name, rows in sizes if name in wanted), default=0)


def _stored(table: SqlTable, kind: str) -> str:
    # What is told of a race is worked on by the families, which would carry its rounding further.
    is_worked_on = table.is_by_race and not table.is_by_runner
    return "FLOAT" if kind == "DOUBLE" and table.schema == SINGLE_PRECISION_LAYER and not is_worked_on else kind


def _few_race_days(
    connection: duckdb.DuckDBPyConnection, table: SqlTable, start: date, end: date
) -> list[tuple[date, date]]:
    """The race days of a window of features, each a window by itself; empty where there are none or many."""
    told_by = [name for name in DAYS_TOLD_BY if name in table.dependencies]
    if not is_dated_by_declarations(table) or not told_by:
        return []
    found = connection.execute(
        f"select distinct race_date from {told_by[0].replace('/', '.')} where race_date between ? and ? limit ?",
        [start, end, FEW_DAYS + 1],
    ).fetchall()
    return sorted((day, day) for (day,) in found) if len(found) <= FEW_DAYS else []


def _spans(start: date, end: date) -> list[tuple[date, date]]:
    """The window cut at the turn of every third year."""
    firsts = [start, *(date(year, 1, 1) for year in range(start.year + SPAN_YEARS, end.year + 1, SPAN_YEARS))]
    return list(zip(firsts, [*(first - timedelta(days=1) for first in firsts[1:]), end], strict=True))


def _clear_window(connection: duckdb.DuckDBPyConnection, name: str, start: date, end: date) -> bool:
    """Empty the window of a table that exists; False when nothing else was in the table, which is gone then."""
    schema, table = _split(name)
    window = "race_date between ? and ?"
    # Whether, not how many: a count would read every row of the table for a window of one day.
    any_kept = f"select 1 from {schema}.{table} where not ({window}) limit 1"
    kept = bool(connection.execute(any_kept, [start, end]).fetchall())
    if kept:
        connection.execute(f"delete from {schema}.{table} where {window}", [start, end])
    else:
        # Marking every row as deleted costs more than a new table, and leaves the file twice as large.
        connection.execute(f"drop table {schema}.{table}")
    return kept


def _evolve(
    connection: duckdb.DuckDBPyConnection, name: str, present: Mapping[str, str], wanted: Mapping[str, str]
) -> bool:
    """Make the table, or give an older one the columns of the new rows: years not yet rebuilt hold null in new ones.

    Columns that only stand in another order stay as they are.

    Returns:
        Whether there was anything to do.
    """
    schema, table = _split(name)
    if dict(wanted) == dict(present):
        return False
    if not present:
        listed = ", ".join(f'"{column}" {kind}' for column, kind in wanted.items())
        connection.execute(f"create table {schema}.{table} ({listed})")
        return True
    for column in present.keys() - wanted.keys():
        connection.execute(f'alter table {schema}.{table} drop column "{column}"')
    for column, kind in wanted.items():
        if column not in present:
            connection.execute(f'alter table {schema}.{table} add column "{column}" {kind}')
        elif present[column] != kind:
            connection.execute(f'alter table {schema}.{table} alter column "{column}" set data type {kind}')
    return True


def comment_columns(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: tuple[Column, ...],
    present: Mapping[str, str | None] | None = None,
) -> None:
    """Write the comments that differ from those present: each makes a new version of the table's catalog entry."""
    schema, table = _split(name)
    known = present or {}
    for column in columns:
        text = f"{column.description} [{column.unit}]" if column.unit else column.description
        if known.get(column.name) != text:
            connection.execute(f'comment on column {schema}.{table}."{column.name}" is {_literal(text)}')


def _literal(text: str) -> str:
    # COMMENT ON takes no bound parameter; the text comes from our own files.
    return "'" + text.replace("'", "''") + "'"
