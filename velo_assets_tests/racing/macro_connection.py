"""One DuckDB connection with the raceform macros, and a way to call a macro on a list of values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import duckdb

from velo_assets.racing.macros import register


@cache
def connection() -> duckdb.DuckDBPyConnection:
    """A connection shared by the tests of this folder: macros are pure, so nothing can leak between tests."""
    shared = duckdb.connect(config={"threads": 1})
    register(shared)
    return shared


def call(expression: str, values: Sequence[Any]) -> list[Any]:
    """`expression` over the column `value`, for each of `values` in order."""
    rows = connection().execute(
        f"select {expression} from (select unnest(?::varchar[]) as value, "
        "generate_subscripts(?::varchar[], 1) as place) "
        "order by place",
        [list(values), list(values)],
    )
    return [row[0] for row in rows.fetchall()]
