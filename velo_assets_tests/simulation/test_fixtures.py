"""Fixture lists."""

from __future__ import annotations

import numpy as np
import pytest

from velo_assets.simulation.fixtures import ALL_WEATHER, GB, IRE, JUMPS, TURF, build_courses, build_fixtures, going_text


@pytest.mark.parametrize("races", [60, 1000, 21_000])
def test_a_season_of_fixtures(races: int) -> None:
    rng = np.random.default_rng(5)
    courses = build_courses(rng)
    fixtures = build_fixtures(courses, year=2016, races=races, rng=rng)
    assert abs(len(fixtures.day) - races) <= 0.02 * races + 2
    days = fixtures.day.astype("datetime64[D]")
    assert days.min() >= np.datetime64("2016-01-01")
    assert days.max() <= np.datetime64("2016-12-31")
    assert not np.isin(days, np.array(["2016-12-24", "2016-12-25"], dtype="datetime64[D]")).any()
    meetings = np.unique(np.stack([fixtures.meeting, fixtures.day, courses.place[fixtures.course]], axis=1), axis=0)
    assert len(meetings) == len(np.unique(meetings[:, 1:], axis=0)), "a place has one meeting a day"
    offs = np.unique(np.stack([fixtures.day, fixtures.course, fixtures.off_minute], axis=1), axis=0)
    assert len(offs) == len(fixtures.day)
    assert fixtures.off_minute.min() >= 12 * 60
    assert fixtures.off_minute.max() <= 22 * 60
    assert 8.5 < fixtures.planned_runners.mean() < 9.5 or races < 100
    winter_turf = (courses.kind[fixtures.course] == TURF) & (days.astype("datetime64[M]").astype(int) % 12 == 0)
    assert not winter_turf.any()


def test_goings_by_hand() -> None:
    going = np.array([-1.6, 0.0, 1.2, 1.2, 0.0, 2.6])
    region = np.array([GB, GB, GB, IRE, GB, IRE])
    kind = np.array([TURF, TURF, JUMPS, JUMPS, ALL_WEATHER, TURF])
    assert going_text(going, region, kind).tolist() == ["Firm", "Good", "Soft", "Yielding", "Standard", "Heavy"]
