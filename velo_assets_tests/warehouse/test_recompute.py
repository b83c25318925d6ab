"""Features built from data that lack or falsify the unknown are the features we have; results in disguise are not."""

from collections.abc import Callable
from datetime import date, timedelta

import duckdb
import polars as pl
import pytest

from velo_assets.warehouse.bench import CheckResult, bench
from velo_assets.warehouse.mutations import OWN_RESULT, column
from velo_assets.warehouse.outcome_proofs import deal, permutation, permutation_of, tripwire, tripwire_of
from velo_assets.warehouse.recompute import (
    future_perturbation,
    parity,
    prove,
    same_day,
    sample_dates,
    sampled_recomputation,
    self_row,
    time_travel,
)
from velo_assets.warehouse.sql_table import build_order, load_table
from velo_assets_tests.conftest import BuiltWorld
from velo_assets_tests.warehouse.small_world import FIRST, LAST

FORM = "features/form_curves"
CHECKS = (time_travel, future_perturbation, self_row, same_day, parity)


@pytest.fixture
def a_day(small_warehouse: duckdb.DuckDBPyConnection) -> date:
    return sample_dates(small_warehouse, 1)[0]


def test_every_feature_of_a_day_is_the_same_without_the_day(
    small_warehouse: duckdb.DuckDBPyConnection, a_day: date
) -> None:
    result = time_travel(small_warehouse, [a_day])
    assert result.passed, str(result)
    # 32 runners in each family, 4 races in each map of them, and the strengths of the year.
    tables = [load_table(name) for name in build_order("features")]
    families, maps = sum(table.is_by_runner for table in tables), sum(table.is_by_race for table in tables)
    assert result.rows > 32 * families + 4 * (maps - families)


def test_what_is_made_of_rounded_fractions_is_made_of_them_again(built_world: BuiltWorld) -> None:
    """Standings in the field are differences of features held in single precision."""
    with built_world.warehouse.read("test") as connection:
        result = time_travel(connection, sample_dates(connection, 6), ("features/within_race",))
    assert result.passed, str(result)
    assert result.rows > 0


@pytest.mark.parametrize("check", CHECKS[1:], ids=lambda check: check.__name__)
def test_the_other_checks_pass_on_the_families_nearest_to_results(
    small_warehouse: duckdb.DuckDBPyConnection, a_day: date, check: Callable[..., CheckResult]
) -> None:
    result = check(small_warehouse, [a_day], (FORM, "features/trainer_velocity"), rebuild_upstream=False)
    assert result.passed, str(result)
    assert result.rows == 64


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_sees_the_own_result(
    small_warehouse: duckdb.DuckDBPyConnection, a_day: date, check: Callable[..., CheckResult]
) -> None:
    leaky = column("rpr_last", "own.racing_post_rating", OWN_RESULT)(load_table(FORM).text)
    result = check(small_warehouse, [a_day], (FORM,), texts={FORM: leaky}, rebuild_upstream=False)
    assert not result.passed
    assert "features/form_curves.rpr_last" in result.differences[0]
    assert str(a_day) in result.differences[0]


def test_sql_without_a_leak_is_not_accused(small_warehouse: duckdb.DuckDBPyConnection, a_day: date) -> None:
    texts = {FORM: load_table(FORM).text}
    for check in (time_travel, same_day):
        assert check(small_warehouse, [a_day], (FORM,), texts=texts, rebuild_upstream=False).passed


def test_the_warehouse_is_left_as_it_was(small_warehouse: duckdb.DuckDBPyConnection) -> None:
    databases = "select database_name from duckdb_databases() order by 1"
    before = small_warehouse.sql(databases).fetchall()
    with pytest.raises(RuntimeError, match="halfway"), bench(small_warehouse):
        raise RuntimeError("halfway")
    assert small_warehouse.sql(databases).fetchall() == before
    assert small_warehouse.sql("select count(*) from core.results").fetchall() == [(2880,)]


def test_the_sampled_check_is_the_time_travel_of_one_table(small_warehouse: duckdb.DuckDBPyConnection) -> None:
    result = sampled_recomputation(small_warehouse, FORM, sample_dates(small_warehouse, 2))
    assert result.passed, str(result)
    assert result.name == "T1 time travel of features/form_curves"
    assert result.rows == 64


