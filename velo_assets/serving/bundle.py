"""The recipe as one model version: every model a prediction needs, as text files, and back.

Belongs here: training all parts on all results before a cutoff, packing them into files, predicting with them. Does not
belong here: the parts themselves (modelling), which version serves (registry), where predictions go (predict).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from velo_assets.modelling.blend import MIN_BLEND_RACES, BlendModel, fit_blend
from velo_assets.modelling.calibration import RaceCalibration, fit_race_calibration
from velo_assets.modelling.disruption import HYPE_SIGNALS, MODULES, fit_disruption
from velo_assets.modelling.experts import (
    ExpertModel,
    ExpertSettings,
    GateModel,
    expert_settings_for,
    fit_expert,
    fit_gate,
    in_regime,
    regime_weights,
)
from velo_assets.modelling.fundamental import (
    FundamentalModel,
    FundamentalSettings,
    fit_fundamental,
    settings_for,
)
from velo_assets.modelling.guards import (
    NoPricesError,
    TooFewRacesError,
    require_columns,
    require_not_trained_on,
)
from velo_assets.modelling.intent import INTENT_SIGNALS, IntentModel, fit_intent, trainer_keys
from velo_assets.modelling.offsets import OFFSET_RACES, OffsetModel, signal_frame
from velo_assets.modelling.races import (
    KEYS,
    BoolArray,
    FloatArray,
    Races,
    between,
    latest_races,
    priced_frame,
    settled_frame,
)
from velo_assets.modelling.search import Found, settings_in_use
from velo_assets.modelling.softmax import Boosted
from velo_assets.monitoring.triggers import DayGaps
from velo_assets.settings import PRICE_REGIMES, PriceRegime

if TYPE_CHECKING:
    from velo_assets.modelling.registry import ModelRegistry

SHIPPABLE = ("blend", "experts", "fundamental")
"""Recipes that can give the fair probability where there is a price."""

OUTCOMES = ("win_share", "decimal_odds", "market_probability")
"""What weighing the parts needs of past races."""

EMBARGO = timedelta(days=1)
"""Before the cutoff; not used."""

RECIPE = "recipe.json"
OUTSIDE = "outside"
"""Regime of a price that no expert covers."""


@dataclass(frozen=True, eq=False)
class WarmTrees(Boosted):
    """Trees whose boosters stay parsed: parsing costs more than scoring a race by a factor of ten."""

    @cached_property
    def _parsed(self) -> list[Any]:
        return super().boosters()

    def boosters(self) -> list[Any]:
        """The trees as LightGBM boosters, parsed once."""
        return self._parsed


@dataclass(frozen=True, eq=False)
class Bundle:
    """Every model behind a prediction.

    Attributes:
        cutoff: first day it may predict.
        data_start: first training day.
        data_end: last training day.
        shipped: recipe that gives the fair probability where there is a price: blend, experts or fundamental.
        price_kind: kind of price that the blend and the experts learned from.
        families: family of each feature.
        fundamental: the price-free model.
        calibration: of the fundamental probability where it has to stand alone.
        experts: one per price regime, or none.
        gate: mixes the experts; None without experts.
        blend: exponents of fundamental and market; None when no past race was priced.
        intent: TIE; None when no past race was priced.
        disruption: NDS; None when no past race was priced.
        reference: out-of-sample log-loss gaps to the market per day, of `recipe` and `fundamental`.
    """

    cutoff: date
    data_start: date
    data_end: date
    shipped: str
    price_kind: str
    families: dict[str, str]
    fundamental: FundamentalModel
    calibration: RaceCalibration | None
    experts: tuple[ExpertModel, ...]
    gate: GateModel | None
    blend: BlendModel | None
    intent: IntentModel | None
    disruption: OffsetModel | None
    reference: dict[str, DayGaps]

    @property
    def features(self) -> tuple[str, ...]:
        """Input columns, in order."""
        return self.fundamental.features

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Price the runners of whole races.

        Args:
            frame: runners sorted by `KEYS`, on or after the cutoff, with the features, `trainer_key`, `decimal_odds`
                and `market_probability`; the last two are null where there is no price.

        Returns:
            The keys, `fundamental_probability`, `expert_probability`, `blend_probability` (null without a full book),
            `fair_probability`, `basis` (blend, experts or fundamental: what the fair probability rests on), `regime`
            (of the odds; null without), `reliability`, `tie_offset`, `nds_offset` [log-odds], and `sqpe_above`,
            `tie_above`, `nds_above`, `modules_above`: which modules put the runner above the market.

        Raises:
            LookAheadError: a race is earlier than the cutoff.
            MissingFeatureError: a column is missing.
        """
        require_columns(
            frame, (*KEYS, "trainer_key", "decimal_odds", "market_probability", *self.features), "prediction"
        )
        require_not_trained_on(frame, self.cutoff, "prediction")
        races = Races.from_frame(frame)
        if not len(races):
            return _predicted(frame, races, {}, [])
        matrix = np.ascontiguousarray(frame.select(pl.col(self.features).cast(pl.Float32)).to_numpy())
        market, odds = (_floats(frame, name) for name in ("market_probability", "decimal_odds"))
        usable = np.isfinite(market) & (market > 0) & np.isfinite(odds)
        priced = np.repeat(np.logical_and.reduceat(usable, races.race_starts), races.field_size)

        fundamental = races.softmax(self._score(matrix, races))
        columns: dict[str, FloatArray] = {"fundamental_probability": fundamental}
        if self.intent is not None:
            columns["tie_offset"] = _intent_offset(self.intent, frame)
        if self.disruption is not None:
            signals = signal_frame(frame, HYPE_SIGNALS, "disruption")
            columns["nds_offset"] = self.disruption.offset(frame, signals)[0]
        if priced.any():
            columns |= self._priced(matrix, races, priced, fundamental, market, odds)
        shipped = columns.get({"blend": "blend_probability", "experts": "expert_probability"}.get(self.shipped, ""))
        rests_on_price = np.zeros(races.runners, dtype=bool) if shipped is None else priced & np.isfinite(shipped)
        alone = self.calibration.calibrate(fundamental, races) if self.calibration is not None else fundamental
        columns["fair_probability"] = alone if shipped is None else np.where(rests_on_price, shipped, alone)
        basis = [self.shipped if on_price else "fundamental" for on_price in rests_on_price]
        return _predicted(frame, races, columns, basis)

    def _score(self, matrix: Any, races: Races) -> FloatArray:
        model = self.fundamental
        score = np.zeros(races.runners)
        for_trees, for_linear = model.mix_
        if for_trees:
            score += for_trees * model.trees_.score(matrix)
        if for_linear:
            score += for_linear * model.linear_.score(matrix, races)
        return score

    def _priced(
        self,
        matrix: Any,
        races: Races,
        priced: BoolArray,
        fundamental: FloatArray,
        market: FloatArray,
        odds: FloatArray,
    ) -> dict[str, FloatArray]:
        """Blend and experts of the races that have a full book, NaN for the others.

        The formulas of `BlendModel.predict` and `GateModel.predict` on arrays already at hand: their frames cost more
        than their sums, and a race is to be priced within ten milliseconds.
        """
        columns = {}
        log_market = np.log(np.where(priced, market, 1.0))
        known_odds = np.where(priced, odds, 2.0)
        if self.blend is not None:
            score = self.blend.alpha * np.log(np.maximum(fundamental, 1e-300)) + self.blend.beta * log_market
            columns["blend_probability"] = np.where(priced, races.softmax(score), np.nan)
        if self.gate is not None:
            wide = np.column_stack((matrix, np.log(known_odds).astype(np.float32)))
            corrections = np.column_stack([_corrections(expert, wide, races) for expert in self.experts])
            weights = regime_weights(known_odds, self.gate.regimes)
            believed = self.gate.reliability(known_odds, races.spread(races.field_size).astype(np.int64))
            score = self.gate.market_beta * log_market + (weights * believed * corrections).sum(axis=1)
            columns["expert_probability"] = np.where(priced, races.softmax(score), np.nan)
            mean_belief = (weights * believed).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-12)
            columns["reliability"] = np.where(priced, mean_belief, np.nan)
        return columns

    def files(self) -> dict[str, str]:
        """The bundle as text files by relative name; `load_bundle` reads them back."""
        recipe = {
            "kind": "bundle",
            "cutoff": self.cutoff.isoformat(),
            "data_start": self.data_start.isoformat(),
            "data_end": self.data_end.isoformat(),
            "shipped": self.shipped,
            "price_kind": self.price_kind,
            "experts": [expert.regime.name for expert in self.experts],
            "families": self.families,
            "reference": {channel: gaps.to_dict() for channel, gaps in self.reference.items()},
        }
        files = {RECIPE: json.dumps(recipe)}
        files |= {f"fundamental/{name}": text for name, text in self.fundamental.texts().items()}
        for expert in self.experts:
            files |= {f"expert_{expert.regime.name}/{name}": text for name, text in expert.texts().items()}
        parts = {
            "calibration": self.calibration,
            "gate": self.gate,
            "blend": self.blend,
            "intent": self.intent,
            "disruption": self.disruption,
        }
        return files | {f"{name}.json": json.dumps(part.to_dict()) for name, part in parts.items() if part is not None}


