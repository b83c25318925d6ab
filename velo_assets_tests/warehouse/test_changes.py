"""A year is rebuilt from the first day on that can differ, and holds then what a whole rebuild would give it."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from benchmarks.measure import differing
from benchmarks.pipeline import late_file
from velo_assets.ingestion.landing import land
from velo_assets.settings import DataRoot
from velo_assets.simulation.world import simulate
from velo_assets.warehouse.build import build_table, refresh_table
from velo_assets.warehouse.builds import forget_build, record_build
from velo_assets.warehouse.changes import days_of, first_change, first_difference, record_change, refreshed_days
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.query import row_of
from velo_assets.warehouse.sql_table import build_order, load_table

YEARS = (2021, 2022)
NEW_YEAR, NEW_YEARS_EVE = date(2022, 1, 1), date(2022, 12, 31)
LONG_AGO = date(2021, 6, 1)
SHAPE = "features/race_shape"
PARS = "features/pars"
CORE, FEATURES = build_order("core"), build_order("features")


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """Two small seasons, all but landed."""
    simulate(first_year=YEARS[0], last_year=YEARS[-1], races_per_year=60, seed=4, edge=0.5, out=tmp_path)
    return DataRoot(tmp_path)


@pytest.fixture
def connection(root: DataRoot) -> Iterator[duckdb.DuckDBPyConnection]:
    with Warehouse(root.warehouse).connect() as connection:
        land(root, connection)
        refresh(connection, CORE, YEARS[0])
        yield connection


def refresh(
    connection: duckdb.DuckDBPyConnection, names: Iterable[str], first_year: int = YEARS[-1]
) -> dict[str, date | None]:
    """Refresh tables as their assets do; since when each was built."""
    since = {}
    for name in names:
        since[name] = refresh_table(connection, name, date(first_year, 1, 1), NEW_YEARS_EVE).since
        record_build(connection, name, dict.fromkeys(range(first_year, YEARS[-1] + 1), "as of now"))
    return since


def test_a_late_day_rebuilds_its_year_from_that_day_on_and_leaves_what_a_whole_rebuild_would(
    root: DataRoot, tmp_path: Path
) -> None:
    with Warehouse(root.warehouse).connect() as connection:
        land(root, connection)
        refresh(connection, CORE, YEARS[0])
        refresh(connection, FEATURES, YEARS[0])
        late = late_file(root, "Amended")
        day = date.fromisoformat(pl.read_csv(late)["date"].min())
        land(root, connection)
        refresh(connection, CORE)
        since = refresh(connection, FEATURES)
        refreshed = refreshed_days(connection, SHAPE)
    assert day > NEW_YEAR
    assert since == {name: day if load_table(name).is_by_race else None for name in FEATURES}
    assert refreshed == (day, NEW_YEARS_EVE)

    whole = Warehouse(root.warehouse).snapshot(tmp_path / "whole.duckdb")
    with Warehouse(whole).connect() as connection:
        for name in FEATURES:
            build_table(connection, name, date(YEARS[0], 1, 1), NEW_YEARS_EVE)
    assert differing(root.warehouse, whole) == {}


def test_what_has_not_changed_is_rebuilt_whole_when_asked_for(connection: duckdb.DuckDBPyConnection) -> None:
    whole = dict.fromkeys(FEATURES)
    assert refresh(connection, FEATURES, YEARS[0]) == whole
    assert refresh(connection, FEATURES) == whole


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        ([(2022, date(2022, 9, 3))], date(2022, 9, 3)),
        ([(2022, date(2022, 9, 3)), (2022, date(2022, 5, 1))], date(2022, 5, 1)),
        ([(2022, date(2022, 5, 1)), (2022, date(2022, 9, 3))], date(2022, 5, 1)),
        ([(2022, date(2022, 9, 3)), (2022, None)], date(2022, 9, 3)),
        ([(2022, date(2022, 9, 3)), (2021, LONG_AGO)], NEW_YEAR),
        ([(2022, None)], None),
        ([(2023, date(2023, 2, 1))], None),
    ],
)
def test_every_change_not_yet_taken_in_counts(
    connection: duckdb.DuckDBPyConnection, changed: list[tuple[int, date | None]], first: date | None
) -> None:
    refresh(connection, [SHAPE], YEARS[0])
    for year, day in changed:
        record_change(connection, "core/races", date(year, 1, 1), date(year, 12, 31), day)
    assert first_change(connection, load_table(SHAPE), NEW_YEAR, NEW_YEARS_EVE) == first


def test_a_year_is_built_whole_where_its_story_is_not_known(connection: duckdb.DuckDBPyConnection) -> None:
    def first() -> date | None:
        return first_change(connection, load_table(SHAPE), NEW_YEAR, NEW_YEARS_EVE)

    autumn = date(2022, 9, 3)
    refresh(connection, [SHAPE], YEARS[0])
    record_change(connection, "core/entries", NEW_YEAR, NEW_YEARS_EVE, autumn)
    assert first() == autumn
    # Two years at once: the later one may lean on all of the earlier.
    assert first_change(connection, load_table(SHAPE), LONG_AGO, NEW_YEARS_EVE) == LONG_AGO
    # Strengths of shrinkage are dated by the year, not by declarations.
    assert first_change(connection, load_table("features/shrinkage"), NEW_YEAR, NEW_YEARS_EVE) == NEW_YEAR

    forget_build(connection, SHAPE)
    assert first() == NEW_YEAR
    record_build(connection, SHAPE, {2022: "as of now"})
    assert first() == autumn
    connection.execute("update meta.refreshes set code_version = 'other SQL' where name = ?", [SHAPE])
    assert first() == NEW_YEAR
    refresh_table(connection, SHAPE, NEW_YEAR, NEW_YEARS_EVE)
    record_change(connection, "core/entries", NEW_YEAR, NEW_YEARS_EVE, autumn)
    assert first() == autumn
    connection.execute("delete from meta.changes where name = 'core/races'")
    assert first() == NEW_YEAR


def test_a_window_that_is_not_of_whole_years_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    refresh(connection, [SHAPE], YEARS[0])
    # Its rows would end in June, its record say that the year has seen every change.
    for window in ((NEW_YEAR, date(2022, 6, 30)), (date(2022, 2, 1), NEW_YEARS_EVE)):
        with pytest.raises(ValueError, match="whole years"):
            refresh_table(connection, SHAPE, *window)


def test_a_table_that_was_dropped_is_built_whole(connection: duckdb.DuckDBPyConnection) -> None:
    refresh(connection, [SHAPE], YEARS[0])
    record_change(connection, "core/entries", NEW_YEAR, NEW_YEARS_EVE, date(2022, 9, 3))
    connection.execute("drop table features.race_shape")
    assert refresh(connection, [SHAPE]) == {SHAPE: None}


def test_a_table_built_again_from_the_same_rows_has_not_changed(connection: duckdb.DuckDBPyConnection) -> None:
    refresh(connection, [SHAPE], YEARS[0])
    refresh(connection, CORE)
    days = "select first_day from meta.changes where name = ? and year = 2022 order by number"
    assert connection.execute(days, ["core/entries"]).fetchall() == [(NEW_YEAR,), (None,)]
    # No feature reads it: nobody hashes its rows to find the day.
    assert connection.execute(days, ["core/card_changes"]).fetchall() == [(NEW_YEAR,)]


def test_features_built_again_from_what_has_not_changed_leave_those_made_of_them_alone(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    refresh(connection, FEATURES, YEARS[0])
    assert refresh(connection, [PARS]) == {PARS: None}
    assert first_change(connection, load_table("features/speed_figures"), NEW_YEAR, NEW_YEARS_EVE) is None
    # Someone has laid hands on it, and builds it anew: what it held is not what others should be made of.
    autumn = date(2022, 9, 3)
    connection.execute("update features.pars set par_seconds = 0 where race_date >= ?", [autumn])
    (day,) = row_of(connection, "select min(race_date) from features.pars where race_date >= ?", [autumn])
    refresh(connection, [PARS])
    assert first_change(connection, load_table("features/speed_figures"), NEW_YEAR, NEW_YEARS_EVE) == day


@pytest.mark.parametrize("end", [NEW_YEARS_EVE, date(2023, 12, 31)])
def test_other_columns_or_types_change_every_year_of_the_table(
    connection: duckdb.DuckDBPyConnection, end: date
) -> None:
    refresh(connection, [SHAPE], YEARS[0])
    # An older version of the SQL, whose years are all given the new type as soon as one of them is built again.
    connection.execute("alter table core.entries alter column stall set data type varchar")
    refresh_table(connection, "core/entries", NEW_YEAR, end)
    for year in YEARS:
        record_change(connection, "core/races", date(year, 1, 1), date(year, 12, 31), date(year, 9, 3))
        first = date(year, 1, 1)
        assert first_change(connection, load_table(SHAPE), first, date(year, 12, 31)) == first
    # What was rebuilt is the window all the same: nothing else is looked at by the proof of a refresh.
    assert refreshed_days(connection, "core/entries") == (NEW_YEAR, end)


def test_last_bits_of_a_sum_are_no_change() -> None:
    def held(value: float) -> dict[date, tuple[int, int]]:
        with duckdb.connect() as connection:
            connection.execute(
                "create table prices as select date '2022-01-01' as race_date, ?::double as book", [value]
            )
            columns = [("race_date", "DATE"), ("book", "DOUBLE")]
            return days_of(connection, "prices", columns, NEW_YEAR, NEW_YEARS_EVE)

    assert held(0.1 + 0.2) == held(0.3)
    assert held(0.3) != held(0.30001)


def test_the_first_difference_is_of_rows_changed_added_or_gone() -> None:
    days = {NEW_YEAR + timedelta(days=n): (3, 30 + n) for n in range(4)}
    assert first_difference(days, dict(days)) is None
    assert first_difference(days, days | {date(2022, 1, 3): (3, 99)}) == date(2022, 1, 3)
    assert first_difference(days, days | {date(2022, 2, 1): (3, 30)}) == date(2022, 2, 1)
    assert first_difference(days, {day: held for day, held in days.items() if day > NEW_YEAR}) == NEW_YEAR
    assert first_difference({}, {}) is None
