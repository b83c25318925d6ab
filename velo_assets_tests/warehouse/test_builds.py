"""What is out of date is found from content, never from time."""

import duckdb

from velo_assets.warehouse.builds import (
    WHOLE,
    Node,
    forget_settings,
    forget_years,
    found_settings,
    inputs_now,
    keep_settings,
    record_build,
    stale,
    stored_fingerprints,
)

CORE = Node("core/results", "a", ("landing/raceform",), is_yearly=True)
FORM = Node("features/form", "b", ("core/results",), is_yearly=True)
SHEET = Node("backtest/sheet", "c", ("features/form",), is_yearly=False)
NODES = (CORE, FORM, SHEET)
LANDED = {2019: "x", 2020: "y", 2021: "z"}


def build(connection: duckdb.DuckDBPyConnection, node: Node, years: tuple[int, ...], landed: dict[int, str]) -> None:
    record_build(connection, node.name, inputs_now(connection, node, years, landed))


def build_all(connection: duckdb.DuckDBPyConnection, landed: dict[int, str]) -> None:
    for node in NODES:
        build(connection, node, tuple(sorted(landed)) if node.is_yearly else (WHOLE,), landed)


def behind(connection: duckdb.DuckDBPyConnection, landed: dict[int, str], nodes: tuple[Node, ...] = NODES) -> object:
    return stale(nodes, stored_fingerprints(connection), landed, landed)


def test_settings_found_put_their_year_and_later_ones_out_of_date(connection: duckdb.DuckDBPyConnection) -> None:
    build_all(connection, LANDED)
    keep_settings(connection, FORM.name, {2020: {"leaves": 5}})
    assert behind(connection, LANDED) == {"features/form": (2020, 2021), "backtest/sheet": (WHOLE,)}
    build_all(connection, LANDED)
    assert behind(connection, LANDED) == {}
    assert found_settings(connection, FORM.name) == {2020: {"leaves": 5}}
    assert found_settings(connection, CORE.name) == {}
    layers = connection.execute(
        "select distinct split_part(name, '/', 1) from meta.builds where year = 2020"
    ).fetchall()
    assert {layer for (layer,) in layers} - {"core", "features"} == {"settings of features"}
    keep_settings(connection, FORM.name, {2021: {"leaves": 7}})
    assert behind(connection, LANDED) == {"features/form": (2021,), "backtest/sheet": (WHOLE,)}
    forget_settings(connection, FORM.name, 2021, 2021)
    assert behind(connection, LANDED) == {}
    forget_settings(connection, FORM.name, 2019, 2021)
    assert found_settings(connection, FORM.name) == {}
    assert behind(connection, LANDED) == {"features/form": (2020, 2021), "backtest/sheet": (WHOLE,)}


def test_at_first_everything_is_out_of_date(connection: duckdb.DuckDBPyConnection) -> None:
    every_year = (2019, 2020, 2021)
    assert behind(connection, LANDED) == {
        "core/results": every_year,
        "features/form": every_year,
        "backtest/sheet": (WHOLE,),
    }


def test_after_a_build_nothing_is(connection: duckdb.DuckDBPyConnection) -> None:
    build_all(connection, LANDED)
    assert behind(connection, LANDED) == {}


def test_an_amended_year_makes_itself_and_later_years_stale(connection: duckdb.DuckDBPyConnection) -> None:
    build_all(connection, LANDED)
    assert behind(connection, {**LANDED, 2020: "amended"}) == {
        "core/results": (2020, 2021),
        "features/form": (2020, 2021),
        "backtest/sheet": (WHOLE,),
    }


def test_changed_code_makes_itself_and_what_reads_it_stale(connection: duckdb.DuckDBPyConnection) -> None:
    build_all(connection, LANDED)
    changed = Node("features/form", "b2", ("core/results",), is_yearly=True)
    assert behind(connection, LANDED, (CORE, changed, SHEET)) == {
        "features/form": (2019, 2020, 2021),
        "backtest/sheet": (WHOLE,),
    }


def test_what_was_built_on_stale_inputs_stays_stale(connection: duckdb.DuckDBPyConnection) -> None:
    build_all(connection, LANDED)
    amended = {**LANDED, 2021: "amended"}
    build(connection, FORM, (2021,), amended)
    build(connection, CORE, (2021,), amended)
    assert behind(connection, amended) == {"features/form": (2021,), "backtest/sheet": (WHOLE,)}


def test_an_empty_partition_built_by_hand_disturbs_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    build_all(connection, LANDED)
    build(connection, CORE, (2012,), LANDED)
    assert behind(connection, LANDED) == {}


def test_inputs_that_change_while_an_asset_is_built_leave_it_stale(connection: duckdb.DuckDBPyConnection) -> None:
    build_all(connection, LANDED)
    taken = inputs_now(connection, SHEET, (WHOLE,), LANDED)
    amended = {**LANDED, 2021: "amended"}
    build(connection, CORE, (2021,), amended)
    build(connection, FORM, (2021,), amended)
    record_build(connection, SHEET.name, taken)
    assert behind(connection, amended) == {"backtest/sheet": (WHOLE,)}


def test_a_forgotten_year_is_emptied_once_and_later_years_refreshed(connection: duckdb.DuckDBPyConnection) -> None:
    build_all(connection, LANDED)
    left = {year: content for year, content in LANDED.items() if year != 2020}
    assert behind(connection, left) == {
        "core/results": (2020, 2021),
        "features/form": (2020, 2021),
        "backtest/sheet": (WHOLE,),
    }
    build(connection, CORE, (2020, 2021), left)
    build(connection, FORM, (2020, 2021), left)
    build(connection, SHEET, (WHOLE,), left)
    assert behind(connection, left) == {}


def test_a_warehouse_that_counts_rows_beside_its_records_keeps_them(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "create table meta.builds (name varchar, year integer, fingerprint varchar, row_count bigint, "
        "built_at timestamptz, primary key (name, year))"
    )
    connection.execute("insert into meta.builds values ('core/results', 2019, 'old', 5, now())")
    build_all(connection, LANDED)
    assert behind(connection, LANDED) == {}


def test_years_that_are_struck_have_to_be_built_again(connection: duckdb.DuckDBPyConnection) -> None:
    build_all(connection, LANDED)
    forget_years(connection, ["features/form"], 2019, 2020)
    assert behind(connection, LANDED) == {"features/form": (2019, 2020)}