def load_bundle(files: Mapping[str, str]) -> Bundle:
    """Read a bundle from its files, trees parsed once for all predictions to come.

    Args:
        files: texts by name, such as `ModelRegistry.load_files` gives them.

    Raises:
        ValueError: a file that every bundle has is missing.
    """
    if RECIPE not in files or "fundamental/fundamental.json" not in files:
        raise ValueError(
            f"this model version is no bundle: it lacks {RECIPE} or fundamental/fundamental.json, and has "
            f"{', '.join(sorted(files)) or 'no files'}; register it with register_bundle"
        )
    recipe = json.loads(files[RECIPE])
    fundamental = FundamentalModel.from_texts(_below("fundamental/", files))
    experts = [ExpertModel.from_texts(_below(f"expert_{name}/", files)) for name in recipe["experts"]]

    def part(name: str) -> dict[str, Any] | None:
        stored: dict[str, Any] | None = json.loads(files[f"{name}.json"]) if f"{name}.json" in files else None
        return stored

    calibration, gate, blend, intent, disruption = map(part, ("calibration", "gate", "blend", "intent", "disruption"))
    return Bundle(
        date.fromisoformat(recipe["cutoff"]),
        date.fromisoformat(recipe["data_start"]),
        date.fromisoformat(recipe["data_end"]),
        recipe["shipped"],
        recipe["price_kind"],
        recipe["families"],
        replace(fundamental, trees_=_warm(fundamental.trees_)),
        RaceCalibration.from_dict(calibration) if calibration else None,
        tuple(replace(expert, trees_=_warm(expert.trees_)) for expert in experts),
        GateModel.from_dict(gate) if gate else None,
        BlendModel.from_dict(blend) if blend else None,
        IntentModel.from_dict(intent) if intent else None,
        OffsetModel.from_dict(disruption) if disruption else None,
        {channel: DayGaps.from_dict(gaps) for channel, gaps in recipe["reference"].items()},
    )


