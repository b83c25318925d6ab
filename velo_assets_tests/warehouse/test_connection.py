"""The warehouse lock: it waits, names its holder, and dies with its process."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import duckdb
import polars as pl
import pytest

from velo_assets.warehouse.connection import SCHEMAS, Warehouse, WarehouseLockTimeout

HOLD = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from velo_assets.warehouse.connection import Warehouse
    with Warehouse(Path(sys.argv[1])).connect("holding on purpose") as connection:
        connection.execute("create or replace table core.held as select 1 as one")
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
    """
)


def hold(path: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    return process


def test_every_layer_has_a_schema(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "w.duckdb").connect() as connection:
        present = {row[0] for row in connection.execute("select schema_name from duckdb_schemas()").fetchall()}
    assert set(SCHEMAS) <= present


def test_waits_for_another_process(tmp_path: Path) -> None:
    process = hold(tmp_path / "w.duckdb", 0.6)
    try:
        with Warehouse(tmp_path / "w.duckdb").connect() as connection:
            assert connection.execute("select one from core.held").fetchone() == (1,)
    finally:
        process.wait()


def test_timeout_names_the_holder(tmp_path: Path) -> None:
    process = hold(tmp_path / "w.duckdb", 30)
    try:
        with (
            pytest.raises(WarehouseLockTimeout, match=rf"process {process.pid} \(holding on purpose\)"),
            Warehouse(tmp_path / "w.duckdb", lock_timeout_seconds=0.2).connect(),
        ):
            pass
        assert str(process.pid) in (Warehouse(tmp_path / "w.duckdb").holder() or "")
    finally:
        process.kill()
        process.wait()


def test_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    process = hold(tmp_path / "w.duckdb", 30)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    with Warehouse(tmp_path / "w.duckdb", lock_timeout_seconds=5).connect() as connection:
        connection.execute("select 1")
    assert time.monotonic() - began < 5
    assert Warehouse(tmp_path / "w.duckdb").holder() is None


def test_an_exception_closes_the_file(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "w.duckdb", lock_timeout_seconds=1)
    with pytest.raises(RuntimeError, match="boom"), warehouse.connect():
        raise RuntimeError("boom")
    with warehouse.connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_reading_before_there_is_a_warehouse_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="velo run"), Warehouse(tmp_path / "none.duckdb").read():
        pass


def test_snapshot_is_a_copy_that_does_not_block_the_writer(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "w.duckdb")
    with warehouse.connect() as connection:
        connection.execute("create table core.numbers as select 1 as n")
    copy = Warehouse(warehouse.snapshot(tmp_path / "snapshots" / "latest.duckdb"))
    with copy.read() as reader, warehouse.connect() as writer:
        writer.execute("insert into core.numbers values (2)")
        assert reader.execute("select count(*) from core.numbers").fetchone() == (1,)
    assert not list((tmp_path / "snapshots").glob("*.partial"))


def test_a_frame_that_happens_to_have_the_name_of_a_missing_table_is_not_read(tmp_path: Path) -> None:
    numbers = pl.DataFrame({"n": [1]})
    assert numbers.height == 1
    with (
        Warehouse(tmp_path / "w.duckdb").connect() as connection,
        pytest.raises(duckdb.CatalogException, match="numbers"),
    ):
        connection.execute("select * from numbers")


def test_fractions_are_stored_without_the_compressions_that_cost_more_than_they_save(tmp_path: Path) -> None:
    with Warehouse(tmp_path / "w.duckdb").connect() as connection:
        connection.execute(
            "create table core.fractions as select sqrt(range)::float as root from range(200000)"
        ).fetchall()
        kinds = connection.execute(
            "select distinct compression from pragma_storage_info('core.fractions') where segment_type = 'FLOAT'"
        ).fetchall()
    assert kinds == [("Uncompressed",)]
