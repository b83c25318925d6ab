"""Null policy of the features: null stays null, and these checks say where nulls are more than they should be.

Belongs here: null rates over the rows where a value can exist, constant columns, columns null in a whole year or
country. Does not belong here: the SQL that makes the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from velo_assets.warehouse.sql_table import SqlTable, load_table

MIN_ROWS = 500
"""A year or country with fewer rows says nothing about a column."""

FEW = 0.05
"""In a group of rows with no more than this share of values, the value cannot be expected."""

MANY_RUNS = 6
"""Form values look back six runs at most; horses with more are one group."""

_KEYS = ("race_date", "race_key", "runner_key")


@dataclass(frozen=True)
class NullRate:
    """Nulls of a column.

    Attributes:
        family: feature table.
        column: column.
        rows: rows in all.
        possible: rows where the value can exist.
        nulls: nulls among these.
        all_nulls: nulls among all rows.
    """

    family: str
    column: str
    rows: int
    possible: int
    nulls: int
    all_nulls: int

    @property
    def rate(self) -> float:
        """Null rate over the rows where the value can exist; 0 when there are none."""
        return self.nulls / self.possible if self.possible else 0.0


@dataclass(frozen=True)
class NullFinding:
    """A column that breaks the policy: constant, or null throughout some year or country where others have it."""

    family: str
    column: str
    rule: str
    message: str


def null_rates(connection: duckdb.DuckDBPyConnection, family: str) -> list[NullRate]:
    """Null rate of every feature of a family over the rows where the value can exist.

    Rows are sorted into groups by country, code and earlier runs of the horse (0 to 6 and more). A value can exist in a
    group when more than a few of its rows have one: no stalls over jumps, no classes abroad, no third-last run for a
    horse that has run twice.

    Args:
        connection: an open warehouse with the family built.
        family: `features/...`, one row per runner.
    """
    table = load_table(family)
    columns = _features(table)
    known = ", ".join(f"count(feature.{name})" for name in columns)
    groups = connection.execute(
        f"""
        with history as (
            select runner_key,
                least(count(*) over (partition by horse_key order by race_date
                    range between interval 1095 day preceding and interval 1 day preceding), {MANY_RUNS}) as runs_before
            from core.entries
        )
        select count(*), {known}
        from {table.relation} as feature
        inner join history on history.runner_key = feature.runner_key
        inner join core.races as races on races.race_key = feature.race_key
        group by races.country, races.code, history.runs_before
        """
    ).fetchall()
    rates = []
    for i, name in enumerate(columns, start=1):
        possible = [group for group in groups if group[i] > FEW * group[0]]
        rates.append(
            NullRate(
                family,
                name,
                rows=sum(group[0] for group in groups),
                possible=sum(group[0] for group in possible),
                nulls=sum(group[0] - group[i] for group in possible),
                all_nulls=sum(group[0] - group[i] for group in groups),
            )
        )
    return rates


def family_null_rate(rates: Sequence[NullRate]) -> float:
    """The runbook's number: nulls of a family over all its values that can exist."""
    possible = sum(rate.possible for rate in rates)
    return sum(rate.nulls for rate in rates) / possible if possible else 0.0


def null_findings(connection: duckdb.DuckDBPyConnection, family: str, *, min_rows: int = MIN_ROWS) -> list[NullFinding]:
    """Constant columns, and columns null in one country or year only.

    Args:
        connection: an open warehouse with the family built.
        family: `features/...`, one row per runner.
        min_rows: smaller years and countries are passed over.
    """
    table = load_table(family)
    columns = _features(table)
    if not columns:
        return []
    distinct = ", ".join(f"min({name}) is not distinct from max({name}), count({name})" for name in columns)
    flat = connection.execute(f"select {distinct} from {table.relation}").fetchall()[0]
    findings = [
        NullFinding(family, name, "constant", f"{family}.{name} has one value in all {flat[2 * i + 1]} rows")
        for i, name in enumerate(columns)
        if flat[2 * i] and flat[2 * i + 1] > 1
    ]
    findings += [
        NullFinding(family, name, "empty", f"{family}.{name} is null in every row")
        for i, name in enumerate(columns)
        if flat[2 * i + 1] == 0
    ]
    filled = {name for i, name in enumerate(columns) if flat[2 * i + 1] > 0}
    for part, expression in (("year", "cast(year(feature.race_date) as varchar)"), ("country", "races.country")):
        counted = ", ".join(f"count(feature.{name})" for name in columns)
        rows = connection.execute(
            f"select {expression} as part, count(*), {counted} from {table.relation} as feature "
            "inner join core.races as races on races.race_key = feature.race_key group by part having count(*) >= ? "
            "order by part",
            [min_rows],
        ).fetchall()
        # The first year has no history yet: what is null there is so by construction.
        judged = rows[1:] if part == "year" else rows
        for place, total, *known in judged:
            findings += [
                NullFinding(family, name, f"null {part}", f"{family}.{name} is null in all {total} rows of {place}")
                for name, count in zip(columns, known, strict=True)
                if count == 0 and name in filled
            ]
    return findings


def _features(table: SqlTable) -> list[str]:
    return [column.name for column in table.columns if column.name not in _KEYS]
