"""Null policy of the features: null stays null, and these checks say where nulls are more than they should be.

Belongs here: null rates over the rows where a value can exist, constant columns, columns null in a whole year or
country. Does not belong here: the SQL that makes the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import add
from typing import Any

import duckdb

from velo_assets.warehouse.query import row_of
from velo_assets.warehouse.sql_table import load_table

MIN_ROWS = 500
"""A year or country with fewer rows says nothing about a column."""

FEW = 0.05
"""In a group of rows with no more than this share of values, the value cannot be expected."""

MANY_RUNS = 6
"""Form values look back six runs at most; horses with more are one group."""

_KEYS = ("race_date", "race_key", "runner_key")

_YEAR, _COUNTRY, _CODE, _RUNS_BEFORE = _GROUPED_BY = range(4)


@dataclass(frozen=True)
class NullCounts:
    """What one pass over a family counts.

    Attributes:
        family: feature table.
        columns: its features.
        groups: year, country, code, earlier runs of the horse (0 to 6 and more), rows, then the known values of each
            column.
        constant: columns with several values, all the same, and how many.
    """

    family: str
    columns: tuple[str, ...]
    groups: tuple[tuple[Any, ...], ...]
    constant: Mapping[str, int]

    def by(self, *keys: int) -> dict[tuple[Any, ...], tuple[int, ...]]:
        """Rows and known values of each column, added up over groups that share these of the first four keys."""
        sums: dict[tuple[Any, ...], tuple[int, ...]] = {}
        for group in self.groups:
            key, counts = tuple(group[place] for place in keys), group[len(_GROUPED_BY) :]
            sums[key] = tuple(map(add, sums.get(key, (0,) * len(counts)), counts))
        return sums


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


def count_nulls(connection: duckdb.DuckDBPyConnection, family: str) -> NullCounts:
    """Count the known values of every feature of a family.

    Args:
        connection: an open warehouse with the family built.
        family: `features/...`, one row per runner.
    """
    (counts,) = count_nulls_of(connection, [family])
    return counts


def count_nulls_of(connection: duckdb.DuckDBPyConnection, families: Sequence[str]) -> list[NullCounts]:
    """Count the known values of every feature of several families; the horses' earlier runs are counted once for all.

    Args:
        connection: an open warehouse with the families built.
        families: `features/...`, one row per runner.
    """
    connection.execute(
        f"""
        create or replace temp table runs_before as
        select runner_key,
            least(count(*) over (partition by horse_key order by race_date
                range between interval 1095 day preceding and interval 1 day preceding), {MANY_RUNS}) as runs_before
        from core.entries
        """
    )
    try:
        return [_count_nulls(connection, family) for family in families]
    finally:
        connection.execute("drop table runs_before")


def _count_nulls(connection: duckdb.DuckDBPyConnection, family: str) -> NullCounts:
    table = load_table(family)
    columns = tuple(column.name for column in table.columns if column.name not in _KEYS)
    known = ", ".join(f"count(feature.{name})" for name in columns)
    groups = connection.execute(
        f"""
        select year(feature.race_date) as year, races.country, races.code, history.runs_before, count(*), {known}
        from {table.relation} as feature
        inner join runs_before as history on history.runner_key = feature.runner_key
        inner join core.races as races on races.race_key = feature.race_key
        group by year, races.country, races.code, history.runs_before
        """
    ).fetchall()
    values = ", ".join(f"case when min({name}) = max({name}) then count({name}) end" for name in columns)
    same = row_of(connection, f"select {values} from {table.relation}")
    constant = {name: count for name, count in zip(columns, same, strict=True) if count is not None and count > 1}
    return NullCounts(family, columns, tuple(groups), constant)


def null_rates(counts: NullCounts) -> list[NullRate]:
    """Null rate of every feature over the rows where the value can exist.

    A value can exist in a group of country, code and earlier runs of the horse when more than a few of its rows have
    one: no stalls over jumps, no classes abroad, no third-last run for a horse that has run twice.
    """
    groups = counts.by(_COUNTRY, _CODE, _RUNS_BEFORE).values()
    rates = []
    for i, name in enumerate(counts.columns, start=1):
        possible = [group for group in groups if group[i] > FEW * group[0]]
        rates.append(
            NullRate(
                counts.family,
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


def null_findings(counts: NullCounts, *, min_rows: int = MIN_ROWS) -> list[NullFinding]:
    """Constant columns, empty ones, and columns null in one country or year only.

    Args:
        counts: of the family.
        min_rows: smaller years and countries are passed over.
    """
    family = counts.family
    findings = [
        NullFinding(family, name, "constant", f"{family}.{name} has one value in all {count} rows that have any")
        for name, count in counts.constant.items()
    ]
    _, *known = counts.by().get((), (0,) * (len(counts.columns) + 1))
    filled = {name for name, count in zip(counts.columns, known, strict=True) if count}
    findings += [
        NullFinding(family, name, "empty", f"{family}.{name} is null in every row")
        for name in counts.columns
        if name not in filled
    ]
    for part, key in (("year", _YEAR), ("country", _COUNTRY)):
        places = sorted(
            (str(place or "an unknown country"), sums)
            for (place,), sums in counts.by(key).items()
            if sums[0] >= min_rows
        )
        # The first year has no history yet: what is null there is so by construction.
        for place, (rows, *known) in places[1:] if part == "year" else places:
            findings += [
                NullFinding(family, name, f"null {part}", f"{family}.{name} is null in all {rows} rows of {place}")
                for name, count in zip(counts.columns, known, strict=True)
                if count == 0 and name in filled
            ]
    return findings
