"""Turn a simulated season into rows of the 37-column raceform layout, with the quirks of the real files.

Not here: what happened (`season`). The text forms follow the profile in the raceform contract.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.ingestion.layouts import RACEFORM_COLUMNS
from velo_assets.racing.clock import CLOCK_24_HOURS_FROM
from velo_assets.racing.distances import distance_text
from velo_assets.racing.weights import weight_text
from velo_assets.simulation import names
from velo_assets.simulation.comments import write_comments
from velo_assets.simulation.fixtures import ALL_WEATHER, IRE, JUMPS, Courses, going_text
from velo_assets.simulation.population import FEMALE, GELDING, RIG, Floats, Horses, Ints, People
from velo_assets.simulation.prices import LADDER, ODD_FORMS, favourite_marks, nearest_price
from velo_assets.simulation.season import (
    BUMPER,
    FIRST_CHASE,
    FIRST_HURDLE,
    LB_PER_UTILITY,
    OUTCOME_CODES,
    Season,
)

HEADGEAR = ("", "p", "b", "t", "h", "v", "tp", "e/s", "ht")
RACE_TYPES = ("Flat", "Hurdle", "Chase", "NH Flat")
NO_SP_RATE, WINNER_SP_ONLY_RATE, BLANK_SP_RATE = 0.0037, 0.00065, 0.001
REUSED_RACE_ID_RATE = 0.0011
ODD_SP_FORM_RATE = 0.35
"""Share of the prices that have an unreduced form which are written so; about 4% of all rows."""
EN_DASH = "–"


def _table(values: list[str], index: NDArray[np.generic]) -> pl.Series:
    """Strings by index into a table."""
    return pl.Series(values, dtype=pl.String).gather(pl.Series(np.asarray(index, dtype=np.int64)))


def _decimal_texts(count: int, step: float) -> list[str]:
    """Texts of 0, step, 2 step, ... without trailing zeros."""
    return [f"{i * step:.2f}".rstrip("0").rstrip(".") for i in range(count)]


def margin_lengths(gap: Floats, furlongs: Floats, over_jumps: NDArray[np.bool_]) -> Floats:
    """Beaten distance in lengths from a gap in utility, rounded to what judges call (nose .05 up to whole lengths).

    Args:
        gap: (n,) utility behind the horse in front, 0 for winners and dead heats.
        furlongs: (n,) distance of the race. over_jumps: (n,).
    """
    lb_per_length = np.where(over_jumps, 1.15, np.clip(18.0 / furlongs, 1.1, 3.4))
    lengths = gap * LB_PER_UTILITY / lb_per_length
    called = np.select(
        [lengths < 0.075, lengths < 0.15, lengths < 0.25, lengths < 0.4, lengths < 5, lengths < 10],
        [0.05, 0.1, 0.2, 0.3, np.maximum(0.5, np.rint(lengths * 4) / 4), np.rint(lengths * 2) / 2],
        np.rint(lengths),
    )
    return np.asarray(np.where(gap <= 0, 0.0, np.minimum(called, 60.0)))


def _race_names(race: dict[str, NDArray[np.generic]], kind: Ints, rng: np.random.Generator) -> list[str]:
    """Titles of races: sponsor, then what the race is."""
    n = len(kind)
    sponsor = np.array(names.SPONSORS, dtype=object)[rng.integers(0, len(names.SPONSORS), n)]
    handicap, novice, pattern = (race[name].astype(np.bool_) for name in ("is_handicap", "is_novice", "is_pattern"))
    irish = race["region"] == IRE
    own_sex = np.where(
        race["only_females"], np.where(race["youngest"].astype(np.int64) >= 5, "Mares ", "Fillies "), ""
    ).astype(object)
    noun = np.array([" Stakes", " Hurdle", " Chase", " NH Flat Race"], dtype=object)[kind]
    maiden = np.where(rng.random(n) < 0.5, "Maiden", "Novice").astype(object) + noun
    maiden = np.where((kind == 2), np.where(irish, "Beginners Chase", "Novices Chase"), maiden)
    maiden = np.where(kind == 3, np.where(irish, "INH Flat Race", "Standard Open NH Flat Race"), maiden)
    handicaps = np.where(kind == 0, "Handicap", "Handicap" + noun)
    plain = np.where(kind == 0, "Conditions Stakes", "Conditions" + noun)
    grade = race["pattern_text"].astype(object)
    top = np.where(grade == "", plain, "Cup" + noun)
    title = np.select([handicap, pattern, novice | (kind == 3)], [handicaps, top, maiden], plain)
    return [f"{s} {x}{t}" for s, x, t in zip(sponsor, own_sex, title, strict=True)]


def _texts(values: NDArray[np.generic]) -> pl.Series:
    return pl.Series(values.astype(object).tolist(), dtype=pl.String)


def season_frames(
    season: Season,
    horses: Horses,
    people: People,
    courses: Courses,
    *,
    year: int,
    trainer_names: NDArray[np.object_],
    jockey_names: NDArray[np.object_],
    owner_names: NDArray[np.object_],
    sire_names: NDArray[np.object_],
    drop_column_from: tuple[str, int] | None,
    rng: np.random.Generator,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The raceform rows and the truth of a season, both one row per runner.

    Args:
        season: numbers of the season.
        horses, people, courses: the world.
        year: calendar year; the base of race ids.
        trainer_names, jockey_names, owner_names, sire_names: labels by row number.
        drop_column_from: column and first day (days since 1970-01-01) from which it is blank.
        rng: source of randomness for the quirks.

    Returns:
        (37-column text frame ordered by date, and truth frame with the same races and horses in race order).
    """
    race, run, first = season.race, season.runner, season.first
    size = race["runners"].astype(np.int64)
    races, n = len(size), int(size.sum())
    number = np.repeat(np.arange(races), size)
    kind = race["kind"].astype(np.int64)
    division = race["division"].astype(np.int64)
    type_index = np.select([division == BUMPER, division >= FIRST_CHASE, division >= FIRST_HURDLE], [3, 2, 1], 0)
    jumps_race = kind == JUMPS
    over_jumps = jumps_race[number]
    region = race["region"].astype(np.int64)
    horse = run["horse"].astype(np.int64)
    position = run["position"].astype(np.int64)
    outcome = run["outcome"].astype(np.int64)
    finished = outcome == 0
    furlongs = race["furlongs"].astype(np.float64)
    day = race["day"].astype(np.int64)

    _describe_races(race, type_index, region)
    race["pattern_text"] = _pattern(race, jumps_race, rng)
    date_text = pl.Series(np.datetime_as_string(day.astype("datetime64[D]")).tolist(), dtype=pl.String)
    off_text = _off_texts(day, race["off_minute"].astype(np.int64))
    race_id = year * 100_000 + np.arange(races)
    again = np.flatnonzero(rng.random(races) < REUSED_RACE_ID_RATE)
    if races > 20:
        again = np.union1d(again, rng.integers(races // 2, races, 1))
    race_id[again] = race_id[(again * rng.random(len(again)) * 0.9).astype(np.int64)]

    price = nearest_price(run["sp_implied"].astype(np.float64))
    opening = nearest_price(run["opening_implied"].astype(np.float64))
    sp = _sp_texts(price, first, size, number, position == 1, rng)
    touched = (
        np.where(opening < price, opening - 1, opening + 1) + np.where(rng.random(n) < 0.5, 0, price - opening)
    ).clip(0, len(LADDER) - 1)
    comment = write_comments(
        style=run["style"].astype(np.float64),
        race=number,
        first=first,
        size=size,
        position=position,
        outcome=outcome,
        behind=run["behind"].astype(np.float64),
        over_jumps=over_jumps,
        sex=run["sex"].astype(np.int64),
        opening_differs=opening != price,
        opening_text=_table(LADDER, opening),
        touched_text=_table(LADDER, touched),
        rng=rng,
    )

    # Margins add up in finishing order; dead heats add nothing.
    margin = margin_lengths(run["gap"].astype(np.float64), furlongs[number], over_jumps)
    final = first[number] + run["finish_order"].astype(np.int64) - 1
    by_finish = np.empty(n, dtype=np.int64)
    by_finish[final] = np.arange(n)
    running = np.cumsum(margin[by_finish])
    running = running - np.repeat(running[first] - margin[by_finish][first], size)
    beaten = np.empty(n)
    beaten[by_finish] = running

    seconds = _times(race, furlongs, jumps_race, rng)[number] + beaten * np.where(over_jumps, 0.25, 0.2)
    hundredths = np.rint(seconds * 100).astype(np.int64)
    no_time = ~finished | (rng.random(races) < 0.004)[number]
    whole = [f"{s // 60}:{s % 60}." for s in range(int(hundredths.max()) // 100 + 1)]
    time = pl.DataFrame(
        {"a": _table(whole, hundredths // 100), "b": _table([f"{i:02d}" for i in range(100)], hundredths % 100)}
    )
    time_text = time.select(pl.concat_str("a", "b").alias("t")).to_series()

    figure = run["figure"].astype(np.float64)
    shown_figure = np.rint(figure)
    no_figure = ~finished | (np.nan_to_num(figure) < 1) | (rng.random(n) < 0.03)
    speed = np.rint(figure - np.abs(rng.normal(0.0, 10.0, races))[number] - np.abs(rng.normal(4.0, 4.0, n)))
    no_speed = no_figure | (np.nan_to_num(speed) < 1) | (rng.random(races) < 0.12)[number]
    whole_numbers = [str(i) for i in range(1000)]
    rating = run["rating"].astype(np.float64)

    lengths_texts = _decimal_texts(int(np.ceil(beaten.max() / 0.05)) + 2, 0.05)
    dash = ~finished
    saddle = _saddle_numbers(run["weight_lb"].astype(np.int64), number, first, size, rng)
    sex_letter = np.select(
        [run["sex"] == FEMALE, run["sex"] == GELDING, run["sex"] == RIG],
        [np.where(run["age"].astype(np.int64) >= 5, 4, 1), 2, 5],
        np.where(run["age"].astype(np.int64) >= 5, 3, 0),
    )
    suffix = np.array([f" ({c})" for c in names.COUNTRY_SUFFIXES], dtype=object)
    who, back = np.unique(horse, return_inverse=True)
    horse_names = _texts(names.two_word_names(horses.name[who]) + suffix[horses.country[who]])
    dams = _texts(names.dam_names(horses.dam[who], horses.dam_country[who]))
    sires = _texts(sire_names[horses.sire[who]])
    damsires = _texts(np.array([s.rsplit(" (", 1)[0] for s in sire_names], dtype=object)[horses.damsire[who]])
    back_series = pl.Series(back.astype(np.int64))
    weights = [weight_text(lb) for lb in range(400)]
    headgear_index = run["headgear"].astype(np.int64) * 2 + run["headgear_first"].astype(np.int64)
    headgears = [code + mark if code else "" for code in HEADGEAR for mark in ("", "1")]
    ran = size + (rng.random(races) < 3e-5)

    def per_race(series: pl.Series) -> pl.Series:
        return series.gather(pl.Series(number))

    frame = pl.DataFrame(
        {
            "date": per_race(date_text),
            "course": per_race(_texts(courses.label[race["course"].astype(np.int64)])),
            "race_id": per_race(pl.Series(race_id).cast(pl.String)),
            "off": per_race(off_text),
            "race_name": per_race(pl.Series(_race_names(race, type_index, rng), dtype=pl.String)),
            "type": per_race(_table(list(RACE_TYPES), type_index)),
            "class": per_race(_texts(race["class_text"])),
            "pattern": per_race(_texts(race["pattern_text"])),
            "rating_band": per_race(_texts(race["band_text"])),
            "age_band": per_race(_texts(race["age_text"])),
            "sex_rest": per_race(_texts(race["sex_text"])),
            "dist": per_race(pl.Series([distance_text(round(2 * f)) for f in furlongs.tolist()], dtype=pl.String)),
            "going": per_race(_texts(going_text(race["going_index"].astype(np.float64), region, kind))),
            "ran": per_race(pl.Series(ran).cast(pl.String)),
            "num": _table(["", *(f"{i}.0" for i in range(60))], saddle + 1),
            "pos": _table(
                [*(str(i) for i in range(60)), *OUTCOME_CODES[1:]], np.where(finished, position, 59 + outcome)
            ),
            "draw": _table(["", *(f"{i}.0" for i in range(1, 60))], run["stall"].astype(np.int64)),
            "ovr_btn": _table([*lengths_texts, "-"], np.where(dash, len(lengths_texts), np.rint(beaten / 0.05))),
            "btn": _table([*lengths_texts, "-"], np.where(dash, len(lengths_texts), np.rint(margin / 0.05))),
            "horse": horse_names.gather(back_series),
            "age": _table([str(i) for i in range(40)], run["age"]),
            "sex": _table(["C", "F", "G", "H", "M", "R"], sex_letter),
            "wgt": _table(weights, run["weight_lb"]),
            "hg": _table(headgears, headgear_index),
            "time": pl.select(pl.when(pl.Series(no_time)).then(pl.lit("-")).otherwise(time_text)).to_series(),
            "sp": sp,
            "jockey": _texts(jockey_names).gather(pl.Series(run["jockey"].astype(np.int64))),
            "trainer": _texts(trainer_names).gather(pl.Series(run["trainer"].astype(np.int64))),
            "prize": _prizes(race, number, position, jumps_race, rng),
            "or": _table(
                [*whole_numbers, EN_DASH], np.where(np.isnan(rating), 1000, np.nan_to_num(rating).clip(0, 999))
            ),
            "rpr": _table(
                [*whole_numbers, EN_DASH], np.where(no_figure, 1000, np.nan_to_num(shown_figure).clip(0, 999))
            ),
            "ts": _table([*whole_numbers, EN_DASH], np.where(no_speed, 1000, np.nan_to_num(speed).clip(0, 999))),
            "sire": sires.gather(back_series),
            "dam": dams.gather(back_series),
            "damsire": damsires.gather(back_series),
            "owner": _texts(owner_names).gather(pl.Series(run["owner"].astype(np.int64))),
            "comment": comment,
        }
    ).select(RACEFORM_COLUMNS)
    truth = _truth(season, number, frame)
    # Real files are in date order, with the runners of a course in no order at all.
    meeting_key = day[number] * 1000 + race["course"].astype(np.int64)[number]
    order = np.lexsort((rng.random(n), meeting_key))
    frame = frame[order]
    if drop_column_from is not None:
        column, from_day = drop_column_from
        gone = pl.Series((day[number] >= from_day)[order])
        frame = frame.with_columns(pl.when(gone).then(pl.lit("")).otherwise(pl.col(column)).alias(column))
    return frame, truth


def _describe_races(race: dict[str, NDArray[np.generic]], type_index: Ints, region: Ints) -> None:
    """Add class, rating band, age band and sex restriction, read off the field the way conditions would admit it."""
    jumps = type_index > 0
    top = race["top_rating"].astype(np.float64)
    ceiling = np.where(
        np.isfinite(top), np.ceil(np.maximum(np.where(np.isfinite(top), top, 0.0), 45.0) / 5.0) * 5.0, 0.0
    )
    handicap = race["is_handicap"].astype(bool)
    lowest = np.maximum(np.where(jumps, 60, 40), ceiling - 25)
    british = np.array([f"0-{int(c)}" for c in ceiling], dtype=object)
    irish = np.array([f"{int(low)}-{int(c)}" for low, c in zip(lowest, ceiling, strict=True)], dtype=object)
    race["band_text"] = np.where(handicap, np.where(region == IRE, irish, british), "").astype(object)
    level = np.where(handicap, ceiling, np.where(race["is_novice"], np.where(jumps, 110, 72), np.where(jumps, 125, 88)))
    number = np.where(
        jumps, 5 - np.searchsorted([100, 120, 135, 150], level), 6 - np.searchsorted([60.5, 75.5, 85.5, 95.5], level)
    )
    number = np.where(race["is_pattern"], 1, number)
    class_text = np.array([f"Class {c}" for c in range(10)], dtype=object)[number]
    race["class_text"] = np.where(region == IRE, "", class_text).astype(object)
    race["class_number"] = number
    youngest, oldest = race["youngest"].astype(np.int64), race["oldest"].astype(np.int64)
    open_ended = np.array([f"{a}yo+" for a in range(40)], dtype=object)[youngest.clip(0, 5)]
    single = np.array([f"{a}yo" for a in range(40)], dtype=object)[oldest]
    # A bumper is for young horses; fields of a single age above three are chance, not a condition.
    race["age_text"] = np.where(
        (youngest == oldest) & (oldest <= 3),
        single,
        np.where(type_index == 3, np.where(oldest <= 6, "4-6yo", open_ended), open_ended),
    )
    race["sex_text"] = np.where(
        race["only_females"], np.where(oldest >= 5, np.where(youngest >= 5, "M", "F & M"), "F"), ""
    ).astype(object)


def _pattern(
    race: dict[str, NDArray[np.generic]], jumps: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.object_]:
    """Group and grade of the best races, by mean rating."""
    mean = race["mean_rating"].astype(np.float64) - np.where(jumps, 40.0, 0.0)
    level = np.searchsorted([90.0, 94.0, 98.0], mean + rng.normal(0.0, 2.0, len(mean)))
    flat = np.array(["Listed", "Group 3", "Group 2", "Group 1"], dtype=object)[level]
    obstacle = np.array(["Listed", "Grade 3", "Grade 2", "Grade 1"], dtype=object)[level]
    return np.asarray(np.where(race["is_pattern"], np.where(jumps, obstacle, flat), ""), dtype=object)


def _off_texts(day: Ints, minute: Ints) -> pl.Series:
    """Off times: a 12-hour clock without AM or PM, and a 24-hour clock from `CLOCK_24_HOURS_FROM`."""
    switch = int(np.datetime64(CLOCK_24_HOURS_FROM).astype(np.int64))
    twelve = [f"{(m // 60 - 1) % 12 + 1}:{m % 60:02d}" for m in range(1440)]
    full = [f"{m // 60:02d}:{m % 60:02d}" for m in range(1440)]
    return _table([*twelve, *full], minute + np.where(day >= switch, 1440, 0))


def _sp_texts(
    price: Ints, first: Ints, size: Ints, race: Ints, won: NDArray[np.bool_], rng: np.random.Generator
) -> pl.Series:
    """SP as text with favourite marks, odd forms and gaps."""
    n, races = len(price), len(first)
    evens = LADDER.index("Evens")
    variants = [*LADDER, *(ODD_FORMS.get(text, text) for text in LADDER)]
    index = price + np.where(rng.random(n) < ODD_SP_FORM_RATE, len(LADDER), 0)
    variants[len(LADDER) + evens] = "Evs"
    marks = favourite_marks(price, first, size)
    mark_index = np.select([marks == "F", marks == "J", marks == "C"], [1, 2, 3], 0)
    gap_kind = rng.random(races)
    no_price = (gap_kind < NO_SP_RATE)[race]
    winner_only = ((gap_kind >= NO_SP_RATE) & (gap_kind < NO_SP_RATE + WINNER_SP_ONLY_RATE))[race]
    blank = no_price | (winner_only & ~won) | (rng.random(n) < BLANK_SP_RATE)
    table = [text + mark for mark in ("", "F", "J", "C") for text in variants]
    return _table([*table, ""], np.where(blank, len(table), mark_index * len(variants) + index))


def _saddle_numbers(weight_lb: Ints, race: Ints, first: Ints, size: Ints, rng: np.random.Generator) -> Ints:
    """Racecard numbers by weight; -1 for a blank, 0 where the file says 0."""
    n = len(weight_lb)
    order = np.lexsort((rng.random(n), -weight_lb, race))
    number = np.empty(n, dtype=np.int64)
    number[order] = np.arange(n) - np.repeat(first, size) + 1
    odd = rng.random(n)
    return np.asarray(np.where(odd < 0.008, -1, np.where(odd < 0.010, 0, number)))


def _times(
    race: dict[str, NDArray[np.generic]], furlongs: Floats, jumps: NDArray[np.bool_], rng: np.random.Generator
) -> Floats:
    """Winning times in seconds: pace by distance and obstacle, slower on soft ground, faster for better winners."""
    pace = np.where(jumps, 14.6 + 0.02 * (furlongs - 16.0), 11.75 + 0.085 * (furlongs - 5.0))
    soft = 1.0 + np.where(race["kind"] == ALL_WEATHER, 0.004, 0.018) * race["going_index"].astype(np.float64)
    quality = np.clip((race["mean_rating"].astype(np.float64) - np.where(jumps, 110.0, 70.0)) / 30.0, -1.5, 1.5)
    return np.asarray(furlongs * pace * soft * (1.0 - 0.008 * quality) * (1.0 + rng.normal(0.0, 0.006, len(furlongs))))


PRIZE_SHARES = (0.0, 0.61, 0.18, 0.09, 0.045, 0.022, 0.011)


def _prizes(
    race: dict[str, NDArray[np.generic]],
    number: Ints,
    position: Ints,
    jumps: NDArray[np.bool_],
    rng: np.random.Generator,
) -> pl.Series:
    """Money won: blank behind the places, a plain number in Britain, `€8,280` in some Irish races."""
    purse = np.array([0, 42000, 19000, 11500, 7600, 5600, 4300])[
        race["class_number"].astype(np.int64).clip(1, 6)
    ] * np.exp(rng.normal(0.0, 0.12, len(jumps)))
    won = purse[number] * np.array([*PRIZE_SHARES, *([0.0] * 60)])[position.clip(0, 60)]
    euro = ((race["region"] == IRE) & (rng.random(len(jumps)) < 0.3))[number]
    frame = pl.DataFrame({"won": np.round(won, 2), "euro": euro, "whole": np.rint(won).astype(np.int64)})
    thousands = pl.when(pl.col("whole") >= 1000).then(
        pl.concat_str(
            pl.lit("€"), pl.col("whole") // 1000, pl.lit(","), (pl.col("whole") % 1000).cast(pl.String).str.zfill(3)
        )
    )
    return frame.select(
        pl.when(pl.col("won") <= 0)
        .then(pl.lit(""))
        .when(pl.col("euro"))
        .then(thousands.otherwise(pl.concat_str(pl.lit("€"), pl.col("whole"))))
        .otherwise(pl.col("won").cast(pl.String).str.strip_suffix(".0"))
        .alias("prize")
    ).to_series()


def _truth(season: Season, number: Ints, frame: pl.DataFrame) -> pl.DataFrame:
    """What really held: true and market probability, latent values and planted effects, with the keys of the text
    rows."""
    run = season.runner
    planted = [name for name in run if name.startswith("effect_")]
    return frame.select(
        pl.col("date").str.to_date().alias("race_date"), "course", "off", "horse", pl.Series("race_number", number)
    ).with_columns(
        [
            pl.Series("true_win_probability", run["true_probability"]),
            pl.Series("market_win_probability", run["market_probability"]),
            pl.Series("won", (run["position"] == 1).astype(np.int64)),
            pl.Series("horse_number", run["horse"]),
            pl.Series("trainer_number", run["trainer"]),
            pl.Series("jockey_number", run["jockey"]),
            pl.Series("horse_ability_lb", run["ability_lb"]),
            pl.Series("horse_form_lb", run["form_lb"]),
            pl.Series("running_style", run["style"]),
            pl.Series("utility", run["utility"]),
            *(pl.Series(name, run[name]) for name in planted),
        ]
    )
