from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def test_the_mark_a_horse_ran_to(stables: Stables) -> None:
    # Over 5 furlongs a length is 3 lb. Marks less weights: 70 - 130 and 64 - 126, mean -61.
    winner = {"horse_key": 1, "weight_lb": 130, "official_rating": 70, "position": 1, "beaten_lengths": 0.0}
    loser = {"horse_key": 2, "weight_lb": 126, "official_rating": 64, "position": 2, "beaten_lengths": 2.0}
    stables.race(DAY - timedelta(days=20), [winner, loser], distance_furlongs=5.0)
    first, second = stables.race(
        DAY, [{"horse_key": 1, "official_rating": 74}, {"horse_key": 2, "official_rating": 62}]
    )
    rows = stables.build("collateral_form", DAY, DAY)
    # The winner is beaten by -2 lengths: pounds beaten -6 and +6, mean 0.
    assert rows[first]["performance_ewma_lb"] == pytest.approx(-61 + 130 + 6)
    assert rows[first]["performance_gap_lb"] == pytest.approx(75 - 74)
    assert rows[second]["performance_last_gap_lb"] == pytest.approx(-61 + 126 - 6 - 62)
    assert rows[second]["performance_best_gap_lb"] == pytest.approx(-3)
    assert (rows[first]["mark_below_peak"], rows[second]["mark_below_peak"]) == (-4, 2)
    assert rows[first]["opposition_mark_ewma"] == pytest.approx(67)


def test_a_horse_that_ran_to_its_mark_differs_from_it_by_nothing(stables: Stables) -> None:
    # Beaten by the mean of the three, in pounds that no binary fraction holds: a last bit more or less splits a tree.
    runners = [
        {"horse_key": key, "weight_lb": 120 + key, "official_rating": 60 + key, "position": key, "beaten_lengths": by}
        for key, by in ((2, 1.25), (3, 1.75), (4, 2.25))
    ]
    stables.race(DAY - timedelta(days=20), runners, distance_furlongs=5.5)
    today = stables.race(DAY, [{"horse_key": 3, "official_rating": 63}])[0]
    assert stables.build("collateral_form", DAY, DAY)[today]["performance_last_gap_lb"] == 0


def test_franking_by_the_others_of_the_last_race(stables: Stables) -> None:
    met = [{"horse_key": key, "position": key} for key in (1, 2, 3)]
    stables.race(DAY - timedelta(days=30), met)
    # Horse 2 wins its next race before today, horse 3 its next race today.
    stables.race(DAY - timedelta(days=10), [{"horse_key": 2, "position": 1}, {"position": 2}])
    stables.race(DAY, [{"horse_key": 3, "position": 1}, {"position": 2}])
    today = stables.race(DAY, [{"horse_key": 1}])[0]
    row = stables.build("collateral_form", DAY, DAY)[today]
    assert row["race_franking"] == pytest.approx(0.5 / (1 + 3))


def test_unrated_races_and_debuts_are_null(stables: Stables) -> None:
    stables.race(DAY - timedelta(days=20), [{"horse_key": 1, "weight_lb": 130, "position": 1}, {"position": 2}])
    today, debut = stables.race(DAY, [{"horse_key": 1, "official_rating": 74}, {"horse_key": 2}])
    rows = stables.build("collateral_form", DAY, DAY)
    for key in (today, debut):
        for name in ("performance_ewma_lb", "performance_gap_lb", "opposition_mark_ewma", "race_franking"):
            assert rows[key][name] is None
