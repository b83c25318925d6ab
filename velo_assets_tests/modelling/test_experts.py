"""Experts by price regime: gate weights, a planted mispricing found, nothing where there is nothing."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from velo_assets.modelling.experts import (
    ALL_PRICES,
    ExpertModel,
    ExpertSettings,
    GateModel,
    fit_expert,
    fit_gate,
    regime_weights,
)
from velo_assets.modelling.guards import LookAheadError, MissingFeatureError, NoPricesError, TooFewRacesError
from velo_assets.modelling.races import Races
from velo_assets.modelling.softmax import BoosterSettings
from velo_assets.settings import PRICE_REGIMES, PriceRegime
from velo_assets_tests.modelling.worlds import after, before, softmax, world

CUTOFF, EARLIER = date(2019, 1, 1), date(2018, 12, 31)
FEATURES = ("x1", "x2")
QUICK = ExpertSettings(
    booster=BoosterSettings(rounds=40, learning_rate=0.2, num_leaves=4, min_data_in_leaf=100, early_stopping_rounds=8),
    seeds=(1,),
)
VALUE = PriceRegime("value_zone", 8.0, 15.0)


def mispriced_world(races: int = 2500) -> pl.DataFrame:
    """The market is right but for runners at 8-15, whose x1 it does not know."""
    frame = world(races, weights=(0.7, 0.0, 0.0), market_noise=0.0, seed=7)
    grouped = Races.from_frame(frame)
    band = frame.get_column("decimal_odds").is_between(8, 15, closed="left").to_numpy()
    log_market = np.log(frame.get_column("market_probability").to_numpy())
    score = log_market + np.where(band, 1.2 * frame.get_column("x1").to_numpy(), 0.0)
    truth = softmax(score, grouped.race_starts, grouped.field_size)
    finish = score + np.random.default_rng(8).gumbel(size=len(score))
    top = np.maximum.reduceat(finish, grouped.race_starts)
    share = (finish == np.repeat(top, grouped.field_size)).astype(float)
    return frame.with_columns(pl.Series("win_share", share), pl.Series("truth", truth))


MISPRICED = mispriced_world()


@pytest.fixture(scope="module")
def expert() -> ExpertModel:
    return fit_expert(before(MISPRICED, date(2017, 12, 31)), FEATURES, date(2018, 1, 1), VALUE, QUICK)


def with_correction(frame: pl.DataFrame, expert: ExpertModel) -> pl.DataFrame:
    correction = expert.predict(frame, 2018).get_column("correction")
    return frame.with_columns(correction.alias(f"correction_{expert.regime.name}"))


def test_gate_weights_by_hand() -> None:
    weights = regime_weights(np.array([2.0, 6.3, 8.0, 11.0, 15.0, 24.0, 200.0]), PRICE_REGIMES)
    assert weights[0].max() < 0.001
    assert weights[1, 0] > 0.8
    assert weights[2] == pytest.approx([0.5, 0.5, 0.0], abs=0.01)
    assert weights[4, 1:] == pytest.approx([0.5, 0.5], abs=0.01)
    assert weights[6].max() < 0.001
    assert regime_weights(np.array([2.0, 100.0]), (ALL_PRICES,)).tolist() == [[1.0], [1.0]]


@given(st.lists(st.floats(1.01, 1000.0), min_size=1, max_size=50))
def test_gate_weights_never_exceed_1(odds: list[float]) -> None:
    weights = regime_weights(np.asarray(odds), PRICE_REGIMES)
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) <= 1 + 1e-12).all()


def test_a_planted_mispricing_is_found_and_believed(expert: ExpertModel) -> None:
    assert expert.inner_gain_ > 0.005
    scored = with_correction(after(MISPRICED, date(2018, 1, 1)), expert)
    gate = fit_gate(before(scored, EARLIER), CUTOFF, (VALUE,))
    fold = after(scored, CUTOFF)
    predicted = gate.predict(fold, 2019)
    races = Races.from_frame(fold)
    probability = predicted.get_column("expert_probability").to_numpy()
    assert np.add.reduceat(probability, races.race_starts) == pytest.approx(np.ones(len(races)))
    market = races.r2(fold.get_column("market_probability").to_numpy())
    truth = races.r2(fold.get_column("truth").to_numpy())
    assert races.r2(probability) - market > 0.4 * (truth - market)
    band = predicted.filter(pl.col("weight_value_zone") > 0.5)
    assert band.get_column("reliability").mean() > 0.5  # type: ignore[operator]
    again = GateModel.from_dict(gate.to_dict())
    assert again.predict(fold, 2019).equals(predicted)


def test_a_correction_that_has_not_proved_itself_counts_for_nothing() -> None:
    frame = world(1200, market_noise=0.0)
    noise = np.random.default_rng(5).normal(size=(frame.height, 3)) * 0.3
    names = [f"correction_{regime.name}" for regime in PRICE_REGIMES]
    frame = frame.with_columns(pl.Series(name, noise[:, i]) for i, name in enumerate(names))
    gate = fit_gate(before(frame, EARLIER), CUTOFF)
    predicted = gate.predict(after(frame, CUTOFF), 2019)
    assert predicted.get_column("reliability").mean() < 0.15  # type: ignore[operator]
    assert abs(gate.market_beta - 1.0) < 0.15


def test_storage_and_determinism(expert: ExpertModel) -> None:
    again = fit_expert(before(MISPRICED, date(2017, 12, 31)), FEATURES, date(2018, 1, 1), VALUE, QUICK)
    assert again.model_hash == expert.model_hash
    loaded = ExpertModel.from_texts(expert.texts())
    scored = after(MISPRICED, CUTOFF).head(500)
    assert loaded.model_hash == expert.model_hash
    assert loaded.predict(scored, 2019).equals(expert.predict(scored, 2019))


def test_an_unpriced_runner_has_no_correction(expert: ExpertModel) -> None:
    scored = after(MISPRICED, CUTOFF).head(30).with_columns(decimal_odds=pl.lit(None, dtype=pl.Float64))
    assert expert.predict(scored, 2019).get_column("correction").null_count() == 30


def test_clear_errors(expert: ExpertModel) -> None:
    early = before(MISPRICED, EARLIER)
    with pytest.raises(LookAheadError):
        fit_expert(MISPRICED, FEATURES, CUTOFF, VALUE, QUICK)
    with pytest.raises(MissingFeatureError, match="draw_iv"):
        fit_expert(early, ("draw_iv",), CUTOFF, VALUE, QUICK)
    with pytest.raises(TooFewRacesError, match="value_zone, cutoff 2019"):
        fit_expert(early.head(900), FEATURES, CUTOFF, VALUE, QUICK)
    blank = early.with_columns(market_probability=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(NoPricesError, match="full set of prices"):
        fit_expert(blank, FEATURES, CUTOFF, VALUE, QUICK)
    corrected = with_correction(after(early, date(2018, 1, 1)), expert)
    gate = fit_gate(corrected, CUTOFF, (VALUE,))
    with pytest.raises(LookAheadError):
        gate.predict(corrected, 2018)
    with pytest.raises(LookAheadError):
        fit_gate(with_correction(after(MISPRICED, CUTOFF), expert), CUTOFF, (VALUE,))
    with pytest.raises(MissingFeatureError, match="correction_longshot"):
        fit_gate(corrected, CUTOFF)


def test_single_model_covers_every_price() -> None:
    model = fit_expert(before(MISPRICED, date(2017, 12, 31)), FEATURES, date(2018, 1, 1), ALL_PRICES, QUICK)
    assert model.trees_.rounds_ > 0
    assert math.isinf(model.regime.high)
