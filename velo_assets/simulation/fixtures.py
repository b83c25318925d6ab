"""Where and when the simulated world races: courses, meetings, goings, distances, draw bias of each course.

Not here: horses, and who runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from velo_assets.simulation.names import words

GB, IRE = 0, 1
TURF, ALL_WEATHER, JUMPS = 0, 1, 2

GB_TURF = words(
    """
    Ascot Ayr Bath Beverley Brighton Carlisle Catterick Chepstow Chester Doncaster Epsom Goodwood Hamilton Haydock
    Leicester Musselburgh Newbury Newmarket Nottingham Pontefract Redcar Ripon Salisbury Sandown Thirsk Wetherby
    Windsor Yarmouth York
    """
)
GB_ALL_WEATHER = ("Chelmsford", "Kempton", "Lingfield", "Newcastle", "Southwell", "Wolverhampton")
GB_JUMPS = words(
    """
    Aintree Ascot Ayr Carlisle Cartmel Catterick Cheltenham Chepstow Doncaster Exeter Fakenham Fontwell Haydock
    Hereford Hexham Huntingdon Kelso Leicester Ludlow Musselburgh Newbury Perth Plumpton Sandown Sedgefield Stratford
    Taunton Uttoxeter Warwick Wetherby Wincanton Worcester
    """
)
IRE_TURF = words(
    """
    Cork Curragh Fairyhouse Galway Gowran Leopardstown Naas Navan Roscommon Tipperary Tramore
    """
)
IRE_ALL_WEATHER = ("Dundalk",)
IRE_JUMPS = words(
    """
    Ballinrobe Bellewstown Clonmel Cork Fairyhouse Galway Gowran Kilbeggan Killarney Leopardstown Limerick Listowel
    Naas Navan Punchestown Sligo Thurles Tipperary Tramore Wexford
    """
)

FLAT_DISTANCES = (
    (5.0, 5.5, 6.0, 7.0),
    (7.0, 7.5, 8.0, 8.5),
    (9.0, 10.0, 10.5, 12.0, 14.0, 16.0),
)
"""Furlongs by trip: sprint, mile, middle and staying."""
HURDLE_DISTANCES = ((16.0, 16.5, 17.0, 18.0), (20.0, 21.0, 23.0, 24.0, 25.0))
CHASE_DISTANCES = ((16.0, 16.5, 17.0, 19.0), (20.0, 21.5, 24.0, 25.0, 28.0))
BUMPER_DISTANCES = ((16.0, 16.5, 17.0),)


@dataclass(frozen=True)
class Courses:
    """All courses by surface; one row per (course, kind of racing).

    Attributes:
        label: as printed in the `course` column, with `(AW)` and `(IRE)`.
        place: number of the physical place; a place stages at most one meeting a day.
        region: GB or IRE. kind: TURF, ALL_WEATHER or JUMPS.
        distances: (courses, trips, 2) furlongs staged per division trip (see `world`).
        draw_bias: (courses, trips, 2) utility gained from lowest to highest stall on good ground.
        pace_bias: (courses,) utility gained by front runners over hold-up horses.
    """

    label: NDArray[np.object_]
    place: NDArray[np.int64]
    region: NDArray[np.int64]
    kind: NDArray[np.int64]
    distances: NDArray[np.float64]
    draw_bias: NDArray[np.float64]
    pace_bias: NDArray[np.float64]


DIVISION_TRIPS = (*FLAT_DISTANCES, *HURDLE_DISTANCES, *CHASE_DISTANCES, *BUMPER_DISTANCES)
"""Trip index: 0-2 flat, 3-4 hurdle, 5-6 chase, 7 bumper."""
DRAW_BIAS_SD = (0.9, 0.65, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Spread over courses of the effect of the whole width of the stalls, by trip: large in sprints, none over jumps."""


