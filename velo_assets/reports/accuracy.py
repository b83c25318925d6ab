"""How good the probabilities are, per fold and pooled: R2 against the market, calibration, the split by the market.

Belongs here: the numbers behind the scoreboard's folds and the tear sheet's accuracy pictures. Not here: money
(`betting.metrics`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.modelling.bootstrap import DEFAULT_DRAWS, paired_delta_r2
from velo_assets.modelling.guards import require_columns
from velo_assets.modelling.races import Races

FloatArray = NDArray[np.float64]

CALIBRATION_BINS = 15
"""Equal-count bins of the calibration error; more bins measure noise."""

FLOOR_DRAWS = 50
"""Simulated seasons behind the noise floor of the calibration error; its mean moves by about 2% between seeds."""

RECIPES = ("market", "market_beta", "fundamental", "blend", "experts")
"""Recipes of the scoreboard; null where a run has none."""


def reliability(probability: FloatArray, win_share: FloatArray, bins: int = CALIBRATION_BINS) -> pl.DataFrame:
    """Predicted against actual win rate in bins of equal count.

    Args:
        probability: `(runners,)`.
        win_share: `(runners,)`.
        bins: number of bins.

    Returns:
        `bin, runners, predicted, actual, standard_error` (binomial, under the prediction), by rising prediction.
    """
    frame = pl.DataFrame({"bin": _bin(probability, bins), "p": probability, "won": win_share})
    return (
        frame.group_by("bin")
        .agg(
            pl.len().alias("runners"),
            pl.col("p").mean().alias("predicted"),
            pl.col("won").mean().alias("actual"),
            ((pl.col("p") * (1 - pl.col("p"))).sum().sqrt() / pl.len()).alias("standard_error"),
        )
        .sort("bin")
    )


def calibration_error(probability: FloatArray, win_share: FloatArray, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: mean gap between predicted and actual win rate over bins of equal count."""
    if len(probability) == 0:
        return math.nan
    return _gap(_bin(probability, bins), probability, win_share)


def calibration_error_floor(
    probability: FloatArray, races: Races, bins: int = CALIBRATION_BINS, draws: int = FLOOR_DRAWS, seed: int = 0
) -> float:
    """Calibration error that perfect probabilities would show on so many races: winners are drawn from them.

    Args:
        probability: `(runners,)`, sums to 1 in each race.
        races: layout of the races.
        bins: as for `calibration_error`.
        draws: simulated seasons.
        seed: of the draws.

    Returns:
        Mean error over the draws.
    """
    if len(probability) == 0:
        return math.nan
    label = _bin(probability, bins)
    running = np.cumsum(probability)
    before = running[races.race_starts] - probability[races.race_starts]
    total = np.add.reduceat(probability, races.race_starts)
    last = races.race_starts + races.field_size - 1
    generator = np.random.default_rng(seed)
    gaps = np.empty(draws)
    for draw in range(draws):
        winner = np.searchsorted(running, before + generator.random(len(total)) * total)
        won = np.zeros(len(probability))
        won[np.clip(winner, races.race_starts, last)] = 1.0
        gaps[draw] = _gap(label, probability, won)
    return float(gaps.mean())


def split_by_market(model: FloatArray, market: FloatArray, win_share: FloatArray, bins: int = 8) -> pl.DataFrame:
    """Actual over expected of the model where it is above the market and where it is below: flat at 1 for a good blend.

    Args:
        model: `(runners,)` probability.
        market: `(runners,)` probability.
        win_share: `(runners,)`.
        bins: equal-count bins of the model's probability, within each side.

    Returns:
        `side` ('model above market' or 'model below market'), `bin, runners, predicted, a_over_e, standard_error`.
    """
    parts = []
    for side, rows in (("model above market", model > market), ("model below market", model <= market)):
        if rows.any():
            table = reliability(model[rows], win_share[rows], bins)
            parts.append(
                table.select(
                    pl.lit(side).alias("side"),
                    "bin",
                    "runners",
                    "predicted",
                    (pl.col("actual") / pl.col("predicted")).alias("a_over_e"),
                    (pl.col("standard_error") / pl.col("predicted")).alias("standard_error"),
                )
            )
    return pl.concat(parts) if parts else pl.DataFrame()


