"""The features find what the simulator planted, and nothing that was not there."""

import polars as pl
import pytest

from benchmarks.planted_study import (
    HIDDEN,
    LUCK,
    PLANTED,
    STRONGEST,
    found,
    strengths,
    surplus,
    truth_frame,
    unseen,
)
from velo_assets.serving.training import feature_families
from velo_assets_tests.conftest import BuiltWorld

STRONG = ("draw", "layoff", "trip", "pace", "jockey")
"""Effects that two seasons of 540 races show; trainer form and going take more (docs/planted_effects.md)."""


@pytest.fixture(scope="module")
def truth(built_world: BuiltWorld) -> tuple[pl.DataFrame, tuple[str, ...]]:
    return truth_frame(built_world.root)


@pytest.mark.parametrize("effect", STRONG)
def test_a_planted_effect_is_found_by_the_family_made_for_it(
    truth: tuple[pl.DataFrame, tuple[str, ...]], effect: str
) -> None:
    frame, features = truth
    top = strengths(frame, features, f"effect_{effect}").head(STRONGEST)
    assert found(top, PLANTED[effect], feature_families()), top


def test_what_only_the_market_knows_is_not_found(truth: tuple[pl.DataFrame, tuple[str, ...]]) -> None:
    frame, features = truth
    top = strengths(frame, features, f"effect_{HIDDEN}").head(STRONGEST)
    assert unseen(top), top


def test_no_feature_knows_more_than_the_truth(truth: tuple[pl.DataFrame, tuple[str, ...]]) -> None:
    frame, features = truth
    told = surplus(frame, features, "true_win_probability")
    assert told["z"].abs().max() < LUCK, told.head(5)


def test_a_feature_that_knows_the_result_is_caught(truth: tuple[pl.DataFrame, tuple[str, ...]]) -> None:
    frame, _ = truth
    leaky = frame.with_columns((-pl.col("position").cast(pl.Float64)).alias("leak"))
    assert surplus(leaky, ["leak"], "true_win_probability")["z"][0] > 10
