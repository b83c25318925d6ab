"""Contributions add up to the score; words and pictures tell the same numbers."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling.explain import Explanation, explain, summary_plot, waterfall_plot, waterfall_words
from velo_assets.modelling.fundamental import FundamentalModel, FundamentalSettings, fit_fundamental
from velo_assets.modelling.guards import MissingFeatureError
from velo_assets.modelling.races import Races, race_sum
from velo_assets.modelling.softmax import BoosterSettings

FAMILIES = {"form_ewma": "form curves", "or_delta": "class and layoff"}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """240 races of six runners that form decides; a sixth of the ratings is missing."""
    generator = np.random.default_rng(7)
    form, rating = generator.normal(size=(2, 240, 6))
    scores = np.exp(1.2 * form + 0.4 * rating)
    chance = scores / scores.sum(axis=1, keepdims=True)
    winner = (chance.cumsum(axis=1) > generator.random((240, 1))).argmax(axis=1)
    return pl.DataFrame(
        {
            "race_date": np.repeat(np.datetime64("2020-01-01") + np.arange(240) // 6, 6),
            "race_key": np.repeat(np.arange(240), 6),
            "runner_key": np.arange(1440),
            "win_share": (winner[:, None] == np.arange(6)).astype(float).ravel(),
            "form_ewma": form.ravel(),
            "or_delta": np.where(generator.random(1440) < 1 / 6, np.nan, rating.ravel()),
        }
    ).with_columns(pl.col("or_delta").fill_nan(None), pl.col("race_date").cast(pl.Date))


@pytest.fixture(scope="module")
def model(frame: pl.DataFrame) -> FundamentalModel:
    settings = FundamentalSettings(
        booster=BoosterSettings(rounds=8, min_data_in_leaf=20, learning_rate=0.2, feature_fraction=1.0),
        seeds=(11,),
        min_races=100,
    )
    return fit_fundamental(frame, ["form_ewma", "or_delta"], dt.date(2021, 1, 1), settings)


def above_mean(scores: np.ndarray, races: Races) -> np.ndarray:
    return scores - np.repeat(race_sum(scores, races.race_starts) / races.field_size, races.field_size)


def test_contributions_sum_to_the_score_above_the_race(model: FundamentalModel, frame: pl.DataFrame) -> None:
    told = explain(model, frame, FAMILIES)
    races = Races.from_frame(frame)
    assert all(weight > 0 for weight in model.mix_)
    np.testing.assert_allclose(told.contributions.sum(axis=1), above_mean(model.score(frame), races), atol=1e-5)
    np.testing.assert_allclose(race_sum(told.contributions, races.race_starts), 0.0, atol=1e-9)
    assert told.summary()["feature"][0] == "form_ewma"
    family = told.by_family()
    assert family.columns == ["race_date", "race_key", "runner_key", "form curves", "class and layoff"]
    np.testing.assert_allclose(family["form curves"].to_numpy(), told.contributions[:, 0])


def test_a_blend_is_explained_with_its_market(model: FundamentalModel, frame: pl.DataFrame) -> None:
    log_p = np.log(np.tile([0.3, 0.2, 0.2, 0.1, 0.1, 0.1], 240))
    told = explain(model, frame, FAMILIES, weight=0.3, parts={"log_market": ("market", 0.8 * log_p)})
    races = Races.from_frame(frame)
    expected = above_mean(0.3 * model.score(frame) + 0.8 * log_p, races)
    np.testing.assert_allclose(told.contributions.sum(axis=1), expected, atol=1e-5)
    assert told.families == ("form curves", "class and layoff", "market")


def test_the_long_table_keeps_missing_values_null(model: FundamentalModel, frame: pl.DataFrame) -> None:
    race = frame.head(6)
    table = explain(model, race, {}).to_frame()
    assert table.height == 12
    assert table["family"].unique().to_list() == ["other"]
    assert table["value"].null_count() == race["or_delta"].null_count()
    assert table["contribution"].null_count() == 0


def literal() -> Explanation:
    """One race of two runners with contributions made up by hand."""
    keys = pl.DataFrame({"race_date": [dt.date(2024, 5, 1)] * 2, "race_key": [1, 1], "runner_key": [11, 12]})
    return Explanation(
        keys,
        ("form_ewma", "draw_iv", "log_$market"),
        ("form curves", "bias", "market"),
        np.array([[0.62, 1.1, np.nan], [0.4, np.nan, np.nan]]),
        np.array([[0.5, -0.2, 0.1], [-0.5, 0.2, -0.1]]),
    )


def test_words_by_hand() -> None:
    assert waterfall_words(literal(), 11) == (
        "Score 0.40 above the race's mean (odds times 1.49): form curves +0.50, bias -0.20, market +0.10. "
        "For: form_ewma = 0.62 (+0.50), log_$market (+0.10). Against: draw_iv = 1.1 (-0.20)."
    )
    assert waterfall_words(literal(), 12, most=1).endswith("For: draw_iv (+0.20). Against: form_ewma = 0.4 (-0.50).")


def test_pictures_are_the_same_bytes_each_time(model: FundamentalModel, frame: pl.DataFrame) -> None:
    picture = waterfall_plot(literal(), 11, most=2)
    assert picture.startswith(PNG)
    assert picture == waterfall_plot(literal(), 11, most=2)
    assert summary_plot(explain(model, frame, FAMILIES)).startswith(PNG)


def test_bad_input_is_named(model: FundamentalModel, frame: pl.DataFrame) -> None:
    with pytest.raises(KeyError, match="runner 99 is not explained"):
        waterfall_words(literal(), 99)
    with pytest.raises(MissingFeatureError, match="or_delta"):
        explain(model, frame.drop("or_delta"), FAMILIES)
    with pytest.raises(ValueError, match="'market' has 1 values"):
        explain(model, frame, FAMILIES, parts={"market": ("market", np.zeros(1))})
    empty = explain(model, frame.clear(), FAMILIES)
    assert empty.to_frame().height == 0
    with pytest.raises(ValueError, match="no runner"):
        summary_plot(empty)
