"""How good the probabilities are, per fold and pooled: R2 against the market, calibration.

Belongs here: the numbers behind the scoreboard's folds. Not here: how calibration is measured
(`modelling.calibration`), money (`betting.metrics`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.betting.predictions import SCORED_COLUMNS
from velo_assets.modelling.bootstrap import DEFAULT_DRAWS, paired_delta_r2
from velo_assets.modelling.calibration import calibration_error, calibration_noise_floor
from velo_assets.modelling.guards import require_columns
from velo_assets.modelling.promotion import calibration_slope
from velo_assets.modelling.races import Races

FloatArray = NDArray[np.float64]

FLOOR_DRAWS = 50
"""Simulated histories behind the noise floor of the calibration error; its mean moves by about 2% between seeds."""

RECIPES = ("market", "market_beta", "fundamental", "blend", "experts")
"""Recipes of the scoreboard; null where a run has none."""

ALL_RECIPES = (*RECIPES, "single")
"""Besides, one model of all prices, the experts' rival, where a study has fitted it."""


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
        for name in ("market_probability", *(f"probability_{recipe}" for recipe in ALL_RECIPES))
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


def recipe_table(predictions: pl.DataFrame, shipped: str, *, draws: int = DEFAULT_DRAWS, seed: int = 0) -> pl.DataFrame:
    """Every recipe against the market and against the market with its exponent fitted, on the same races.

    Args:
        predictions: wide frame.
        shipped: recipe that must be there.
        draws: bootstrap draws.
        seed: of the bootstrap.

    Returns:
        `recipe, races, r2`, and for each reference (`market`, `market_beta`) `over_<reference>` with `_low` and
        `_high`; best first. Null where the reference is missing or is the recipe itself.
    """
    frame = comparable(predictions, shipped)
    names = {recipe: "market_probability" if recipe == "market" else f"probability_{recipe}" for recipe in ALL_RECIPES}
    names = {r: name for r, name in names.items() if name in frame.columns and frame[name].null_count() == 0}
    references = ("market", "market_beta")
    columns = [f"over_{reference}{end}" for reference in references for end in ("", "_low", "_high")]
    schema = {"recipe": pl.String, "races": pl.Int64, **dict.fromkeys(("r2", *columns), pl.Float64)}
    if frame.is_empty():
        return pl.DataFrame(schema=schema)
    races = Races.from_frame(frame)
    loss = {recipe: races.loss(frame[name].cast(pl.Float64).to_numpy()) for recipe, name in names.items()}
    log_n = np.log(races.field_size)
    rows = []
    for recipe, own in loss.items():
        row: dict[str, Any] = {"recipe": recipe, "races": len(races), "r2": float(1.0 - own.sum() / log_n.sum())}
        for reference in references:
            if reference in loss and reference != recipe:
                gain = paired_delta_r2(own, loss[reference], log_n, races.race_date, draws, seed)
                row |= {f"over_{reference}": _number(gain.estimate)}
                row |= {f"over_{reference}_low": _number(gain.low), f"over_{reference}_high": _number(gain.high)}
        rows.append(row)
    return pl.DataFrame(rows, schema=schema).sort("r2", descending=True)


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
    frame = comparable(predictions.select(pl.selectors.by_name(*SCORED_COLUMNS, require_all=False)), shipped)
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
    row["ece_floor"] = _number(calibration_noise_floor(chosen, races, draws=FLOOR_DRAWS, seed=seed)[0])
    return row


def _number(value: Any) -> float | None:
    """A finite float, or None."""
    return float(value) if value is not None and math.isfinite(value) else None
