"""Every planted leak is caught, and its catcher named."""

import re

import duckdb
import pytest

from velo_assets.warehouse.mutations import (
    SQL_MUTATIONS,
    Caught,
    MutationError,
    SqlMutation,
    catch,
    column,
    main,
    model_mutations,
    replaced,
    report_text,
)
from velo_assets.warehouse.recompute import sample_dates

DYNAMIC = {
    "same-row Racing Post Rating",
    "same-row finishing time",
    "prize money of the same race",
    "starting price of the same race",
    "strike rate as at the last date of the data",
    "ROWS frame over a trainer's runs",
    "same-day window",
    "running totals with the race day's own (<= for <)",
    "lead() for lag()",
    "entries of later days counted",
    "the race's own result by a pattern of column names",
    "strike rate up to the end of the year (a year on, a day back)",
    "ROWS frame over days that unnest has doubled",
    "a par of the race's own day",
    "a draw's slope up to the end of the day",
    "what was known before a later ride",
}
"""Planted on the small warehouse too, where the recomputation has to see them without the lint."""


@pytest.mark.parametrize("mutation", SQL_MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_lint_catches_every_leak_in_sql(mutation: SqlMutation) -> None:
    caught = catch(mutation, None, ())
    assert caught.by, mutation.name
    assert all(by.startswith("lint ") for by in caught.by)
    assert re.match(r"\w+\.sql:\d+: ", caught.example)


@pytest.mark.parametrize(
    "mutation", [m for m in SQL_MUTATIONS if m.name in DYNAMIC], ids=lambda mutation: mutation.name
)
def test_recomputation_catches_it_as_well(mutation: SqlMutation, small_warehouse: duckdb.DuckDBPyConnection) -> None:
    caught = catch(mutation, small_warehouse, sample_dates(small_warehouse, 3)[1:2])
    assert any(by.startswith("T") for by in caught.by), caught


@pytest.mark.parametrize("planted", model_mutations(), ids=lambda planted: planted.name)
def test_every_leak_in_the_models_is_caught(planted: object) -> None:
    assert planted.run() is not None


def test_there_are_enough_leaks_and_no_two_alike() -> None:
    names = [mutation.name for mutation in (*SQL_MUTATIONS, *model_mutations())]
    assert len(names) >= 20
    assert len(set(names)) == len(names)
    assert {mutation.name for mutation in SQL_MUTATIONS} >= DYNAMIC


def test_a_plant_that_no_longer_fits_says_so() -> None:
    with pytest.raises(MutationError, match="is not in the text"):
        replaced("a b", "c")("select 1")
    with pytest.raises(MutationError, match="no final select with a column x"):
        column("x", "1")("with a as (select 1)\nselect\n    y -- why\nfrom a")
    unchanged = SqlMutation("nothing", "features/trouble", lambda text: text)
    with pytest.raises(MutationError, match="changes nothing"):
        unchanged.text()


def test_the_report_counts_what_got_through(capsys: pytest.CaptureFixture[str]) -> None:
    text = report_text([Caught("one", "a", ("lint same-race",), ""), Caught("two", "b", (), "")])
    assert "| two | b | NOBODY |" in text
    assert text.endswith("2 leaks planted, 1 caught, 1 got through.")
    assert main([]) == 0
    assert "0 got through." in capsys.readouterr().out
