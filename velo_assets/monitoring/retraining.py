"""The decision to retrain: which causes are there, and the row that records them.

Belongs here: turning readings into one decision with its reasons. Does not belong here: the readings (triggers.py), the
training itself, promotion (modelling.promotion).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from velo_assets.modelling.promotion import TRIAL_DAYS
from velo_assets.monitoring.triggers import CALENDAR_DAYS, CusumReading, DriftReading

COOL_OFF_RACE_DAYS = TRIAL_DAYS[0] + 5
"""After a training the next one waits for so many days of racing: until the challenger has met the champion on races
that neither learned from, and the nights after have seen what came of it. A training replaces the challenger, so one
every few weeks would never let any be tried; and a trial every night would promote one by chance."""

DECISION_SCHEMA: dict[str, pl.DataType] = {
    "decided_at": pl.Datetime("us", "UTC"),
    "retrain": pl.Boolean(),
    "reason": pl.String(),
    "cusum": pl.Float64(),
    "cusum_threshold": pl.Float64(),
    "races_since": pl.Int64(),
    "drifted_columns": pl.Int64(),
    "days_since_training": pl.Int64(),
    "year": pl.Int32(),
}
"""Columns of monitoring.retrain_decision."""

COLUMN_WORDS: dict[str, tuple[str, str]] = {
    "decided_at": ("when the decision was made, UTC", ""),
    "retrain": ("train a challenger", ""),
    "reason": ("why, or why not", ""),
    "cusum": ("CUSUM of the log-loss gap to the market, the channel nearest to its threshold", "sd"),
    "cusum_threshold": ("alarm above it", "sd"),
    "races_since": ("races watched since the champion's training ended", "races"),
    "drifted_columns": ("columns that moved since the champion's training; null with few racing days since", "columns"),
    "days_since_training": ("days since the champion's training ended", "days"),
    "year": ("year whose models a training would fit", ""),
}
"""What each column is, and its unit."""


@dataclass(frozen=True)
class RetrainDecision:
    """One decision; the attributes are the columns of monitoring.retrain_decision.

    Attributes:
        decided_at: when, UTC.
        retrain: whether to train a challenger.
        reasons: why, or why not; several causes may coincide.
        causes: names of the standing alarms, without figures, so that one that stands can be told from a new one.
        cusum: value of the channel nearest to its threshold; None when nothing was watched.
        cusum_threshold: of that channel.
        races_since: races watched.
        drifted_columns: columns that moved since the training; None where nothing unlearnt was compared.
        days_since_training: since the champion's last training day; None without a champion.
        year: year whose models a training would fit.
    """

    decided_at: datetime
    retrain: bool
    reasons: tuple[str, ...]
    causes: tuple[str, ...]
    cusum: float | None
    cusum_threshold: float | None
    races_since: int
    drifted_columns: int | None
    days_since_training: int | None
    year: int

    def to_frame(self) -> pl.DataFrame:
        """The decision as a row of monitoring.retrain_decision."""
        row = {name: getattr(self, name) for name in DECISION_SCHEMA if name != "reason"}
        return pl.DataFrame([{**row, "reason": "; ".join(self.reasons)}], schema=DECISION_SCHEMA)


def decide_retraining(
    decided_at: datetime,
    *,
    champion_data_end: date | None,
    last_trained: date | None,
    racing_days: int,
    readings: Mapping[str, CusumReading],
    drift: DriftReading | None,
    silent: Mapping[str, Sequence[str]] | None = None,
) -> RetrainDecision:
    """Weigh the causes: CUSUM, drift, calendar, lost features; and hold back while a recent challenger awaits the gate.

    Args:
        decided_at: now, with a time zone.
        champion_data_end: last training day of the serving model; None when there is none.
        last_trained: last training day of the newest version, champion or challenger; None when there is none.
        racing_days: days with results since `last_trained`. A root that gets no more results learns nothing new,
            however much time goes by.
        readings: CUSUM by channel, see `triggers.watch`.
        drift: latest drift report, see `triggers.read_unlearnt_drift`; None when it is about racing already learnt.
        silent: where no version can predict, the columns that each lacks. That is no alarm to wait for: nobody would be
            predicting meanwhile, and the version trained next reads what there is.

    Raises:
        ValueError: the time has no zone.
    """
    if decided_at.tzinfo is None:
        raise ValueError("decide_retraining: give the time with its zone; local times repeat when clocks go back")
    today = decided_at.date()
    causes = {
        f"CUSUM of the {channel}": f"alarm on {reading.alarm_date} after {reading.races_to_alarm} races "
        f"({reading.path.max():.1f} over {reading.rule.threshold:.1f})"
        for channel, reading in readings.items()
        if reading.alarm
    }
    if drift is not None and drift.gone:
        causes["drift"] = f"{len(drift.gone)} of {drift.columns} columns went missing ({_some(drift.gone)})"
    elif drift is not None and drift.alarm:
        causes["drift"] = f"{len(drift.drifted)} of {drift.columns} columns moved ({_some(drift.drifted)})"
    if last_trained is not None and (today - last_trained).days >= CALENDAR_DAYS:
        # Of the newest version, not of the champion: what a training could do for an old champion, the last one did.
        days = (today - last_trained).days
        causes["calendar"] = f"the newest version learned until {last_trained}, {days} days ago"
    for label, missing in (silent or {}).items():
        causes[f"lost features of {label}"] = f"the matrix lacks {_some(missing)}, so it predicts nothing"
    reasons = [f"{name}: {words}" for name, words in causes.items()]
    retrain = bool(causes)
    if last_trained is None:
        retrain = False
        reasons.append("no model has been registered yet: serving/recipe trains the first one unasked")
    elif causes and not silent and racing_days < COOL_OFF_RACE_DAYS:
        retrain = False
        reasons.append(f"held back: a version learned until {last_trained}, {racing_days} racing days ago")
    nearest = max(
        readings.values(), key=lambda reading: reading.path.max(initial=0.0) / reading.rule.threshold, default=None
    )
    return RetrainDecision(
        decided_at,
        retrain,
        tuple(reasons) or ("no cause: CUSUM below its threshold, no drift, young enough",),
        tuple(causes),
        None if nearest is None else float(nearest.value),
        None if nearest is None else nearest.rule.threshold,
        max((reading.races for reading in readings.values()), default=0),
        None if drift is None else len(drift.drifted),
        None if champion_data_end is None else (today - champion_data_end).days,
        today.year,
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
