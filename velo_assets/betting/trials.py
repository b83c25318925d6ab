"""The trial ledger: how many variants were ever run on these data.

Belongs here: `backtest.trials`, its rows and its count. Not here: what the count does to a result
(`metrics.NullReturn.best_of`).

Whoever tries a hundred filters keeps the best; the count makes every table say so. A variant is a strategy definition,
whatever its id; changing a threshold makes a new one. A night's racing makes other data, and yet nearly the same: the
count is of all that was ever run on races of the same span of days, and never shrinks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from velo_assets.betting.columns import TRIALS
from velo_assets.warehouse.build import comment_columns, table_exists
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
    first_race date,
    last_race date,
    primary key (data_fingerprint, definition_hash)
)
"""

ADD_SPAN = (
    "alter table backtest.trials add column if not exists first_race date",
    "alter table backtest.trials add column if not exists last_race date",
)
"""For ledgers from before the span was noted: the one table that can't be built again keeps its rows."""


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
    connection: duckdb.DuckDBPyConnection, races: pl.DataFrame, strategies: Iterable[Strategy], model_hash: str = ""
) -> int:
    """Note that strategies were run, and count what was ever run on these data.

    Args:
        connection: read-write, with or without a schema `backtest`.
        races: those bet on, as for `data_fingerprint`.
        strategies: those that were run.
        model_hash: identifies the models behind the probabilities; another model is another trial.

    Returns:
        Number of variants ever run on the data, these included.
    """
    connection.execute("create schema if not exists backtest")
    connection.execute(CREATE)
    for statement in ADD_SPAN:
        connection.execute(statement)
    comment_columns(connection, "backtest/trials", TRIALS)
    fingerprint = data_fingerprint(races)
    first, last = races["race_date"].min(), races["race_date"].max()
    now = datetime.now(UTC).replace(tzinfo=None)
    for strategy in strategies:
        definition = hashlib.sha256(f"{strategy.definition_hash}|{model_hash}".encode()).hexdigest()
        connection.execute(
            """
            insert into backtest.trials values (?, ?, ?, ?, ?, ?, 1, ?, ?)
            on conflict (data_fingerprint, definition_hash)
            do update set last_run_at = excluded.last_run_at, runs = runs + 1,
                first_race = excluded.first_race, last_race = excluded.last_race
            """,
            [fingerprint, definition, strategy.id, strategy.name, now, now, first, last],
        )
    return count_trials(connection, fingerprint)


def count_trials(connection: duckdb.DuckDBPyConnection, fingerprint: str) -> int:
    """Number of variants ever run on the data with this fingerprint, or on any whose days overlap theirs; 0 when none
    was. A row without a span may be of the same days, so it counts."""
    if not table_exists(connection, "backtest/trials"):
        return 0
    query = """
        select count(distinct trials.definition_hash)
        from backtest.trials
        inner join (
            select min(first_race) as first_race, max(last_race) as last_race
            from backtest.trials where data_fingerprint = ? having count(*) > 0
        ) as own
            on coalesce(trials.first_race <= own.last_race and trials.last_race >= own.first_race, true)
    """
    return int(row_of(connection, query, [fingerprint])[0])


def tried(connection: duckdb.DuckDBPyConnection, fingerprint: str) -> set[str]:
    """Ids of the strategies ever run on the data with this fingerprint."""
    if not table_exists(connection, "backtest/trials"):
        return set()
    query = "select distinct strategy_id from backtest.trials where data_fingerprint = ?"
    return {str(row[0]) for row in connection.execute(query, [fingerprint]).fetchall()}
