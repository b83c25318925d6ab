from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)
CLEAR = {
    "trouble_slowly_away": False,
    "trouble_hampered": False,
    "trouble_short_of_room": False,
    "trouble_wide": False,
    "trouble_mistakes": False,
}


def test_rates_over_three_runs_and_a_year(stables: Stables) -> None:
    flags = ("trouble_slowly_away", "trouble_hampered", None, "trouble_wide")
    for number, flag in enumerate(flags, start=1):
        mine = {"horse_key": 1, "position": 1, **CLEAR, **({flag: True} if flag else {})}
        stables.race(DAY - timedelta(days=10 * number), [mine])
    stables.race(DAY - timedelta(days=50), [{"horse_key": 1, "position": None, "outcome": "fell", **CLEAR}])
    today = stables.race(DAY, [{"horse_key": 1}])[0]
    row = stables.build("trouble", DAY, DAY)[today]
    assert row["trouble_rate"] == pytest.approx(2 / 3)
    assert (row["trouble_last"], row["blocked_last"]) == (1, 0)
    assert row["slowly_away_rate"] == pytest.approx(1 / 5)
    assert row["mistakes_rate"] == 0
    assert row["not_completed_rate"] == pytest.approx(1 / 5)


def test_a_card_that_never_got_a_result_is_no_run(stables: Stables) -> None:
    for days, flag in ((50, "trouble_wide"), (40, "trouble_wide"), (30, "trouble_hampered")):
        stables.race(DAY - timedelta(days=days), [{"horse_key": 1, "position": 1, **CLEAR, flag: True}])
    stables.race(DAY - timedelta(days=20), [{"horse_key": 1}])
    today = stables.race(DAY, [{"horse_key": 1}])[0]
    row = stables.build("trouble", DAY, DAY)[today]
    assert (row["trouble_last"], row["trouble_rate"]) == (1, 1)


def test_blank_comments_are_null(stables: Stables) -> None:
    stables.race(DAY - timedelta(days=10), [{"horse_key": 1, "position": 1}])
    stables.race(DAY, [{"horse_key": 1, "position": 1, **CLEAR, "trouble_wide": True}])
    today = stables.race(DAY, [{"horse_key": 1}])[0]
    row = stables.build("trouble", DAY, DAY)[today]
    assert row["trouble_rate"] is None
    assert row["trouble_last"] is None
    assert row["slowly_away_rate"] is None
    assert row["not_completed_rate"] == 0
