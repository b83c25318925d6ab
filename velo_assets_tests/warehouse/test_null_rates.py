"""A kept null rate is quoted as long as its tables are built from the same, and counted anew after that."""

import duckdb
import pytest

from velo_assets.warehouse import null_rates
from velo_assets.warehouse.builds import record_build
from velo_assets.warehouse.null_rates import family_null_rates, keep_null_rate
from velo_assets.warehouse.sql_table import load_table

FAMILY = "features/trouble"


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    """One race of ten first-time runners, a fifth of whose values are unknown."""
    connection = duckdb.connect()
    for schema in ("core", "features", "meta"):
        connection.execute(f"create schema {schema}")
    connection.execute(
        "create table core.entries as select date '2024-05-01' as race_date, 1 as race_key, r as runner_key, "
        "r as horse_key from range(10) as runners(r)"
    )
    connection.execute("create table core.races as select 1 as race_key, 'flat' as code, 'GB' as country")
    features = [column.name for column in load_table(FAMILY).columns if not column.name.endswith(("_key", "_date"))]
    values = ", ".join(f"case when runner_key > 1 then runner_key::double end as {name}" for name in features)
    connection.execute(
        f"create table features.trouble as select race_date, race_key, runner_key, {values} from core.entries"
    )
    return connection


def built(connection: duckdb.DuckDBPyConnection, name: str, fingerprint: str) -> None:
    record_build(connection, name, {2024: fingerprint})


def test_a_kept_rate_is_quoted_until_its_tables_change(connection: duckdb.DuckDBPyConnection) -> None:
    built(connection, FAMILY, "a")
    keep_null_rate(connection, FAMILY, 0.5)
    assert family_null_rates(connection, [FAMILY]) == {FAMILY: 0.5}
    built(connection, "core/entries", "b")
    assert family_null_rates(connection, [FAMILY]) == {FAMILY: pytest.approx(0.2)}
    # What was counted is kept: nobody counts again until the family is built from something else.
    connection.execute("delete from features.trouble where runner_key <= 1")
    assert family_null_rates(connection, [FAMILY]) == {FAMILY: pytest.approx(0.2)}
    built(connection, FAMILY, "c")
    assert family_null_rates(connection, [FAMILY]) == {FAMILY: 0.0}


def test_a_rate_counted_by_other_rules_is_not_quoted(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(connection, FAMILY, "a")
    keep_null_rate(connection, FAMILY, 0.5)
    monkeypatch.setattr(null_rates, "code_version", lambda *_: "of another policy")
    assert family_null_rates(connection, [FAMILY]) == {FAMILY: pytest.approx(0.2)}


def test_a_family_without_a_record_of_its_build_is_always_counted(connection: duckdb.DuckDBPyConnection) -> None:
    keep_null_rate(connection, FAMILY, 0.5)
    assert family_null_rates(connection, [FAMILY]) == {FAMILY: pytest.approx(0.2)}
