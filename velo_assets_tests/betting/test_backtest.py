"""What a trial is about: each fold is judged by the recipe that the folds before it chose."""

import polars as pl

from velo_assets.betting.backtest import choose_shipped, judged_probability, shipped_by_fold
from velo_assets_tests.betting.frames import wide

SURE, VAGUE = [0.9, 0.1], [0.5, 0.5]


def three_folds() -> pl.DataFrame:
    """The first runner always wins; the experts know it in the first two folds, the blend in the third."""
    folds = [2020, 2021, 2022]
    blend = wide([[2.0, 2.0]] * 3, [0, 0, 0], [VAGUE, VAGUE, SURE], folds=folds)
    return blend.with_columns(probability_experts=pl.Series([*SURE, *SURE, *VAGUE]))


def test_no_fold_chooses_the_recipe_it_is_judged_by() -> None:
    frame = three_folds()
    assert shipped_by_fold(frame) == {2020: "blend", 2021: "experts", 2022: "experts"}
    assert choose_shipped(frame) == "experts"
    # The last fold is judged by the experts, who were right until then, though the blend is better there.
    assert frame.select(judged_probability(frame)).to_series().to_list() == [*VAGUE, *SURE, *VAGUE]
    assert choose_shipped(frame.filter(pl.col("fold") == 2020)) == "blend"


def test_races_that_one_recipe_leaves_out_choose_nothing() -> None:
    frame = three_folds().with_columns(
        probability_experts=pl.when(pl.col("fold") > 2021).then(pl.col("probability_experts"))
    )
    assert set(shipped_by_fold(frame).values()) == {"blend"}
    assert frame.select(judged_probability(frame)).to_series().to_list() == [*VAGUE, *VAGUE, *SURE]
