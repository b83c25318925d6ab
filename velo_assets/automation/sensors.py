"""Sensors: files that arrive, results of predicted races, causes to retrain. All off until turned on in the UI.

No sensor opens the warehouse: they read folders and metadata of materializations, and so never wait for a run.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from velo_assets.assets.serving import DECIDED_AT_TAG, TRAIN_TAG
from velo_assets.automation.alarms import ALARM_SENSORS
from velo_assets.automation.jobs import evaluate, land, refresh, train
from velo_assets.automation.retention import old_runs
from velo_assets.automation.runner import REFRESHES_TAG
from velo_assets.ingestion.inputs import files_in
from velo_assets.partitions import range_tags
from velo_assets.resources.data import DataRootResource
from velo_assets.settings import FIRST_YEAR

SETTLING_SECONDS = 5
"""A file touched more recently is still being copied; the next look takes it."""

LANDING_ATTEMPTS = 3
"""How often one state of the input folders is landed while its runs fail."""

RETRY_SECONDS = 600
"""How long a failed landing is let be: a full disk or a held lock is seldom gone in half a minute."""

INPUTS = ("raceform", "sectionals", "racecards", "betfair_sp", "betfair_streams")
LANDING_KEYS = tuple(
    dg.AssetKey(["landing", kind]) for kind in ("raceform", "sectionals", "racecards", "betfair_sp", "streams")
)


@dg.sensor(
    job=land,
    minimum_interval_seconds=30,
    description="New or changed files in an input folder: land them.",
)
def new_files(context: dg.SensorEvaluationContext, data_root: DataRootResource) -> dg.SensorResult | dg.SkipReason:
    """Ask for one landing run per state of the input folders, and for another when it fails."""
    root = data_root.root()
    listing = _listing([root.path / name for name in INPUTS])
    state = hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]
    attempt = _next_attempt(context.instance, state) if state == context.cursor else 1
    if not listing or attempt is None:
        return dg.SkipReason("No new files.")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=_landing_key(state, attempt))], cursor=state)


@dg.sensor(
    job=refresh,
    minimum_interval_seconds=30,
    description="Files have landed or were forgotten: refresh from the earliest year they touch to the latest of all.",
)
def landed_years(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for one refresh for all landings since the last look."""
    seen = int(context.cursor or 0)
    latest, years, last_year = seen, set[int](), 0
    for key in LANDING_KEYS:
        for record in context.instance.fetch_materializations(key, limit=20).records:
            if record.storage_id <= seen:
                continue
            latest = max(latest, record.storage_id)
            run = context.instance.get_run_by_id(record.run_id)
            if run is not None and not run.is_finished and REFRESHES_TAG not in run.tags:
                # Its other kinds of files follow in a moment; two looks at one landing would ask for two refreshes.
                return dg.SkipReason("A landing is under way.")
            years |= set(_metadata(record, "years_touched") or []) - _refreshed_by(run)
            last_year = max(last_year, _metadata(record, "last_year") or 0)
    if not years:
        return dg.SensorResult(
            skip_reason=dg.SkipReason("Nothing landed that a refresh would need."), cursor=str(latest)
        )
    # Later years look back on the touched ones.
    request = dg.RunRequest(run_key=f"refresh-{latest}", tags=range_tags(min(years), max(last_year, *years)))
    return dg.SensorResult(run_requests=[request], cursor=str(latest))


@dg.asset_sensor(
    asset_key=dg.AssetKey(["core", "results"]),
    job=evaluate,
    minimum_interval_seconds=60,
    description="Results have been built for races that were predicted: evaluate the predictions.",
)
def results_of_predicted_races(
    context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Evaluate once per materialization of the results, outside runs that evaluate anyway."""
    run = context.instance.get_run_by_id(asset_event.run_id)
    if run is not None and run.job_name in ("nightly", "refresh"):
        yield dg.SkipReason(f"The {run.job_name} run evaluates by itself.")
        return
    predicted = context.instance.get_latest_materialization_event(dg.AssetKey(["serving", "predictions"]))
    if predicted is None:
        yield dg.SkipReason("No race has been predicted yet.")
        return
    yield dg.RunRequest(run_key=f"evaluate-{asset_event.run_id}")


@dg.sensor(
    job=train,
    minimum_interval_seconds=60,
    description="The retrain decision says yes: train a challenger; the promotion gate decides what becomes of it.",
)
def retrain_when_asked(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for one training run per decision to retrain."""
    records = context.instance.fetch_materializations(dg.AssetKey(["monitoring", "retrain_decision"]), limit=1).records
    if not records or str(records[0].storage_id) == context.cursor:
        return dg.SkipReason("No new decision.")
    cursor = str(records[0].storage_id)
    if not _metadata(records[0], "retrain"):
        return dg.SensorResult(skip_reason=dg.SkipReason("The decision was to keep the champion."), cursor=cursor)
    year = int(_metadata(records[0], "year") or datetime.now(UTC).year)
    request = dg.RunRequest(
        run_key=f"retrain-{cursor}",
        tags={**range_tags(year, year), TRAIN_TAG: "yes", DECIDED_AT_TAG: str(records[0].timestamp)},
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor)


SENSORS = (new_files, landed_years, results_of_predicted_races, retrain_when_asked, *ALARM_SENSORS, old_runs)


def _landing_key(state: str, attempt: int) -> str:
    return f"land-{state}" if attempt == 1 else f"land-{state}-{attempt}"


def _next_attempt(instance: dg.DagsterInstance, state: str) -> int | None:
    """Number of the next landing of a state whose landings failed a while ago, None when there is to be none."""
    keys = [_landing_key(state, attempt) for attempt in range(1, LANDING_ATTEMPTS + 1)]
    records = instance.get_run_records(filters=dg.RunsFilter(tags={"dagster/run_key": keys}))
    if any(record.dagster_run.status != dg.DagsterRunStatus.FAILURE for record in records):
        return None
    last = max((record.end_time or 0.0 for record in records), default=None)
    if last is None or datetime.now(UTC).timestamp() - last < RETRY_SECONDS:
        return None
    return len(records) + 1 if len(records) < LANDING_ATTEMPTS else None


def _listing(folders: list[Path]) -> list[tuple[str, int, int]]:
    """Path, size and time of every settled file that landing takes."""
    now = datetime.now(UTC).timestamp()
    listing = []
    for folder in folders:
        for path in files_in(folder):
            stat = path.stat()
            if now - stat.st_mtime >= SETTLING_SECONDS:
                listing.append((str(path), stat.st_size, stat.st_mtime_ns))
    return listing


def _refreshed_by(run: dg.DagsterRun | None) -> set[int]:
    """Years that were refreshed with the landing, or will be by the command that landed."""
    if run is None:
        return set()
    if REFRESHES_TAG in run.tags:
        return set(range(FIRST_YEAR, datetime.now(UTC).year + 2))
    first, last = (run.tags.get(name) for name in range_tags(0, 0))
    if run.job_name != "nightly" or not run.is_success or first is None or last is None:
        return set()
    return set(range(int(first), int(last) + 1))


def _metadata(record: dg.EventLogRecord, name: str) -> Any:
    materialization = record.asset_materialization
    entry = materialization.metadata.get(name) if materialization else None
    return entry.value if entry is not None else None
