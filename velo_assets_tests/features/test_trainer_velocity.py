from __future__ import annotations

from datetime import date

import pytest

from velo_assets_tests.features.stables import Stables

DAY = date(2020, 6, 20)


def test_strike_rates_shrink_to_the_trainers_own_career(stables: Stables) -> None:
    # Trainer 1: a winner 10 days ago, two losers 40 days ago. Trainer 2: the others.
    stables.race(date(2020, 6, 10), [{"trainer_key": 1, "position": 1}, {"trainer_key": 2, "position": 2}])
    stables.race(
        date(2020, 5, 11),
        [{"trainer_key": 1, "position": 2}, {"trainer_key": 1, "position": 3}, {"trainer_key": 2, "position": 1}],
    )
    today = stables.race(DAY, [{"trainer_key": 1}])[0]
    row = stables.build("trainer_velocity", DAY, DAY)[today]
    # No year lies before, so the priors hold: 30 runs for the career, 300 for a month. Everybody: 2 wins in 5 runs.
    career = (1 + 30 * 0.4) / (3 + 30)
    assert row["trainer_sr_career"] == pytest.approx(career)
    assert row["trainer_sr_14d"] == pytest.approx((1 + 300 * career) / (1 + 300))
    assert row["trainer_sr_30d"] == pytest.approx((1 + 300 * career) / (1 + 300))
    assert row["trainer_sr_90d"] == pytest.approx((1 + 300 * career) / (3 + 300))
    assert (row["trainer_runs_90d"], row["trainer_runs_career"]) == (3, 3)
    assert row["trainer_form_14d"] == pytest.approx(1 - career)
    # 1/2 + 1/3 + 1/3 wins were to be expected, 5 expected wins are the prior.
    assert row["trainer_impact"] == pytest.approx((1 + 5) / (1 / 2 + 2 / 3 + 5))
    assert row["trainer_place_rate"] == pytest.approx(1.0)
    assert row["trainer_rivals_beaten"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_wins_against_the_closing_market(stables: Stables) -> None:
    # Odds 2.0 and 2.0: a full book of 100%, a probability of a half each.
    runners = [{"trainer_key": 1, "position": 1, "sp": 2.0}, {"trainer_key": 2, "position": 2, "sp": 2.0}]
    stables.race(date(2020, 6, 10), runners)
    # A book with a price missing says nothing of the wins expected.
    runners = [{"trainer_key": 1, "position": 1, "sp": 2.0}, {"trainer_key": 2, "position": 2}]
    stables.race(date(2020, 6, 11), runners)
    today = stables.race(DAY, [{"trainer_key": 1}])[0]
    row = stables.build("trainer_velocity", DAY, DAY)[today]
    assert row["trainer_ae"] == pytest.approx((1 + 5) / (0.5 + 5))


def test_runs_of_the_same_day_do_not_count(stables: Stables) -> None:
    first, second = (stables.race(DAY, [{"trainer_key": 1, "position": 1}, {"position": 2}])[0] for _ in range(2))
    rows = stables.build("trainer_velocity", DAY, DAY)
    for key in (first, second):
        assert rows[key]["trainer_runs_career"] == 0
        assert rows[key]["trainer_sr_14d"] is None


def test_unknown_trainer_stays_null(stables: Stables) -> None:
    stables.race(date(2020, 6, 10), [{"trainer_key": 1, "position": 1}])
    nobody = stables.race(DAY, [{"trainer_key": None}])[0]
    row = stables.build("trainer_velocity", DAY, DAY)[nobody]
    features = {name for name in row if name.startswith("trainer_")}
    assert features
    assert all(row[name] is None for name in features)


def test_strength_comes_from_the_years_before(stables: Stables) -> None:
    # 2019: trainer 1 wins 30 of 40, trainer 2 wins 10 of 40: far more spread than chance, a small m.
    for day in range(1, 29):
        for month in (1, 2):
            good, bad = (1, 2) if day <= 21 else (2, 1)
            runners = [{"trainer_key": 1, "position": good}, {"trainer_key": 2, "position": bad}]
            stables.race(date(2019, month, day), runners)
    today = stables.race(date(2020, 1, 1), [{"trainer_key": 1}])[0]
    start = date(2020, 1, 1)
    row = stables.build("trainer_velocity", start, start)[today]
    # 42 and 14 of 56, mean 1/2: S/(mu(1-mu)) = 2 * 56 * (1/4)^2 / (1/4) = 28; rho = (28 - 1) / (112 - 56 - 1).
    rho = 27 / 55
    strength = (1 - rho) / rho
    assert row["trainer_sr_career"] == pytest.approx((42 + strength * 0.5) / (56 + strength))
