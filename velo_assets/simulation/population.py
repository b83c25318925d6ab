"""The living part of the simulated world: horses with careers, trainers with form cycles, jockeys, sires, owners.

Abilities are in pounds (lb) on the scale of official ratings. Not here: which race a horse runs in, and what happens
in it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from velo_assets.simulation.fixtures import IRE, year_start

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ENTIRE, FEMALE, GELDING, RIG = 0, 1, 2, 3
FLAT, OVER_JUMPS = 0, 1
NEVER = -10_000
"""Day of the last run of a horse that has not run."""

RUNS_PER_HORSE_A_YEAR = 5.2
FORM_HALF_LIFE_DAYS = 70.0
FORM_SD_LB = 4.5
TRAINER_FORM_HALF_LIFE_DAYS = 30.0
TRAINER_FORM_SD = 0.22
"""Utility. The trainer form cycle: a stable whose horses all run well or badly for weeks."""
SHARED_DAY_TARGET = 0.58
"""Share of runs whose trainer has another runner the same day; sets how many trainers there are."""


@dataclass
class Horses:
    """One row per horse that ever lived in the world; grows each year. All arrays have shape (horses,).

    Attributes:
        birth_year: year of foaling. sex: ENTIRE, FEMALE, GELDING, RIG. region: GB or IRE. code: FLAT or OVER_JUMPS.
        alive: still in training. trainer, owner, sire, damsire: row numbers. name: number for `names.two_word_names`.
        dam: number for `names.dam_names`. country: index into `names.COUNTRY_SUFFIXES` of the horse. dam_country: of
            the dam.
        peak_lb: ability when mature and not yet fading. immaturity_lb: lb below the peak at the age of 2 (flat) or 4
            (jumps).
        fade_age_years: age at which ability starts to fade. form_lb: current form around the ability, form_day: as of
            when.
        going_preference: about N(0, 1), positive likes soft ground. trip_furlongs: best trip. style: 0 held up to 1
            leads.
        fresh: about N(0, 1), goes well fresh. mixer: uniform, stable trait for choices.
        last_run_day, due_day, unfit_until_day: days since 1970-01-01. runs, jump_runs, wins: counts so far.
        rating: official rating, NaN before the handicapper has seen enough. figure_sum: sum of performance figures so
            far.
        headgear: current headgear code, headgear_worn: bits of codes worn before.
    """

    birth_year: Ints
    sex: Ints
    region: Ints
    code: Ints
    alive: NDArray[np.bool_]
    trainer: Ints
    owner: Ints
    sire: Ints
    damsire: Ints
    name: Ints
    dam: Ints
    country: Ints
    dam_country: Ints
    peak_lb: Floats
    immaturity_lb: Floats
    fade_age_years: Floats
    form_lb: Floats
    form_day: Ints
    going_preference: Floats
    trip_furlongs: Floats
    style: Floats
    fresh: Floats
    mixer: Floats
    last_run_day: Ints
    due_day: Ints
    unfit_until_day: Ints
    runs: Ints
    jump_runs: Ints
    wins: Ints
    rating: Floats
    figure_sum: Floats
    headgear: Ints
    headgear_worn: Ints

    def __len__(self) -> int:
        """How many horses."""
        return len(self.birth_year)

    def append(self, more: Horses) -> None:
        """Add horses at the end, so that row numbers stay valid."""
        for field in fields(self):
            setattr(self, field.name, np.concatenate([getattr(self, field.name), getattr(more, field.name)]))

    def ability_lb(self, who: Ints, day: Ints) -> Floats:
        """Ability on a day without the form of the moment: grows, then fades.

        Args:
            who: horse rows, shape (n,).
            day: days since 1970-01-01, shape (n,).

        Returns:
            lb, shape (n,).
        """
        age_years = 1970.0 + day / 365.25 - self.birth_year[who]
        jumper = self.code[who] == OVER_JUMPS
        growth_start = np.where(jumper, 4.0, 2.0)
        growth_years = np.where(jumper, 1.6, 0.8)
        growing = self.immaturity_lb[who] * np.exp(-np.maximum(age_years - growth_start, 0.0) / growth_years)
        fading = 2.6 * np.maximum(age_years - self.fade_age_years[who], 0.0) ** 1.25
        return np.asarray(self.peak_lb[who] - growing - fading)


@dataclass
class People:
    """Trainers, jockeys, sires and owners.

    Attributes:
        trainer_region: (trainers,). trainer_flat_share: share of the stable that runs on the flat. trainer_size:
            relative.
        trainer_class_lb: how much better its horses are. trainer_form: current form cycle, utility, as of
            trainer_form_day.
        trainer_fresh: (trainers,) utility its horses gain when fresh.
        jockey_region, jockey_code: (jockeys,). jockey_skill: utility. jockey_demand: log of relative number of rides.
        sire_going, sire_quality_lb, sire_trip: (sires,) passed on to the offspring.
        owners: how many owners.
        talent_spread: spread of ability against that of a world of 20,000 races a year. In a small world a race has
            to take
            horses further apart; a narrower range of ability keeps its races as open as those of a large world.
    """

    trainer_region: Ints
    trainer_flat_share: Floats
    trainer_size: Floats
    trainer_class_lb: Floats
    trainer_form: Floats
    trainer_form_day: int
    trainer_fresh: Floats
    jockey_region: Ints
    jockey_code: Ints
    jockey_skill: Floats
    jockey_demand: Floats
    sire_going: Floats
    sire_quality_lb: Floats
    sire_trip: Floats
    owners: int
    talent_spread: float

    def advance_trainer_form(self, day: int, rng: np.random.Generator) -> None:
        """Let the form cycles of all trainers run on to `day` (an autoregressive process with the stated half-life)."""
        keep = 0.5 ** (max(day - self.trainer_form_day, 0) / TRAINER_FORM_HALF_LIFE_DAYS)
        shock = rng.normal(0.0, TRAINER_FORM_SD, len(self.trainer_form))
        self.trainer_form = keep * self.trainer_form + np.sqrt(1.0 - keep**2) * shock
        self.trainer_form_day = day


def trainers_for_shared_days(size: Floats, runs_a_day: float, target: float) -> int:
    """How many of the trainers in `size` (in order) give the wanted share of runs that share a day with a stable mate.

    With runs of a trainer Poisson with mean m a day, a run has company with probability 1 - exp(-m).

    Args:
        size: relative sizes of a long list of trainers.
        runs_a_day: runs of all trainers on a racing day.
        target: wanted share.
    """
    low, high = 4, len(size)
    while low < high:
        middle = (low + high + 1) // 2
        share = size[:middle] / size[:middle].sum()
        company = float((share * -np.expm1(-share * runs_a_day)).sum())
        low, high = (middle, high) if company >= target else (low, middle - 1)
    return low


JOCKEYS_AT_A_MEETING = 74
"""Size of the weighing room; with 7 races of 9 runners about two thirds of rides belong to jockeys with another ride
that day."""


def build_people(
    *, races_per_year: int, runs_per_race_day: float, meetings_a_day: float, rng: np.random.Generator
) -> People:
    """The people and sires of the world, in numbers that fit its size."""
    sizes = np.exp(rng.normal(0.0, 1.0, 4000))
    # Trainers are tied to a region, and a day's runners are not spread evenly over regions, so a stable meets itself
    # more often.
    count = trainers_for_shared_days(sizes, runs_per_race_day, SHARED_DAY_TARGET)
    size = sizes[:count]
    per_room = int(np.ceil(JOCKEYS_AT_A_MEETING * max(1.0, 0.9 * meetings_a_day)))
    jockey_region = np.concatenate([np.zeros(2 * per_room, dtype=np.int64), np.ones(2 * per_room, dtype=np.int64)])
    jockey_code = np.tile(np.repeat([FLAT, OVER_JUMPS], per_room), 2)
    demand = rng.normal(0.0, 0.75, len(jockey_code))
    sires = int(np.clip(races_per_year // 30, 40, 500))
    region = (rng.random(count) > 0.71).astype(np.int64)
    # Each region keeps at least one stable however small the world.
    region[:2] = (0, 1)
    return People(
        trainer_region=region,
        trainer_flat_share=rng.beta(0.7, 0.7, count).clip(0.03, 0.97),
        trainer_size=size,
        trainer_class_lb=0.9 * np.log(size) + rng.normal(0.0, 2.0, count),
        trainer_form=rng.normal(0.0, TRAINER_FORM_SD, count),
        trainer_form_day=0,
        trainer_fresh=rng.normal(0.0, 0.12, count),
        jockey_region=jockey_region,
        jockey_code=jockey_code,
        jockey_skill=0.10 * demand + rng.normal(0.0, 0.13, len(demand)),
        jockey_demand=demand,
        sire_going=rng.normal(0.0, 0.75, sires),
        sire_quality_lb=rng.normal(0.0, 4.0, sires),
        sire_trip=rng.normal(0.0, 0.22, sires),
        owners=int(np.clip(races_per_year * 0.7, 60, 15_000)),
        talent_spread=float(
            np.interp(np.log(races_per_year), np.log([300, 1000, 3000, 20_000]), [0.58, 0.72, 0.82, 1.0])
        ),
    )


def breed(
    people: People, *, ages: Ints, code: Ints, region: Ints, year: int, first_number: int, rng: np.random.Generator
) -> Horses:
    """New horses in training, of the given ages on 1 January.

    Args:
        people: trainers and sires to draw from.
        ages: (n,) age in years during `year`. code: (n,) FLAT or OVER_JUMPS. region: (n,).
        year: calendar year. first_number: number of the first name to use.
        rng: source of randomness.
    """
    n = len(ages)
    jumper = code == OVER_JUMPS
    sire = (len(people.sire_going) * rng.random(n) ** 1.6).astype(np.int64)
    trainer = np.zeros(n, dtype=np.int64)
    for r in (0, 1):
        for c in (FLAT, OVER_JUMPS):
            mine = np.flatnonzero((region == r) & (code == c))
            share = people.trainer_flat_share if c == FLAT else 1.0 - people.trainer_flat_share
            weight = people.trainer_size * share * (people.trainer_region == r)
            trainer[mine] = rng.choice(len(weight), size=len(mine), p=weight / weight.sum())
    first_day = year_start(year)
    sex = np.where(
        rng.random(n) < np.where(jumper, 0.22, 0.42),
        FEMALE,
        np.where(rng.random(n) < np.where(jumper, 0.97, 0.62), GELDING, ENTIRE),
    )
    sex = np.where((sex == GELDING) & (rng.random(n) < 0.002), RIG, sex)
    mature = np.where(jumper, 108.0, 66.0)
    peak = (
        mature
        + people.talent_spread * rng.normal(0.0, np.where(jumper, 14.0, 13.0))
        + people.trainer_class_lb[trainer]
        + people.sire_quality_lb[sire]
    )
    trip = np.where(jumper, 19.5 * np.exp(rng.normal(0.0, 0.14, n)), 8.0 * np.exp(rng.normal(0.0, 0.27, n)))
    trip = trip * np.exp(people.sire_trip[sire] * np.where(jumper, 0.4, 1.0))
    novice_start = np.where((ages == 2) & ~jumper, rng.integers(85, 270, n), rng.integers(0, 120, n))
    number = first_number + np.arange(n)
    # A few names come round again years later on another horse with another dam, as in the real files.
    reuse = (rng.random(n) < 0.004) & (number > 40)
    name = np.where(reuse, (number * rng.random(n) * 0.8).astype(np.int64), number)
    return Horses(
        birth_year=year - ages,
        sex=sex,
        region=region,
        code=code,
        alive=np.ones(n, dtype=np.bool_),
        trainer=trainer,
        owner=(people.owners * rng.random(n) ** 1.5).astype(np.int64),
        sire=sire,
        damsire=(len(people.sire_going) * rng.random(n)).astype(np.int64),
        name=name,
        dam=number * 3 + 1,
        country=rng.choice(5, size=n, p=[0.52, 0.30, 0.10, 0.05, 0.03]),
        dam_country=rng.choice(5, size=n, p=[0.42, 0.38, 0.08, 0.10, 0.02]),
        peak_lb=peak - np.where(sex == FEMALE, 3.0, 0.0),
        immaturity_lb=people.talent_spread * rng.gamma(3.0, np.where(jumper, 4.0, 4.5)),
        fade_age_years=np.where(jumper, rng.normal(9.3, 1.2, n), rng.normal(6.3, 1.2, n)),
        form_lb=rng.normal(0.0, FORM_SD_LB, n),
        form_day=np.full(n, first_day, dtype=np.int64),
        going_preference=people.sire_going[sire] + rng.normal(0.0, 0.65, n),
        trip_furlongs=trip,
        style=rng.beta(1.3, 1.7, n),
        fresh=rng.normal(0.0, 1.0, n),
        mixer=rng.random(n),
        last_run_day=np.full(n, NEVER, dtype=np.int64),
        due_day=first_day + novice_start,
        unfit_until_day=np.full(n, NEVER, dtype=np.int64),
        runs=np.zeros(n, dtype=np.int64),
        jump_runs=np.zeros(n, dtype=np.int64),
        wins=np.zeros(n, dtype=np.int64),
        rating=np.full(n, np.nan),
        figure_sum=np.zeros(n),
        headgear=np.where(rng.random(n) < 0.12, rng.integers(1, 9, n), 0),
        headgear_worn=np.zeros(n, dtype=np.int64),
    )


JUMPS_SHARE = {0: 0.37, 1: 0.46}
"""Share of jumps racing (the rest is flat) in GB and IRE over the year."""
IRE_SHARE = 0.29


def population_target(races_per_year: int, runners_per_race: float) -> dict[tuple[int, int], int]:
    """Horses in training wanted per (region, code), so that they run about `RUNS_PER_HORSE_A_YEAR` times a year."""
    horses = races_per_year * runners_per_race / RUNS_PER_HORSE_A_YEAR
    target: dict[tuple[int, int], int] = {}
    for region, share in ((0, 1.0 - IRE_SHARE), (IRE, IRE_SHARE)):
        target[region, OVER_JUMPS] = max(60, round(horses * share * JUMPS_SHARE[region]))
        target[region, FLAT] = max(60, round(horses * share * (1.0 - JUMPS_SHARE[region])))
    return target


def open_year(
    horses: Horses | None, people: People, *, year: int, target: dict[tuple[int, int], int], rng: np.random.Generator
) -> Horses:
    """Retire, switch from flat to jumps, and bring in the new crop; the first year starts with all ages.

    Args:
        horses: the population so far, or None in the first year. Changed in place and returned.
        people: trainers and sires.
        year: the year that starts.
        target: horses wanted per (region, code).
        rng: source of randomness.
    """
    if horses is not None:
        age = year - horses.birth_year
        flat = horses.code == FLAT
        leaving = np.where(
            flat,
            np.select([age <= 3, age == 4, age <= 6], [0.14, 0.28, 0.26], 0.22 + 0.08 * (age - 6)),
            np.select([age <= 6, age <= 9], [0.13, 0.20], 0.28 + 0.12 * (age - 9)),
        )
        horses.alive &= ~(horses.alive & (rng.random(len(age)) < leaving))
        switching = horses.alive & flat & (age >= 4) & (age <= 6) & (rng.random(len(age)) < 0.07)
        who = np.flatnonzero(switching)
        horses.code[who] = OVER_JUMPS
        horses.peak_lb[who] += 42.0 + rng.normal(0.0, 5.0, len(who))
        horses.fade_age_years[who] += 2.5
        horses.trip_furlongs[who] = (horses.trip_furlongs[who] * 1.7).clip(15.0, 25.0)
        horses.rating[who] = np.nan
        horses.figure_sum[who] = 0.0
        horses.runs[who] = 0
        moving = np.flatnonzero(horses.alive & (rng.random(len(age)) < 0.08))
        _move_stable(horses, people, moving, rng)

    founding = horses is None
    for (region, code), wanted in target.items():
        present = 0 if horses is None else int((horses.alive & (horses.region == region) & (horses.code == code)).sum())
        missing = max(0, wanted - present)
        if founding:
            spread = (
                [0.27, 0.28, 0.17, 0.12, 0.08, 0.05, 0.03]
                if code == FLAT
                else [0.17, 0.18, 0.18, 0.16, 0.13, 0.10, 0.08]
            )
            ages = (2 if code == FLAT else 4) + rng.choice(7, size=missing, p=spread)
        else:
            ages = (
                2 + rng.choice(2, size=missing, p=[0.88, 0.12])
                if code == FLAT
                else 4 + rng.choice(2, size=missing, p=[0.7, 0.3])
            )
        foals = breed(
            people,
            ages=ages.astype(np.int64),
            code=np.full(missing, code, dtype=np.int64),
            region=np.full(missing, region, dtype=np.int64),
            year=year,
            first_number=0 if horses is None else len(horses),
            rng=rng,
        )
        if founding:
            _give_past(foals, year, rng)
        if horses is None:
            horses = foals
        else:
            horses.append(foals)
    if horses is None:
        raise ValueError("population target is empty: no (region, code) to breed for")
    return horses


def _give_past(horses: Horses, year: int, rng: np.random.Generator) -> None:
    """Let the older horses of the first year have raced before, so that the first season is not made of maidens
    only."""
    age = year - horses.birth_year
    seasoned = np.flatnonzero(age > np.where(horses.code == FLAT, 2, 4))
    day = np.full(len(seasoned), year_start(year), dtype=np.int64)
    horses.runs[seasoned] = 6
    horses.jump_runs[seasoned] = np.where(horses.code[seasoned] == OVER_JUMPS, 6, 0)
    horses.rating[seasoned] = np.rint(horses.ability_lb(seasoned, day) + rng.normal(0.0, 5.0, len(seasoned)))
    horses.figure_sum[seasoned] = 6 * horses.rating[seasoned]
    horses.last_run_day[seasoned] = day - rng.integers(10, 160, len(seasoned))


def _move_stable(horses: Horses, people: People, who: Ints, rng: np.random.Generator) -> None:
    """Send horses to a new trainer of the same region."""
    for region in (0, 1):
        mine = who[horses.region[who] == region]
        weight = people.trainer_size * (people.trainer_region == region)
        horses.trainer[mine] = rng.choice(len(weight), size=len(mine), p=weight / weight.sum())
