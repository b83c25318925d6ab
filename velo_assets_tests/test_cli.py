"""The `velo` command: exit codes and words a person can act on."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from velo_assets.cli import app
from velo_assets.ingestion.landing import land
from velo_assets.settings import DataRoot, SimulatedDefault
from velo_assets.warehouse.build import build_table
from velo_assets.warehouse.connection import Warehouse
from velo_assets_tests.ingestion.raceform_rows import csv_text, row

runner = CliRunner()

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data with ünïcode"
    root.mkdir()
    monkeypatch.setenv("VELO_DATA", str(root))
    return root


def simulate_a_season(root: Path) -> None:
    season = ["--first-year", "2022", "--last-year", "2022", "--races-per-year", "100"]
    simulated = runner.invoke(app, ["simulate", "--out", str(root), *season])
    assert simulated.exit_code == 0, simulated.output


def test_a_missing_data_root_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VELO_DATA", str(tmp_path / "nowhere"))
    for command in ("run", "land", "status", "clean"):
        result = runner.invoke(app, [command])
        assert result.exit_code == 2
        assert "nowhere" in result.output


@pytest.mark.parametrize("years", ["2021..2019", "21", "2019-2021", "last year"])
def test_years_that_make_no_sense_are_refused(data_root: Path, years: str) -> None:
    (data_root / "raceform").mkdir()
    (data_root / "raceform" / "real.csv").write_text("x")
    result = runner.invoke(app, ["run", "--years", years])
    assert result.exit_code == 2
    assert "2019..2021" in result.output


def test_simulated_and_real_results_never_mix(data_root: Path) -> None:
    simulate_a_season(data_root)
    (data_root / "raceform" / "real.csv").write_text("date,course\n")
    result = runner.invoke(app, ["run"])
    assert result.exit_code == 1
    assert "simulated" in result.output.lower()


def test_no_version_is_trained_on_a_backtest_that_is_behind(data_root: Path) -> None:
    simulate_a_season(data_root)
    assert runner.invoke(app, ["land"]).exit_code == 0
    result = runner.invoke(app, ["train"])
    assert result.exit_code == 1
    assert "`velo run` first" in result.output


def test_nothing_is_simulated_where_real_results_have_landed(data_root: Path) -> None:
    (data_root / "raceform").mkdir()
    source = data_root / "raceform" / "real.csv"
    source.write_text(csv_text([row()]))
    assert runner.invoke(app, ["land"]).exit_code == 0
    source.unlink()
    # The disk behind raceform/ is not mounted, say.
    gone_on = runner.invoke(app, ["run", "--to", "landing"])
    assert gone_on.exit_code == 0, gone_on.output
    assert "going on with the real ones" in gone_on.output
    by_hand = runner.invoke(app, ["simulate", "--out", str(data_root)])
    assert by_hand.exit_code == 1
    assert "not simulated" in by_hand.output
    assert not list((data_root / "raceform").iterdir())


def test_a_simulation_that_was_stopped_is_not_built_on(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    season = ["simulate", "--out", str(data_root), "--races-per-year", "50", "--seed", "1"]
    with monkeypatch.context() as stopping:
        stopping.setattr("velo_assets.simulation.world._Tally.add", stopped)
        runner.invoke(app, [*season, "--first-year", "2024", "--last-year", "2025"])
    assert [path.name for path in (data_root / "raceform").glob("*.csv")] == ["simulated_2024.csv"]
    refused = runner.invoke(app, ["run"])
    assert refused.exit_code == 1
    assert "stopped before its last season" in refused.output
    # The default world is written again by the same command.
    default = SimulatedDefault(first_year=2024, last_year=2025, races_per_year=50, seed=1)
    with monkeypatch.context() as small:
        small.setattr("velo_assets.cli.SimulatedDefault", lambda: default)
        again = runner.invoke(app, ["run", "--to", "landing"])
    assert again.exit_code == 0, again.output
    assert "writing it again" in again.output
    assert len(list((data_root / "raceform").glob("*.csv"))) == 2


def test_a_simulated_world_whose_files_are_gone_can_be_cleaned(data_root: Path) -> None:
    simulate_a_season(data_root)
    assert runner.invoke(app, ["land"]).exit_code == 0
    for path in (data_root / "raceform").iterdir():
        path.unlink()
    (data_root / "raceform" / "real.csv").write_text(csv_text([row()]))
    refused = runner.invoke(app, ["land"])
    assert refused.exit_code == 1
    assert "velo clean" in refused.output
    assert runner.invoke(app, ["clean"]).exit_code == 0
    assert runner.invoke(app, ["land"]).exit_code == 0
    assert "(real results)" in runner.invoke(app, ["status"]).output


def test_clean_removes_what_was_simulated_and_keeps_inputs(data_root: Path) -> None:
    simulate_a_season(data_root)
    card = data_root / "racecards" / "card.json"
    card.parent.mkdir()
    card.write_text("{}")
    assert runner.invoke(app, ["clean"]).exit_code == 0
    assert card.exists()
    assert not list((data_root / "raceform").glob("*.csv"))
    assert not (data_root / "truth").exists()


def test_files_that_can_not_be_used_are_refused_and_named(data_root: Path) -> None:
    raceform = data_root / "raceform"
    raceform.mkdir()
    (raceform / "empty.csv").write_text("")
    (raceform / "other.csv").write_text("horse;price\nArkle;2/1\n")
    result = runner.invoke(app, ["land"])
    assert result.exit_code == 0
    assert "empty.csv" in result.output
    assert "other.csv" in result.output


def test_make_takes_a_blank_in_the_data_root_for_what_it_is(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "--silent", "--eval", 'show: ; @echo "$$VELO_DATA|$$VELO_DAGSTER_STORAGE"', "show"],
        cwd=PROJECT,
        env={**os.environ, "VELO_DATA": str(tmp_path / "gone" / ".." / "my data")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{tmp_path}/my data|{tmp_path}/my data/dagster\n"


def test_status_of_an_empty_root(data_root: Path) -> None:
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 0
    assert "none yet" in result.output


def test_the_doctor_advises_where_nothing_is_wrong_too(data_root: Path) -> None:
    result = runner.invoke(app, ["doctor"])
    assert "warehouse: none yet\n     `velo run` builds it.\n" in result.output


def test_status_where_nothing_has_landed(data_root: Path) -> None:
    with Warehouse(data_root / "warehouse.duckdb").connect("test") as connection:
        land(DataRoot(data_root), connection)
        build_table(connection, "core/races", date(2015, 1, 1), date(2015, 12, 31))
        build_table(connection, "core/results", date(2015, 1, 1), date(2015, 12, 31))
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 0, result.exception
    assert "Landed      0 files (empty results), 0 rows, 0 rejected, 0 files refused\n" in result.output
    assert "Results     none\n" in result.output


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("analyze", 1, "run `velo run` first"),
        ("leaks", 1, "run `velo run` first"),
        ("predict 2024-01-01", 1, "no model registry"),
        ("predict yesterday", 2, "such as 2026-01-01, got 'yesterday'"),
        ("run --to nowhere", 2, "no layer 'nowhere'"),
        ("rollback", 1, "no champion"),
        ("compare a b", 1, "no stored run 'a'"),
        ("lineage ../../secret", 1, "named like features/form_curves"),
        ("simulate --out . --first-year 1800 --last-year 1801", 1, "first_year is 1800"),
    ],
)
def test_what_can_not_be_done_is_said_in_a_line(data_root: Path, command: str, code: int, words: str) -> None:
    result = runner.invoke(app, command.split(" "))
    assert result.exit_code == code
    assert words in result.output
    assert "Traceback" not in result.output
    assert not list(data_root.glob("raceform/*"))


def test_a_warehouse_without_tables_and_a_broken_one_are_told_apart(data_root: Path) -> None:
    assert runner.invoke(app, ["snapshot"]).exit_code == 1
    with Warehouse(data_root / "warehouse.duckdb").connect("test"):
        pass
    unbuilt = runner.invoke(app, ["analyze"])
    assert unbuilt.exit_code == 1
    assert "`velo run` builds it" in unbuilt.output
    (data_root / "warehouse.duckdb").write_text("garbage")
    broken = runner.invoke(app, ["analyze"])
    assert broken.exit_code == 1
    assert "not a valid DuckDB database file! `velo doctor` looks into it." in broken.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--help"], 0, "price the card of a day"),
        (["predict", "yesterday"], 2, "such as 2026-01-01"),
        (["predict", "2024-01-01"], 1, "no model registry"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_the_process_ends_with_the_exit_code_of_the_command(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    environment = os.environ | {"VELO_DATA": str(tmp_path), "COLUMNS": "200"}
    command = [sys.executable, "-m", "velo_assets.cli", *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert words in ended.stdout + ended.stderr
