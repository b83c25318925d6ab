"""The recomputation that blocks a materialization looks at days that were refreshed, and at no others; the contract at
every column of the matrix as it stands.
"""

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from velo_assets.checks.leakage import MATRIX, checks
from velo_assets.resources.data import WarehouseResource
from velo_assets.warehouse import availability
from velo_assets.warehouse.build import refresh_table
from velo_assets.warehouse.builds import record_build, stored_fingerprints
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
        record_build(connection, SHAPE, {year: "as of now"})
    return built.since


def result_of(name: str, check_name: str, warehouse: WarehouseResource) -> Any:
    """What a check of a table says."""
    wanted = dg.AssetCheckKey(dg.AssetKey(name.split("/")), check_name)
    (check,) = [check for check in checks() if wanted in check.check_keys]
    return check(warehouse=warehouse)


def time_travel(warehouse: WarehouseResource) -> tuple[bool, int]:
    """Whether the check of the table passes, and how many rows it compared."""
    result = result_of(SHAPE, "time_travel", warehouse)
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


def test_a_column_of_the_matrix_that_nobody_can_date_blocks_it(warehouse: WarehouseResource) -> None:
    with warehouse.get_connection() as connection:
        connection.execute(
            "create table features.runner_features as select race_date, race_key, runner_key, 1.0::float as form_last, "
            "body_weight_lb from core.entries"
        )
        record_build(connection, MATRIX, {FIRST.year: "as of now"})
    result = result_of(MATRIX, "known_by_the_decision", warehouse)
    assert (result.passed, result.metadata["features"].value) == (True, 2)
    with warehouse.get_connection() as connection:
        connection.execute("alter table features.runner_features add column sp_move float")
    result = result_of(MATRIX, "known_by_the_decision", warehouse)
    assert not result.passed
    assert "has no column sp_move" in result.description
    with warehouse.get_connection() as connection:
        assert stored_fingerprints(connection) == {}


def test_a_column_that_comes_after_the_decision_blocks_the_matrix(
    warehouse: WarehouseResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warehouse.get_connection() as connection:
        connection.execute(
            "create table features.runner_features as select race_date, race_key, runner_key, body_weight_lb "
            "from core.entries"
        )
    # Bets that were chosen the day before.
    monkeypatch.setattr(availability, "DECISION_TIME", availability.Known.DECLARATION)
    result = result_of(MATRIX, "known_by_the_decision", warehouse)
    assert not result.passed
    assert "body_weight_lb is known at morning" in result.description
