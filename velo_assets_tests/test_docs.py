"""The documentation is true: commands exist, links lead somewhere, the page on adding a feature works as written."""

import re
from datetime import date
from pathlib import Path

import pytest
import typer

from velo_assets.cli import app
from velo_assets.warehouse import sql_table
from velo_assets.warehouse.build import build_table
from velo_assets.warehouse.lint import lint_sql
from velo_assets_tests.conftest import BuiltWorld

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_velo_commands_and_make_targets_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"`velo ([a-z]+)", text)) <= commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    assert set(re.findall(r"`(?:VELO_DATA=\S+ )?make ([a-z-]+)", text)) <= targets


def test_the_page_on_adding_a_feature_works(
    built_world: BuiltWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "add_a_feature.md").read_text(encoding="utf-8")
    (sql,) = re.findall(r"```sql\n(.*?)```", page, flags=re.S)
    assert lint_sql(sql, "fresh_legs.sql") == []
    monkeypatch.setattr(sql_table, "SQL_ROOT", tmp_path)
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "fresh_legs.sql").write_text(sql, encoding="utf-8")
    sql_table.load_table.cache_clear()
    try:
        with built_world.warehouse.connect("test") as connection:
            built = build_table(connection, "features/fresh_legs", date(2023, 1, 1), date(2023, 12, 31))
            entries = connection.execute("select count(*) from core.entries where year(race_date) = 2023").fetchall()
            most = connection.execute("select max(recent_runs) from features.fresh_legs").fetchall()
            connection.execute("drop table features.fresh_legs")
    finally:
        sql_table.load_table.cache_clear()
    assert built.rows == entries[0][0]
    assert most[0][0] >= 1