def _below(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(folder): text for name, text in files.items() if name.startswith(folder)}


def build_bundle(
    frame: pl.DataFrame,
    features: Sequence[str],
    cutoff: date,
    *,
    families: Mapping[str, str],
    price_kind: str,
    history: pl.DataFrame | None = None,
    out_of_sample: pl.DataFrame | None = None,
    shipped: str = "blend",
    regimes: Sequence[PriceRegime] = PRICE_REGIMES,
    found: Mapping[int, Found] | None = None,
    fundamental: FundamentalSettings | None = None,
    expert: ExpertSettings | None = None,
    embargo_days: int = EMBARGO.days,
) -> Bundle:
    """Train every part for serving from a cutoff on.

    Trees and offsets learn from all settled races before the cutoff. What weighs them (blend, gate, calibration) learns
    from predictions that were out of sample when made: the walk-forward's, or, without one, those of the inner later
    races. A part that prices are needed for is left out when too few past races are priced.

    Args:
        frame: the training frame, see `warehouse.export.training_frame`; rows from the cutoff on are not used.
        features: price-free columns known before the off.
        cutoff: first day to be predicted.
        families: family by feature name.
        price_kind: kind of the frame's prices.
        history: outcomes of all runners, see `warehouse.export.outcomes`, where the frame holds the latest years alone.
        out_of_sample: `runner_key`, `score` and `correction_<regime>` of earlier folds, see `out_of_sample_scores`.
        shipped: recipe that gives the fair probability where there is a price.
        regimes: bands that get an expert each.
        found: settings of the trees that searches have found, by year; the folds take them too.
        fundamental: settings of the fundamental model; when None `settings_for` the settled races, or those found.
        expert: settings of the experts; `expert_settings_for` the settled, priced races when None.
        embargo_days: days before the cutoff that are not used.

    Raises:
        TooFewRacesError: too few settled races for the fundamental model.
        MissingFeatureError: a column is missing.
        ValueError: no such recipe.
    """
    if shipped not in SHIPPABLE:
        raise ValueError(f"there is no recipe {shipped!r} to ship; give one of {', '.join(SHIPPABLE)}")
    end = cutoff - timedelta(days=embargo_days)
    train = between(frame, None, end)
    known = between(frame if history is None else history, None, end).select(*KEYS, *OUTCOMES)
    # What serves must be what was judged: the settings that the walk-forward takes for a history of this size.
    of_fundamental, of_experts = settings_of(known)
    of_fundamental = settings_in_use(found or {}, cutoff.year, of_fundamental)
    base = replace(fundamental or of_fundamental, embargo_days=embargo_days)
    sqpe = fit_fundamental(train, features, cutoff, base)
    expert_settings = replace(expert or of_experts, embargo_days=embargo_days)
    experts = []
    for regime in regimes:
        fitted = _unless_unpriced(lambda band=regime: fit_expert(train, features, cutoff, band, expert_settings))
        if fitted is not None:
            experts.append(fitted)
    past = _past_predictions(known, sqpe, experts, out_of_sample)
    full = bool(experts) and len(experts) == len(regimes)
    bundle = Bundle(
        cutoff,
        sqpe.train_start,
        sqpe.train_end,
        shipped,
        price_kind,
        {name: families.get(name, "other") for name in features},
        sqpe,
        _unless_unpriced(
            lambda: fit_race_calibration(
                past.with_columns(pl.col("score").exp().alias("alone")), "alone", cutoff, knots=()
            )
        ),
        tuple(experts) if full else (),
        _unless_unpriced(lambda: fit_gate(past, cutoff, regimes, embargo_days=embargo_days)) if full else None,
        _unless_unpriced(lambda: fit_blend(past, cutoff, embargo_days=embargo_days)),
        _unless_unpriced(lambda: fit_intent(train, cutoff, embargo_days=embargo_days)),
        _unless_unpriced(lambda: fit_disruption(train, cutoff, embargo_days=embargo_days)),
        {},
    )
    return replace(bundle, reference=_reference(bundle, past))


