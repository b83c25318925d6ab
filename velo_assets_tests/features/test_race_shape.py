from __future__ import annotations

from datetime import date

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def test_shape_of_a_race(stables: Stables) -> None:
    first, second = stables.race(
        DAY,
        [
            {"official_rating": 70, "weight_lb": 130, "age_years": 4, "sex": "G"},
            {"official_rating": 74, "weight_lb": 120, "age_years": 3, "sex": "F"},
        ],
        is_handicap=True,
        race_class=4,
        rating_band_low=60,
        rating_band_high=75,
        min_age_years=3,
    )
    rows = stables.build("race_shape", DAY, DAY)
    row = rows[first]
    assert (row["field_size"], row["is_handicap"], row["race_class"], row["is_pattern"]) == (2, 1, 4, 0)
    assert (row["rating_band_high"], row["weight_range_lb"]) == (75, 10)
    assert row["rating_spread"] == pytest.approx(8**0.5)
    assert (row["is_single_age"], row["is_sex_restricted"]) == (0, 0)
    assert (row["age_vs_field"], row["is_female"], row["is_gelding"]) == (0.5, 0, 1)
    assert (rows[second]["is_female"], rows[second]["is_gelding"]) == (1, 0)


def test_unknown_ages_sexes_and_ratings_are_null(stables: Stables) -> None:
    key = stables.race(DAY, [{"weight_lb": 130}, {"sex": "G"}])[0]
    row = stables.build("race_shape", DAY, DAY)[key]
    for name in ("race_class", "rating_spread", "age_vs_field", "is_female", "is_gelding"):
        assert row[name] is None
