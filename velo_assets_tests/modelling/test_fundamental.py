"""The fundamental model: it finds the truth, repeats itself, survives storage, refuses look-ahead."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from velo_assets.modelling.fundamental import (
    FundamentalModel,
    FundamentalSettings,
    fit_fundamental,
    inner_later,
    mix_weights,
)
from velo_assets.modelling.guards import LookAheadError, MissingFeatureError, TooFewRacesError
from velo_assets.modelling.races import Races
from velo_assets.modelling.softmax import BoosterSettings
from velo_assets_tests.modelling.worlds import after, before, world

CUTOFF, EARLIER = date(2019, 1, 1), date(2018, 12, 31)
FEATURES = ("x0", "x1", "x2")
QUICK = FundamentalSettings(
    booster=BoosterSettings(rounds=30, learning_rate=0.2, num_leaves=6, min_data_in_leaf=50, early_stopping_rounds=8),
    seeds=(1,),
    min_races=300,
)
WORLD = world(1400)


@pytest.fixture(scope="module")
def model() -> FundamentalModel:
    return fit_fundamental(before(WORLD, EARLIER), FEATURES, CUTOFF, QUICK)


def test_out_of_sample_r2_comes_near_the_truth(model: FundamentalModel) -> None:
    scored = after(WORLD, CUTOFF)
    races = Races.from_frame(scored)
    predicted = model.predict(scored, 2019)
    probability = predicted.get_column("fundamental_probability").to_numpy()
    assert np.add.reduceat(probability, races.race_starts) == pytest.approx(np.ones(len(races)))
    truth = races.r2(scored.get_column("truth").to_numpy())
    assert truth - 0.02 < races.r2(probability) < truth + 0.02
    assert predicted.columns == [
        "race_date", "race_key", "runner_key", "fold", "cutoff", "score", "fundamental_probability", "model_hash",
    ]  # fmt: skip
    assert np.exp(predicted.get_column("score").to_numpy()) == pytest.approx(probability)


def test_in_a_linear_world_the_mix_leans_on_the_linear_model(model: FundamentalModel) -> None:
    assert model.mix_[1] > model.mix_[0] >= 0
    assert model.inner_["r2_mix"] >= model.inner_["r2_trees"] - 1e-9


def test_inner_predictions_are_the_last_races_only(model: FundamentalModel) -> None:
    inner = model.inner_predictions_
    assert inner is not None
    races = Races.from_frame(before(WORLD, EARLIER))
    first = inner.get_column("race_date").min()
    assert first == races.race_date[inner_later(races, 0.2)][0].item()


def test_same_data_and_seed_give_the_same_model(model: FundamentalModel) -> None:
    again = fit_fundamental(before(WORLD, EARLIER), FEATURES, CUTOFF, QUICK)
    assert again.model_hash == model.model_hash
    shuffled = before(WORLD, EARLIER).sample(fraction=1.0, shuffle=True, seed=5)
    assert fit_fundamental(shuffled, FEATURES, CUTOFF, QUICK).model_hash == model.model_hash


def test_storage_keeps_hash_and_predictions(model: FundamentalModel) -> None:
    again = FundamentalModel.from_texts(model.texts())
    assert again.model_hash == model.model_hash
    scored = after(WORLD, CUTOFF)
    assert again.predict(scored, 2019).equals(model.predict(scored, 2019))
    assert model.texts()["trees_0.txt"].startswith("tree")


def test_a_card_without_results_is_scored(model: FundamentalModel) -> None:
    card = after(WORLD, CUTOFF).drop("win_share", "position", "market_probability", "decimal_odds")
    assert model.predict(card, 2019).get_column("score").is_finite().all()
    assert model.predict(card.clear(), 2019).height == 0


def test_clear_errors(model: FundamentalModel) -> None:
    with pytest.raises(LookAheadError, match="reach"):
        fit_fundamental(WORLD, FEATURES, CUTOFF, QUICK)
    with pytest.raises(MissingFeatureError, match="draw_iv"):
        fit_fundamental(before(WORLD, EARLIER), (*FEATURES, "draw_iv"), CUTOFF, QUICK)
    with pytest.raises(TooFewRacesError, match="at least 300"):
        fit_fundamental(WORLD.head(500), FEATURES, CUTOFF, QUICK)
    one_day = world(350, days=1)
    with pytest.raises(TooFewRacesError, match="too few days"):
        fit_fundamental(one_day, FEATURES, CUTOFF, QUICK)
    scored = after(WORLD, CUTOFF)
    with pytest.raises(MissingFeatureError, match="x1"):
        model.predict(scored.drop("x1"), 2019)
    with pytest.raises(LookAheadError, match="may have seen"):
        model.predict(WORLD, 2019)


def test_a_useless_part_is_left_out_of_the_mix() -> None:
    races = Races.from_frame(WORLD)
    truth = np.log(WORLD.get_column("truth").to_numpy())
    trees, linear = mix_weights(-truth, truth, races)
    assert 0.0 <= trees < 0.05
    assert linear == pytest.approx(1.0, abs=0.1)
    assert mix_weights(np.zeros(len(truth)), np.zeros(len(truth)), races) == (0.0, 0.0)
