"""The standing challenger against the champion, on races that neither has learned from.

When a version is trained, the gate judges its recipe: both sides are walk-forwards, fitted once a year, and the version
itself is younger than anything it could be judged on. Here the two versions meet as they are, and newer data can show.

Belongs here: when the two are compared, on which races, the table of trials. Does not belong here: the gate
(modelling.promotion), training (recipe).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import duckdb
import polars as pl

from velo_assets.modelling.promotion import (
    TRIAL_CLEARANCE,
    TRIAL_DAYS,
    Candidate,
    GateDecision,
    LeakReadings,
    decide,
    feature_concordances,
    pooled_auc,
)
from velo_assets.modelling.races import KEYS, Races, feature_matrix, priced_frame, settled_frame
from velo_assets.modelling.registry import ModelRegistry, RegisteredModel
from velo_assets.serving.bundle import Bundle, load_bundle
from velo_assets.serving.recipe import priced_by
from velo_assets.serving.training import watched_frame
from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import matrix_features
from velo_assets.warehouse.query import row_of

TRIALS = "serving/trial"

SCHEMA: dict[str, pl.DataType] = {
    "tried_at": pl.Datetime("us", "UTC"),
    "champion": pl.String(),
    "challenger": pl.String(),
    "days": pl.Int64(),
    "races": pl.Int64(),
    "delta_r2": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "promoted": pl.Boolean(),
    "words": pl.String(),
}
"""Columns of serving.trial."""

COLUMN_WORDS = {
    "tried_at": "when, UTC",
    "champion": "version that was champion",
    "challenger": "version on trial",
    "days": "racing days since the younger one's training [days]",
    "races": "races that both priced [races]",
    "delta_r2": "gain in R2 of the challenger over the champion",
    "low": "lower end of its 95% interval, race-day bootstrap",
    "high": "upper end",
    "promoted": "whether the challenger became champion",
    "words": "the gate's verdict",
}
"""What each column is."""


@dataclass(frozen=True)
class Trial:
    """One comparison of two versions.

    Attributes:
        champion: version that was champion.
        challenger: version on trial.
        days: racing days compared.
        decision: the gate's; when it let the challenger pass, that is champion now.
    """

    champion: RegisteredModel
    challenger: RegisteredModel
    days: int
    decision: GateDecision


def try_challenger(warehouse: Warehouse, registry: ModelRegistry, name: str, code: str) -> Trial | None:
    """Put the standing challenger to the gate again, when a trial is due, and make it champion if it passes.

    Args:
        warehouse: held only while tables are read.
        registry: the model registry.
        name: registered name of the recipe.
        code: hash of the code that scores both.

    Returns:
        The trial; None where there are no two versions, too few racing days since the last trial, or races that one of
        them can't speak of: other prices, a feature that the matrix has lost.
    """
    if not registry.exists():
        return None
    champion, challenger = registry.champion(name), registry.challenger(name)
    if champion is None or challenger is None:
        return None
    since = max(_cutoff(champion), _cutoff(challenger))
    with warehouse.connect("is a trial due") as connection:
        last = _last_trial(connection, champion, challenger)
        due = next((days for days in TRIAL_DAYS if days > last), None)
        (raced_days,) = row_of(
            connection, "select count(distinct race_date) from core.results where race_date >= ?", [since]
        )
    if due is None or raced_days < due:
        return None
    old, new = (load_bundle(registry.load_files(name, model.version)) for model in (champion, challenger))
    with warehouse.connect("races of the trial") as connection:
        if old.price_kind != new.price_kind or not {*old.features, *new.features} <= set(matrix_features(connection)):
            return None
        raced = priced_frame(settled_frame(watched_frame(connection, since, new.price_kind)))
    days = raced["race_date"].n_unique()
    if days < due:
        return None
    decision = _decide(champion.label, challenger.label, old, new, raced, code)
    registry.record_decision(name, challenger.version, decision)
    if decision.promoted:
        registry.promote(name, challenger.version, decision)
    return Trial(champion, challenger, days, decision)


def trial_frame(trial: Trial | None) -> pl.DataFrame:
    """A trial as a row of serving.trial; no row when there was none."""
    if trial is None:
        return pl.DataFrame(schema=SCHEMA)
    gain = trial.decision.delta_r2
    row = {
        "tried_at": datetime.now(UTC),
        "champion": trial.champion.label,
        "challenger": trial.challenger.label,
        "days": trial.days,
        "races": trial.decision.races,
        "delta_r2": gain.estimate,
        "low": gain.low,
        "high": gain.high,
        "promoted": trial.decision.promoted,
        "words": trial.decision.summary,
    }
    return pl.DataFrame([row], schema=SCHEMA)


def _decide(champion: str, challenger: str, old: Bundle, new: Bundle, raced: pl.DataFrame, code: str) -> GateDecision:
    races = Races.from_frame(raced)
    fundamental = new.predict(raced)["fundamental_probability"].to_numpy()
    market = raced["market_probability"].to_numpy()
    leaks = LeakReadings(
        auc_without_prices=pooled_auc(fundamental, (races.win_share > 0).astype(float)),
        features=feature_concordances(feature_matrix(raced, new.features), new.features, market, races),
    )
    of_market = raced.select(
        *KEYS,
        pl.col("race_date").dt.year().cast(pl.Int32).alias("fold"),
        pl.col("market_probability").alias("probability"),
    )
    return decide(
        Candidate(challenger, new.price_kind, code, priced_by(new, raced)),
        Candidate(champion, old.price_kind, code, priced_by(old, raced)),
        Candidate("market", new.price_kind, code, of_market),
        raced.select(*KEYS, "win_share"),
        leaks,
        clearance=TRIAL_CLEARANCE,
    )


def _cutoff(model: RegisteredModel) -> date:
    return date.fromisoformat(model.metadata["parameters"]["cutoff"])


def _last_trial(connection: duckdb.DuckDBPyConnection, champion: RegisteredModel, challenger: RegisteredModel) -> int:
    """Racing days at the last trial of these two, 0 before the first."""
    if not table_exists(connection, TRIALS):
        return 0
    (days,) = row_of(
        connection,
        "select coalesce(max(days), 0) from serving.trial where champion = ? and challenger = ?",
        [champion.label, challenger.label],
    )
    return int(days)
