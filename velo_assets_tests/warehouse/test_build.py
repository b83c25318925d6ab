"""Windows are replaced as a whole, in one transaction; tables follow the columns of their SQL."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from velo_assets.ingestion.landing import create_views
from velo_assets.settings import DataRoot
from velo_assets.warehouse import build, sql_table
from velo_assets.warehouse.build import (
    build_table,
    describe,
    refresh_table,
    replace_table,
    replace_window,
    table_exists,
)
from velo_assets.warehouse.builds import Node, inputs_now, record_build, stale, stored_fingerprints
from velo_assets.warehouse.query import frame_of, row_of
from velo_assets.warehouse.sql_table import Column, SqlTableError, all_tables, build_order, load_table
from velo_assets_tests.warehouse.small_world import FIRST, LAST, RUNNERS, build_features, write_core

JANUARY = (date(2020, 1, 1), date(2020, 1, 31))


def rows(*days: int, value: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame(
        {"race_date": [date(2020, 1, day) for day in days], "race_key": list(days), "value": [value] * len(days)},
        schema={"race_date": pl.Date, "race_key": pl.Int64, "value": pl.Float64},
    )


def test_a_rerun_changes_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    for _ in range(2):
        assert replace_window(connection, "market/sample", rows(1, 2, 3), *JANUARY).rows == 3
    assert connection.execute("select count(*) from market.sample").fetchone() == (3,)


def test_only_the_window_is_replaced(connection: duckdb.DuckDBPyConnection) -> None:
    replace_window(connection, "market/sample", rows(1, 20), *JANUARY)
    replace_window(connection, "market/sample", rows(20, value=9.0), date(2020, 1, 10), date(2020, 1, 31))
    assert connection.execute("select race_key, value from market.sample order by 1").fetchall() == [
        (1, 1.0),
        (20, 9.0),
    ]


def test_rows_outside_the_window_are_refused_and_nothing_changes(connection: duckdb.DuckDBPyConnection) -> None:
    replace_window(connection, "market/sample", rows(1), *JANUARY)
    with pytest.raises(ValueError, match="1 rows lie outside the window"):
        replace_window(connection, "market/sample", rows(1, 20), date(2020, 1, 1), date(2020, 1, 10))
    assert connection.execute("select race_key from market.sample").fetchall() == [(1,)]


def test_a_failing_insert_leaves_the_table_as_it_was(connection: duckdb.DuckDBPyConnection) -> None:
    replace_window(connection, "market/sample", rows(1, 20), *JANUARY)
    connection.execute("create unique index only_once on market.sample (race_key)")
    with pytest.raises(duckdb.Error):
        replace_window(connection, "market/sample", rows(21, 21), date(2020, 1, 10), date(2020, 1, 31))
    assert connection.execute("select race_key from market.sample order by 1").fetchall() == [(1,), (20,)]


def test_a_new_column_appears_and_old_years_hold_null(connection: duckdb.DuckDBPyConnection) -> None:
    replace_window(connection, "market/sample", rows(1), date(2020, 1, 1), date(2020, 1, 1))
    wider = rows(2).with_columns(extra=pl.lit("x"))
    replace_window(connection, "market/sample", wider.drop("value"), date(2020, 1, 2), date(2020, 1, 2))
    assert [name for name, _ in describe(connection, "market/sample")] == ["race_date", "race_key", "extra"]
    assert connection.execute("select race_key, extra from market.sample order by 1").fetchall() == [
        (1, None),
        (2, "x"),
    ]


@pytest.mark.parametrize(
    ("other", "behind"),
    [
        (["race_date", "race_key"], {"market/sample": (2020, 2021)}),
        (["race_date", "value", "race_key"], {"market/sample": (2021,)}),
    ],
    ids=["a column fewer", "columns in another order"],
)
def test_a_year_built_alone_with_other_columns_leaves_no_year_on_record_that_has_lost_them(
    connection: duckdb.DuckDBPyConnection, other: list[str], behind: dict[str, tuple[int, ...]]
) -> None:
    def node(code: str) -> Node:
        return Node("market/sample", code, (), is_yearly=True)

    def behind_of(code: str) -> dict[str, tuple[int, ...]]:
        return stale([node(code)], stored_fingerprints(connection), landed, landed)

    def make(code: str, columns: list[str], years: tuple[int, ...]) -> None:
        for year in years:
            frame = rows(1).with_columns(race_date=pl.lit(date(year, 1, 1))).select(columns)
            inputs = inputs_now(connection, node(code), [year], landed)
            replace_window(connection, "market/sample", frame, date(year, 1, 1), date(year, 12, 31))
            record_build(connection, "market/sample", inputs)

    landed = {2020: "a", 2021: "b"}
    columns = ["race_date", "race_key", "value"]
    make("code A", columns, (2020, 2021))
    # A night on a branch, or before a version is taken back: the running year alone.
    make("code B", other, (2021,))
    assert behind_of("code A") == behind
    make("code A", columns, behind["market/sample"])
    assert behind_of("code A") == {}
    assert connection.execute("select value from market.sample").fetchall() == [(1.0,), (1.0,)]


def test_descriptions_are_stored_with_the_table(connection: duckdb.DuckDBPyConnection) -> None:
    columns = (Column("value", "the trainer's runs", "runs"),)
    replace_window(connection, "market/sample", rows(1), *JANUARY, columns=columns)
    comment = connection.execute(
        "select comment from duckdb_columns() where table_name = 'sample' and column_name = 'value'"
    ).fetchone()
    assert comment == ("the trainer's runs [runs]",)


def test_a_description_that_changed_is_written_and_the_others_stay(connection: duckdb.DuckDBPyConnection) -> None:
    first = (Column("value", "runs", ""), Column("race_key", "race", ""))
    replace_window(connection, "market/sample", rows(1), *JANUARY, columns=first)
    second = (Column("value", "rides", ""), Column("race_key", "race", ""))
    replace_window(connection, "market/sample", rows(2), *JANUARY, columns=second)
    comments = connection.execute(
        "select column_name, comment from duckdb_columns() where table_name = 'sample' order by column_index"
    ).fetchall()
    assert comments == [("race_date", None), ("race_key", "race"), ("value", "rides")]


def test_what_was_built_tells_the_columns_as_they_now_are(connection: duckdb.DuckDBPyConnection) -> None:
    wider = rows(2).with_columns(extra=pl.lit("x"))
    for first, frame in ((1, rows(1, 2)), (2, rows(2)), (2, wider)):
        built = replace_window(connection, "market/sample", frame, date(2020, 1, first), date(2020, 1, 2))
        assert built.columns == describe(connection, "market/sample")
    assert [name for name, _ in built.columns] == ["race_date", "race_key", "value", "extra"]


@pytest.fixture
def declared(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Two runners on the last day of 2019 and two on the first of 2020, as the shape of a race needs them."""
    connection.execute(
        """
        create table core.entries as
        select
            date '2019-12-31' + cast(race_key - 1 as integer) as race_date, race_key, 10 * race_key + n as runner_key,
            2 + n as age_years, 'F' as sex, 120 + n as weight_lb, 70 + 7 * n as official_rating
        from range(1, 3) races(race_key), range(1, 3) runners(n)
        """
    )
    connection.execute(
        """
        create table core.races as
        select
            date '2019-12-31' + cast(race_key - 1 as integer) as race_date, race_key, 2 as field_size,
            true as is_handicap, 4 as race_class, '' as pattern, 85 as rating_band_high, 3 as min_age_years,
            4 as max_age_years, '' as sex_restriction, 8.1 as distance_furlongs, 0.0 as going_index
        from range(1, 3) races(race_key)
        """
    )
    return connection


