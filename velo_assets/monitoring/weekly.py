"""The weekly report: last week's races, what was predicted and earned, drift, data quality, what changed.

Belongs here: gathering the week from the warehouse and writing it as HTML and Markdown. Does not belong here: any of
the measurements, which other modules have stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from velo_assets.betting.settle import SETTLED
from velo_assets.modelling.bootstrap import paired_delta_r2
from velo_assets.monitoring.evaluation import evaluate_races
from velo_assets.reports.pages import banners, number, percent, render_page, write_page
from velo_assets.serving.prediction_log import served_predictions
from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.query import frame_of

WEEK_DRAWS = 1000
DAYS_FOR_AN_INTERVAL = 3
"""With fewer race days a day-block bootstrap has nothing to resample."""


@dataclass(frozen=True)
class WeeklyReport:
    """What was written.

    Attributes:
        html: the page.
        markdown: the same as text.
        headline: one sentence.
        races: races of the week with a result.
    """

    html: Path
    markdown: Path
    headline: str
    races: int


def week_before(day: date) -> tuple[date, date]:
    """Monday to Sunday of the last whole week before a day."""
    monday = day - timedelta(days=day.weekday() + 7)
    return monday, monday + timedelta(days=6)


def write_weekly_report(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    day: date,
    *,
    price_kind: str,
    closing_price: bool,
    simulated: bool,
    drift_history: bytes | None = None,
) -> WeeklyReport:
    """Write `weekly_<monday>.html` and `.md` for the last whole week before a day, raced or not.

    Args:
        connection: an open warehouse; tables that are not there yet are reported as not measured.
        folder: where the files go.
        day: such as the Monday on which the report is made.
        price_kind: market that predictions are compared with.
        closing_price: whether that market is known at the off only.
        simulated: whether the results come from the simulator.
        drift_history: picture of drift over the reports, PNG; left out when None.

    Returns:
        The files and what they say first.
    """
    start, end = week_before(day)
    content = _gather(connection, start, end, price_kind)
    headline = _headline(content, start, end)
    shared = {
        "start": start,
        "end": end,
        "headline": headline,
        "price_kind": price_kind,
        **content,
        "drift_picture": None if drift_history is None else _data_uri(drift_history),
    }
    page = render_page(
        "weekly.html.j2",
        banners=banners(simulated=simulated, closing_price=closing_price),
        facts=f"{start} to {end}",
        footer="Made by VELO. Intervals resample whole race days. A week is short: read the gap over many of them.",
        **shared,
    )
    name = f"weekly_{start.isoformat()}"
    text = render_text("weekly.md.j2", simulated=simulated, closing_price=closing_price, **shared)
    return WeeklyReport(
        write_page(folder / f"{name}.html", page),
        write_page(folder / f"{name}.md", text),
        headline,
        content["races"]["with_result"],
    )


def render_text(template: str, **context: Any) -> str:
    """Render a Markdown template of the reports; names keep their letters, but can't open a tag or a table cell."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from velo_assets.reports.pages import TEMPLATES

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
    return environment.get_template(template).render(**context)


def _gather(connection: duckdb.DuckDBPyConnection, start: date, end: date, price_kind: str) -> dict[str, Any]:
    versions = _versions(connection, start, end, price_kind)
    return {
        "races": _races(connection, start, end),
        "predictions": [_told(version) for version in versions],
        "spoken_for": _spoken_for(versions),
        "strategies": _strategies(connection, start, end),
        "drift": _drift(connection),
        "quality": _quality(connection, start, end, price_kind),
        "changes": _changes(connection, start, end),
        "decision": _decision(connection, end),
    }


