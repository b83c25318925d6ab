from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def test_compared_within_the_race(stables: Stables) -> None:
    # Shares of rivals beaten 20 days ago: 1, 0.5 and 0.
    stables.race(DAY - timedelta(days=20), [{"horse_key": key, "position": key} for key in (1, 2, 3)])
    keys = stables.race(DAY, [{"horse_key": key} for key in (1, 2, 3, 4)])
    rows = stables.build("within_race", DAY, DAY)
    best, middle, worst, debut = (rows[key] for key in keys)
    spread = (0.5 / 3) ** 0.5
    assert best["form_ewma_30d_z"] == pytest.approx(0.5 / spread)
    assert middle["form_ewma_30d_z"] == pytest.approx(0)
    assert (best["form_ewma_30d_gap"], worst["form_ewma_30d_gap"]) == pytest.approx((0, -1))
    assert (best["form_ewma_30d_rank"], middle["form_ewma_30d_rank"], worst["form_ewma_30d_rank"]) == (1, 2, 3)
    # A debut is unknown: no z-score, no gap, no rank, and it does not move the others.
    assert {debut[name] for name in ("form_ewma_30d_z", "form_ewma_30d_gap", "form_ewma_30d_rank")} == {None}


def test_all_equal_has_no_z_score(stables: Stables) -> None:
    stables.race(DAY - timedelta(days=20), [{"horse_key": 1, "position": 1}, {"horse_key": 2, "position": 1}])
    keys = stables.race(DAY, [{"horse_key": 1}, {"horse_key": 2}])
    rows = stables.build("within_race", DAY, DAY)
    assert all(rows[key]["form_ewma_z"] is None for key in keys)
