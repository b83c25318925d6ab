"""Intent: pooling by hand, a trainer who beats the market is found, trainers alike are left alike."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling.guards import LookAheadError, MissingFeatureError
from velo_assets.modelling.intent import INTENT_SIGNALS, IntentModel, fit_intent, pooled_effects
from velo_assets.modelling.races import Races
from velo_assets_tests.modelling.worlds import after, before, world

CUTOFF, EARLIER = date(2019, 1, 1), date(2018, 12, 31)


def intent_world(level: float, races: int = 2500) -> pl.DataFrame:
    """Trainer 0's runners win exp(level) more than priced; the matrix columns are noise."""
    frame = world(races, market_noise=0.0, seed=31)
    grouped = Races.from_frame(frame)
    score = np.log(frame.get_column("market_probability").to_numpy())
    score = score + level * (frame.get_column("trainer_key").to_numpy() == 0)
    generator = np.random.default_rng(32)
    finish = score + generator.gumbel(size=len(score))
    share = finish == np.repeat(np.maximum.reduceat(finish, grouped.race_starts), grouped.field_size)
    columns = sorted({column for signal in INTENT_SIGNALS for column in signal.columns()})
    noise = generator.normal(size=(frame.height, len(columns)))
    return frame.with_columns(
        pl.Series("win_share", share.astype(float)),
        *(pl.Series(name, noise[:, i]) for i, name in enumerate(columns)),
    )


WORLD = intent_world(0.8)


@pytest.fixture(scope="module")
def model() -> IntentModel:
    return fit_intent(before(WORLD, EARLIER), CUTOFF)


def test_pooling_by_hand() -> None:
    effect, variance, tau2 = pooled_effects(np.array([3.0, -3.0]), np.array([2.0, 2.0]))
    assert tau2 == pytest.approx((9 - 2 + 9 - 2) / 8)
    assert effect.tolist() == pytest.approx([3 / (2 + 1 / 1.75), -3 / (2 + 1 / 1.75)])
    assert variance.tolist() == pytest.approx([1 / (2 + 1 / 1.75)] * 2)
    none, _, zero = pooled_effects(np.array([0.5, -0.5]), np.array([2.0, 2.0]))
    assert zero == 0.0
    assert none.tolist() == [0.0, 0.0]


def test_the_planted_trainer_stands_out_and_is_shrunk(model: IntentModel) -> None:
    assert model.trainer_key[np.argmax(model.level)] == 0
    assert 0.3 < model.level[0] < 0.9
    assert abs(np.delete(model.level, 0)).max() < 0.4


def test_trainers_alike_stay_alike() -> None:
    fitted = fit_intent(before(intent_world(0.0), EARLIER), CUTOFF)
    assert abs(fitted.level).max() < 0.15


def test_an_unknown_trainer_gets_the_common_offset_and_a_wider_error(model: IntentModel) -> None:
    scored = after(WORLD, CUTOFF).head(40)
    known = model.predict(scored, 2019)
    stranger = model.predict(scored.with_columns(trainer_key=pl.lit(None, dtype=pl.Int64)), 2019)
    common, error = model.common.offset(
        scored, scored.select(signal.expression.alias(signal.name) for signal in INTENT_SIGNALS)
    )
    assert stranger.get_column("offset").to_numpy() == pytest.approx(common)
    assert (stranger.get_column("offset_se").to_numpy() > error).all()
    assert known.get_column("offset").to_numpy() != pytest.approx(common)
    again = IntentModel.from_dict(model.to_dict())
    assert again.predict(scored, 2019).equals(known)


def test_clear_errors(model: IntentModel) -> None:
    with pytest.raises(LookAheadError):
        fit_intent(WORLD, CUTOFF)
    with pytest.raises(LookAheadError):
        model.predict(WORLD, 2019)
    with pytest.raises(MissingFeatureError, match="jockey_upgrade"):
        fit_intent(before(WORLD, EARLIER).drop("jockey_upgrade"), CUTOFF)
    with pytest.raises(MissingFeatureError, match="trainer_key"):
        model.predict(after(WORLD, CUTOFF).drop("trainer_key"), 2019)
