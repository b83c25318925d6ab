"""Linear conditional logit: the likelihood with analytic gradient and Hessian, and a model over a feature table.

Belongs here: choice stages (winner only, or the exploded logit over the first places), maximum likelihood with standard
errors, and `LinearLogit`, which learns scaling and the treatment of missing values on its training rows. Not here: what
the features mean.

Sources: McFadden (1974), conditional logit; Plackett (1975) and Chapman and Staelin (1982), the exploded logit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from velo_assets.modelling.guards import TooFewRacesError
from velo_assets.modelling.races import BoolArray, FloatArray, Races, race_sum

CLIP_SCALES = 5.0
"""Standardised values are held within +-5 standard deviations: one absurd layoff must not decide a linear score."""

BLOCK_VALUES = 1 << 20
"""Values of a design scaled at once: all columns of a day's card, a column or two of a big training set (8 MB)."""

INDICATOR_RATES = (0.01, 0.99)
"""A missing-value indicator is added when the training null rate lies between these; outside it would be a constant."""


WIDE = 32
"""Columns from which the Hessian is summed in single precision: half the time, and its sixth digit decides nothing."""

BLOCK_RACES = 256
"""Races of a wide design whose part of the Hessian is worked out at once: some 2 MB, which stay in the cache."""

SAMPLE_STEP = 4
"""One race in so many is enough for a rough Hessian of a wide design..."""

SAMPLED_RACES = 500
"""...if the sample keeps at least this many."""

PROBE_RACES = 200
"""First races asked whether a column varies within races, before all are."""

VANISHED_CURVATURE = 1e-4
"""Where a direction has lost all but this share of its curvature, the likelihood rises to infinity along it."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One choice of an exploded logit: who comes k-th among those not yet placed.

    Attributes:
        alive: `(runners,)` 1 for runners still to be chosen from, else 0.
        target: `(runners,)` share of the choice (dead-heaters split it), times its weight.
        weight: `(races,)` weight of this choice in the likelihood; 0 where the place is unknown.
    """

    alive: FloatArray
    target: FloatArray
    weight: FloatArray


def choice_stages(
    races: Races,
    position: FloatArray | None = None,
    place_weights: Sequence[float] = (),
) -> tuple[Stage, ...]:
    """Choices that the likelihood multiplies: the winner, then optionally the following places.

    Args:
        races: settled races.
        position: `(runners,)` finishing position, NaN for non-finishers; needed with `place_weights`.
        place_weights: weight of the choice of the second, third, ... place relative to the winner's.

    Returns:
        One stage per place. A place that is dead-heated away or unknown weighs 0 in its race.
    """
    stages = [Stage(np.ones(races.runners), races.win_share, np.ones(len(races)))]
    if position is None:
        return tuple(stages)
    place = np.where(np.isnan(position), np.inf, position)
    place = np.where(races.win_share > 0, 1.0, place)
    for rank, place_weight in enumerate(place_weights, start=2):
        chosen = (place == rank).astype(np.float64)
        alive = (place >= rank).astype(np.float64)
        count = race_sum(chosen, races.race_starts)
        left = race_sum(alive, races.race_starts)
        placed_before = races.field_size - left
        known = (count > 0) & (left > count) & (placed_before >= rank - 1)
        stage_weight = np.where(known, place_weight, 0.0)
        share = stage_weight / np.maximum(count, 1.0)
        stages.append(Stage(alive, chosen * np.repeat(share, races.field_size), stage_weight))
    return tuple(stages)


def subset_stages(stages: Sequence[Stage], race_mask: BoolArray, runner_mask: BoolArray) -> tuple[Stage, ...]:
    """The same choices for some of the races.

    Args:
        stages: choices of all races.
        race_mask: `(races,)` races kept.
        runner_mask: `(runners,)` their runners.
    """
    return tuple(Stage(s.alive[runner_mask], s.target[runner_mask], s.weight[race_mask]) for s in stages)


def stage_probabilities(scores: FloatArray, races: Races, stages: Sequence[Stage]) -> list[FloatArray]:
    """Probability of every runner in every stage, 0 for runners already placed: a list of `(runners,)`."""
    top = np.maximum.reduceat(scores, races.race_starts)
    weights = np.exp(scores - np.repeat(top, races.field_size))
    result = []
    for stage in stages:
        alive = weights * stage.alive
        total = np.maximum(np.add.reduceat(alive, races.race_starts), 1e-300)
        result.append(alive / np.repeat(total, races.field_size))
    return result


