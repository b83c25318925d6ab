"""`velo status`: what there is, in one screen of text.

Belongs here: reading records and wording them. Does not belong here: judging health in depth (doctor.py).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus

from velo_assets.automation.schedules import NIGHTLY_HOUR, nightly_schedule
from velo_assets.ingestion.manifest import results_kind
from velo_assets.monitoring.retraining import COOL_OFF_RACE_DAYS
from velo_assets.monitoring.triggers import CALENDAR_DAYS
from velo_assets.settings import LAYERS, TIMEZONE, DataRoot
from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.query import row_of

RUNS_SHOWN = 5

REASON_SHOWN = 150
"""Characters of a gate's reason: one line and a bit; the tear sheet has the rest."""


def status_text(root: DataRoot, instance: dg.DagsterInstance) -> str:
    """Data, tables, models, alarms and last runs of a data root.

    Args:
        root: the data root.
        instance: its Dagster instance.
    """

    lines = [f"Data root   {root.path}"]
    if not root.warehouse.exists():
        lines.append("Warehouse   none yet: `make run` builds it.")
    else:
        lines += _warehouse_lines(root)
        lines += _model_lines(root)
    lines += _automation_lines(instance)
    lines += _run_lines(instance)
    return "\n".join(lines)


def _warehouse_lines(root: DataRoot) -> list[str]:
    holder = Warehouse(root.warehouse).holder()
    if holder:
        return [f"Warehouse   in use by {holder}"]
    lines = []
    with Warehouse(root.warehouse).read("velo status") as connection:
        if table_exists(connection, "landing/manifest"):
            row = row_of(
                connection,
                "select count(*) filter (status = 'live'), count(*) filter (status = 'refused'), "
                "coalesce(sum(rows) filter (status = 'live'), 0), "
                "coalesce(sum(rejected_rows) filter (status = 'live'), 0), max(landed_at) from landing.manifest",
            )
            live, refused, rows, rejected, landed_at = row
            last = f"; last {landed_at:%Y-%m-%d %H:%M}" if landed_at else ""
            lines.append(
                f"Landed      {live} files ({results_kind(connection)} results), {rows:,} rows, "
                f"{rejected:,} rejected, {refused} files refused{last}"
            )
        if table_exists(connection, "core/results"):
            row = row_of(connection, "select min(race_date), max(race_date) from core.results")
            upcoming = row_of(connection, "select count(*), min(race_date) from core.races where stage = 'card'")
            lines.append(f"Results     {row[0]} to {row[1]}" if row[0] else "Results     none")
            if upcoming[0]:
                lines.append(f"Cards       {upcoming[0]} races without a result, from {upcoming[1]}")
        if table_exists(connection, "meta/builds"):
            builds = connection.execute(
                "select split_part(name, '/', 1), count(distinct name), min(year) filter (year > 0), max(year), "
                "max(built_at) from meta.builds group by 1"
            ).fetchall()
            by_layer = {row[0]: row for row in builds}
            for layer in LAYERS:
                if layer in by_layer:
                    _, tables, first, last, built_at = by_layer[layer]
                    years = f"{first}-{last}" if first else "whole"
                    lines.append(f"  {layer:<12}{tables:>3} tables  {years:<10} built {built_at:%Y-%m-%d %H:%M}")
        if table_exists(connection, "monitoring/retrain_decision"):
            decisions = connection.execute(
                "select decided_at, retrain, reason from monitoring.retrain_decision order by decided_at desc limit 1"
            ).fetchall()
            for decided_at, retrain, reason in decisions:
                quiet = not retrain and reason.startswith("no cause")
                lines.append(f"Alarms      {'none' if quiet else reason}")
                word = "train a challenger" if retrain else "no training"
                lines.append(f"Retraining  decided {decided_at:%Y-%m-%d %H:%M}: {word}")
    return lines


def _model_lines(root: DataRoot) -> list[str]:
    from velo_assets.resources.models import CHAMPION_NAME, registry_of

    registry = registry_of(root)
    if not registry.exists():
        return ["Champion    none yet"]
    lines, ends = [], []
    for title, model in (
        ("Champion", registry.champion(CHAMPION_NAME)),
        ("Challenger", registry.challenger(CHAMPION_NAME)),
    ):
        if model is None:
            lines.append(f"{title:<12}none")
            continue
        ends.append(date.fromisoformat(model.metadata["data_end"]))
        learned = f"{model.label}, learned until {model.metadata['data_end']}"
        if model.decision is None:
            lines.append(f"{title:<12}{learned}, not yet judged")
            continue
        verdict = "passed the gate" if model.decision["promoted"] else "refused by the gate"
        reason = str(model.decision["summary"]).removeprefix("refused: ")
        shown = reason if len(reason) <= REASON_SHOWN else reason[:REASON_SHOWN].rsplit(" ", 1)[0] + " ..."
        lines += [f"{title:<12}{learned}, {verdict}", f"            {shown}"]
    if ends:
        newest = max(ends)
        lines.append(
            f"Next        an alarm can start a training {COOL_OFF_RACE_DAYS} racing days after {newest}, the calendar "
            f"on {newest + timedelta(days=CALENDAR_DAYS)}"
        )
    return lines


def _automation_lines(instance: dg.DagsterInstance) -> list[str]:
    """What is turned on in the UI, and when the next nightly decides on retraining."""
    on = {
        state.instigator_name: state
        for state in instance.all_instigator_state()
        if state.status in (InstigatorStatus.RUNNING, InstigatorStatus.DECLARED_IN_CODE)
    }
    if nightly_schedule.name not in on:
        nightly = "nightly off (`velo nightly` does it now; turn it on in the UI under Automation)"
    else:
        nightly = f"nightly and its retrain check next at {_next_night(datetime.now(UTC)):%Y-%m-%d %H:%M} {TIMEZONE}"
    others = sorted(set(on) - {nightly_schedule.name})
    return [f"Automation  {nightly}; on: {', '.join(others) or 'nothing else'}"]


def _next_night(now: datetime) -> datetime:
    local = now.astimezone(ZoneInfo(TIMEZONE))
    tonight = local.replace(hour=NIGHTLY_HOUR, minute=0, second=0, microsecond=0)
    return tonight if local < tonight else tonight + timedelta(days=1)


def _run_lines(instance: dg.DagsterInstance) -> list[str]:
    records = instance.get_run_records(limit=RUNS_SHOWN)
    if not records:
        return ["Runs        none yet"]
    lines = ["Last runs"]
    for record in records:
        started = datetime.fromtimestamp(record.start_time or record.create_timestamp.timestamp(), UTC)
        seconds = f"{record.end_time - record.start_time:.0f} s" if record.end_time and record.start_time else "running"
        run = record.dagster_run
        lines.append(f"  {started:%Y-%m-%d %H:%M} UTC  {run.job_name:<10}{run.status.value:<10}{seconds}")
    return lines
