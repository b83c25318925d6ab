"""Walk-forward: which races a fold may learn from, which it scores, and the run over all folds.

The words are mlforecast's: a fold has a *cutoff* (first day it scores) and a *horizon* (how long it scores); the next
cutoff is one *step* later; models are *refit* every so many steps on an *input size* of years before the cutoff, less
an embargo. Races are never split, because folds are cut between days.

The blend, the gate and the calibration learn only from out-of-sample predictions of earlier folds. The first scored
fold has none, so a warm-up fold before it is trained on less history and predicted, but never reported. The assets go
through their folds in yearly.py; `run_walk_forward`, for studies, goes through a plan's, and where this has no warm-up
the first fold's models give their predictions of their own later inner races instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import polars as pl

from velo_assets.modelling.blend import BlendModel, fit_blend
from velo_assets.modelling.experts import (
    ALL_PRICES,
    ExpertModel,
    ExpertSettings,
    GateModel,
    expert_settings_for,
    fit_expert,
    fit_gate,
)
from velo_assets.modelling.fundamental import (
    FundamentalModel,
    FundamentalSettings,
    fit_fundamental,
    settings_for,
)
from velo_assets.modelling.guards import TooFewRacesError, require_columns
from velo_assets.modelling.races import KEYS, between, sort_runners
from velo_assets.settings import PRICE_REGIMES, PriceRegime

OUTCOME_COLUMNS = ("win_share", "decimal_odds", "market_probability")
"""What the second-step fits need beside a prediction."""


@dataclass(frozen=True)
class FoldPlan:
    """How folds are cut.

    Attributes:
        step_months: months between cutoffs: 12 for yearly, 3 for quarterly folds.
        horizon_months: months each fold scores; None: one step, so that every day is scored once.
        refit: models are fitted again every so many steps; 1 at every cutoff.
        input_size_years: years of history a fit sees; None: all.
        first_train_years: calendar years of history before the first scored year.
        warm_up_years: years before the first scored one that are predicted on less history, to feed the blend.
        embargo_days: days before a cutoff that its fits don't see.
    """

    step_months: int = 12
    horizon_months: int | None = None
    refit: int = 1
    input_size_years: int | None = None
    first_train_years: int = 2
    warm_up_years: int = 1
    embargo_days: int = 1


@dataclass(frozen=True)
class Fold:
    """One cutoff.

    Attributes:
        fold: the year of a yearly fold; year * 100 + month of the cutoff for shorter steps.
        cutoff: first day scored.
        horizon_end: first day no longer scored.
        fit_cutoff: cutoff of the fit in use; earlier than `cutoff` between refits.
        train_start: first day a fit may see; None: from the beginning.
        train_end: first day a fit may no longer see: `fit_cutoff` less the embargo.
        warm_up: scored only to feed the blend of later folds.
    """

    fold: int
    cutoff: date
    horizon_end: date
    fit_cutoff: date
    train_start: date | None
    train_end: date
    warm_up: bool


def folds(first_day: date, last_day: date, plan: FoldPlan | None = None) -> tuple[Fold, ...]:
    """Cut the folds of a span of days.

    Args:
        first_day: first race day of the data.
        last_day: last race day of the data.
        plan: defaults when None.

    Returns:
        Warm-up folds, then scored folds, by rising cutoff; none of a span that ends before the first of them. Folds
        depend on the first day alone: a shorter span has the first of a longer one's.

    Raises:
        ValueError: the plan is not possible.
    """
    plan = plan or FoldPlan()
    if plan.step_months < 1 or 12 % plan.step_months or plan.refit < 1 or plan.first_train_years < 1:
        raise ValueError(
            f"fold plan: step_months must divide 12, refit and first_train_years be at least 1; got {plan}"
        )
    horizon = plan.horizon_months or plan.step_months
    first_scored = date(first_day.year + plan.first_train_years, 1, 1)
    cutoff = date(max(first_scored.year - plan.warm_up_years, first_day.year + 1), 1, 1)
    result: list[Fold] = []
    fit_cutoff = cutoff
    while cutoff <= last_day:
        if len(result) % plan.refit == 0:
            fit_cutoff = cutoff
        start = None
        if plan.input_size_years is not None:
            start = date(fit_cutoff.year - plan.input_size_years, fit_cutoff.month, 1)
        result.append(
            Fold(
                cutoff.year if plan.step_months == 12 else cutoff.year * 100 + cutoff.month,
                cutoff,
                _months_later(cutoff, horizon),
                fit_cutoff,
                start,
                fit_cutoff - timedelta(days=plan.embargo_days),
                cutoff < first_scored,
            )
        )
        cutoff = _months_later(cutoff, plan.step_months)
    return tuple(result)


def require_scored_year(first_year: int, last_year: int, plan: FoldPlan | None = None) -> None:
    """Refuse data that end before their first scored year begins.

    Args:
        first_year: first year of all data there are, not of a window of them.
        last_year: last year of them.
        plan: defaults when None.

    Raises:
        TooFewRacesError: no year could be scored.
    """
    history = (plan or FoldPlan()).first_train_years
    first_scored = first_year + history
    if last_year < first_scored:
        raise TooFewRacesError(
            f"walk-forward: the races reach from {first_year} to {last_year}, and the first year to be scored is "
            f"{first_scored}, because {history} year(s) are learnt from before it: add years of results"
        )


def train_rows(frame: pl.DataFrame, fold: Fold) -> pl.DataFrame:
    """Rows a fold's fit may see."""
    return between(frame, fold.train_start, fold.train_end)


