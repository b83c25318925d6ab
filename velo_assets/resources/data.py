"""The data root and the warehouse as Dagster resources that hand out plain domain objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field

from velo_assets.settings import DataRoot
from velo_assets.warehouse.connection import Warehouse


class DataRootResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where inputs and outputs live: VELO_DATA alone says it, to the warehouse and the registry as to this."""

    def root(self) -> DataRoot:
        """The data root: VELO_DATA, else `data` in the working directory."""
        return DataRoot.from_environment()


class WarehouseResource(DuckDBResource):
    """dagster-duckdb's resource, made to wait for its turn and to close whatever happens.

    Its own `get_connection` retries ten times and fails, and has no `finally`: an exception leaves the file locked.
    """

    database: str = Field(default="", description="Database file; empty means warehouse.duckdb under the data root.")
    threads: int = Field(default=2, description="DuckDB threads.")
    memory_limit: str = Field(default="5GB", description="DuckDB memory limit; beyond it DuckDB spills to disk.")
    lock_timeout_seconds: float = Field(default=900.0, description="How long to wait for other holders of the file.")

    def warehouse(self) -> Warehouse:
        """The plain domain object."""
        path = Path(self.database) if self.database else DataRoot.from_environment().warehouse
        return Warehouse(path, self.threads, self.memory_limit, self.lock_timeout_seconds)

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to the warehouse, alone, waiting for other holders."""
        with self.warehouse().connect(f"Dagster, process {os.getpid()}") as connection:
            yield connection
