"""Housekeeping of a data root: clean, backup, restore.

Belongs here: files and folders as wholes. Does not belong here: their contents, judging their health (doctor.py).
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from velo_assets.doctor import live_runs
from velo_assets.settings import DataRoot
from velo_assets.simulation.marker import sha256
from velo_assets.warehouse.connection import Warehouse

_GENERATED_FOLDERS = ("landing", "exports", "mlartifacts", "reports", "dagster", "snapshots", "warehouse.duckdb.tmp")
_GENERATED_FILES = ("warehouse.duckdb", "warehouse.duckdb.wal", "mlflow.db", "mlflow.db-wal", "mlflow.db-shm")
"""Not the lock files: who queues on one that is gone holds nothing when its turn comes."""

_CLEAN_WAITS_SECONDS = 5.0
"""How long `clean` waits for readers, who are not named and soon done."""

_BACKED_UP_FOLDERS = ("landing", "exports", "mlartifacts", "reports")
"""The exports too: build records say that they are there, and training reads them instead of the warehouse."""

_BACKED_UP_FILES = ("warehouse.duckdb", "mlflow.db")
_MANIFEST = "backup.json"


def clean(root: DataRoot) -> list[Path]:
    """Remove what was simulated or generated below a data root; never an input.

    The warehouse lock is held meanwhile, and its file stays.

    Args:
        root: the data root.

    Returns:
        What was removed.

    Raises:
        WarehouseLockTimeout: readers did not finish.
        RuntimeError: a run is going on, or results were landed from files that are no longer in the input folders:
            the landed copy is then the only one.
    """
    from velo_assets.simulation.marker import remove_simulated

    warehouse = Warehouse(root.warehouse, lock_timeout_seconds=_CLEAN_WAITS_SECONDS)
    holder = warehouse.holder()
    if holder:
        raise RuntimeError(f"The warehouse is in use by {holder}; stop it before cleaning.")
    runs = live_runs(root)
    if runs:
        # A run holds the warehouse for statements only, never while it trains.
        raise RuntimeError(
            f"Dagster runs are going on: {', '.join(runs)}. Let them end, or stop them, before cleaning. One that died "
            "with the machine is ended in the UI (`make dev`, Runs, Terminate)."
        )
    with warehouse.locked("velo clean"):
        lost = _landed_without_source(root)
        if lost:
            raise RuntimeError(
                f"These files were landed and have since left the input folders: {', '.join(lost)}. "
                "The landed copy is the only one left: put them back, or `velo land --forget` each, then clean."
            )
        removed = remove_simulated(root.path)
        for name in _GENERATED_FOLDERS:
            folder = root.path / name
            if folder.is_dir():
                shutil.rmtree(folder)
                removed.append(folder)
        for name in _GENERATED_FILES:
            file = root.path / name
            if file.is_file():
                file.unlink()
                removed.append(file)
    return removed


def backup(root: DataRoot, destination: Path, now: datetime | None = None) -> Path:
    """Copy warehouse, model registry, landed files and reports as they are at one moment.

    The warehouse lock is held for the copy, so that no run writes between the first file and the last.

    Args:
        root: the data root.
        destination: folder that receives a new folder `velo-<time>`.
        now: the time to name it by; the present by default.

    Returns:
        The backup folder, with the SHA-256 of each file in backup.json.

    Raises:
        FileNotFoundError: there is no warehouse yet.
        FileExistsError: there is a backup of that second.
    """
    if not root.warehouse.exists():
        raise FileNotFoundError(f"There is no warehouse at {root.warehouse} to back up yet: run `velo run` first.")
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    target = destination / f"velo-{stamp}"
    if target.exists():
        raise FileExistsError(f"There is a backup at {target} already.")
    destination.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".velo-partial-", dir=destination))
    try:
        with Warehouse(root.warehouse).connect("velo backup") as connection:
            connection.execute("checkpoint")
            shutil.copyfile(root.warehouse, partial / root.warehouse.name)
            _copy_sqlite(root.path / "mlflow.db", partial / "mlflow.db")
            for name in _BACKED_UP_FOLDERS:
                if (root.path / name).is_dir():
                    shutil.copytree(root.path / name, partial / name)
        files = {str(path.relative_to(partial)): sha256(path) for path in sorted(partial.rglob("*")) if path.is_file()}
        (partial / _MANIFEST).write_text(json.dumps({"made_at": stamp, "files": files}, indent=1), encoding="utf-8")
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def restore(root: DataRoot, source: Path) -> list[str]:
    """Put a backup in place of what is there, after checking every file of it.

    Args:
        root: the data root; its inputs are not touched.
        source: a folder made by `backup`.

    Returns:
        Names of the files and folders put back.

    Raises:
        FileNotFoundError: `source` is no backup.
        ValueError: a file is missing or has changed since the backup; nothing has been restored.
    """
    manifest_path = source / _MANIFEST
    if not manifest_path.is_file():
        inside = ", ".join(sorted(path.parent.name for path in source.glob(f"velo-*/{_MANIFEST}")))
        hint = f" Give one of those in it: {inside}." if inside else ""
        raise FileNotFoundError(f"{source} is not a backup: it has no {_MANIFEST}.{hint}")
    files = json.loads(manifest_path.read_text(encoding="utf-8"))["files"]
    for name, digest in files.items():
        path = source / name
        if not path.resolve().is_relative_to(source.resolve()):
            raise ValueError(f"{name} lies outside the backup; it was not made by `velo backup`.")
        if not path.is_file() or sha256(path) != digest:
            raise ValueError(f"{path} is missing or has changed since the backup was made; nothing was restored.")
    root.path.mkdir(parents=True, exist_ok=True)
    # Everything is copied before anything is replaced: a full disk leaves what is there as it was.
    staging = Path(tempfile.mkdtemp(prefix=".velo-partial-", dir=root.path))
    restored = []
    try:
        for name in files:
            if Path(name).parts[0] in (*_BACKED_UP_FOLDERS, *_BACKED_UP_FILES):
                (staging / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, staging / name)
        with Warehouse(root.warehouse).locked("velo restore"):
            for name in _BACKED_UP_FILES:
                for suffix in ("", ".wal", "-wal", "-shm"):
                    (root.path / f"{name}{suffix}").unlink(missing_ok=True)
            for name in _BACKED_UP_FOLDERS:
                shutil.rmtree(root.path / name, ignore_errors=True)
            for name in (*_BACKED_UP_FILES, *_BACKED_UP_FOLDERS):
                if (staging / name).exists():
                    os.replace(staging / name, root.path / name)
                    restored.append(name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if root.warehouse.exists():
        _point_views_here(root)
    return restored


def _point_views_here(root: DataRoot) -> None:
    """The views of the landing schema name files by absolute path: a backup of another folder would show its files."""
    from velo_assets.ingestion.landing import create_views

    with Warehouse(root.warehouse).connect("velo restore") as connection:
        create_views(root, connection)


def _landed_without_source(root: DataRoot) -> list[str]:
    """Live files of the manifest that are in no input folder and can't be simulated anew; for who holds the lock."""
    if not root.warehouse.exists():
        return []
    from velo_assets.ingestion.manifest import live_files

    with duckdb.connect(str(root.warehouse), read_only=True) as connection:
        files = live_files(connection)
    return [file.file for file in files if not file.simulated and not (root.path / file.file).is_file()]


def _copy_sqlite(source: Path, destination: Path) -> None:
    if not source.is_file():
        return
    with sqlite3.connect(source) as original, sqlite3.connect(destination) as copy:
        original.backup(copy)
    copy.close()
    original.close()
