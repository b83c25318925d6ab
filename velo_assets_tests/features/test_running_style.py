from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def test_shrunk_rates_and_race_pace_from_comments(stables: Stables) -> None:
    # Horse 1 led twice and was held up once; horse 2 has never been seen.
    for days, score in ((40, 1.0), (30, 1.0), (20, 0.25)):
        mine = {"horse_key": 1, "position": 1, "style_score": score}
        stables.race(DAY - timedelta(days=days), [mine, {"position": 2}])
    leader, unseen = stables.race(DAY, [{"horse_key": 1, "stall": 1}, {"horse_key": 2, "stall": 2}])
    rows = stables.build("running_style", DAY, DAY)
    row = rows[leader]
    lead = (2 + 2 * 0.12) / 5
    mean = (2.25 + 2 * 0.5) / 5
    assert row["lead_rate"] == pytest.approx(lead)
    assert row["prominent_rate"] == pytest.approx((2 * 0.28) / 5)
    assert row["held_up_rate"] == pytest.approx((1 + 2 * 0.40) / 5)
    assert row["style_mean"] == pytest.approx(mean)
    assert (row["style_last"], row["style_runs"]) == (0.25, 3)
    assert row["race_pace"] == pytest.approx(lead + 0.12)
    assert row["style_by_pace"] == pytest.approx((mean - 0.5) * (lead + 0.12 - 1))
    assert row["style_by_draw"] == pytest.approx((mean - 0.5) * -0.5)
    assert rows[unseen]["lead_rate"] is None
    assert rows[unseen]["style_by_pace"] is None
    assert rows[unseen]["race_pace"] == pytest.approx(lead + 0.12)


def test_calls_where_comments_are_blank_and_six_runs_only(stables: Stables) -> None:
    for number in range(8):
        place = 2 if number < 6 else 1  # the two oldest runs, in front, are forgotten
        mine = {"horse_key": 1, "position": 1, "calls": [place, 1]}
        others = [{"position": 2, "calls": [3 - place, 2]}, {"position": 3, "calls": [3, 3]}]
        stables.race(DAY - timedelta(days=10 * (number + 1)), [mine, *others])
    today = stables.race(DAY, [{"horse_key": 1}])[0]
    row = stables.build("running_style", DAY, DAY)[today]
    assert row["style_runs"] == 6
    assert row["style_mean"] == pytest.approx((6 * 0.5 + 1) / 8)
    assert row["lead_rate"] == pytest.approx(0.24 / 8)


def test_a_card_that_never_got_a_result_is_no_run(stables: Stables) -> None:
    stables.race(DAY - timedelta(days=30), [{"horse_key": 1, "position": 1, "style_score": 1.0}])
    stables.race(DAY - timedelta(days=20), [{"horse_key": 1}])
    today = stables.race(DAY, [{"horse_key": 1}])[0]
    row = stables.build("running_style", DAY, DAY)[today]
    assert (row["style_last"], row["style_runs"]) == (1.0, 1)
    stables.race(DAY - timedelta(days=10), [{"horse_key": 1, "position": 1}])
    assert stables.build("running_style", DAY, DAY)[today]["style_last"] is None


def test_comments_of_the_same_day_do_not_count(stables: Stables) -> None:
    first = stables.race(DAY, [{"horse_key": 1, "position": 1, "style_score": 1.0}])[0]
    row = stables.build("running_style", DAY, DAY)[first]
    assert row["lead_rate"] is None
    assert row["race_pace"] is None
    assert row["style_runs"] == 0