class ChoiceLikelihood:
    """Mean negative log-likelihood of `scores = offset + design @ coefficients`, with ridge, gradient and Hessian.

    Args:
        design: `(runners, columns)`.
        races: the runners' races, settled.
        stages: choices; the winner only when None.
        offset: `(runners,)` fixed part of the score; 0 when None.
        ridge: `(columns,)` or scalar penalty `ridge/2 * (b - prior)^2`, in units of log-likelihood (not of its mean).
        prior: `(columns,)` or scalar centre of the penalty.

    Raises:
        TooFewRacesError: there is no race.
    """

    def __init__(
        self,
        design: FloatArray,
        races: Races,
        stages: Sequence[Stage] | None = None,
        offset: FloatArray | None = None,
        ridge: FloatArray | float = 0.0,
        prior: FloatArray | float = 0.0,
    ) -> None:
        if len(races) == 0:
            raise TooFewRacesError("conditional logit: no settled race to fit on")
        self.design = design
        self.races = races
        self.stages = tuple(stages) if stages is not None else choice_stages(races)
        self.offset = np.zeros(races.runners) if offset is None else offset
        self.ridge = np.broadcast_to(np.asarray(ridge, dtype=np.float64), (design.shape[1],))
        self.prior = np.broadcast_to(np.asarray(prior, dtype=np.float64), (design.shape[1],))
        self.scale = max(float(self.stages[0].weight.sum()), 1.0)
        self._target = _total([stage.target for stage in self.stages])
        self._at: FloatArray | None = None
        self._probabilities: list[FloatArray] = []

    def _probabilities_at(self, coefficients: FloatArray) -> list[FloatArray]:
        if self._at is None or not np.array_equal(self._at, coefficients):
            self._probabilities = stage_probabilities(self.offset + self.design @ coefficients, self.races, self.stages)
            self._at = coefficients.copy()
        return self._probabilities

    def log_likelihood(self, coefficients: FloatArray) -> float:
        """Log-likelihood without the penalty, summed over races."""
        total = 0.0
        for stage, probability in zip(self.stages, self._probabilities_at(coefficients), strict=True):
            chosen = stage.target > 0
            total += float(stage.target[chosen] @ np.log(np.maximum(probability[chosen], 1e-300)))
        return total

    def value(self, coefficients: FloatArray) -> float:
        """Penalised negative log-likelihood per race."""
        penalty = 0.5 * float(self.ridge @ (coefficients - self.prior) ** 2)
        return (penalty - self.log_likelihood(coefficients)) / self.scale

    def _expected(self, coefficients: FloatArray) -> FloatArray:
        return _total(
            [
                probability * np.repeat(stage.weight, self.races.field_size)
                for stage, probability in zip(self.stages, self._probabilities_at(coefficients), strict=True)
            ]
        )

    def gradient(self, coefficients: FloatArray) -> FloatArray:
        """Gradient of `value`: `(columns,)`."""
        residual = self._expected(coefficients) - self._target
        gradient: FloatArray = (residual @ self.design + self.ridge * (coefficients - self.prior)) / self.scale
        return gradient

    def hessian(self, coefficients: FloatArray) -> FloatArray:
        """Hessian of `value`: `(columns, columns)`, worked out in single precision for wide designs."""
        kind: Any = np.float32 if self.design.shape[1] > WIDE else np.float64
        expected = self._expected(coefficients).astype(kind)
        probabilities = [probability.astype(kind) for probability in self._probabilities_at(coefficients)]
        total = np.zeros((self.design.shape[1], self.design.shape[1]))
        for first, last in self._race_blocks():
            starts = self.races.race_starts[first:last]
            rows = slice(starts[0], starts[-1] + self.races.field_size[last - 1])
            starts = starts - starts[0]
            design: Any = self.design[rows].astype(kind, copy=False)
            total += design.T @ (design * expected[rows, None])
            for stage, probability in zip(self.stages, probabilities, strict=True):
                means = np.add.reduceat(design * probability[rows, None], starts, axis=0)
                total -= means.T @ (means * stage.weight[first:last, None].astype(kind))
        penalised: FloatArray = (total + np.diag(self.ridge)) / self.scale
        return penalised

    def _race_blocks(self) -> list[tuple[int, int]]:
        """Races from and to, so few at once that a wide design's products stay in the processor's cache; else all."""
        if self.design.shape[1] <= WIDE:
            return [(0, len(self.races))]
        edges = [*range(0, len(self.races), BLOCK_RACES), len(self.races)]
        return list(pairwise(edges))

    def rough_hessian(self, coefficients: FloatArray) -> FloatArray:
        """Hessian of `value` from every `SAMPLE_STEP`-th race when the design is wide: good enough to whiten with."""
        if self.design.shape[1] <= WIDE or len(self.races) < SAMPLE_STEP * SAMPLED_RACES:
            return self.hessian(coefficients)
        chosen = np.zeros(len(self.races), dtype=bool)
        chosen[::SAMPLE_STEP] = True
        rows = self.races.runner_mask(chosen)
        sample = ChoiceLikelihood(
            self.design[rows],
            self.races.subset(chosen),
            subset_stages(self.stages, chosen, rows),
            self.offset[rows],
            self.ridge / SAMPLE_STEP,
            self.prior,
        )
        return sample.hessian(coefficients)

    def race_gradients(self, coefficients: FloatArray) -> FloatArray:
        """Score of each race without the penalty, `(races, columns)`: what a sandwich covariance needs."""
        residual = self._expected(coefficients) - self._target
        return race_sum(self.design * residual[:, None], self.races.race_starts)


