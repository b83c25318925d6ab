"""The picture of drift over the reports.

Belongs here: the drawing. Does not belong here: the history itself (monitoring.drift_history).
"""

from __future__ import annotations

import polars as pl

from velo_assets.reports.plots import MUTED, RED, new_figure, style, to_png

MOST_FAMILIES = 20
LEAST_COLUMNS = 10

MOST_REPORTS = 60
"""Two months of nights: more columns would leave no room for their numbers. The table keeps them all."""


def drift_history_png(history: pl.DataFrame) -> bytes:
    """Families by report: colour is the largest PSI over its limit, a number the columns that moved.

    The `MOST_REPORTS` latest reports, and of the families those that moved most in these.

    Args:
        history: `report_date, family, moved, worst_ratio`, see `monitoring.drift_history.keep_drift`.

    Raises:
        ValueError: there is no report yet.
    """
    if history.is_empty():
        raise ValueError("drift history: no report has been kept yet; materialize monitoring/drift_report first")
    from matplotlib.colors import LinearSegmentedColormap

    dates = history["report_date"].unique().sort().tail(MOST_REPORTS).to_list()
    history = history.filter(pl.col("report_date") >= dates[0])
    worst = history.group_by("family").agg(pl.col("worst_ratio").max())
    worst = worst.sort("worst_ratio", "family", descending=[True, False], nulls_last=True)
    families = worst["family"].head(MOST_FAMILIES).to_list()
    ratio = {(row["family"], row["report_date"]): row for row in history.to_dicts()}
    cells = [[(ratio.get((family, day)) or {}).get("worst_ratio") for day in dates] for family in families]
    shades = LinearSegmentedColormap.from_list("drift", ["#ffffff", "#bcd9c8", "#e8c27a", "#cf7f4f", RED])
    with style():
        figure, axes = new_figure((7.0, 0.9 + 0.26 * len(families)))
        values = [[float("nan") if cell is None else min(cell, 2.0) for cell in row] for row in cells]
        axes.imshow(values, aspect="auto", cmap=shades, vmin=0.0, vmax=2.0)
        for y, family in enumerate(families):
            for x, day in enumerate(dates):
                row = ratio.get((family, day))
                if row is not None and row["moved"]:
                    axes.annotate(str(row["moved"]), (x, y), ha="center", va="center", fontsize=7)
        # The first reports are columns among others to come, not a wall.
        axes.set_xlim(-0.5, max(len(dates), LEAST_COLUMNS) - 0.5)
        step = max(1, len(dates) // 8)
        axes.set_xticks(range(0, len(dates), step), [f"{day:%-d %b %y}" for day in dates[::step]])
        axes.set_yticks(range(len(families)), families)
        axes.set_xlabel("report; amber = at its limit, red = twice or more, numbers = columns that moved", color=MUTED)
        axes.grid(False)
    return to_png(figure)
