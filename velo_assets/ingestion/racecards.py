"""Racecards: JSON `{region: {course: {off: {race fields, runners: [...]}}}}` to one row per runner.

Belongs here: reading a file into landing.racecards, names written as the results write them but for GB, which is left
out. Does not belong here: keys and typed racing terms (core/races.sql and core/entries.sql), writing cards
(velo_assets/simulation/cards.py).

A card's `rpr` and `ts` are master ratings published before the race, another quantity than the result's: they land as
`card_rating` and `card_speed_rating`. Non-runners land too, flagged, so that a withdrawal is a fact.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from velo_assets.ingestion.parsed import LayoutError, ParsedFile, Reject, rejects_frame

REASONS = {
    "broken_date": "the race date is not a calendar date written YYYY-MM-DD",
    "missing_course": "no course",
    "missing_horse": "no horse",
    "broken_race": "the race is not an object with a list of runners",
    "broken_runner": "the runner is not an object",
    "duplicate_runner": "the same horse twice in one race; the first is kept",
}
"""Reason codes of rejects."""

_NOBODY = ("non-runner", "non runner")
"""What a card writes for the jockey of a withdrawn horse."""

MAX_FILE_BYTES = 1 << 28
"""A day's card is about 2 MB; a quarter of a gigabyte of JSON is no card and would not fit in memory once parsed."""

_RACE: dict[str, tuple[str, pl.DataType]] = {
    "course_id": ("course_id", pl.String()),
    "course_detail": ("course_detail", pl.String()),
    "race_id": ("race_id", pl.String()),
    "race_name": ("race_name", pl.String()),
    "race_type": ("race_type", pl.String()),
    "race_class": ("race_class", pl.Int32()),
    "pattern": ("pattern", pl.String()),
    "rating_band": ("rating_band", pl.String()),
    "age_band": ("age_band", pl.String()),
    "sex_restriction": ("sex_restriction", pl.String()),
    "distance_text": ("distance_round", pl.String()),
    "distance_exact_text": ("distance", pl.String()),
    "distance_furlongs": ("distance_f", pl.Float64()),
    "distance_yards": ("distance_y", pl.Int32()),
    "going": ("going", pl.String()),
    "surface": ("surface", pl.String()),
    "is_handicap": ("handicap", pl.Boolean()),
    "prize_text": ("prize", pl.String()),
    "declared_runners": ("field_size", pl.Int32()),
}
_RUNNER: dict[str, tuple[str, pl.DataType]] = {
    "saddle_number": ("number", pl.Int32()),
    "stall": ("draw", pl.Int32()),
    "horse_name": ("name", pl.String()),
    "horse_region": ("region", pl.String()),
    "horse_id": ("horse_id", pl.String()),
    "foaling_date": ("dob", pl.Date()),
    "age_years": ("age", pl.Int32()),
    "sex": ("sex_code", pl.String()),
    "weight_lb": ("lbs", pl.Int32()),
    "headgear": ("headgear", pl.String()),
    "headgear_first_time": ("headgear_first", pl.Boolean()),
    "jockey": ("jockey", pl.String()),
    "jockey_allowance_lb": ("jockey_allowance", pl.Int32()),
    "trainer": ("trainer", pl.String()),
    "owner": ("owner", pl.String()),
    "official_rating": ("ofr", pl.Int32()),
    "card_rating": ("rpr", pl.Int32()),
    "card_speed_rating": ("ts", pl.Int32()),
    "damsire": ("damsire", pl.String()),
    "form_text": ("form", pl.String()),
    "last_run_days": ("last_run", pl.Int32()),
    "wind_surgery_first": ("wind_surgery_first", pl.Boolean()),
    "wind_surgery_second": ("wind_surgery_second", pl.Boolean()),
    "gelding_first_time": ("gelding_first_time", pl.Boolean()),
    "reserve": ("reserve", pl.Boolean()),
    "preview": ("comment", pl.String()),
    "spotlight": ("spotlight", pl.String()),
}
"""Our column to (the card's field, type)."""

RACECARDS_SCHEMA: dict[str, pl.DataType] = {
    "race_date": pl.Date(),
    "region": pl.String(),
    "course": pl.String(),
    "off_text": pl.String(),
    **{name: kind for name, (_, kind) in _RACE.items()},
    "horse": pl.String(),
    **{name: kind for name, (_, kind) in _RUNNER.items()},
    "sire": pl.String(),
    "dam": pl.String(),
    "non_runner": pl.Boolean(),
}
"""Columns of landing.racecards."""