@dataclass(frozen=True, eq=False)
class LogitFit:
    """A maximum of `ChoiceLikelihood`.

    Attributes:
        coefficients: `(columns,)`.
        covariance: `(columns, columns)`: inverse Hessian; with several stages the race-clustered sandwich, because the
            weighted places of one race are not independent observations.
        log_likelihood: at the maximum, without penalty, summed over races.
        races: number of races fitted.
    """

    coefficients: FloatArray
    covariance: FloatArray
    log_likelihood: float
    races: int

    @property
    def standard_errors(self) -> FloatArray:
        """`(columns,)` square roots of the covariance's diagonal."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))


def maximise(likelihood: ChoiceLikelihood, start: FloatArray | None = None, *, errors: bool = True) -> LogitFit:
    """Maximum likelihood by L-BFGS in coordinates whitened with the Hessian at the start, then one Newton step.

    The Hessian is the costly part and changes little on the way to the maximum: whitening with the first one makes the
    problem nearly spherical, so that a dozen gradients suffice; the last one is needed for the standard errors anyway
    and pays for a final Newton step.

    Args:
        likelihood: what to maximise.
        start: `(columns,)` first guess; the prior when None.
        errors: whether to work out the covariance; without it there is no final Newton step either.

    Returns:
        The fit with its covariance, NaN without `errors`.

    Raises:
        ArithmeticError: no finite maximum was found (a column separates winners perfectly, or is not finite).
    """
    from scipy.optimize import minimize

    guess = np.array(likelihood.prior if start is None else start, dtype=np.float64)
    if not np.isfinite(likelihood.design).all() or not np.isfinite(likelihood.offset).all():
        raise ArithmeticError("conditional logit: the design or the offset holds NaN or infinity; fill them first")
    if len(guess) == 0:
        return LogitFit(guess, np.zeros((0, 0)), likelihood.log_likelihood(guess), len(likelihood.races))
    unwhiten, curved = _inverse_root(likelihood.rough_hessian(guess))
    solution = minimize(
        lambda step: likelihood.value(guess + unwhiten @ step),
        np.zeros(len(guess)),
        jac=lambda step: unwhiten.T @ likelihood.gradient(guess + unwhiten @ step),
        method="L-BFGS-B",
        options={"gtol": 1e-7, "ftol": 1e-13, "maxiter": 500, "maxcor": 20},
    )
    coefficients = guess + unwhiten @ np.asarray(solution.x, dtype=np.float64)
    if not errors:
        unknown = np.full((len(guess), len(guess)), np.nan)
        return LogitFit(coefficients, unknown, likelihood.log_likelihood(coefficients), len(likelihood.races))
    hessian = likelihood.hessian(coefficients)
    whitened = unwhiten[:, curved].T @ hessian @ unwhiten[:, curved]
    separated = bool(curved.any()) and float(np.linalg.eigvalsh(whitened)[0]) < VANISHED_CURVATURE
    inverse = np.linalg.pinv(hessian, hermitian=True).astype(np.float64)
    polished = coefficients - inverse @ likelihood.gradient(coefficients)
    if likelihood.value(polished) <= likelihood.value(coefficients):
        coefficients = polished
    gradient = likelihood.gradient(coefficients)
    if separated or not np.isfinite(coefficients).all() or np.abs(gradient).max() > 1e-4:
        raise ArithmeticError(
            "conditional logit: no finite maximum; a column separates winners from losers, or columns are collinear: "
            "add ridge or drop the column"
        )
    inverse = inverse / likelihood.scale
    if len(likelihood.stages) > 1:
        scores = likelihood.race_gradients(coefficients)
        inverse = inverse @ (scores.T @ scores) @ inverse
    return LogitFit(coefficients, inverse, likelihood.log_likelihood(coefficients), len(likelihood.races))


def _inverse_root(hessian: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Matrix W with `W.T @ hessian @ W` the identity where there is curvature, and which of its columns those are."""
    values, vectors = np.linalg.eigh(hessian)
    curved: BoolArray = values > 1e-8 * max(values[-1], 1e-12)
    root: FloatArray = vectors / np.sqrt(np.where(curved, values, 1.0))
    return root, curved


