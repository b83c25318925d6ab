"""Second and third place from win probabilities: discounted Harville, and its two exponents from results.

Belongs here: place probabilities and the fit of gamma and delta. Does not belong here: place terms of bookmakers
(`racing`) and the win probabilities themselves.

Harville's chain (the runner-up is the winner of the race without the winner) gives favourites too many places. Raising
the probabilities to a power below 1 repairs it. With `sigma = p^gamma / sum p^gamma`, and `tau` the same with delta:

- first: `p_i`
- second: `sum_j p_j * sigma_i / (1 - sigma_j)`
- third: `sum_jk p_j * sigma_k / (1 - sigma_j) * tau_i / (1 - tau_j - tau_k)`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from velo_assets.modelling.conditional_logit import ChoiceLikelihood, maximise
from velo_assets.modelling.guards import TooFewRacesError, require_races
from velo_assets.modelling.races import BoolArray, FloatArray, IntArray, Races, field_sizes, race_sum

MOST_PLACES = 3

MINIMUM_PLACE_RACES = 200
"""Below this the standard error of delta passes .1, and a place price would be a guess."""

_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class PlaceModel:
    """The two exponents of discounted Harville.

    Attributes:
        gamma: exponent for second place.
        delta: exponent for third place.
        gamma_se: standard error; NaN for a published value.
        delta_se: standard error; NaN for a published value.
        races: races fitted; 0 for a published value.
        log_likelihood: of the places given the winners, at the fit, nats.
    """

    gamma: float
    delta: float
    gamma_se: float = float("nan")
    delta_se: float = float("nan")
    races: int = 0
    log_likelihood: float = float("nan")

    def finish_probabilities(self, probability: FloatArray, race_starts: IntArray) -> FloatArray:
        """Probability of each runner to finish first, second and third.

        Args:
            probability: `(runners,)` win probabilities, above 0, summing to 1 in each race; a race with a NaN is NaN.
            race_starts: `(races,)` offset of each race's first runner.

        Returns:
            `(runners, 3)`; each column sums to 1 in races with that many runners, and is 0 in smaller ones.

        Raises:
            ValueError: if a probability is not above 0.
        """
        if (probability <= 0).any():
            raise ValueError(
                "place model: every win probability must be above 0; a runner that can't win can't be placed"
            )
        sizes = field_sizes(race_starts, len(probability))
        out = np.zeros((len(probability), MOST_PLACES))
        for size in np.unique(sizes):
            starts = race_starts[sizes == size]
            chunk = max(1, _CELLS_AT_ONCE // int(size) ** 2)
            for first in range(0, len(starts), chunk):
                rows = starts[first : first + chunk, None] + np.arange(size)
                out[rows] = self._same_size(probability[rows])
        return out

    def _same_size(self, p: FloatArray) -> FloatArray:
        """First, second and third of races of one field size: `(races, size)` to `(races, size, 3)`."""
        size = p.shape[1]
        out = np.zeros((*p.shape, MOST_PLACES))
        out[..., 0] = p
        if size < 2:
            return out
        sigma = p**self.gamma / (p**self.gamma).sum(axis=1, keepdims=True)
        first_gone = p / (1.0 - sigma)
        out[..., 1] = sigma * (first_gone.sum(axis=1, keepdims=True) - first_gone)
        if size == 2:
            return out
        tau = p**self.delta / (p**self.delta).sum(axis=1, keepdims=True)
        left = 1.0 - tau[:, :, None] - tau[:, None, :]
        np.einsum("rii->ri", left)[:] = 1.0
        pairs = first_gone[:, :, None] * sigma[:, None, :] / left
        np.einsum("rii->ri", pairs)[:] = 0.0
        # The sum over ordered pairs that leave out i is all pairs less those with i first and those with i second.
        without = pairs.sum(axis=(1, 2))[:, None] - pairs.sum(axis=1) - pairs.sum(axis=2)
        out[..., 2] = tau * without
        return out

    def place_probabilities(self, probability: FloatArray, race_starts: IntArray, places: int | IntArray) -> FloatArray:
        """Probability of each runner to finish in the first `places`.

        Args:
            probability: `(runners,)` win probabilities.
            race_starts: `(races,)`.
            places: 1, 2 or 3, one for all or `(races,)`. With no more runners than places everyone is placed.

        Returns:
            `(runners,)`; sums to `places` in races with at least that many runners.

        Raises:
            ValueError: if `places` is not 1, 2 or 3.
        """
        per_race = np.broadcast_to(np.asarray(places, dtype=np.int64), race_starts.shape)
        if ((per_race < 1) | (per_race > MOST_PLACES)).any():
            raise ValueError(f"place model: places must be 1 to {MOST_PLACES}, got {sorted(set(per_race.tolist()))}")
        sizes = field_sizes(race_starts, len(probability))
        cumulative = np.cumsum(self.finish_probabilities(probability, race_starts), axis=1)
        chosen = cumulative[np.arange(len(probability)), np.repeat(per_race, sizes) - 1]
        everyone = np.repeat(sizes <= per_race, sizes) & ~np.isnan(probability)
        return np.clip(np.where(everyone, 1.0, chosen), 0.0, 1.0)


UK_IRE_REFERENCE = PlaceModel(0.699, 0.735)
"""Fitted on UK and Irish Betfair SP (docs/methods.md)."""

BENTER = PlaceModel(0.81, 0.65)
"""Benter 1994, Hong Kong."""


def fit_from_positions(probability: FloatArray, position: FloatArray, races: Races) -> PlaceModel:
    """Gamma and delta by maximum likelihood from finishing positions.

    Each is a conditional logit with the single column `ln p`: who of the remaining runners was second, then third.
    Races with a dead heat for the place in question, or for one before it, are left out.

    Args:
        probability: `(runners,)` win probabilities.
        position: `(runners,)`; NaN for non-finishers.
        races: the runners' races.

    Raises:
        TooFewRacesError: if fewer than 200 races have a clear second or third.
    """
    log_p = np.log(probability)
    fits = []
    for place in (2, 3):
        clear = np.ones(len(races), dtype=bool)
        for earlier in range(1, place + 1):
            clear &= race_sum((position == earlier).astype(np.float64), races.race_starts) == 1.0
        # A lone runner left has no rival to be chosen from.
        clear &= races.field_size > place
        require_races(int(clear.sum()), MINIMUM_PLACE_RACES, f"place model, place {place}")
        alive = races.runner_mask(clear) & ~(position < place)
        left = Races(
            races.race_key[clear],
            races.race_date[clear],
            np.concatenate(([0], np.cumsum(races.field_size[clear] - (place - 1))[:-1])).astype(np.int64),
            races.field_size[clear] - (place - 1),
            (position[alive] == place).astype(np.float64),
        )
        fits.append(maximise(ChoiceLikelihood(log_p[alive][:, None], left), np.ones(1)))
    second, third = fits
    return PlaceModel(
        gamma=float(second.coefficients[0]),
        delta=float(third.coefficients[0]),
        gamma_se=float(second.standard_errors[0]),
        delta_se=float(third.standard_errors[0]),
        races=second.races,
        log_likelihood=second.log_likelihood + third.log_likelihood,
    )


def fit_from_placed(probability: FloatArray, placed: BoolArray, races: Races) -> PlaceModel:
    """Gamma and delta by maximum likelihood where only the winner and the set of placed runners are known.

    Exchange place markets settle "placed or not". With two places the runner-up is known; with three the other two
    stood in either order, so the likelihood is the sum over both. Other numbers of places and dead heats are left out.

    Args:
        probability: `(runners,)` win probabilities.
        placed: `(runners,)` true for placed runners, the winner included.
        races: the runners' races, with `win_share`.

    Raises:
        TooFewRacesError: if fewer than 200 races have two, or three, clear places.
        ArithmeticError: if the likelihood has no maximum near.
    """
    from scipy.optimize import minimize

    winner = races.win_share == 1.0
    counts = race_sum(placed.astype(np.float64), races.race_starts)
    one_winner = race_sum((winner & placed).astype(np.float64), races.race_starts) == 1.0
    usable = one_winner & ((counts == 2) | (counts == 3)) & (races.field_size > counts)
    for places in (2, 3):
        require_races(int((usable & (counts == places)).sum()), MINIMUM_PLACE_RACES, f"place model, {places} places")
    keep = races.runner_mask(usable)
    kept = races.subset(usable)
    log_p = np.log(probability[keep])
    if not np.isfinite(log_p).all():
        raise TooFewRacesError("place model: some race has a missing or zero win probability; keep full books only")
    three = counts[usable] == 3
    first = log_p[winner[keep]]
    # Rows of the placed losers come in race order: one for each race of two places, two for each of three.
    losers = log_p[placed[keep] & ~winner[keep]]
    offset = np.concatenate(([0], np.cumsum(np.where(three, 2, 1))[:-1]))
    one, other = losers[offset], losers[np.minimum(offset + 1, len(losers) - 1)]

    def negative_log_likelihood(exponents: FloatArray) -> float:
        gamma, delta = exponents
        left_second = race_sum(np.exp(gamma * log_p), kept.race_starts) - np.exp(gamma * first)
        left_third = race_sum(np.exp(delta * log_p), kept.race_starts) - np.exp(delta * first)
        one_second = np.exp(gamma * one) / left_second
        other_second = np.exp(gamma * other) / left_second
        one_third = np.exp(delta * one) / (left_third - np.exp(delta * other))
        other_third = np.exp(delta * other) / (left_third - np.exp(delta * one))
        likelihood = np.where(three, one_second * other_third + other_second * one_third, one_second)
        return -float(np.log(likelihood).sum())

    scale = len(kept)
    solution = minimize(
        lambda x: negative_log_likelihood(x) / scale,
        np.array([0.8, 0.8]),
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-12, "maxiter": 1000},
    )
    if not solution.success:
        raise ArithmeticError(
            f"place model: no maximum of the likelihood found ({solution.message}); check the placings"
        )
    covariance = np.linalg.inv(_hessian(negative_log_likelihood, solution.x))
    return PlaceModel(
        gamma=float(solution.x[0]),
        delta=float(solution.x[1]),
        gamma_se=float(np.sqrt(covariance[0, 0])),
        delta_se=float(np.sqrt(covariance[1, 1])),
        races=len(kept),
        log_likelihood=-float(negative_log_likelihood(solution.x)),
    )


def _hessian(function: Callable[[FloatArray], float], point: FloatArray, step: float = 1e-3) -> FloatArray:
    """Second derivatives by central differences; the likelihood is smooth and its scale is known to be about 1."""
    size = len(point)
    out = np.empty((size, size))
    for row in range(size):
        for column in range(size):
            shift_row, shift_column = np.eye(size)[row] * step, np.eye(size)[column] * step
            out[row, column] = (
                function(point + shift_row + shift_column)
                - function(point + shift_row - shift_column)
                - function(point - shift_row + shift_column)
                + function(point - shift_row - shift_column)
            ) / (4.0 * step * step)
    return out
