"""Schedules: the nightly run and the weekly report, in the time of the racing day."""

from datetime import timedelta

import dagster as dg

from velo_assets.automation.jobs import nightly, weekly
from velo_assets.partitions import range_tags
from velo_assets.settings import TIMEZONE

NIGHTLY_HOUR = 2
"""Results and cards are complete by then, and nobody waits for the warehouse."""

WEEKLY_HOUR = 9
"""Of Monday: Sunday's results have landed, and the week is told to who sits down to work."""


@dg.schedule(
    job=nightly,
    cron_schedule=f"0 {NIGHTLY_HOUR} * * *",
    execution_timezone=TIMEZONE,
    description="Every night at 02:00: land what has come, refresh, evaluate, decide, price today's cards.",
)
def nightly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run for the years of yesterday (results) and today (cards), keyed by the day so that it runs once.

    The clocks may be put forward or back within the hour before: the key is the date, so a day has one run.
    """
    today = context.scheduled_execution_time.date()
    yesterday = today - timedelta(days=1)
    return dg.RunRequest(
        run_key=f"nightly-{today.isoformat()}",
        tags={**range_tags(yesterday.year, today.year), "velo/race_day": yesterday.isoformat()},
    )


@dg.schedule(
    job=weekly,
    cron_schedule=f"0 {WEEKLY_HOUR} * * 1",
    execution_timezone=TIMEZONE,
    description="Every Monday at 09:00: the report of the last week.",
)
def weekly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run a week, keyed by the Monday."""
    return dg.RunRequest(run_key=f"weekly-{context.scheduled_execution_time.date().isoformat()}")


SCHEDULES = (nightly_schedule, weekly_schedule)