def comparable(predictions: pl.DataFrame, shipped: str) -> pl.DataFrame:
    """Rows of settled races of two or more runners that the market and every recipe of the run price in full.

    Args:
        predictions: wide frame.
        shipped: recipe that must be there.

    Returns:
        Rows in the order they came. Recipes that price no race at all are left out of the demand.
    """
    require_columns(predictions, ("race_key", "win_share", "market_probability", f"probability_{shipped}"), "accuracy")
    present = [
        name
        for name in ("market_probability", *(f"probability_{recipe}" for recipe in RECIPES))
        if name in predictions.columns and predictions.get_column(name).null_count() < predictions.height
    ]
    whole = pl.all_horizontal(*(pl.col(name).is_not_null() & (pl.col(name) > 0) for name in present))
    return predictions.filter(
        (
            whole.all()
            & pl.col("settles").fill_null(False).all()
            & ((pl.col("win_share").sum() - 1.0).abs() < 1e-6)
            & (pl.len() > 1)
        ).over("race_key")
    )


def fold_metrics(
    predictions: pl.DataFrame,
    *,
    shipped: str = "blend",
    weights: pl.DataFrame | None = None,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Accuracy per fold and pooled, all on the same races.

    Args:
        predictions: wide frame.
        shipped: recipe whose gain is tested and whose calibration is shown.
        weights: `fold, alpha, alpha_se, beta, beta_se` of the blend.
        draws: bootstrap draws.
        seed: of the bootstrap.

    Returns:
        The scoreboard's `folds` and `pooled`. What can't be computed is null. The pooled alpha and beta are those of
        the last fold, which was fitted on the most races.
    """
    frame = comparable(predictions, shipped)
    blend = {} if weights is None else {int(row["fold"]): row for row in weights.iter_rows(named=True)}
    folds = [
        _accuracy(part, int(fold), shipped, blend.get(int(fold)), draws, seed)
        for (fold,), part in frame.group_by(["fold"], maintain_order=True)
    ]
    folds.sort(key=lambda row: row["year"])
    pooled = _accuracy(frame, None, shipped, blend[max(blend)] if blend else None, draws, seed)
    return folds, pooled


def _accuracy(
    frame: pl.DataFrame, fold: int | None, shipped: str, weights: dict[str, Any] | None, draws: int, seed: int
) -> dict[str, Any]:
    """One row of the scoreboard."""
    from velo_assets.modelling.promotion import calibration_slope

    row: dict[str, Any] = {"year": fold, "races": 0} | {f"r2_{recipe}": None for recipe in RECIPES}
    keys = ("delta_r2", "delta_r2_ci", "delta_r2_beta", "delta_r2_beta_ci", "alpha", "alpha_se", "beta", "beta_se")
    row |= dict.fromkeys((*keys, "calibration_slope", "ece", "ece_floor"))
    if weights is not None:
        row |= {name: _number(weights.get(name)) for name in ("alpha", "alpha_se", "beta", "beta_se")}
    if frame.is_empty():
        return row
    races = Races.from_frame(frame)
    row["races"] = len(races)
    loss: dict[str, FloatArray] = {}
    for recipe in RECIPES:
        name = "market_probability" if recipe == "market" else f"probability_{recipe}"
        if name in frame.columns and frame.get_column(name).null_count() == 0:
            probability = frame.get_column(name).cast(pl.Float64).to_numpy()
            loss[recipe] = races.loss(probability)
            row[f"r2_{recipe}"] = _number(races.r2(probability))
    chosen = frame.get_column(f"probability_{shipped}").cast(pl.Float64).to_numpy()
    log_n = np.log(races.field_size)
    for reference, key in (("market", "delta_r2"), ("market_beta", "delta_r2_beta")):
        if reference in loss:
            gain = paired_delta_r2(races.loss(chosen), loss[reference], log_n, races.race_date, draws, seed)
            row |= {key: _number(gain.estimate), f"{key}_ci": [_number(gain.low), _number(gain.high)]}
    try:
        row["calibration_slope"] = _number(calibration_slope(chosen, races))
    except ArithmeticError:
        # Every winner named without a miss: no finite slope exists. Null, and the leak alarms speak.
        row["calibration_slope"] = None
    row["ece"] = _number(calibration_error(chosen, races.win_share))
    row["ece_floor"] = _number(calibration_error_floor(chosen, races, seed=seed))
    return row


def _bin(probability: FloatArray, bins: int) -> NDArray[np.int64]:
    """Equal-count bin of each value, by rank."""
    rank = np.empty(len(probability), dtype=np.int64)
    rank[np.argsort(probability, kind="stable")] = np.arange(len(probability))
    return rank * min(bins, max(len(probability), 1)) // max(len(probability), 1)


def _gap(label: NDArray[np.int64], probability: FloatArray, won: FloatArray) -> float:
    """Mean absolute gap between sums of wins and of probabilities per bin."""
    return float(np.abs(np.bincount(label, weights=won) - np.bincount(label, weights=probability)).sum() / len(label))


def _number(value: Any) -> float | None:
    """A finite float, or None."""
    return float(value) if value is not None and math.isfinite(value) else None
