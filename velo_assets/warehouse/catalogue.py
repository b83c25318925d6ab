"""The feature catalogue, made from the SQL alone: what every feature is, how far it looks back, when it is known.

Belongs here: the entries, the table of the predecessors' features, and both as Markdown and HTML. Does not belong here:
how lineage is found (lineage.py), Dagster's column schema (assets).
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from velo_assets.warehouse.lineage import Node, availability, trace
from velo_assets.warehouse.sql_table import SqlTable, SqlTableError, all_tables

_KEYS = ("race_date", "race_key", "runner_key")
_ASSEMBLED = ("features/runner_features",)
"""Tables that only put families side by side: their columns are listed with the families."""


@dataclass(frozen=True)
class Feature:
    """One feature as the catalogue shows it.

    Attributes:
        name: column name.
        family: table name within `features`.
        meaning: what it is.
        unit: its unit; empty when it has none.
        look_back: how far back its family reads.
        null_policy: when it is null.
        known: when it becomes known for the race of its row.
        core_columns: `core.table.column`s that it is made of, over all steps.
        raceform_columns: columns of the raceform files behind them.
    """

    name: str
    family: str
    meaning: str
    unit: str
    look_back: str
    null_policy: str
    known: str
    core_columns: tuple[str, ...]
    raceform_columns: tuple[str, ...]


@dataclass(frozen=True)
class Predecessor:
    """A feature of an earlier system and what stands in its place.

    Attributes:
        system: 'v1.1', 'SQPE' or 'TIE'.
        name: its name, or its category where the earlier system names no columns.
        columns: columns that cover it now.
        why: what changed, and why; empty when the name and meaning stayed.
    """

    system: str
    name: str
    columns: tuple[str, ...]
    why: str = ""


_V11 = (
    *("trainer_sr_14d", "trainer_sr_30d", "trainer_sr_90d", "jockey_sr_14d", "jockey_sr_30d", "jockey_sr_90d"),
    *("tj_combo_uplift", "class_drop", "classdrop_flag", "layoff_days", "layoff_penalty", "freshness_flag"),
    *("weight_delta", "or_delta", "course_going_iv", "draw_iv", "bias_persist_flag"),
    *("form_ewma", "form_slope", "ts_trend", "form_var"),
)

PREDECESSORS = (
    *(Predecessor("v1.1", name, (name,)) for name in _V11),
    Predecessor("SQPE", "rating", ("official_rating", "rpr_last", "rpr_best", "ts_last", "ts_best", "handicap_mark"),
        "the published ratings of the race itself are results: only those of earlier runs are left, and the mark"),
    Predecessor("SQPE", "form", ("form_last", "form_last_2", "form_last_3", "form_win_rate"),
        "finishing positions became shares of rivals beaten, so that fields of different size compare"),
    Predecessor("SQPE", "class", ("class_drop", "band_drop", "best_class_drop", "race_class"),
        "the move against the last race; the class itself is constant in a race"),
    Predecessor("SQPE", "distance", ("distance_affinity", "distance_move_furlongs", "distance_mismatch_furlongs"),
        "a distance is constant in a race; what counts is how it suits the horse"),
    Predecessor("SQPE", "going", ("going_affinity", "going_runs"), "as for the distance"),
    Predecessor("SQPE", "course", ("course_affinity", "course_runs"), "as for the distance"),
    Predecessor("SQPE", "trainer", ("trainer_sr_90d", "trainer_impact", "trainer_ae"),
        "strike rates ended with the last date of the data; now with the day before the race, shrunk"),
    Predecessor("SQPE", "jockey", ("jockey_sr_90d", "jockey_impact", "jockey_ae"), "as for the trainer"),
    Predecessor("SQPE", "weight", ("weight_lb", "weight_vs_field_lb", "weight_delta")),
    Predecessor("SQPE", "age", ("age_years", "age_vs_field")),
    Predecessor("SQPE", "time", ("speed_last", "speed_best", "speed_ewma"),
        "raw seconds became speed figures against an as-of par of course, distance and going"),
    Predecessor("TIE", "trainer runs", ("trainer_runs_career",)),
    Predecessor("TIE", "trainer win rate", ("trainer_sr_career",), "shrunk to the mean of all trainers"),
    Predecessor("TIE", "trainer 90-day runs", ("trainer_runs_90d",)),
    Predecessor("TIE", "trainer 90-day win rate", ("trainer_sr_90d",), "shrunk to the trainer's own career rate"),
    Predecessor("TIE", "days since run", ("layoff_days", "layoff_vs_habit")),
    Predecessor("TIE", "class delta", ("class_drop",), "positive is an easier race today"),
    Predecessor("TIE", "jockey change", ("jockey_change", "jockey_upgrade"), "with how good the new jockey is"),
)  # fmt: skip
"""Every feature of the earlier systems, by name or by category, and its place here."""


@cache
def features() -> tuple[Feature, ...]:
    """Every feature of the house, family by family.

    Raises:
        SqlTableError: a predecessor is mapped to a column that does not exist.
    """
    tables = [table for table in all_tables() if table.schema == "features" and table.name not in _ASSEMBLED]
    found = tuple(feature for table in tables if table.is_by_runner for feature in _family(table))
    names = {feature.name for feature in found}
    missing = sorted({column for old in PREDECESSORS for column in old.columns} - names)
    if found and missing:
        raise SqlTableError(f"The catalogue maps earlier features to columns that no family has: {', '.join(missing)}.")
    return found


def catalogue_hash() -> str:
    """Hash of all entries: it changes when a feature changes its name, meaning, unit, look-back or sources."""
    content = json.dumps([asdict(feature) for feature in features()], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def write_catalogue(path_html: Path, path_md: Path) -> str:
    """Write the catalogue as one HTML page and one Markdown page.

    Args:
        path_html: HTML file; its folder is created when missing.
        path_md: Markdown file.

    Returns:
        The hash of the catalogue.
    """
    for path, text in ((path_html, catalogue_html()), (path_md, catalogue_markdown())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return catalogue_hash()


def catalogue_markdown() -> str:
    """The catalogue as Markdown."""
    lines = [
        "# Feature catalogue",
        "",
        f"{len(features())} features in {len(_families())} families, made from the SQL (hash `{catalogue_hash()}`).",
    ]
    for family, entries in _families():
        lines += ["", f"## {family}", "", _headline(family), "", "| " + " | ".join(_HEADINGS) + " |"]
        lines += ["|" + "---|" * len(_HEADINGS)]
        lines += ["| " + " | ".join(_markdown(cell) for cell in _cells(entry)) + " |" for entry in entries]
    lines += ["", "## Features of the earlier systems", "", "| system | feature | here | why |", "|---|---|---|---|"]
    lines += [
        f"| {old.system} | {old.name} | {', '.join(f'`{column}`' for column in old.columns)} | {_markdown(old.why)} |"
        for old in PREDECESSORS
    ]
    return "\n".join(lines) + "\n"


def catalogue_html() -> str:
    """The catalogue as one self-contained HTML page; every text from the SQL is escaped."""
    links = " · ".join(f'<a href="#{_text(family)}">{_text(family)}</a>' for family, _ in _families())
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Feature catalogue</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Feature catalogue</h1>",
        f"<p>{len(features())} features in {len(_families())} families, made from the SQL",
        f"(hash <code>{catalogue_hash()}</code>).</p>\n<nav>{links}</nav>",
    ]
    for family, entries in _families():
        parts += [f'<h2 id="{_text(family)}">{_text(family)}</h2>', f"<p>{_text(_headline(family))}</p>"]
        parts.append(_table(_HEADINGS, [_cells(entry) for entry in entries]))
    parts.append("<h2>Features of the earlier systems</h2>")
    old_rows = [(old.system, old.name, ", ".join(old.columns), old.why) for old in PREDECESSORS]
    parts.append(_table(("system", "feature", "here", "why"), old_rows))
    return "\n".join([*parts, "</body>", "</html>", ""])


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(heading)}</th>" for heading in headings)
    body = "\n".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div><table>\n<tr>{head}</tr>\n{body}\n</table></div>"


_HEADINGS = ("feature", "meaning", "unit", "look-back", "null", "known at", "made of", "raceform columns")

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:90rem;padding:0 1rem;color:#1b1b1b}"
    "table{border-collapse:collapse;width:100%;font-size:13px}td,th{border-bottom:1px solid #ddd;padding:.35rem .5rem;"
    "text-align:left;vertical-align:top}th{background:#f4f4f2}td:first-child{font-family:monospace;white-space:nowrap}"
    "div{overflow-x:auto}nav{line-height:1.9}"
)


def _family(table: SqlTable) -> list[Feature]:
    moments = availability(table.name)
    out = []
    for column in table.columns:
        if column.name in (*_KEYS, *table.beside_the_matrix):
            continue
        tree = trace(table.name, column.name)
        meaning, null_policy = _split_nulls(column.description, table.header["look-back"])
        raw = {name for source, name in tree.leaves() if source == "landing/raceform"}
        out.append(
            Feature(
                name=column.name,
                family=table.table,
                meaning=meaning,
                unit=column.unit,
                look_back=table.header["look-back"],
                null_policy=null_policy,
                known=moments[column.name].known.word,
                core_columns=tuple(sorted(_core(tree))),
                raceform_columns=tuple(sorted(raw)),
            )
        )
    return out


def _split_nulls(description: str, look_back: str) -> tuple[str, str]:
    """Meaning and null policy: the words after 'null' when the column has its own, else what holds for the family."""
    match = re.search(r"[;,]?\s*\bnull\b(?P<when>.*)$", description)
    if match and match["when"].strip():
        return description[: match.start()].strip() or description, f"null{match['when']}"
    without = "a value it is made of" if look_back.startswith("none") else "an earlier run or a value it is made of"
    return description, f"null without {without}"


def _core(node: Node) -> set[str]:
    if node.table.startswith("core/"):
        return {f"{node.table.replace('/', '.')}.{node.column}"}
    return {name for below in node.inputs for name in _core(below)}


@cache
def _families() -> tuple[tuple[str, tuple[Feature, ...]], ...]:
    names = dict.fromkeys(feature.family for feature in features())
    return tuple((name, tuple(f for f in features() if f.family == name)) for name in names)


def _headline(family: str) -> str:
    table = next(table for table in all_tables() if table.name == f"features/{family}")
    return f"{table.header['description']} Point in time: {table.header['point in time']}."


def _cells(feature: Feature) -> Sequence[str]:
    return (
        feature.name,
        feature.meaning,
        feature.unit,
        feature.look_back,
        feature.null_policy,
        feature.known,
        ", ".join(feature.core_columns),
        ", ".join(feature.raceform_columns),
    )


def _markdown(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def _text(text: str) -> str:
    return html.escape(text)
