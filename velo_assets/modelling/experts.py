"""Experts by price regime: corrections on top of the market, a soft gate between regimes, a reliability head.

Belongs here: one expert's fit and prediction, the gate that mixes and scales them, and the single model over all prices
that they are compared with. Not here: the blend, and which of them ships.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.modelling.conditional_logit import ChoiceLikelihood, choice_stages, maximise
from velo_assets.modelling.fundamental import MANY_RACES, inner_later
from velo_assets.modelling.guards import (
    NoPricesError,
    require_columns,
    require_not_trained_on,
)
from velo_assets.modelling.races import (
    KEYS,
    BoolArray,
    FloatArray,
    Races,
    feature_matrix,
    latest_races,
    priced_frame,
    settled_and_priced,
)
from velo_assets.modelling.softmax import BinnedRunners, Boosted, BoosterSettings, boost, boost_until, with_rounds
from velo_assets.settings import PRICE_REGIMES, PriceRegime

ALL_PRICES = PriceRegime("all_prices", 1.0, float("inf"))
"""The regime of the single model with log-price interactions, the experts' rival."""

GATE_WIDTH = 0.1
"""Softness of a regime's edges in log odds: an expert's weight goes from 12% to 88% over about +-20% of the price."""

EXPERT_BOOSTER = BoosterSettings(
    rounds=120, learning_rate=0.05, num_leaves=6, min_data_in_leaf=400, lambda_l2=50.0, early_stopping_rounds=20
)
"""Far smaller trees than the fundamental model's: what is left over the market is worth thousandths of R2."""


@dataclass(frozen=True)
class ExpertSettings:
    """How one expert is trained.

    Attributes:
        booster: the trees.
        seeds: one set of trees each; corrections are averaged.
        inner_share: share of the latest training races on which the trees stop.
        inner_races: the inner split is made within at most this many of the latest training races.
        latest_races: the expert learns from so many of the latest races; all when None.
        min_races: fewest settled races with full prices.
        bin_once: as in `FundamentalSettings`.
        embargo_days: days before the cutoff that are not used.
    """

    booster: BoosterSettings = field(default_factory=lambda: EXPERT_BOOSTER)
    seeds: tuple[int, ...] = (11, 23)
    inner_share: float = 0.2
    inner_races: int = 40_000
    latest_races: int | None = None
    min_races: int = 500
    bin_once: bool = False
    embargo_days: int = 1


LARGE = ExpertSettings(
    booster=BoosterSettings(
        rounds=60,
        learning_rate=0.1,
        num_leaves=8,
        min_data_in_leaf=1000,
        lambda_l2=50.0,
        feature_fraction=0.2,
        bagging_fraction=1.0,
        early_stopping_rounds=10,
    ),
    seeds=(11,),
    inner_races=25_000,
    latest_races=40_000,
    bin_once=True,
)
"""For a large history; see `fundamental.LARGE`."""


def expert_settings_for(races: int) -> ExpertSettings:
    """Default settings for a training set of so many races; they depend on nothing else."""
    return LARGE if races >= MANY_RACES else ExpertSettings()


