"""Sensors and the nightly schedule, in Dagster's own contexts."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from velo_assets.automation import sensors
from velo_assets.automation.instance import PROCESS_TAG, process_tag
from velo_assets.automation.runner import report_forgotten
from velo_assets.automation.schedules import nightly_schedule
from velo_assets.definitions import defs
from velo_assets.ingestion.landing import LandingSummary
from velo_assets.partitions import range_tags
from velo_assets.resources.data import DataRootResource

RESULTS = dg.AssetKey(["landing", "raceform"])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def look(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, root: Path | None = None, cursor: str | None = None
) -> SensorExecutionData:
    context = dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        repository_def=defs.get_repository_def(),
        resources={"data_root": DataRootResource(path=str(root or "."))},
    )
    return sensor.evaluate_tick(context)


def drop(path: Path, text: str = "x", age_seconds: float = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    stamp = time.time() - age_seconds
    os.utime(path, (stamp, stamp))


def report(instance: dg.DagsterInstance, key: dg.AssetKey, tags: dict[str, str], **metadata: object) -> None:
    """An asset materialized by a real, tiny run."""

    @dg.asset(key=key)
    def landed() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata=metadata)

    assert dg.materialize([landed], instance=instance, tags=tags).success


def test_a_new_file_asks_for_one_landing(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    assert look(sensors.new_files, instance, tmp_path).skip_message == "No new files."
    drop(tmp_path / "raceform" / "day.csv")
    first = look(sensors.new_files, instance, tmp_path)
    assert len(first.run_requests) == 1
    assert look(sensors.new_files, instance, tmp_path, first.cursor).skip_message == "No new files."
    drop(tmp_path / "raceform" / "day.csv", "changed")
    assert (
        look(sensors.new_files, instance, tmp_path, first.cursor).run_requests[0].run_key
        != first.run_requests[0].run_key
    )


def test_a_file_still_being_copied_waits(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    drop(tmp_path / "racecards" / "tomorrow.json", age_seconds=0)
    assert look(sensors.new_files, instance, tmp_path).skip_message == "No new files."


def test_landed_years_are_refreshed_once(instance: dg.DagsterInstance) -> None:
    report(instance, RESULTS, {}, years_touched=[2021, 2023])
    first = look(sensors.landed_years, instance)
    tags = first.run_requests[0].tags
    assert (tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]) == ("2021", "2023")
    assert look(sensors.landed_years, instance, cursor=first.cursor).run_requests == []
    report_forgotten(instance, "raceform/2019.csv", LandingSummary((), (2019,), 2024))
    forgotten = look(sensors.landed_years, instance, cursor=first.cursor)
    assert forgotten.run_requests[0].tags.items() >= range_tags(2019, 2024).items()


def test_what_velo_run_landed_it_refreshes_itself(instance: dg.DagsterInstance) -> None:
    report(instance, RESULTS, process_tag(), years_touched=[2023])
    assert look(sensors.landed_years, instance).run_requests == []


def test_a_decision_to_retrain_starts_training_once(instance: dg.DagsterInstance) -> None:
    key = dg.AssetKey(["monitoring", "retrain_decision"])
    assert look(sensors.retrain_when_asked, instance).skip_message == "No new decision."
    report(instance, key, {}, retrain=False, year=2023)
    kept = look(sensors.retrain_when_asked, instance)
    assert kept.skip_message == "The decision was to keep the champion."
    report(instance, key, {}, retrain=True, year=2023)
    asked = look(sensors.retrain_when_asked, instance, cursor=kept.cursor)
    assert asked.run_requests[0].tags["dagster/asset_partition_range_start"] == "2023"
    assert look(sensors.retrain_when_asked, instance, cursor=asked.cursor).run_requests == []


@pytest.mark.parametrize(
    ("tick", "years"),
    [
        # 02:00 in London is 01:00 UTC in summer.
        (datetime(2026, 7, 1, 1, 0, tzinfo=UTC), ("2026", "2026")),
        # On New Year's Day yesterday's results belong to the old year, today's cards to the new one.
        (datetime(2026, 1, 1, 2, 0, tzinfo=UTC), ("2025", "2026")),
    ],
)
def test_the_nightly_covers_yesterday_and_today(tick: datetime, years: tuple[str, str]) -> None:
    context = dg.build_schedule_context(scheduled_execution_time=tick, repository_def=defs.get_repository_def())
    (request,) = nightly_schedule.evaluate_tick(context).run_requests
    assert request.tags["dagster/asset_partition_range_start"] == years[0]
    assert request.tags["dagster/asset_partition_range_end"] == years[1]


def test_the_night_the_clocks_go_back_has_one_nightly_run() -> None:
    keys = set()
    for hour in (1, 2):
        tick = datetime(2026, 10, 25, hour, 0, tzinfo=UTC)
        context = dg.build_schedule_context(scheduled_execution_time=tick, repository_def=defs.get_repository_def())
        keys.add(nightly_schedule.evaluate_tick(context).run_requests[0].run_key)
    assert len(keys) == 1


def test_process_tag_names_this_process() -> None:
    assert process_tag()[PROCESS_TAG].startswith(f"{os.getpid()}-")