def build_courses(rng: np.random.Generator) -> Courses:
    """The courses with their trips, draw bias and pace bias."""
    rows: list[tuple[str, str, int, int]] = []
    for names, region, kind in (
        (GB_TURF, GB, TURF),
        (GB_ALL_WEATHER, GB, ALL_WEATHER),
        (GB_JUMPS, GB, JUMPS),
        (IRE_TURF, IRE, TURF),
        (IRE_ALL_WEATHER, IRE, ALL_WEATHER),
        (IRE_JUMPS, IRE, JUMPS),
    ):
        for name in names:
            marks = (" (AW)" if kind == ALL_WEATHER else "") + (" (IRE)" if region == IRE else "")
            rows.append((name + marks, f"{name}{region}", region, kind))
    places = {place: i for i, place in enumerate(dict.fromkeys(row[1] for row in rows))}
    distances = np.zeros((len(rows), len(DIVISION_TRIPS), 2))
    for trip, options in enumerate(DIVISION_TRIPS):
        keys = rng.random((len(rows), len(options)))
        distances[:, trip, :] = np.sort(np.array(options)[np.argsort(keys, axis=1)[:, :2]], axis=1)
    draw_bias = rng.normal(0.0, 1.0, distances.shape) * np.array(DRAW_BIAS_SD)[None, :, None]
    return Courses(
        label=np.array([row[0] for row in rows], dtype=object),
        place=np.array([places[row[1]] for row in rows], dtype=np.int64),
        region=np.array([row[2] for row in rows], dtype=np.int64),
        kind=np.array([row[3] for row in rows], dtype=np.int64),
        distances=distances,
        draw_bias=draw_bias,
        pace_bias=rng.normal(0.25, 0.25, len(rows)),
    )


@dataclass(frozen=True)
class Fixtures:
    """The races of one year before anyone is entered, in order of day, meeting and time.

    Attributes:
        day: (races,) days since 1970-01-01. meeting: (races,) number of the meeting within the year.
        course: (races,) row of `Courses`. off_minute: (races,) minutes after midnight.
        going_index: (races,) -2 firm to +3 heavy, 0 good or standard. planned_runners: (races,) field wanted.
    """

    day: NDArray[np.int64]
    meeting: NDArray[np.int64]
    course: NDArray[np.int64]
    off_minute: NDArray[np.int64]
    going_index: NDArray[np.float64]
    planned_runners: NDArray[np.int64]


MEETING_RACES = (6, 7, 8)
MEETINGS_ON_A_DAY = 2.0
"""Small worlds race on fewer days rather than one race at a time, so that trainers and jockeys meet as they do in
reality."""


