"""Race softmax, losses and R2 against values worked by hand; sums of 1 as a law."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from velo_assets.modelling.guards import (
    LookAheadError,
    MissingFeatureError,
    TooFewRacesError,
    require_columns,
    require_earlier,
    require_not_trained_on,
    require_races,
)
from velo_assets.modelling.races import (
    Races,
    between,
    feature_matrix,
    log_loss_per_race,
    mcfadden_r2,
    priced_frame,
    race_softmax,
    settled_frame,
    sort_runners,
)

TWO_RACES = pl.DataFrame(
    {
        "race_date": [date(2020, 1, 1)] * 2 + [date(2020, 1, 2)] * 3,
        "race_key": [7, 7, 3, 3, 3],
        "runner_key": [1, 2, 1, 2, 3],
        "win_share": [1.0, 0.0, 0.5, 0.5, 0.0],
        "market_probability": [0.6, 0.4, 0.5, None, 0.2],
    }
)


def test_softmax_by_hand() -> None:
    scores = np.array([math.log(3), 0.0, math.log(1), math.log(2), math.log(5)])
    assert race_softmax(scores, np.array([0, 2])) == pytest.approx([0.75, 0.25, 0.125, 0.25, 0.625])


def test_loss_splits_the_winner_of_a_dead_heat() -> None:
    races = Races.from_frame(TWO_RACES)
    probability = np.array([0.75, 0.25, 0.5, 0.25, 0.25])
    loss = races.loss(probability)
    assert loss == pytest.approx([-math.log(0.75), -0.5 * math.log(0.5) - 0.5 * math.log(0.25)])
    assert races.r2(probability) == pytest.approx(1 - loss.sum() / (math.log(2) + math.log(3)))


def test_r2_is_0_for_picking_at_random_and_1_for_certainty() -> None:
    races = Races.from_frame(TWO_RACES.filter(pl.col("race_key") == 7))
    assert races.r2(np.array([0.5, 0.5])) == pytest.approx(0.0)
    assert races.r2(np.array([1.0, 0.0])) == pytest.approx(1.0)
    assert math.isnan(mcfadden_r2(np.zeros(0), np.zeros(0, dtype=np.int64)))


@given(
    st.lists(st.lists(st.floats(-50, 50), min_size=1, max_size=20), min_size=1, max_size=10),
)
def test_every_race_sums_to_1_and_ignores_a_shift(fields: list[list[float]]) -> None:
    sizes = np.array([len(field) for field in fields])
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    scores = np.concatenate([np.asarray(field) for field in fields])
    probability = race_softmax(scores, starts)
    assert np.add.reduceat(probability, starts) == pytest.approx(np.ones(len(fields)))
    shifted = race_softmax(scores + np.repeat(np.arange(len(fields)), sizes), starts)
    assert shifted == pytest.approx(probability, abs=1e-9)


def test_only_settled_races_with_at_least_two_runners_are_kept() -> None:
    extra = pl.DataFrame(
        {
            "race_date": [date(2020, 1, 3)] * 3,
            "race_key": [8, 8, 9],
            "runner_key": [1, 2, 1],
            "win_share": [0.0, 0.0, 1.0],
            "market_probability": [0.5, 0.5, 1.0],
        }
    )
    kept = settled_frame(pl.concat([extra, TWO_RACES]))
    assert kept.get_column("race_key").unique().sort().to_list() == [3, 7]


def test_a_partial_book_never_counts() -> None:
    assert priced_frame(settled_frame(TWO_RACES)).get_column("race_key").unique().to_list() == [7]


def test_subset_keeps_whole_races() -> None:
    part = Races.from_frame(TWO_RACES).subset(np.array([False, True]))
    assert (part.race_key.tolist(), part.race_starts.tolist(), part.win_share.tolist()) == ([3], [0], [0.5, 0.5, 0.0])


def test_unsorted_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="not next to each other"):
        Races.from_frame(TWO_RACES[[0, 2, 1, 3, 4]])
    with pytest.raises(ValueError, match="do not rise"):
        Races.from_frame(TWO_RACES[[2, 3, 4, 0, 1]])


def test_spans_are_the_same_sliced_or_filtered() -> None:
    shuffled = TWO_RACES[[3, 0, 2, 4, 1]]
    for start, end, keys in (
        (None, date(2020, 1, 2), [7, 7]),
        (date(2020, 1, 2), None, [3, 3, 3]),
        (date(2020, 1, 1), date(2020, 1, 3), [7, 7, 3, 3, 3]),
        (date(2021, 1, 1), date(2020, 1, 1), []),
    ):
        assert between(TWO_RACES, start, end).get_column("race_key").to_list() == keys
        assert sorted(between(shuffled, start, end).get_column("race_key")) == sorted(keys)


def test_sorting_leaves_a_sorted_frame_alone() -> None:
    assert sort_runners(TWO_RACES) is TWO_RACES
    assert sort_runners(TWO_RACES[[3, 0, 2, 4, 1]]).equals(TWO_RACES)
    assert sort_runners(TWO_RACES.clear()).is_empty()


def test_missing_values_become_nan_never_0() -> None:
    matrix = feature_matrix(TWO_RACES, ["market_probability"])
    assert np.isnan(matrix[3, 0])
    assert matrix.dtype == np.float32


def test_guards_say_what_where_and_what_to_do() -> None:
    with pytest.raises(LookAheadError, match=r"blend.*reach 2020-01-02.*before 2020-01-02"):
        require_earlier(TWO_RACES, date(2020, 1, 3), 1, "blend")
    require_earlier(TWO_RACES, date(2020, 1, 4), 1, "blend")
    with pytest.raises(LookAheadError, match="may have seen them"):
        require_not_trained_on(TWO_RACES, date(2020, 1, 2), "gate")
    with pytest.raises(MissingFeatureError, match=r"lacks 1 column\(s\): draw_iv"):
        require_columns(TWO_RACES, ["race_key", "draw_iv"], "matrix")
    with pytest.raises(TooFewRacesError, match="3 usable races, at least 5"):
        require_races(3, 5, "fundamental")


def test_losses_of_impossible_winners_stay_finite() -> None:
    assert np.isfinite(log_loss_per_race(np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([0]))).all()
