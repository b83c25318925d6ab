"""The trial ledger: how many variants were ever run on these data.

Belongs here: `backtest.trials`, its rows and its count. Not here: what the count does to a result
(`metrics.NullReturn.best_of`).

Whoever tries a hundred filters keeps the best; the count makes every table say so. A variant is a strategy definition,
whatever its id; changing a threshold makes a new one. The count is per fingerprint of the data, and never shrinks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.query import row_of

if TYPE_CHECKING:
    import duckdb

    from velo_assets.betting.strategies import Strategy

CREATE = """
create table if not exists backtest.trials (
    data_fingerprint varchar not null,
    definition_hash varchar not null,
    strategy_id varchar not null,
    name varchar,
    first_run_at timestamp not null,
    last_run_at timestamp not null,
    runs integer not null,
    primary key (data_fingerprint, definition_hash)
)
"""


def data_fingerprint(races: pl.DataFrame) -> str:
    """SHA-256 over which races were bet on: date span, number of races, and the set of race keys.

    Args:
        races: any frame with `race_date` and `race_key`; rows may repeat.

    Returns:
        The first 16 hexadecimal digits. Order of rows does not matter; predictions do not enter, so a new model on the
        same races is another trial on the same data.
    """
    unique = races.select("race_date", "race_key").unique()
    keys = hashlib.sha256(unique.get_column("race_key").sort().to_numpy().astype("<i8").tobytes()).hexdigest()
    dates = unique.get_column("race_date").cast(pl.String).sort()
    words = "|".join([*dates.head(1), *dates.tail(1), str(unique.height), keys])
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def record_trials(
    connection: duckdb.DuckDBPyConnection, fingerprint: str, strategies: Iterable[Strategy], model_hash: str = ""
) -> int:
    """Note that strategies were run, and count what was ever run on these data.

    Args:
        connection: read-write, with or without a schema `backtest`.
        fingerprint: from `data_fingerprint`.
        strategies: those that were run.
        model_hash: identifies the models behind the probabilities; another model is another trial.

    Returns:
        Number of variants ever run on the data, these included.
    """
    connection.execute("create schema if not exists backtest")
    connection.execute(CREATE)
    now = datetime.now(UTC).replace(tzinfo=None)
    for strategy in strategies:
        definition = hashlib.sha256(f"{strategy.definition_hash}|{model_hash}".encode()).hexdigest()
        connection.execute(
            """
            insert into backtest.trials values (?, ?, ?, ?, ?, ?, 1)
            on conflict (data_fingerprint, definition_hash)
            do update set last_run_at = excluded.last_run_at, runs = runs + 1
            """,
            [fingerprint, definition, strategy.id, strategy.name, now, now],
        )
    return count_trials(connection, fingerprint)


def count_trials(connection: duckdb.DuckDBPyConnection, fingerprint: str) -> int:
    """Number of variants ever run on the data with this fingerprint; 0 when none was."""
    if not table_exists(connection, "backtest/trials"):
        return 0
    query = "select count(*) from backtest.trials where data_fingerprint = ?"
    return int(row_of(connection, query, [fingerprint])[0])


def tried(connection: duckdb.DuckDBPyConnection, fingerprint: str) -> set[str]:
    """Ids of the strategies ever run on the data with this fingerprint."""
    if not table_exists(connection, "backtest/trials"):
        return set()
    query = "select distinct strategy_id from backtest.trials where data_fingerprint = ?"
    return {str(row[0]) for row in connection.execute(query, [fingerprint]).fetchall()}
