"""What Dagster forgets, in a real instance on SQLite files."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from velo_assets.automation.retention import KEEP_RUNS_DAYS, forget_old_runs, old_runs
from velo_assets.partitions import YEARLY, range_tags

RACES = dg.AssetKey(["core", "races"])
DECISION = dg.AssetKey(["monitoring", "retrain_decision"])
SOUND = dg.AssetCheckKey(RACES, "sound")


@dg.asset(key=RACES, partitions_def=YEARLY, backfill_policy=dg.BackfillPolicy.single_run())
def races() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult()


@dg.asset_check(asset=RACES)
def sound() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset(key=DECISION)
def decision() -> None: ...


built = dg.Definitions(
    assets=[races, decision], asset_checks=[sound], jobs=[dg.define_asset_job("nightly", selection="*")]
)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as opened:
        yield opened


def night(instance: dg.DagsterInstance, first_year: int, last_year: int, *assets: dg.AssetKey) -> str:
    result = built.resolve_job_def("nightly").execute_in_process(
        instance=instance, tags=range_tags(first_year, last_year), asset_selection=assets or None
    )
    assert result.success
    return result.run_id


def test_old_runs_go_and_the_newest_materialization_of_every_partition_stays(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    whole, second, decided, last = (
        night(instance, 2019, 2021),
        night(instance, 2021, 2021),
        night(instance, 2021, 2021, DECISION),
        night(instance, 2021, 2021, RACES),
    )
    now = datetime.now(UTC)
    assert forget_old_runs(instance, now + timedelta(days=KEEP_RUNS_DAYS - 1)) == []
    # Years 2019 and 2020 are in the first run alone; the second was repeated in parts by the third and the fourth.
    assert forget_old_runs(instance, now + timedelta(days=KEEP_RUNS_DAYS + 1)) == [second]
    assert {run.run_id for run in instance.get_runs()} == {whole, decided, last}
    assert instance.get_materialized_partitions(RACES) == {"2019", "2020", "2021"}
    newest = {key: instance.fetch_materializations(key, limit=1).records[0].run_id for key in (RACES, DECISION)}
    assert newest == {RACES: last, DECISION: decided}
    checks = instance.event_log_storage.get_asset_check_execution_history(SOUND, limit=9)
    assert {check.run_id for check in checks} == {last, whole}
    assert not list(tmp_path.rglob(f"*{second}*"))
    assert list(tmp_path.rglob(f"*{whole}.db"))


def test_the_sensor_looks_by_todays_date_and_the_setting_rules(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        night(instance, 2021, 2021)
    late = datetime.now(UTC) + timedelta(days=20)
    assert old_runs(dg.build_sensor_context(instance=instance)).skip_message == "0 old runs forgotten."
    monkeypatch.setenv("VELO_KEEP_RUNS_DAYS", "0")
    assert forget_old_runs(instance, late) == []
    monkeypatch.setenv("VELO_KEEP_RUNS_DAYS", "14")
    assert len(forget_old_runs(instance, late)) == 1
    monkeypatch.setenv("VELO_KEEP_RUNS_DAYS", "two weeks")
    with pytest.raises(ValueError, match="VELO_KEEP_RUNS_DAYS wants a number of days"):
        forget_old_runs(instance, late)