def scored_rows(frame: pl.DataFrame, fold: Fold) -> pl.DataFrame:
    """Rows a fold scores."""
    return between(frame, fold.cutoff, fold.horizon_end)


@dataclass(frozen=True, eq=False)
class WalkForwardRun:
    """Everything a walk-forward leaves behind.

    Attributes:
        predictions: long: `race_date, race_key, runner_key, fold, cutoff, recipe, probability, model_hash`; recipes
            'market', 'market_beta', 'fundamental', 'blend' and, when asked for, 'experts' and 'single'. Warm-up folds
            are left out.
        out_of_sample: wide: one row per runner of every fold, warm-up included, with `score` and the corrections.
        folds: all folds, warm-up included.
        fundamentals: fitted model by fold.
        blends: by scored fold.
        experts: by fold and regime name.
        gates: by scored fold, for the experts and, under `single`, for the single model.
    """

    predictions: pl.DataFrame
    out_of_sample: pl.DataFrame
    folds: tuple[Fold, ...]
    fundamentals: dict[int, FundamentalModel] = field(default_factory=dict)
    blends: dict[int, BlendModel] = field(default_factory=dict)
    experts: dict[tuple[int, str], ExpertModel] = field(default_factory=dict)
    gates: dict[tuple[int, str], GateModel] = field(default_factory=dict)


def run_walk_forward(
    frame: pl.DataFrame,
    features: Sequence[str],
    plan: FoldPlan | None = None,
    *,
    fundamental: FundamentalSettings | None = None,
    expert: ExpertSettings | None = None,
    regimes: Sequence[PriceRegime] = PRICE_REGIMES,
    with_experts: bool = True,
    with_single: bool = False,
) -> WalkForwardRun:
    """Fit and predict every fold in time order.

    Args:
        frame: runners with `KEYS`, `win_share`, `decimal_odds`, `market_probability`, optionally `position`, and the
            features, in any order. The market columns are null where there is no full book.
        features: price-free columns known before the off.
        plan: how folds are cut.
        fundamental: settings of the fundamental model, by size of the history when None; its embargo is the plan's.
        expert: settings of the experts, by size of the history when None; their embargo is the plan's.
        regimes: bands that get an expert.
        with_experts: whether to fit experts and gate.
        with_single: whether to fit the single model over all prices too.

    Raises:
        MissingFeatureError: a column is missing.
        TooFewRacesError: the data don't reach the first scored year, or a fit has too few races.
        NoPricesError: a fold has no race with a full set of prices.
    """
    require_columns(frame, (*KEYS, *OUTCOME_COLUMNS, *features), "walk-forward")
    plan = plan or FoldPlan()
    frame = sort_runners(frame)
    dates = frame.get_column("race_date")
    if frame.is_empty():
        raise TooFewRacesError("walk-forward: the frame is empty")
    bands = (*regimes,) if with_experts else ()
    bands = (*bands, ALL_PRICES) if with_single else bands
    require_scored_year(dates[0].year, dates[-1].year, plan)
    cut = folds(dates[0], dates[-1], plan)
    run = WalkForwardRun(pl.DataFrame(), pl.DataFrame(), cut)
    earlier: list[pl.DataFrame] = []
    long: list[pl.DataFrame] = []
    sqpe: FundamentalModel | None = None
    trained: dict[str, ExpertModel] = {}
    for fold in cut:
        if sqpe is None or fold.fit_cutoff == fold.cutoff:
            train = train_rows(frame, fold)
            races = train.get_column("race_key").n_unique()
            of_sqpe = replace(fundamental or settings_for(races), embargo_days=plan.embargo_days)
            of_experts = replace(expert or expert_settings_for(races), embargo_days=plan.embargo_days)
            sqpe = fit_fundamental(train, features, fold.fit_cutoff, of_sqpe)
            trained = {band.name: fit_expert(train, features, fold.fit_cutoff, band, of_experts) for band in bands}
        run.fundamentals[fold.fold] = sqpe
        run.experts.update({(fold.fold, name): model for name, model in trained.items()})
        rows = scored_rows(frame, fold)
        predicted = sqpe.predict(rows, fold.fold)
        wide = rows.select(*KEYS, *OUTCOME_COLUMNS).with_columns(
            predicted.get_column("fold"), predicted.get_column("cutoff"), predicted.get_column("score")
        )
        for name, model in trained.items():
            wide = wide.with_columns(
                model.predict(rows, fold.fold).get_column("correction").alias(f"correction_{name}")
            )
        if not fold.warm_up:
            past = pl.concat(earlier) if earlier else _inner_out_of_sample(frame, sqpe, trained)
            past = between(past, None, fold.cutoff - timedelta(days=plan.embargo_days))
            long += _scored_fold(run, fold, wide, past, predicted, bands, plan.embargo_days)
        earlier.append(wide)
    return replace(run, predictions=pl.concat(long).sort([*KEYS, "recipe"]), out_of_sample=pl.concat(earlier))


