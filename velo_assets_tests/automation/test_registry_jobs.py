"""Promotion and rollback as Dagster jobs, on a real MLflow store; and `velo promote` from two processes at once."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from velo_assets.assets.serving import MADE_BY_CHAMPION
from velo_assets.cli import app
from velo_assets.definitions import defs
from velo_assets.modelling.registry import ModelRegistry
from velo_assets.resources.models import CHAMPION_NAME, registry_of
from velo_assets.settings import DataRoot
from velo_assets.warehouse.builds import WHOLE, record_build, stored_fingerprints
from velo_assets.warehouse.connection import Warehouse
from velo_assets_tests.conftest import silent_instance
from velo_assets_tests.modelling.test_registry import FILES, METADATA, decision


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    monkeypatch.setenv("VELO_DATA", str(tmp_path))
    return registry_of(DataRoot(tmp_path))


def judged(version: int, reference: str = "market_beta", promoted: bool = True) -> Any:
    return replace(decision(version, reference, promoted), challenger=f"{CHAMPION_NAME} {version}")


def run(job: str, config: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with silent_instance() as instance:
        return defs.resolve_job_def(job).execute_in_process(
            run_config={**quiet, **(config or {})}, instance=instance, raise_on_error=False
        )


def promote(version: int) -> dg.ExecuteInProcessResult:
    return run("promote", {"ops": {"promote_version": {"config": {"version": version}}}})


def reason(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.error is not None
    error = failure.step_failure_data.error
    return (error.cause or error).message


def test_jobs_promote_refuse_and_roll_back(registry: ModelRegistry) -> None:
    for _ in range(3):
        registry.register(CHAMPION_NAME, FILES, METADATA)
    registry.record_decision(CHAMPION_NAME, 1, judged(1))
    registry.record_decision(CHAMPION_NAME, 2, judged(2, reference=f"{CHAMPION_NAME} 1"))
    registry.record_decision(CHAMPION_NAME, 3, judged(3, promoted=False))
    assert promote(1).output_for_node("promote_version") == 1
    assert promote(2).output_for_node("promote_version") == 2
    refused = promote(3)
    assert not refused.success
    assert "refused: luck" in reason(refused)
    assert [model.status for model in registry.list(CHAMPION_NAME)] == ["archived", "champion", "challenger"]
    assert run("rollback").output_for_node("roll_back_champion") == 1
    nowhere = run("rollback")
    assert not nowhere.success
    assert "first champion" in reason(nowhere)
    champion = registry.champion(CHAMPION_NAME)
    assert champion is not None
    assert champion.version == 1
    assert run("retire").output_for_node("retire_champion") == 1
    assert registry.champion(CHAMPION_NAME) is None


def test_what_the_version_before_made_is_out_of_date_after_a_change(registry: ModelRegistry, tmp_path: Path) -> None:
    kept = ("serving/recipe", "backtest/bets")
    warehouse = Warehouse(DataRoot(tmp_path).warehouse)

    def on_record() -> set[str]:
        with warehouse.connect("test") as connection:
            return {name for name, _ in stored_fingerprints(connection)}

    def build_all() -> None:
        with warehouse.connect("test") as connection:
            for name in (*kept, *MADE_BY_CHAMPION):
                record_build(connection, name, {WHOLE: "as of now"})

    for version in (1, 2):
        registry.register(CHAMPION_NAME, FILES, METADATA)
        reference = "market_beta" if version == 1 else f"{CHAMPION_NAME} 1"
        registry.record_decision(CHAMPION_NAME, version, judged(version, reference))
    assert promote(1).success
    assert not warehouse.path.exists()
    build_all()
    assert not promote(3).success
    assert on_record() == {*kept, *MADE_BY_CHAMPION}
    for step in (["promote", "2"], ["rollback"]):
        build_all()
        said = CliRunner().invoke(app, step)
        assert said.exit_code == 0, said.output
        assert "`velo run` prices its cards" in said.output
        assert on_record() == set(kept)


def test_two_promotions_from_the_command_line_at_once(registry: ModelRegistry, tmp_path: Path) -> None:
    for version in (1, 2):
        registry.register(CHAMPION_NAME, FILES, METADATA)
        registry.record_decision(CHAMPION_NAME, version, judged(version))
    environment = {**os.environ, "VELO_DATA": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "velo_assets.cli", "promote", version],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for version in ("1", "2")
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    codes = [process.returncode for process in processes]
    # Both were judged against the market; whoever comes second is told that there is a champion now.
    assert sorted(codes) == [0, 1], said
    first = codes.index(0) + 1
    assert f"{CHAMPION_NAME} {first} is champion." in said[first - 1]
    assert "`velo train`" in said[2 - first]
    statuses = {model.version: model.status for model in registry.list(CHAMPION_NAME)}
    assert statuses[first] == "champion"
    assert json.dumps(sorted(statuses.values())) in ('["archived", "champion"]', '["challenger", "champion"]')
