"""The doctor finds what was broken on purpose, says what to do, and changes nothing."""

import os
import shutil
import sqlite3
from datetime import date
from pathlib import Path

import psutil
import pytest

from velo_assets.doctor import Finding, examine, versions
from velo_assets.ingestion.landing import create_views, land
from velo_assets.ingestion.manifest import year_fingerprints
from velo_assets.modelling.registry import ModelMetadata, ModelRegistry
from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import build_table
from velo_assets.warehouse.builds import Node, inputs_now, record_build
from velo_assets.warehouse.connection import Warehouse
from velo_assets_tests.ingestion.raceform_rows import beaten, csv_text, row

YEAR = 2015
"""Of the rows of raceform_rows."""

RACES = Node("core/races", "1", ("landing/raceform",), is_yearly=True)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A root with one race, landed and in core."""
    root = DataRoot(tmp_path_factory.mktemp("sound"))
    root.raceform.mkdir()
    (root.raceform / "a.csv").write_text(csv_text([row(), beaten()]), encoding="utf-8")
    with Warehouse(root.warehouse).connect() as connection:
        land(root, connection)
        for table in ("core/races", "core/entries", "core/results"):
            build_table(connection, table, date(YEAR, 1, 1), date(YEAR, 12, 31))
    return root


@pytest.fixture
def root(sound: DataRoot, tmp_path: Path) -> DataRoot:
    """A copy of it that a test may break."""
    root = DataRoot(shutil.copytree(sound.path, tmp_path / "root"))
    with Warehouse(root.warehouse).connect() as connection:
        create_views(root, connection)
    return root


def found(root: DataRoot, check: str, nodes: tuple[Node, ...] = ()) -> Finding:
    return next(finding for finding in examine(root, nodes) if finding.check == check)


def test_a_sound_root_has_nothing_wrong(root: DataRoot) -> None:
    wrong = [finding for finding in examine(root) if not finding.ok and finding.check not in ("versions", "disk space")]
    assert wrong == []


def test_every_fault_comes_with_advice(tmp_path: Path) -> None:
    assert all(finding.advice for finding in examine(DataRoot(tmp_path)) if not finding.ok)
    assert found(DataRoot(tmp_path), "warehouse").advice == "`velo run` builds it."


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        examine(DataRoot(tmp_path / "nowhere"))


def test_parquet_files_against_the_manifest(root: DataRoot) -> None:
    part = next(root.landing.rglob("*.parquet"))
    stranger = part.with_name("stranger.parquet")
    stranger.write_bytes(part.read_bytes())
    assert "stranger" in found(root, "landed files").detail
    assert stranger.exists()
    stranger.unlink()
    part.unlink()
    finding = found(root, "landed files")
    assert not finding.ok
    assert part.name in finding.detail
    assert "velo restore" in finding.advice


def test_races_that_are_landed_but_not_in_core(root: DataRoot) -> None:
    with Warehouse(root.warehouse).connect() as connection:
        connection.execute("delete from core.races")
    assert found(root, "core against landing").detail == f"{YEAR}: 1 races landed, 0 in core"


def test_scratch_of_killed_processes(root: DataRoot) -> None:
    (root.landing / ".scratch-x").mkdir()
    (root.path / "warehouse.duckdb.7.partial").touch()
    (root.reports / "runs" / ".ab12.unfinished").mkdir(parents=True)
    (root.reports / "weekly").mkdir()
    (root.reports / "weekly" / ".weekly_2024-03-04.html.4711").touch()
    (root.reports / "weekly" / "weekly_2024-03-04.html").touch()
    detail = found(root, "unfinished files").detail
    assert set(detail.split(", ")) == {
        "landing/.scratch-x",
        "warehouse.duckdb.7.partial",
        "reports/runs/.ab12.unfinished",
        "reports/weekly/.weekly_2024-03-04.html.4711",
    }


def test_tables_out_of_date(root: DataRoot) -> None:
    with Warehouse(root.warehouse).connect() as connection:
        record_build(connection, RACES.name, inputs_now(connection, RACES, [YEAR], year_fingerprints(connection)))
    assert found(root, "tables out of date", (RACES,)).ok
    newer = Node("core/races", "2", ("landing/raceform",), is_yearly=True)
    assert "core/races" in found(root, "tables out of date", (newer,)).detail


def test_a_run_whose_process_is_gone(root: DataRoot) -> None:
    history = root.path / "dagster" / "history"
    history.mkdir(parents=True)
    with sqlite3.connect(history / "runs.db") as store:
        store.execute("create table runs (run_id, status)")
        store.execute("create table run_tags (run_id, key, value)")
        store.execute("insert into runs values ('dead', 'STARTED'), ('alive', 'STARTED'), ('over', 'SUCCESS')")
        here = f"{os.getpid()}-{int(psutil.Process().create_time())}"
        store.execute(
            "insert into run_tags values ('dead', 'velo/process', '1-1'), ('alive', 'velo/process', ?)", [here]
        )
    store.close()
    assert found(root, "stale runs").detail == "1 runs of killed processes: dead"


def test_a_warehouse_in_use_is_not_waited_for(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("velo_assets.doctor.LOCK_WAIT_SECONDS", 0.2)
    with Warehouse(root.warehouse).locked("the nightly"):
        assert "the nightly" in found(root, "warehouse lock").detail
        assert "in use" in found(root, "warehouse").detail


def test_a_damaged_warehouse_is_told_not_thrown(root: DataRoot) -> None:
    root.warehouse.write_bytes(b"not a database" * 1000)
    finding = found(root, "warehouse")
    assert not finding.ok
    assert "velo restore" in finding.advice


def test_exports_against_the_matrix(root: DataRoot) -> None:
    with Warehouse(root.warehouse).connect() as connection:
        connection.execute("create table features.runner_features as select date '2016-05-01' as race_date")
    assert found(root, "exports").detail == "years without an export: 2016"
    root.exports.mkdir()
    (root.exports / "runner_features_2016.parquet").touch()
    (root.exports / "runner_features_2015.parquet").touch()
    assert "2015" in found(root, "exports").detail


def test_a_model_file_that_was_changed(root: DataRoot) -> None:
    registry = ModelRegistry(root.mlflow_uri, root.mlartifacts)
    provenance = ModelMetadata(date(2016, 1, 1), date(2016, 12, 31), "abc", "0" * 64, "none")
    registry.register("velo", {"model.txt": "tree"}, provenance)
    assert found(root, "model files").ok
    next(root.mlartifacts.rglob("model.txt")).write_text("another tree")
    finding = found(root, "model files")
    assert not finding.ok
    assert "velo 1" in finding.detail
    assert "`velo retire` and `velo train`" in finding.advice
    (root.path / "mlflow.db").write_bytes(b"not a database" * 1000)
    assert "move mlflow.db away, then `velo train`" in found(root, "model files").advice


def test_versions_against_the_pins(tmp_path: Path) -> None:
    pins = tmp_path / "constraints.txt"
    pins.write_text("duckdb==0.0.1\nno-such-package==1.0\n# a comment\n")
    finding = versions(pins)
    assert not finding.ok
    assert "instead of 0.0.1" in finding.detail
    assert "no-such-package" not in finding.detail
