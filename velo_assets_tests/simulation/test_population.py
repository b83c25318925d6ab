"""Horses age, trainers have cycles, and stables are as many as the day needs."""

from __future__ import annotations

import numpy as np
import pytest

from velo_assets.simulation.fixtures import year_start
from velo_assets.simulation.population import (
    FLAT,
    OVER_JUMPS,
    TRAINER_FORM_SD,
    breed,
    build_people,
    open_year,
    population_target,
    trainers_for_shared_days,
)


def test_trainers_for_shared_days_by_hand() -> None:
    # Equal stables, 10 runs a day, k trainers: company 1 - exp(-10 / k). 10 trainers give .632, 11 give .597.
    assert trainers_for_shared_days(np.ones(100), 10.0, 0.63) == 10


def test_ability_grows_and_fades() -> None:
    rng = np.random.default_rng(1)
    people = build_people(races_per_year=500, runs_per_race_day=100.0, meetings_a_day=2.0, rng=rng)
    n = 400
    horses = breed(
        people,
        ages=np.full(n, 2, dtype=np.int64),
        code=np.full(n, FLAT, dtype=np.int64),
        region=np.zeros(n, dtype=np.int64),
        year=2016,
        first_number=0,
        rng=rng,
    )
    who = np.arange(n)
    two, five, ten = (horses.ability_lb(who, np.full(n, year_start(2016 + years))).mean() for years in (0, 3, 8))
    assert two < five - 5
    assert ten < five - 5


def test_population_keeps_its_size_over_the_years() -> None:
    rng = np.random.default_rng(2)
    people = build_people(races_per_year=1000, runs_per_race_day=130.0, meetings_a_day=2.0, rng=rng)
    target = population_target(1000, 9.0)
    horses = open_year(None, people, year=2016, target=target, rng=rng)
    for year in range(2017, 2022):
        before = set(np.flatnonzero(horses.alive).tolist())
        horses = open_year(horses, people, year=year, target=target, rng=rng)
        alive = horses.alive
        for (region, code), wanted in target.items():
            present = int((alive & (horses.region == region) & (horses.code == code)).sum())
            assert wanted <= present <= wanted * 1.35
        kept = before & set(np.flatnonzero(alive).tolist())
        assert 0.55 < len(kept) / len(before) < 0.9
    trained_in = people.trainer_region[horses.trainer]
    assert (trained_in == horses.region).all()
    assert set(np.unique(horses.code)) == {FLAT, OVER_JUMPS}


def test_trainer_form_keeps_its_spread_and_forgets() -> None:
    rng = np.random.default_rng(3)
    people = build_people(races_per_year=20_000, runs_per_race_day=500.0, meetings_a_day=8.0, rng=rng)
    start = people.trainer_form.copy()
    people.trainer_form_day = 0
    people.advance_trainer_form(30, rng)
    # After one half-life the correlation with the start is one half.
    assert np.corrcoef(start, people.trainer_form)[0, 1] == pytest.approx(0.5, abs=0.12)
    assert people.trainer_form.std() == pytest.approx(TRAINER_FORM_SD, rel=0.15)
