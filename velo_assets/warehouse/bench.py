"""Where the dynamic leak proofs are made: an in-memory database beside the warehouse, and what a proof found.

Its `core` schema is views over the real one, altered as a proof wants them, so that the same SQL reads altered data and
the warehouse itself is never written.

Belongs here: the bench, the order of the tables, the result of a check. Does not belong here: what a proof alters
(recompute.py, outcome_proofs.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import duckdb
import polars as pl

from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import load_table

POST_RACE_TABLES = ("core/results", "core/prices", "core/sectionals")
"""Tables whose rows of a day exist only after that day."""

ENTRY_TABLES = ("core/races", "core/entries")
"""Tables whose rows of a day exist before that day's racing."""

KEYS = ("race_date", "race_key", "runner_key", "horse_key", "price_kind", "call_number", "entity")
"""Columns that name a row; no proof takes them for features or deals them out anew."""

_FIRST_DIFFERENCES = 8
"""Differences that a report prints; the result holds all."""

Texts = Mapping[str, str]
"""SQL texts to use in place of the files, by `schema/table`: the planted leaks."""


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

    def built(self, name: str) -> str:
        """What the bench has built of a feature table, as SQL names it from here: the rows of its window alone."""
        return f"built_{name.split('/')[1]}"

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
        """Build a feature table of the bench for a window; of earlier days, which are not altered, it is the real one.

        Those days are proven as days of their own: what is read of them was known by then. Fractions are held as in the
        real table, for what is made of them would carry a rounding of its own further.
        """
        text = texts.get(name) or load_table(name).text
        parameters = {key: day for key, day in {"start": start, "end": end}.items() if f"${key}" in text}
        relation, built = name.replace("/", "."), self.built(name)
        select = text.rstrip().rstrip(";")
        held = self._types(f"from {self.real(name)}", {}) if self.exists(name) else {}
        made = self._types(select, parameters)
        rounded = [column for column, kind in made.items() if (kind, held.get(column)) == ("DOUBLE", "FLOAT")]
        casts = ", ".join(f'cast("{column}" as float) as "{column}"' for column in rounded)
        self.connection.execute(
            f"create or replace table {built} as select * {f'replace ({casts})' if casts else ''} from ({select})",
            parameters,
        )
        self.connection.execute(f"drop view if exists {relation}")
        earlier = f"union all by name select * from {self.real(name)} where race_date < date '{start}'"
        self.connection.execute(
            f"create view {relation} as select * from {built} {earlier if self.exists(name) else ''}"
        )

    def _types(self, query: str, parameters: Mapping[str, date]) -> dict[str, str]:
        described = self.connection.execute(f"describe {query}", parameters).fetchall()
        return {str(column): str(kind) for column, kind, *_ in described}

    def build_all(self, names: Sequence[str], start: date, end: date, texts: Texts) -> None:
        """Build feature tables in order; tables dated by year get the years they need."""
        for name in names:
            # Strengths are dated 1 January, so a window within a year starts there.
            self.build(name, start if load_table(name).is_by_race else date(start.year, 1, 1), end, texts)


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
