from __future__ import annotations

from datetime import date

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def test_pair_against_what_each_wins_with_anybody(stables: Stables) -> None:
    pair = {"trainer_key": 1, "jockey_key": 7, "owner_key": 3}
    stables.race(date(2020, 6, 10), [{**pair, "position": 1}, {"trainer_key": 2, "jockey_key": 8, "position": 2}])
    stables.race(
        date(2020, 6, 11),
        [{"trainer_key": 1, "jockey_key": 8, "position": 2}, {"trainer_key": 2, "jockey_key": 7, "position": 1}],
    )
    today, stranger = stables.race(DAY, [pair, {"trainer_key": 9, "jockey_key": 7}])
    rows = stables.build("trainer_jockey", DAY, DAY)
    trainer = (1 + 5) / (1 + 5)
    jockey = (2 + 5) / (1 + 5)
    assert rows[today]["tj_combo_uplift"] == pytest.approx((1 + 5) / (0.5 * trainer * jockey + 5) - 1)
    assert rows[today]["tj_combo_runs"] == 1
    assert rows[today]["tj_combo_impact"] == pytest.approx((1 + 5) / (0.5 + 5))
    assert rows[today]["tj_combo_share"] == pytest.approx(1 / 2)
    assert rows[today]["owner_trainer_runs"] == 1
    assert rows[today]["owner_trainer_impact"] == pytest.approx((1 + 5 * trainer) / (0.5 + 5))
    # A pair that never met: no uplift, and no owner means null.
    assert rows[stranger]["tj_combo_uplift"] == pytest.approx(0)
    assert rows[stranger]["tj_combo_runs"] == 0
    assert rows[stranger]["tj_combo_share"] is None
    assert rows[stranger]["owner_trainer_impact"] is None


def test_the_pairs_runs_of_the_same_day_do_not_count(stables: Stables) -> None:
    pair = {"trainer_key": 1, "jockey_key": 7}
    stables.race(DAY, [{**pair, "position": 1}, {"position": 2}])
    today = stables.race(DAY, [pair])[0]
    row = stables.build("trainer_jockey", DAY, DAY)[today]
    assert row["tj_combo_runs"] == 0
    assert row["tj_combo_uplift"] == pytest.approx(0)