def _races(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> dict[str, Any]:
    if not table_exists(connection, "core/races"):
        return {"with_result": 0, "without_result": 0, "days": 0, "runners": 0, "courses": []}
    rows = frame_of(
        connection,
        "select stage, course, race_date, field_size from core.races where race_date between ? and ?",
        [start, end],
    )
    results = rows.filter(pl.col("stage") == "result")
    courses = results.group_by("course").agg(pl.len().alias("races")).sort("races", "course", descending=[True, False])
    return {
        "with_result": results.height,
        "without_result": rows.height - results.height,
        "days": results["race_date"].n_unique(),
        "runners": int(results["field_size"].sum()),
        "courses": courses.to_dicts(),
    }


@dataclass(frozen=True)
class _Version:
    """A model version's week in a role: its predictions, and the races of them that settled with a full book."""

    name: str
    number: int
    is_champion: bool
    basis: str
    judged: pl.DataFrame


def _versions(connection: duckdb.DuckDBPyConnection, start: date, end: date, price_kind: str) -> list[_Version]:
    """Every version that predicted a race of the week which can be judged, as champion and on trial apart."""
    ready = ("core/results", "market/probabilities", "serving/predictions")
    if not all(table_exists(connection, name) for name in ready):
        return []
    served = served_predictions(connection, price_kind, start).filter(pl.col("race_date") <= end)
    results = frame_of(
        connection,
        "select race_key, runner_key, win_share from core.results where race_date between ? and ?",
        [start, end],
    )
    versions = []
    for (name, number_, champion), rows in served.group_by(
        ["model_name", "model_version", "is_champion"], maintain_order=True
    ):
        judged = evaluate_races(rows, results)
        if judged.height:
            basis = ", ".join(sorted(rows["basis"].unique().to_list()))
            versions.append(_Version(str(name), int(number_), bool(champion), basis, judged))
    return versions


def _told(version: _Version) -> dict[str, Any]:
    """How the predictions of a version did beside the closing market, with an interval."""
    judged = version.judged
    log_n = judged["runners"].cast(pl.Float64).log().to_numpy()
    losses = judged["log_loss_model"].to_numpy(), judged["log_loss_market"].to_numpy()
    gain = paired_delta_r2(*losses, log_n, judged["race_date"].to_numpy(), WEEK_DRAWS)
    wide = gain.days >= DAYS_FOR_AN_INTERVAL
    return {
        "model": f"{version.name} {version.number}",
        "role": "champion" if version.is_champion else "on trial",
        "races": judged.height,
        "gap": number(judged["gap_to_market"].mean(), 4, signed=True),  # type: ignore[arg-type]
        "delta_r2": number(gain.estimate, 4, signed=True),
        "interval": f"{number(gain.low, 4, signed=True)} to {number(gain.high, 4, signed=True)}" if wide else "",
        "top_picks": int(judged["top_pick_won"].sum()),
        "favourites": int(judged["favourite_won"].sum()),
        "basis": version.basis,
    }


def _spoken_for(versions: list[_Version]) -> dict[str, Any] | None:
    """Races that the champions of the week predicted, each by its newest; without a champion, the newest version's."""
    champions = [version for version in versions if version.is_champion]
    newest = max((version.number for version in versions), default=None)
    speaking = champions or [version for version in versions if version.number == newest]
    if not speaking:
        return None
    in_order = sorted(speaking, key=lambda version: version.number)
    races = pl.concat(version.judged.select("race_key", "gap_to_market") for version in in_order)
    races = races.unique("race_key", keep="last")
    gap = number(races["gap_to_market"].mean(), 4, signed=True)  # type: ignore[arg-type]
    return {"races": races.height, "gap": gap}


def _strategies(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> list[dict[str, Any]]:
    from velo_assets.modelling.bootstrap import roi_interval

    if not table_exists(connection, "backtest/bets"):
        return []
    bets = frame_of(
        connection,
        "select strategy_id, race_date, stake, profit from backtest.bets where race_date between $start and $end "
        "and status in (select unnest($settled::varchar[])) and stake > 0 order by strategy_id",
        {"start": start, "end": end, "settled": list(SETTLED)},
    )
    told = []
    for (strategy,), rows in bets.group_by(["strategy_id"], maintain_order=True):
        roi = roi_interval(rows["profit"], rows["stake"], rows["race_date"].to_numpy())
        # A week without a winner shows no spread, so it has no interval.
        wide = roi.days >= DAYS_FOR_AN_INTERVAL and math.isfinite(roi.low)
        told.append(
            {
                "strategy": strategy,
                "bets": rows.height,
                "profit": number(float(rows["profit"].sum()), 1, signed=True),
                "roi": percent(roi.estimate, signed=True),
                "interval": f"{percent(roi.low, signed=True)} to {percent(roi.high, signed=True)}" if wide else "",
            }
        )
    return told


def _drift(connection: duckdb.DuckDBPyConnection) -> dict[str, Any] | None:
    if not table_exists(connection, "monitoring/drift_report"):
        return None
    rows = frame_of(connection, 'select family, "column", verdict, current_end from monitoring.drift_report')
    if rows.is_empty():
        return None
    moved = rows.filter(pl.col("verdict") != "quiet")
    return {
        "columns": rows.height,
        "moved": moved.height,
        "until": rows["current_end"].max(),
        "names": [f"{row['column']} ({row['verdict']})" for row in moved.head(8).to_dicts()],
    }


def _quality(connection: duckdb.DuckDBPyConnection, start: date, end: date, price_kind: str) -> dict[str, Any] | None:
    """What landed during the week, what of it was rejected; races of the week that don't settle, its partial books.

    Of `price_kind` alone: prices in running comments are known of the runners that the comment tells of.
    """
    if not table_exists(connection, "landing/manifest"):
        return None
    rows = connection.execute(
        "select count(*), coalesce(sum(rows), 0), coalesce(sum(rejected_rows), 0), "
        "count(*) filter (status = 'refused') from landing.manifest where landed_at::date between ? and ?",
        [start, end],
    ).fetchall()
    files, landed, rejected, refused = rows[0]
    unsettled = unpriced = 0
    if table_exists(connection, "core/results"):
        unsettled = connection.execute(
            "select count(*) from (select race_key from core.results where race_date between ? and ? "
            "group by race_key having abs(sum(win_share) - 1) > 1e-6)",
            [start, end],
        ).fetchall()[0][0]
    if table_exists(connection, "core/prices"):
        unpriced = connection.execute(
            "select count(distinct race_key) from core.prices "
            "where race_date between ? and ? and price_kind = ? and not book_complete",
            [start, end, price_kind],
        ).fetchall()[0][0]
    return {
        "files": int(files),
        "rows": int(landed),
        "rejected": int(rejected),
        "refused": int(refused),
        "unsettled": int(unsettled),
        "partial_books": int(unpriced),
    }


def _changes(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> list[str]:
    """What is different from the week before: cards that changed, tables rebuilt, decisions."""
    told = []
    if table_exists(connection, "core/card_changes"):
        rows = connection.execute(
            "select change, count(*) from core.card_changes where race_date between ? and ? "
            "group by 1 order by 2 desc, 1",
            [start, end],
        ).fetchall()
        if rows:
            told.append("Between card and result: " + ", ".join(f"{count} {change}" for change, count in rows) + ".")
    if table_exists(connection, "serving/prediction_outcomes"):
        rows = connection.execute(
            "select outcome, count(distinct race_id) from serving.prediction_outcomes "
            "where race_date between ? and ? and outcome <> 'settled' group by 1 order by 1",
            [start, end],
        ).fetchall()
        told += [f"Predictions without a settled result: {outcome}, {count} races." for outcome, count in rows]
    if table_exists(connection, "monitoring/retrain_decision"):
        rows = connection.execute(
            "select decided_at::date, reason from monitoring.retrain_decision "
            "where retrain and decided_at::date between ? and ? order by 1",
            [start, end],
        ).fetchall()
        told += [f"{decided}: a training was asked for; {reason}." for decided, reason in rows]
    return told


def _decision(connection: duckdb.DuckDBPyConnection, end: date) -> dict[str, Any] | None:
    """The decision as of the end of the week; the newest of all where that week was over before the first."""
    if not table_exists(connection, "monitoring/retrain_decision"):
        return None
    rows = frame_of(
        connection,
        "select decided_at::date as day, retrain, reason, cusum, cusum_threshold, races_since "
        "from monitoring.retrain_decision order by decided_at::date <= ? desc, decided_at desc limit 1",
        [end + timedelta(days=1)],
    )
    return rows.to_dicts()[0] if rows.height else None


def _headline(content: dict[str, Any], start: date, end: date) -> str:
    races = content["races"]["with_result"]
    if not races:
        return f"No racing from {start} to {end}."
    spoken_for = content["spoken_for"]
    if spoken_for is None:
        return f"{races} races, none of them predicted beforehand."
    return f"{spoken_for['races']} of {races} races predicted; gap to the market {spoken_for['gap']} nats a race."


def _data_uri(png: bytes) -> str:
    import base64

    return "data:image/png;base64," + base64.b64encode(png).decode()
