from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def test_weights_ratings_and_claims_of_a_handicap(stables: Stables) -> None:
    stables.race(
        DAY - timedelta(days=30),
        [{"horse_key": 1, "weight_lb": 120, "official_rating": 66, "body_weight_lb": 1000, "position": 1}],
    )
    stables.race(
        DAY - timedelta(days=10),
        [{"horse_key": 1, "weight_lb": 128, "official_rating": 72, "body_weight_lb": 1020, "position": 2}],
    )
    first, second = stables.race(
        DAY,
        [
            {"horse_key": 1, "weight_lb": 126, "official_rating": 75, "body_weight_lb": 1010},
            {"horse_key": 2, "weight_lb": 120, "official_rating": 64},
        ],
        is_handicap=True,
    )
    rows = stables.build("weight_rating", DAY, DAY)
    row = rows[first]
    assert (row["weight_lb"], row["weight_vs_field_lb"]) == (126, 3)
    assert row["weight_above_best_win_lb"] == 6
    # Weight less rating: 51 and 56, so the first rider claims 5.
    assert (row["claim_lb"], rows[second]["claim_lb"]) == (5, 0)
    assert (row["or_vs_field"], rows[second]["or_vs_field"]) == (5.5, -5.5)
    assert row["or_vs_year"] == pytest.approx(75 - 69)
    assert (row["body_weight_delta_lb"], row["body_weight_vs_year_lb"], row["body_weight_vs_wins_lb"]) == (-10, 0, 10)
    assert row["weight_share"] == pytest.approx(126 / 1010)
    for name in ("body_weight_lb", "body_weight_delta_lb", "weight_share", "weight_above_best_win_lb", "age_years"):
        assert rows[second][name] is None


def test_a_card_that_never_got_a_result_is_no_run(stables: Stables) -> None:
    stables.race(
        DAY - timedelta(days=30), [{"horse_key": 1, "official_rating": 66, "body_weight_lb": 1000, "position": 1}]
    )
    stables.race(DAY - timedelta(days=10), [{"horse_key": 1, "official_rating": 70, "body_weight_lb": 1100}])
    today = stables.race(DAY, [{"horse_key": 1, "official_rating": 68, "body_weight_lb": 1010}])[0]
    row = stables.build("weight_rating", DAY, DAY)[today]
    assert (row["body_weight_delta_lb"], row["body_weight_vs_year_lb"], row["or_vs_year"]) == (10, 10, 2)


def test_no_claim_without_a_rating_or_a_handicap(stables: Stables) -> None:
    unrated = stables.race(DAY, [{"weight_lb": 126}, {"weight_lb": 120, "official_rating": 60}], is_handicap=True)[0]
    level = stables.race(DAY, [{"weight_lb": 126, "official_rating": 75}, {"weight_lb": 126, "official_rating": 60}])[0]
    rows = stables.build("weight_rating", DAY, DAY)
    assert rows[unrated]["claim_lb"] is None
    assert rows[level]["claim_lb"] is None