def _kind_shares(month: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of turf, all-weather and jumps meetings by calendar month; shape (n, 3)."""
    turf = np.array([0.0, 0.0, 0.14, 0.44, 0.56, 0.62, 0.63, 0.62, 0.56, 0.44, 0.12, 0.0])[month - 1]
    all_weather = np.array([0.45, 0.44, 0.36, 0.20, 0.14, 0.14, 0.14, 0.15, 0.18, 0.22, 0.36, 0.42])[month - 1]
    return np.stack([turf, all_weather, 1.0 - turf - all_weather], axis=1)


def year_start(year: int) -> int:
    """Days from 1970-01-01 to 1 January of the year."""
    return int(np.datetime64(f"{year}-01-01", "D").astype(np.int64))


def build_fixtures(courses: Courses, *, year: int, races: int, rng: np.random.Generator) -> Fixtures:
    """Lay out a year's meetings: more on Saturdays, turf in summer, jumps in winter, never on Christmas Eve and Day.

    Args:
        courses: the places.
        year: calendar year.
        races: how many races to stage.
        rng: source of randomness.
    """
    first = year_start(year)
    all_days = np.arange(first, year_start(year + 1), dtype=np.int64)
    christmas = year_start(year) + int(
        (np.datetime64(f"{year}-12-24") - np.datetime64(f"{year}-01-01")).astype(np.int64)
    )
    all_days = all_days[(all_days != christmas) & (all_days != christmas + 1)]
    weekday = (all_days + 3) % 7
    weight = np.array([0.95, 1.0, 1.05, 1.05, 1.15, 1.5, 0.8])[weekday]

    meetings = max(1, round(races / np.mean(MEETING_RACES)))
    # Every racing day has at least two meetings; large worlds race on nearly every day.
    day_count = int(np.clip(meetings / MEETINGS_ON_A_DAY, 1, len(all_days)))
    # One racing day in each of as many equal stretches of the year, Saturdays first.
    stretch = np.arange(len(all_days)) * day_count // len(all_days)
    by_appeal = np.lexsort((-(weight + rng.random(len(all_days)) * 1.5), stretch))
    spaced = by_appeal[np.unique(stretch[by_appeal], return_index=True)[1]]
    racing_days, racing_weight = all_days[spaced], weight[spaced]
    # Spread evenly along the summed weights, so that no day is crowded by chance.
    even = (np.arange(max(0, meetings - day_count)) + 0.5) / max(1, meetings - day_count)
    extra = np.searchsorted(np.cumsum(racing_weight) / racing_weight.sum(), even).clip(0, day_count - 1)
    day = np.sort(np.concatenate([racing_days, racing_days[extra]]))[:meetings]

    month = (day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12) + 1
    shares = _kind_shares(month).cumsum(axis=1)
    course = np.full(len(day), -1, dtype=np.int64)
    unplaced = np.arange(len(day))
    for _ in range(40):
        kind = (rng.random(len(unplaced))[:, None] > shares[unplaced]).sum(axis=1).clip(0, 2)
        region = (rng.random(len(unplaced)) > 0.71).astype(np.int64)
        # Ireland has one all-weather course, and races over jumps instead.
        kind = np.where((region == IRE) & (kind == ALL_WEATHER) & (rng.random(len(unplaced)) < 0.6), JUMPS, kind)
        allowed = (courses.kind[None, :] == kind[:, None]) & (courses.region[None, :] == region[:, None])
        course[unplaced] = np.argmax(np.where(allowed, rng.random(allowed.shape), -1.0), axis=1)
        place = day * 1000 + courses.place[course]
        _, keep = np.unique(place, return_index=True)
        unplaced = np.setdiff1d(np.arange(len(day)), keep)
        if len(unplaced) == 0:
            break
    kept = np.setdiff1d(np.arange(len(day)), unplaced)
    day, course, month = day[kept], course[kept], month[kept]
    meetings = len(day)

    count = rng.choice(MEETING_RACES, size=meetings)
    difference = races - int(count.sum())
    while difference != 0 and meetings > 0:
        step = rng.permutation(meetings)[: min(abs(difference), meetings)]
        count[step] += np.sign(difference)
        difference = races - int(count.sum())
        if count.max() > 9 or count.min() < 4:
            break
    count = count.clip(1, 9)

    summer = (month >= 4) & (month <= 9)
    evening_share = np.where(courses.kind[course] == ALL_WEATHER, 0.5, np.where(summer, 0.35, 0.0))
    evening = rng.random(meetings) < evening_share
    start = np.where(
        evening, rng.integers(99, 108, meetings) * 10, np.where(summer, 810, 740) + rng.integers(0, 12, meetings) * 5
    )
    interval = np.where(evening, 30, rng.choice([30, 35], size=meetings))

    season = np.cos((day - year_start(year) - 20) / 365.25 * 2 * np.pi)
    turf_going = 0.9 * season + 0.25 + rng.normal(0.0, 0.8, meetings)
    going = np.where(courses.kind[course] == ALL_WEATHER, rng.normal(0.2, 0.35, meetings), turf_going.clip(-2.0, 3.0))

    meeting = np.repeat(np.arange(meetings, dtype=np.int64), count)
    number = np.arange(len(meeting)) - np.repeat(np.cumsum(count) - count, count)
    runners = np.rint(rng.gamma(9.0, 1.0, len(meeting)) + 0.05).astype(np.int64).clip(3, 20)
    return Fixtures(
        day=day[meeting],
        meeting=meeting,
        course=course[meeting],
        off_minute=start[meeting] + number * interval[meeting],
        going_index=np.asarray(np.round(going[meeting], 3), dtype=np.float64),
        planned_runners=runners,
    )


def going_text(
    going_index: NDArray[np.float64], region: NDArray[np.int64], kind: NDArray[np.int64]
) -> NDArray[np.object_]:
    """The official going in the words of each country."""
    british = np.array(["Firm", "Good To Firm", "Good", "Good To Soft", "Soft", "Heavy"], dtype=object)
    irish = np.array(["Firm", "Good To Firm", "Good", "Good To Yielding", "Yielding", "Soft", "Heavy"], dtype=object)
    artificial = np.array(["Fast", "Standard", "Standard To Slow", "Slow"], dtype=object)
    british_text = british[np.searchsorted([-1.4, -0.35, 0.4, 1.05, 2.0], going_index)]
    irish_text = irish[np.searchsorted([-1.4, -0.35, 0.35, 0.8, 1.4, 2.1], going_index)]
    artificial_text = artificial[np.searchsorted([-0.6, 0.45, 0.95], going_index)]
    return np.asarray(
        np.where(kind == ALL_WEATHER, artificial_text, np.where(region == IRE, irish_text, british_text)), dtype=object
    )
