"""The documentation is true: commands exist, links lead somewhere, the page on adding a feature works as written."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from velo_assets.cli import app
from velo_assets.settings import DataRoot
from velo_assets.simulation.cards import write_racecards
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


def documented(*programs: str) -> set[str]:
    """Commands of the docs that start with one of these words, placeholders and all."""
    found: set[str] = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        spans = re.findall(r"`([^`\n]+)`", text)
        fences = [
            line.split("#")[0]
            for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S)
            for line in block.splitlines()
        ]
        for span in (*spans, *fences):
            command = re.sub(r"^(VELO_DATA=\S+|nice) ", "", span.strip())
            if command.split(" ")[0] in programs and " " in command:
                found.add(command)
    return found


VELO_COMMANDS: tuple[tuple[str, str, int, str], ...] = (
    # as documented, as run here, exit code, words of the answer
    (
        "velo simulate --out DIR --first-year 2016 --last-year 2025 --races-per-year 21000 --seed 7",
        "simulate --out {scratch}/world --first-year 2016 --last-year 2025 --races-per-year 60 --seed 7",
        0,
        "Wrote",
    ),
    ("velo lint", "lint", 0, "0 leaks found"),
    ("velo lineage features/form_curves form_ewma", "lineage features/form_curves form_ewma", 0, "raceform.pos"),
    ("velo lineage TABLE COLUMN", "lineage features.race_shape nothing", 1, "has no column 'nothing'"),
    ("velo land", "land", 0, "Landed: 3 new"),
    ("velo run --to features", "run --to features", 0, "features"),
    ("velo run --to features --years", "run --to features --years 2023", 0, "features"),
    ("velo leaks", "leaks --table features/form_curves", 0, "T8 parity: passed"),
    ("velo leaks --days 2", "leaks --days 2 --table features/trouble", 0, "T6 tripwire: passed"),
    ("velo run", "run", 0, "assets materialized"),
    ("velo run --years 2019..2021", "run --years 2022..2023", 0, "for 2022 to 2023"),
    ("velo nightly", "nightly", 0, "assets materialized"),
    ("velo train", "train", 0, "Challenger"),
    # What asks the registry is out of date now; without this the doctor below would say so.
    ("velo run", "run", 0, "assets materialized"),
    ("velo predict 2026-01-01", "predict 2024-01-01", 0, "races priced"),
    ("velo predict", "predict 2024-01-01", 0, "0 new predictions"),
    ("velo explain 2026-01-01 HORSE", 'explain 2024-01-01 "{horse}"', 0, "the race's mean"),
    ("velo status", "status", 0, "Landed"),
    ("velo promote 3", "promote 1", 1, "stays out"),
    ("velo rollback", "rollback", 1, "champion"),
    ("velo retire", "retire", 1, "nobody to retire"),
    ("velo compare RUN_A RUN_B", "compare {run} {run}", 0, "R2, paired by race"),
    ("velo snapshot", "snapshot", 0, "snapshots"),
    ("velo backup DIR", "backup {scratch}/backups", 0, "velo-"),
    ("velo land --forget raceform/FILE", "land --forget raceform/simulated_2021.csv", 0, "Years touched: 2021"),
    ("velo restore DIR/velo-...", "restore {backup}", 0, "restored warehouse.duckdb"),
    ("velo doctor", "doctor", 0, "ok   landed files"),
    ("velo analyze", "analyze", 0, "data_quality.html"),
    ("velo clean", "clean", 0, "removed"),
)


def test_every_velo_command_of_the_docs_is_one_that_docs_check_runs() -> None:
    assert documented("velo") <= {command for command, *_ in VELO_COMMANDS}


@pytest.mark.docs_check
@pytest.mark.timeout(1200)
def test_every_velo_command_of_the_docs_runs(
    built_world: BuiltWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = DataRoot(tmp_path / "data")
    shutil.copytree(built_world.root.raceform, root.raceform)
    monkeypatch.setenv("VELO_DATA", str(root.path))
    monkeypatch.setenv("DAGSTER_HOME", os.environ.get("DAGSTER_HOME", str(ROOT)))
    runner = CliRunner()
    wrong: list[str] = []
    horse = ""
    for documented_as, command, code, words in VELO_COMMANDS:
        if command == "nightly":
            horse = _hand_in_card(root, date(2024, 1, 1))
        runs = sorted(path.name for path in (root.reports / "runs").glob("*-*")) if "{run}" in command else [""]
        backups = sorted((tmp_path / "backups").glob("velo-*")) if "{backup}" in command else [Path()]
        arguments = shlex.split(command.format(scratch=tmp_path, run=runs[-1], backup=backups[-1], horse=horse))
        result = runner.invoke(app, arguments)
        if result.exit_code != code or words not in result.output:
            wrong.append(f"{documented_as}: exit code {result.exit_code}, {result.output}")
    # All of them at once: a run costs minutes.
    assert not wrong, "\n".join(wrong)


def _hand_in_card(root: DataRoot, day: date) -> str:
    """The last day's card, as that of a day to come; the name of one of its horses."""
    last = max(root.raceform.glob("*.csv"))
    rows = pl.read_csv(last, infer_schema=False)
    newest = rows.filter(pl.col("date") == pl.col("date").max())
    write_racecards(newest.with_columns(date=pl.lit(day.isoformat())), day=day, out=root.racecards)
    return str(newest["horse"][0])


@pytest.mark.parametrize("command", sorted(documented("make")))
def test_every_make_target_of_the_docs_is_made_of_commands_that_exist(command: str) -> None:
    shown = subprocess.run(
        ["make", "-n", *command.split(" ")[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"bin/velo ([a-z]+)", shown.stdout)) <= commands


@pytest.mark.docs_check
@pytest.mark.parametrize("command", sorted(documented("python", "pytest")))
def test_every_study_of_the_docs_takes_the_arguments_it_is_shown_with(command: str) -> None:
    words = [word.strip("[]") for word in command.split(" ")]
    if words[0] == "pytest":
        assert all((ROOT / word).exists() for word in words[1:])
        return
    program = words[1:3] if words[1] == "-m" else words[1:2]
    if program[-1] == "velo_assets.warehouse.mutations":
        return  # Takes no options; test_mutations runs what it runs.
    if program[-1] == "benchmarks.audit":
        assert (ROOT / "benchmarks" / "audit.py").exists()
        return  # Asks the network; `make lint` runs it.
    told = subprocess.run([sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    for word in words[1 + len(program) :]:
        if word.startswith("--"):
            assert word in told.stdout, f"{command}: {word}"


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
