"""Results of queries as plain values: a polars frame, or one row. A result is always read to its end.

DuckDB 2.0 refuses further work on a connection while a result is half read, as `fetchone` leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    import polars as pl

Parameters = Sequence[object] | Mapping[str, object] | None


def frame_of(connection: duckdb.DuckDBPyConnection, query: str, parameters: Parameters = None) -> pl.DataFrame:
    """Run a query with bound parameters.

    Args:
        connection: an open connection.
        query: SQL.
        parameters: values of its placeholders.

    Returns:
        Its rows.
    """
    import polars as pl

    frame = pl.from_arrow(connection.sql(query, params=parameters).to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def row_of(connection: duckdb.DuckDBPyConnection, query: str, parameters: Parameters = None) -> tuple[Any, ...]:
    """Run a query that gives one row, such as a count.

    Raises:
        LookupError: it gave another number of rows.
    """
    rows = connection.execute(query, parameters).fetchall()
    if len(rows) != 1:
        raise LookupError(f"Expected one row, got {len(rows)}, from: {' '.join(query.split())}")
    row: tuple[Any, ...] = rows[0]
    return row
