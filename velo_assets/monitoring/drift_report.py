"""The drift report of a data root: the latest year against the years its model was trained on.

Belongs here: choosing the two periods, the families, the pages. Does not belong here: the statistics (drift.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from velo_assets.monitoring.drift import drift_table, write_evidently
from velo_assets.reports.asset_pictures import bars_png
from velo_assets.reports.pages import banners, render_page, write_page
from velo_assets.settings import DataRoot
from velo_assets.simulation.marker import data_kind
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import read_matrix
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import all_tables

REFERENCE_ROWS = 200_000
"""Rows of the training years, whole days of them evenly spread; more would not move a threshold."""

REGIME_BREAKS = (
    (date(2020, 3, 18), "no racing in Britain and Ireland from mid-March to June 2020"),
    (date(2020, 6, 1), "starting prices in Britain are made from off-course prices since mid-2020"),
)
"""Known breaks of the series; a drift that begins at one is explained by it."""


@dataclass(frozen=True)
class DriftReport:
    """What was measured and written.

    Attributes:
        table: a row per column, see `drift.drift_table`, with the two periods.
        pages: Evidently page of each family.
        page: our own summary page.
        picture: PNG of the columns that moved most.
    """

    table: pl.DataFrame
    pages: dict[str, Path]
    page: Path
    picture: bytes

    def count(self, verdict: str) -> int:
        """Columns with a verdict."""
        return self.table.filter(pl.col("verdict") == verdict).height


def write_drift_report(root: DataRoot, warehouse: Warehouse, price_kind: str) -> DriftReport:
    """Measure drift of features, predictions and target, and write the pages.

    Args:
        root: the data root; pages go to reports/drift_report.html and reports/drift/.
        warehouse: held only while predictions are read.
        price_kind: the decision price, named on the page.

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
            left join core.results on results.runner_key = entries.runner_key
            left join models.blend on blend.runner_key = entries.runner_key
            left join models.fundamental on fundamental.runner_key = entries.runner_key
            """,
        )
    matrix = read_matrix(root.exports, last_year=9999)
    last_day: date = matrix["race_date"].max()  # type: ignore[assignment]
    cutoff = date(last_day.year, 1, 1)
    reference, current = matrix.filter(pl.col("race_date") < cutoff), matrix.filter(pl.col("race_date") >= cutoff)
    if reference.is_empty():
        raise ValueError(f"drift: {last_day.year} is the only year with features; there is nothing to compare it with.")
    reference, current = (_some_days(part).join(outcome, on="runner_key", how="left") for part in (reference, current))
    families = _families(matrix)
    outcomes = {"predictions": ["blend_probability", "fundamental_probability"], "target": ["win_share"]}
    families |= {
        family: [name for name in names if reference[name].count() and current[name].count()]
        for family, names in outcomes.items()
    }
    periods: dict[str, date] = {
        name: value
        for part, frame in (("reference", reference), ("current", current))
        for name, value in ((f"{part}_start", frame["race_date"].min()), (f"{part}_end", frame["race_date"].max()))
        if isinstance(value, date)
    }
    table = drift_table(reference, current, families).with_columns(
        pl.lit(value, dtype=pl.Date).alias(name) for name, value in periods.items()
    )
    worst_first = {family: table.filter(pl.col("family") == family)["column"].to_list() for family in families}
    pages = write_evidently(reference, current, worst_first, root.reports / "drift")
    page = root.reports / "drift_report.html"
    html = render_page(
        "drift.html.j2",
        banners=banners(simulated=data_kind(root.raceform) == "simulated", closing_price=price_kind == "sp"),
        facts=f"{periods['current_start']} to {periods['current_end']} against "
        f"{periods['reference_start']} to {periods['reference_end']}",
        footer="Made by VELO. Thresholds resample whole racing days of the reference; one column in a thousand crosses "
        "its threshold when nothing has changed. Missingness is judged first, as it explains the rest.",
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
        breaks=[words for day, words in REGIME_BREAKS if periods["reference_start"] <= day <= periods["current_end"]],
    )
    write_page(page, html)
    return DriftReport(table, pages, page, bars_png(table, "column", "psi", "psi_threshold"))


def _families(matrix: pl.DataFrame) -> dict[str, list[str]]:
    """Feature family to its columns in the matrix."""
    present = set(matrix.columns) - {"race_date", "race_key", "runner_key"}
    return {
        table.table: names
        for table in all_tables()
        if table.schema == "features" and table.table != "runner_features"
        if (names := [column.name for column in table.columns if column.name in present])
    }


def _some_days(frame: pl.DataFrame) -> pl.DataFrame:
    """Every k-th day, so that at most REFERENCE_ROWS rows or so remain."""
    step = -(-frame.height // REFERENCE_ROWS)
    if step == 1:
        return frame
    days = frame["race_date"].unique().sort().gather_every(step)
    return frame.filter(pl.col("race_date").is_in(days.implode()))
