"""The picture of drift over the reports.

Belongs here: the drawing. Does not belong here: the history itself (monitoring.drift_history).
"""

from __future__ import annotations

import polars as pl

from velo_assets.reports.plots import GREEN, MUTED, RED, new_figure, style, to_png

MOST_FAMILIES = 20


def drift_history_png(history: pl.DataFrame) -> bytes:
    """Families by report: colour is the largest PSI over its threshold, a number the columns that moved.

    Args:
        history: `report_date, family, moved, worst_ratio`, see `monitoring.drift_history.keep_drift`.

    Raises:
        ValueError: there is no report yet.
    """
    if history.is_empty():
        raise ValueError("drift history: no report has been kept yet; materialize monitoring/drift_report first")
    from matplotlib.colors import LinearSegmentedColormap

    worst = history.group_by("family").agg(pl.col("worst_ratio").max()).sort("worst_ratio", descending=True)
    families = worst["family"].head(MOST_FAMILIES).to_list()
    dates = history["report_date"].unique().sort().to_list()
    ratio = {(row["family"], row["report_date"]): row for row in history.to_dicts()}
    cells = [[(ratio.get((family, day)) or {}).get("worst_ratio") for day in dates] for family in families]
    shades = LinearSegmentedColormap.from_list("drift", ["#ffffff", GREEN, "#e8c27a", RED])
    with style():
        figure, axes = new_figure((7.0, 0.9 + 0.26 * len(families)))
        values = [[float("nan") if cell is None else min(cell, 2.0) for cell in row] for row in cells]
        axes.imshow(values, aspect="auto", cmap=shades, vmin=0.0, vmax=2.0)
        for y, family in enumerate(families):
            for x, day in enumerate(dates):
                row = ratio.get((family, day))
                if row is not None and row["moved"]:
                    axes.annotate(str(row["moved"]), (x, y), ha="center", va="center", fontsize=7)
        step = max(1, len(dates) // 8)
        axes.set_xticks(range(0, len(dates), step), [f"{day:%Y-%m-%d}" for day in dates[::step]])
        axes.set_yticks(range(len(families)), families)
        axes.set_xlabel("report; red = twice the threshold or more, numbers = columns that moved", color=MUTED)
        axes.grid(False)
    return to_png(figure)
