"""The stables every feature test fills with its own few races."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from velo_assets_tests.features.stables import Stables, empty_stables


@pytest.fixture
def stables() -> Iterator[Stables]:
    connection = duckdb.connect(":memory:", config={"threads": 1})
    yield empty_stables(connection)
    connection.close()