def test_a_stored_value_that_nobody_can_recompute_is_found(small_warehouse: duckdb.DuckDBPyConnection) -> None:
    copy = duckdb.connect()
    for schema in ("core", "features"):
        copy.execute(f"create schema {schema}")
    for name in ("core.races", "core.entries", "core.results", "core.prices", "core.sectionals", "features.trouble"):
        frame = small_warehouse.sql(f"select * from {name}").to_arrow_table()
        copy.register("frame", frame)
        copy.execute(f"create table {name} as select * from frame")
    copy.execute("update features.trouble set trouble_rate = 0.123 where runner_key % 100 = 0")
    day = sample_dates(copy, 1)[0]
    (difference,) = time_travel(copy, [day], ("features/trouble",)).differences
    assert difference.startswith(f"features/trouble.trouble_rate: 4 of 32 values differ on {day}")


def test_dates_are_spread_and_end_with_the_last(small_warehouse: duckdb.DuckDBPyConnection) -> None:
    days = sample_dates(small_warehouse, 3, after=date(2020, 6, 1))
    assert days == sorted(days)
    assert days[0] > date(2020, 6, 1)
    assert days[-1] == LAST
    assert sample_dates(small_warehouse, 1000)[0] == FIRST


def test_feature_order_puts_what_is_read_first() -> None:
    order = build_order("features")
    assert len(order) == len(set(order))
    for name in order:
        for upstream in load_table(name).dependencies:
            assert not upstream.startswith("features/") or order.index(upstream) < order.index(name)
    assert build_order("features", ("features/trouble",)) == ("features/trouble",)


def test_no_feature_beats_the_market(small_warehouse: duckdb.DuckDBPyConnection) -> None:
    result = tripwire(small_warehouse)
    assert result.passed, str(result)
    assert result.measures is not None
    assert 0.65 < result.measures["market concordance"] < 0.9


def test_all_proofs_run_one_after_another(small_warehouse: duckdb.DuckDBPyConnection) -> None:
    results = list(prove(small_warehouse, 1, (FORM,)))
    assert [result.name[:2] for result in results] == ["T1", "T2", "T3", "T4", "T8", "T6"]
    assert all(result.passed for result in results)


def test_proofs_of_what_is_not_there_are_refused(small_warehouse: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match="no feature table 'features/whisper'"):
        list(prove(small_warehouse, 1, ("features/whisper",)))
    with pytest.raises(FileNotFoundError, match="core/results"):
        list(prove(duckdb.connect(), 1))


def races(count: int) -> pl.DataFrame:
    """Races of three; the market ranks the winner first in two of three."""
    rows = []
    for race in range(count):
        for runner in range(3):
            market = runner if race % 3 else (0 if runner == 2 else runner + 1)
            rows.append(
                (date(2020, 1, 1) + timedelta(days=race // 4), race, 3 * race + runner, int(runner == 2), market)
            )
    return pl.DataFrame(rows, schema=["race_date", "race_key", "runner_key", "won", "market"], orient="row")


def test_the_tripwire_goes_off_for_a_result_either_way_round() -> None:
    frame = races(120).with_columns(position=3 - pl.col("won") * 2, noise=pl.col("runner_key").hash(seed=1) % 7)
    result = tripwire_of(frame, won="won", market="market")
    assert [line.split()[0] for line in result.differences] == ["position"]
    assert "1.000 of pairs, the market in 0.667" in result.differences[0]


def test_the_tripwire_keeps_still_without_races() -> None:
    assert tripwire_of(races(0), won="won", market="market").passed


def test_shuffled_winners_leave_nothing_to_know_but_the_leak(small_warehouse: duckdb.DuckDBPyConnection) -> None:
    family = "features/trouble"
    result = permutation(small_warehouse, FIRST, LAST, table=family)
    assert result.passed, str(result)
    leaky = column("trouble_last", "own.racing_post_rating", OWN_RESULT)(load_table(family).text)
    result = permutation(small_warehouse, FIRST, LAST, table=family, texts={family: leaky}, features=["trouble_last"])
    assert not result.passed
    assert result.measures is not None
    assert result.measures["R2"] > 0.2


def test_dealing_keeps_every_race_its_winner() -> None:
    frame = races(40).with_columns(win_share=pl.col("won").cast(pl.Float64))
    dealt = deal(frame, seed=2)
    assert dealt.group_by("race_key").agg(pl.col("win_share").sum())["win_share"].to_list() == [1.0] * 40
    changed = (dealt.sort("runner_key")["win_share"] != frame.sort("runner_key")["win_share"]).sum()
    assert changed > 30
    assert permutation_of(dealt, ["market"]).passed