def settings_of(known: pl.DataFrame) -> tuple[FundamentalSettings, ExpertSettings]:
    """The settings that a history of this size is trained with.

    Args:
        known: keys and outcomes of the runners before the cutoff.
    """
    settled = settled_frame(known)
    return _settings_of(settled, priced_frame(settled))


def _settings_of(settled: pl.DataFrame, priced: pl.DataFrame) -> tuple[FundamentalSettings, ExpertSettings]:
    return settings_for(_races(settled)), expert_settings_for(_races(priced))


def first_day_needed(known: pl.DataFrame) -> date | None:
    """First day whose features any part of a bundle reads; None: all, as of a history that is not large.

    Args:
        known: keys and outcomes of the runners before the cutoff.
    """
    settled = settled_frame(known)
    priced = priced_frame(settled)
    latest = [settings.latest_races for settings in _settings_of(settled, priced)]
    if None in latest or priced.is_empty():
        return None
    day: date = latest_races(priced, max(OFFSET_RACES, *(count or 0 for count in latest)))["race_date"][0]
    return day


def out_of_sample_scores(
    tables: Mapping[str, pl.DataFrame], regimes: Sequence[PriceRegime] = PRICE_REGIMES
) -> pl.DataFrame:
    """Scores and corrections of the walk-forward's folds, side by side.

    Args:
        tables: `fundamental` (runner_key, score) and `expert_<regime>` (runner_key, correction) by model name.
        regimes: the experts' bands.
    """
    scores = tables["fundamental"].select("runner_key", "score")
    for regime in regimes:
        table = tables[f"expert_{regime.name}"].select(
            "runner_key", pl.col("correction").alias(f"correction_{regime.name}")
        )
        scores = scores.join(table, on="runner_key", how="left")
    return scores


