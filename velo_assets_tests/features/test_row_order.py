"""In whatever order the rows of core lie, every feature is the same to the last bit: trees split at last bits."""

from datetime import date
from pathlib import Path

from velo_assets.warehouse.build import build_table
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.query import row_of
from velo_assets.warehouse.sql_table import build_order, load_table
from velo_assets_tests.conftest import YEARS, BuiltWorld

CORE_KEYS = {
    "races": "race_key",
    "entries": "runner_key",
    "results": "runner_key",
    "prices": "runner_key",
    "sectionals": "runner_key",
}


def test_the_order_of_rows_changes_no_bit_of_a_feature(built_world: BuiltWorld, tmp_path: Path) -> None:
    copy = tmp_path / "warehouse.duckdb"
    built_world.warehouse.snapshot(copy)
    differing = {}
    with Warehouse(copy).connect("test") as connection:
        for table, key in CORE_KEYS.items():
            shuffled = f"select * from core.{table} order by year(race_date), hash({key})"
            connection.execute(f"create or replace table core.{table} as {shuffled}")
        for name in build_order("features"):
            relation = load_table(name).relation
            connection.execute(f"create temp table before as select * from {relation}")
            build_table(connection, name, date(YEARS[0], 1, 1), date(YEARS[-1], 12, 31))
            (differing[name],) = row_of(
                connection, f"select count(*) from (select * from before except all select * from {relation})"
            )
            connection.execute("drop table before")
    assert differing == dict.fromkeys(differing, 0)
