from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def test_what_the_horse_does_under_todays_conditions(stables: Stables) -> None:
    other = {"position": 2}
    here = {"horse_key": 1, "position": 1}
    stables.race(DAY - timedelta(days=30), [here, other])  # won at Ascot, good, 8 furlongs
    stables.race(
        DAY - timedelta(days=20),
        [{"horse_key": 1, "position": 2}, {"position": 1}],
        course="York",
        going_group="soft",
        distance_furlongs=12.0,
    )
    today = stables.race(DAY, [{"horse_key": 1}], distance_furlongs=9.0)[0]
    row = stables.build("suitability", DAY, DAY)[today]
    # Beat all once and nobody once: 0.5 on average; 1 run here of 1, four runs of prior at its own mean.
    assert row["course_affinity"] == pytest.approx((1 - 0.5) / 5)
    assert row["going_affinity"] == pytest.approx((1 - 0.5) / 5)
    assert row["distance_affinity"] == pytest.approx((1 - 0.5) / 5)
    assert (row["course_runs"], row["going_runs"], row["distance_runs"]) == (1, 1, 1)
    # Only the win weighs: best distance 8.
    assert row["distance_from_best_furlongs"] == pytest.approx(1)
    assert row["distance_mismatch_furlongs"] == pytest.approx(1)


def test_unknown_conditions_and_debuts_are_null(stables: Stables) -> None:
    stables.race(DAY - timedelta(days=30), [{"horse_key": 1, "position": 1}, {"position": 2}], going_group=None)
    unknown = stables.race(
        DAY, [{"horse_key": 1}], going_group=None, going_index=None, distance_furlongs=None, course="York"
    )[0]
    debut = stables.race(DAY, [{"horse_key": 2}])[0]
    rows = stables.build("suitability", DAY, DAY)
    for name in (
        "going_affinity",
        "distance_affinity",
        "distance_from_best_furlongs",
        "distance_mismatch_furlongs",
        "going_runs",
    ):
        assert rows[unknown][name] is None
    assert rows[debut]["course_affinity"] is None
    assert rows[debut]["course_runs"] == 0


def test_runs_of_the_same_day_do_not_count(stables: Stables) -> None:
    stables.race(DAY - timedelta(days=30), [{"horse_key": 1, "position": 2}, {"position": 1}])
    alone = stables.race(DAY, [{"horse_key": 1, "position": 1}, {"position": 2}])[0]
    row = stables.build("suitability", DAY, DAY)[alone]
    assert row["course_runs"] == 1
    assert row["course_affinity"] == pytest.approx(0)
