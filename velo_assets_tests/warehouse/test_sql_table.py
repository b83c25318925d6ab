"""A SQL file says what its table is; a file that breaks the conventions is refused by file and line."""

from pathlib import Path

import pytest
import sqlglot
from sqlglot import expressions as exp

from velo_assets.warehouse import sql_table
from velo_assets.warehouse.sql_table import Column, SqlTableError, all_tables, load_table

GOOD = """\
-- grain: one row per runner
-- point in time: earlier days only,
--   strictly
-- look-back: 90 days
-- description: Form of the horse
with runs as (
    select runner_key, race_date -- not a column of the table
    from core.entries
)

select
    runs.race_date, -- day of the race
    runs.runner_key, -- runner
    count(*) over (order by runs.race_date) as run_count -- runs so far [runs]
from runs
left join core.results using (runner_key)
"""


@pytest.fixture
def sql_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sql_table, "SQL_ROOT", tmp_path)
    (tmp_path / "features").mkdir()
    load_table.cache_clear()
    yield tmp_path
    load_table.cache_clear()


def test_reads_header_columns_and_dependencies(sql_root: Path) -> None:
    (sql_root / "features" / "form.sql").write_text(GOOD)
    table = load_table("features/form")
    assert table.header["point in time"] == "earlier days only, strictly"
    assert table.columns == (
        Column("race_date", "day of the race", ""),
        Column("runner_key", "runner", ""),
        Column("run_count", "runs so far", "runs"),
    )
    assert table.dependencies == ("core/entries", "core/results")
    assert table.relation == "features.form"


def test_a_select_can_stand_inside_another_statement(sql_root: Path) -> None:
    (sql_root / "features" / "form.sql").write_text(f"{GOOD.rstrip()};\n\n")
    assert load_table("features/form").select == GOOD.rstrip()


def test_a_reworded_comment_keeps_the_code_version(sql_root: Path) -> None:
    path = sql_root / "features" / "form.sql"
    path.write_text(GOOD)
    before = load_table("features/form").code_version
    load_table.cache_clear()
    path.write_text(GOOD.replace("runs so far", "number of runs so far"))
    assert load_table("features/form").code_version == before
    load_table.cache_clear()
    path.write_text(GOOD.replace("count(*)", "sum(1)"))
    assert load_table("features/form").code_version != before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (("-- grain: one row per runner\n", ""), "lacks grain"),
        (("-- runner\n", "--\n"), r"form.sql:13: expected `column, -- description"),
        (("\nselect\n    runs.race_date", "\n  select\n    runs.race_date"), "no final select"),
    ],
)
def test_a_file_that_breaks_the_conventions_is_refused(sql_root: Path, damage: tuple[str, str], message: str) -> None:
    (sql_root / "features" / "form.sql").write_text(GOOD.replace(*damage))
    with pytest.raises(SqlTableError, match=message):
        load_table("features/form")


def test_an_unknown_table_is_a_clear_error() -> None:
    with pytest.raises(SqlTableError, match="no SQL file for 'features/nothing'"):
        load_table("features/nothing")


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.name)
def test_what_is_scanned_agrees_with_the_parsed_sql(table: sql_table.SqlTable) -> None:
    tree = sqlglot.parse_one(table.text, dialect="duckdb")
    assert [column.name for column in table.columns] == tree.named_selects
    assert table.dependencies == tuple(sorted({f"{t.db}/{t.name}" for t in tree.find_all(exp.Table) if t.db}))
