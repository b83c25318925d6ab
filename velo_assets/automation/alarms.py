"""Sensors that tell someone: a run has failed, an alarm has gone up, a challenger was judged, the week is written up.

Belongs here: what is worth telling, in which words, and once. Does not belong here: the channels (notify.py) and what
is done about an alarm (sensors.py). Off until turned on in the UI, silent until a channel is configured.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from velo_assets.automation.schedules import WEEKLY_HOUR
from velo_assets.notify import Message, Notifier
from velo_assets.resources.notifier import NotifierResource
from velo_assets.settings import TIMEZONE

DECISION = dg.AssetKey(["monitoring", "retrain_decision"])
RECIPE = dg.AssetKey(["serving", "recipe"])
TRIAL = dg.AssetKey(["serving", "trial"])
WEEKLY = dg.AssetKey(["monitoring", "weekly_report"])

MONDAY = 0
"""As `datetime.weekday` counts."""

MOST_LINES_OF_AN_ERROR = 12
"""A mail is read on a telephone; the whole stack is in the UI."""


@dg.run_failure_sensor(
    monitor_all_code_locations=True,
    minimum_interval_seconds=30,
    description="A run has failed, whoever started it: tell someone (log, mail, webhook; VELO_NOTIFY_LOG and others).",
)
def tell_failures(context: dg.RunFailureSensorContext, notifier: NotifierResource) -> dg.SkipReason:
    """Tell of each failed run once, with the step and its error."""
    run = context.dagster_run
    lines = []
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        cause = error.cause if error and error.cause else error
        words = cause.message.strip() if cause else "failed without a word"
        lines.append(f"{event.step_key}: {words}")
    text = "\n".join(lines or [context.failure_event.message or "The run failed before its first step."])
    short = "\n".join(text.splitlines()[:MOST_LINES_OF_AN_ERROR])
    message = Message(
        f"VELO: run {run.job_name} failed",
        f"{short}\nRun {run.run_id}; the same command or schedule may simply be run again.",
        urgent=True,
    )
    return dg.SkipReason(_tell(notifier.notifier(), [message]))


@dg.sensor(
    minimum_interval_seconds=60,
    description="An alarm goes up or comes down (CUSUM, drift, calendar), a challenger was judged, the weekly report "
    "is written: tell someone.",
)
def tell_alarms(context: dg.SensorEvaluationContext, notifier: NotifierResource) -> dg.SensorResult | dg.SkipReason:
    """Tell of what is new since the last look; a standing alarm is told once, not every night."""
    seen: dict[str, Any] = json.loads(context.cursor or "{}")
    messages = [
        *_alarms(context.instance, seen),
        *_news(context.instance, RECIPE, seen, _judged),
        *_news(context.instance, TRIAL, seen, _tried),
        *_week(context.instance, seen),
    ]
    cursor = json.dumps(seen, sort_keys=True)
    if not messages:
        return dg.SensorResult(skip_reason=dg.SkipReason("No news."), cursor=cursor)
    words = _tell(notifier.notifier(), messages)
    return dg.SensorResult(skip_reason=dg.SkipReason(words), cursor=cursor)


ALARM_SENSORS = (tell_failures, tell_alarms)


class NobodyWasToldError(RuntimeError):
    """Every channel failed; the tick fails, and the UI shows it."""


def _tell(channels: Notifier, messages: list[Message]) -> str:
    """Send messages and say what came of it.

    Raises:
        NobodyWasToldError: no channel could be reached.
    """
    titles = ", ".join(message.title for message in messages)
    if not channels.channels:
        return f"Not told, as no channel is configured: {titles}."
    failures = [failure for message in messages for failure in channels.tell(message)]
    if len(failures) == len(messages) * len(channels.channels):
        raise NobodyWasToldError(f"{titles}: {'; '.join(failures)}")
    return f"Told: {titles}." + (f" Failed: {'; '.join(failures)}." if failures else "")


def _alarms(instance: dg.DagsterInstance, seen: dict[str, Any]) -> list[Message]:
    """What is new in the newest decision on retraining; `seen` is brought up to it."""
    _, metadata, _ = _newest(instance, DECISION, seen)
    if metadata is None:
        return []
    causes: list[str] = metadata["causes"]
    reasons: list[str] = metadata["reasons"]
    standing: list[str] = seen.get("causes", [])
    seen["causes"] = causes
    fresh = [cause for cause in causes if cause not in standing]
    if fresh:
        follows = "A challenger is to be trained." if metadata["retrain"] else "No training for now."
        return [Message(f"VELO: alarm, {', '.join(fresh)}", "\n".join([*reasons, follows]), urgent=True)]
    if standing and not causes:
        return [Message(f"VELO: quiet again, {', '.join(standing)}", "\n".join(reasons))]
    return []


def _news(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    seen: dict[str, Any],
    words: Callable[[dict[str, Any]], Message | None],
) -> list[Message]:
    """What a new materialization is worth telling; whatever was there before the first look is no news."""
    first_look, metadata, _ = _newest(instance, key, seen)
    message = None if first_look or metadata is None else words(metadata)
    return [] if message is None else [message]


def _week(instance: dg.DagsterInstance, seen: dict[str, Any]) -> list[Message]:
    """The weekly report, once a week: the nightly, a refresh and an evaluation write its page again and again.

    What they write on a Monday before the hour of the weekly schedule waits, as Sunday's results may not have landed.
    """
    first_look, metadata, written = _newest(instance, WEEKLY, seen)
    if metadata is None or written is None or seen.get("week") == metadata["page"]:
        return []
    if written.weekday() == MONDAY and written.hour < WEEKLY_HOUR:
        return []
    seen["week"] = metadata["page"]
    return [] if first_look else [Message("VELO: the week", f"{metadata['headline']}\n{metadata['page']}")]


def _judged(metadata: dict[str, Any]) -> Message | None:
    return _verdict(metadata) if metadata["trained"] else None


def _tried(metadata: dict[str, Any]) -> Message | None:
    return _verdict(metadata) if metadata["tried"] else None


def _verdict(metadata: dict[str, Any]) -> Message:
    verdict = "promoted, it is champion now" if metadata["promoted"] else "refused by the gate, the champion stays"
    return Message(f"VELO: version {metadata['version']} {verdict}", str(metadata["gate"]))


def _newest(
    instance: dg.DagsterInstance, key: dg.AssetKey, seen: dict[str, Any]
) -> tuple[bool, dict[str, Any] | None, datetime | None]:
    """Whether it is the first look at this asset; metadata and local time of its newest materialization unless seen."""
    name = key.to_user_string()
    first_look = name not in seen
    records = instance.fetch_materializations(key, limit=1).records
    storage_id = records[0].storage_id if records else 0
    if seen.get(name) == storage_id:
        return first_look, None, None
    seen[name] = storage_id
    materialization = records[0].asset_materialization if records else None
    if materialization is None:
        return first_look, None, None
    metadata = {name: value.value for name, value in materialization.metadata.items()}
    return first_look, metadata, datetime.fromtimestamp(records[0].timestamp, ZoneInfo(TIMEZONE))
