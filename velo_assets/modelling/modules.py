"""What each module adds: SSM, BOP, TRA, DLV, V9PM and the Five Filters as declared in docs/methods.md.

Belongs here: which feature families a module stands on, and the reports that measure it out of sample over the market
and over the rest of the matrix. Not here: the features, and the models that ship.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from velo_assets.modelling.bootstrap import Interval, paired_delta_r2
from velo_assets.modelling.conditional_logit import ChoiceLikelihood, LinearLogit, maximise
from velo_assets.modelling.guards import require_columns
from velo_assets.modelling.offsets import CLEAR_Z, Signal, market_rows, signal_frame
from velo_assets.modelling.races import (
    KEYS,
    BoolArray,
    FloatArray,
    Races,
    feature_matrix,
    latest_races,
    priced_frame,
    settled_frame,
)
from velo_assets.modelling.walk_forward import Fold, scored_rows, train_rows

MODULE_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "SSM": ("running_style",),
    "BOP": ("bias_maps",),
    "TRA": ("trouble",),
    "TIE": ("intent_signals",),
    "NDS": ("market_history",),
    "SQPE": ("form_curves", "speed_figures", "collateral_form", "weight_rating", "class_layoff", "suitability"),
}
"""Feature families (tables of the `features` layer) behind each module. V9PM is the report of all families, each left
out in turn."""

LONG_ODDS = (15.0, 40.0)
"""DLV looks for value in this band of decimal odds."""

FIVE_FILTERS = (
    Signal("form", pl.col("form_ewma") > pl.col("form_ewma").mean().over("race_key"), "better form than the field"),
    Signal("intent", pl.col("jockey_upgrade") > 0, "a better jockey than last time"),
    Signal(
        "sectional",
        pl.col("late_gain_ewma") > pl.col("late_gain_ewma").mean().over("race_key"),
        "passes more of the field late than its rivals",
    ),
    Signal("market", pl.col("decimal_odds").is_between(5.0, 21.0, closed="left"), "priced 5 to 21"),
    Signal("value", pl.col("fundamental_probability") > pl.col("market_probability"), "model above market"),
)
"""The Five Filters, each a yes or no that is known before the off (the last two at the decision price)."""


@dataclass(frozen=True)
class Contribution:
    """What something adds out of sample.

    Attributes:
        name: of the family, module or filter.
        delta_r2: gain with its race-day bootstrap interval.
        races: scored races.
        features: columns taken into account.
    """

    name: str
    delta_r2: Interval
    races: int
    features: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """In words: does it add, cost, or neither."""
        if self.delta_r2.low > 0:
            return "adds"
        return "costs" if self.delta_r2.high < 0 else "adds nothing that can be told from 0"


def module_report(
    frame: pl.DataFrame,
    families: Mapping[str, Sequence[str]],
    folds: Sequence[Fold],
    *,
    ridge: float = 300.0,
    modules: Mapping[str, Sequence[str]] = MODULE_FAMILIES,
    train_races: int = 20_000,
) -> pl.DataFrame:
    """Leave-one-out gain of every family and of every module, out of sample, and the coefficient of its part.

    One linear conditional logit of all features is fitted per fold; log p_market is one of its columns. A family is
    left out by moving to the constrained maximum of the likelihood's quadratic approximation, `b_rest - C_rf C_ff^-1
    b_f` with C the covariance, which needs no second fit. The gain is the R2 lost on the scored folds without the
    family. The coefficient multiplies the family's part of the score, fitted on the scored folds with the rest held: 1
    is to be believed as it was fitted, 0 adds nothing.

    Args:
        frame: runners of all years with `KEYS`, `win_share`, `market_probability` and the features.
        families: feature names by family.
        folds: the folds to fit and score; warm-up folds are left out.
        ridge: penalty on each scaled coefficient; strong, because over a sharp market most effects are near 0.
        modules: families by module.
        train_races: each fit sees at most this many of the latest races; with more, errors are below .03 anyway.

    Returns:
        `kind` ('family' or 'module'), `name, delta_r2, low, high, coefficient, standard_error, races, features,
        verdict`, best first.

    Raises:
        MissingFeatureError: a feature is missing.
        NoPricesError: no race of a fold has a full set of prices.
        TooFewRacesError: a fold has too few races.
    """
    names = tuple(dict.fromkeys(name for family in families.values() for name in family))
    require_columns(frame, (*KEYS, "win_share", "market_probability", *names), "module report")
    groups: dict[tuple[str, str], tuple[str, ...]] = {
        ("family", family): tuple(members) for family, members in families.items()
    }
    for module, parts in modules.items():
        members = tuple(name for part in parts for name in families.get(part, ()))
        if members:
            groups[("module", module)] = members
    losses: dict[tuple[str, str], list[FloatArray]] = {key: [] for key in groups}
    own_part: dict[tuple[str, str], list[FloatArray]] = {key: [] for key in groups}
    full: list[FloatArray] = []
    scores: list[FloatArray] = []
    scored_races: list[Races] = []
    for fold in (f for f in folds if not f.warm_up):
        train = latest_races(market_rows(train_rows(frame, fold), fold.cutoff, "module report", 0, 200), train_races)
        scored = priced_frame(settled_frame(scored_rows(frame, fold)))
        fit_races, races = Races.from_frame(train), Races.from_frame(scored)
        columns = (*names, "log_market")
        model = LinearLogit.fit(_matrix(train, columns), fit_races, columns, ridge=ridge)
        design = model.design(_matrix(scored, columns), races)
        scores.append(design @ model.coefficients_)
        full.append(races.loss(races.softmax(scores[-1])))
        scored_races.append(races)
        for key, members in groups.items():
            own = _own_columns(model, members)
            own_part[key].append(design[:, own] @ model.coefficients_[own])
            losses[key].append(races.loss(races.softmax(design @ without(model, members))))
    rows = []
    base, log_n, days = _pooled(full, scored_races)
    together, score = _joined(scored_races), np.concatenate(scores)
    for (kind, name), losses_without in losses.items():
        gain = paired_delta_r2(base, np.concatenate(losses_without), log_n, days)
        item = Contribution(name, gain, len(base), groups[(kind, name)])
        part = np.concatenate(own_part[kind, name])
        coefficient, error = _one_coefficient(part, score - part, together)
        rows.append(
            {
                "kind": kind,
                "name": name,
                "delta_r2": gain.estimate,
                "low": gain.low,
                "high": gain.high,
                "coefficient": coefficient,
                "standard_error": error,
                "races": item.races,
                "features": len(item.features),
                "verdict": SILENT if coefficient is None else item.verdict,
            }
        )
    return pl.DataFrame(rows).sort("kind", "delta_r2", descending=[False, True])


def without(model: LinearLogit, members: Iterable[str]) -> FloatArray:
    """Coefficients when some features are held at 0, by the quadratic approximation of the likelihood.

    Args:
        model: a fit with its covariance.
        members: features to leave out; their missing-value indicators go with them.

    Returns:
        `(columns,)` coefficients, 0 for the features left out.
    """
    out = _own_columns(model, members)
    coefficients = model.coefficients_.copy()
    if out.any():
        covariance = model.covariance_
        pull = np.linalg.solve(covariance[np.ix_(out, out)], coefficients[out])
        coefficients[~out] -= covariance[np.ix_(~out, out)] @ pull
        coefficients[out] = 0.0
    return coefficients


def offset_report(frame: pl.DataFrame, offsets: Mapping[str, str]) -> pl.DataFrame:
    """What modules that speak in log-odds add to the market: each alone, out of sample, as it stands.

    The gain is `R2(p^beta exp(offset)) - R2(p^beta)` with the same beta, fitted on these races without the offset. The
    coefficient w of `p^b exp(w offset)` is fitted on them: 1 is to be believed as it stands, 0 adds nothing.

    Args:
        frame: out-of-sample rows with `KEYS`, `win_share`, `market_probability` and the offsets; null counts as 0.
        offsets: column of the log-odds offset by module.

    Returns:
        `name, delta_r2, low, high, coefficient, standard_error, races, verdict`; a module that never speaks is left
        out.

    Raises:
        MissingFeatureError: a column is missing.
        TooFewRacesError: no settled race with full prices.
    """
    require_columns(frame, (*KEYS, "win_share", "market_probability", *offsets.values()), "offset report")
    rows = priced_frame(settled_frame(frame))
    races = Races.from_frame(rows)
    log_market = np.log(rows.get_column("market_probability").to_numpy())
    beta = maximise(ChoiceLikelihood(log_market[:, None], races), np.ones(1)).coefficients[0]
    base, log_n = races.loss(races.softmax(beta * log_market)), np.log(races.field_size)
    report = []
    for name, column in offsets.items():
        offset = rows.get_column(column).cast(pl.Float64).fill_nan(None)
        if offset.null_count() == rows.height:
            continue
        part = offset.fill_null(0.0).to_numpy()
        gain = paired_delta_r2(races.loss(races.softmax(beta * log_market + part)), base, log_n, races.race_date)
        weight, error = _one_coefficient(part, np.zeros(len(part)), races, log_market)
        report.append(
            {
                "name": name,
                "delta_r2": gain.estimate,
                "low": gain.low,
                "high": gain.high,
                "coefficient": weight,
                "standard_error": error,
                "races": len(races),
                "verdict": Contribution(name, gain, len(races), (column,)).verdict,
            }
        )
    return pl.DataFrame(report, schema=OFFSET_REPORT)


SILENT = "says nothing here"
"""Verdict of what never differs between the runners of a race, such as breeding where no sire is known."""

OFFSET_REPORT = {
    "name": pl.String,
    "delta_r2": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "coefficient": pl.Float64,
    "standard_error": pl.Float64,
    "races": pl.Int64,
    "verdict": pl.String,
}
"""Columns of `offset_report`."""


def filter_report(frame: pl.DataFrame, filters: Sequence[Signal] = FIVE_FILTERS) -> pl.DataFrame:
    """Marginal effect of each filter over the market, all filters side by side in one conditional logit.

    Args:
        frame: out-of-sample rows with `KEYS`, `win_share`, `market_probability` and what the filters read.
        filters: yes-or-no signals; unknown counts as no.

    Returns:
        `filter, description, runners, wins, expected, actual_over_expected, coefficient, standard_error, z, verdict`;
        the coefficient is the log-odds over the market of a runner that passes; null when nobody passes.

    Raises:
        MissingFeatureError: a column is missing.
        TooFewRacesError: no settled race with full prices.
    """
    require_columns(frame, (*KEYS, "win_share", "market_probability"), "filter report")
    rows = priced_frame(settled_frame(frame))
    races = Races.from_frame(rows)
    passed = np.nan_to_num(signal_frame(rows, filters, "filter report").to_numpy().astype(np.float64))
    market = rows.get_column("market_probability").to_numpy()
    log_market = np.log(market)
    fit = maximise(ChoiceLikelihood(np.column_stack((passed, log_market)), races, offset=log_market, ridge=1.0))
    report = []
    for place, signal in enumerate(filters):
        chosen = passed[:, place] > 0
        wins, expected = float(races.win_share[chosen].sum()), float(market[chosen].sum())
        spoken = bool(chosen.any())
        coefficient, error = float(fit.coefficients[place]), float(fit.standard_errors[place])
        report.append(
            {
                "filter": signal.name,
                "description": signal.description,
                "runners": int(chosen.sum()),
                "wins": wins,
                "expected": expected,
                "actual_over_expected": wins / expected if expected > 0 else None,
                "coefficient": coefficient if spoken else None,
                "standard_error": error if spoken else None,
                "z": coefficient / error if spoken else None,
                "verdict": _effect(coefficient, error) if spoken else SILENT,
            }
        )
    return pl.DataFrame(report, infer_schema_length=None)


def long_odds_check(frame: pl.DataFrame, probability: str = "expert_probability") -> dict[str, float]:
    """DLV: among long prices, do the runners the expert likes win more than the market expects?

    Args:
        frame: out-of-sample rows with `KEYS`, `win_share`, `market_probability`, `decimal_odds` and the column.
        probability: the expert's probability.

    Returns:
        `runners, wins, expected, actual_over_expected, standard_error` (Poisson, of the ratio) of runners at
        `LONG_ODDS` that the expert puts above the market.

    Raises:
        MissingFeatureError: a column is missing.
    """
    require_columns(frame, (*KEYS, "win_share", "market_probability", "decimal_odds", probability), "long-odds check")
    low, high = LONG_ODDS
    chosen = priced_frame(settled_frame(frame)).filter(
        pl.col("decimal_odds").is_between(low, high, closed="left")
        & (pl.col(probability) > pl.col("market_probability"))
    )
    wins = float(chosen.get_column("win_share").sum())
    expected = float(chosen.get_column("market_probability").sum())
    return {
        "runners": float(chosen.height),
        "wins": wins,
        "expected": expected,
        "actual_over_expected": wins / expected if expected > 0 else float("nan"),
        "standard_error": float(np.sqrt(expected)) / expected if expected > 0 else float("nan"),
    }


def _matrix(frame: pl.DataFrame, columns: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return feature_matrix(frame.with_columns(pl.col("market_probability").log().alias("log_market")), columns)


def _own_columns(model: LinearLogit, members: Iterable[str]) -> BoolArray:
    """`(columns,)` mask of some features and their missing-value indicators."""
    own = set(members)
    own |= {f"missing({name})" for name in own}
    return np.array([column in own for column in model.columns])


def _one_coefficient(
    part: FloatArray, rest: FloatArray, races: Races, free: FloatArray | None = None
) -> tuple[float | None, float | None]:
    """Coefficient of one part of a score and its standard error, the rest held (and `free` fitted beside it).

    None where the part does not vary within any race, so that no coefficient could be told from another.
    """
    means = np.add.reduceat(part, races.race_starts) / races.field_size
    if np.abs(part - np.repeat(means, races.field_size)).max() < 1e-9:
        return None, None
    design = part[:, None] if free is None else np.column_stack((part, free))
    fit = maximise(ChoiceLikelihood(design, races, offset=rest), np.ones(design.shape[1]))
    return float(fit.coefficients[0]), float(fit.standard_errors[0])


def _joined(races: Sequence[Races]) -> Races:
    """Races of several folds as one."""
    before = np.cumsum([0, *(part.runners for part in races)])[:-1]
    return Races(
        np.concatenate([part.race_key for part in races]),
        np.concatenate([part.race_date for part in races]),
        np.concatenate([part.race_starts + start for part, start in zip(races, before, strict=True)]),
        np.concatenate([part.field_size for part in races]),
        np.concatenate([part.win_share for part in races]),
    )


def _pooled(losses: Sequence[FloatArray], races: Sequence[Races]) -> tuple[FloatArray, FloatArray, np.ndarray]:
    log_n = np.concatenate([np.log(part.field_size) for part in races])
    return np.concatenate(losses), log_n, np.concatenate([part.race_date for part in races])


def _effect(coefficient: float, error: float) -> str:
    if abs(coefficient) < CLEAR_Z * error:
        return "no clear effect"
    return "wins more than priced" if coefficient > 0 else "wins less than priced"
