"""Remembers from which day on a table differs from what it was, so that a night rebuilds no day that cannot differ.

A feature of a race day is made of that day's declarations and of earlier days; the leak proofs hold every table to
that. So what changed on a day changes features from that day on, and none before it.

Belongs here: the records, and what follows from them. Does not belong here: replacing rows (build.py), what is out of
date (builds.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from weakref import WeakSet

import duckdb

from velo_assets.warehouse.builds import ensure_builds
from velo_assets.warehouse.query import row_of
from velo_assets.warehouse.sql_table import SqlTable, all_tables

FEATURES = "features"

_HAVE_RECORDS: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()
"""Connections that have seen the tables of the records: a night asks for them some hundred times."""

Days = Mapping[date, tuple[int, int]]
"""Race day to its number of rows and the sum of their hashes."""


def is_dated_by_declarations(table: SqlTable) -> bool:
    """Whether a day's rows are made of nothing later than that day's declarations: every feature of a race is."""
    return table.schema == FEATURES and table.is_by_race


@cache
def is_watched(name: str) -> bool:
    """Whether a change of a table is looked for day by day: a feature that can be built from a late day on reads it."""
    return any(name in table.dependencies for table in all_tables() if is_dated_by_declarations(table))


def days_of(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Iterable[tuple[str, str]], start: date, end: date
) -> dict[date, tuple[int, int]]:
    """What each day from `start` to `end` holds, in two numbers.

    Args:
        connection: an open warehouse.
        relation: `schema.table`.
        columns: the columns that count, and their types.
        start: first race date.
        end: last race date.
    """
    # Sums are added up in another order every time: their last bits, which no feature keeps, are no change.
    listed = ", ".join(f'cast("{name}" as float)' if kind == "DOUBLE" else f'"{name}"' for name, kind in columns)
    rows = connection.execute(
        f"select race_date, count(*), sum(cast(hash({listed}) as hugeint)) from {relation} "
        "where race_date between ? and ? group by race_date",
        [start, end],
    ).fetchall()
    return {day: (int(count), int(total)) for day, count, total in rows}


def first_difference(before: Days, after: Days) -> date | None:
    """The first day on which two accounts of a table differ, None when they agree."""
    return min((day for day in before.keys() | after.keys() if before.get(day) != after.get(day)), default=None)


def record_change(
    connection: duckdb.DuckDBPyConnection, name: str, start: date, end: date, first_day: date | None
) -> int:
    """Write down that a window of a table was replaced, in the transaction that replaces it.

    Args:
        connection: an open warehouse.
        name: the table.
        start: first race date of the window.
        end: last race date of the window.
        first_day: first day whose rows differ from what they were, None when none does.

    Returns:
        Number of the change: higher than that of any before it.
    """
    ensure_records(connection)
    window = {"name": name, "first": start.year, "last": end.year, "day": first_day}
    # Who has not seen an older change from a later day on will see this one from an earlier.
    connection.execute(
        "delete from meta.changes where name = $name and year between $first and $last "
        "and (first_day is null or ($day is not null and first_day >= greatest($day, make_date(year, 1, 1))))",
        window,
    )
    (last,) = row_of(connection, "select coalesce(max(number), 0) from meta.changes")
    number = int(last) + 1
    for year in range(start.year, end.year + 1):
        day = first_day and max(first_day, date(year, 1, 1))
        connection.execute("insert into meta.changes values (?, ?, ?, ?)", [name, year, number, day])
    return number


def record_change_of_columns(connection: duckdb.DuckDBPyConnection, table: SqlTable, start: date, end: date) -> None:
    """Write down that every year of a table has changed, because one of its windows has brought other columns or types.

    Args:
        connection: an open warehouse.
        table: the table.
        start: first race date of the window.
        end: last race date of the window.
    """
    first, last = row_of(
        connection,
        f"select least(min(race_date), $start), greatest(max(race_date), $end) from {table.relation}",
        {"start": start, "end": end},
    )
    record_change(connection, table.name, first, last, date(first.year, 1, 1))


def record_refresh(connection: duckdb.DuckDBPyConnection, table: SqlTable, start: date, end: date, number: int) -> None:
    """Write down that a table has taken in every change up to a number, in all years of a window."""
    ensure_records(connection)
    for year in range(start.year, end.year + 1):
        connection.execute(
            "insert or replace into meta.refreshes values (?, ?, ?, ?)", [table.name, year, number, table.code_version]
        )


def first_change(connection: duckdb.DuckDBPyConnection, table: SqlTable, start: date, end: date) -> date | None:
    """The first day of a window on which a table can differ from what it holds.

    Args:
        connection: an open warehouse.
        table: the table.
        start: first race date of the window.
        end: last race date of the window.

    Returns:
        `start` unless all of these hold: the window lies within one year, the table is of features of runners, its year
        was refreshed by the same SQL and not struck from the records, and what has changed since in the tables it
        reads, of the year and of those before it, is known and begins later. None when nothing has changed.
    """
    if start.year != end.year or not is_dated_by_declarations(table):
        return start
    ensure_records(connection)
    changed = connection.execute(
        """
        with seen as (
            select number from meta.refreshes
            where name = $name and year = $year and code_version = $code_version
                and (name, year) in (select name, year from meta.builds)
        )
        select
            changes.name,
            min(changes.first_day) filter (where changes.number > seen.number and changes.year <= $year)
        from seen
        left join meta.changes as changes on list_contains($names, changes.name)
        group by changes.name
        """,
        {
            "name": table.name,
            "year": start.year,
            "code_version": table.code_version,
            "names": list(table.dependencies),
        },
    ).fetchall()
    if {name for name, _ in changed} != set(table.dependencies):
        return start
    days = [day for _, day in changed if day]
    return max(start, min(days)) if days else None


def refreshed_days(connection: duckdb.DuckDBPyConnection, name: str) -> tuple[date, date] | None:
    """First and last day of what was rebuilt of a table the last time, None when that is not known."""
    ensure_records(connection)
    first, last = row_of(
        connection,
        "select min(coalesce(first_day, make_date(year, 1, 1))), max(make_date(year, 12, 31)) from meta.changes "
        "where name = $name and number = (select max(number) from meta.changes where name = $name)",
        {"name": name},
    )
    return (first, last) if first else None


def ensure_records(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables of the records; before a transaction, whose rollback would take them back unnoticed."""
    if connection in _HAVE_RECORDS:
        return
    connection.execute("create schema if not exists meta")
    ensure_builds(connection)
    connection.execute(
        "create table if not exists meta.changes (name varchar, year integer, number bigint, first_day date)"
    )
    connection.execute(
        "create table if not exists meta.refreshes ("
        "name varchar, year integer, number bigint, code_version varchar, primary key (name, year))"
    )
    _HAVE_RECORDS.add(connection)
