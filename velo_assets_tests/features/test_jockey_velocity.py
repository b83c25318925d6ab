from __future__ import annotations

from datetime import date

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def test_windows_of_14_30_and_90_days_end_the_day_before(stables: Stables) -> None:
    # A winner 14 days ago counts in all windows, one 15 days ago no more in the first, one 91 days ago in none.
    for day, position in ((date(2020, 6, 6), 1), (date(2020, 6, 5), 1), (date(2020, 3, 21), 1), (DAY, 1)):
        stables.race(day, [{"jockey_key": 7, "position": position}, {"jockey_key": 8, "position": 2}])
    today = stables.race(DAY, [{"jockey_key": 7}])[0]
    row = stables.build("jockey_velocity", DAY, DAY)[today]
    career = (3 + 30 * 0.5) / (3 + 30)
    assert row["jockey_sr_career"] == pytest.approx(career)
    assert row["jockey_sr_14d"] == pytest.approx((1 + 300 * career) / 301)
    assert row["jockey_sr_30d"] == pytest.approx((2 + 300 * career) / 302)
    assert row["jockey_sr_90d"] == pytest.approx((2 + 300 * career) / 302)
    assert (row["jockey_runs_90d"], row["jockey_runs_career"]) == (2, 3)
    assert row["jockey_impact"] == pytest.approx((3 + 5) / (3 * 0.5 + 5))