def register_bundle(
    registry: ModelRegistry, name: str, bundle: Bundle, *, git_commit: str, feature_catalogue_sha256: str
) -> int:
    """Store a bundle as the next version of a model and make it the challenger.

    Args:
        registry: the model registry.
        name: registered name.
        bundle: what to store.
        git_commit: of the code.
        feature_catalogue_sha256: hash of the feature catalogue.

    Returns:
        The version number.
    """
    from velo_assets.modelling.registry import ModelMetadata

    metrics: dict[str, float | None] = {f"inner_{name}": value for name, value in bundle.fundamental.inner_.items()}
    if bundle.blend is not None:
        metrics |= {name: getattr(bundle.blend, name) for name in ("alpha", "alpha_se", "beta", "beta_se")}
    parameters = {
        "shipped": bundle.shipped,
        "cutoff": bundle.cutoff.isoformat(),
        "features": str(len(bundle.features)),
        "train_races": str(bundle.fundamental.train_races),
        "rounds": str(bundle.fundamental.trees_.rounds_),
    }
    metadata = ModelMetadata(
        bundle.data_start,
        bundle.data_end,
        git_commit,
        feature_catalogue_sha256,
        bundle.price_kind,
        metrics,
        parameters,
    )
    return registry.register(name, bundle.files(), metadata)


def race_gaps(bundle: Bundle, frame: pl.DataFrame) -> dict[str, DayGaps]:
    """Log-loss gaps to the market of races since the cutoff, as the bundle prices them at the decision price.

    Args:
        bundle: a model version.
        frame: training frame; rows before the cutoff, unsettled and unpriced races are passed over.

    Returns:
        Gaps per day of `recipe` and `fundamental`; positive = worse than the market.
    """
    rows = priced_frame(settled_frame(between(frame, bundle.cutoff, None)))
    if rows.is_empty():
        return {channel: DayGaps.empty() for channel in ("recipe", "fundamental")}
    predicted = bundle.predict(rows)
    return _gaps(
        rows,
        {
            "recipe": _floats(predicted, "fair_probability"),
            "fundamental": _floats(predicted, "fundamental_probability"),
        },
    )


def _gaps(rows: pl.DataFrame, probabilities: Mapping[str, FloatArray]) -> dict[str, DayGaps]:
    races = Races.from_frame(rows)
    market = races.loss(_floats(rows, "market_probability"))
    return {
        channel: DayGaps.from_races(races.race_date, races.loss(probability) - market)
        for channel, probability in probabilities.items()
    }


def _reference(bundle: Bundle, past: pl.DataFrame) -> dict[str, DayGaps]:
    """Gaps of the past out-of-sample predictions, the quiet times that alarms are measured against.

    The few weights of blend and gate were fitted on these very rows; their optimism is a nat or two in all, which
    thousands of races don't notice.
    """
    rows = priced_frame(settled_frame(past))
    if rows.is_empty():
        return {channel: DayGaps.empty() for channel in ("recipe", "fundamental")}
    first = rows["race_date"][0]
    fundamental = np.exp(rows["score"].to_numpy())
    recipe = fundamental
    if bundle.shipped == "blend" and bundle.blend is not None:
        recipe = _floats(replace(bundle.blend, cutoff=first).predict(rows, 0), "blend_probability")
    if bundle.shipped == "experts" and bundle.gate is not None:
        recipe = _floats(replace(bundle.gate, cutoff=first).predict(rows, 0), "expert_probability")
    return _gaps(rows, {"recipe": recipe, "fundamental": fundamental})


