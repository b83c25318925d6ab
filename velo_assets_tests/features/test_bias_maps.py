from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def draw_race(stables: Stables, day: date, order: list[int], **conditions: object) -> None:
    """Stall numbers in their order of finishing."""
    stables.race(day, [{"stall": stall, "position": place} for place, stall in enumerate(order, start=1)], **conditions)


def test_draw_of_two_stalls(stables: Stables) -> None:
    # Ten races of two, stall 1 wins eight.
    for number in range(10):
        draw_race(stables, DAY - timedelta(days=10 + number), [1, 2] if number < 8 else [2, 1])
    low, high = stables.race(DAY, [{"stall": 1}, {"stall": 2}])
    rows = stables.build("bias_maps", DAY, DAY)
    # 8 wins against 5 expected; 20 expected wins of prior at 1 for course and distance, then the same around that.
    trip = (8 + 20) / (5 + 20)
    assert rows[low]["draw_iv"] == pytest.approx((8 + 20 * trip) / (5 + 20))
    # Slope: sum (x - .5)(y - .5) over 20 runs = 16 * -.25 + 4 * .25 = -3; squares 20 * .25 = 5, prior 50/12.
    slope = -3 / (5 + 50 / 12)
    assert rows[low]["draw_bias"] == pytest.approx(-0.5 * slope)
    assert rows[high]["draw_bias"] == pytest.approx(0.5 * slope)
    rail = (-3 + 50 / 12 * slope) / (5 + 50 / 12)
    assert rows[low]["draw_rail_bias"] == pytest.approx(-0.5 * rail)
    # From stall 1: ten runs, eight beat the only rival.
    assert rows[low]["draw_stall_effect"] == pytest.approx((8 * 0.5 - 2 * 0.5) / 110)
    assert (rows[low]["stall_share"], rows[high]["stall_share"]) == (0, 1)
    assert rows[low]["bias_persist_flag"] is None  # under a hundred runs


def test_bias_persists_when_the_last_90_days_agree(stables: Stables) -> None:
    for number in range(60):
        draw_race(stables, DAY - timedelta(days=5 * number + 1), [1, 2] if number % 5 else [2, 1])
    low = stables.race(DAY, [{"stall": 1}, {"stall": 2}])[0]
    assert stables.build("bias_maps", DAY, DAY)[low]["bias_persist_flag"] == 1


def test_jumps_and_unknown_stalls_are_null(stables: Stables) -> None:
    draw_race(stables, DAY - timedelta(days=9), [1, 2])
    jumper = stables.race(DAY, [{"stall": 1}, {"stall": 2}], code="hurdle")[0]
    unknown = stables.race(DAY, [{"stall": None}, {"stall": 2}])[0]
    rows = stables.build("bias_maps", DAY, DAY)
    for key in (jumper, unknown):
        for name in ("draw_iv", "draw_bias", "draw_rail_bias", "draw_stall_effect", "stall_share", "bias_persist_flag"):
            assert rows[key][name] is None


def test_races_of_the_same_day_do_not_count(stables: Stables) -> None:
    draw_race(stables, DAY, [1, 2])
    low = stables.race(DAY, [{"stall": 1}, {"stall": 2}])[0]
    row = stables.build("bias_maps", DAY, DAY)[low]
    assert row["draw_iv"] == pytest.approx(1)
    assert row["draw_bias"] == 0


def test_the_horses_own_affinity_and_past_draws(stables: Stables) -> None:
    draw_race(stables, DAY - timedelta(days=30), [1, 2])
    stables.race(DAY - timedelta(days=20), [{"horse_key": 1, "stall": 2, "position": 1}, {"stall": 1, "position": 2}])
    stables.race(DAY - timedelta(days=10), [{"horse_key": 1, "position": 2}, {"position": 1}], going_group="soft")
    today = stables.race(DAY, [{"horse_key": 1, "stall": 1}, {"stall": 2}])[0]
    row = stables.build("bias_maps", DAY, DAY)[today]
    # At this course and on this going one win of one, expected 1/2; 5 expected wins are the prior.
    assert row["course_going_iv"] == pytest.approx((1 + 5) / (0.5 + 5))
    # Twenty days ago the one earlier race made a slope of -0.5 over 0.5 + 50/12, and the horse stood in stall 2.
    assert row["draw_bias_last"] == pytest.approx(0.5 * -0.5 / (0.5 + 50 / 12))
