from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets_tests.features.stables import Stables, known

DAY = date(2020, 6, 20)
FAMILY = {"sire": "Galileo (IRE)", "dam": "Lady (GB)", "damsire": "Danehill (USA)"}


def test_progeny_by_going_and_distance(stables: Stables) -> None:
    stables.race(DAY - timedelta(days=30), [{**FAMILY, "position": 1}, {"sire": "Other", "position": 2}])
    stables.race(
        DAY - timedelta(days=20),
        [{"sire": FAMILY["sire"], "position": 2}, {"sire": "Other", "position": 1}],
        going_group="soft",
        distance_furlongs=5.0,
    )
    today = stables.race(DAY, [FAMILY])[0]
    row = stables.build("breeding", DAY, DAY)[today]
    # One win of two runs, expected one: 1; on good and over a mile one win of one, expected a half; ten wins of prior.
    assert row["sire_impact"] == pytest.approx(1)
    assert row["sire_going_impact"] == pytest.approx((1 + 10) / (0.5 + 10))
    assert row["sire_distance_impact"] == pytest.approx((1 + 10) / (0.5 + 10))
    assert row["dam_impact"] == pytest.approx((1 + 5) / (0.5 + 5))
    assert row["damsire_impact"] == pytest.approx((1 + 10) / (0.5 + 10))


def test_blank_pedigrees_are_null(stables: Stables) -> None:
    blank = {"sire": "", "dam": None, "damsire": ""}
    stables.race(DAY - timedelta(days=30), [{**blank, "position": 1}])
    today = stables.race(DAY, [blank])[0]
    row = stables.build("breeding", DAY, DAY)[today]
    assert known(row) == {}


def test_progeny_of_the_same_day_does_not_count(stables: Stables) -> None:
    stables.race(DAY, [{**FAMILY, "position": 1}, {"position": 2}])
    today = stables.race(DAY, [FAMILY])[0]
    row = stables.build("breeding", DAY, DAY)[today]
    assert row["sire_impact"] == pytest.approx(1)
    assert row["dam_impact"] == pytest.approx(1)