def _races(frame: pl.DataFrame) -> int:
    return frame.get_column("race_key").n_unique()


def _past_predictions(
    known: pl.DataFrame, sqpe: FundamentalModel, experts: Sequence[ExpertModel], scores: pl.DataFrame | None
) -> pl.DataFrame:
    if scores is not None:
        past = known.join(scores, on="runner_key", how="inner", maintain_order="left")
        if past["race_key"].n_unique() >= MIN_BLEND_RACES:
            return past
    if sqpe.inner_predictions_ is None:
        raise TooFewRacesError("bundle: the fundamental model carries no inner predictions; fit it anew")
    past = sqpe.inner_predictions_.join(
        known.select("runner_key", *OUTCOMES), on="runner_key", how="inner", maintain_order="left"
    )
    for expert in experts:
        if expert.inner_predictions_ is not None:
            inner = expert.inner_predictions_.select(
                "runner_key", pl.col("correction").alias(f"correction_{expert.regime.name}")
            )
            past = past.join(inner, on="runner_key", how="left", maintain_order="left")
    return past


def _unless_unpriced(fit: Any) -> Any:
    """A part that past prices are needed for, or None when there are too few."""
    try:
        return fit()
    except (NoPricesError, TooFewRacesError):
        return None


def _corrections(expert: ExpertModel, wide: Any, races: Races) -> FloatArray:
    if not expert.trees_.rounds_:
        return np.zeros(races.runners)
    return expert.trees_.score(wide)


def _intent_offset(model: IntentModel, frame: pl.DataFrame) -> FloatArray:
    """Offsets of `IntentModel.predict`, without its frame and standard errors."""
    common, _ = model.common.offset(frame, signal_frame(frame, INTENT_SIGNALS, "intent"))
    keys = trainer_keys(frame)
    place = np.minimum(np.searchsorted(model.trainer_key, keys), max(len(model.trainer_key) - 1, 0))
    known = model.trainer_key[place] == keys
    return common * (1.0 + np.where(known, model.slope[place], 0.0)) + np.where(known, model.level[place], 0.0)


def _warm(trees: Boosted) -> WarmTrees:
    return WarmTrees(trees.texts_, trees.rounds_)


def _floats(frame: pl.DataFrame, name: str) -> FloatArray:
    column: FloatArray = frame.get_column(name).cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return column


def _predicted(
    frame: pl.DataFrame, races: Races, columns: Mapping[str, FloatArray], basis: Sequence[str]
) -> pl.DataFrame:
    """The output frame; a part that did not speak is null."""
    missing = np.full(frame.height, np.nan)
    names = ("fundamental_probability", "expert_probability", "blend_probability", "fair_probability", "reliability")
    values = {name: columns.get(name, missing) for name in (*names, "tie_offset", "nds_offset")}
    market, odds = _floats(frame, "market_probability"), _floats(frame, "decimal_odds")
    own = {"sqpe": values["fundamental_probability"]}
    with np.errstate(divide="ignore", invalid="ignore"):
        for module in MODULES[1:]:
            own[module] = races.softmax(np.log(market) + values[f"{module}_offset"]) if frame.height else missing
    above = {}
    for module in MODULES:
        spoken = np.isfinite(own[module]) & np.isfinite(market)
        above[f"{module}_above"] = [
            bool(a) if s else None for a, s in zip(own[module] > market + 1e-12, spoken, strict=True)
        ]
    regime: list[str | None] = [None if np.isnan(price) else OUTSIDE for price in odds]
    for band in PRICE_REGIMES:
        for row in np.flatnonzero(in_regime(odds, band)):
            regime[row] = band.name
    count = [None if None in row else sum(row) for row in zip(*above.values(), strict=True)]
    return pl.DataFrame(
        [
            *(frame.get_column(key) for key in KEYS),
            *(pl.Series(name, column, nan_to_null=True) for name, column in values.items()),
            pl.Series("basis", basis, dtype=pl.String),
            pl.Series("regime", regime, dtype=pl.String),
            *(pl.Series(name, column, dtype=pl.Boolean) for name, column in above.items()),
            pl.Series("modules_above", count, dtype=pl.Int32),
        ]
    )
