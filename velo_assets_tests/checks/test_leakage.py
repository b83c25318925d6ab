"""The recomputation that blocks a materialization looks at days that were refreshed, and at no others."""

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from velo_assets.checks.leakage import checks
from velo_assets.resources.data import WarehouseResource
from velo_assets.warehouse.build import refresh_table
from velo_assets.warehouse.builds import record_build
from velo_assets.warehouse.changes import record_change
from velo_assets.warehouse.sql_table import load_table
from velo_assets_tests.warehouse.small_world import FIRST, LAST, write_core

SHAPE = "features/race_shape"


@pytest.fixture
def warehouse(tmp_path: Path) -> WarehouseResource:
    """The core tables of two years."""
    resource = WarehouseResource(database=str(tmp_path / "small.duckdb"))
    with resource.get_connection() as connection:
        write_core(connection)
    return resource


def refresh(warehouse: WarehouseResource, year: int) -> date | None:
    with warehouse.get_connection() as connection:
        built = refresh_table(connection, SHAPE, date(year, 1, 1), date(year, 12, 31))
        record_build(connection, SHAPE, {year: "as of now"}, built.rows)
    return built.since


def time_travel(warehouse: WarehouseResource) -> tuple[bool, int]:
    """Whether the check of the table passes, and how many rows it compared."""
    wanted = dg.AssetCheckKey(dg.AssetKey(SHAPE.split("/")), "time_travel")
    (check,) = [check for check in checks() if wanted in check.check_keys]
    result: Any = check(warehouse=warehouse)
    return result.passed, result.metadata["rows_compared"].value


def test_years_that_were_never_built_are_not_missed(warehouse: WarehouseResource) -> None:
    refresh(warehouse, FIRST.year)
    passed, rows = time_travel(warehouse)
    assert passed
    assert rows == 32


def test_a_card_without_a_result_is_recomputed(warehouse: WarehouseResource) -> None:
    for year in (FIRST.year, LAST.year):
        refresh(warehouse, year)
    with warehouse.get_connection() as connection:
        connection.execute("delete from core.results where race_date = ?", [LAST])
        for name in load_table(SHAPE).dependencies:
            record_change(connection, name, date(LAST.year, 1, 1), date(LAST.year, 12, 31), LAST)
    assert refresh(warehouse, LAST.year) == LAST
    assert time_travel(warehouse) == (True, 32)
    with warehouse.get_connection() as connection:
        connection.execute("update features.race_shape set age_vs_field = 9 where race_date = ?", [LAST])
    assert time_travel(warehouse) == (False, 32)
