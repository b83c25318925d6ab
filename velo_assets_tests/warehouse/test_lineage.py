"""Every feature column leads back to core columns, and from there to the columns of the files."""

import time

import pytest

from velo_assets.warehouse.dataflow.queries import follow
from velo_assets.warehouse.lineage import availability, column_lineage, trace
from velo_assets.warehouse.sql_table import SqlTableError, all_tables


def sources(sql: str, column: str) -> set[str]:
    return {f"{table}.{name}" for table, name in follow(sql).columns[column].sources}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("e.stall + e.weight_lb", {"core/entries.stall", "core/entries.weight_lb"}),
        ("sum(r.won) over (partition by e.sire order by e.race_date)", {"core/results.won"}),
        ("count(*) over (partition by e.sire)", {"core/entries.sire"}),
        ("case when e.stall = 1 then r.won end", {"core/entries.stall", "core/results.won"}),
        (
            "(select max(p.top_speed) from core.results as p where p.horse_key = e.horse_key)",
            {"core/results.top_speed"},
        ),
        ("list_transform([e.stall], x -> x + e.age_years)", {"core/entries.stall", "core/entries.age_years"}),
        ("1", set()),
    ],
)
def test_sources_of_an_expression(expression: str, expected: set[str]) -> None:
    rows = "core.entries as e left join core.results as r using (runner_key)"
    sql = f"select e.race_date, {expression} as value from {rows}"
    assert sources(sql, "value") == expected


def test_sources_pass_through_ctes_stars_unions_and_renames() -> None:
    sql = """
        with a as (select race_date, won as one, position from core.results),
        b as (select * exclude (position) from a union all select race_date, stall from core.entries),
        c(day, two) as (select race_date, one from b)
        select day as race_date, two + 1 as three from c"""
    assert sources(sql, "three") == {"core/results.won", "core/entries.stall"}


def test_every_feature_column_has_a_source_and_it_is_quick() -> None:
    started = time.perf_counter()
    tables = [table for table in all_tables() if table.schema == "features"]
    assert tables
    for table in tables:
        lineage = column_lineage(table.name)
        assert list(lineage) == [column.name for column in table.columns], table.name
        assert all(lineage.values()), table.name
        for upstream, _ in {pair for pairs in lineage.values() for pair in pairs}:
            assert upstream in table.dependencies, table.name
    assert time.perf_counter() - started < 10


def test_a_feature_is_followed_to_its_raceform_column() -> None:
    tree = trace("features/form_curves", "rpr_last")
    assert ("core/results", "racing_post_rating") in {(node.table, node.column) for node in tree.inputs}
    assert ("landing/raceform", "rpr") in tree.leaves()
    assert tree.text().splitlines()[0] == "features.form_curves.rpr_last"
    assert "    landing.raceform.rpr" in tree.text().splitlines()


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(SqlTableError, match="no column 'nonsense'"):
        trace("features/form_curves", "nonsense")


def test_a_feature_inherits_the_latest_of_its_same_race_inputs() -> None:
    moments = availability("features/weight_rating")
    assert moments["body_weight_lb"].known.word == "morning"
    assert moments["body_weight_lb"].because == ("core.entries.body_weight_lb",)
    # The rating after the last race is a result, but of an earlier day.
    assert availability("features/form_curves")["rpr_last"].known.word == "declaration"