def test_a_table_written_in_spans_holds_every_day_of_its_window_once(
    declared: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_table("features/race_shape").is_written_in_spans
    # Two runners would be written at once.
    monkeypatch.setattr(build, "SPAN_ROWS", 1)
    for _ in range(2):
        assert build_table(declared, "features/race_shape", date(2017, 6, 1), date(2023, 1, 31)).rows == 4
    assert build_table(declared, "features/race_shape", date(2020, 1, 1), date(2020, 1, 31)).rows == 2
    assert declared.execute("select runner_key from features.race_shape order by 1").fetchall() == [
        (11,),
        (12,),
        (21,),
        (22,),
    ]


def test_fractions_of_features_are_held_in_single_precision(declared: duckdb.DuckDBPyConnection) -> None:
    built = build_table(declared, "features/race_shape", date(2019, 12, 1), date(2020, 1, 31))
    kinds = dict(built.columns)
    assert kinds["rating_spread"] == kinds["age_vs_field"] == "FLOAT"
    assert kinds["field_size"] == "INTEGER"
    assert built.columns == describe(declared, "features/race_shape")


def test_an_output_column_without_a_description_is_not_built(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = "".join(f"-- {key}: words\n" for key in ("grain", "point in time", "look-back", "description"))
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "half_described.sql").write_text(
        f"{header}select\n    date '2020-01-01' as race_date, -- day\n    1 as recent_runs\nfrom range(1)\n"
    )
    monkeypatch.setattr(sql_table, "SQL_ROOT", tmp_path)
    with pytest.raises(SqlTableError, match=r"half_described\.sql: recent_runs lacks a description"):
        build_table(connection, "features/half_described", *JANUARY)
    assert not table_exists(connection, "features/half_described")


@pytest.mark.parametrize("make", [build_table, refresh_table])
def test_a_build_that_failed_can_be_tried_again_on_the_same_connection(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, make: Callable[..., build.Built]
) -> None:
    year = (date(2020, 1, 1), date(2020, 12, 31))
    with pytest.raises(duckdb.CatalogException, match="raceform"):
        make(connection, "core/results", *year)
    create_views(DataRoot(tmp_path), connection)
    assert make(connection, "core/results", *year).rows == 0


def test_a_summary_is_replaced_whole(connection: duckdb.DuckDBPyConnection) -> None:
    replace_table(connection, "backtest/sample", rows(1, 2))
    assert replace_table(connection, "backtest/sample", rows(3)).rows == 1
    assert table_exists(connection, "backtest/sample")
    assert connection.execute("select race_key from backtest.sample").fetchall() == [(3,)]


def test_a_name_that_is_no_table_name_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match="not a table name"):
        replace_table(connection, "backtest/x; drop table y", rows(1))


def test_days_built_one_by_one_are_those_of_the_whole_window(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        write_core(connection, days=40)
        for name in build_order("features"):
            build_table(connection, name, FIRST, LAST)
        *_, (first,), _, _ = connection.execute("select distinct race_date from core.entries order by 1").fetchall()
        for table in (table for table in all_tables() if table.schema == "features" and table.is_by_runner):
            query = f"select * from {table.relation} where race_date >= ? order by runner_key"
            whole = frame_of(connection, query, [first])
            # To the end of the year, as a refresh asks for it; a longer window is built as a whole.
            assert build_table(connection, table.name, first, LAST).rows == 3 * 4 * RUNNERS
            assert_frame_equal(frame_of(connection, query, [first]), whole, rel_tol=1e-5, abs_tol=1e-5)


def test_a_window_in_which_nobody_runs_is_emptied(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        write_core(connection, days=10)
        build_features(connection)
        (last,) = row_of(connection, "select max(race_date) from core.entries")
        connection.execute("delete from core.entries where race_date = ?", [last])
        assert build_table(connection, "features/trainer_jockey", last, last).rows == 0
        (left,) = row_of(connection, "select max(race_date) from features.trainer_jockey")
        assert left < last
