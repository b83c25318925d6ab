"""Column lineage: which upstream columns an output column is made of, down to the raceform column it came from.

Belongs here: direct sources, the tree below a column, and the moment a column inherits from its sources. Does not
belong here: how values flow through SQL (dataflow/), or Dagster's metadata types (assets).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from velo_assets.warehouse.availability import Known
from velo_assets.warehouse.lint import flow_of
from velo_assets.warehouse.moments import DAY_PHASES, Moment, Source
from velo_assets.warehouse.sql_table import SqlTableError, load_table


@dataclass(frozen=True)
class Node:
    """A column in a lineage tree.

    Attributes:
        table: `schema/table`.
        column: column name.
        inputs: the columns it is made of; empty for a raw column and for a constant.
    """

    table: str
    column: str
    inputs: tuple[Node, ...] = ()

    def leaves(self) -> tuple[Source, ...]:
        """The (table, column) pairs at the end of the tree, sorted: raw columns when every SQL file is there."""
        if not self.inputs:
            return ((self.table, self.column),)
        return tuple(sorted({leaf for node in self.inputs for leaf in node.leaves()}))

    def text(self, indent: str = "") -> str:
        """The tree as indented lines."""
        below = [node.text(indent + "  ") for node in self.inputs]
        return "\n".join([f"{indent}{self.table.replace('/', '.')}.{self.column}", *below])


@dataclass(frozen=True)
class Inherited:
    """When a feature column becomes known, and why.

    Attributes:
        known: the latest moment of its same-race inputs; earlier days count as declaration.
        because: the inputs of the latest moment, as `schema.table.column`; empty at declaration.
    """

    known: Known
    because: tuple[str, ...]


@cache
def column_lineage(name: str) -> Mapping[str, tuple[Source, ...]]:
    """Direct sources of every output column of a SQL table.

    Args:
        name: `schema/table`.

    Returns:
        Output column to sorted (upstream table, upstream column) pairs. A count of rows comes from the columns that it
        counts by.

    Raises:
        SqlTableError: no such file.
        UnsupportedSqlError: the SQL holds what the interpreter cannot follow.
    """
    flow = flow_of(load_table(name).text)
    return {column: tuple(sorted(value.sources)) for column, value in flow.columns.items()}


def trace(name: str, column: str) -> Node:
    """The tree of columns below an output column, down to tables that no SQL file makes (landing).

    Args:
        name: `schema/table`.
        column: output column.

    Raises:
        SqlTableError: the table has no such column.
    """
    try:
        lineage = column_lineage(name)
    except SqlTableError:
        return Node(name, column)
    if column not in lineage:
        raise SqlTableError(f"{name} has no column {column!r}; it has {', '.join(lineage)}.")
    return Node(name, column, tuple(_below(table, upstream) for table, upstream in lineage[column]))


@cache
def _below(table: str, column: str) -> Node:
    return trace(table, column)


@cache
def availability(name: str) -> Mapping[str, Inherited]:
    """When every output column of a feature table becomes known for the race of its row.

    Args:
        name: `schema/table`, with SQL the lint passes; what the lint would refuse counts as known at the result.

    Returns:
        Output column to the moment and the inputs behind it.
    """
    flow = flow_of(load_table(name).text)
    day = flow.columns["race_date"].symbol
    out = {}
    for column, value in flow.columns.items():
        latest, because = Known.DECLARATION, list[str]()
        for moment, origin in value.label.items():
            if moment.phase > max(DAY_PHASES) + 1:
                known = Known.RESULT
            elif moment.phase not in DAY_PHASES:
                continue
            else:
                proven = (p for p in DAY_PHASES if day and flow.facts.proves(moment, Moment(p, day)))
                known = Known(next(proven, Known.RESULT))
            if known > latest:
                latest, because = known, []
            if known == latest and known > Known.DECLARATION:
                because.append(origin.text)
        out[column] = Inherited(latest, tuple(sorted(set(because))))
    return out
