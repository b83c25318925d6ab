from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets_tests.features.stables import Stables

YEAR = date(2020, 1, 1)


def strengths(stables: Stables, start: date, end: date) -> dict[str, tuple[float, float]]:
    stables.connection.execute("drop table if exists features.shrinkage")
    from velo_assets.warehouse.build import build_table

    build_table(stables.connection, "features/shrinkage", start, end)
    rows = stables.connection.execute(
        "select entity, strength_runs, strength_expected_wins from features.shrinkage where race_date = ?", [start]
    ).fetchall()
    return {entity: (runs, wins) for entity, runs, wins in rows}


def season(stables: Stables, year: int, wins_of_trainer_1: int, **conditions: str) -> None:
    for day in range(40):
        positions = (1, 2) if day < wins_of_trainer_1 else (2, 1)
        runners = [{"trainer_key": key, "position": place} for key, place in enumerate(positions, start=1)]
        stables.race(date(year, 3, 1) + timedelta(days=day), runners, **conditions)


def test_moments_worked_by_hand(stables: Stables) -> None:
    season(stables, 2019, 30)
    stables.race(YEAR, [{"trainer_key": 1}])
    runs, wins = strengths(stables, YEAR, date(2020, 12, 31))["trainer"]
    # 30 and 10 of 40 each, mean 1/2: S/(mu(1-mu)) = 2 * 40 * (1/4)^2 / (1/4) = 20; rho = (20 - 1)/(80 - 40 - 1).
    assert runs == pytest.approx((1 - 19 / 39) / (19 / 39))
    # Expected 20 each: spread 2 * 20 * (1/2)^2 = 10; relative variance (10 - 1)/(40 - 800/40) = 9/20.
    assert wins == pytest.approx(20 / 9)


def test_a_course_is_that_of_its_country_on_any_surface(stables: Stables) -> None:
    stables.race(YEAR, [{"trainer_key": 1}])
    season(stables, 2019, 30, surface="turf")
    season(stables, 2019, 10, surface="all-weather")
    # One cell a trainer has no spread.
    assert "trainer at course" not in strengths(stables, YEAR, date(2020, 12, 31))
    season(stables, 2019, 10, surface="all-weather", country="AUS")
    season(stables, 2019, 30, surface="turf", country="AUS")
    assert "trainer at course" in strengths(stables, YEAR, date(2020, 12, 31))


def test_no_spread_beyond_chance_is_an_infinite_strength(stables: Stables) -> None:
    season(stables, 2019, 20)
    stables.race(YEAR, [{"trainer_key": 1}])
    assert strengths(stables, YEAR, date(2020, 12, 31))["trainer"] == (1e6, 1e6)


def test_the_year_itself_teaches_nothing(stables: Stables) -> None:
    season(stables, 2019, 30)
    stables.race(YEAR, [{"trainer_key": 1}])
    before = strengths(stables, YEAR, date(2020, 12, 31))
    season(stables, 2020, 40)
    assert strengths(stables, YEAR, date(2020, 12, 31)) == before


def test_two_years_are_remembered(stables: Stables) -> None:
    season(stables, 2017, 30)
    stables.race(YEAR, [{"trainer_key": 1}])
    assert strengths(stables, YEAR, date(2020, 12, 31)) == {}
    season(stables, 2018, 30)
    assert "trainer" in strengths(stables, YEAR, date(2020, 12, 31))