def _scored_fold(
    run: WalkForwardRun,
    fold: Fold,
    wide: pl.DataFrame,
    past: pl.DataFrame,
    predicted: pl.DataFrame,
    bands: Sequence[PriceRegime],
    embargo_days: int,
) -> list[pl.DataFrame]:
    blend = fit_blend(past, fold.cutoff, embargo_days=embargo_days)
    run.blends[fold.fold] = blend
    blended = blend.predict(wide, fold.fold)
    market = wide.with_columns(pl.lit("").alias("model_hash"))
    long = [
        _long(market, "market", "market_probability"),
        _long(blended, "market_beta", "market_beta_probability"),
        _long(predicted, "fundamental", "fundamental_probability"),
        _long(blended, "blend", "blend_probability"),
    ]
    groups = {
        "experts": tuple(b for b in bands if b != ALL_PRICES),
        "single": tuple(b for b in bands if b == ALL_PRICES),
    }
    for recipe, group in groups.items():
        if group:
            gate = fit_gate(past, fold.cutoff, group, embargo_days=embargo_days)
            run.gates[(fold.fold, recipe)] = gate
            long.append(_long(gate.predict(wide, fold.fold), recipe, "expert_probability"))
    return long


def _inner_out_of_sample(frame: pl.DataFrame, sqpe: FundamentalModel, trained: dict[str, ExpertModel]) -> pl.DataFrame:
    """The later inner races of the first fold's own models, in the shape of earlier folds' predictions."""
    if sqpe.inner_predictions_ is None:
        raise TooFewRacesError("walk-forward: the first fold's model carries no inner predictions; fit it anew")
    past = sqpe.inner_predictions_.join(
        frame.select("runner_key", *OUTCOME_COLUMNS), on="runner_key", how="inner", maintain_order="left"
    )
    for name, model in trained.items():
        if model.inner_predictions_ is None:
            raise TooFewRacesError(f"walk-forward: expert {name} carries no inner predictions; fit it anew")
        inner = model.inner_predictions_.select("runner_key", pl.col("correction").alias(f"correction_{name}"))
        past = past.join(inner, on="runner_key", how="left", maintain_order="left")
    return past


def _long(frame: pl.DataFrame, recipe: str, column: str) -> pl.DataFrame:
    return frame.select(
        *KEYS, "fold", "cutoff", pl.lit(recipe).alias("recipe"), pl.col(column).alias("probability"), "model_hash"
    )


def _months_later(day: date, months: int) -> date:
    month = day.month - 1 + months
    return date(day.year + month // 12, month % 12 + 1, 1)
