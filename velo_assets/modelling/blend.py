"""Benter's blend of the fundamental model and the market, and the market with its own exponent fitted.

Belongs here: `c_i ∝ exp(alpha log f_i + beta log p_i)` by maximum likelihood on earlier out-of-sample
predictions, standard errors, the profile likelihood. Not here: how f and p were made.

Source: Benter (1994), Computer Based Horse Race Handicapping and Wagering Systems, the second-step logit.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from velo_assets.modelling.conditional_logit import ChoiceLikelihood, LogitFit, maximise
from velo_assets.modelling.guards import (
    NoPricesError,
    require_columns,
    require_not_trained_on,
)
from velo_assets.modelling.races import KEYS, FloatArray, Races, priced_frame, settled_and_priced

MIN_BLEND_RACES = 100
"""Below this the standard error of alpha exceeds .3: any weight would be noise."""


@dataclass(frozen=True, eq=False)
class BlendModel:
    """Exponents of the blend and of the market alone, fitted on earlier out-of-sample predictions.

    Attributes:
        cutoff: first day it may score.
        coefficients: alpha and beta.
        covariance: of the coefficients.
        market_beta: exponent of the market when it stands alone.
        market_beta_se: its standard error.
        races: races fitted.
        fit_start: first day of the fit data.
        fit_end: last day of the fit data.
        log_likelihood_gain: of the blend over the market with exponent 1, nats per race, on the fit data.
    """

    cutoff: date
    coefficients: FloatArray
    covariance: FloatArray
    market_beta: float
    market_beta_se: float
    races: int
    fit_start: date
    fit_end: date
    log_likelihood_gain: float

    @property
    def alpha(self) -> float:
        """Weight of log f."""
        return float(self.coefficients[0])

    @property
    def beta(self) -> float:
        """Weight of log p."""
        return float(self.coefficients[1])

    @property
    def standard_errors(self) -> FloatArray:
        """Of alpha and of beta."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    @property
    def alpha_se(self) -> float:
        """Standard error of alpha."""
        return float(self.standard_errors[0])

    @property
    def beta_se(self) -> float:
        """Standard error of beta."""
        return float(self.standard_errors[1])

    @property
    def model_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of `to_dict`."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def predict(self, frame: pl.DataFrame, fold: int) -> pl.DataFrame:
        """Blend and beta-only market of one fold.

        Args:
            frame: runners sorted by `KEYS`, on or after the cutoff, with `score` and `market_probability`.
            fold: number written beside every prediction.

        Returns:
            `race_date, race_key, runner_key, fold, cutoff, blend_probability, alpha, alpha_se, beta, beta_se,
            market_beta_probability, model_hash`. Races without a full set of prices have null probabilities.

        Raises:
            LookAheadError: a row is earlier than the cutoff.
            NoPricesError: no race has a full set of market probabilities.
        """
        require_columns(frame, (*KEYS, "score", "market_probability"), "blend")
        require_not_trained_on(frame, self.cutoff, "blend")
        priced = priced_frame(frame)
        if frame.height and priced.is_empty():
            raise NoPricesError(f"blend: no race of the fold with cutoff {self.cutoff} has a full set of prices")
        races = Races.from_frame(priced)
        design = _design(priced)
        predicted = priced.select("runner_key").with_columns(
            pl.Series("blend_probability", races.softmax(design @ self.coefficients)),
            pl.Series("market_beta_probability", races.softmax(self.market_beta * design[:, 1])),
        )
        return (
            frame.select(*KEYS)
            .with_columns(
                pl.lit(fold, dtype=pl.Int32).alias("fold"), pl.lit(self.cutoff, dtype=pl.Date).alias("cutoff")
            )
            .join(predicted, on="runner_key", how="left", maintain_order="left")
            .with_columns(
                pl.lit(self.alpha).alias("alpha"),
                pl.lit(self.alpha_se).alias("alpha_se"),
                pl.lit(self.beta).alias("beta"),
                pl.lit(self.beta_se).alias("beta_se"),
                pl.lit(self.model_hash).alias("model_hash"),
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "kind": "blend",
            "cutoff": self.cutoff.isoformat(),
            "coefficients": self.coefficients.tolist(),
            "covariance": self.covariance.tolist(),
            "market_beta": self.market_beta,
            "market_beta_se": self.market_beta_se,
            "races": self.races,
            "fit_start": self.fit_start.isoformat(),
            "fit_end": self.fit_end.isoformat(),
            "log_likelihood_gain": self.log_likelihood_gain,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> BlendModel:
        """Inverse of `to_dict`."""
        return cls(
            date.fromisoformat(stored["cutoff"]),
            np.asarray(stored["coefficients"], dtype=np.float64),
            np.asarray(stored["covariance"], dtype=np.float64),
            stored["market_beta"],
            stored["market_beta_se"],
            stored["races"],
            date.fromisoformat(stored["fit_start"]),
            date.fromisoformat(stored["fit_end"]),
            stored["log_likelihood_gain"],
        )


def fit_blend(
    earlier: pl.DataFrame,
    cutoff: date,
    *,
    embargo_days: int = 1,
    min_races: int = MIN_BLEND_RACES,
) -> BlendModel:
    """Alpha and beta by maximum likelihood, without penalty.

    Args:
        earlier: out-of-sample predictions of earlier folds (or of the inner later races when there are none yet), with
            `KEYS`, `win_share`, `score` (log f) and `market_probability`.
        cutoff: first day of the scored fold.
        embargo_days: days before the cutoff that are not used.
        min_races: fewest settled races with full prices.

    Raises:
        LookAheadError: fit data reach into the embargo or the fold.
        NoPricesError: no race has a full set of market probabilities.
        TooFewRacesError: fewer than `min_races`.
    """
    priced = settled_and_priced(
        earlier,
        ("score",),
        cutoff,
        f"blend fit, cutoff {cutoff}",
        embargo_days=embargo_days,
        min_races=min_races,
    )
    races = Races.from_frame(priced)
    design = _design(priced)
    fit = maximise(ChoiceLikelihood(design, races), np.array([0.0, 1.0]))
    alone = fit_market_beta(priced)
    market = float(-races.loss(races.softmax(design[:, 1])).sum())
    return BlendModel(
        cutoff,
        fit.coefficients,
        fit.covariance,
        float(alone.coefficients[0]),
        float(alone.standard_errors[0]),
        len(races),
        races.race_date[0].item(),
        races.race_date[-1].item(),
        (fit.log_likelihood - market) / len(races),
    )


def fit_market_beta(priced: pl.DataFrame) -> LogitFit:
    """The market with its exponent fitted: `c_i ∝ p_i^beta`.

    Args:
        priced: settled runners sorted by `KEYS`, all with `market_probability`.

    Returns:
        A fit with one coefficient.
    """
    races = Races.from_frame(priced)
    log_market = np.log(priced.get_column("market_probability").to_numpy())
    return maximise(ChoiceLikelihood(log_market[:, None], races), np.ones(1))


@dataclass(frozen=True, eq=False)
class ProfileLikelihood:
    """Log-likelihood around the maximum, for a picture.

    Attributes:
        alpha: `(points,)` grid.
        beta: `(points,)` grid.
        alpha_profile: `(points,)` log-likelihood at each alpha with beta maximised out, less the maximum.
        beta_profile: `(points,)` the same for beta, alpha maximised out.
        surface: `(points of beta, points of alpha)` log-likelihood less the maximum.
    """

    alpha: FloatArray
    beta: FloatArray
    alpha_profile: FloatArray
    beta_profile: FloatArray
    surface: FloatArray


def profile_likelihood(
    earlier: pl.DataFrame, model: BlendModel, *, points: int = 25, standard_errors: float = 4.0
) -> ProfileLikelihood:
    """Profile of a blend over a grid of +- `standard_errors` around its maximum.

    Args:
        earlier: the fit data of `model`.
        model: a blend fitted on it.
        points: grid points per axis.
        standard_errors: half-width of the grid.
    """
    priced = settled_and_priced(
        earlier, ("score",), model.cutoff, f"profile of the blend, cutoff {model.cutoff}", embargo_days=0, min_races=1
    )
    races = Races.from_frame(priced)
    likelihood = ChoiceLikelihood(_design(priced), races)
    best = maximise(likelihood, np.array([0.0, 1.0]))
    steps = np.linspace(-standard_errors, standard_errors, points)
    grids = [best.coefficients[axis] + steps * best.standard_errors[axis] for axis in (0, 1)]
    profiles = []
    for axis in (0, 1):
        fixed, free = likelihood.design[:, axis], likelihood.design[:, [1 - axis]]
        guess = best.coefficients[[1 - axis]]
        values = [
            maximise(ChoiceLikelihood(free, races, offset=weight * fixed), guess).log_likelihood
            for weight in grids[axis]
        ]
        profiles.append(np.asarray(values) - best.log_likelihood)
    surface = np.array([[likelihood.log_likelihood(np.array([a, b])) for a in grids[0]] for b in grids[1]])
    return ProfileLikelihood(grids[0], grids[1], profiles[0], profiles[1], surface - best.log_likelihood)


def _design(frame: pl.DataFrame) -> FloatArray:
    columns = [frame.get_column("score").to_numpy(), np.log(frame.get_column("market_probability").to_numpy())]
    return np.column_stack(columns).astype(np.float64)
