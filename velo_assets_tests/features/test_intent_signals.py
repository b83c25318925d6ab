from __future__ import annotations

from datetime import date, timedelta
from math import log

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def test_riders(stables: Stables) -> None:
    # Jockey 7 has won its one ride, jockey 8 has lost its one ride, both before the horse's last run under jockey 8.
    stables.race(DAY - timedelta(days=40), [{"jockey_key": 7, "position": 1}, {"jockey_key": 8, "position": 2}])
    last = {"horse_key": 1, "jockey_key": 8, "position": 1}
    stables.race(DAY - timedelta(days=20), [last, {"position": 2}])
    mine, rival, _ = stables.race(
        DAY, [{"horse_key": 1, "jockey_key": 7}, {"horse_key": 2, "jockey_key": 8}, {"horse_key": 3, "jockey_key": 9}]
    )
    rows = stables.build("intent_signals", DAY, DAY)
    row = rows[mine]
    assert (row["jockey_change"], row["last_jockey_on_rival"]) == (1, 1)
    # Fifty rides at the half are the prior: jockey 7 as of today, jockey 8 as of twenty days ago.
    assert row["jockey_upgrade"] == pytest.approx((1 + 25) / 51 - 25 / 51, abs=1e-7)
    assert row["past_jockey_ability"] == pytest.approx(25 / 51)
    assert (row["jockey_horse_runs"], row["jockey_horse_rivals_beaten"]) == (0, None)
    assert (row["jockey_choice"], rows[rival]["jockey_choice"]) == (0, 1)
    assert rows[rival]["jockey_change"] is None
    assert row["jockey_rides_today"] == 1


def test_moves_and_habits(stables: Stables) -> None:
    old = {"horse_key": 1, "trainer_key": 5, "headgear": "", "position": 1}
    stables.race(DAY - timedelta(days=60), [old], course="York", surface="turf", distance_furlongs=6.0)
    old = {**old, "position": 2}
    stables.race(DAY - timedelta(days=40), [old, {"position": 1}], course="York", surface="turf", distance_furlongs=6.0)
    new = {"horse_key": 1, "trainer_key": 5, "headgear": "b", "headgear_first_time": True}
    today = stables.race(DAY, [new, {"trainer_key": 5}], surface="all-weather", distance_furlongs=8.0)[0]
    row = stables.build("intent_signals", DAY, DAY)[today]
    assert (row["headgear_first_time"], row["headgear_change"]) == (1, 1)
    assert (row["course_change"], row["surface_change"], row["trainer_change"]) == (1, 1, 0)
    assert row["distance_move_furlongs"] == 2
    # The trainer's one layoff of the year was 20 days, today's is 40.
    assert row["layoff_vs_habit"] == pytest.approx(log(40) - log(20))
    assert (row["trainer_course_runs"], row["stable_runners"]) == (0, 2)
    # Two runs, one win; 1/1 and 1/2 wins expected, none of them at this course.
    assert row["trainer_course_impact"] == pytest.approx((1 + 5) / (1.5 + 5))


def test_debuts_and_the_same_day_are_null(stables: Stables) -> None:
    stables.race(DAY, [{"horse_key": 1, "jockey_key": 7, "position": 1}])
    today = stables.race(DAY, [{"horse_key": 1, "jockey_key": 8}])[0]
    row = stables.build("intent_signals", DAY, DAY)[today]
    for name in ("jockey_change", "jockey_upgrade", "layoff_vs_habit", "distance_move_furlongs", "course_change"):
        assert row[name] is None
    assert row["headgear_first_time"] is None
