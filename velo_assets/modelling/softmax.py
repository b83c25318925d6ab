"""LightGBM with the race softmax as its objective.

Belongs here: the custom objective (gradient p - y, Hessian p(1 - p)) with offsets, exploded places and restriction to
some runners, early stopping on later races, seed averages, and models as LightGBM text. Not here: which features, which
folds.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.modelling.conditional_logit import Stage, stage_probabilities, subset_stages
from velo_assets.modelling.races import BoolArray, FloatArray, Races, feature_matrix, race_sum

MANY_RUNNERS = 20_000
"""From here on two threads pay for their waiting on each other. The number of runners decides, never the machine, so
that the same data and seed give the same sums in the same order."""

SHAP_COST = 70
"""Runners scored in the time that one runner's SHAP values take. A runner's are the same on any number of threads."""

FIXED_PARAMETERS = {"deterministic": True, "force_col_wise": True, "feature_pre_filter": False, "verbosity": -1}
"""Shared by every data set and booster. The column-wise layout is forced: LightGBM would else choose one by timing it,
and with a fifth or a third of the features offered to a tree it takes half the processor time of the row-wise one.
Features that no leaf of the least size could split stay in: of a small price regime none may be left, which LightGBM
takes for an error and not for trees that do not grow."""

BIN_SAMPLE = 20_000
"""Runners from which the edges of a few dozen bins are read; sorting all of every column costs more than the trees."""

P = ParamSpec("P")
T = TypeVar("T")

_lightgbm = threading.RLock()


def _alone(work: Callable[P, T]) -> Callable[P, T]:
    """Let one thread at a time into LightGBM.

    Its number of threads is a variable of the process: a fit with two beside one with a single thread reads past the
    end of its buffers. Folds are fitted side by side for what they do besides.
    """

    @wraps(work)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        with _lightgbm:
            return work(*args, **kwargs)

    return guarded


@dataclass(frozen=True)
class BoosterSettings:
    """Hyper-parameters of the trees.

    Attributes:
        rounds: most boosting rounds; early stopping usually takes fewer.
        learning_rate: shrinkage of each tree.
        num_leaves: leaves per tree.
        min_data_in_leaf: runners per leaf; wins are 1 in 10, so a leaf needs hundreds of runners to know its rate.
        lambda_l2: ridge on leaf values.
        feature_fraction: share of features offered to each tree.
        bagging_fraction: share of runners offered to each tree.
        max_bin: histogram bins per feature.
        early_stopping_rounds: rounds without gain on the later races before stopping.
    """

    rounds: int = 150
    learning_rate: float = 0.1
    num_leaves: int = 12
    min_data_in_leaf: int = 200
    lambda_l2: float = 10.0
    feature_fraction: float = 0.3
    bagging_fraction: float = 0.8
    max_bin: int = 63
    early_stopping_rounds: int = 20

    def parameters(self, seed: int) -> dict[str, Any]:
        """LightGBM's own names for these settings."""
        return {
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "min_sum_hessian_in_leaf": 1e-3,
            "lambda_l2": self.lambda_l2,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1 if self.bagging_fraction < 1.0 else 0,
            "max_bin": self.max_bin,
            "bin_construct_sample_cnt": BIN_SAMPLE,
            "boost_from_average": False,
            "seed": seed,
            **FIXED_PARAMETERS,
        }


def softmax_gradient(scores: FloatArray, races: Races, stages: Sequence[Stage]) -> tuple[FloatArray, FloatArray]:
    """Gradient and diagonal Hessian of the negative log-likelihood with respect to each runner's score.

    Args:
        scores: `(runners,)`.
        races: the runners' races.
        stages: choices from `choice_stages`.

    Returns:
        `(runners,)` gradient, sum over stages of `w (p - y)`; `(runners,)` Hessian, sum of `w p (1 - p)`.
    """
    if len(stages) == 1 and bool((stages[0].weight == 1.0).all()):
        # The commonest case, every round anew: fewer passes over the runners, to the same last digit.
        probability = races.softmax(scores)
        return probability - stages[0].target, probability * (1.0 - probability)
    gradient, hessian = np.zeros(races.runners), np.zeros(races.runners)
    for stage, probability in zip(stages, stage_probabilities(scores, races, stages), strict=True):
        expected = probability * np.repeat(stage.weight, races.field_size)
        gradient += expected - stage.target
        hessian += expected * (1.0 - probability)
    return gradient, hessian


