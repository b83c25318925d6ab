"""One model, many years: fits and scores the folds of a window and gathers tables, figures and files of each.

A fold learns from all days before it, so those with too little to learn from come first: they are passed over, as the
years before the first fold are. Where none of the folds asked for has enough, all functions here raise what the fit of
the last one said: `TooFewRacesError` or `NoPricesError`.

Belongs here: the loop over folds that the model assets share, and which earlier predictions each model learns from.
Does not belong here: the models themselves, storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

import polars as pl

from velo_assets.modelling.blend import fit_blend
from velo_assets.modelling.disruption import HYPE_SIGNALS, fit_disruption
from velo_assets.modelling.experts import fit_expert, fit_gate
from velo_assets.modelling.explain import explain, summary_plot
from velo_assets.modelling.fundamental import FundamentalModel, fit_fundamental, settings_for
from velo_assets.modelling.guards import NoPricesError, TooFewRacesError
from velo_assets.modelling.intent import fit_intent
from velo_assets.modelling.offsets import OffsetModel
from velo_assets.modelling.races import KEYS, Races, latest_races, priced_frame, settled_frame, sort_runners
from velo_assets.modelling.search import Found, search_settings, settings_in_use
from velo_assets.modelling.walk_forward import Fold, FoldPlan, folds, scored_rows, train_rows
from velo_assets.settings import PRICE_REGIMES, PriceRegime

SUMMARY = "shap_summary.png"
"""File of the picture of every feature's SHAP values."""

EXPLAINED_RACES = 150
"""Latest races behind that picture: some 1,500 dots a feature."""

FOLDS_AT_ONCE = 2
"""Folds fitted side by side: every fit has long stretches that keep a single core busy, between those of LightGBM,
which takes both cores and one fold at a time."""

TOO_LITTLE = (TooFewRacesError, NoPricesError)
"""What a fit says that has too little to learn from."""

T = TypeVar("T")


@dataclass
class FoldOutcome:
    """What one fold of one model left behind.

    Attributes:
        fold: the fold.
        predictions: its table rows.
        params: settings and sizes worth recording.
        metrics: out-of-sample figures; None where there was nothing to measure.
        files: model files by name, LightGBM text and JSON; pictures as PNG bytes.
    """

    fold: Fold
    predictions: pl.DataFrame
    params: dict[str, object] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    files: dict[str, bytes | str] = field(default_factory=dict)


def folds_of(frame: pl.DataFrame, years: Iterable[int], plan: FoldPlan | None = None) -> list[Fold]:
    """Yearly folds, warm-up included, whose year is among `years`.

    Args:
        frame: training frame with race_date.
        years: years asked for; those too early to be scored have no fold.
        plan: defaults when None.
    """
    wanted = set(years)
    days = frame["race_date"]
    if days.is_empty():
        return []
    return [fold for fold in folds(days.min(), days.max(), plan) if fold.fold in wanted]  # type: ignore[arg-type]


def fundamental_folds(
    frame: pl.DataFrame,
    features: Sequence[str],
    years: Iterable[int],
    families: Mapping[str, str] | None = None,
    found: Mapping[int, Found] | None = None,
) -> list[FoldOutcome]:
    """Fit and score the price-free model of each year on all races before it.

    Args:
        frame: training frame of all years up to the last one asked for.
        features: price-free columns known before the off.
        years: years asked for.
        families: family by feature; with it the last fold keeps a picture of its SHAP values, `SUMMARY`.
        found: settings of the trees that searches have found, by year; see `settings_in_use`.
    """
    cut = folds_of(frame, years)
    # Filtered once: every fold's training rows are then a slice, not a copy of gigabytes.
    settled = settled_frame(frame)

    def fitted(fold: Fold) -> tuple[FundamentalModel, FoldOutcome]:
        train = train_rows(settled, fold)
        usual = settings_for(train["race_key"].n_unique())
        settings = settings_in_use(found or {}, fold.cutoff.year, usual)
        model = fit_fundamental(train, features, fold.cutoff, settings)
        scored = scored_rows(frame, fold)
        predictions = model.predict(scored, fold.fold)
        params: dict[str, object] = {
            "features": len(features),
            "races": model.train_races,
            "rounds": model.trees_.rounds_,
            "mix": model.mix_,
            "settings": "usual" if settings == usual else "found",
        }
        metrics = {**_r2(scored, predictions, "fundamental_probability"), **model.inner_}
        return model, FoldOutcome(fold, predictions, params, metrics, dict(model.texts()))

    each = _that_can_learn(fitted, cut)
    if families is not None and each:
        model, last = each[-1]
        shown = latest_races(sort_runners(scored_rows(frame, last.fold)), EXPLAINED_RACES)
        last.files[SUMMARY] = summary_plot(explain(model, shown, families))
    return [outcome for _, outcome in each]


