"""Benter blend: recovery of alpha and beta, guards, profile likelihood."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling.blend import BlendModel, fit_blend, profile_likelihood
from velo_assets.modelling.guards import LookAheadError, MissingFeatureError, NoPricesError, TooFewRacesError
from velo_assets.modelling.races import Races
from velo_assets_tests.modelling.worlds import after, before, softmax, world

CUTOFF = date(2019, 1, 1)
EARLIER = date(2018, 12, 31)


def blended_world(alpha: float, beta: float, races: int = 4000, seed: int = 3) -> pl.DataFrame:
    """Winners drawn from f^alpha p^beta with f, p and a useless module offset known."""
    frame = world(races, seed=seed)
    grouped = Races.from_frame(frame)
    generator = np.random.default_rng(seed + 1)
    score = 0.6 * generator.normal(size=frame.height)
    log_market = np.log(frame.get_column("market_probability").to_numpy())
    truth = softmax(alpha * score + beta * log_market, grouped.race_starts, grouped.field_size)
    running = np.cumsum(truth)
    before_race = np.concatenate(([0.0], running[grouped.race_starts[1:] - 1]))
    last = grouped.race_starts + grouped.field_size - 1
    winner = np.clip(np.searchsorted(running, before_race + generator.random(len(grouped))), grouped.race_starts, last)
    share = np.zeros(frame.height)
    share[winner] = 1.0
    return frame.with_columns(
        pl.Series("win_share", share),
        pl.Series("score", score),
    )


def test_known_exponents_are_recovered_within_their_errors() -> None:
    model = fit_blend(before(blended_world(0.4, 0.9), EARLIER), CUTOFF)
    estimate = np.array([model.alpha, model.beta])
    assert np.abs((estimate - [0.4, 0.9]) / model.standard_errors).max() < 3
    assert 0.01 < model.alpha_se < 0.1
    assert model.log_likelihood_gain > 0


def test_market_exponent_is_recovered_when_the_favourite_is_underbet() -> None:
    model = fit_blend(before(blended_world(0.0, 1.2), EARLIER), CUTOFF)
    assert abs(model.market_beta - 1.2) < 3 * model.market_beta_se
    assert abs(model.alpha) < 3 * model.alpha_se


def test_predictions_sum_to_1_and_are_null_without_a_full_book() -> None:
    frame = blended_world(0.4, 0.9, 800)
    model = fit_blend(before(frame, EARLIER), CUTOFF)
    scored = after(frame, CUTOFF)
    unpriced = scored.get_column("race_key")[0]
    first = scored.get_column("runner_key")[0]
    scored = scored.with_columns(
        market_probability=pl.when(pl.col("runner_key") != first).then(pl.col("market_probability"))
    )
    predicted = model.predict(scored, 2019)
    assert predicted.get_column("runner_key").to_list() == scored.get_column("runner_key").to_list()
    gaps = predicted.filter(pl.col("blend_probability").is_null()).get_column("race_key").unique().to_list()
    assert gaps == [unpriced]
    sums = predicted.drop_nulls().group_by("race_key").agg(pl.col("blend_probability", "market_beta_probability").sum())
    assert sums.get_column("blend_probability").to_numpy() == pytest.approx(np.ones(sums.height))
    assert sums.get_column("market_beta_probability").to_numpy() == pytest.approx(np.ones(sums.height))
    again = BlendModel.from_dict(model.to_dict())
    assert again.model_hash == model.model_hash
    assert again.predict(scored, 2019).equals(predicted)


def test_look_ahead_is_refused() -> None:
    frame = blended_world(0.4, 0.9, 600)
    with pytest.raises(LookAheadError, match="blend fit"):
        fit_blend(frame, CUTOFF)
    last = before(frame, CUTOFF).get_column("race_date").max()
    assert isinstance(last, date)
    with pytest.raises(LookAheadError):
        fit_blend(before(frame, CUTOFF), last, embargo_days=1)
    model = fit_blend(before(frame, EARLIER), CUTOFF)
    with pytest.raises(LookAheadError, match="may have seen"):
        model.predict(frame, 2019)


def test_clear_errors() -> None:
    frame = before(blended_world(0.4, 0.9, 300), EARLIER)
    no_prices = frame.with_columns(market_probability=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(NoPricesError, match="full set of prices"):
        fit_blend(no_prices, CUTOFF)
    with pytest.raises(TooFewRacesError, match="at least 100"):
        fit_blend(frame.head(60), CUTOFF)
    with pytest.raises(MissingFeatureError, match="score"):
        fit_blend(frame.drop("score"), CUTOFF)
    model = fit_blend(frame, CUTOFF)
    fold = after(blended_world(0.4, 0.9, 300), CUTOFF).with_columns(market_probability=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(NoPricesError, match="cutoff 2019-01-01"):
        model.predict(fold, 2019)


def test_profile_likelihood_peaks_at_the_estimate() -> None:
    frame = before(blended_world(0.4, 0.9, 1000), EARLIER)
    model = fit_blend(frame, CUTOFF)
    profile = profile_likelihood(frame, model, points=9)
    assert profile.alpha_profile.argmax() == profile.beta_profile.argmax() == 4
    assert profile.alpha_profile[4] == pytest.approx(0.0, abs=1e-6)
    assert profile.alpha_profile[6] == pytest.approx(-2.0, abs=0.3)  # two errors away costs z^2 / 2
    assert (profile.surface.max(axis=0) <= profile.alpha_profile + 1e-6).all()
