"""The Dagster instance of a data root, for commands that run outside `dagster dev`.

Belongs here: finding or making the instance, tidying up after killed processes. Does not belong here: what is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil

from velo_assets.doctor import is_alive
from velo_assets.settings import DataRoot

PROCESS_TAG = "velo/process"
"""Run tag with the id of the process that executes the run, so that a killed one can be told from a slow one."""

_INSTANCE_FOLDER = Path(__file__).resolve().parent.parent.parent


@contextmanager
def velo_instance(root: DataRoot) -> Iterator[dg.DagsterInstance]:
    """The instance that `dagster dev` shows for the same data root.

    Args:
        root: the data root; events are stored below its `dagster/` folder.

    Yields:
        The instance; runs left behind by killed processes are marked as failed and their pool slots freed first.
    """
    os.environ.setdefault("DAGSTER_HOME", str(_INSTANCE_FOLDER))
    os.environ["VELO_DAGSTER_STORAGE"] = str(root.path / "dagster")
    (root.path / "dagster").mkdir(parents=True, exist_ok=True)
    with dg.DagsterInstance.get() as instance:
        bury_dead_runs(instance)
        yield instance


def bury_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process is gone, and free what they held.

    Args:
        instance: the instance.

    Returns:
        Ids of the runs.
    """
    running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    buried = []
    for run in instance.get_runs(running):
        process = run.tags.get(PROCESS_TAG)
        if process is None or is_alive(process):
            continue
        instance.report_run_failed(run, f"Process {process} is gone: killed, or the machine went down.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        buried.append(run.run_id)
    return buried


def process_tag() -> dict[str, str]:
    """The tag of runs executed by this process: its id and start time, as ids are reused."""
    process = psutil.Process()
    return {PROCESS_TAG: f"{process.pid}-{int(process.create_time())}"}
