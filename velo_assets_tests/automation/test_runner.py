"""What a command asks of the runs that it launches."""

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from velo_assets.automation import runner
from velo_assets.automation.runner import Plan, run_chain
from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import refresh_table
from velo_assets.warehouse.builds import record_build
from velo_assets.warehouse.changes import first_day_to_build, record_change
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.sql_table import load_table
from velo_assets_tests.warehouse.small_world import write_core

SHAPE = "features/race_shape"
YEAR = (date(2021, 1, 1), date(2021, 12, 31))


@pytest.mark.parametrize(("years", "since"), [(None, date(2021, 9, 3)), ((2021, 2021), YEAR[0])])
def test_years_that_are_asked_for_are_built_whole_although_a_part_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, years: tuple[int, int] | None, since: date
) -> None:
    root = DataRoot(tmp_path)
    with Warehouse(root.warehouse).connect() as connection:
        write_core(connection)
        refresh_table(connection, SHAPE, *YEAR)
        record_build(connection, SHAPE, {2021: "as of now"}, 0)
        for name in load_table(SHAPE).dependencies:
            record_change(connection, name, *YEAR, date(2021, 9, 3))
    found = []

    def launched(_defs: Any, _instance: Any, job: str, _outcome: Any, **_: Any) -> None:
        if job == "refresh":
            with Warehouse(root.warehouse).connect() as connection:
                found.append(first_day_to_build(connection, load_table(SHAPE), *YEAR))

    monkeypatch.setattr(runner, "execute", launched)
    monkeypatch.setattr(runner, "plan", lambda *_, **__: Plan((SHAPE,), 2021, 2021, (2021,)))
    with dg.DagsterInstance.ephemeral() as instance:
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, years: tuple[int, int] | None, said: str
) -> None:
    monkeypatch.setattr(runner, "execute", lambda *_, **__: None)
    monkeypatch.setattr(runner, "plan", lambda *_, **__: Plan((), None, None, (2020, 2021)))
    lines: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance:
        run_chain(dg.Definitions(), instance, DataRoot(tmp_path), years=years, say=lines.append)
    assert lines == [said]
