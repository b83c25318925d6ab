"""The trial ledger counts variants, not runs."""

from __future__ import annotations

import duckdb
import polars as pl

from velo_assets.betting.strategies import Strategy
from velo_assets.betting.trials import count_trials, data_fingerprint, record_trials
from velo_assets_tests.betting.frames import random_world

ONE, TWO = Strategy("a", "A", "blend", top_share=0.2), Strategy("b", "B", "blend", top_share=0.1)


def test_variants_count_once_and_other_data_start_anew() -> None:
    connection = duckdb.connect()
    assert count_trials(connection, "x") == 0
    assert record_trials(connection, "x", [ONE, TWO]) == 2
    assert record_trials(connection, "x", [ONE]) == 2
    assert record_trials(connection, "x", [Strategy("a", "A", "blend", top_share=0.25)]) == 3
    assert record_trials(connection, "y", [ONE]) == 1
    assert connection.execute("select sum(runs) from backtest.trials where data_fingerprint = 'x'").fetchone() == (4,)


def test_another_model_is_another_trial() -> None:
    connection = duckdb.connect()
    record_trials(connection, "x", [ONE], model_hash="one")
    assert record_trials(connection, "x", [ONE], model_hash="two") == 2


def test_the_fingerprint_is_of_the_races() -> None:
    frame = random_world(10, seed=1)
    assert data_fingerprint(frame) == data_fingerprint(frame.reverse().drop("probability_blend"))
    assert data_fingerprint(frame) != data_fingerprint(frame.filter(pl.col("race_key") > 1))
