"""The static leak lint: no feature may depend on a result of its own race day, or of a later one.

Belongs here: the rules, the findings, and their words. Does not belong here: following values through SQL
(dataflow/), proofs on data (recompute.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from velo_assets.warehouse.availability import CORE_COLUMNS, DECISION_TIME
from velo_assets.warehouse.dataflow.queries import follow
from velo_assets.warehouse.moments import (
    LAST,
    LAST_IN,
    NEVER,
    WITHIN,
    Flow,
    Label,
    Moment,
    Origin,
    UnsupportedSqlError,
)
from velo_assets.warehouse.sql_table import SqlTable, SqlTableError, all_tables, load_table


@dataclass(frozen=True, order=True)
class Finding:
    """A leak, or a construct that cannot be proven free of one.

    Attributes:
        path: the SQL file.
        line: line of the construct that lets the value through.
        rule: name of the rule that it breaks.
        message: column and reason.
    """

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: [{self.rule}] {self.message}"


RULES = {
    "same-race": "a value of the race's own results, prices or sectionals reaches the output with no barrier",
    "same-day-window": "a window's frame includes the race's own day; end it with `1 preceding`",
    "rows-window": "a frame that counts rows over several rows of one day; collapse to one row per key and day first",
    "whole-history": "an aggregate, window or subquery over all rows, later ones included",
    "unbounded-date": "rows whose race_date no condition bounds to be earlier than this race's",
    "window-keys": "rows filtered to the keys of the window are mixed, or asked for by rows of other days",
    "row-selection": "which rows there are depends on results of the day or later",
    "race-date": "the output has no race_date that can be followed to its source",
    "unsupported": "the lint does not understand the construct and so cannot vouch for it",
}
"""Every rule and what it means."""


def lint_sql(text: str, path: str | Path) -> list[Finding]:
    """Findings of one SQL text.

    Args:
        text: a select, as in velo_assets/sql/features.
        path: the file it stands in, for the findings.

    Returns:
        Findings sorted by line; empty when every output column is proven to be known before the race.
    """
    return [Finding(str(path), line, rule, message) for line, rule, message in _findings(text)]


def lint_tables(tables: Iterable[SqlTable] | None = None) -> list[Finding]:
    """Findings of all feature tables of the house (or of `tables`)."""
    chosen = [table for table in all_tables() if table.schema == "features"] if tables is None else tables
    return sorted(finding for table in chosen for finding in lint_sql(table.text, table.path))


def declared_columns(table: str) -> tuple[str, ...] | None:
    """Columns of an upstream table: by its SQL file, else by the contract; None when neither declares them."""
    try:
        return tuple(column.name for column in load_table(table).columns)
    except SqlTableError:
        return tuple(CORE_COLUMNS[table]) if table in CORE_COLUMNS else None


@cache
def flow_of(text: str) -> Flow:
    """The flow of a SQL text of the house, remembered per text."""
    return follow(text, declared_columns)


@cache
def _findings(text: str) -> tuple[tuple[int, str, str], ...]:
    from sqlglot.errors import SqlglotError

    try:
        flow = flow_of(text)
    except UnsupportedSqlError as error:
        return ((error.line, "unsupported", f"{error}; rewrite it with what the lint can follow"),)
    except SqlglotError as error:
        return ((1, "unsupported", f"the SQL does not parse: {str(error).splitlines()[0]}"),)
    day = flow.columns.get("race_date")
    if day is None or day.symbol is None or day.shift > 0 or day.unit.startswith(LAST_IN):
        return ((1, "race-date", "the output needs race_date, taken as it is from the rows it describes"),)
    found = set()
    # The loader fills only the window.
    flow.facts.learn_in_window(day.symbol)
    for name, value in flow.columns.items():
        for origin, rule, reason in _late(value.label, day.symbol, flow):
            found.add((origin.line, rule, f"column {name} (line {flow.lines.get(name, 1)}): {reason}"))
    for origin, rule, reason in _late(flow.rows, day.symbol, flow):
        found.add((origin.line, "row-selection" if rule == "same-race" else rule, f"choice of rows: {reason}"))
    return tuple(sorted(found))


def _late(label: Label, day: int, flow: Flow) -> list[tuple[Origin, str, str]]:
    out = []
    for moment, origin in label.items():
        if moment.phase == NEVER:
            out.append((origin, origin.rule, f"{origin.text} is not bounded to earlier days"))
        elif moment.phase == WITHIN:
            conditions = flow.facts.implied(flow.facts.condition(moment))
            if not any(flow.facts.is_in_window(symbol) for _, symbol in conditions):
                reason = f"only the {origin.text} are there, but rows of other days are asked for them"
                out.append((origin, origin.rule, reason))
        elif flow.facts.proves(moment, Moment(DECISION_TIME, day)):
            continue
        elif flow.facts.proves(moment, Moment(LAST, day)):
            out.append((origin, origin.rule, f"{origin.text} is known only after the race's own day"))
        else:
            reason = f"nothing bounds the race_date of {origin.text} to be earlier than this race_date"
            out.append((origin, "unbounded-date", reason))
    return out
