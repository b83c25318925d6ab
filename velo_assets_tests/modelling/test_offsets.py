"""Offset models: planted over-betting is found with its sign, nothing where there is nothing."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling.guards import LookAheadError, MissingFeatureError, NoPricesError, TooFewRacesError
from velo_assets.modelling.offsets import OffsetModel, Signal, fit_offset
from velo_assets.modelling.races import Races
from velo_assets_tests.modelling.worlds import after, before, softmax, world

CUTOFF, EARLIER = date(2019, 1, 1), date(2018, 12, 31)
SIGNALS = (
    Signal("hype", pl.col("x1"), "planted"),
    Signal("noise", pl.col("x2").abs(), "nothing"),
    Signal("constant", pl.lit(1.0), "the same for all"),
)


def hyped_world(effect: float = -0.4, exponent: float = 1.0, races: int = 2500) -> pl.DataFrame:
    """Winners drawn from p_market^exponent * exp(effect * x1)."""
    frame = world(races, weights=(0.7, 0.0, 0.0), market_noise=0.0, seed=21)
    grouped = Races.from_frame(frame)
    score = exponent * np.log(frame.get_column("market_probability").to_numpy())
    score = score + effect * frame.get_column("x1").to_numpy()
    finish = score + np.random.default_rng(22).gumbel(size=len(score))
    share = finish == np.repeat(np.maximum.reduceat(finish, grouped.race_starts), grouped.field_size)
    truth = softmax(score, grouped.race_starts, grouped.field_size)
    return frame.with_columns(pl.Series("win_share", share.astype(float)), pl.Series("truth", truth))


WORLD = hyped_world()


@pytest.fixture(scope="module")
def model() -> OffsetModel:
    return fit_offset(before(WORLD, EARLIER), SIGNALS, CUTOFF, "disruption")


def test_planted_effects_are_recovered_with_sign_and_error(model: OffsetModel) -> None:
    table = model.coefficients()
    assert table.get_column("signal").to_list() == ["market_exponent", "hype", "noise", "constant"]
    hype = table.row(1, named=True)
    assert abs((hype["coefficient"] + 0.4) / hype["standard_error"]) < 3
    assert hype["reading"] == "over-bet: wins less than priced"
    assert table.row(2, named=True)["reading"] == "no clear effect"
    assert table.row(3, named=True)["coefficient"] is None
    assert table.row(0, named=True)["reading"] == "no clear effect"


def test_longshot_bias_goes_to_the_market_exponent_not_to_the_signals() -> None:
    frame = hyped_world(0.0, 1.3)
    row = fit_offset(before(frame, EARLIER), SIGNALS, CUTOFF, "nds").coefficients().row(0, named=True)
    assert abs((row["coefficient"] - 0.3) / row["standard_error"]) < 3
    assert row["reading"] == "favourites win more than priced"


def test_offsets_improve_the_market_out_of_sample(model: OffsetModel) -> None:
    scored = after(WORLD, CUTOFF)
    races = Races.from_frame(scored)
    predicted = model.predict(scored, SIGNALS, 2019)
    market = scored.get_column("market_probability").to_numpy()
    corrected = races.softmax(np.log(market) + predicted.get_column("offset").to_numpy())
    assert races.r2(corrected) > races.r2(market) + 0.01
    assert predicted.get_column("offset_se").max() < 0.4  # type: ignore[operator]
    means = np.add.reduceat(predicted.get_column("offset").to_numpy(), races.race_starts)
    assert means == pytest.approx(np.zeros(len(races)), abs=1e-9)
    again = OffsetModel.from_dict(model.to_dict())
    assert again.predict(scored, SIGNALS, 2019).equals(predicted)


def test_clear_errors(model: OffsetModel) -> None:
    with pytest.raises(LookAheadError):
        fit_offset(WORLD, SIGNALS, CUTOFF, "nds")
    with pytest.raises(LookAheadError):
        model.predict(WORLD, SIGNALS, 2019)
    with pytest.raises(MissingFeatureError, match="x1"):
        fit_offset(before(WORLD, EARLIER).drop("x1"), SIGNALS, CUTOFF, "nds")
    with pytest.raises(TooFewRacesError, match="at least 200"):
        fit_offset(WORLD.head(100), SIGNALS, CUTOFF, "nds")
    blank = before(WORLD, EARLIER).with_columns(market_probability=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(NoPricesError):
        fit_offset(blank, SIGNALS, CUTOFF, "nds")
