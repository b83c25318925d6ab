"""TIE: what a trainer's choices at entry say beyond the price.

Belongs here: the entry-time signals, their offset model, and its partial pooling by trainer. Intent itself is never
observed and never made into a label: what is modelled is the residual win of past runs, won less p_market.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from velo_assets.modelling.guards import require_columns, require_not_trained_on
from velo_assets.modelling.offsets import OffsetModel, Signal, fit_offset, market_rows, offset_rows, signal_frame
from velo_assets.modelling.races import BoolArray, FloatArray, IntArray, Races

INTENT_SIGNALS = (
    Signal("jockey_upgrade", pl.col("jockey_upgrade"), "a better jockey than last time"),
    Signal("jockey_upgrade_ewma", pl.col("jockey_upgrade_ewma"), "a better jockey than the horse is used to"),
    Signal("jockey_change", pl.col("jockey_change"), "another jockey than last time"),
    Signal("layoff_vs_habit", pl.col("layoff_vs_habit"), "a longer break than this trainer's habit"),
    Signal("class_drop", pl.col("class_drop"), "an easier class than last time"),
    Signal("band_drop", pl.col("band_drop"), "a lower rating band than last time"),
    Signal("headgear_first_time", pl.col("headgear_first_time"), "headgear for the first time"),
    Signal("distance_move", pl.col("distance_move_furlongs").abs(), "a change of distance, either way"),
    Signal("course_change", pl.col("course_change"), "another course than last time"),
    Signal("trainer_change", pl.col("trainer_change"), "another trainer than last time"),
    Signal("stable_runners", pl.col("stable_runners"), "stable companions in the race"),
)
"""Entry-time choices of the trainer; none of them uses a result of the race itself."""


@dataclass(frozen=True, eq=False)
class IntentModel:
    """Intent offsets, the common part and each trainer's own departure from it.

    With u the common offset of a runner, trainer t's runners get `u (1 + slope_t) + level_t`. Levels and slopes are
    random effects with mean 0; their variances come from the method of moments, and each is one Newton step from the
    common fit: `S / (I + 1/tau^2)` with score S and information I of the trainer's runs.

    Attributes:
        common: the model all trainers share.
        trainer_key: `(trainers,)` sorted keys.
        level: `(trainers,)` log-odds.
        level_variance: `(trainers,)` posterior variances.
        slope: `(trainers,)` relative strength of the signals.
        slope_variance: `(trainers,)`.
        level_tau2: variance of the levels between trainers; 0: trainers don't differ.
        slope_tau2: variance of the slopes between trainers.
    """

    common: OffsetModel
    trainer_key: IntArray
    level: FloatArray
    level_variance: FloatArray
    slope: FloatArray
    slope_variance: FloatArray
    level_tau2: float
    slope_tau2: float

    @property
    def cutoff(self) -> date:
        """First day it may score."""
        return self.common.cutoff

    @property
    def model_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of `to_dict`."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def predict(self, frame: pl.DataFrame, fold: int) -> pl.DataFrame:
        """Offsets of one fold; prices are not needed.

        Args:
            frame: runners sorted by `KEYS`, on or after the cutoff, with `trainer_key` and what the signals read.
            fold: number written beside every prediction.

        Returns:
            `race_date, race_key, runner_key, fold, cutoff, offset, offset_se, model_hash`.

        Raises:
            LookAheadError: a row is earlier than the cutoff.
            MissingFeatureError: a column is missing.
        """
        require_columns(frame, ("trainer_key",), "intent")
        require_not_trained_on(frame, self.cutoff, "intent")
        if frame.is_empty():
            return offset_rows(frame, fold, self.cutoff, np.zeros(0), np.zeros(0), self.model_hash)
        offset, error = self.common.offset(frame, signal_frame(frame, INTENT_SIGNALS, "intent"))
        place, known = self._places(frame)
        level = np.where(known, self.level[place], 0.0)
        slope = np.where(known, self.slope[place], 0.0)
        level_variance = np.where(known, self.level_variance[place], self.level_tau2)
        slope_variance = np.where(known, self.slope_variance[place], self.slope_tau2)
        variance = (error * (1.0 + slope)) ** 2 + offset**2 * slope_variance + level_variance
        total = offset * (1.0 + slope) + level
        return offset_rows(frame, fold, self.cutoff, total, np.sqrt(variance), self.model_hash)

    def _places(self, frame: pl.DataFrame) -> tuple[IntArray, BoolArray]:
        keys = trainer_keys(frame)
        place = np.minimum(np.searchsorted(self.trainer_key, keys), max(len(self.trainer_key) - 1, 0))
        return place, self.trainer_key[place] == keys

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "kind": "intent",
            "common": self.common.to_dict(),
            "trainer_key": [int(key) for key in self.trainer_key],
            "level": self.level.tolist(),
            "level_variance": self.level_variance.tolist(),
            "slope": self.slope.tolist(),
            "slope_variance": self.slope_variance.tolist(),
            "level_tau2": self.level_tau2,
            "slope_tau2": self.slope_tau2,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> IntentModel:
        """Inverse of `to_dict`."""
        return cls(
            OffsetModel.from_dict(stored["common"]),
            np.asarray(stored["trainer_key"], dtype=np.int64),
            np.asarray(stored["level"], dtype=np.float64),
            np.asarray(stored["level_variance"], dtype=np.float64),
            np.asarray(stored["slope"], dtype=np.float64),
            np.asarray(stored["slope_variance"], dtype=np.float64),
            stored["level_tau2"],
            stored["slope_tau2"],
        )


def fit_intent(train: pl.DataFrame, cutoff: date, *, embargo_days: int = 1, min_races: int = 200) -> IntentModel:
    """Fit the common offsets, then each trainer's level and slope.

    Args:
        train: runners before the cutoff with `KEYS`, `win_share`, `market_probability`, `trainer_key` and what the
            signals read.
        cutoff: first day of the scored fold.
        embargo_days: days before the cutoff that are not used.
        min_races: fewest settled races with full prices.

    Raises:
        LookAheadError: training rows reach into the embargo or the fold.
        MissingFeatureError: a column is missing.
        NoPricesError: no settled race has a full set of prices.
        TooFewRacesError: fewer than `min_races`.
    """
    require_columns(train, ("trainer_key",), "intent")
    common = fit_offset(train, INTENT_SIGNALS, cutoff, "intent", embargo_days=embargo_days, min_races=min_races)
    frame = market_rows(train, cutoff, "intent", embargo_days, min_races)
    races = Races.from_frame(frame)
    offset, _ = common.offset(frame, signal_frame(frame, INTENT_SIGNALS, "intent"))
    log_market = np.log(frame.get_column("market_probability").to_numpy())
    exponent = 1.0 + common.linear_.coefficients_[0] / max(common.linear_.scale_[0], 1e-12)
    probability = races.softmax(exponent * log_market + offset)
    residual, spread = races.win_share - probability, probability * (1.0 - probability)
    keys, place = np.unique(trainer_keys(frame), return_inverse=True)

    def sums(values: FloatArray) -> FloatArray:
        return np.bincount(place, values, minlength=len(keys)).astype(np.float64)

    level, level_variance, level_tau2 = pooled_effects(sums(residual), sums(spread))
    slope, slope_variance, slope_tau2 = pooled_effects(sums(residual * offset), sums(spread * offset**2))
    return IntentModel(common, keys, level, level_variance, slope, slope_variance, level_tau2, slope_tau2)


def pooled_effects(score: FloatArray, information: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Random effects with mean 0 by the method of moments.

    Args:
        score: `(groups,)` derivative S of each group's log-likelihood at no effect.
        information: `(groups,)` its variance I.

    Returns:
        `(groups,)` effects `S / (I + 1/tau^2)`; `(groups,)` their posterior variances `1 / (I + 1/tau^2)`; and
        `tau^2 = max(0, sum(S^2 - I) / sum(I^2))`. With tau^2 = 0 all are 0.
    """
    squares = float((information**2).sum())
    tau2 = max(0.0, float((score**2 - information).sum()) / squares) if squares > 0 else 0.0
    if tau2 == 0.0:
        return np.zeros(len(score)), np.zeros(len(score)), 0.0
    precision = information + 1.0 / tau2
    return score / precision, 1.0 / precision, tau2


def trainer_keys(frame: pl.DataFrame) -> IntArray:
    """`(runners,)` trainer keys; an unknown trainer is -1, a group of its own."""
    keys: IntArray = frame.get_column("trainer_key").cast(pl.Int64).fill_null(-1).to_numpy()
    return keys
