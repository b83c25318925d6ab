"""SQPE: the price-free fundamental model, trees and a linear conditional logit on the same races, and their mix.

Belongs here: fitting one fold's model, its prediction, its storage as LightGBM text and JSON. Not here: which races
belong to a fold, and anything that reads a price.
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

from velo_assets.modelling.conditional_logit import (
    ChoiceLikelihood,
    LinearLogit,
    Stage,
    choice_stages,
    maximise,
    subset_stages,
)
from velo_assets.modelling.guards import (
    TooFewRacesError,
    require_columns,
    require_earlier,
    require_not_trained_on,
    require_races,
)
from velo_assets.modelling.races import (
    KEYS,
    BoolArray,
    FloatArray,
    Races,
    feature_matrix,
    latest_races,
    settled_frame,
)
from velo_assets.modelling.softmax import BinnedRunners, Boosted, BoosterSettings, boost, boost_until, with_rounds


@dataclass(frozen=True)
class FundamentalSettings:
    """How one fold's fundamental model is trained.

    Attributes:
        booster: the trees.
        seeds: one set of trees each; scores are averaged.
        ridge: penalty on the linear model's scaled coefficients.
        place_weights: weight of the second, third, ... place in the exploded logit; a place tells nearly as much about
            ability as a win, and there are few races.
        inner_share: share of the latest training races that stop the trees and set the mix.
        inner_races: the inner split is made within at most this many of the latest training races.
        linear_races: the linear model uses at most this many of the latest races; with more, its errors are below .03.
        latest_races: the model learns from so many of the latest races; all when None.
        min_races: fewest settled races.
        bin_once: the inner trees and the final ones share one binning, whose edges come from the earlier inner races;
            else each has its own.
        embargo_days: days before the cutoff that are not used.
    """

    booster: BoosterSettings = field(default_factory=BoosterSettings)
    seeds: tuple[int, ...] = (11, 23)
    ridge: float = 10.0
    place_weights: tuple[float, ...] = (0.7, 0.5)
    inner_share: float = 0.2
    inner_races: int = 40_000
    linear_races: int = 20_000
    latest_races: int | None = None
    min_races: int = 500
    bin_once: bool = False
    embargo_days: int = 1


MANY_RACES = 40_000
"""From here on a history is called large: winners alone say enough, and time is what is short."""

LARGE = FundamentalSettings(
    booster=BoosterSettings(
        rounds=50,
        learning_rate=0.3,
        num_leaves=12,
        min_data_in_leaf=1000,
        feature_fraction=0.2,
        bagging_fraction=1.0,
        early_stopping_rounds=10,
    ),
    seeds=(11,),
    place_weights=(),
    inner_races=25_000,
    linear_races=12_000,
    latest_races=40_000,
    bin_once=True,
)
"""Fewer, larger steps on one seed, on the latest 40,000 races: with so many, averages over seeds, slow shrinkage and
older races buy less than what the linear model gains from half as many races again."""


def settings_for(races: int) -> FundamentalSettings:
    """Default settings for a training set of so many settled races; they depend on nothing else."""
    return LARGE if races >= MANY_RACES else FundamentalSettings()


@dataclass(frozen=True, eq=False)
class FundamentalModel:
    """A fitted fundamental model.

    Attributes:
        features: input columns, in order.
        cutoff: first day it may score; it has seen nothing from `cutoff - embargo_days` on.
        train_start: first training day.
        train_end: last training day.
        train_races: settled training races.
        trees_: the boosted trees.
        linear_: the linear conditional logit.
        mix_: weights of the tree score and of the linear score, by maximum likelihood on the later inner races.
        inner_: R2 on those races of the trees, the linear model and their mix, and their number.
        inner_predictions_: out-of-sample scores of the later inner races (by models of the earlier ones); not stored.
    """

    features: tuple[str, ...]
    cutoff: date
    train_start: date
    train_end: date
    train_races: int
    trees_: Boosted
    linear_: LinearLogit
    mix_: tuple[float, float]
    inner_: dict[str, float]
    inner_predictions_: pl.DataFrame | None = None

    @property
    def model_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of everything that decides its predictions."""
        content = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256((content + "".join(self.trees_.texts_)).encode()).hexdigest()[:16]

    def score(self, frame: pl.DataFrame) -> FloatArray:
        """Log f up to a constant per race, `(runners,)`.

        Args:
            frame: runners sorted by `KEYS`, with the features.

        Raises:
            MissingFeatureError: a feature is missing.
        """
        races = Races.from_frame(frame)
        matrix = feature_matrix(frame, self.features)
        trees, linear = self.mix_
        score = np.zeros(frame.height)
        if trees:
            score += trees * self.trees_.score(matrix)
        if linear:
            score += linear * self.linear_.score(matrix, races)
        return score

    def predict(self, frame: pl.DataFrame, fold: int) -> pl.DataFrame:
        """Out-of-sample predictions of one fold.

        Args:
            frame: runners sorted by `KEYS`, all on or after the cutoff; results are not needed.
            fold: number written beside every prediction.

        Returns:
            `race_date, race_key, runner_key, fold, cutoff, score, fundamental_probability, model_hash`.

        Raises:
            LookAheadError: a row is earlier than the cutoff, so the model may have trained on it.
            MissingFeatureError: a feature is missing.
        """
        require_columns(frame, KEYS, "fundamental")
        require_not_trained_on(frame, self.cutoff, "fundamental")
        races = Races.from_frame(frame)
        score = self.score(frame) if frame.height else np.zeros(0)
        probability = races.softmax(score)
        return frame.select(*KEYS).with_columns(
            pl.lit(fold, dtype=pl.Int32).alias("fold"),
            pl.lit(self.cutoff, dtype=pl.Date).alias("cutoff"),
            pl.Series("score", np.log(np.maximum(probability, 1e-300))),
            pl.Series("fundamental_probability", probability),
            pl.lit(self.model_hash).alias("model_hash"),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, without the trees' texts and the linear part's covariance, a megabyte that nothing reads."""
        linear = self.linear_.to_dict()
        del linear["covariance"]
        return {
            "kind": "fundamental",
            "features": list(self.features),
            "cutoff": self.cutoff.isoformat(),
            "train_start": self.train_start.isoformat(),
            "train_end": self.train_end.isoformat(),
            "train_races": self.train_races,
            "rounds": self.trees_.rounds_,
            "linear": linear,
            "mix": list(self.mix_),
            "inner": self.inner_,
        }

    def texts(self) -> dict[str, str]:
        """Files of the stored model by name: one JSON and one LightGBM text per seed."""
        return {"fundamental.json": json.dumps(self.to_dict(), indent=1), **self.trees_.files()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> FundamentalModel:
        """Inverse of `texts`, without the inner predictions.

        Raises:
            KeyError: `fundamental.json` is missing.
        """
        stored = json.loads(texts["fundamental.json"])
        return cls(
            tuple(stored["features"]),
            date.fromisoformat(stored["cutoff"]),
            date.fromisoformat(stored["train_start"]),
            date.fromisoformat(stored["train_end"]),
            stored["train_races"],
            Boosted.from_files(texts, stored["rounds"]),
            LinearLogit.from_dict(stored["linear"]),
            (stored["mix"][0], stored["mix"][1]),
            stored["inner"],
        )


def fit_fundamental(
    train: pl.DataFrame,
    features: Sequence[str],
    cutoff: date,
    settings: FundamentalSettings | None = None,
) -> FundamentalModel:
    """Train one fold's model: rounds and mix on the later inner races, then both parts again on all of them.

    The inner races are the last `inner_share` of the training races, cut between days. Trees and linear model are
    fitted on the days before and scored on them; early stopping and the two mix weights use these scores. A part whose
    weight comes out at or below 0 is dropped and the other's weight fitted alone.

    Args:
        train: runners before the cutoff with `KEYS`, `win_share`, the features and, where known, `position`.
        features: price-free columns known before the off.
        cutoff: first day of the scored fold.
        settings: `settings_for` the number of races when None.

    Raises:
        LookAheadError: training rows reach into the embargo or the fold.
        MissingFeatureError: a feature is missing.
        TooFewRacesError: fewer than `min_races` settled races, or too few days to split.
    """
    require_columns(train, (*KEYS, "win_share", *features), "fundamental")
    frame = settled_frame(train)
    races = Races.from_frame(frame)
    settings = settings or settings_for(len(races))
    require_earlier(train, cutoff, settings.embargo_days, "fundamental")
    require_races(len(races), settings.min_races, f"fundamental, cutoff {cutoff}")
    if settings.latest_races is not None and len(races) > settings.latest_races:
        frame = latest_races(frame, settings.latest_races)
        races = Races.from_frame(frame)
    stages = choice_stages(races, finishing_positions(frame), settings.place_weights)

    window = _latest(np.ones(len(races), dtype=bool), settings.inner_races)
    in_window = races.runner_mask(window)
    inner_races = races.subset(window)
    inner_stages = subset_stages(stages, window, in_window)
    inner_later_races = inner_later(inner_races, settings.inner_share)
    # The linear model reads fewer races than the trees: of a large history a matrix of all would be a copy of it.
    first = _first_row(races, max(settings.inner_races, settings.linear_races))
    columns: NDArray[np.float32] | BinnedRunners
    inner_columns: NDArray[np.float32] | BinnedRunners
    if settings.bin_once:
        early = races.runners - int(inner_races.field_size[inner_later_races].sum())
        columns = BinnedRunners.of(frame.select(features), settings.booster, early)
        inner_columns = columns.part(in_window)
        matrix = feature_matrix(frame[first:], features)
    else:
        columns = feature_matrix(frame, features)
        inner_columns = columns[in_window]
        matrix = columns[first:]
    inner_trees, tree_score = boost_until(
        inner_columns,
        inner_races,
        inner_stages,
        inner_later_races,
        settings.booster,
        # One seed finds rounds and mix as well as several; the final trees average them all.
        settings.seeds[:1],
    )
    inner_matrix = matrix[in_window[first:]]
    late_runners = inner_races.runner_mask(inner_later_races)
    late = inner_races.subset(inner_later_races)
    inner_linear = _fit_linear(
        inner_matrix[~late_runners],
        inner_races.subset(~inner_later_races),
        subset_stages(inner_stages, ~inner_later_races, ~late_runners),
        features,
        settings,
        errors=False,
    )
    linear_score = inner_linear.score(inner_matrix[late_runners], late)
    mix = mix_weights(tree_score, linear_score, late)
    mixed = mix[0] * tree_score + mix[1] * linear_score
    inner = {
        "r2_trees": late.r2(late.softmax(tree_score)),
        "r2_linear": late.r2(late.softmax(linear_score)),
        "r2_mix": late.r2(late.softmax(mixed)),
        "races": float(len(late)),
    }
    inner_rows = frame.select(*KEYS).filter(pl.Series(in_window)).filter(pl.Series(late_runners))
    inner_predictions = inner_rows.with_columns(pl.Series("score", np.log(np.maximum(late.softmax(mixed), 1e-300))))

    rounds = max(inner_trees.rounds_, 1)
    trees = boost(columns, races, stages, with_rounds(settings.booster, rounds), settings.seeds)
    linear = _fit_linear(matrix, races, stages, features, settings)
    return FundamentalModel(
        tuple(features),
        cutoff,
        _day(races.race_date[0]),
        _day(races.race_date[-1]),
        len(races),
        trees,
        linear,
        mix,
        inner,
        inner_predictions,
    )


def mix_weights(tree_score: FloatArray, linear_score: FloatArray, races: Races) -> tuple[float, float]:
    """Weights of two scores by maximum likelihood, neither below 0.

    Args:
        tree_score: `(runners,)`.
        linear_score: `(runners,)`.
        races: their races, settled.

    Returns:
        Weights of the trees and of the linear model.
    """
    usable = [position for position, score in enumerate((tree_score, linear_score)) if np.ptp(score) > 0]
    columns = np.column_stack((tree_score, linear_score))
    while usable:
        # a unit ridge towards an equal mix keeps two nearly collinear scores from taking opposite signs by chance
        fit = maximise(ChoiceLikelihood(columns[:, usable], races, ridge=1.0, prior=1.0 / len(usable)))
        worst = int(np.argmin(fit.coefficients))
        if fit.coefficients[worst] > 0:
            weights = np.zeros(2)
            weights[usable] = fit.coefficients
            return float(weights[0]), float(weights[1])
        del usable[worst]
    return 0.0, 0.0


def inner_later(races: Races, share: float) -> BoolArray:
    """`(races,)` mask of the last `share` of the races, cut between days.

    Raises:
        TooFewRacesError: all races are on one day.
    """
    cut = races.race_date[min(int(len(races) * (1.0 - share)), len(races) - 1)]
    later: BoolArray = races.race_date >= cut
    if later.all() or not later.any():
        raise TooFewRacesError(
            "inner split: the training races lie on too few days to keep the last ones apart; add earlier days"
        )
    return later


def finishing_positions(frame: pl.DataFrame) -> FloatArray | None:
    """`(runners,)` finishing positions, NaN for non-finishers; None when the frame has none."""
    if "position" not in frame.columns:
        return None
    return frame.get_column("position").cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


def _fit_linear(
    matrix: NDArray[np.float32],
    races: Races,
    stages: Sequence[Stage],
    features: Sequence[str],
    settings: FundamentalSettings,
    *,
    errors: bool = True,
) -> LinearLogit:
    """The linear model of the latest races; the matrix may begin at any race before these."""
    latest = _latest(np.ones(len(races), dtype=bool), settings.linear_races)
    rows = races.runner_mask(latest)
    return LinearLogit.fit(
        matrix[rows[len(rows) - len(matrix) :]],
        races.subset(latest),
        features,
        ridge=settings.ridge,
        stages=subset_stages(stages, latest, rows),
        errors=errors,
    )


def _first_row(races: Races, count: int) -> int:
    """First row of the latest so many races."""
    return int(races.race_starts[-min(count, len(races))])


def _latest(mask: BoolArray, count: int) -> BoolArray:
    chosen = np.zeros(len(mask), dtype=bool)
    chosen[np.flatnonzero(mask)[-count:]] = True
    return chosen


def _day(value: np.datetime64) -> date:
    day: date = value.astype("datetime64[D]").item()
    return day
