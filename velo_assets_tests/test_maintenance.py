"""Backup, restore, clean: whole or not at all, and never at the cost of an input."""

import json
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from velo_assets.automation.instance import PROCESS_TAG, process_tag, velo_instance
from velo_assets.ingestion.landing import land
from velo_assets.maintenance import backup, clean, restore
from velo_assets.settings import DataRoot
from velo_assets.simulation.world import simulate
from velo_assets.warehouse.connection import Warehouse
from velo_assets_tests.ingestion.raceform_rows import beaten, csv_text, row

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dg.job
def landing() -> None:
    """No op."""


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """A root with one landed race, an MLflow store and a model file."""
    root = DataRoot(tmp_path / "root")
    root.raceform.mkdir(parents=True)
    (root.raceform / "a.csv").write_text(csv_text([row(), beaten()]), encoding="utf-8")
    with Warehouse(root.warehouse).connect() as connection:
        land(root, connection)
    with sqlite3.connect(root.path / "mlflow.db") as store:
        store.execute("create table versions (name)")
        store.execute("insert into versions values ('velo 1')")
    store.close()
    (root.mlartifacts / "one").mkdir(parents=True)
    (root.mlartifacts / "one" / "model.txt").write_text("tree")
    root.exports.mkdir()
    (root.exports / "runner_features_2016.parquet").write_bytes(b"matrix")
    return root


def landed(root: DataRoot) -> list[tuple[object, ...]]:
    with Warehouse(root.warehouse).read() as connection:
        return connection.execute("select horse, source_file from landing.raceform order by horse").fetchall()


def test_a_restored_root_is_as_it_was(root: DataRoot, tmp_path: Path) -> None:
    before = landed(root)
    assert len(before) == 2
    saved = backup(root, tmp_path / "backups", NOON)
    assert saved.name == "velo-20260301T120000Z"
    with Warehouse(root.warehouse).connect() as connection:
        connection.execute("drop view landing.raceform")
    shutil.rmtree(root.landing)
    (root.mlartifacts / "one" / "model.txt").write_text("another tree")
    (root.mlartifacts / "later.txt").write_text("registered after the backup")
    assert set(restore(root, saved)) == {"warehouse.duckdb", "mlflow.db", "landing", "exports", "mlartifacts"}
    assert landed(root) == before
    assert (root.mlartifacts / "one" / "model.txt").read_text() == "tree"
    assert not (root.mlartifacts / "later.txt").exists()
    assert (root.exports / "runner_features_2016.parquet").read_bytes() == b"matrix"
    with sqlite3.connect(root.path / "mlflow.db") as store:
        assert store.execute("select name from versions").fetchall() == [("velo 1",)]
    store.close()
    assert (root.raceform / "a.csv").exists()
    assert not [path for path in root.path.iterdir() if "partial" in path.name]


def test_restored_elsewhere_it_reads_its_own_files(root: DataRoot, tmp_path: Path) -> None:
    before = landed(root)
    saved = backup(root, tmp_path / "backups", NOON)
    shutil.rmtree(root.path)
    other = DataRoot(tmp_path / "moved")
    restore(other, saved)
    assert landed(other) == before


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_backup_restores_nothing(root: DataRoot, tmp_path: Path, damage: str) -> None:
    saved = backup(root, tmp_path / "backups", NOON)
    model = saved / "mlartifacts" / "one" / "model.txt"
    if damage == "changed":
        model.write_text("evil")
    else:
        model.unlink()
    (root.mlartifacts / "one" / "model.txt").write_text("newer")
    with pytest.raises(ValueError, match=r"model\.txt is missing or has changed"):
        restore(root, saved)
    assert (root.mlartifacts / "one" / "model.txt").read_text() == "newer"


def test_files_that_the_backup_does_not_list_are_not_restored(root: DataRoot, tmp_path: Path) -> None:
    saved = backup(root, tmp_path / "backups", NOON)
    (saved / "mlartifacts" / "planted.txt").write_text("not of the backup")
    restore(root, saved)
    assert not (root.mlartifacts / "planted.txt").exists()