@dataclass(frozen=True, eq=False)
class Boosted:
    """Trees of several seeds, averaged.

    Attributes:
        texts_: LightGBM model text of each seed.
        rounds_: boosting rounds kept.
    """

    texts_: tuple[str, ...]
    rounds_: int

    @_alone
    def score(self, matrix: NDArray[np.float32]) -> FloatArray:
        """Mean raw score over the seeds, `(runners,)`, without the offset.

        Args:
            matrix: `(runners, features)`, NaN where missing.
        """
        total: FloatArray = np.zeros(len(matrix))
        for booster in self.boosters():
            total += booster.predict(matrix, raw_score=True, num_threads=threads(len(matrix))) / len(self.texts_)
        return total

    @_alone
    def contributions(self, matrix: NDArray[np.float32]) -> FloatArray:
        """LightGBM's own SHAP values, mean over seeds: `(runners, features + 1)`, the last column the base value."""
        total: FloatArray = np.zeros((len(matrix), matrix.shape[1] + 1))
        for booster in self.boosters():
            shap = booster.predict(matrix, pred_contrib=True, num_threads=threads(SHAP_COST * len(matrix)))
            total += shap / len(self.texts_)
        return total

    def files(self) -> dict[str, str]:
        """The trees as text files by name, one a seed."""
        return {f"trees_{position}.txt": text for position, text in enumerate(self.texts_)}

    @classmethod
    def from_files(cls, files: Mapping[str, str], rounds: int) -> Boosted:
        """Inverse of `files`; other files beside the trees' are passed over."""
        seeds = sorted(int(found[1]) for name in files if (found := re.fullmatch(r"trees_(\d+)\.txt", name)))
        return cls(tuple(files[f"trees_{seed}.txt"] for seed in seeds), rounds)

    def boosters(self) -> list[Any]:
        """The trees as LightGBM boosters."""
        from lightgbm import Booster

        return [Booster(model_str=text) for text in self.texts_]