def read_racecards(path: Path) -> ParsedFile:
    """Read one file of racecards, .json or .json.gz.

    A field that is absent, blank or of another kind than its column is null, and so is a rating, stall or distance of
    0: the cards write 0 for none.

    Returns:
        One row per runner, columns of `RACECARDS_SCHEMA`. `horse`, `sire` and `dam` carry the country as the results
        write it (`Getaway (GER)`), except that GB is left out.

    Raises:
        LayoutError: not JSON (with line and column), not nested as a card is, cut short, or too large.
    """
    rejects: list[Reject] = []
    rows = [row for place, race in _races(path, _load(path)) for row in _race_rows(place, race, rejects)]
    frame = pl.DataFrame(rows, schema=RACECARDS_SCHEMA, orient="row")
    return ParsedFile(frame, rejects_frame(rejects), "racecards")


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as handle:
            packed = handle.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as source:
            data = source.read(MAX_FILE_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise LayoutError(
            path, f"the gzip file is damaged or cut short ({error}); copy it again, nothing of it has landed."
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise LayoutError(path, f"over {MAX_FILE_BYTES >> 20} MB of JSON; a card holds one day or a few.")
    if not data.strip():
        raise LayoutError(path, "the file is empty.")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise LayoutError(path, f"not UTF-8 text (byte {error.start}).") from error
    except json.JSONDecodeError as error:
        raise LayoutError(
            path, f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}; nothing of it has landed."
        ) from error
    except ValueError as error:
        raise LayoutError(path, "JSON with a number of thousands of digits; no card has one.") from error
    except RecursionError as error:
        raise LayoutError(path, "JSON nested far deeper than a card.") from error


def _races(path: Path, cards: Any) -> Iterator[tuple[tuple[str, str, str], Any]]:
    """Each race with its (region, course, off)."""
    wanted = "expected {region: {course: {off: race}}}"
    if not isinstance(cards, dict):
        raise LayoutError(path, f"{wanted}; the file holds a {type(cards).__name__}.")
    for region, courses in cards.items():
        if not isinstance(courses, dict):
            raise LayoutError(path, f"{wanted}; region {region!r} holds a {type(courses).__name__}.")
        for course, races in courses.items():
            if not isinstance(races, dict):
                raise LayoutError(path, f"{wanted}; course {course!r} holds a {type(races).__name__}.")
            for off, race in races.items():
                yield (region, course, off), race


def _race_rows(place: tuple[str, str, str], race: Any, rejects: list[Reject]) -> Iterator[dict[str, Any]]:
    region, course, off = place
    label = " / ".join(place)
    if not isinstance(race, dict) or not isinstance(race.get("runners"), list):
        rejects.append(_reject("broken_race", label, race))
        return
    race_date = _date(race.get("date"))
    race_course = _text(race.get("course")) or _text(course)
    if race_date is None or race_course is None:
        rejects.append(_reject("missing_course" if race_date else "broken_date", label, race.get("date")))
        return
    shared = {
        "race_date": race_date,
        "region": _text(race.get("region")) or _text(region),
        "course": race_course,
        "off_text": _text(race.get("off_time")) or _text(off),
        **{name: _value(race.get(source), kind) for name, (source, kind) in _RACE.items()},
    }
    seen: set[str] = set()
    for runner in race["runners"]:
        horse = _named(runner, "name", "region") if isinstance(runner, dict) else None
        if not isinstance(runner, dict):
            rejects.append(_reject("broken_runner", label, runner))
        elif horse is None:
            rejects.append(_reject("missing_horse", label, runner))
        elif horse in seen:
            rejects.append(_reject("duplicate_runner", label, horse))
        else:
            seen.add(horse)
            yield {
                **shared,
                "horse": horse,
                **{name: _value(runner.get(source), kind) for name, (source, kind) in _RUNNER.items()},
                "sire": _named(runner, "sire", "sire_region"),
                "dam": _named(runner, "dam", "dam_region"),
                **_withdrawal(runner),
            }


def _withdrawal(runner: dict[str, Any]) -> dict[str, Any]:
    """Whether a runner is withdrawn, and nobody to ride it then; some cards say so in the jockey's place alone."""
    jockey = _text(runner.get("jockey"))
    unridden = jockey is not None and jockey.casefold() in _NOBODY
    flagged = _value(runner.get("non_runner"), pl.Boolean()) or False
    return {"jockey": None if unridden else jockey, "non_runner": flagged or unridden}


def _reject(reason: str, label: str, value: object) -> Reject:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return {"line_number": None, "raw_text": text, "reason": reason, "detail": label}


def _named(runner: dict[str, Any], name: str, region: str) -> str | None:
    """A horse as the results write it: the country in brackets unless it is GB or already there."""
    bare, country = _text(runner.get(name)), _text(runner.get(region))
    if bare is None or country in (None, "GB") or bare.endswith(")"):
        return bare
    return f"{bare} ({country})"


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    # JSON can name half a surrogate pair, which no UTF-8 column can hold.
    return str(value).encode("utf-8", "replace").decode().strip() or None


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _value(value: object, kind: pl.DataType) -> object:
    if isinstance(kind, pl.String):
        return _text(value)
    if isinstance(kind, pl.Date):
        return _date(value)
    if isinstance(kind, pl.Boolean):
        return value if isinstance(value, bool) else None
    number = _number(value)
    if isinstance(kind, pl.Float64):
        return number if number is not None and number > 0 else None
    return int(number) if number is not None and number.is_integer() and 0 < number < 1_000_000 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
