"""Calibration: measuring it with its noise floor, and repairing it without breaking a race's sum of 1.

Belongs here: slope and intercept, expected calibration error, Brier decomposition, the split by market, race-wise maps
fitted on earlier folds, and their comparison with isotonic regression and Venn-Abers. Not here: models.

Sources: Cox (1958) for slope and intercept; Murphy (1973) for the decomposition; Vovk and Petej (2014) for Venn-Abers.
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

from velo_assets.modelling.conditional_logit import ChoiceLikelihood, maximise
from velo_assets.modelling.guards import require_columns, require_earlier, require_races
from velo_assets.modelling.races import KEYS, BoolArray, FloatArray, IntArray, Races, race_sum, settled_frame

SMALLEST = 1e-9
"""Probabilities are held this far from 0 and 1 before their logit is taken."""

DEFAULT_BINS = 20
"""Equal-count bins of the calibration error."""


def equal_count_bins(probability: FloatArray, bins: int = DEFAULT_BINS) -> IntArray:
    """Bin number of each runner by rank of probability, `(runners,)`; bins differ by at most one runner."""
    order = np.argsort(probability, kind="stable")
    number = np.empty(len(probability), dtype=np.int64)
    number[order] = np.arange(len(probability)) * bins // max(len(probability), 1)
    return number


def calibration_error(probability: FloatArray, won: FloatArray, bins: int = DEFAULT_BINS) -> float:
    """Expected calibration error: mean over runners of |wins - expected| / n of their equal-count bin.

    Args:
        probability: `(runners,)`.
        won: `(runners,)` win shares.
        bins: number of bins.
    """
    number = equal_count_bins(probability, bins)
    gap = np.bincount(number, won - probability, minlength=bins)
    return float(np.abs(gap).sum() / max(len(probability), 1))


def calibration_noise_floor(
    probability: FloatArray,
    races: Races,
    bins: int = DEFAULT_BINS,
    *,
    draws: int = 200,
    seed: int = 0,
    chosen: BoolArray | None = None,
) -> tuple[float, float]:
    """Calibration error that perfect probabilities would show: winners are drawn from them, race by race.

    Args:
        probability: `(runners,)`, summing to 1 in each race.
        races: their races.
        bins: number of bins.
        draws: simulated histories.
        seed: of the draws.
        chosen: `(runners,)` the runners judged; all when None. Winners are drawn from the whole race all the same.

    Returns:
        Mean of the simulated errors and their 95% point.
    """
    generator = np.random.default_rng(seed)
    judged = np.ones(len(probability), dtype=bool) if chosen is None else chosen
    number = np.full(len(probability), bins)
    number[judged] = equal_count_bins(probability[judged], bins)
    expected = np.bincount(number, probability, minlength=bins + 1)[:bins]
    running = np.cumsum(probability)
    before = np.concatenate(([0.0], running[races.race_starts[1:] - 1]))
    last = races.race_starts + races.field_size - 1
    errors = np.empty(draws)
    for draw in range(draws):
        target = before + generator.random(len(races)) * (running[last] - before)
        winner = np.clip(np.searchsorted(running, target, side="right"), races.race_starts, last)
        wins = np.bincount(number[winner], minlength=bins + 1)[:bins]
        errors[draw] = np.abs(wins - expected).sum() / max(int(judged.sum()), 1)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


@dataclass(frozen=True)
class Recalibration:
    """Logistic recalibration `logit P(win) = intercept + slope logit(p)`.

    Attributes:
        slope: below 1: too bold; above 1: too timid.
        slope_se: its standard error.
        intercept: calibration in the large at even probability.
        intercept_se: its standard error.
    """

    slope: float
    slope_se: float
    intercept: float
    intercept_se: float


def recalibration(probability: FloatArray, won: FloatArray) -> Recalibration:
    """Slope and intercept by maximum likelihood (Newton's method), runners taken as independent.

    Args:
        probability: `(runners,)`.
        won: `(runners,)` win shares in [0, 1].

    Raises:
        ArithmeticError: no finite maximum (no winners, or all probabilities equal).
    """
    held = np.clip(probability, SMALLEST, 1.0 - SMALLEST)
    design = np.column_stack((np.ones(len(held)), np.log(held / (1.0 - held))))
    guess = np.array([0.0, 1.0])
    information = np.eye(2)
    for _ in range(50):
        fitted = 1.0 / (1.0 + np.exp(-np.clip(design @ guess, -50.0, 50.0)))
        information = design.T @ (design * (fitted * (1.0 - fitted))[:, None])
        if np.linalg.cond(information) > 1e14:
            break
        step = np.linalg.solve(information, design.T @ (won - fitted))
        guess = guess + step
        if np.abs(step).max() < 1e-10:
            error = np.sqrt(np.diag(np.linalg.inv(information)))
            return Recalibration(float(guess[1]), float(error[1]), float(guess[0]), float(error[0]))
    raise ArithmeticError("calibration slope: no finite maximum; there are no winners, or the probabilities don't vary")


def brier_decomposition(probability: FloatArray, won: FloatArray, bins: int = DEFAULT_BINS) -> dict[str, float]:
    """Brier score per runner and its parts on equal-count bins.

    Args:
        probability: `(runners,)`.
        won: `(runners,)` win shares.
        bins: number of bins.

    Returns:
        `brier`, `reliability` (lower is better), `resolution` (higher is better), `uncertainty`, and `within_bin`, what
        the bins can't see: `brier = reliability - resolution + uncertainty + within_bin`, exactly.
    """
    number = equal_count_bins(probability, bins)
    count = np.maximum(np.bincount(number, minlength=bins), 1)
    share = np.bincount(number, minlength=bins) / len(probability)
    mean_p = np.bincount(number, probability, minlength=bins) / count
    rate = np.bincount(number, won, minlength=bins) / count
    overall = float(won.mean())
    brier = float(((probability - won) ** 2).mean())
    reliability = float(share @ (mean_p - rate) ** 2)
    resolution = float(share @ (rate - overall) ** 2)
    uncertainty = float(((won - overall) ** 2).mean())
    return {
        "brier": brier,
        "reliability": reliability,
        "resolution": resolution,
        "uncertainty": uncertainty,
        "within_bin": brier - reliability + resolution - uncertainty,
    }


def reliability_table(probability: FloatArray, won: FloatArray, bins: int = DEFAULT_BINS) -> pl.DataFrame:
    """Expected and actual wins of each equal-count bin.

    Args:
        probability: `(runners,)`.
        won: `(runners,)` win shares.
        bins: number of bins.

    Returns:
        `bin, runners, mean_probability, win_rate, standard_error` (binomial, of the win rate under the probabilities),
        `actual_over_expected`.
    """
    frame = pl.DataFrame({"bin": equal_count_bins(probability, bins), "p": probability, "won": won})
    return (
        frame.group_by("bin")
        .agg(
            pl.len().alias("runners"),
            pl.col("p").mean().alias("mean_probability"),
            pl.col("won").mean().alias("win_rate"),
            ((pl.col("p") * (1 - pl.col("p"))).sum().sqrt() / pl.len()).alias("standard_error"),
            (pl.col("won").sum() / pl.col("p").sum()).alias("actual_over_expected"),
        )
        .sort("bin")
    )


def split_by_market(probability: FloatArray, market: FloatArray, won: FloatArray, bins: int = 10) -> pl.DataFrame:
    """Benter's test picture: calibration where the model is above the market, and where it is below.

    Args:
        probability: `(runners,)` of the model.
        market: `(runners,)`.
        won: `(runners,)` win shares.
        bins: equal-count bins on each side.

    Returns:
        `reliability_table`'s columns and `side` ('above' or 'below') and `mean_market`; a good blend has
        `actual_over_expected` near 1 on both sides.
    """
    parts = []
    for side, chosen in (("above", probability > market), ("below", probability <= market)):
        if chosen.any():
            table = reliability_table(probability[chosen], won[chosen], bins)
            number = equal_count_bins(probability[chosen], bins)
            mean = np.bincount(number, market[chosen], minlength=bins) / np.maximum(
                np.bincount(number, minlength=bins), 1
            )
            parts.append(
                table.with_columns(
                    pl.lit(side).alias("side"), pl.Series("mean_market", mean[table.get_column("bin").to_numpy()])
                )
            )
    return pl.concat(parts)


@dataclass(frozen=True, eq=False)
class RaceCalibration:
    """Race-wise map `c'_i ∝ exp(slope log c_i + sum_k bend_k max(0, log c_i - knot_k))`: sums stay 1.

    A power of the odds with a bend at each regime's border. The identity is the prior: each bend is held to 0 and the
    slope to 1 by a ridge, so that a few races change little.

    Attributes:
        cutoff: first day it may calibrate.
        knots: log probabilities where the slope may change.
        coefficients: `(1 + knots,)` slope less 1, then the bends.
        covariance: of the coefficients.
        races: races fitted.
        fit_end: last day of the fit data.
    """

    cutoff: date
    knots: tuple[float, ...]
    coefficients: FloatArray
    covariance: FloatArray
    races: int
    fit_end: date

    @property
    def model_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of `to_dict`."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def calibrate(self, probability: FloatArray, races: Races) -> FloatArray:
        """Calibrated probabilities, `(runners,)`, summing to 1 in each race."""
        log_probability = np.log(np.maximum(probability, SMALLEST))
        return races.softmax(log_probability + _bends(log_probability, self.knots) @ self.coefficients)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "kind": "race_calibration",
            "cutoff": self.cutoff.isoformat(),
            "knots": list(self.knots),
            "coefficients": self.coefficients.tolist(),
            "covariance": self.covariance.tolist(),
            "races": self.races,
            "fit_end": self.fit_end.isoformat(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> RaceCalibration:
        """Inverse of `to_dict`."""
        return cls(
            date.fromisoformat(stored["cutoff"]),
            tuple(stored["knots"]),
            np.asarray(stored["coefficients"], dtype=np.float64),
            np.asarray(stored["covariance"], dtype=np.float64),
            stored["races"],
            date.fromisoformat(stored["fit_end"]),
        )


REGIME_KNOTS = tuple(float(-np.log(odds)) for odds in (40.0, 15.0, 8.0, 5.0))
"""Borders of the price regimes as log probabilities (fair odds 40, 15, 8, 5), rising."""


def fit_race_calibration(
    earlier: pl.DataFrame,
    probability: str,
    cutoff: date,
    *,
    knots: Sequence[float] = REGIME_KNOTS,
    ridge: float = 25.0,
    embargo_days: int = 1,
    min_races: int = 100,
) -> RaceCalibration:
    """Fit the race-wise map on out-of-sample predictions of earlier folds.

    Args:
        earlier: `KEYS`, `win_share` and the column to calibrate; races with a null in it are left out.
        probability: name of that column.
        cutoff: first day of the scored fold.
        knots: log probabilities where the slope may bend; none gives a pure power.
        ridge: penalty on each coefficient; 25 expects departures of about .2.
        embargo_days: days before the cutoff that are not used.
        min_races: fewest settled races.

    Raises:
        LookAheadError: fit data reach into the embargo or the fold.
        MissingFeatureError: a column is missing.
        TooFewRacesError: fewer than `min_races`.
    """
    what = f"calibration of {probability}, cutoff {cutoff}"
    require_columns(earlier, (*KEYS, "win_share", probability), what)
    require_earlier(earlier, cutoff, embargo_days, what)
    frame = settled_frame(earlier.filter(pl.col(probability).is_not_null().all().over("race_key")))
    races = Races.from_frame(frame)
    require_races(len(races), min_races, what)
    log_probability = np.log(np.maximum(frame.get_column(probability).to_numpy(), SMALLEST))
    likelihood = ChoiceLikelihood(_bends(log_probability, knots), races, offset=log_probability, ridge=ridge)
    fit = maximise(likelihood)
    return RaceCalibration(
        cutoff, tuple(knots), fit.coefficients, fit.covariance, len(races), races.race_date[-1].item()
    )


def isotonic_map(earlier: FloatArray, won: FloatArray, scored: FloatArray) -> FloatArray:
    """Isotonic regression of wins on earlier probabilities, read at the scored ones.

    Args:
        earlier: `(runners,)` probabilities of earlier folds.
        won: `(runners,)` their win shares.
        scored: `(n,)` probabilities to map.

    Returns:
        `(n,)`, not summing to 1 by race; see `renormalise`.
    """
    from sklearn.isotonic import IsotonicRegression

    fitted: FloatArray = IsotonicRegression(out_of_bounds="clip").fit(earlier, won).predict(scored)
    return fitted


def venn_abers(
    earlier: FloatArray, won: FloatArray, scored: FloatArray, *, points: int = 64
) -> tuple[FloatArray, FloatArray]:
    """Inductive Venn-Abers: isotonic fits with the scored runner added once as a loser, once as a winner.

    The pair is worked out exactly at `points` quantiles of the scored probabilities and interpolated between.

    Args:
        earlier: `(runners,)` probabilities of earlier folds.
        won: `(runners,)` 1 for winners, else 0 (dead-heaters count by share).
        scored: `(n,)` probabilities to map.
        points: quantiles at which the two fits are made.

    Returns:
        `(n,)` lower and `(n,)` upper probability.
    """
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(earlier, kind="stable")
    ordered, labels = earlier[order], won[order]
    at = np.unique(np.quantile(scored, np.linspace(0.0, 1.0, points)))
    pair = np.empty((2, len(at)))
    for index, value in enumerate(at):
        place = int(np.searchsorted(ordered, value))
        for label in (0, 1):
            pair[label, index] = isotonic_regression(np.insert(labels, place, float(label)))[place]
    return np.interp(scored, at, pair[0]), np.interp(scored, at, pair[1])


def merge_venn_abers(lower: FloatArray, upper: FloatArray) -> FloatArray:
    """One probability of a Venn-Abers pair, the log-loss minimax `p1 / (1 - p0 + p1)`."""
    merged: FloatArray = upper / (1.0 - lower + upper)
    return merged


def renormalise(probability: FloatArray, races: Races) -> FloatArray:
    """Probabilities divided by their race's sum, after holding them above 0."""
    held = np.maximum(probability, 1e-6)
    shared: FloatArray = held / np.repeat(race_sum(held, races.race_starts), races.field_size)
    return shared


def compare_calibrations(
    earlier: pl.DataFrame, scored: pl.DataFrame, probability: str, cutoff: date, *, embargo_days: int = 1
) -> pl.DataFrame:
    """Race-wise maps, isotonic and Venn-Abers, fitted on earlier folds and judged on one scored fold.

    Args:
        earlier: `KEYS`, `win_share`, the column; out-of-sample predictions of earlier folds.
        scored: the same columns of the scored fold.
        probability: name of the column.
        cutoff: first day of the scored fold.
        embargo_days: days before the cutoff that are not used.

    Returns:
        `method` ('none', 'power', 'piecewise', 'isotonic', 'venn_abers'), `races`, `r2`, `slope`, `calibration_error`,
        `noise_floor`.

    Raises:
        LookAheadError: fit data reach into the embargo or the fold.
        TooFewRacesError: too few earlier races.
    """
    power = fit_race_calibration(earlier, probability, cutoff, knots=(), embargo_days=embargo_days)
    piecewise = fit_race_calibration(earlier, probability, cutoff, embargo_days=embargo_days)
    past = settled_frame(earlier.filter(pl.col(probability).is_not_null()))
    frame = settled_frame(scored.filter(pl.col(probability).is_not_null()))
    races = Races.from_frame(frame)
    require_races(len(races), 1, f"calibration of {probability}, scored fold {cutoff}")
    before, wins = past.get_column(probability).to_numpy(), past.get_column("win_share").to_numpy()
    now = frame.get_column(probability).to_numpy()
    candidates = {
        "none": now,
        "power": power.calibrate(now, races),
        "piecewise": piecewise.calibrate(now, races),
        "isotonic": renormalise(isotonic_map(before, wins, now), races),
        "venn_abers": renormalise(merge_venn_abers(*venn_abers(before, wins, now)), races),
    }
    rows = []
    for method, calibrated in candidates.items():
        rows.append(
            {
                "method": method,
                "races": len(races),
                "r2": races.r2(calibrated),
                "slope": recalibration(calibrated, races.win_share).slope,
                "calibration_error": calibration_error(calibrated, races.win_share),
                "noise_floor": calibration_noise_floor(calibrated, races, draws=100)[0],
            }
        )
    return pl.DataFrame(rows)


def calibration_summary(
    probability: FloatArray, races: Races, *, bins: int = DEFAULT_BINS, chosen: BoolArray | None = None
) -> dict[str, float]:
    """All calibration figures of one recipe on one set of settled races.

    Args:
        probability: `(runners,)`, summing to 1 in each race.
        races: their races.
        bins: equal-count bins.
        chosen: `(runners,)` the runners to judge (a price regime); all when None.

    Returns:
        `runners, slope, slope_se, intercept, intercept_se, calibration_error, noise_floor, noise_floor_95,` and the
        Brier parts.
    """
    rows = np.ones(len(probability), dtype=bool) if chosen is None else chosen
    judged, won = probability[rows], races.win_share[rows]
    fitted = recalibration(judged, won)
    floor, floor_95 = calibration_noise_floor(probability, races, bins, chosen=rows)
    return {
        "runners": float(rows.sum()),
        "slope": fitted.slope,
        "slope_se": fitted.slope_se,
        "intercept": fitted.intercept,
        "intercept_se": fitted.intercept_se,
        "calibration_error": calibration_error(judged, won, bins),
        "noise_floor": floor,
        "noise_floor_95": floor_95,
        **brier_decomposition(judged, won, bins),
    }


def _bends(log_probability: FloatArray, knots: Sequence[float]) -> FloatArray:
    columns = [log_probability, *(np.maximum(log_probability - knot, 0.0) for knot in knots)]
    return np.column_stack(columns)
