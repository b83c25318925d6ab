"""The card page: one HTML page per race day, for people who look at it on a phone at the course or on paper.

Belongs here: what the page shows of each race and runner, in words and small pictures. Does not belong here: the
predictions (predict), the shell and style of pages (reports).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, time
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from markupsafe import Markup

from velo_assets.racing.macros import register
from velo_assets.reports.pages import banners, number, percent, render_page, write_page
from velo_assets.serving.predict import ServingModel, latest_predictions
from velo_assets.warehouse.build import describe, table_exists
from velo_assets.warehouse.query import frame_of, row_of

FAMILY_WORDS = {
    "trainer_velocity": "stable form",
    "jockey_velocity": "jockey form",
    "trainer_jockey": "trainer with jockey",
    "speed_figures": "speed",
    "form_curves": "form",
    "class_layoff": "class and rest",
    "weight_rating": "weight and rating",
    "suitability": "course, trip and going",
    "bias_maps": "draw",
    "running_style": "running style",
    "trouble": "past trouble",
    "breeding": "breeding",
    "market_history": "past prices",
    "collateral_form": "strength of past rivals",
    "intent_signals": "stable's choices",
    "race_shape": "age and sex",
    "within_race": "standing in this field",
}
"""Feature families in the words of the page; an unknown family keeps its own name."""

TELLING = 0.03
"""Log-odds below which a family is not worth naming: odds times 1.03."""

MOST_REASONS = 2
"""Families named for and against each; a third rarely changes the picture."""

NOTHING = "Nothing sets it apart from the field."
"""Not said of every horse of a race where none has run before: the line above the table says that once."""

LITTLE_KNOWN = 0.5
"""Share of features below which the page says that little is known of a horse."""

PRICE_WORDS = {"exchange_preoff": "exchange, five minutes before the off", "forecast": "forecast, morning"}
CODE_WORDS = {"flat": "flat", "all-weather": "all-weather", "hurdle": "hurdle", "chase": "chase", "bumper": "bumper"}

STYLE_FEATURES = ("style_mean", "race_pace", "draw_rail_bias", "form_runs", "layoff_days")


def read_card_page(connection: duckdb.DuckDBPyConnection, day: date, serving: ServingModel | None) -> pl.DataFrame:
    """Everything the page of a day shows, a row per runner, non-runners included.

    Args:
        connection: an open warehouse, macros registered.
        day: race day.
        serving: the version that serves now, the first of `serving_models`; None when there is none.

    Returns:
        Race, runner and prediction columns. The predictions of a race are those of the version that serves now; where
        it said nothing, the last of a champion of that time, or of a version on trial. `role` says which of these, and
        all are null for races that were not priced. Empty when nobody races.
    """
    has_matrix = table_exists(connection, "features/runner_features")
    present = {name for name, _ in describe(connection, "features/runner_features")} if has_matrix else set()
    style = ", ".join(
        f"matrix.{name}::double as {name}" if name in present else f"null::double as {name}" for name in STYLE_FEATURES
    )
    join = "left join features.runner_features as matrix using (race_date, runner_key)"
    runners = frame_of(
        connection,
        f"""
        select
            races.race_date, races.race_key, entries.runner_key, races.race_label, races.course, races.country,
            races.off_time, races.off_text, races.race_name, races.code, races.race_class, races.distance_text,
            races.going, races.is_handicap, races.stage, entries.saddle_number, entries.stall, entries.horse,
            entries.age_years, entries.sex, entries.weight_lb, entries.headgear, entries.headgear_first_time,
            entries.jockey, entries.trainer, entries.official_rating, entries.card_rating, {style}
        from core.races
        inner join core.entries using (race_date, race_key)
        {join if has_matrix else ""}
        where races.race_date = ?
        """,
        [day],
    )
    frame = runners.join(
        _shown(latest_predictions(connection, [day]), serving), on="runner_key", how="left", maintain_order="left"
    ).with_columns(pl.lit(False).alias("non_runner"))
    out = _non_runners(connection, day)
    if out.height and frame.height:
        of_race = ("race_label", "course", "country", "off_time", "off_text", "race_name", "code", "race_class")
        races = frame.select(
            "race_date", "race_key", *of_race, "distance_text", "going", "is_handicap", "stage"
        ).unique("race_key")
        # A runner scratched and then run after all, by a later result, is a runner.
        out = out.join(races, on="race_key", how="inner").join(runners, on="runner_key", how="anti")
        frame = pl.concat((frame, out), how="diagonal_relaxed")
    return frame.sort(
        pl.col("off_time").is_null(), "off_time", "course", "race_key", "non_runner", -pl.col("fair_probability"),
        "saddle_number", nulls_last=True,
    )  # fmt: skip


def write_card_page(frame: pl.DataFrame, path: Path, *, day: date | None = None, simulated: bool = False) -> Path:
    """Write the page of a race day.

    Args:
        frame: from `read_card_page`.
        path: the page, `reports/cards/YYYY-MM-DD.html`.
        day: race day; needed for a day without races only.
        simulated: whether the races come from the simulator.

    Raises:
        ValueError: neither races nor a day.
    """
    rows = frame.to_dicts()
    if not rows and day is None:
        raise ValueError("card page: no races and no day; give the day, so that the page can say that nobody races")
    shown = day or rows[0]["race_date"]
    races = [_race(list(group)) for _, group in groupby(rows, key=lambda row: row["race_key"])]
    page = render_page(
        "card.html.j2",
        banners=banners(simulated=simulated, closing_price=False),
        facts=_facts(rows),
        footer="Made by VELO. Fair odds are what the model thinks a price would have to be to pay its way; the edge is "
        "the expected return of one unit at the market's price. Factors multiply the odds against an average rival "
        "of the race.",
        day=shown,
        headline=_headline(races),
        lead=_lead(rows),
        races=races,
    )
    return write_page(path, page)


def reasons(contributions: str | None) -> str:
    """The families that weigh most, both signs, in words.

    Args:
        contributions: JSON of log-odds by family, as serving.predictions keeps it.
    """
    if not contributions:
        return ""
    families = {
        FAMILY_WORDS.get(name, name.replace("_", " ")): value for name, value in json.loads(contributions).items()
    }
    sides = []
    for word, sign in (("For", 1.0), ("Against", -1.0)):
        order = sorted(families.items(), key=lambda item: -sign * item[1])[:MOST_REASONS]
        named = [f"{name} ×{number(math.exp(value))}" for name, value in order if sign * value >= TELLING]
        if named:
            sides.append(f"{word}: {', '.join(named)}")
    return "; ".join(sides) + "." if sides else NOTHING


def _race(rows: list[dict[str, Any]]) -> dict[str, Any]:
    first = rows[0]
    ran = [row for row in rows if not row["non_runner"]]
    parts = [
        CODE_WORDS.get(first["code"] or "", first["code"]),
        f"class {first['race_class']}" if first["race_class"] else None,
        first["distance_text"],
        first["going"],
        f"{len(ran)} runners",
    ]
    priced = next((row for row in ran if row["market_odds"] is not None), None)
    return {
        "key": first["race_key"],
        "time": _clock(first["off_time"], first["off_text"]),
        "course": first["course"] + (f" ({first['country']})" if first["country"] not in ("GB", None) else ""),
        "name": first["race_name"] or "",
        "about": " · ".join(part for part in parts if part),
        "basis": _basis_words(ran),
        "price": "" if priced is None else f"Market: {PRICE_WORDS.get(priced['price_kind'], priced['price_kind'])}.",
        "result_known": first["stage"] == "result",
        "has_market": priced is not None,
        "picture": _picture(ran),
        "pace": _pace_words(ran),
        "missing": " ".join(_shared_gaps(ran).values()),
        "runners": [_runner(row, _shared_gaps(ran)) for row in rows],
    }


def _shared_gaps(rows: list[dict[str, Any]]) -> dict[str, str]:
    """What is unknown of every runner alike: said once above the table, not beside each name."""
    gaps = {}
    if rows and not any(row["form_runs"] for row in rows):
        gaps["runs"] = "No earlier run of any of these horses is known, so the prices lie close together."
    if rows and rows[0]["is_handicap"] and all(row["official_rating"] is None for row in rows):
        gaps["rating"] = "The card carries no ratings."
    return gaps


def _runner(row: dict[str, Any], shared: Mapping[str, str]) -> dict[str, Any]:
    gear = (row["headgear"] or "") + ("¹" if row["headgear_first_time"] else "")
    facts = [
        None if row["age_years"] is None else f"{row['age_years']}yo",
        None if row["weight_lb"] is None else f"{row['weight_lb'] // 14}-{row['weight_lb'] % 14}",
        None if row["official_rating"] is None else f"OR {row['official_rating']}",
        gear or None,
    ]
    notes = []
    if row["non_runner"]:
        notes.append("non-runner")
    elif not row["form_runs"]:
        notes += [] if "runs" in shared else ["no earlier run known"]
    elif row["features_known"] is not None and row["features_known"] < LITTLE_KNOWN:
        notes.append(f"little known: {percent(row['features_known'], 0)} of the features")
    rated = row["official_rating"] is not None or not row["is_handicap"]
    if not (row["non_runner"] or rated or "rating" in shared):
        notes.append("rating not known")
    why = reasons(row["contributions"])
    return {
        "number": row["saddle_number"],
        "stall": row["stall"],
        "horse": row["horse"],
        "people": " / ".join(name for name in (row["jockey"], row["trainer"]) if name)
        or "jockey and trainer not known",
        "facts": " · ".join(fact for fact in facts if fact),
        "probability": percent(row["fair_probability"]),
        "fair_odds": _odds(row["fair_odds"]),
        "market_odds": _odds(row["market_odds"]),
        "edge": percent(row["edge"], 0, signed=True),
        "tone": "" if row["edge"] is None else "good" if row["edge"] > 0 else "quiet",
        "reasons": "" if row["non_runner"] or (why == NOTHING and "runs" in shared) else why,
        "modules": row["modules_above"],
        "notes": notes,
        "out": row["non_runner"],
    }


def _picture(rows: list[dict[str, Any]]) -> Markup:
    """Where each horse may be early (up = in front) by its stall, with what each stall was worth; empty if unknown."""
    styled = [row for row in rows if row["style_mean"] is not None]
    if not styled:
        return Markup("")
    drawn = all(row["stall"] for row in rows)
    places = sorted({row["stall"] for row in rows}) if drawn else list(range(1, len(rows) + 1))
    order = sorted(rows, key=lambda row: row["stall"] if drawn else -(row["style_mean"] or 0.0))
    width, height, left, top = 320.0, 132.0, 24.0, 12.0
    step = (width - left - 10.0) / max(len(places), 1)
    parts = [
        Markup('<line x1="{0}" y1="{1}" x2="{2}" y2="{1}" class="rule"/>').format(left, y, width)
        for y in (top, top + 45, top + 90)
    ]
    parts += [
        Markup('<text x="0" y="{}" class="axis">{}</text>').format(y, word)
        for y, word in ((top + 4, "front"), (top + 94, "rear"))
    ]
    best = sorted((row["fair_probability"] or 0.0 for row in rows), reverse=True)[:3]
    for position, row in enumerate(order):
        place = places.index(row["stall"]) if drawn else position
        x = left + step * (place + 0.5) + 4
        if drawn:
            parts.append(
                Markup('<text x="{:.1f}" y="{}" class="axis mid">{}</text>').format(x, height - 2, row["stall"])
            )
            bias = row["draw_rail_bias"]
            if bias is not None:
                size = min(abs(bias) * 120.0, 9.0)
                kind, y = ("gain", height - 20 - size) if bias > 0 else ("loss", height - 20)
                parts.append(
                    Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"/>').format(
                        x - step * 0.3, y, step * 0.6, size, kind
                    )
                )
        if row["style_mean"] is None:
            continue
        y = top + 90.0 * (1.0 - min(max(row["style_mean"], 0.0), 1.0))
        chosen = "pick" if best and (row["fair_probability"] or 0.0) >= best[-1] > 0 else "other"
        label = row["saddle_number"] if row["saddle_number"] is not None else ""
        parts.append(
            Markup(
                '<g><title>{}</title><circle cx="{:.1f}" cy="{:.1f}" r="8" class="{}"/>'
                '<text x="{:.1f}" y="{:.1f}" class="dot {}">{}</text></g>'
            ).format(row["horse"], x, y, chosen, x, y + 3.2, chosen, label)
        )
    words = "Early position by stall" if drawn else "Early position, likely leaders first"
    return Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
        width, height, words, Markup("").join(parts)
    )


def _pace_words(rows: list[dict[str, Any]]) -> str:
    known = [row["style_mean"] for row in rows if row["style_mean"] is not None]
    if not known:
        return "Running styles are not known."
    pace = next((row["race_pace"] for row in rows if row["race_pace"] is not None), None)
    leaders = "" if pace is None else f" About {number(pace, 1)} likely leaders."
    stalls = " Bars: what the stall was worth here, up is better." if all(row["stall"] for row in rows) else ""
    return f"Numbers are saddle cloths, up is in front early, green are the first three in our prices.{leaders}{stalls}"


def _basis_words(rows: list[dict[str, Any]]) -> str:
    bases = {row["basis"] for row in rows if row["basis"] is not None}
    if not bases:
        return "Not priced: no model has seen this card."
    if bases == {"fundamental"}:
        return "Priced on form alone: no full market was known."
    return f"Priced by the {'/'.join(sorted(bases))} of form and market."


def _headline(races: list[dict[str, Any]]) -> str:
    if not races:
        return "No racing."
    courses = list(dict.fromkeys(race["course"] for race in races))
    shown = ", ".join(courses[:-1]) + " and " + courses[-1] if len(courses) > 1 else courses[0]
    return f"{len(races)} {'race' if len(races) == 1 else 'races'} at {shown}."


def _lead(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "There is no card for this day. That is no fault: nobody races."
    if all(row["fair_probability"] is None for row in rows):
        return "These races have not been priced: train and register a model, then run the prediction."
    unpriced = sum(row["market_odds"] is None for row in rows if not row["non_runner"])
    ran = sum(not row["non_runner"] for row in rows)
    market = (
        "No market price was known when these were made, so there is no edge to show: odds rest on form alone."
        if unpriced == ran
        else f"{ran - unpriced} of {ran} runners had a market price when these were made."
    )
    return f"Fair odds beside the market's, with the reasons that weigh most. {market}"


def _facts(rows: list[dict[str, Any]]) -> str:
    """The versions that speak on the page, each with the first and last time of its predictions."""
    times: dict[str, list[str]] = {}
    for row in rows:
        if row["model_name"] is not None:
            label = f"{row['model_name']} {row['model_version']} ({row['role']})"
            times.setdefault(label, []).append(f"{row['predicted_at']:%Y-%m-%d %H:%M}")
    if not times:
        return "no prediction"
    spans = {label: " to ".join(sorted({min(made), max(made)})) for label, made in times.items()}
    return "; ".join(f"{label} · {span} UTC" for label, span in spans.items())


def _shown(predictions: pl.DataFrame, serving: ServingModel | None) -> pl.DataFrame:
    """Of each race the predictions of one version, with its role.

    The stored `is_champion` says what was so when the prediction was made; a version promoted or brought back since
    has priced these cards in the shadow, or as the champion that it was before.
    """
    serves, role = pl.lit(False), pl.lit(None, dtype=pl.String)
    if serving is not None:
        serves = (pl.col("model_name") == serving.name) & (pl.col("model_version") == serving.version)
        role = pl.lit("champion" if serving.is_champion else "on trial, there is no champion")
    then = pl.when("is_champion").then(pl.lit("champion then")).otherwise(pl.lit("on trial then"))
    rows = predictions.with_columns(serves.alias("serves"), pl.when(serves).then(role).otherwise(then).alias("role"))
    order = ("serves", "is_champion", "predicted_at", "model_version")
    versions = rows.sort(order, descending=True).unique("race_key", keep="first")
    of_race = ("race_key", "model_name", "model_version")
    return rows.join(versions, on=of_race, how="semi").drop("race_date", "race_key", "horse_key", "serves")


def _non_runners(connection: duckdb.DuckDBPyConnection, day: date) -> pl.DataFrame:
    """Withdrawn horses of the last card of each race."""
    if not table_exists(connection, "landing/racecards"):
        return pl.DataFrame()
    (withdrawn,) = row_of(
        connection, "select count(*) from landing.racecards where race_date = ? and non_runner", [day]
    )
    if not withdrawn:
        # Most cards have none, and the keys below take longer to plan than the rest of the page to read.
        return pl.DataFrame()
    register(connection)
    return frame_of(
        connection,
        """
        with cards as (
            select *, race_key_of(race_date, course, region, off_text, race_id, race_name) as race_key
            from landing.racecards
            where race_date = ?
        ),
        latest as (select race_key, max(sequence) as sequence from cards group by race_key)
        select
            cards.race_key,
            runner_key_of(
                cards.race_key, horse_key_of(cards.horse, cards.dam, cards.age_years, cards.race_date)
            ) as runner_key,
            cards.saddle_number, cards.horse, cards.age_years, cards.weight_lb, cards.jockey, cards.trainer,
            cards.official_rating, true as non_runner
        from cards
        inner join latest using (race_key, sequence)
        where cards.non_runner
        """,
        [day],
    )


def _clock(off: time | None, text: str | None) -> str:
    return f"{off:%H:%M}" if off is not None else text or "time not known"


def _odds(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return number(value, 0 if value >= 100 else 1 if value >= 10 else 2)