@dataclass(frozen=True, eq=False)
class ExpertModel:
    """One regime's correction g_b(x), in log-odds on top of log p_market.

    Attributes:
        regime: band of decimal odds whose runners it learned from.
        features: input columns; the log of the odds is added to them.
        cutoff: first day it may score.
        train_races: races fitted.
        train_end: last training day.
        trees_: boosted trees; none when no tree helped on the later inner races, then the correction is 0.
        inner_gain_: nats per race gained on the later inner races.
        inner_predictions_: out-of-sample corrections of those races; not stored.
    """

    regime: PriceRegime
    features: tuple[str, ...]
    cutoff: date
    train_races: int
    train_end: date
    trees_: Boosted
    inner_gain_: float
    inner_predictions_: pl.DataFrame | None = None

    @property
    def model_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of everything that decides its predictions."""
        content = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256((content + "".join(self.trees_.texts_)).encode()).hexdigest()[:16]

    def predict(self, frame: pl.DataFrame, fold: int) -> pl.DataFrame:
        """Corrections of one fold, for runners of every price: the gate decides where they count.

        Args:
            frame: runners sorted by `KEYS`, on or after the cutoff, with `decimal_odds` and the features.
            fold: number written beside every prediction.

        Returns:
            `race_date, race_key, runner_key, fold, cutoff, correction, model_hash`; null without a price.

        Raises:
            LookAheadError: a row is earlier than the cutoff.
            MissingFeatureError: a feature or `decimal_odds` is missing.
        """
        require_columns(frame, (*KEYS, "decimal_odds", *self.features), f"expert {self.regime.name}")
        require_not_trained_on(frame, self.cutoff, f"expert {self.regime.name}")
        correction = np.zeros(frame.height)
        if frame.height and self.trees_.rounds_:
            correction = self.trees_.score(_expert_matrix(frame, self.features))
        return frame.select(*KEYS).with_columns(
            pl.lit(fold, dtype=pl.Int32).alias("fold"),
            pl.lit(self.cutoff, dtype=pl.Date).alias("cutoff"),
            pl.when(frame.get_column("decimal_odds").is_not_null())
            .then(pl.Series("correction", correction))
            .alias("correction"),
            pl.lit(self.model_hash).alias("model_hash"),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, without the trees' texts."""
        return {
            "kind": "expert",
            "regime": {"name": self.regime.name, "low": self.regime.low, "high": self.regime.high},
            "features": list(self.features),
            "cutoff": self.cutoff.isoformat(),
            "train_races": self.train_races,
            "train_end": self.train_end.isoformat(),
            "rounds": self.trees_.rounds_,
            "inner_gain": self.inner_gain_,
        }

    def texts(self) -> dict[str, str]:
        """Files of the stored model by name: one JSON and one LightGBM text per seed."""
        return {"expert.json": json.dumps(self.to_dict(), indent=1), **self.trees_.files()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> ExpertModel:
        """Inverse of `texts`, without the inner predictions.

        Raises:
            KeyError: `expert.json` is missing.
        """
        stored = json.loads(texts["expert.json"])
        return cls(
            PriceRegime(**stored["regime"]),
            tuple(stored["features"]),
            date.fromisoformat(stored["cutoff"]),
            stored["train_races"],
            date.fromisoformat(stored["train_end"]),
            Boosted.from_files(texts, stored["rounds"]),
            stored["inner_gain"],
        )


def fit_expert(
    train: pl.DataFrame,
    features: Sequence[str],
    cutoff: date,
    regime: PriceRegime,
    settings: ExpertSettings | None = None,
) -> ExpertModel:
    """Learn one regime's correction.

    Gradients come from the softmax over the whole race, with log p_market as the starting score; only runners priced
    within the regime are moved. The rounds are those that were best on the later inner races; none when no tree helped.

    Args:
        train: runners before the cutoff with `KEYS`, `win_share`, `decimal_odds`, `market_probability`, the features.
        features: columns known before the off.
        cutoff: first day of the scored fold.
        regime: band of decimal odds; `ALL_PRICES` for the single model.
        settings: `expert_settings_for` the number of races when None.

    Raises:
        LookAheadError: training rows reach into the embargo or the fold.
        MissingFeatureError: a column is missing.
        NoPricesError: no settled race has a full set of prices.
        TooFewRacesError: fewer than `min_races`.
    """
    what = f"expert {regime.name}, cutoff {cutoff}"
    require_columns(train, ("race_key",), what)
    settings = settings or expert_settings_for(train.get_column("race_key").n_unique())
    frame = settled_and_priced(
        train,
        ("decimal_odds", *features),
        cutoff,
        what,
        embargo_days=settings.embargo_days,
        min_races=settings.min_races,
    )
    if settings.latest_races is not None:
        frame = latest_races(frame, settings.latest_races)
    races = Races.from_frame(frame)
    offset = np.log(frame.get_column("market_probability").to_numpy())
    band = in_regime(frame.get_column("decimal_odds").to_numpy(), regime)
    window = np.arange(len(races)) >= len(races) - settings.inner_races
    rows = races.runner_mask(window)
    recent = races.subset(window)
    later = inner_later(recent, settings.inner_share)
    late_runners = recent.runner_mask(later)
    columns: NDArray[np.float32] | BinnedRunners
    inner_columns: NDArray[np.float32] | BinnedRunners
    if settings.bin_once:
        early = int(band[: len(band) - int(late_runners.sum())].sum())
        columns = BinnedRunners.of(_expert_columns(frame, features).filter(pl.Series(band)), settings.booster, early)
        inner_columns = columns.part(rows[band])
    else:
        columns = _expert_matrix(frame, features, band)
        inner_columns = columns[rows[band]]
    inner, score = boost_until(
        inner_columns,
        recent,
        choice_stages(recent),
        later,
        settings.booster,
        settings.seeds,
        offset=offset[rows],
        runners=band[rows],
    )
    late = recent.subset(later)
    before = late.loss(late.softmax(offset[rows][late_runners]))
    after = late.loss(late.softmax(offset[rows][late_runners] + score))
    inner_predictions = frame.select(*KEYS).filter(pl.Series(rows)).filter(pl.Series(late_runners))
    trees = inner
    if inner.rounds_:
        booster = with_rounds(settings.booster, inner.rounds_)
        everything = choice_stages(races)
        trees = boost(columns, races, everything, booster, settings.seeds, offset=offset, runners=band)
    return ExpertModel(
        regime,
        tuple(features),
        cutoff,
        len(races),
        races.race_date[-1].item(),
        trees,
        float((before - after).mean()),
        inner_predictions.with_columns(pl.Series("correction", score)),
    )


def in_regime(decimal_odds: FloatArray, regime: PriceRegime) -> BoolArray:
    """`(runners,)` whether the odds lie in the regime, lower bound included."""
    band: BoolArray = (decimal_odds >= regime.low) & (decimal_odds < regime.high)
    return band


def regime_weights(decimal_odds: FloatArray, regimes: Sequence[PriceRegime] = PRICE_REGIMES) -> FloatArray:
    """Soft gate in log price: the weight of each regime's expert.

    Args:
        decimal_odds: `(runners,)` above 1.
        regimes: bands that may touch but not overlap.

    Returns:
        `(runners, regimes)` in [0, 1]; rows sum to at most 1, the rest is no correction at all. At the border of two
        touching regimes both weigh one half.
    """
    log_odds = np.log(decimal_odds)
    weights = np.ones((len(decimal_odds), len(regimes)))
    for position, regime in enumerate(regimes):
        if regime.low > 1.0:
            weights[:, position] *= _logistic((log_odds - np.log(regime.low)) / GATE_WIDTH)
        if np.isfinite(regime.high):
            weights[:, position] *= _logistic((np.log(regime.high) - log_odds) / GATE_WIDTH)
    total = weights.sum(axis=1, keepdims=True)
    shared: FloatArray = weights / np.maximum(total, 1.0)
    return shared


@dataclass(frozen=True, eq=False)
class GateModel:
    """Soft gate over the experts with a reliability head, fitted on their earlier out-of-sample corrections.

    The score of a runner is `market_beta log p + sum_b w_b(price) r_b(z) g_b(x)`. The head r_b is linear in z = (1, log
    odds relative to the regime's middle, log field size relative to 11 runners). Its coefficients are those that
    would have gained the most likelihood on the earlier folds, held towards 0 by a ridge; each r_b(z) is then shrunk by
    the positive-part James-Stein factor `1 - se^2 / r^2` and held within [0, 1], so that a correction that has not
    proved itself counts for nothing.

    Attributes:
        regimes: one expert each; the correction columns are `correction_<name>`.
        cutoff: first day it may score.
        market_beta: exponent of the market.
        head: `(regimes, 3)` coefficients of r_b.
        head_covariance: `(regimes, 3, 3)`.
        races: races fitted.
        fit_end: last day of the fit data.
    """

    regimes: tuple[PriceRegime, ...]
    cutoff: date
    market_beta: float
    head: FloatArray
    head_covariance: FloatArray
    races: int
    fit_end: date

    @property
    def model_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of `to_dict`."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def reliability(self, decimal_odds: FloatArray, field_size: NDArray[np.int64]) -> FloatArray:
        """Share of each expert's correction that is believed: `(runners, regimes)` in [0, 1].

        Args:
            decimal_odds: `(runners,)`.
            field_size: `(runners,)` runners of each runner's race.
        """
        result = np.zeros((len(decimal_odds), len(self.regimes)))
        for position, regime in enumerate(self.regimes):
            head = _head_inputs(decimal_odds, field_size, regime)
            mean = head @ self.head[position]
            variance = np.einsum("ij,ij->i", head @ self.head_covariance[position], head)
            shrunk = mean * (1.0 - variance / np.maximum(mean**2, 1e-12))
            result[:, position] = np.where((mean > 0) & (shrunk > 0), np.clip(shrunk, 0.0, 1.0), 0.0)
        return result

    def predict(self, frame: pl.DataFrame, fold: int) -> pl.DataFrame:
        """Mixed and scaled corrections of one fold.

        Args:
            frame: runners sorted by `KEYS`, on or after the cutoff, with `decimal_odds`, `market_probability` and a
                `correction_<name>` per regime.
            fold: number written beside every prediction.

        Returns:
            `race_date, race_key, runner_key, fold, cutoff, expert_probability, reliability, weight_<name>...,
            model_hash`. Races without a full set of prices have nulls.

        Raises:
            LookAheadError: a row is earlier than the cutoff.
            NoPricesError: no race has a full set of market probabilities.
        """
        require_columns(frame, (*KEYS, *_gate_columns(self.regimes)), "gate")
        require_not_trained_on(frame, self.cutoff, "gate")
        priced = priced_frame(frame)
        if frame.height and priced.is_empty():
            raise NoPricesError(f"gate: no race of the fold with cutoff {self.cutoff} has a full set of prices")
        races = Races.from_frame(priced)
        odds = priced.get_column("decimal_odds").to_numpy().astype(np.float64)
        weights = regime_weights(odds, self.regimes)
        believed = self.reliability(odds, np.repeat(races.field_size, races.field_size))
        corrections = _corrections(priced, self.regimes)
        log_market = np.log(priced.get_column("market_probability").to_numpy())
        score = self.market_beta * log_market + (weights * believed * corrections).sum(axis=1)
        mean_belief = (weights * believed).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-12)
        predicted = priced.select("runner_key").with_columns(
            pl.Series("expert_probability", races.softmax(score)),
            pl.Series("reliability", mean_belief),
            *(pl.Series(f"weight_{regime.name}", weights[:, i]) for i, regime in enumerate(self.regimes)),
        )
        return (
            frame.select(*KEYS)
            .with_columns(
                pl.lit(fold, dtype=pl.Int32).alias("fold"),
                pl.lit(self.cutoff, dtype=pl.Date).alias("cutoff"),
            )
            .join(predicted, on="runner_key", how="left", maintain_order="left")
            .with_columns(pl.lit(self.model_hash).alias("model_hash"))
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "kind": "gate",
            "regimes": [[regime.name, regime.low, regime.high] for regime in self.regimes],
            "cutoff": self.cutoff.isoformat(),
            "market_beta": self.market_beta,
            "head": self.head.tolist(),
            "head_covariance": self.head_covariance.tolist(),
            "races": self.races,
            "fit_end": self.fit_end.isoformat(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> GateModel:
        """Inverse of `to_dict`."""
        return cls(
            tuple(PriceRegime(*regime) for regime in stored["regimes"]),
            date.fromisoformat(stored["cutoff"]),
            stored["market_beta"],
            np.asarray(stored["head"], dtype=np.float64),
            np.asarray(stored["head_covariance"], dtype=np.float64),
            stored["races"],
            date.fromisoformat(stored["fit_end"]),
        )


def fit_gate(
    earlier: pl.DataFrame,
    cutoff: date,
    regimes: Sequence[PriceRegime] = PRICE_REGIMES,
    *,
    embargo_days: int = 1,
    min_races: int = 100,
) -> GateModel:
    """Fit the market's exponent and the reliability heads together, by penalised maximum likelihood.

    Args:
        earlier: out-of-sample corrections of earlier folds, with `KEYS`, `win_share`, `decimal_odds`,
            `market_probability` and a `correction_<name>` per regime.
        cutoff: first day of the scored fold.
        regimes: the experts' bands.
        embargo_days: days before the cutoff that are not used.
        min_races: fewest settled races with full prices.

    Raises:
        LookAheadError: fit data reach into the embargo or the fold.
        NoPricesError: no settled race has a full set of prices.
        TooFewRacesError: fewer than `min_races`.
    """
    what = f"gate, cutoff {cutoff}"
    priced = settled_and_priced(
        earlier, _gate_columns(regimes), cutoff, what, embargo_days=embargo_days, min_races=min_races
    )
    races = Races.from_frame(priced)
    odds = priced.get_column("decimal_odds").to_numpy().astype(np.float64)
    size = np.repeat(races.field_size, races.field_size)
    pull = regime_weights(odds, regimes) * _corrections(priced, regimes)
    heads = [_head_inputs(odds, size, regime) * pull[:, [i]] for i, regime in enumerate(regimes)]
    log_market = np.log(priced.get_column("market_probability").to_numpy())
    design = np.column_stack((log_market, *heads))
    ridge = np.concatenate(([0.0], np.tile(HEAD_RIDGE, len(regimes))))
    prior = np.concatenate(([1.0], np.zeros(3 * len(regimes))))
    fit = maximise(ChoiceLikelihood(design, races, ridge=ridge, prior=prior))
    blocks = [slice(1 + 3 * i, 4 + 3 * i) for i in range(len(regimes))]
    return GateModel(
        tuple(regimes),
        cutoff,
        float(fit.coefficients[0]),
        np.array([fit.coefficients[block] for block in blocks]),
        np.array([fit.covariance[block, block] for block in blocks]),
        len(races),
        races.race_date[-1].item(),
    )


HEAD_RIDGE = (1.0, 10.0, 10.0)
"""Prior precision of the head: a share of about +-1, and slopes a third as large."""


def _head_inputs(decimal_odds: FloatArray, field_size: NDArray[np.int64], regime: PriceRegime) -> FloatArray:
    middle = 0.5 * (np.log(regime.low) + np.log(regime.high)) if np.isfinite(regime.high) else np.log(12.0)
    return np.column_stack((np.ones(len(decimal_odds)), np.log(decimal_odds) - middle, np.log(field_size / 11.0)))


def _gate_columns(regimes: Sequence[PriceRegime]) -> tuple[str, ...]:
    return ("decimal_odds", "market_probability", *(f"correction_{regime.name}" for regime in regimes))


def _corrections(frame: pl.DataFrame, regimes: Sequence[PriceRegime]) -> FloatArray:
    columns = [frame.get_column(f"correction_{regime.name}").fill_null(0.0).to_numpy() for regime in regimes]
    return np.column_stack(columns).astype(np.float64)


def _expert_matrix(
    frame: pl.DataFrame, features: Sequence[str], chosen: BoolArray | None = None
) -> NDArray[np.float32]:
    """Features and log odds, of the chosen runners or of all."""
    rows = _expert_columns(frame, features)
    # Columns of a frame are filtered without a second copy of the whole matrix.
    return feature_matrix(rows if chosen is None else rows.filter(pl.Series(chosen)), rows.columns)


def _expert_columns(frame: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
    """Features and log odds."""
    return frame.select(*features, pl.col("decimal_odds").log().cast(pl.Float32).alias("log_odds"))


def _logistic(value: FloatArray) -> FloatArray:
    from scipy.special import expit

    result: FloatArray = expit(value)
    return result