@dataclass(frozen=True, eq=False)
class LinearLogit:
    """Conditional logit over a feature table, with scaling and missing-value rules learned on training rows.

    A missing value takes the mean of its race's known values (no information about the order of the runners); where
    missing values are common an indicator column says so, one for each distinct pattern of gaps. Values are centred on
    the training median, scaled by the training standard deviation and held within `CLIP_SCALES`. Features that never
    vary within a training race cancel in the softmax and are left out.

    Attributes:
        features: names of the input columns, in order.
        used_: positions of the features that have a coefficient.
        centre_: `(used,)` training medians.
        scale_: `(used,)` training standard deviations.
        indicators_: positions of the features that have a missing-value indicator.
        coefficients_: `(used + indicators,)` on the scaled columns.
        covariance_: their covariance.
    """

    features: tuple[str, ...]
    used_: tuple[int, ...]
    centre_: FloatArray
    scale_: FloatArray
    indicators_: tuple[int, ...]
    coefficients_: FloatArray
    covariance_: FloatArray

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the coefficients: the features in use, then `missing(feature)`."""
        used = (self.features[index] for index in self.used_)
        return (*used, *(f"missing({self.features[index]})" for index in self.indicators_))

    @property
    def standard_errors_(self) -> FloatArray:
        """`(used + indicators,)`."""
        return np.sqrt(np.maximum(np.diag(self.covariance_), 0.0))

    @classmethod
    def fit(
        cls,
        matrix: NDArray[np.float32],
        races: Races,
        features: Sequence[str],
        *,
        ridge: float = 1.0,
        offset: FloatArray | None = None,
        stages: Sequence[Stage] | None = None,
        errors: bool = True,
    ) -> LinearLogit:
        """Learn scaling, then coefficients.

        Args:
            matrix: `(runners, features)`, NaN where missing.
            races: the runners' races, settled.
            features: column names.
            ridge: penalty `ridge/2 * b^2` on each scaled coefficient, in units of log-likelihood.
            offset: `(runners,)` fixed part of the score, such as log p_market.
            stages: choices; the winner only when None.
            errors: whether to work out the covariance.

        Raises:
            ArithmeticError: no finite maximum.
        """
        used: list[int] = []
        centre: list[float] = []
        scale: list[float] = []
        indicators: dict[bytes, int] = {}
        low, high = INDICATOR_RATES
        for position in range(len(features)):
            column = matrix[:, position]
            gap = ~np.isfinite(column)
            if gap.all():
                continue
            if low < gap.mean() < high and _varies_within_races(gap.astype(np.float64), np.zeros_like(gap), races):
                indicators.setdefault(np.packbits(gap).tobytes(), position)
            known = column[~gap].astype(np.float64)
            if _varies_within_races(column.astype(np.float64), gap, races):
                used.append(position)
                centre.append(float(np.median(known)))
                scale.append(float(known.std()))
        blank = cls(
            tuple(features),
            tuple(used),
            np.asarray(centre),
            np.asarray(scale),
            tuple(indicators.values()),
            np.zeros(0),
            np.zeros((0, 0)),
        )
        fit = maximise(ChoiceLikelihood(blank.design(matrix, races), races, stages, offset, ridge), errors=errors)
        return replace(blank, coefficients_=fit.coefficients, covariance_=fit.covariance)

    def design(self, matrix: NDArray[np.float32], races: Races) -> FloatArray:
        """Scaled columns and indicators, `(runners, used + indicators)`, without missing values."""
        design = np.empty((len(matrix), len(self.used_) + len(self.indicators_)), order="F")
        for places, columns in self._design_blocks(matrix, races):
            design[:, places] = columns
        return design

    def score(self, matrix: NDArray[np.float32], races: Races) -> FloatArray:
        """Linear score of each runner, `(runners,)`, without the offset; the whole design is never in memory."""
        score = np.zeros(len(matrix))
        for places, columns in self._design_blocks(matrix, races):
            score += columns @ self.coefficients_[places]
        return score

    def _design_blocks(self, matrix: NDArray[np.float32], races: Races) -> Iterator[tuple[slice, FloatArray]]:
        """Columns of the design, as many at once as BLOCK_VALUES allows, with their place in it."""
        width = max(1, BLOCK_VALUES // max(len(matrix), 1))
        for first in range(0, len(self.used_), width):
            part = slice(first, min(first + width, len(self.used_)))
            columns = matrix[:, self.used_[part]].astype(np.float64)
            columns -= self.centre_[part]
            columns /= self.scale_[part]
            gap = ~np.isfinite(columns)
            np.clip(columns, -CLIP_SCALES, CLIP_SCALES, out=columns)
            yield part, fill_with_race_mean(columns, gap, races) if gap.any() else columns
        for first in range(0, len(self.indicators_), width):
            part = slice(first, min(first + width, len(self.indicators_)))
            place = slice(len(self.used_) + part.start, len(self.used_) + part.stop)
            yield place, (~np.isfinite(matrix[:, self.indicators_[part]])).astype(np.float64)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "features": list(self.features),
            "used": list(self.used_),
            "centre": self.centre_.tolist(),
            "scale": self.scale_.tolist(),
            "indicators": list(self.indicators_),
            "coefficients": self.coefficients_.tolist(),
            "covariance": self.covariance_.tolist(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LinearLogit:
        """Inverse of `to_dict`; a covariance that was not stored is unknown."""
        count = len(stored["coefficients"])
        unknown = np.full((count, count), np.nan)
        return cls(
            tuple(stored["features"]),
            tuple(stored["used"]),
            np.asarray(stored["centre"], dtype=np.float64),
            np.asarray(stored["scale"], dtype=np.float64),
            tuple(stored["indicators"]),
            np.asarray(stored["coefficients"], dtype=np.float64),
            np.asarray(stored["covariance"], dtype=np.float64) if "covariance" in stored else unknown,
        )


def _total(arrays: Sequence[FloatArray]) -> FloatArray:
    total = np.zeros_like(arrays[0])
    for array in arrays:
        total += array
    return total


def fill_with_race_mean(column: FloatArray, gap: BoolArray, races: Races) -> FloatArray:
    """Replace missing values by the mean of the race's known ones, 0 where the whole race is missing.

    Args:
        column: `(runners,)` or `(runners, columns)` values.
        gap: where they are missing, of the same shape.
        races: the runners' races.

    Returns:
        The same shape without missing values.
    """
    known = np.where(gap, 0.0, column)
    count = race_sum((~gap).astype(np.float64), races.race_starts)
    mean = race_sum(known, races.race_starts) / np.maximum(count, 1.0)
    filled: FloatArray = np.where(gap, np.repeat(mean, races.field_size, axis=0), known)
    return filled


def _varies_within_races(column: FloatArray, gap: BoolArray, races: Races) -> bool:
    """Whether the runners of any race differ, missing values filled. The first races nearly always tell."""
    for count in (PROBE_RACES, len(races)):
        starts = races.race_starts[:count]
        rows = slice(0, int(races.field_size[:count].sum()))
        part = Races(
            races.race_key[:count], races.race_date[:count], starts, races.field_size[:count], races.win_share[rows]
        )
        filled = fill_with_race_mean(column[rows], gap[rows], part)
        largest, smallest = np.maximum.reduceat(filled, starts), np.minimum.reduceat(filled, starts)
        if np.any(largest - smallest > 1e-9 * (1.0 + np.abs(largest))):
            return True
    return False
