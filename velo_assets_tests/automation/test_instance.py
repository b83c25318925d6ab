"""The instance of a data root as dagster.yaml configures it: what becomes of a run that died with the machine."""

import logging
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from velo_assets.automation.instance import velo_instance
from velo_assets.settings import DataRoot

HOUR = 3600.0


def started(instance: dg.DagsterInstance, hours_ago: float) -> str:
    """A run of the daemon that was started so long ago and has said nothing of its end."""
    run = instance.create_run_for_job(dg.Definitions(jobs=[nothing]).resolve_job_def("nothing"))
    event = DagsterEvent(DagsterEventType.PIPELINE_START.value, job_name="nothing")
    instance.handle_new_event(
        dg.EventLogEntry(
            error_info=None, level=logging.INFO, user_message="", run_id=run.run_id, job_name="nothing",
            timestamp=time.time() - hours_ago * HOUR, dagster_event=event,
        )
    )  # fmt: skip
    return run.run_id


@dg.job
def nothing() -> None:
    """No op."""


@pytest.mark.parametrize(
    ("hours", "status"), [(11.0, dg.DagsterRunStatus.STARTED), (13.0, dg.DagsterRunStatus.FAILURE)]
)
def test_a_run_that_died_with_the_machine_fails_after_half_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: float, status: dg.DagsterRunStatus
) -> None:
    monkeypatch.setenv("VELO_DAGSTER_STORAGE", str(tmp_path / "dagster"))
    with velo_instance(DataRoot(tmp_path)) as instance:
        run_id = started(instance, hours)
        record = instance.get_run_record_by_id(run_id)
        assert record is not None
        monitor_started_run(instance, None, record, logging.getLogger("test"))  # type: ignore[arg-type]
        run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status == status
