"""Log-odds offsets on top of the market, learned from a few named signals.

Belongs here: signals as polars expressions, their conditional logit with offset log p_market, the coefficient table
with standard errors, the offset of each runner with its standard error. Not here: which signals a module reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.modelling.conditional_logit import LinearLogit
from velo_assets.modelling.guards import (
    require_columns,
    require_not_trained_on,
)
from velo_assets.modelling.races import (
    KEYS,
    FloatArray,
    Races,
    feature_matrix,
    latest_races,
    settled_and_priced,
)

MARKET_EXPONENT = "market_exponent"
"""Nuisance column: log p itself. Without it a signal that goes with the price would be paid for the longshot bias."""

OFFSET_RACES = 40_000
"""An offset is fitted on at most this many of the latest races: its errors are then below .01, and habits change."""

CLEAR_Z = 1.64
"""A coefficient this many standard errors from 0 is called clear: one-sided 5%."""


@dataclass(frozen=True)
class Signal:
    """One column of an offset model.

    Attributes:
        name: of the coefficient.
        expression: how it is made from the matrix; it may compare the runners of a race with `.over("race_key")`.
        description: what it says, for the report.
    """

    name: str
    expression: pl.Expr
    description: str

    def columns(self) -> tuple[str, ...]:
        """Columns of the matrix it reads."""
        return tuple(dict.fromkeys(self.expression.meta.root_names()))


def columns_of(signals: Sequence[Signal]) -> tuple[str, ...]:
    """Columns of the matrix that some signals read."""
    return tuple(dict.fromkeys(column for signal in signals for column in signal.columns()))


def signal_frame(frame: pl.DataFrame, signals: Sequence[Signal], what: str) -> pl.DataFrame:
    """Columns of the signals, in their order.

    Args:
        frame: runners with the columns that the signals read.
        signals: what to work out.
        what: name of the module, for the message.

    Raises:
        MissingFeatureError: a column that a signal reads is missing.
    """
    require_columns(frame, columns_of(signals), what)
    return frame.select(signal.expression.cast(pl.Float32).alias(signal.name) for signal in signals)


@dataclass(frozen=True, eq=False)
class OffsetModel:
    """Conditional logit with offset log p_market on named signals.

    Attributes:
        name: of the module.
        cutoff: first day it may score.
        signals: names of the signals, in order.
        linear_: the logit; its first column is `MARKET_EXPONENT`, measured from 1.
        races: races fitted.
        fit_end: last day of the fit data.
    """

    name: str
    cutoff: date
    signals: tuple[str, ...]
    linear_: LinearLogit
    races: int
    fit_end: date

    @property
    def model_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of `to_dict`."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def coefficients(self) -> pl.DataFrame:
        """Every coefficient per training standard deviation of its signal.

        Returns:
            `module, signal, coefficient, standard_error, z, reading`; nulls for a signal that never varied within a
            training race. The row `market_exponent` is per unit of log p, less 1.
        """
        fitted = dict(zip(self.linear_.columns, range(len(self.linear_.columns)), strict=True))
        errors = self.linear_.standard_errors_
        rows = []
        for column in dict.fromkeys((MARKET_EXPONENT, *self.signals, *self.linear_.columns)):
            place = fitted.get(column)
            unit = self.linear_.scale_[0] if column == MARKET_EXPONENT else 1.0
            coefficient = None if place is None else float(self.linear_.coefficients_[place] / unit)
            error = None if place is None else float(errors[place] / unit)
            z = coefficient / error if coefficient is not None and error else None
            rows.append(
                {
                    "module": self.name,
                    "signal": column,
                    "coefficient": coefficient,
                    "standard_error": error,
                    "z": z,
                    "reading": _reading(column, z),
                }
            )
        return pl.DataFrame(rows, infer_schema_length=None)

    def offset(self, frame: pl.DataFrame, signal_columns: pl.DataFrame) -> tuple[FloatArray, FloatArray]:
        """Offset of each runner against its race's mean, without the market exponent, and its standard error.

        Args:
            frame: runners sorted by `KEYS`.
            signal_columns: their signals, from `signal_frame`.

        Returns:
            `(runners,)` log-odds; `(runners,)` standard errors.
        """
        races = Races.from_frame(frame)
        matrix = _with_market(signal_columns, np.zeros(frame.height), self.signals)
        design = self.linear_.design(matrix, races)
        design[:, 0] = 0.0
        means = np.add.reduceat(design, races.race_starts, axis=0) / races.field_size[:, None]
        design -= np.repeat(means, races.field_size, axis=0)
        variance = np.einsum("ij,ij->i", design @ self.linear_.covariance_, design)
        return design @ self.linear_.coefficients_, np.sqrt(np.maximum(variance, 0.0))

    def predict(self, frame: pl.DataFrame, signals: Sequence[Signal], fold: int) -> pl.DataFrame:
        """Offsets of one fold; prices are not needed.

        Args:
            frame: runners sorted by `KEYS`, on or after the cutoff, with the columns the signals read.
            signals: the same signals as in the fit.
            fold: number written beside every prediction.

        Returns:
            `race_date, race_key, runner_key, fold, cutoff, offset, offset_se, model_hash`.

        Raises:
            LookAheadError: a row is earlier than the cutoff.
            MissingFeatureError: a column is missing.
        """
        require_not_trained_on(frame, self.cutoff, self.name)
        offset, error = np.zeros(0), np.zeros(0)
        if frame.height:
            offset, error = self.offset(frame, signal_frame(frame, signals, self.name))
        return offset_rows(frame, fold, self.cutoff, offset, error, self.model_hash)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "kind": "offset",
            "name": self.name,
            "cutoff": self.cutoff.isoformat(),
            "signals": list(self.signals),
            "linear": self.linear_.to_dict(),
            "races": self.races,
            "fit_end": self.fit_end.isoformat(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> OffsetModel:
        """Inverse of `to_dict`."""
        return cls(
            stored["name"],
            date.fromisoformat(stored["cutoff"]),
            tuple(stored["signals"]),
            LinearLogit.from_dict(stored["linear"]),
            stored["races"],
            date.fromisoformat(stored["fit_end"]),
        )


def fit_offset(
    train: pl.DataFrame,
    signals: Sequence[Signal],
    cutoff: date,
    name: str,
    *,
    ridge: float = 100.0,
    embargo_days: int = 1,
    min_races: int = 200,
) -> OffsetModel:
    """Fit one module's offsets.

    Args:
        train: runners before the cutoff with `KEYS`, `win_share`, `market_probability` and what the signals read.
        signals: the module's signals.
        cutoff: first day of the scored fold.
        name: of the module.
        ridge: penalty on each scaled coefficient: 100 expects about a tenth of a log-odds per standard deviation,
            the most that a sharp market leaves.
        embargo_days: days before the cutoff that are not used.
        min_races: fewest settled races with full prices.

    Raises:
        LookAheadError: training rows reach into the embargo or the fold.
        MissingFeatureError: a column is missing.
        NoPricesError: no settled race has a full set of prices.
        TooFewRacesError: fewer than `min_races`.
    """
    frame = market_rows(train, cutoff, name, embargo_days, min_races)
    races = Races.from_frame(frame)
    log_market = np.log(frame.get_column("market_probability").to_numpy())
    matrix = _with_market(signal_frame(frame, signals, name), log_market, [s.name for s in signals])
    columns = (MARKET_EXPONENT, *(signal.name for signal in signals))
    linear = LinearLogit.fit(matrix, races, columns, ridge=ridge, offset=log_market)
    return OffsetModel(name, cutoff, columns[1:], linear, len(races), races.race_date[-1].item())


def market_rows(train: pl.DataFrame, cutoff: date, what: str, embargo_days: int, min_races: int) -> pl.DataFrame:
    """Settled, fully priced training rows of the latest `OFFSET_RACES` races, checked against look-ahead.

    Raises:
        LookAheadError: rows reach into the embargo or the fold.
        NoPricesError: no settled race has a full set of prices.
        TooFewRacesError: fewer than `min_races` are left.
    """
    frame = settled_and_priced(
        train, (), cutoff, f"{what}, cutoff {cutoff}", embargo_days=embargo_days, min_races=min_races
    )
    return latest_races(frame, OFFSET_RACES)


def offset_rows(
    frame: pl.DataFrame, fold: int, cutoff: date, offset: FloatArray, error: FloatArray, model_hash: str
) -> pl.DataFrame:
    """Offsets with their keys: `race_date, race_key, runner_key, fold, cutoff, offset, offset_se, model_hash`."""
    return frame.select(*KEYS).with_columns(
        pl.lit(fold, dtype=pl.Int32).alias("fold"),
        pl.lit(cutoff, dtype=pl.Date).alias("cutoff"),
        pl.Series("offset", offset),
        pl.Series("offset_se", error),
        pl.lit(model_hash).alias("model_hash"),
    )


def _with_market(signal_columns: pl.DataFrame, log_market: FloatArray, names: Sequence[str]) -> NDArray[np.float32]:
    return np.column_stack((log_market.astype(np.float32), feature_matrix(signal_columns, names)))


def _reading(column: str, z: float | None) -> str:
    if z is None:
        return "not known in the training races"
    if abs(z) < CLEAR_Z:
        return "no clear effect"
    if column == MARKET_EXPONENT:
        return "favourites win more than priced" if z > 0 else "favourites win less than priced"
    return "under-bet: wins more than priced" if z > 0 else "over-bet: wins less than priced"
