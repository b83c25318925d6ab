"""Trees with the race softmax: gradients, offsets, restriction to some runners, early stopping, determinism."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm
import numpy as np
import polars as pl
import pytest

from velo_assets.modelling.conditional_logit import choice_stages
from velo_assets.modelling.races import Races, feature_matrix
from velo_assets.modelling.softmax import (
    BinnedRunners,
    Boosted,
    BoosterSettings,
    _banded_objective,
    boost,
    boost_until,
    softmax_gradient,
)
from velo_assets_tests.modelling.worlds import world

FEATURES = ("x0", "x1", "x2")
SMALL = BoosterSettings(rounds=25, learning_rate=0.2, num_leaves=6, min_data_in_leaf=40, early_stopping_rounds=10)


def test_gradient_is_p_less_y_and_hessian_p_times_1_less_p() -> None:
    frame = world(30)
    races = Races.from_frame(frame)
    scores = frame.get_column("x0").to_numpy().copy()
    probability = races.softmax(scores)
    gradient, hessian = softmax_gradient(scores, races, choice_stages(races))
    assert gradient == pytest.approx(probability - races.win_share)
    assert hessian == pytest.approx(probability * (1 - probability))


def test_gradient_of_places_matches_differences() -> None:
    frame = world(20)
    races = Races.from_frame(frame)
    stages = choice_stages(races, frame.get_column("position").to_numpy().astype(float), (0.7, 0.5))
    scores = frame.get_column("x0").to_numpy().copy()

    def loss(at: np.ndarray) -> float:
        from velo_assets.modelling.conditional_logit import stage_probabilities

        total = 0.0
        for stage, probability in zip(stages, stage_probabilities(at, races, stages), strict=True):
            chosen = stage.target > 0
            total -= float(stage.target[chosen] @ np.log(probability[chosen]))
        return total

    gradient, _ = softmax_gradient(scores, races, stages)
    for runner in range(12):
        move = np.zeros(len(scores))
        move[runner] = 1e-6
        assert gradient[runner] == pytest.approx((loss(scores + move) - loss(scores - move)) / 2e-6, abs=1e-6)


def test_band_gradient_is_the_whole_races_gradient_at_the_band() -> None:
    frame = world(40)
    races = Races.from_frame(frame)
    offset = np.log(frame.get_column("market_probability").to_numpy())
    band = frame.get_column("decimal_odds").is_between(5, 15).to_numpy()
    predicted = np.linspace(-0.3, 0.3, int(band.sum()))
    gradient, hessian = _banded_objective(races, choice_stages(races), offset, band)(predicted, None)
    scores = offset.copy()
    scores[band] += predicted
    whole, bend = softmax_gradient(scores, races, choice_stages(races))
    assert gradient == pytest.approx(whole[band])
    assert hessian == pytest.approx(bend[band])


def test_trees_learn_the_planted_scores_and_repeat_exactly() -> None:
    frame = world(900)
    races, matrix = Races.from_frame(frame), feature_matrix(frame, FEATURES)
    stages = choice_stages(races)
    first = boost(matrix, races, stages, SMALL, (1, 2))
    again = boost(matrix, races, stages, SMALL, (1, 2))
    assert first.texts_ == again.texts_
    truth = races.r2(frame.get_column("truth").to_numpy())
    assert races.r2(races.softmax(first.score(matrix))) > 0.8 * truth
    stored = Boosted(tuple(first.texts_), first.rounds_)
    assert stored.score(matrix).tolist() == first.score(matrix).tolist()
    assert first.contributions(matrix[:5]).sum(axis=1) == pytest.approx(first.score(matrix[:5]))


def test_trees_stop_on_later_races_and_find_nothing_over_the_truth() -> None:
    frame = world(1200)
    races, matrix = Races.from_frame(frame), feature_matrix(frame, FEATURES)
    cut = races.race_date[len(races) * 4 // 5]
    later = races.race_date >= cut
    stages = choice_stages(races)
    fitted, scores = boost_until(matrix, races, stages, later, SMALL, (1,))
    assert fitted.rounds_ > 5
    assert len(scores) == races.field_size[later].sum()
    offset = np.log(frame.get_column("truth").to_numpy())
    nothing, zeros = boost_until(matrix, races, stages, later, SMALL, (1, 2), offset=offset)
    assert nothing.rounds_ <= 10
    assert np.abs(zeros).max() < 0.3


def test_runners_binned_once_teach_what_they_taught() -> None:
    frame = world(900)
    races, matrix = Races.from_frame(frame), feature_matrix(frame, FEATURES)
    stages = choice_stages(races)
    later = races.race_date >= races.race_date[len(races) * 4 // 5]
    early = int(races.field_size[~later].sum())
    binned = BinnedRunners.of(frame.select(FEATURES), SMALL, early)
    fitted, scores = boost_until(binned, races, stages, later, SMALL, (1,))
    apart, apart_scores = boost_until(matrix, races, stages, later, SMALL, (1,))
    assert fitted.rounds_ == apart.rounds_
    assert scores == pytest.approx(apart_scores)
    everything = boost(binned, races, stages, SMALL, (1,))
    again = boost(BinnedRunners.of(frame.select(FEATURES), SMALL, early), races, stages, SMALL, (1,))
    assert everything.texts_ == again.texts_
    assert races.r2(races.softmax(everything.score(matrix))) > races.r2(races.softmax(fitted.score(matrix)))


def test_later_runners_decide_no_edge_of_a_bin() -> None:
    frame = world(300)
    races = Races.from_frame(frame)
    chosen = np.arange(len(races)) < 200
    rows = races.runner_mask(chosen)
    moved = frame.select(pl.when(pl.Series(rows)).then(name).otherwise(pl.col(name) * 50 + 7) for name in FEATURES)
    texts = []
    for columns in (frame.select(FEATURES), moved):
        part = BinnedRunners.of(columns, SMALL, int(rows.sum())).part(rows)
        early = races.subset(chosen)
        texts.append(boost(part, early, choice_stages(early), SMALL, (1,)).texts_)
    assert texts[0] == texts[1]


def test_stopping_races_must_be_the_later_ones() -> None:
    frame = world(100)
    races, matrix = Races.from_frame(frame), feature_matrix(frame, FEATURES)
    earlier = np.arange(len(races)) < 20
    with pytest.raises(ValueError, match="later race days"):
        boost_until(matrix, races, choice_stages(races), earlier, SMALL, (1,))
    with pytest.raises(ValueError, match="both earlier and later"):
        boost_until(matrix, races, choice_stages(races), np.zeros(len(races), bool), SMALL, (1,))


def test_one_thread_at_a_time_is_in_lightgbm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number of threads is one of the process: two fits of different sizes at once ended in a torn process."""
    inside, seen = [0], []
    train = lightgbm.train

    def watched(*args: Any, **kwargs: Any) -> Any:
        inside[0] += 1
        seen.append(inside[0])
        try:
            return train(*args, **kwargs)
        finally:
            inside[0] -= 1

    monkeypatch.setattr(lightgbm, "train", watched)
    rng = np.random.default_rng(1)
    sizes = np.full(2_500, 10)
    days = np.datetime64("2020-01-01") + np.arange(len(sizes)) // 8
    won = np.tile([1.0] + [0.0] * 9, len(sizes))
    whole = Races(np.arange(len(sizes)), days, np.arange(len(sizes)) * 10, sizes, won)
    few = whole.subset(np.arange(len(sizes)) < 200)

    def fit(races: Races) -> Boosted:
        matrix = rng.normal(size=(races.runners, 3)).astype(np.float32)
        return boost(matrix, races, choice_stages(races), BoosterSettings(rounds=20), (1, 2, 3))

    with ThreadPoolExecutor(3) as pool:
        assert all(fitted.rounds_ == 20 for fitted in pool.map(fit, [whole, few, whole, few, few]))
    assert seen == [1] * 15
