"""An empty warehouse for each test, and a small one with all features that the leak proofs share and only read."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from velo_assets.racing.macros import register
from velo_assets.warehouse.connection import Warehouse
from velo_assets_tests.warehouse.small_world import build_features, write_core


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse of its own, empty and open."""
    with Warehouse(tmp_path / "w.duckdb").connect() as connection:
        yield connection


@pytest.fixture(scope="session")
def small_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    path: Path = tmp_path_factory.mktemp("leakage") / "small.duckdb"
    with duckdb.connect(str(path), config={"threads": 2}) as connection:
        register(connection)
        write_core(connection)
        build_features(connection)
        yield connection
