"""Likelihood, gradients, recovery of known coefficients, missing values."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling.conditional_logit import (
    ChoiceLikelihood,
    LinearLogit,
    choice_stages,
    fill_with_race_mean,
    maximise,
)
from velo_assets.modelling.guards import TooFewRacesError
from velo_assets.modelling.races import Races, feature_matrix
from velo_assets_tests.modelling.worlds import world

ONE_RACE = pl.DataFrame(
    {
        "race_date": [date(2020, 1, 1)] * 4,
        "race_key": [1] * 4,
        "runner_key": range(4),
        "win_share": [0.0, 1.0, 0.0, 0.0],
    }
)


def test_exploded_likelihood_by_hand() -> None:
    races = Races.from_frame(ONE_RACE)
    stages = choice_stages(races, np.array([2.0, 1.0, np.nan, 3.0]), (0.5,))
    scores = np.log(np.array([[2.0], [3.0], [4.0], [1.0]]))
    likelihood = ChoiceLikelihood(scores, races, stages)
    assert likelihood.log_likelihood(np.ones(1)) == pytest.approx(math.log(3 / 10) + 0.5 * math.log(2 / 7))


def test_a_place_that_a_dead_heat_took_away_weighs_nothing() -> None:
    frame = ONE_RACE.with_columns(pl.Series("win_share", [0.5, 0.5, 0.0, 0.0]))
    stages = choice_stages(Races.from_frame(frame), np.array([1.0, 1.0, 3.0, 4.0]), (0.5, 0.25))
    assert [stage.weight[0] for stage in stages] == [1.0, 0.0, 0.25]
    assert stages[2].alive.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("place_weights", [(), (0.7, 0.5)])
def test_gradient_and_hessian_match_differences(place_weights: tuple[float, ...]) -> None:
    frame = world(60)
    races = Races.from_frame(frame)
    design = frame.select("x0", "x1", "x2").to_numpy()
    stages = choice_stages(races, frame.get_column("position").to_numpy().astype(float), place_weights)
    likelihood = ChoiceLikelihood(design, races, stages, offset=0.3 * design[:, 0], ridge=2.0, prior=0.1)
    at, step = np.array([0.4, -0.2, 0.1]), 1e-5
    for axis in range(3):
        move = np.eye(3)[axis] * step
        slope = (likelihood.value(at + move) - likelihood.value(at - move)) / (2 * step)
        assert likelihood.gradient(at)[axis] == pytest.approx(slope, abs=1e-8)
        bend = (likelihood.gradient(at + move) - likelihood.gradient(at - move)) / (2 * step)
        assert likelihood.hessian(at)[axis] == pytest.approx(bend, abs=1e-7)


def test_known_coefficients_are_recovered_within_their_errors() -> None:
    frame = world(3000, weights=(0.8, -0.5, 0.0))
    races = Races.from_frame(frame)
    fit = maximise(ChoiceLikelihood(frame.select("x0", "x1", "x2").to_numpy(), races))
    assert np.abs((fit.coefficients - [0.8, -0.5, 0.0]) / fit.standard_errors).max() < 3
    assert fit.standard_errors.max() < 0.03


def test_places_sharpen_the_estimate() -> None:
    frame = world(1500)
    races = Races.from_frame(frame)
    design = frame.select("x0", "x1", "x2").to_numpy()
    winners = maximise(ChoiceLikelihood(design, races))
    stages = choice_stages(races, frame.get_column("position").to_numpy().astype(float), (1.0, 1.0))
    places = maximise(ChoiceLikelihood(design, races, stages))
    assert (places.standard_errors < 0.75 * winners.standard_errors).all()
    assert np.abs((places.coefficients - [0.8, -0.5, 0.0]) / places.standard_errors).max() < 3


def test_offset_leaves_nothing_to_learn_when_it_is_the_truth() -> None:
    frame = world(2000)
    offset = np.log(frame.get_column("truth").to_numpy())
    fit = maximise(ChoiceLikelihood(frame.select("x0").to_numpy(), Races.from_frame(frame), offset=offset))
    assert abs(fit.coefficients[0] / fit.standard_errors[0]) < 3


def test_missing_values_take_the_race_mean_and_an_indicator() -> None:
    frame = world(800)
    races = Races.from_frame(frame)
    matrix = feature_matrix(frame, ["x0", "x1"])
    matrix[::3, 0] = np.nan
    model = LinearLogit.fit(matrix, races, ["x0", "x1"])
    assert model.columns == ("x0", "x1", "missing(x0)")
    design = model.design(matrix, races)
    assert np.isfinite(design).all()
    first = races.field_size[0]
    known = ~np.isnan(matrix[:first, 0])
    assert design[:first, 0][~known] == pytest.approx(np.full((~known).sum(), design[:first, 0][known].mean()))
    assert design[:first, 2].tolist() == (~known).astype(float).tolist()


def test_features_that_do_not_vary_within_a_race_are_left_out() -> None:
    frame = world(400).with_columns(going=pl.col("race_key") % 3, empty=pl.lit(None, dtype=pl.Float64))
    names = ["going", "x0", "empty"]
    model = LinearLogit.fit(feature_matrix(frame, names), Races.from_frame(frame), names)
    assert model.columns == ("x0",)


def test_a_race_without_any_known_value_is_filled_with_0() -> None:
    races = Races.from_frame(ONE_RACE)
    assert fill_with_race_mean(np.full(4, np.nan), np.ones(4, dtype=bool), races).tolist() == [0.0] * 4


def test_storage_keeps_the_scores() -> None:
    frame = world(300)
    races, matrix = Races.from_frame(frame), feature_matrix(frame, ["x0", "x1"])
    model = LinearLogit.fit(matrix, races, ["x0", "x1"])
    again = LinearLogit.from_dict(model.to_dict())
    assert again.score(matrix, races).tolist() == model.score(matrix, races).tolist()


def test_bad_designs_are_refused() -> None:
    frame = world(50)
    races = Races.from_frame(frame)
    with pytest.raises(ArithmeticError, match="NaN"):
        maximise(ChoiceLikelihood(np.full((frame.height, 1), np.nan), races))
    with pytest.raises(ArithmeticError, match="no finite maximum"):
        maximise(ChoiceLikelihood(frame.select("win_share").to_numpy(), races))
    with pytest.raises(TooFewRacesError):
        ChoiceLikelihood(np.zeros((0, 1)), Races.from_frame(frame.clear()))
