"""The one place that knows the storage is a local DuckDB file: lock, open, configure, always close.

Belongs here: waiting for the operating-system lock, connection settings, snapshots for readers. Does not belong here:
SQL of any table (velo_assets/sql) and how tables are replaced (build.py).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import duckdb

from velo_assets.settings import LAYERS

SCHEMAS = (*LAYERS, "meta")
"""Schemas of the warehouse: the layers, and `meta` for our own records of builds."""

COSTLY_COMPRESSIONS = "alp,alprd,roaring,rle"
"""Trying these on every column costs a tenth of building the features; the file is a fifth larger without them."""

_POLL_SECONDS = 0.05


class WarehouseLockTimeout(TimeoutError):
    """The warehouse stayed locked for longer than the caller was willing to wait."""


@dataclass(frozen=True)
class Warehouse:
    """A DuckDB file shared by many processes, one at a time.

    DuckDB lets one process write a file and refuses every other one at once. We queue on an operating-system lock
    instead: it waits, it dies with its holder (kill -9 leaves nothing behind), and its error names who holds it.

    Attributes:
        path: the database file; its folder is created when missing.
        threads: DuckDB threads.
        memory_limit: DuckDB memory limit such as `5GB`; beyond it DuckDB spills to `<path>.tmp`.
        lock_timeout_seconds: how long to wait for other holders.
    """

    path: Path
    threads: int = 2
    memory_limit: str = "5GB"
    lock_timeout_seconds: float = 900.0

    @property
    def lock_path(self) -> Path:
        """The lock file beside the database file."""
        return self.path.with_name(self.path.name + ".lock")

    @contextmanager
    def connect(self, purpose: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the warehouse for reading and writing, alone.

        Args:
            purpose: what the connection is for; shown to whoever waits.

        Yields:
            A connection with the schemas in place. Who reads raw text registers the raceform macros: sixty
            milliseconds that most of a run's hundred connections have no use for.

        Raises:
            WarehouseLockTimeout: when another process held the lock for too long; names that process.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.locked(purpose):
            connection = self._open_to_write()
            try:
                for schema in SCHEMAS:
                    connection.execute(f"create schema if not exists {schema}")
                yield connection
            finally:
                connection.close()

    @contextmanager
    def read(self, purpose: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the warehouse read-only, beside other readers, waiting for a writer to finish.

        Raises:
            FileNotFoundError: when there is no warehouse yet.
            WarehouseLockTimeout: when a writer held the lock for too long.
        """
        if not self.path.exists():
            raise FileNotFoundError(f"There is no warehouse at {self.path} yet: run `velo run` first.")
        with self.locked(purpose, shared=True):
            connection = duckdb.connect(str(self.path), read_only=True, config=self._config())
            try:
                yield connection
            finally:
                connection.close()

    def snapshot(self, destination: Path) -> Path:
        """Copy the database file to `destination`, swapped in atomically, for readers that stay open for hours.

        Args:
            destination: the copy; an older one is replaced, and readers that hold the older one keep reading it.

        Returns:
            The destination.
        """
        if not self.path.exists():
            raise FileNotFoundError(f"There is no warehouse at {self.path} yet: run `velo run` first.")
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = destination.with_name(f"{destination.name}.{os.getpid()}.partial")
        with self.locked("snapshot"):
            # A checkpoint folds the write-ahead log into the file, so that the file alone is the whole truth.
            connection = self._open_to_write()
            try:
                connection.execute("checkpoint")
            finally:
                connection.close()
            try:
                shutil.copyfile(self.path, partial)
                os.replace(partial, destination)
            finally:
                partial.unlink(missing_ok=True)
        return destination

    def holder(self) -> str | None:
        """Who holds the exclusive lock at this moment, in words, or None when it is free."""
        if not self.lock_path.exists():
            return None
        with self.lock_path.open("r+") as handle:
            if _try_lock(handle, shared=True):
                return None
            return _describe_holder(handle)

    def _open_to_write(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(str(self.path), config=self._config())
        # By statement: DuckDB takes the first option in the configuration of a connection, and ignores it.
        connection.execute(f"set disabled_compression_methods = '{COSTLY_COMPRESSIONS}'")
        # Each row group goes to the file when it is full: five held back are half a gigabyte of a wide table.
        connection.execute("set write_buffer_row_group_count = 1")
        return connection

    def _config(self) -> dict[str, str | bool | int | float | list[str]]:
        return {
            "threads": self.threads,
            "memory_limit": self.memory_limit,
            "temp_directory": str(self.path) + ".tmp",
            # Keeping insertion order costs several times the memory; every reader orders what it reads.
            "preserve_insertion_order": False,
            # A misspelt table must be an error, never a frame that happens to have that name where the SQL is run.
            "python_enable_replacements": False,
        }

    @contextmanager
    def locked(self, purpose: str, *, shared: bool = False) -> Iterator[None]:
        """Hold the lock without opening the file: for replacing the file as a whole.

        Args:
            purpose: what the lock is for; shown to whoever waits.
            shared: beside other readers, instead of alone.

        Raises:
            WarehouseLockTimeout: when another process held the lock for too long.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self.lock_timeout_seconds
        with self.lock_path.open("a+") as handle:
            while not _try_lock(handle, shared=shared):
                if time.monotonic() > deadline:
                    raise WarehouseLockTimeout(
                        f"Waited {self.lock_timeout_seconds:g} s for {self.path}: held by {_describe_holder(handle)}. "
                        "Wait for it to finish, stop it, or give a longer lock_timeout_seconds."
                    )
                time.sleep(_POLL_SECONDS)
            if shared:
                yield
                return
            _write_holder(handle, purpose)
            try:
                yield
            finally:
                # Else whoever waits for readers later would be told of a process long gone.
                handle.seek(0)
                handle.truncate()
            # Closing the handle releases the lock, also when the process is killed.


def _try_lock(handle: IO[str], *, shared: bool) -> bool:
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _write_holder(handle: IO[str], purpose: str) -> None:
    handle.seek(0)
    handle.truncate()
    json.dump(
        {"pid": os.getpid(), "purpose": purpose, "since": datetime.now(UTC).isoformat(timespec="seconds")}, handle
    )
    handle.flush()


def _describe_holder(handle: IO[str]) -> str:
    handle.seek(0)
    try:
        holder = json.loads(handle.read())
        os.kill(holder["pid"], 0)
    except (ValueError, ProcessLookupError):
        return "another process (readers, or one that has not named itself yet)"
    except PermissionError:
        pass  # The process of another user: it is there.
    return f"process {holder['pid']} ({holder['purpose'] or 'no purpose given'}) since {holder['since']}"
