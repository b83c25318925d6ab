"""The drift report of a data root: the latest racing against what the serving model was trained on.

Belongs here: choosing the two periods, the families, the pages. Does not belong here: the statistics (drift.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from velo_assets.ingestion.manifest import results_kind
from velo_assets.monitoring.drift import drift_table, write_evidently
from velo_assets.monitoring.triggers import beyond_usual, same_season
from velo_assets.reports.asset_pictures import bars_png
from velo_assets.reports.pages import banners, render_page, write_page
from velo_assets.settings import DataRoot
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import read_matrix
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import all_tables

REFERENCE_ROWS = 200_000
"""Rows of the training years, whole days of them evenly spread; more would not move a threshold."""

DRAW_SEED = 7
"""Of the days drawn where there are more rows than that."""

LEAST_DAYS_SINCE = 15
"""Racing days since the training that are worth a report of their own; with fewer, the last calendar year is held
against the years before it."""

CURRENT_DAYS = 365
"""Days looked at, at most: a longer period would hide what has just begun."""

REGIME_BREAKS = (
    (date(2020, 3, 18), "no racing in Britain and Ireland from mid-March to June 2020"),
    (date(2020, 6, 1), "starting prices in Britain are made from off-course prices since mid-2020"),
)
"""Known breaks of the series; a drift that begins at one is explained by it."""


@dataclass(frozen=True)
class DriftReport:
    """What was measured and written.

    Attributes:
        table: a row per column, see `drift.drift_table` and `triggers.beyond_usual`, with the two periods.
        pages: Evidently page of each family.
        page: our own summary page.
        picture: PNG of the columns that moved most.
        breaks: known breaks of the series between the first reference day and the last current one.
    """

    table: pl.DataFrame
    pages: dict[str, Path]
    page: Path
    picture: bytes
    breaks: tuple[str, ...]

    def count(self, verdict: str) -> int:
        """Columns with a verdict."""
        return self.table.filter(pl.col("verdict") == verdict).height


@dataclass(frozen=True)
class Periods:
    """The two spans that are compared, ends included."""

    reference_start: date
    reference_end: date
    current_start: date
    current_end: date


def choose_periods(race_dates: pl.Series, training: tuple[date, date] | None) -> Periods:
    """The serving model's training window against the racing since, the last year of it at most.

    Args:
        race_dates: days with racing, in any order, repeats allowed.
        training: first and last training day of the serving model; None when there is none.

    Returns:
        The window against what followed; with fewer than `LEAST_DAYS_SINCE` racing days since, or without a model, the
        last calendar year against the years before it.

    Raises:
        ValueError: there is no year with a year before it.
    """
    days = race_dates.unique().sort()
    first, last = days[0], days[-1]
    if training is not None:
        start, end = max(training[0], first), training[1]
        since = days.filter(days > end)
        if start <= end and len(since) >= LEAST_DAYS_SINCE:
            return Periods(start, end, max(since[0], last - timedelta(days=CURRENT_DAYS - 1)), last)
    cutoff = date(last.year, 1, 1)
    before = days.filter(days < cutoff)
    if before.is_empty():
        raise ValueError(f"drift: {last.year} is the only year with features; there is nothing to compare it with.")
    return Periods(first, before[-1], days.filter(days >= cutoff)[0], last)


def write_drift_report(
    root: DataRoot, warehouse: Warehouse, training: tuple[date, date] | None = None, *, closing_price: bool
) -> DriftReport:
    """Measure drift of features, predictions and target, and write the pages.

    Args:
        root: the data root; pages go to reports/drift_report.html and reports/drift/.
        warehouse: held only while predictions are read.
        training: first and last training day of the serving model; None when there is none.
        closing_price: whether predictions rest on a price that is known at the off only.

    Raises:
        ValueError: there is no year with a year before it.
    """
    with warehouse.connect("reading predictions for the drift report") as connection:
        outcome = frame_of(
            connection,
            """
            select entries.runner_key, results.win_share,
                blend.blend_probability, fundamental.fundamental_probability
            from core.entries
            inner join core.races on races.race_key = entries.race_key and races.stage = 'result'
            left join core.results on results.runner_key = entries.runner_key
            left join models.blend on blend.runner_key = entries.runner_key
            left join models.fundamental on fundamental.runner_key = entries.runner_key
            """,
        )
        simulated = results_kind(connection) == "simulated"
    # Cards have no result yet: they are not what has been raced.
    raced = read_matrix(root.exports, last_year=9999, columns=()).join(outcome, on="runner_key", how="semi")
    periods = choose_periods(raced["race_date"], training)
    start, end = periods.current_start, periods.current_end
    before = _some_days(raced, periods.reference_start, periods.reference_end)
    now = _some_days(raced, start, end)
    matrix = _rows_of(root, pl.concat([before, now]).unique()).join(outcome, on="runner_key", how="inner")
    reference = matrix.filter(pl.col("race_date").is_in(before.implode()))
    current = matrix.filter(pl.col("race_date").is_in(now.implode()))
    season = same_season(reference, start, end)
    # A stretch of weeks that the training years never raced in has no season of its own to be held against.
    season = reference if season.is_empty() else season
    families = _families(matrix)
    outcomes = {"predictions": ["blend_probability", "fundamental_probability"], "target": ["win_share"]}
    families |= {
        family: [name for name in names if reference[name].count() and current[name].count()]
        for family, names in outcomes.items()
    }
    table = (
        beyond_usual(drift_table(season, current, families), reference, start, end)
        .sort(pl.col("verdict") == "quiet", maintain_order=True)
        .with_columns(pl.lit(value, dtype=pl.Date).alias(name) for name, value in vars(periods).items())
    )
    breaks = tuple(words for day, words in REGIME_BREAKS if periods.reference_start <= day <= end)
    worst_first = {family: table.filter(pl.col("family") == family)["column"].to_list() for family in families}
    pages = write_evidently(season, current, worst_first, root.reports / "drift")
    page = root.reports / "drift_report.html"
    html = render_page(
        "drift.html.j2",
        banners=banners(simulated=simulated, closing_price=closing_price),
        facts=f"{start} to {end} against {periods.reference_start} to {periods.reference_end}",
        footer="Made by VELO. Thresholds resample whole racing days of the reference; one column in a thousand crosses "
        "its threshold when nothing has changed. The usual is the largest movement between two training years of the "
        "same season. Missingness is judged first, as it explains the rest.",
        rows=table.to_dicts(),
        families=[
            {
                "name": family,
                "link": f"drift/{path.name}" if (path := pages.get(family)) else None,
                "columns": len(names),
                "moved": table.filter((pl.col("family") == family) & (pl.col("verdict") != "quiet")).height,
            }
            for family, names in families.items()
        ],
        breaks=breaks,
    )
    write_page(page, html)
    return DriftReport(table, pages, page, bars_png(table, "column", "psi", "psi_threshold"), breaks)


def _families(matrix: pl.DataFrame) -> dict[str, list[str]]:
    """Feature family to its columns in the matrix."""
    present = set(matrix.columns) - {"race_date", "race_key", "runner_key"}
    return {
        table.table: names
        for table in all_tables()
        if table.schema == "features" and table.table != "runner_features"
        if (names := [column.name for column in table.columns if column.name in present])
    }


def _some_days(raced: pl.DataFrame, first: date, last: date) -> pl.Series:
    """One racing day, drawn, of every k in a row, so that at most REFERENCE_ROWS rows or so are on them.

    Every k-th day would be a Tuesday for months on end where racing is daily, and a Sunday for ever where it is twice a
    week: days of the week differ in class, code and size of the fields.
    """
    dates = raced["race_date"].filter(raced["race_date"].is_between(first, last))
    days = dates.unique().sort()
    every = max(-(-len(dates) // REFERENCE_ROWS), 1)
    firsts = np.arange(0, len(days), every)
    drawn = firsts + np.random.default_rng(DRAW_SEED).integers(0, every, len(firsts))
    return days.gather(np.minimum(drawn, len(days) - 1))


def _rows_of(root: DataRoot, days: pl.Series) -> pl.DataFrame:
    """The exported matrix on some days, read a year at a time: all of it would take a gigabyte and a half."""
    years = days.dt.year().unique().sort().to_list()
    wanted = pl.col("race_date").is_in(days.implode())
    return pl.concat(
        (read_matrix(root.exports, year, first_year=year).filter(wanted) for year in years), how="diagonal_relaxed"
    )