def searched_settings(
    frame: pl.DataFrame, features: Sequence[str], years: Iterable[int], trials: int
) -> dict[int, dict[str, Any]]:
    """Search the settings of the price-free model's trees for the fold of each year, on all races before it.

    Args:
        frame: training frame of all years up to the last one asked for.
        features: price-free columns known before the off.
        years: years asked for.
        trials: size of each study.

    Returns:
        What was found by year, see `search_settings`.
    """
    settled = settled_frame(frame)

    def searched(fold: Fold) -> tuple[int, dict[str, Any]]:
        return fold.cutoff.year, search_settings(train_rows(settled, fold), features, fold.cutoff, trials=trials)

    # One after the other: a study is nothing but LightGBM, which takes both cores.
    return dict(_that_can_learn(searched, folds_of(frame, years), at_once=1))


def expert_folds(
    frame: pl.DataFrame, features: Sequence[str], years: Iterable[int], regime: PriceRegime
) -> list[FoldOutcome]:
    """Fit and score one regime's correction of each year."""
    settled = settled_frame(frame)
    learnable = priced_frame(settled)

    def fitted(fold: Fold) -> FoldOutcome:
        # Without a single full book the fit says so, given the unpriced races.
        train = train_rows(learnable, fold)
        model = fit_expert(train_rows(settled, fold) if train.is_empty() else train, features, fold.cutoff, regime)
        params: dict[str, object] = {
            "regime": f"{regime.low:g}-{regime.high:g}",
            "races": model.train_races,
            "rounds": model.trees_.rounds_,
        }
        predictions = model.predict(scored_rows(frame, fold), fold.fold)
        return FoldOutcome(fold, predictions, params, {"inner_gain": model.inner_gain_}, dict(model.texts()))

    return _that_can_learn(fitted, folds_of(frame, years))


def intent_folds(frame: pl.DataFrame, years: Iterable[int]) -> list[FoldOutcome]:
    """Fit and score the intent module (TIE) of each year."""
    return _offset_folds(
        frame, years, fit_intent, lambda model: model.common, lambda model, rows, fold: model.predict(rows, fold)
    )


def disruption_folds(frame: pl.DataFrame, years: Iterable[int]) -> list[FoldOutcome]:
    """Fit and score the disruption module (NDS) of each year."""
    return _offset_folds(
        frame,
        years,
        fit_disruption,
        lambda model: model,
        lambda model, rows, fold: model.predict(rows, HYPE_SIGNALS, fold),
    )


def gate_folds(
    outcomes_frame: pl.DataFrame,
    corrections: pl.DataFrame,
    years: Iterable[int],
    regimes: Sequence[PriceRegime] = PRICE_REGIMES,
) -> list[FoldOutcome]:
    """Fit the gate of each year on the experts' out-of-sample corrections of earlier years.

    Args:
        outcomes_frame: keys, win_share, decimal_odds, market_probability of every runner.
        corrections: runner_key and `correction_<regime>` of every scored runner, all years.
        years: years asked for; one without earlier corrections, or without a full book of prices, has no gate.
        regimes: bands of the experts; `ALL_PRICES` alone for the single model.
    """
    frame = outcomes_frame.join(corrections, on="runner_key", how="inner", maintain_order="left")
    return _stacked(
        frame,
        outcomes_frame,
        years,
        lambda earlier, fold: fit_gate(earlier, fold.cutoff, regimes),
        "expert_probability",
    )


def blend_folds(outcomes_frame: pl.DataFrame, scores: pl.DataFrame, years: Iterable[int]) -> list[FoldOutcome]:
    """Fit Benter's alpha and beta of each year on the fundamental model's out-of-sample scores of earlier years.

    Args:
        outcomes_frame: keys, win_share, decimal_odds, market_probability of every runner.
        scores: runner_key and score of every scored runner, all years.
        years: years asked for; one without earlier scores, or without a full book of prices, has no blend.
    """
    frame = outcomes_frame.join(scores, on="runner_key", how="inner", maintain_order="left")
    return _stacked(
        frame,
        outcomes_frame,
        years,
        lambda earlier, fold: fit_blend(earlier, fold.cutoff),
        "blend_probability",
    )


