"""What a command asks of the runs that it launches."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from velo_assets.automation import runner
from velo_assets.automation.runner import Plan, plan, run_chain
from velo_assets.ingestion.landing import forget, land
from velo_assets.ingestion.manifest import year_fingerprints
from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import refresh_table
from velo_assets.warehouse.builds import Node, inputs_now, record_build
from velo_assets.warehouse.changes import first_change, record_change
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.sql_table import load_table
from velo_assets_tests.ingestion.raceform_rows import csv_text, row
from velo_assets_tests.warehouse.small_world import write_core

SHAPE = "features/race_shape"
YEAR = (date(2021, 1, 1), date(2021, 12, 31))


@pytest.mark.parametrize(("years", "since"), [(None, date(2021, 9, 3)), ((2021, 2021), YEAR[0])])
def test_years_that_are_asked_for_are_built_whole_although_a_part_has_changed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instance: dg.DagsterInstance,
    years: tuple[int, int] | None,
    since: date,
) -> None:
    root = DataRoot(tmp_path)
    with Warehouse(root.warehouse).connect() as connection:
        write_core(connection)
        refresh_table(connection, SHAPE, *YEAR)
        record_build(connection, SHAPE, {2021: "as of now"})
        for name in load_table(SHAPE).dependencies:
            record_change(connection, name, *YEAR, date(2021, 9, 3))
    found = []

    def launched(_defs: Any, _instance: Any, job: str, _outcome: Any, **_: Any) -> None:
        if job == "refresh":
            with Warehouse(root.warehouse).connect() as connection:
                found.append(first_change(connection, load_table(SHAPE), *YEAR))

    monkeypatch.setattr(runner, "execute", launched)
    monkeypatch.setattr(runner, "plan", lambda *_, **__: Plan((SHAPE,), 2021, 2021, (2021,)))
    run_chain(dg.Definitions(), instance, root, years=years, say=lambda _: None)
    assert found == [since]


@pytest.mark.parametrize(
    ("years", "said"),
    [
        (None, "Everything is up to date."),
        ((2021, 2021), "Everything is up to date."),
        ((2030, 2030), "Nothing has landed for 2030."),
        ((2022, 2030), "Nothing has landed for 2022 to 2030."),
    ],
)
def test_years_of_which_nothing_has_landed_are_not_called_up_to_date(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instance: dg.DagsterInstance,
    years: tuple[int, int] | None,
    said: str,
) -> None:
    monkeypatch.setattr(runner, "execute", lambda *_, **__: None)
    monkeypatch.setattr(runner, "plan", lambda *_, **__: Plan((), None, None, (2020, 2021)))
    lines: list[str] = []
    run_chain(dg.Definitions(), instance, DataRoot(tmp_path), years=years, say=lines.append)
    assert lines == [said]


def test_a_run_of_the_chain_forgets_old_runs_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "execute", lambda *_, **__: None)
    monkeypatch.setattr(runner, "plan", lambda *_, **__: Plan((), None, None, ()))
    lines: list[str] = []
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for days in (59, 61):
            run = dg.DagsterRun("nightly", status=dg.DagsterRunStatus.SUCCESS)
            instance.run_storage.add_historical_run(run, datetime.now(UTC) - timedelta(days=days))
        run_chain(dg.Definitions(), instance, DataRoot(tmp_path), say=lines.append)
        assert instance.get_runs_count() == 1
    assert lines == ["Dagster forgot 1 runs older than 60 days.", "Everything is up to date."]


def test_a_year_that_was_forgotten_is_emptied_also_when_it_is_asked_for_by_name(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    root.raceform.mkdir()
    races = Node("core/races", "1", ("landing/raceform",), is_yearly=True)
    for year in (2015, 2016):
        (root.raceform / f"{year}.csv").write_text(csv_text([row(date=f"{year}-04-26")]), encoding="utf-8")
    with Warehouse(root.warehouse).connect() as connection:
        land(root, connection)
        record_build(connection, races.name, inputs_now(connection, races, (2015, 2016), year_fingerprints(connection)))
        forget(root, connection, "raceform/2016.csv")
    assert plan([races], root, years=(2016, 2016)) == Plan((races.name,), 2016, 2016, (2015,))
    assert plan([races], root, years=(2015, 2015)) == Plan((races.name,), 2015, 2016, (2015,))
