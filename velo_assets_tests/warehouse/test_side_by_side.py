"""Tables are done two at a time, each after what it reads, and an error stops what has not begun."""

from threading import Barrier, Lock

import duckdb
import pytest

from velo_assets.warehouse.side_by_side import side_by_side
from velo_assets.warehouse.sql_table import build_order, load_table

NAMES = build_order("features")


def test_every_table_is_done_once_and_after_those_that_it_reads(connection: duckdb.DuckDBPyConnection) -> None:
    begun: list[str] = []
    done: list[str] = []
    lock = Lock()

    def job(worker: duckdb.DuckDBPyConnection, name: str) -> None:
        with lock:
            begun.append(name)
            assert set(load_table(name).dependencies) & set(NAMES) <= set(done)
        worker.execute("select count(*) from range(100000)").fetchall()
        with lock:
            done.append(name)

    side_by_side(connection, NAMES, job)
    assert sorted(begun) == sorted(done) == sorted(NAMES)
    # What most others wait for is not kept for the end.
    assert begun.index("features/trainer_velocity") < begun.index("features/bias_maps")


def test_two_tables_are_done_at_once_and_read_what_the_other_has_committed(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    first, second = "core/prices", "core/sectionals"
    both = Barrier(2, timeout=60)
    connection.execute("create table market.done (name varchar)")

    def job(worker: duckdb.DuckDBPyConnection, name: str) -> None:
        both.wait()
        worker.execute("insert into market.done values (?)", [name])

    side_by_side(connection, (first, second), job)
    assert sorted(connection.execute("select name from market.done").fetchall()) == [(first,), (second,)]


def test_an_error_is_raised_and_nothing_more_is_begun(connection: duckdb.DuckDBPyConnection) -> None:
    begun: list[str] = []

    def job(worker: duckdb.DuckDBPyConnection, name: str) -> None:
        begun.append(name)
        if name == "features/trainer_velocity":
            raise ValueError("the table is cursed")

    with pytest.raises(ValueError, match="the table is cursed"):
        side_by_side(connection, NAMES, job)
    assert "features/trainer_jockey" not in begun
    assert "features/runner_features" not in begun
    assert connection.execute("select 1").fetchall() == [(1,)]
