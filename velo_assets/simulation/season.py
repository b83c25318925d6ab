"""A season of the simulated world: entries, true chances, the market, results; a block of five days at a time.

The order of a race is a Plackett-Luce draw: utility plus Gumbel noise, so that P(win) is exactly the race softmax of
the utility. Everything a form book could teach (ability, weight, trip, going, stall, layoff, stable form, jockey,
pace) is in the utility, plus a private part that only the market learns. Horses that fail to finish are drawn among
the beaten ones, and a dead heat is a gap too small to see, so the true chances stay exact.

Numbers only. Not here: the text of the files (`raceform`), names (`names`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from velo_assets.simulation.fixtures import ALL_WEATHER, JUMPS, Courses, Fixtures, year_start
from velo_assets.simulation.population import (
    FEMALE,
    FLAT,
    FORM_HALF_LIFE_DAYS,
    FORM_SD_LB,
    JOCKEYS_AT_A_MEETING,
    NEVER,
    OVER_JUMPS,
    Floats,
    Horses,
    Ints,
    People,
)

BLOCK_DAYS = 5
"""Results reach ratings and form at the end of a block, as the handicapper's weekly figures do; a horse runs once in
it."""
LB_PER_UTILITY = 10.2
"""Pounds that change the log of the winning chance by one. Sets how predictable the races are."""
PRIVATE_SD = 0.42
"""Utility known to the market alone (stable confidence, paddock): why public data cannot reach a closing price."""
GOING_EFFECT = 0.17
"""Utility per unit of going preference and unit of going index."""
TRIP_EFFECT = 2.2
LAYOFF_FRESH_DAYS, LAYOFF_LONG_DAYS, LAYOFF_WORST = 60.0, 300.0, -0.75
DEAD_HEAT_GAP = 0.0019
"""Utility gap below which the judge cannot part two horses; gives .15% of races a dead heat for first place."""
PLANTED_EFFECTS = ("trainer_form", "draw", "layoff", "going")
"""The effects a market with `edge` > 0 partly ignores."""
IGNORED_AT_EDGE_ONE = 0.5
"""Share of the planted effects the market misses at edge 1; it grows with the square root of the edge, so that dR2
grows with it."""
FAVOURITE_LONGSHOT_POWER = 0.90
"""SP book is in proportion to probability to this power: long shots pay too little."""
OVERROUND_PER_RUNNER = 0.0185

DIVISIONS = 14
FIRST_HURDLE, FIRST_CHASE, BUMPER = 9, 11, 13
_TRIP_OF_DIVISION = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7])


@dataclass(frozen=True)
class RegimeChange:
    """Planted breaks, for the monitors to find.

    Attributes:
        flip_longshot_bias_from: from this date favourites pay too little and long shots too much.
        break_feature_from: from this date the draw bias of every course turns round and long layoffs stop to hurt.
    """

    flip_longshot_bias_from: date | None = None
    break_feature_from: date | None = None


@dataclass
class Season:
    """Everything that happened in a year, as numbers.

    Attributes:
        race: one array per race quantity, shape (races,), in race order; runner offsets are in `first`.
        runner: one array per runner quantity, shape (runs,), grouped by race.
        first: (races,) index of the first runner of each race.
    """

    race: dict[str, NDArray[np.generic]]
    runner: dict[str, NDArray[np.generic]]
    first: Ints


def race_softmax(utility: Floats, first: Ints, size: Ints) -> Floats:
    """Winning probability per runner from utility; runners of a race are adjacent, offsets in `first`, counts in
    `size`."""
    top = np.repeat(np.maximum.reduceat(utility, first), size)
    weight = np.exp(utility - top)
    return np.asarray(weight / np.repeat(np.add.reduceat(weight, first), size))


def rank_in_race(value: Floats, race: Ints, first: Ints, size: Ints) -> Ints:
    """Rank 1..n of `value` within each race, smallest first. `race` numbers the races 0, 1, ... as `first` does."""
    order = np.lexsort((value, race))
    rank = np.empty(len(value), dtype=np.int64)
    rank[order] = np.arange(len(value)) - np.repeat(first, size) + 1
    return rank


def _division(horses: Horses, who: Ints, day: int, year: int, rng: np.random.Generator) -> Ints:
    """The kind of race each horse is aimed at now: age group and trip on the flat, obstacle and trip over jumps."""
    age = year - horses.birth_year[who]
    trip = horses.trip_furlongs[who] * np.exp(rng.normal(0.0, 0.07, len(who)))
    month = int(np.datetime64(day, "D").astype("datetime64[M]").astype(np.int64)) % 12 + 1
    three_with_older = (age == 3) & (month >= 7) & (horses.mixer[who] < 0.65)
    age_group = np.where(three_with_older, 2, (age - 2).clip(0, 2))
    flat_trip = np.where(trip < 6.9, 0, np.where(trip < 9.1, 1, 2))
    flat_trip = np.where(age_group == 0, flat_trip.clip(0, 1), flat_trip)
    chaser = (age >= 6) & (horses.mixer[who] < 0.5)
    bumper = (age <= 5) & (horses.jump_runs[who] < 2) & (horses.mixer[who] > 0.4)
    jumps = np.where(chaser, FIRST_CHASE, FIRST_HURDLE) + (trip > 18.8)
    jumps = np.where(bumper, BUMPER, jumps)
    return np.asarray(np.where(horses.code[who] == FLAT, age_group * 3 + flat_trip, jumps))


def _share_races(supply: Ints, races: int, rng: np.random.Generator) -> Ints:
    """Divide `races` among divisions in proportion to the horses waiting in them (largest remainders); shape
    (races,)."""
    quota = races * supply / max(1, supply.sum())
    count = np.floor(quota).astype(np.int64)
    missing = races - int(count.sum())
    if missing > 0:
        count[np.argsort(-(quota - count) - 1e-6 * rng.random(len(quota)), kind="stable")[:missing]] += 1
    return np.asarray(rng.permutation(np.repeat(np.arange(len(supply)), count))[:races])


def _enter(
    horses: Horses,
    fixtures: Fixtures,
    courses: Courses,
    block: Ints,
    year: int,
    rng: np.random.Generator,
) -> tuple[Ints, Ints, Ints]:
    """Fill the races of a block.

    Returns:
        horse rows and race rows, one per runner, sorted by race; and the division of each race of the fixtures (-1:
        not run).
    """
    start, end = int(fixtures.day[block[0]]), int(fixtures.day[block[-1]])
    ready = np.flatnonzero(horses.alive & (horses.last_run_day <= start - 3) & (horses.unfit_until_day <= start))
    division = _division(horses, ready, start, year, rng)
    due = horses.due_day[ready] + rng.random(len(ready)) * 3.0
    # A first-season two-year-old waits for its spring; everyone else may be entered early when fields are short.
    waiting = (horses.runs[ready] > 0) | (horses.due_day[ready] <= end)
    kind = courses.kind[fixtures.course[block]]
    race_region = courses.region[fixtures.course[block]]
    race_code = np.where(kind == JUMPS, OVER_JUMPS, FLAT)
    runner_horse: list[Ints] = []
    runner_race: list[Ints] = []
    race_division = np.full(len(fixtures.day), -1, dtype=np.int64)
    for region in (0, 1):
        for code in (FLAT, OVER_JUMPS):
            races = block[(race_region == region) & (race_code == code)]
            if len(races) == 0:
                continue
            pool = np.flatnonzero((horses.region[ready] == region) & (horses.code[ready] == code) & waiting)
            pool = pool[np.argsort(due[pool], kind="stable")]
            supply = np.bincount(division[pool][due[pool] <= end + 1], minlength=DIVISIONS)
            if supply.sum() < fixtures.planned_runners[races].sum():
                supply = np.bincount(division[pool], minlength=DIVISIONS)
            if supply.sum() == 0:
                continue
            race_division[races] = _share_races(supply, len(races), rng)
            for d in np.unique(race_division[races]):
                mine = races[race_division[races] == d]
                size = fixtures.planned_runners[mine]
                waiting_here = pool[division[pool] == d]
                if len(waiting_here) < size.sum():
                    size = np.floor(size * (len(waiting_here) / size.sum())).astype(np.int64)
                    size[size < 3] = 0
                chosen = ready[waiting_here[: int(size.sum())]]
                race_division[mine[size == 0]] = -1
                runner_horse.append(_sort_into_races(horses, chosen, start, rng))
                runner_race.append(np.repeat(mine, size))
    if not runner_horse:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), race_division
    horse, race = np.concatenate(runner_horse), np.concatenate(runner_race)
    order = np.argsort(race, kind="stable")
    return horse[order], race[order], race_division


def _sort_into_races(horses: Horses, chosen: Ints, day: int, rng: np.random.Generator) -> Ints:
    """Order horses so that consecutive ones fit one race: novice fillies, novices, then the rated ones by rating."""
    rating = horses.rating[chosen]
    novice = np.isnan(rating)
    at_home = horses.ability_lb(chosen, np.full(len(chosen), day))
    level = np.where(
        novice, at_home + rng.normal(0.0, 8.0, len(chosen)), np.nan_to_num(rating) + rng.normal(0.0, 7.0, len(chosen))
    )
    own_sex = (horses.sex[chosen] == FEMALE) & (horses.mixer[chosen] * 7.0 % 1.0 < np.where(novice, 0.3, 0.2))
    group = np.where(novice, np.where(own_sex, 0, 1), np.where(own_sex, 3, 2))
    return np.asarray(chosen[np.lexsort((level, group))])


def _seat_jockeys(
    people: People,
    fixtures: Fixtures,
    courses: Courses,
    race: Ints,
    size: Ints,
    quality: Floats,
    rng: np.random.Generator,
) -> Ints:
    """A jockey for every runner: at one meeting a day, once in a race, the better ones on the better horses.

    Args:
        race: fixture rows of the races run, ascending. size: runners in each.
        quality: (runners,) how good a ride looks, grouped by race.

    Returns:
        jockey rows, shape (runners,).
    """
    jockey = np.empty(int(size.sum()), dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(size)[:-1]])
    meeting = fixtures.meeting[race]
    day = fixtures.day[race]
    region = courses.region[fixtures.course[race]]
    code = np.where(courses.kind[fixtures.course[race]] == JUMPS, OVER_JUMPS, FLAT)
    circuit = (day * 2 + region) * 2 + code
    numbers = np.repeat(np.arange(len(race)), size)
    by_quality = np.lexsort((-quality, numbers))
    for key in np.unique(circuit):
        races_here = np.flatnonzero(circuit == key)
        pool = np.flatnonzero((people.jockey_region == key // 2 % 2) & (people.jockey_code == key % 2))
        meetings = np.unique(meeting[races_here])
        travel = pool[np.argsort(-(people.jockey_demand[pool] + rng.gumbel(size=len(pool))), kind="stable")]
        widest = int(size[races_here].max())
        for i, m in enumerate(meetings):
            mine = races_here[meeting[races_here] == m]
            room = travel[i :: len(meetings)][:JOCKEYS_AT_A_MEETING]
            if len(room) < widest:
                room = travel[: max(widest, len(room))]
            wanted = people.jockey_demand[room] + rng.gumbel(size=(len(mine), len(room)))
            order = np.argsort(-wanted, axis=1, kind="stable")
            riding = np.zeros(wanted.shape, dtype=np.bool_)
            np.put_along_axis(riding, order, np.arange(len(room))[None, :] < size[mine][:, None], axis=1)
            standing = people.jockey_skill[room] + rng.normal(0.0, 0.12, wanted.shape)
            best_first = np.argsort(np.where(riding, -standing, np.inf), axis=1, kind="stable")
            taken = np.arange(len(room))[None, :] < size[mine][:, None]
            slots = by_quality[np.concatenate([np.arange(first[r], first[r] + size[r]) for r in mine])]
            jockey[slots] = room[best_first[taken]]
    return jockey


def layoff_effect(days: Floats) -> Floats:
    """Utility lost after a break: a little gained when fresh (30-60 days), then a straight line down to `LAYOFF_WORST`.

    Args:
        days: days since the last run; NaN for a first run (no effect).
    """
    fresh = np.where((days >= 30) & (days <= LAYOFF_FRESH_DAYS), 0.08, 0.0)
    absence = np.clip((days - LAYOFF_FRESH_DAYS) / (LAYOFF_LONG_DAYS - LAYOFF_FRESH_DAYS), 0.0, 1.0)
    return np.asarray(np.nan_to_num(fresh + LAYOFF_WORST * absence))


def run_season(
    horses: Horses,
    people: People,
    courses: Courses,
    fixtures: Fixtures,
    *,
    year: int,
    edge: float,
    regime: RegimeChange,
    rng: np.random.Generator,
) -> Season:
    """Race through a year. `horses` and `people` are changed in place: runs, ratings, form, stable form."""
    race_parts: list[dict[str, NDArray[np.generic]]] = []
    runner_parts: list[dict[str, NDArray[np.generic]]] = []
    block_of = (fixtures.day - year_start(year)) // BLOCK_DAYS
    for number in np.unique(block_of):
        block = np.flatnonzero(block_of == number)
        horse, race, division = _enter(horses, fixtures, courses, block, year, rng)
        if len(horse) == 0:
            continue
        people.advance_trainer_form(int(fixtures.day[block[0]]), rng)
        races, runners = _run_block(horses, people, courses, fixtures, horse, race, division, year, edge, regime, rng)
        race_parts.append(races)
        runner_parts.append(runners)
    race_columns = {name: np.concatenate([part[name] for part in race_parts]) for name in race_parts[0]}
    runner_columns = {name: np.concatenate([part[name] for part in runner_parts]) for name in runner_parts[0]}
    size = race_columns["runners"].astype(np.int64)
    return Season(race=race_columns, runner=runner_columns, first=np.cumsum(size) - size)


def _run_block(
    horses: Horses,
    people: People,
    courses: Courses,
    fixtures: Fixtures,
    horse: Ints,
    race_of_runner: Ints,
    division_of_fixture: Ints,
    year: int,
    edge: float,
    regime: RegimeChange,
    rng: np.random.Generator,
) -> tuple[dict[str, NDArray[np.generic]], dict[str, NDArray[np.generic]]]:
    """Run the races of one block and let the horses learn from it; returns race columns and runner columns."""
    n = len(horse)
    race, size = np.unique(race_of_runner, return_counts=True)
    first = np.cumsum(size) - size
    number = np.repeat(np.arange(len(race)), size)
    day = fixtures.day[race]
    course = fixtures.course[race]
    kind = courses.kind[course]
    division = division_of_fixture[race]
    trip = _TRIP_OF_DIVISION[division]
    trip_choice = rng.integers(0, 2, len(race))
    furlongs = courses.distances[course, trip, trip_choice]
    going = fixtures.going_index[race]
    runner_day = day[number]
    on_flat = kind != JUMPS

    rating = horses.rating[horse]
    age = year - horses.birth_year[horse]
    novice = np.isnan(rating)
    novice_share = np.add.reduceat(novice.astype(float), first) / size
    known_rating = np.where(novice, -np.inf, rating)
    top_rating = np.maximum.reduceat(known_rating, first)
    mean_rating = np.add.reduceat(np.where(novice, 0.0, rating), first) / np.maximum(
        1, size - np.add.reduceat(novice.astype(int), first)
    )
    is_pattern = (novice_share == 0) & (mean_rating > np.where(on_flat, 88.0, 128.0)) & (rng.random(len(race)) < 0.7)
    is_plain = rng.random(len(race)) < 0.06
    is_handicap = (novice_share <= 0.15) & ~is_pattern & ~is_plain & (division != BUMPER)

    # Weights. A handicap takes the rating off the top weight; other races carry level weights by age and sex.
    top_weight = np.where(on_flat, 135.0, 166.0)
    bottom_weight = np.where(on_flat, 112.0, 138.0)
    at_home = horses.ability_lb(horse, runner_day)
    guess = np.where(novice, at_home + rng.normal(0.0, 8.0, n), np.nan_to_num(rating))
    best_guess = np.maximum.reduceat(guess, first)
    handicap_weight = np.maximum(np.rint(top_weight[number] - (best_guess[number] - guess)), bottom_weight[number])
    month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    age_allowance = np.where(
        on_flat[number] & (age == 3), np.clip(13 - month[number], 1, 12) * furlongs[number] / 12.0, 0.0
    )
    level_weight = np.where(on_flat, 132.0, 156.0)[number] - np.where(
        horses.sex[horse] == FEMALE, np.where(on_flat[number], 5, 7), 0
    )
    level_weight = level_weight - np.rint(age_allowance) + np.where(horses.wins[horse] > 0, 4, 0) * ~is_pattern[number]
    weight_lb = np.where(is_handicap[number], handicap_weight, level_weight).astype(np.int64)

    # The effects, in utility.
    form_gap = np.maximum(runner_day - horses.form_day[horse], 0)
    keep = 0.5 ** (form_gap / FORM_HALF_LIFE_DAYS)
    form = keep * horses.form_lb[horse] + np.sqrt(1 - keep**2) * rng.normal(0.0, FORM_SD_LB, n)
    horses.form_lb[horse], horses.form_day[horse] = form, runner_day
    ability_lb = at_home + form + np.where(on_flat[number] & (age == 3), np.rint(age_allowance), 0.0)
    jockey = _seat_jockeys(
        people, fixtures, courses, race, size, guess / 8.0 - weight_lb / 12.0 + rng.normal(0.0, 1.0, n), rng
    )
    trainer = horses.trainer[horse]
    days_off = np.where(horses.last_run_day[horse] == NEVER, np.nan, runner_day - horses.last_run_day[horse]).astype(
        float
    )
    broken = np.zeros(len(race), dtype=np.bool_)
    if regime.break_feature_from is not None:
        broken = day >= (regime.break_feature_from - date(1970, 1, 1)).days
    layoff = layoff_effect(days_off) * ~broken[number] + np.where(
        np.nan_to_num(days_off) > 45, people.trainer_fresh[trainer], 0.0
    )
    going_liking = (
        GOING_EFFECT * horses.going_preference[horse] * (going - np.where(kind == ALL_WEATHER, 0.9, 0.1))[number]
    )
    stall = np.where(on_flat[number], rank_in_race(rng.random(n), number, first, size), 0)
    stall_percentile = np.where(on_flat[number], (stall - 1) / np.maximum(1, size - 1)[number] - 0.5, 0.0)
    bias = (
        courses.draw_bias[course, trip, trip_choice]
        * (1.0 - 0.35 * np.clip(going, 0.0, 2.0))
        * np.where(broken, -1.0, 1.0)
    )
    draw = bias[number] * stall_percentile
    trip_loss = -TRIP_EFFECT * np.minimum(np.abs(np.log(furlongs[number] / horses.trip_furlongs[horse])), 0.5) ** 1.5
    lead_rate = horses.style[horse]
    pressure = np.add.reduceat((lead_rate > 0.7).astype(float), first) / size
    pace = (courses.pace_bias[course] + 0.25 - pressure)[number] * (lead_rate - 0.45)
    effects = {
        "trainer_form": people.trainer_form[trainer],
        "draw": draw,
        "layoff": layoff,
        "going": going_liking,
        "trip": trip_loss,
        "pace": pace,
        "jockey": people.jockey_skill[jockey],
        "private": rng.normal(0.0, PRIVATE_SD, n),
    }
    utility = (ability_lb - weight_lb) / LB_PER_UTILITY + np.sum(list(effects.values()), axis=0)
    probability = race_softmax(utility, first, size)

    ignored = IGNORED_AT_EDGE_ONE * np.sqrt(edge)
    market_utility = utility - ignored * np.sum([effects[name] for name in PLANTED_EFFECTS], axis=0)
    market_probability = race_softmax(market_utility, first, size)
    power = np.full(len(race), FAVOURITE_LONGSHOT_POWER)
    if regime.flip_longshot_bias_from is not None:
        power[day >= (regime.flip_longshot_bias_from - date(1970, 1, 1)).days] = 1.0 / FAVOURITE_LONGSHOT_POWER
    log_market = np.log(market_probability)
    book = 1.0 + OVERROUND_PER_RUNNER * size
    sp_implied = race_softmax(power[number] * log_market, first, size) * book[number]
    opening_log = power[number] * (log_market - 0.6 * effects["private"] + rng.normal(0.0, 0.08, n))
    opening_implied = race_softmax(opening_log, first, size) * (book + 0.03)[number]

    # The result. Gumbel noise makes the order a Plackett-Luce draw, and P(first) exactly the softmax.
    performance = utility + rng.gumbel(size=n)
    order = np.lexsort((-performance, number))
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n) - first[number] + 1
    outcome = _outcomes(division[number], rank / size[number], rank, rng)
    finished = outcome == 0
    # Finishing order among finishers; non-finishers sort behind.
    final = np.lexsort((-performance, ~finished, number))
    gap = np.zeros(n)
    gap[final[1:]] = performance[final[:-1]] - performance[final[1:]]
    leads = np.zeros(n, dtype=np.bool_)
    leads[final[first]] = True
    gap[leads | ~finished] = 0.0
    tied = finished & ~leads & (gap < DEAD_HEAT_GAP)
    place_in_order = np.empty(n, dtype=np.int64)
    place_in_order[final] = np.arange(n) - first[number] + 1
    position = np.empty(n, dtype=np.int64)
    shared = np.where(tied[final], 0, place_in_order[final])
    # A tied horse takes the place of the one before it; positions rise within a race, so a running maximum carries it
    # on.
    position[final] = np.maximum.accumulate(shared + number[final] * 1000) - number[final] * 1000
    position = np.where(finished, position, 0)
    gap[tied] = 0.0

    winner_utility = performance[final[first]]
    figure = (performance - 0.5772) * LB_PER_UTILITY + weight_lb + rng.normal(0.0, 2.0, n)
    runner_columns: dict[str, NDArray[np.generic]] = {
        "horse": horse,
        "trainer": trainer.copy(),
        "owner": horses.owner[horse],
        "jockey": jockey,
        "age": age,
        "sex": horses.sex[horse],
        "rating": np.where(is_pattern[number] | is_handicap[number] | (rng.random(n) < 0.35), rating, np.nan),
        "weight_lb": weight_lb,
        "stall": stall,
        "position": position,
        "finish_order": place_in_order,
        "outcome": outcome,
        "gap": gap,
        "behind": np.where(finished, winner_utility[number] - performance, np.nan),
        "figure": np.where(finished, figure, np.nan),
        "style": lead_rate,
        "sp_implied": sp_implied,
        "opening_implied": opening_implied,
        "true_probability": probability,
        "market_probability": market_probability,
        "days_off": days_off,
        "ability_lb": at_home,
        "form_lb": form,
        "utility": utility,
        **{f"effect_{name}": value for name, value in effects.items()},
    }
    changed = rng.random(n) < 0.05
    new_code = rng.integers(0, 9, n)
    horses.headgear[horse] = np.where(changed, new_code, horses.headgear[horse])
    code = horses.headgear[horse]
    runner_columns["headgear"] = code
    first_time = (code > 0) & ((horses.headgear_worn[horse] >> code) % 2 == 0)
    runner_columns["headgear_first"] = first_time
    horses.headgear_worn[horse] |= 1 << code

    race_columns: dict[str, NDArray[np.generic]] = {
        "day": day,
        "course": course,
        "kind": kind,
        "region": courses.region[course],
        "off_minute": fixtures.off_minute[race],
        "division": division,
        "furlongs": furlongs,
        "going_index": going,
        "runners": size,
        "top_rating": top_rating,
        "mean_rating": mean_rating,
        "is_handicap": is_handicap,
        "is_pattern": is_pattern,
        "is_novice": novice_share > 0.5,
        "winning_form": winner_utility,
        "oldest": np.maximum.reduceat(age, first),
        "youngest": np.minimum.reduceat(age, first),
        "only_females": np.minimum.reduceat((horses.sex[horse] == FEMALE).astype(int), first) == 1,
    }
    _learn(horses, horse, runner_day, figure, finished, position, rng)
    return race_columns, runner_columns


OUTCOME_CODES = ("", "PU", "F", "UR", "BD", "RR", "RO", "SU", "REF", "DSQ", "CO", "LFT")
"""Index 0 is a finisher. The order is the order of frequency in the real files, roughly."""
_FAIL_RATE_BY_TRIP = np.array([0.004, 0.004, 0.004, 0.087, 0.116, 0.153, 0.202, 0.028])
_FAIL_MIX_JUMPS = np.array([0.70, 0.155, 0.10, 0.011, 0.006, 0.005, 0.004, 0.005, 0.006, 0.004, 0.004])
_FAIL_MIX_FLAT = np.array([0.40, 0.04, 0.12, 0.01, 0.13, 0.03, 0.05, 0.02, 0.15, 0.01, 0.04])


def _outcomes(division: Ints, relative_rank: Floats, rank: Ints, rng: np.random.Generator) -> Ints:
    """Who fails to finish, and how: index into `OUTCOME_CODES`. Never the winner; more often those that run badly."""
    rate = _FAIL_RATE_BY_TRIP[_TRIP_OF_DIVISION[division]]
    fails = (rank > 1) & (rng.random(len(rank)) < (rate * (0.35 + 1.6 * relative_rank**1.5)).clip(0, 0.9))
    jumps = (division >= FIRST_HURDLE) & (division < BUMPER)
    draw = rng.random(len(rank))
    kind_jumps = 1 + np.searchsorted(np.cumsum(_FAIL_MIX_JUMPS / _FAIL_MIX_JUMPS.sum()), draw).clip(0, 10)
    kind_flat = 1 + np.searchsorted(np.cumsum(_FAIL_MIX_FLAT / _FAIL_MIX_FLAT.sum()), draw).clip(0, 10)
    return np.asarray(np.where(fails, np.where(jumps, kind_jumps, kind_flat), 0))


def _learn(
    horses: Horses,
    horse: Ints,
    day: Ints,
    figure: Floats,
    finished: NDArray[np.bool_],
    position: Ints,
    rng: np.random.Generator,
) -> None:
    """After the races: counts, the handicapper's reaction, when each horse is due again, injuries."""
    n = len(horse)
    won = position == 1
    horses.runs[horse] += 1
    horses.jump_runs[horse] += horses.code[horse] == OVER_JUMPS
    horses.wins[horse] += won
    seen = np.where(finished, figure, horses.ability_lb(horse, day) - 12.0)
    horses.figure_sum[horse] += seen
    old = horses.rating[horse]
    surprise = seen - old
    change = np.where(won, 2.0 + 0.28 * np.clip(surprise, 0.0, 25.0), np.clip(0.14 * surprise, -4.0, 3.0))
    change = np.where(finished, change, -0.5)
    unrated = np.isnan(old)
    qualifies = unrated & ((horses.runs[horse] >= 3) | (won & (horses.runs[horse] >= 2)))
    opening_mark = horses.figure_sum[horse] / horses.runs[horse] + 1.0
    horses.rating[horse] = np.where(
        qualifies, np.rint(opening_mark), np.where(unrated, np.nan, np.floor(old + change + rng.random(n)))
    ).clip(20, 185)
    horses.last_run_day[horse] = day
    rest = np.rint(rng.gamma(3.0, 9.0, n)).astype(np.int64) + 4
    hurt = rng.random(n) < 0.07
    lay_up = rng.integers(80, 380, n)
    horses.due_day[horse] = day + np.where(hurt, lay_up, rest)
    horses.unfit_until_day[horse] = np.where(hurt, day + lay_up, horses.unfit_until_day[horse])