def _offset_folds(
    frame: pl.DataFrame,
    years: Iterable[int],
    fit: Callable[[pl.DataFrame, date], Any],
    common: Callable[[Any], OffsetModel],
    predict: Callable[[Any, pl.DataFrame, int], pl.DataFrame],
) -> list[FoldOutcome]:
    """Modules that add a log-odds offset to the market; their signals' coefficients are the figures."""

    def fitted(fold: Fold) -> FoldOutcome:
        model = fit(train_rows(frame, fold), fold.cutoff)
        metrics: dict[str, float | None] = {}
        for row in common(model).coefficients().iter_rows(named=True):
            # MLflow takes no brackets in a metric's name.
            name = row["signal"].replace("(", " ").replace(")", "")
            metrics[name] = row["coefficient"]
            metrics[f"{name}_se"] = row["standard_error"]
        predictions = predict(model, scored_rows(frame, fold), fold.fold)
        params: dict[str, object] = {"races": common(model).races}
        return FoldOutcome(fold, predictions, params, metrics, {"model.json": _json(model.to_dict())})

    return _that_can_learn(fitted, folds_of(frame, years))


def _stacked(
    frame: pl.DataFrame,
    calendar: pl.DataFrame,
    years: Iterable[int],
    fit: Callable[[pl.DataFrame, Fold], Any],
    probability: str,
) -> list[FoldOutcome]:
    """Models that learn from earlier folds' out-of-sample predictions; `calendar` holds all races, to cut folds by."""

    def fitted(fold: Fold) -> FoldOutcome | None:
        scored = scored_rows(frame, fold)
        if scored.height and priced_frame(scored).is_empty():
            # Cards, or results that came without a closing price: a probability over the market is not to be had.
            return None
        earlier = train_rows(frame, fold)
        if earlier.is_empty():
            if scored.height and not fold.warm_up:
                raise TooFewRacesError(
                    f"cutoff {fold.cutoff}: there are no predictions of an earlier year to learn from; materialize the "
                    "models of the years before it, or add earlier years of results"
                )
            return None
        model = fit(earlier, fold)
        predictions = model.predict(scored, fold.fold)
        metrics = _r2(scored, predictions, probability)
        stored = model.to_dict()
        metrics |= {name: float(value) for name, value in stored.items() if isinstance(value, float)}
        for name in ("alpha", "alpha_se", "beta", "beta_se"):
            if hasattr(model, name):
                metrics[name] = float(getattr(model, name))
        return FoldOutcome(fold, predictions, {"races": model.races}, metrics, {"model.json": _json(stored)})

    return _that_can_learn(fitted, folds_of(calendar, years))


def _that_can_learn(fit: Callable[[Fold], T | None], cut: Sequence[Fold], at_once: int = FOLDS_AT_ONCE) -> list[T]:
    """What `fit` makes of the folds side by side, in their order; no fold learns from what another one makes here.

    Left out are folds of which it makes nothing, and the first ones while they have too little to learn from.

    Raises:
        TooFewRacesError: none has enough, or a later one has less than one before it.
        NoPricesError: likewise.
    """

    def tried(fold: Fold) -> T | TooFewRacesError | NoPricesError | None:
        try:
            return fit(fold)
        except TOO_LITTLE as error:
            return error

    with ThreadPoolExecutor(at_once) as pool:
        each = [outcome for outcome in pool.map(tried, cut) if outcome is not None]
    enough = [not isinstance(outcome, TOO_LITTLE) for outcome in each]
    kept = each[enough.index(True) if any(enough) else max(len(each) - 1, 0) :]
    outcomes: list[T] = []
    for outcome in kept:
        if isinstance(outcome, TOO_LITTLE):
            raise outcome
        outcomes.append(outcome)
    return outcomes


def _r2(scored: pl.DataFrame, predictions: pl.DataFrame, probability: str) -> dict[str, float | None]:
    """R2 of predictions and of the market on the same settled, priced races."""
    joined = scored.select(*KEYS, "win_share", "market_probability", "decimal_odds").join(
        predictions.select("runner_key", probability), on="runner_key", how="left", maintain_order="left"
    )
    complete = priced_frame(settled_frame(joined))
    complete = complete.filter(pl.col(probability).is_not_null().all().over("race_key"))
    if complete.is_empty():
        return {"r2": None, "r2_market": None}
    races = Races.from_frame(complete)
    return {
        "r2": races.r2(complete[probability].to_numpy()),
        "r2_market": races.r2(complete["market_probability"].to_numpy()),
        "races_scored": float(len(races)),
    }


def _json(value: dict[str, Any]) -> str:
    import json

    return json.dumps(value, indent=1)
