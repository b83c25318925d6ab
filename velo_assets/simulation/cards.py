"""Racecards made from the entries of a past day, for replaying it as if it were still to come.

Only what was known before the off is copied; result columns (position, margins, time, SP, prize, rpr, ts, comment)
never are. Works on any rows of the 37-column layout, simulated or real.
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from velo_assets.racing.clock import CLOCK_24_HOURS_FROM
from velo_assets.simulation.names import words

_SUFFIX = re.compile(r"^(?P<name>.*?) (?:\((?P<marked>[A-Z]{2,3})\)|(?P<plain>GB))$")
_DISTANCE = re.compile(r"^(?:(?P<miles>\d+)m)?(?:(?P<whole>\d+)?(?P<half>½)?f)?$")
_HEADGEAR = re.compile(r"^(?P<codes>.*?)(?P<first>1?)$")
ENTRY_COLUMNS = words(
    """
    date course race_id off race_name type class pattern rating_band age_band dist going num draw horse age sex wgt hg
    jockey trainer or sire dam damsire owner
    """
)
"""The raceform columns a card is made of."""


def split_country(label: str) -> tuple[str, str | None]:
    """`Abir GB` -> (`Abir`, `GB`), `Noverre (USA)` -> (`Noverre`, `USA`); without a country the label stays whole."""
    found = _SUFFIX.match(label.strip())
    if found is None:
        return label.strip(), None
    return found["name"], found["marked"] or found["plain"]


def off_time_24(off: str, day: date) -> str:
    """Off time `HH:MM` on a 24-hour clock; before the files' switch, 1:00 to 10:59 is afternoon or evening."""
    hour_text, _, minute = off.strip().partition(":")
    hour = int(hour_text)
    if day < date.fromisoformat(CLOCK_24_HOURS_FROM) and 1 <= hour <= 10:
        hour += 12
    return f"{hour:02d}:{minute}"


def furlongs_of(distance: str) -> float | None:
    """Furlongs implied by `1m2½f`; None for a text in another form."""
    found = _DISTANCE.match(distance.strip())
    if not distance.strip() or found is None:
        return None
    return 8.0 * int(found["miles"] or 0) + int(found["whole"] or 0) + (0.5 if found["half"] else 0.0)


def _whole(text: str | None) -> int | None:
    """A whole number written `6.0`, `72` or `–`; None when it is missing or 0."""
    try:
        number = int(float(text or ""))
    except ValueError:
        return None
    return number or None


def _pounds(weight: str) -> int | None:
    stones, dash, pounds = weight.partition("-")
    return int(stones) * 14 + int(pounds) if dash and stones.isdigit() and pounds.isdigit() else None


def _runner(row: dict[str, str]) -> dict[str, Any]:
    name, region = split_country(row["horse"])
    dam, dam_region = split_country(row["dam"])
    sire, sire_region = split_country(row["sire"])
    headgear = _HEADGEAR.match(row["hg"])
    codes, first = (headgear["codes"], bool(headgear["first"])) if headgear else ("", False)
    return {
        "age": _whole(row["age"]),
        "claim": None,
        "comment": None,
        "dam": dam or None,
        "dam_region": dam_region,
        "damsire": row["damsire"] or None,
        "damsire_region": None,
        "draw": _whole(row["draw"]),
        "form": "",
        "headgear": codes or None,
        "headgear_first": first,
        "horse_id": None,
        "jockey": row["jockey"],
        "jockey_allowance": None,
        "jockey_id": None,
        "last_run": None,
        "lbs": _pounds(row["wgt"]),
        "name": name,
        "non_runner": False,
        "number": _whole(row["num"]),
        "ofr": _whole(row["or"]),
        "owner": row["owner"] or None,
        "region": region,
        "reserve": False,
        # A card's rpr and ts are master ratings published before the race: another quantity than the result's.
        "rpr": None,
        "sex_code": row["sex"] or None,
        "sire": sire or None,
        "sire_region": sire_region,
        "trainer": row["trainer"],
        "trainer_id": None,
        "ts": None,
    }


def racecard_from_results(rows: pl.DataFrame, day: date) -> dict[str, dict[str, dict[str, Any]]]:
    """The racecards of one day from its result rows, as they stood before the off.

    Args:
        rows: rows of the 37-column layout, all columns text; may hold other days too.
        day: the day wanted.

    Returns:
        `{region: {course: {off time HH:MM: {race fields, "runners": [...]}}}}`; courses, races
        and runners in an order that says nothing about the result (name, time, saddle number). Empty when nobody
        raced that day.

    Raises:
        ValueError: a column of the layout is missing.
    """
    wanted = ENTRY_COLUMNS
    missing = [name for name in wanted if name not in rows.columns]
    if missing:
        raise ValueError(f"rows lack the raceform column(s) {', '.join(missing)}; give rows of the 37-column layout")
    entries = (
        rows.select(pl.col(name).cast(pl.String).fill_null("") for name in wanted)
        .filter(pl.col("date") == day.isoformat())
        .sort("course", "off", "horse")
    )
    cards: dict[str, dict[str, dict[str, Any]]] = {}
    for (course, off), field in entries.group_by("course", "off", maintain_order=True):
        runners = field.to_dicts()
        race = runners[0]
        countries = re.findall(r"\(([A-Z]{2,3})\)", str(course))
        country = next((code for code in countries if code != "AW"), "GB")
        time = off_time_24(str(off), day)
        furlongs = furlongs_of(race["dist"])
        card = {
            "age_band": race["age_band"] or None,
            "course": str(course),
            "course_id": None,
            "course_detail": "",
            "date": day.isoformat(),
            "distance": race["dist"],
            "distance_f": furlongs,
            "distance_y": None if furlongs is None else round(furlongs * 220),
            "distance_round": race["dist"],
            "field_size": len(runners),
            "going": race["going"],
            "handicap": bool(race["rating_band"]) or "handicap" in race["race_name"].lower(),
            "href": None,
            "off_time": time,
            "pattern": race["pattern"],
            "prize": None,
            "race_class": _whole(race["class"].removeprefix("Class ")),
            "race_id": _whole(race["race_id"]),
            "race_name": race["race_name"],
            "race_type": race["type"],
            "rating_band": race["rating_band"] or None,
            "region": country,
            "runners": sorted((_runner(row) for row in runners), key=lambda r: (r["number"] or 99, r["name"])),
            "surface": "AW" if "(AW)" in str(course) else "Turf",
        }
        cards.setdefault(country, {}).setdefault(str(course), {})[time] = card
    return {
        region: {course: dict(sorted(races.items())) for course, races in courses.items()}
        for region, courses in sorted(cards.items())
    }


def write_racecards(rows: pl.DataFrame, *, day: date, out: Path) -> Path:
    """Write the racecards of one day to `<out>/racecards_YYYY-MM-DD.json`.

    Args:
        rows: rows of the 37-column layout. day: the day wanted. out: folder, made when missing.

    Raises:
        ValueError: nobody raced that day, or a column is missing.
    """
    cards = racecard_from_results(rows, day)
    if not cards:
        raise ValueError(f"no races on {day.isoformat()} in the rows given; nothing to write")
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"racecards_{day.isoformat()}.json"
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(json.dumps(cards, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    return path