def test_inputs_are_never_overwritten_by_a_backup_that_lists_them(root: DataRoot, tmp_path: Path) -> None:
    saved = backup(root, tmp_path / "backups", NOON)
    (saved / "raceform").mkdir()
    shutil.copy(saved / "mlartifacts" / "one" / "model.txt", saved / "raceform" / "a.csv")
    manifest = json.loads((saved / "backup.json").read_text())
    manifest["files"]["raceform/a.csv"] = manifest["files"]["mlartifacts/one/model.txt"]
    (saved / "backup.json").write_text(json.dumps(manifest))
    before = (root.raceform / "a.csv").read_text()
    restore(root, saved)
    assert (root.raceform / "a.csv").read_text() == before


def test_a_folder_that_is_no_backup_is_refused(root: DataRoot, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"not a backup: it has no backup\.json"):
        restore(root, tmp_path)


def test_two_backups_of_one_second_do_not_mix(root: DataRoot, tmp_path: Path) -> None:
    backup(root, tmp_path / "backups", NOON)
    with pytest.raises(FileExistsError, match="already"):
        backup(root, tmp_path / "backups", NOON)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["velo-20260301T120000Z"]


def test_a_backup_that_fails_leaves_nothing(root: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OSError, match="No space left"):
        backup(root, tmp_path / "backups", NOON)
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_root_without_a_warehouse_is_not_backed_up_and_gets_none(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "root")
    root.path.mkdir()
    with pytest.raises(FileNotFoundError, match=r"no warehouse at .* `velo run` first"):
        backup(root, tmp_path / "backups", NOON)
    assert [path.name for path in tmp_path.rglob("*")] == ["root"]


def test_clean_keeps_real_inputs(root: DataRoot) -> None:
    removed = clean(root)
    assert root.warehouse in removed
    assert sorted(path.name for path in root.path.iterdir()) == ["raceform", "warehouse.duckdb.lock"]
    assert (root.raceform / "a.csv").exists()


def test_clean_holds_the_lock_and_leaves_its_file_to_those_who_queue(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse(root.warehouse)
    holders = []

    def remove(folder: Path) -> None:
        holders.append(warehouse.holder())

    monkeypatch.setattr(shutil, "rmtree", remove)
    queued_on = warehouse.lock_path.stat().st_ino
    clean(root)
    assert holders
    assert all("velo clean" in str(holder) for holder in holders)
    assert warehouse.lock_path.stat().st_ino == queued_on


def test_clean_refuses_when_the_landed_copy_is_the_only_one(root: DataRoot) -> None:
    (root.raceform / "a.csv").unlink()
    with pytest.raises(RuntimeError, match=r"raceform/a\.csv.*the only one left"):
        clean(root)
    assert len(landed(root)) == 2


def test_clean_refuses_while_a_run_is_going_on(root: DataRoot) -> None:
    with (
        Warehouse(root.warehouse).locked("a long backfill"),
        pytest.raises(RuntimeError, match=r"in use by process \d+ \(a long backfill\)"),
    ):
        clean(root)
    assert root.warehouse.exists()


@pytest.mark.parametrize("tagged", [True, False])
def test_clean_refuses_while_a_run_trains_and_holds_no_lock(root: DataRoot, tagged: bool) -> None:
    with velo_instance(root) as instance:
        tags = process_tag() if tagged else {}
        instance.create_run_for_job(landing, tags=tags, status=dg.DagsterRunStatus.STARTED)
    with pytest.raises(RuntimeError, match="runs are going on"):
        clean(root)
    assert root.warehouse.exists()


def test_a_run_of_a_killed_process_is_no_reason_not_to_clean(root: DataRoot) -> None:
    with velo_instance(root) as instance:
        instance.create_run_for_job(landing, tags={PROCESS_TAG: "1-1"}, status=dg.DagsterRunStatus.STARTED)
    assert root.warehouse in clean(root)


def test_clean_removes_a_simulation_and_its_truth(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    simulate(first_year=2022, last_year=2022, races_per_year=50, seed=1, edge=0.0, out=tmp_path)
    clean(root)
    assert not root.truth.exists()
    assert not list(root.raceform.glob("*.csv"))
