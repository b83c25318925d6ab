"""The trial ledger counts variants, not runs."""

from __future__ import annotations

from datetime import date

import duckdb
import polars as pl

from velo_assets.betting.strategies import Strategy
from velo_assets.betting.trials import count_trials, data_fingerprint, record_trials, tried
from velo_assets_tests.betting.frames import random_world

ONE, TWO = Strategy("a", "A", "blend", top_share=0.2), Strategy("b", "B", "blend", top_share=0.1)


def races(first: date, last: date, key: int = 0) -> pl.DataFrame:
    """Two races, of the first day and of the last."""
    return pl.DataFrame({"race_date": [first, last], "race_key": [key, key + 1]})


MONDAY = races(date(2020, 1, 1), date(2024, 5, 6))


def test_variants_count_once_and_other_days_start_anew() -> None:
    connection = duckdb.connect()
    assert count_trials(connection, data_fingerprint(MONDAY)) == 0
    assert record_trials(connection, MONDAY, [ONE, TWO]) == 2
    assert record_trials(connection, MONDAY, [ONE]) == 2
    assert record_trials(connection, MONDAY, [Strategy("a", "A", "blend", top_share=0.25)]) == 3
    assert record_trials(connection, races(date(2015, 1, 1), date(2019, 12, 31)), [ONE]) == 1
    assert count_trials(connection, "never seen") == 0
    query = "select sum(runs) from backtest.trials where data_fingerprint = ?"
    assert connection.execute(query, [data_fingerprint(MONDAY)]).fetchall() == [(4,)]


def test_a_race_more_forgets_no_variant() -> None:
    connection = duckdb.connect()
    hundred = [Strategy(f"s{number}", "S", "blend", min_edge=number / 1000) for number in range(100)]
    assert record_trials(connection, MONDAY, hundred) == 100
    tuesday = races(date(2020, 1, 1), date(2024, 5, 7), key=2)
    # The models are the same, and so are the strategies: nothing new was tried, and nothing is forgotten.
    assert record_trials(connection, tuesday, hundred[:27]) == 100
    assert count_trials(connection, data_fingerprint(tuesday)) == 100
    assert tried(connection, data_fingerprint(tuesday)) == {strategy.id for strategy in hundred[:27]}


def test_a_ledger_from_before_spans_were_noted_keeps_its_rows() -> None:
    connection = duckdb.connect()
    connection.execute("create schema backtest")
    connection.execute(
        "create table backtest.trials (data_fingerprint varchar not null, definition_hash varchar not null, "
        "strategy_id varchar not null, name varchar, first_run_at timestamp not null, "
        "last_run_at timestamp not null, runs integer not null, primary key (data_fingerprint, definition_hash))"
    )
    connection.execute(
        "insert into backtest.trials values ('x', 'y', 'old', 'Old', now()::timestamp, now()::timestamp, 1)"
    )
    assert record_trials(connection, MONDAY, [ONE]) == 2
    assert record_trials(connection, MONDAY, [ONE]) == 2


def test_another_model_is_another_trial() -> None:
    connection = duckdb.connect()
    record_trials(connection, MONDAY, [ONE], model_hash="one")
    assert record_trials(connection, MONDAY, [ONE], model_hash="two") == 2


def test_the_fingerprint_is_of_the_races() -> None:
    frame = random_world(10, seed=1)
    assert data_fingerprint(frame) == data_fingerprint(frame.reverse().drop("probability_blend"))
    assert data_fingerprint(frame) != data_fingerprint(frame.filter(pl.col("race_key") > 1))
