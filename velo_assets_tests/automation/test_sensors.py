"""Sensors and the nightly schedule, in Dagster's own contexts."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from velo_assets.assets.serving import DECIDED_AT_TAG, TRAIN_TAG
from velo_assets.automation import sensors
from velo_assets.automation.instance import PROCESS_TAG, process_tag
from velo_assets.automation.runner import report_forgotten, run_chain
from velo_assets.automation.schedules import nightly_schedule
from velo_assets.definitions import defs
from velo_assets.ingestion.landing import LandingSummary, input_files, land
from velo_assets.partitions import range_tags
from velo_assets.resources.data import DataRootResource
from velo_assets.settings import DataRoot
from velo_assets.warehouse.connection import Warehouse

RESULTS = dg.AssetKey(["landing", "raceform"])


def look(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, root: Path | None = None, cursor: str | None = None
) -> SensorExecutionData:
    context = dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        repository_def=defs.get_repository_def(),
        resources={"data_root": DataRootResource()},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VELO_DATA", str(root or "."))
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


def landed_as(key: str, instance: dg.DagsterInstance, *, fails: bool) -> None:
    """A landing run asked for under a key, as the daemon starts it."""

    @dg.asset
    def landing() -> None:
        assert not fails

    tags = {"dagster/run_key": key, "dagster/sensor_name": "new_files"}
    assert dg.materialize([landing], instance=instance, tags=tags, raise_on_error=False).success != fails


def test_a_landing_that_failed_is_tried_again_after_a_while_three_times_in_all(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(tmp_path / "raceform" / "day.csv")
    first = look(sensors.new_files, instance, tmp_path)
    keys = [first.run_requests[0].run_key]
    for _ in range(2):
        landed_as(keys[-1], instance, fails=True)
        assert look(sensors.new_files, instance, tmp_path, first.cursor).skip_message == "No new files."
        with monkeypatch.context() as later:
            later.setattr(sensors, "RETRY_SECONDS", 0)
            (request,) = look(sensors.new_files, instance, tmp_path, first.cursor).run_requests
        keys.append(request.run_key)
    assert len(set(keys)) == sensors.LANDING_ATTEMPTS
    landed_as(keys[-1], instance, fails=True)
    monkeypatch.setattr(sensors, "RETRY_SECONDS", 0)
    assert look(sensors.new_files, instance, tmp_path, first.cursor).skip_message == "No new files."
    drop(tmp_path / "raceform" / "day.csv", "changed")
    assert look(sensors.new_files, instance, tmp_path, first.cursor).run_requests[0].run_key not in keys


def test_a_landing_that_succeeded_at_last_is_not_tried_again(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "RETRY_SECONDS", 0)
    drop(tmp_path / "raceform" / "day.csv")
    first = look(sensors.new_files, instance, tmp_path)
    landed_as(first.run_requests[0].run_key, instance, fails=True)
    second = look(sensors.new_files, instance, tmp_path, first.cursor)
    landed_as(second.run_requests[0].run_key, instance, fails=False)
    assert look(sensors.new_files, instance, tmp_path, second.cursor).skip_message == "No new files."


def test_a_file_still_being_copied_waits(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    drop(tmp_path / "racecards" / "tomorrow.json", age_seconds=0)
    assert look(sensors.new_files, instance, tmp_path).skip_message == "No new files."


def test_what_landing_passes_over_asks_for_nothing(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    for name in ("README.md", "where from.md", "readme.txt", "SIMULATED.json", "half.csv.part", ".old/day.csv"):
        drop(tmp_path / "raceform" / name)
    assert list(input_files(DataRoot(tmp_path))) == []
    assert look(sensors.new_files, instance, tmp_path).skip_message == "No new files."
    drop(tmp_path / "raceform" / "README 2026.csv")
    assert [path.name for _, path in input_files(DataRoot(tmp_path))] == ["README 2026.csv"]
    assert len(look(sensors.new_files, instance, tmp_path).run_requests) == 1


def test_landed_years_are_refreshed_once(instance: dg.DagsterInstance) -> None:
    report(instance, RESULTS, {}, years_touched=[2021, 2023])
    first = look(sensors.landed_years, instance)
    tags = first.run_requests[0].tags
    assert (tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]) == ("2021", "2023")
    assert look(sensors.landed_years, instance, cursor=first.cursor).run_requests == []
    report_forgotten(instance, "raceform/2019.csv", LandingSummary((), (2019,), 2024))
    forgotten = look(sensors.landed_years, instance, cursor=first.cursor)
    assert forgotten.run_requests[0].tags.items() >= range_tags(2019, 2024).items()


@pytest.mark.parametrize(("to_layer", "asked"), [("serving", []), ("core", [("2023", "2023")])])
def test_what_velo_run_landed_it_refreshes_itself(
    tmp_path: Path, instance: dg.DagsterInstance, to_layer: str, asked: list[tuple[str, str]]
) -> None:
    @dg.asset(key=RESULTS)
    def landed() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"years_touched": [2023], "files_landed": 1, "rows_landed": 9})

    with Warehouse(DataRoot(tmp_path).warehouse).connect() as connection:
        land(DataRoot(tmp_path), connection)
    # There is nothing else to build here: all that the command does is to land.
    landing = dg.Definitions(assets=[landed], jobs=[dg.define_asset_job("land", [RESULTS])])
    run_chain(landing, instance, DataRoot(tmp_path), to_layer=to_layer, say=lambda _: None)
    requests = look(sensors.landed_years, instance).run_requests
    names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    assert [tuple(request.tags[name] for name in names) for request in requests] == asked


def test_what_velo_land_landed_is_refreshed(instance: dg.DagsterInstance) -> None:
    report(instance, RESULTS, process_tag(), years_touched=[2023])
    (request,) = look(sensors.landed_years, instance).run_requests
    assert request.tags.items() >= range_tags(2023, 2023).items()


def test_a_decision_to_retrain_starts_training_once(instance: dg.DagsterInstance) -> None:
    key = dg.AssetKey(["monitoring", "retrain_decision"])
    assert look(sensors.retrain_when_asked, instance).skip_message == "No new decision."
    report(instance, key, {}, retrain=False, year=2023)
    kept = look(sensors.retrain_when_asked, instance)
    assert kept.skip_message == "The decision was to keep the champion."
    report(instance, key, {}, retrain=True, year=2023)
    asked = look(sensors.retrain_when_asked, instance, cursor=kept.cursor)
    assert asked.run_requests[0].tags["dagster/asset_partition_range_start"] == "2023"
    assert TRAIN_TAG in asked.run_requests[0].tags
    assert time.time() - float(asked.run_requests[0].tags[DECIDED_AT_TAG]) < 60
    assert look(sensors.retrain_when_asked, instance, cursor=asked.cursor).run_requests == []


def test_results_built_alone_are_evaluated_once_there_are_predictions(instance: dg.DagsterInstance) -> None:
    key = dg.AssetKey(["core", "results"])
    report(instance, key, {}, year=2023)
    quiet = look(sensors.results_of_predicted_races, instance)
    assert quiet.skip_message == "No race has been predicted yet."
    report(instance, dg.AssetKey(["serving", "predictions"]), {})
    report(instance, key, {}, year=2023)
    asked = look(sensors.results_of_predicted_races, instance, cursor=quiet.cursor)
    (request,) = asked.run_requests
    # No table of the evaluation has partitions, and a run of it asked for a year would fail before its first step.
    assert request.run_key is not None
    assert request.partition_key is None
    assert look(sensors.results_of_predicted_races, instance, cursor=asked.cursor).run_requests == []


def test_a_landing_under_way_is_waited_for(instance: dg.DagsterInstance) -> None:
    seen = []

    @dg.asset(key=RESULTS)
    def landed() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"years_touched": [2023]})

    @dg.asset(deps=[landed])
    def later() -> None:
        seen.append(look(sensors.landed_years, instance))

    assert dg.materialize([landed, later], instance=instance).success
    assert seen[0].skip_message == "A landing is under way."
    assert len(look(sensors.landed_years, instance, cursor=seen[0].cursor).run_requests) == 1


def test_the_nightly_lands_and_refreshes_in_one_run(instance: dg.DagsterInstance) -> None:
    @dg.asset(key=RESULTS)
    def landed() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"years_touched": [2022, 2023]})

    nightly = dg.Definitions(assets=[landed], jobs=[dg.define_asset_job("nightly", [RESULTS])])
    job = nightly.resolve_job_def("nightly")
    assert job.execute_in_process(instance=instance, tags=range_tags(2022, 2023)).success
    first = look(sensors.landed_years, instance)
    assert first.run_requests == []
    # Results of an older year came with the night's files: the nightly did not refresh that.
    assert job.execute_in_process(instance=instance, tags=range_tags(2023, 2023)).success
    second = look(sensors.landed_years, instance, cursor=first.cursor)
    tags = second.run_requests[0].tags
    assert (tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]) == ("2022", "2022")


def test_a_nightly_that_failed_has_refreshed_nothing(instance: dg.DagsterInstance) -> None:
    @dg.asset(key=RESULTS)
    def landed() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"years_touched": [2022]})

    @dg.asset(deps=[landed])
    def later() -> None:
        raise RuntimeError("no room")

    night = dg.Definitions(assets=[landed, later], jobs=[dg.define_asset_job("nightly", [landed, later])])
    job = night.resolve_job_def("nightly")
    assert not job.execute_in_process(instance=instance, tags=range_tags(2022, 2023), raise_on_error=False).success
    (request,) = look(sensors.landed_years, instance).run_requests
    assert request.tags.items() >= range_tags(2022, 2022).items()


@pytest.mark.parametrize("folder", sensors.INPUTS)
def test_every_input_folder_is_watched(tmp_path: Path, instance: dg.DagsterInstance, folder: str) -> None:
    drop(tmp_path / folder / "new.csv")
    keys = [look(sensors.new_files, instance, tmp_path).run_requests[0].run_key for _ in range(2)]
    # The same state of the folders asks under the same key: Dagster starts one run for it.
    assert keys[0] == keys[1]


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


def test_the_night_the_clocks_go_forward_has_its_nightly_run() -> None:
    # 02:00 does not exist in London on 29 March 2026: the tick comes at 01:00 UTC, which is 02:00 summer time.
    tick = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    context = dg.build_schedule_context(scheduled_execution_time=tick, repository_def=defs.get_repository_def())
    (request,) = nightly_schedule.evaluate_tick(context).run_requests
    assert request.run_key == "nightly-2026-03-29"


def test_process_tag_names_this_process() -> None:
    assert process_tag()[PROCESS_TAG].startswith(f"{os.getpid()}-")
