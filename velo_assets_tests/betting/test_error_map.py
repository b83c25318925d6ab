"""Confusion counts by hand; biases found where planted and nowhere else."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from velo_assets.betting.error_map import (
    TAGS,
    available_tags,
    convergence_table,
    error_map,
    holm,
    module_scores,
    notes,
)
from velo_assets_tests.betting.frames import random_world, wide


def test_confusion_by_hand() -> None:
    frame = wide([[2.0, 4.0, 4.0], [2.0, 4.0, 4.0]], [0, 1]).with_columns(
        module_sqpe=pl.Series([0.2, 0.1, -0.3, 0.2, -0.1, -0.1])
    )
    row = module_scores(frame).row(0, named=True)
    # Yes to 2 and 1 runners; winners: the first of race 1 (yes), the second of race 2 (no).
    assert (row["tp"], row["fp"], row["tn"], row["fn"]) == (1, 2, 2, 1)
    assert (row["precision"], row["recall"]) == (pytest.approx(1 / 3), 0.5)
    assert row["f1"] == pytest.approx(0.4)
    assert row["base_rate"] == pytest.approx(1 / 3)
    assert row["expected_precision"] == pytest.approx((0.5 + 0.25 + 0.5) / 3)


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .04: times 3, 2, 1 = .03, .04, .04
    assert holm(np.array([0.04, 0.01, math.nan, 0.02]))[[0, 1, 3]] == pytest.approx([0.04, 0.03, 0.04])
    assert math.isnan(holm(np.array([0.04, 0.01, math.nan, 0.02]))[2])
    assert holm(np.array([])).tolist() == []


def planted(offset: float, races: int = 3000) -> pl.DataFrame:
    """A market that is right; SQPE lifts runners of hot trainers by `offset`."""
    frame = random_world(races, seed=2)
    hot = (pl.col("runner_key") * 7919 % 13 == 0).cast(pl.Float64)
    return frame.with_columns(
        trainer_form_14d=hot * 0.2, won_last=(pl.col("runner_key") % 5 == 0).cast(pl.Float64), module_sqpe=hot * offset
    )


def test_a_planted_optimism_is_found_and_told() -> None:
    table = error_map(planted(0.8))
    found = {row["tag"]: row for row in table.iter_rows(named=True) if row["verdict"] is not None}
    assert set(found) == {"hot trainer", "its picks"}
    assert found["hot trainer"]["verdict"] == "optimistic"
    assert found["hot trainer"]["z"] > 3
    (line,) = [line for line in notes(table) if "hot trainer" in line]
    assert line.startswith("SQPE is optimistic about hot trainer (stable far above its own rate)")


def test_nothing_is_told_where_nothing_was_planted() -> None:
    table = error_map(planted(0.0))
    assert table.get_column("verdict").null_count() == table.height
    assert notes(table) == [
        f"No bias of any module stands out: none of {table.height} cells passes |z| > 3 after Holm."
    ]


def test_tags_without_their_columns_are_said_to_be_missing() -> None:
    able, missing = available_tags(planted(0.0, races=20))
    assert {tag.name for tag in able} == {"hype favourite", "hot trainer"}
    assert missing["steamer"] == "no steam_today"
    assert len(able) + len(missing) == len(TAGS)


def test_the_hype_favourite_is_a_favourite_that_won_last_time() -> None:
    frame = wide([[2.0, 4.0, 4.0], [2.0, 4.0, 4.0]], [0, 1]).with_columns(won_last=pl.Series([1, 1, None, 0, 1, 1]))
    (tag,) = [tag for tag in TAGS if tag.name == "hype favourite"]
    assert frame.select(tag.rule.fill_null(False)).to_series().to_list() == [True, False, False, False, False, False]


def test_convergence_counts_every_runner_once() -> None:
    frame = random_world(200, seed=3).with_columns(
        module_sqpe=(pl.col("probability_blend") / pl.col("market_probability")).log() + 0.05,
        module_tie=pl.lit(-0.1),
        module_nds=pl.lit(0.1),
    )
    table = convergence_table(frame)
    assert table.get_column("runners").sum() == frame.height
    assert table.get_column("modules_above").to_list() == [2]
    assert table.get_column("wins").sum() == pytest.approx(200)
