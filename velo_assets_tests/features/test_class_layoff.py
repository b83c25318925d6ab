from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets_tests.features.stables import Stables, known

DAY = date(2020, 6, 20)
HORSE = 1


def days_ago(days: int) -> date:
    return DAY - timedelta(days=days)


def test_moves_since_the_last_run(stables: Stables) -> None:
    other = {"position": 2}
    won = {"horse_key": HORSE, "weight_lb": 130, "official_rating": 70, "position": 1}
    stables.race(days_ago(100), [won, other], race_class=3)
    stables.race(
        days_ago(40),
        [{"horse_key": HORSE, "weight_lb": 126, "official_rating": 76, "position": 2}, {"position": 1}],
        race_class=2,
        rating_band_high=90,
    )
    today = stables.race(
        DAY, [{"horse_key": HORSE, "weight_lb": 131, "official_rating": 74}], race_class=4, rating_band_high=80
    )[0]
    row = stables.build("class_layoff", DAY, DAY)[today]
    assert (row["class_drop"], row["classdrop_flag"]) == (2, 1)
    assert (row["layoff_days"], row["freshness_flag"]) == (40, 1)
    assert row["layoff_penalty"] == pytest.approx((40 - 7) / 83)
    assert (row["weight_delta"], row["or_delta"]) == (5, -2)
    assert (row["handicap_mark"], row["mark_above_best_win"]) == (74, 4)
    assert (row["band_drop"], row["best_class_drop"], row["career_days"]) == (10, 1, 100)


@pytest.mark.parametrize(
    ("days", "penalty", "fresh"),
    [(6, 0, 0), (7, 0, 0), (30, 23 / 83, 1), (60, 53 / 83, 1), (61, 54 / 83, 0), (90, 1, 0), (120, 2, 0), (400, 5, 0)],
)
def test_layoff_penalty(stables: Stables, days: int, penalty: float, fresh: int) -> None:
    stables.race(days_ago(days), [{"horse_key": HORSE, "position": 1}])
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("class_layoff", DAY, DAY)[today]
    assert row["layoff_penalty"] == pytest.approx(penalty)
    assert row["freshness_flag"] == fresh


def test_hong_kong_marks_are_read_off_the_weights(stables: Stables) -> None:
    handicap = {"country": "HK", "is_handicap": True, "rating_band_high": 60}
    stables.race(days_ago(20), [{"horse_key": HORSE, "weight_lb": 120, "position": 1}], **handicap)
    today = stables.race(DAY, [{"horse_key": HORSE, "weight_lb": 126}], **handicap)[0]
    row = stables.build("class_layoff", DAY, DAY)[today]
    assert (row["handicap_mark"], row["or_delta"], row["mark_above_best_win"]) == (53, 6, 6)


def test_unknown_values_and_debuts_stay_null(stables: Stables) -> None:
    # The last run carried no class and no rating; an older one with both must not stand in for it.
    older = {"horse_key": HORSE, "official_rating": 70, "position": 2}
    stables.race(days_ago(60), [older], race_class=3)
    stables.race(days_ago(30), [{"horse_key": HORSE, "position": 2}])
    today, debut = stables.race(DAY, [{"horse_key": HORSE, "official_rating": 70}, {"horse_key": 2}], race_class=3)
    rows = stables.build("class_layoff", DAY, DAY)
    assert rows[today]["class_drop"] is None
    assert rows[today]["classdrop_flag"] is None
    assert rows[today]["or_delta"] is None
    assert rows[today]["layoff_days"] == 30
    assert known(rows[debut]) == {}


def test_another_run_on_the_same_day_is_no_earlier_run(stables: Stables) -> None:
    stables.race(DAY, [{"horse_key": HORSE, "position": 1}])
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    assert stables.build("class_layoff", DAY, DAY)[today]["layoff_days"] is None