@dataclass(frozen=True, eq=False)
class BinnedRunners:
    """Features of runners, cut into histogram bins once for all trees that learn from them or from a part of them.

    Binning a runner takes as long as a hundred rounds of boosting on it.

    Attributes:
        frame: the runners' features.
        data_: LightGBM's data set of them.
    """

    frame: pl.DataFrame
    data_: Any

    @classmethod
    @_alone
    def of(cls, frame: pl.DataFrame, settings: BoosterSettings, early: int) -> BinnedRunners:
        """Bin all runners between edges that the early ones decide.

        Args:
            frame: features of runners in time order, and nothing else.
            settings: number of bins.
            early: rows, from the first on, that the edges are read from: those that come before the later races which
                trees stop on, so that not even the edges have seen these.
        """
        edges = _dataset(frame[: early : max(early // BIN_SAMPLE, 1)], settings)
        return cls(frame, _like(frame, edges))

    @_alone
    def part(self, rows: BoolArray) -> BinnedRunners:
        """Some of the runners; their bins are copied, not worked out again."""
        subset = self.data_.subset(np.flatnonzero(rows).astype(np.int32)).construct()
        return BinnedRunners(self.frame.filter(pl.Series(rows)), subset)

    def matrix(self) -> NDArray[np.float32]:
        """The features as they were before they were binned, `(runners, features)`."""
        return feature_matrix(self.frame, self.frame.columns)


@_alone
def boost(
    columns: NDArray[np.float32] | BinnedRunners,
    races: Races,
    stages: Sequence[Stage],
    settings: BoosterSettings,
    seeds: Sequence[int],
    *,
    offset: FloatArray | None = None,
    runners: BoolArray | None = None,
) -> Boosted:
    """Train a fixed number of rounds on all races given.

    Args:
        columns: `(movable runners, features)`, NaN where missing, or the same runners binned.
        races: all runners' races, settled.
        stages: choices from `choice_stages(races, ...)`.
        settings: hyper-parameters; `rounds` are all run.
        seeds: one set of trees each.
        offset: `(runners,)` starting scores (log p_market); 0 when None.
        runners: `(runners,)` the ones whose scores the trees may move; the others keep their offset but stay in the
            denominator of their race. All when None.

    Returns:
        The averaged trees.
    """
    data = columns.data_ if isinstance(columns, BinnedRunners) else _dataset(columns, settings)
    objective = _objective(races, stages, offset, runners)
    return Boosted(tuple(_train(data, objective, settings, seed).model_to_string() for seed in seeds), settings.rounds)


@_alone
def boost_until(
    columns: NDArray[np.float32] | BinnedRunners,
    races: Races,
    stages: Sequence[Stage],
    later: BoolArray,
    settings: BoosterSettings,
    seeds: Sequence[int],
    *,
    offset: FloatArray | None = None,
    runners: BoolArray | None = None,
) -> tuple[Boosted, FloatArray]:
    """Train on the earlier races and stop when the winner's log-loss on the later ones no longer falls.

    Args:
        columns: `(movable runners, features)` of both parts, NaN where missing, or the same runners binned.
        races: races of both parts, in time order.
        stages: choices of both parts.
        later: `(races,)` the races to stop on. They must not start before the last of the others.
        settings: hyper-parameters; `rounds` is the most.
        seeds: one set of trees each.
        offset: as in `boost`.
        runners: as in `boost`.

    Returns:
        The trees at the best mean round of the seeds (0 rounds: no trees helped), and their raw scores of all runners
        of the later races, `(later runners,)`.

    Raises:
        ValueError: the stopping races are not the later ones.
    """
    if not later.any() or later.all():
        raise ValueError("early stopping needs both earlier and later races")
    if races.race_date[later].min() <= races.race_date[~later].max():
        raise ValueError("early stopping must use later race days than training, never rows of the same days")
    movable = np.ones(races.runners, dtype=bool) if runners is None else runners
    in_later = np.repeat(later, races.field_size)
    early_races, late_races = races.subset(~later), races.subset(later)
    base = np.zeros(races.runners) if offset is None else offset
    late_rows = in_later[movable]
    if isinstance(columns, BinnedRunners):
        late_part = columns.part(late_rows)
        data, late_data, late_matrix = columns.part(~late_rows).data_, late_part.data_, late_part.matrix()
    else:
        data, late_matrix = _dataset(columns[~late_rows], settings), columns[late_rows]
        late_data = _like(late_matrix, data)
    objective = _objective(early_races, subset_stages(stages, ~later, ~in_later), base[~in_later], movable[~in_later])
    late_movable = movable[in_later]

    def log_loss(predicted: FloatArray, _: Any) -> tuple[str, float, bool]:
        scores = base[in_later].copy()
        scores[late_movable] += predicted
        return "race_log_loss", float(late_races.loss(late_races.softmax(scores)).mean()), False

    before = log_loss(np.zeros(int(late_movable.sum())), None)[1]
    curves = [_train(data, objective, settings, seed, (late_data, log_loss)) for seed in seeds]
    best = [model.best_iteration if model.best_score["later"]["race_log_loss"] < before else 0 for model in curves]
    rounds = round(float(np.mean(best)))
    texts = tuple(model.model_to_string(num_iteration=max(rounds, 1)) for model in curves)
    fitted = Boosted(texts if rounds else (), rounds)
    scores = np.zeros(late_races.runners)
    if rounds:
        scores[late_movable] = fitted.score(late_matrix)
    return fitted, scores


def threads(runners: int) -> int:
    """Threads for so many runners: 1, or 2 from `MANY_RUNNERS` on."""
    return 2 if runners >= MANY_RUNNERS else 1


def with_rounds(settings: BoosterSettings, rounds: int) -> BoosterSettings:
    """The same settings with another number of rounds."""
    return replace(settings, rounds=rounds)


def _dataset(columns: NDArray[np.float32] | pl.DataFrame, settings: BoosterSettings) -> Any:
    from lightgbm import Dataset

    parameters = {
        "max_bin": settings.max_bin,
        "bin_construct_sample_cnt": BIN_SAMPLE,
        "min_data_in_leaf": settings.min_data_in_leaf,
        "num_threads": threads(len(columns)),
        **FIXED_PARAMETERS,
    }
    data = Dataset(columns, label=np.zeros(len(columns), dtype=np.float32), params=parameters)
    return data.construct()


def _like(columns: NDArray[np.float32] | pl.DataFrame, data: Any) -> Any:
    """Other runners in the bins of a data set."""
    return data.create_valid(
        columns, label=np.zeros(len(columns), dtype=np.float32), params=data.get_params()
    ).construct()


def _objective(races: Races, stages: Sequence[Stage], offset: FloatArray | None, runners: BoolArray | None) -> Any:
    base = np.zeros(races.runners) if offset is None else offset
    if runners is not None and not runners.all():
        return _banded_objective(races, stages, base, runners)

    def objective(predicted: FloatArray, _: Any) -> tuple[FloatArray, FloatArray]:
        return softmax_gradient(base + predicted, races, stages)

    return objective


def _banded_objective(races: Races, stages: Sequence[Stage], base: FloatArray, runners: BoolArray) -> Any:
    """The winner's softmax over whole races, worked out for the movable runners: the others' mass is a constant."""
    if len(stages) != 1:
        raise ValueError("trees over some of the runners learn from winners only; pass the winner's stage alone")
    top = np.maximum.reduceat(base, races.race_starts)
    mass = np.exp(base - np.repeat(top, races.field_size))
    outside = race_sum(np.where(runners, 0.0, mass), races.race_starts)
    sizes = race_sum(runners.astype(np.float64), races.race_starts).astype(np.int64)
    touched = sizes > 0
    sizes, outside, weight = sizes[touched], outside[touched], np.repeat(stages[0].weight[touched], sizes[touched])
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    inside, target = mass[runners], stages[0].target[runners]

    def objective(predicted: FloatArray, _: Any) -> tuple[FloatArray, FloatArray]:
        moved = inside * np.exp(predicted)
        probability = moved / np.repeat(np.add.reduceat(moved, starts) + outside, sizes)
        expected = weight * probability
        return expected - target, expected * (1.0 - probability)

    return objective


def _train(
    data: Any,
    objective: Any,
    settings: BoosterSettings,
    seed: int,
    stopping: tuple[Any, Any] | None = None,
) -> Any:
    import lightgbm

    parameters = {
        **settings.parameters(seed),
        "objective": objective,
        "num_threads": threads(data.num_data()),
    }
    if stopping is None:
        return lightgbm.train(parameters, data, num_boost_round=settings.rounds)
    late_data, metric = stopping
    return lightgbm.train(
        {**parameters, "metric": "None"},
        data,
        num_boost_round=settings.rounds,
        valid_sets=[late_data],
        valid_names=["later"],
        feval=metric,
        callbacks=[lightgbm.early_stopping(settings.early_stopping_rounds, verbose=False)],
    )
