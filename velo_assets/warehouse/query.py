"""Rows of a query as a polars frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import polars as pl


def frame_of(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[object] | Mapping[str, object] | None = None
) -> pl.DataFrame:
    """Run a query with bound parameters.

    Args:
        connection: an open connection.
        query: SQL.
        parameters: values of its placeholders.

    Returns:
        Its rows.
    """
    frame = pl.from_arrow(connection.execute(query, parameters).to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame
