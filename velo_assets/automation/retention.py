"""How long Dagster remembers: runs older than some weeks are forgotten, but never the newest word on a table.

Belongs here: which runs go, and the sensor that lets them go. Does not belong here: runs of killed processes
(instance.py), housekeeping of the data root itself (maintenance.py).

A night's run leaves some 5 MB of events (rows, columns and their lineage, pictures), of its run and again of its
assets, and Dagster deletes none of them. What the nights have found stays in the warehouse's tables.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable

KEEP_RUNS_DAYS = 60
"""Two months of nights: longer than anybody looks back in the UI, and some 300 MB. `VELO_KEEP_RUNS_DAYS` says
otherwise; 0 keeps all."""

MOST_AT_ONCE = 100
"""Runs forgotten at a time, as a sensor has a minute for its look; what is left goes at the next."""

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def keep_runs_days() -> int:
    """Days that runs are kept, from `VELO_KEEP_RUNS_DAYS` or `KEEP_RUNS_DAYS`; 0 keeps all.

    Raises:
        ValueError: the variable is no number of days.
    """
    text = os.environ.get("VELO_KEEP_RUNS_DAYS") or str(KEEP_RUNS_DAYS)
    if not text.isdecimal():
        raise ValueError(f"VELO_KEEP_RUNS_DAYS wants a number of days, 0 to keep all runs, got {text!r}.")
    return int(text)


def forget_old_runs(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """Delete finished runs that began too long ago, with their events, check results and logs.

    A run that holds the newest materialization of an asset, or of one of its partitions, stays: the UI tells from these
    what is there.

    Args:
        instance: the instance.
        now: with a time zone.

    Returns:
        Ids of the runs that are gone.

    Raises:
        ValueError: `VELO_KEEP_RUNS_DAYS` is no number of days.
    """
    days = keep_runs_days()
    if not days:
        return []
    old = dg.RunsFilter(statuses=FINISHED, created_before=now - timedelta(days=days))
    candidates = [run.run_id for run in instance.get_runs(old)]
    needed = _newest_runs(instance) if candidates else set()
    # The list begins with the youngest.
    forgotten = [run_id for run_id in candidates if run_id not in needed][-MOST_AT_ONCE:]
    for run_id in forgotten:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        _delete_leftovers(instance, run_id)
    return forgotten


@dg.sensor(
    minimum_interval_seconds=24 * 60 * 60,
    description="Once a day: forget runs older than 60 days (VELO_KEEP_RUNS_DAYS) that hold no newest materialization.",
)
def old_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Forget old runs."""
    return dg.SkipReason(f"{len(forget_old_runs(context.instance, datetime.now(UTC)))} old runs forgotten.")


def _newest_runs(instance: dg.DagsterInstance) -> set[str]:
    """Runs that hold the newest materialization of an asset or of a partition of one."""
    runs = set()
    for key in instance.all_asset_keys():
        by_partition = instance.event_log_storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        newest = dg.AssetRecordsFilter(key, storage_ids=list(by_partition.values())) if by_partition else key
        records = instance.fetch_materializations(newest, limit=max(len(by_partition), 1)).records
        runs |= {record.run_id for record in records}
    return runs


def _delete_leftovers(instance: dg.DagsterInstance, run_id: str) -> None:
    """What `delete_run` leaves behind: results of checks, and the emptied file of the run's events."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        with storage.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.delete().where(AssetCheckExecutionsTable.c.run_id == run_id))
        for suffix in ("", "-wal", "-shm"):
            Path(f"{storage.path_for_shard(run_id)}{suffix}").unlink(missing_ok=True)
