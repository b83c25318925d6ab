"""One small warehouse with all features, shared by the leak proofs; they never write to it."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from velo_assets.racing.macros import register
from velo_assets_tests.warehouse.small_world import build_features, write_core


@pytest.fixture(scope="session")
def small_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    path: Path = tmp_path_factory.mktemp("leakage") / "small.duckdb"
    with duckdb.connect(str(path), config={"threads": 2}) as connection:
        register(connection)
        write_core(connection)
        build_features(connection)
        yield connection
