"""Telling someone: failed runs and alarms, in Dagster's own contexts, over a real line to this machine."""

from datetime import datetime
from uuid import uuid4
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData

from velo_assets.automation.alarms import (
    DECISION,
    RECIPE,
    TRIAL,
    WEEKLY,
    NobodyWasToldError,
    tell_alarms,
    tell_failures,
)
from velo_assets.definitions import defs
from velo_assets.monitoring.weekly import week_before
from velo_assets.resources.notifier import NotifierResource
from velo_assets_tests.conftest import Webhook

VARIABLES = (
    "VELO_NOTIFY_LOG", "VELO_SMTP_HOST", "VELO_SMTP_PORT", "VELO_SMTP_USER", "VELO_SMTP_PASSWORD",
    "VELO_SMTP_ENCRYPTION", "VELO_MAIL_FROM", "VELO_MAIL_TO", "VELO_WEBHOOK_URL",
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def told(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What arrives at a web server whose address is in the environment, as in production."""
    monkeypatch.setenv("VELO_WEBHOOK_URL", f"{webhook.url}/hush")
    return webhook.received


def look(
    instance: dg.DagsterInstance, cursor: str | None = None, notifier: NotifierResource | None = None
) -> SensorExecutionData:
    context = dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        repository_def=defs.get_repository_def(),
        resources={"notifier": notifier or NotifierResource()},
    )
    return tell_alarms.evaluate_tick(context)


def report(instance: dg.DagsterInstance, key: dg.AssetKey, **metadata: object) -> None:
    @dg.asset(key=key)
    def written() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata=metadata)

    assert dg.materialize([written], instance=instance).success


def decide(instance: dg.DagsterInstance, *causes: str, retrain: bool = False) -> None:
    reasons = [f"{cause}: alarm on 2024-05-30" for cause in causes] or ["no cause"]
    report(instance, DECISION, causes=list(causes), reasons=reasons, retrain=retrain)


def test_a_standing_alarm_is_told_once_and_its_end_too(
    instance: dg.DagsterInstance, told: list[dict[str, object]]
) -> None:
    cursor = look(instance).cursor
    decide(instance)
    cursor = look(instance, cursor).cursor
    assert told == []
    for _ in range(2):
        decide(instance, "CUSUM of the recipe", retrain=True)
        cursor = look(instance, cursor).cursor
    assert [message["title"] for message in told] == ["VELO: alarm, CUSUM of the recipe"]
    assert told[0]["urgent"] is True
    assert "A challenger is to be trained." in str(told[0]["text"])
    decide(instance, "CUSUM of the recipe", "drift")
    cursor = look(instance, cursor).cursor
    decide(instance)
    look(instance, cursor)
    assert [message["title"] for message in told[1:]] == [
        "VELO: alarm, drift",
        "VELO: quiet again, CUSUM of the recipe, drift",
    ]


def test_a_judged_challenger_and_the_week_are_told_but_not_what_was_there_before(
    instance: dg.DagsterInstance, told: list[dict[str, object]]
) -> None:
    report(instance, RECIPE, trained=True, version=1, promoted=False, gate="no gain")
    cursor = look(instance).cursor
    assert told == []
    report(instance, RECIPE, trained=False, versions=1)
    write_week(instance, "2026-11-17 02:05")
    cursor = look(instance, cursor).cursor
    report(instance, RECIPE, trained=True, version=2, promoted=True, gate="lower bound above 0")
    report(instance, TRIAL, tried=False)
    cursor = look(instance, cursor).cursor
    report(instance, TRIAL, tried=True, version=3, promoted=False, gate="no gain")
    look(instance, cursor)
    assert [message["title"] for message in told] == [
        "VELO: the week",
        "VELO: version 2 promoted, it is champion now",
        "VELO: version 3 refused by the gate, the champion stays",
    ]


@pytest.mark.parametrize(
    ("written", "told_at"),
    [
        # Monday's nightly comes before the hour of the schedule; later nights and landings write the page again.
        (["2026-11-16 02:05", "2026-11-16 09:00", "2026-11-16 13:00", "2026-11-17 02:05"], ["2026-11-16 09:00"]),
        # Nobody turned the weekly schedule on: the next nightly brings the news.
        (["2026-11-16 02:05", "2026-11-17 02:05", "2026-11-18 02:05"], ["2026-11-17 02:05"]),
        (["2026-11-17 02:05", "2026-11-23 09:00", "2026-11-24 02:05"], ["2026-11-17 02:05", "2026-11-23 09:00"]),
    ],
)
def test_a_week_is_told_once_however_often_it_is_written(
    instance: dg.DagsterInstance, told: list[dict[str, object]], written: list[str], told_at: list[str]
) -> None:
    cursor = look(instance).cursor
    for moment in written:
        write_week(instance, moment)
        cursor = look(instance, cursor).cursor
    assert [message["text"] for message in told] == [
        f"VELO: the week\nwritten {moment}\n{page_at(moment)}" for moment in told_at
    ]


def write_week(instance: dg.DagsterInstance, moment: str) -> None:
    """A report of the week before, on record as written at a moment of London."""
    metadata = {"headline": f"written {moment}", "page": dg.MetadataValue.path(page_at(moment))}
    event = DagsterEvent(
        DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name="nightly",
        event_specific_data=StepMaterializationData(dg.AssetMaterialization(WEEKLY, metadata=metadata)),
    )
    at = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo("Europe/London"))
    instance.report_dagster_event(event, str(uuid4()), timestamp=at.timestamp())


def page_at(moment: str) -> str:
    return f"weekly_{week_before(datetime.fromisoformat(moment).date())[0]}.html"


def test_without_a_channel_nothing_is_said_and_the_tick_says_so(instance: dg.DagsterInstance) -> None:
    decide(instance, "drift")
    tick = look(instance)
    assert tick.skip_message == "Not told, as no channel is configured: VELO: alarm, drift."


def test_when_nobody_could_be_told_the_tick_fails_and_the_alarm_waits(instance: dg.DagsterInstance) -> None:
    decide(instance, "drift")
    closed = NotifierResource(webhook_url="http://127.0.0.1:9/hush")
    with pytest.raises(NobodyWasToldError, match="alarm, drift") as failure:
        look(instance, notifier=closed)
    assert "hush" not in str(failure.value)


def test_a_failed_run_is_told_with_its_step_and_error(
    instance: dg.DagsterInstance, told: list[dict[str, object]]
) -> None:
    @dg.op
    def landing() -> None:
        raise ValueError("the file is cut short")

    @dg.job
    def nightly() -> None:
        landing()

    run = nightly.execute_in_process(instance=instance, raise_on_error=False)
    event = next(event for event in run.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE)
    context = dg.build_run_status_sensor_context(
        sensor_name="tell_failures",
        dagster_instance=instance,
        dagster_run=run.dagster_run,
        dagster_event=event,
        resources={"notifier": NotifierResource()},
    ).for_run_failure()
    tell_failures(context)
    (message,) = told
    assert message["title"] == "VELO: run nightly failed"
    assert "landing: ValueError: the file is cut short" in str(message["text"])
    assert run.run_id in str(message["text"])


def test_configured_by_half_is_refused_and_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NotifierResource().notifier().channels == ()
    monkeypatch.setenv("VELO_SMTP_HOST", "mail.example.org")
    monkeypatch.setenv("VELO_SMTP_PASSWORD", "hush")
    with pytest.raises(ValueError, match="sender or recipient"):
        NotifierResource().notifier()
    monkeypatch.setenv("VELO_MAIL_FROM", "velo@example.org")
    monkeypatch.setenv("VELO_MAIL_TO", "a@example.org,b@example.org")
    monkeypatch.setenv("VELO_SMTP_USER", "velo")
    (mail,) = NotifierResource().notifier().channels
    assert mail.port == 587  # type: ignore[attr-defined]
    assert mail.password == "hush"  # type: ignore[attr-defined]
    assert "hush" not in repr(mail) + repr(NotifierResource(smtp_password="hush", webhook_url="https://x/hush"))
    monkeypatch.setenv("VELO_SMTP_PORT", "smtp")
    with pytest.raises(ValueError, match="VELO_SMTP_PORT"):
        NotifierResource().notifier()
