"""Null rates count only rows where a value can exist; constant and one-sided columns are named."""

from collections.abc import Iterator

import duckdb
import pytest

from velo_assets.warehouse.null_policy import NullFinding, count_nulls, family_null_rate, null_findings, null_rates
from velo_assets.warehouse.sql_table import load_table

FAMILY = "features/trouble"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Ten horses, a run in each of four years, the last two abroad; every value present but for what a test takes."""
    connection = duckdb.connect()
    connection.execute("create schema core")
    connection.execute("create schema features")
    connection.execute(
        "create table core.entries as select make_date(2017 + y::integer, 5, h::integer + 1) as race_date, "
        "100 * y + h as race_key, 100 * y + h as runner_key, h as horse_key from range(4) as a(y), range(10) as b(h)"
    )
    connection.execute(
        "create table core.races as select race_key, race_date, 'flat' as code, "
        "case when race_key >= 200 then 'HK' else 'GB' end as country from core.entries"
    )
    features = [column.name for column in load_table(FAMILY).columns if not column.name.endswith(("_key", "_date"))]
    values = ", ".join(f"runner_key::double as {name}" for name in features)
    connection.execute(
        f"create table features.trouble as select race_date, race_key, runner_key, {values} from core.entries"
    )
    yield connection
    connection.close()


def rate(connection: duckdb.DuckDBPyConnection, column: str) -> tuple[int, int, int]:
    found = next(r for r in null_rates(count_nulls(connection, FAMILY)) if r.column == column)
    return found.possible, found.nulls, found.all_nulls


def test_a_first_run_owes_no_form(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("update features.trouble set trouble_last = null where runner_key < 100")
    connection.execute("update features.trouble set trouble_last = null where runner_key in (101, 102)")
    assert rate(connection, "trouble_last") == (30, 2, 12)
    assert rate(connection, "trouble_rate") == (40, 0, 0)


def test_a_country_without_the_value_owes_none(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("update features.trouble set trouble_last = null where runner_key >= 200 or runner_key = 5")
    assert rate(connection, "trouble_last") == (20, 1, 21)


def test_the_family_rate_is_over_all_its_values(connection: duckdb.DuckDBPyConnection) -> None:
    rates = null_rates(count_nulls(connection, FAMILY))
    assert family_null_rate(rates) == 0.0
    connection.execute("update features.trouble set trouble_last = null where runner_key = 5")
    assert family_null_rate(null_rates(count_nulls(connection, FAMILY))) == pytest.approx(1 / (40 * len(rates)))
    assert family_null_rate([]) == 0.0


def findings(connection: duckdb.DuckDBPyConnection) -> list[NullFinding]:
    return null_findings(count_nulls(connection, FAMILY), min_rows=5)


def test_nothing_is_found_in_good_columns(connection: duckdb.DuckDBPyConnection) -> None:
    assert findings(connection) == []


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ("set trouble_last = 3", {"constant"}),
        ("set trouble_last = null", {"empty"}),
        ("set trouble_last = null where year(race_date) = 2018", {"null year"}),
        ("set trouble_last = null where year(race_date) = 2017", set()),
        ("set trouble_last = null where runner_key >= 200", {"null country", "null year"}),
    ],
)
def test_one_sided_columns_are_named(connection: duckdb.DuckDBPyConnection, change: str, rules: set[str]) -> None:
    connection.execute(f"update features.trouble {change}")
    found = findings(connection)
    assert {finding.rule for finding in found} == rules
    assert all(finding.column == "trouble_last" and "trouble_last" in finding.message for finding in found)


def test_small_parts_are_passed_over(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("update features.trouble set trouble_last = null where year(race_date) = 2018")
    assert null_findings(count_nulls(connection, FAMILY)) == []
