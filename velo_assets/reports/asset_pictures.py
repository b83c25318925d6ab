"""Pictures that the assets show in the Dagster UI, as PNG bytes.

Belongs here: small pictures of one asset's numbers. Does not belong here: the pictures of reports (plots.py), whose
style these borrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.modelling.calibration import reliability_table
from velo_assets.reports.plots import (
    BLUE,
    GOLD,
    GREEN,
    MUTED,
    RED,
    SMALL,
    new_figure,
    reliability_diagram,
    style,
    to_png,
)

_COLOURS = (GREEN, BLUE, GOLD, RED, MUTED)


def market_reliability_png(probability: NDArray[np.float64], win_share: NDArray[np.float64]) -> bytes:
    """How often runners won against what the price said.

    Args:
        probability: de-vigged market probability, shape (runners,).
        win_share: shape (runners,).
    """
    return to_png(reliability_diagram([("starting price", BLUE, reliability_table(probability, win_share))]))


def lines_per_fold_png(folds: Sequence[int], series: Mapping[str, Sequence[float | None]], label: str) -> bytes:
    """A line per series over the folds, such as R2 of model and market.

    Args:
        folds: years.
        series: name to one value a fold; None leaves a gap.
        label: of the vertical axis.
    """
    with style():
        figure, axes = new_figure(SMALL)
        for colour, (name, values) in zip(_COLOURS, series.items(), strict=False):
            numbers = np.array([np.nan if value is None else value for value in values], dtype=float)
            axes.plot(folds, numbers, color=colour, marker="o", markersize=4, linewidth=1.6, label=name)
        axes.set_xticks(list(folds))
        axes.set_ylabel(label)
        axes.legend(frameon=False)
    return to_png(figure)


def bars_png(
    table: pl.DataFrame,
    name: str,
    value: str,
    limit: str | None = None,
    rows: int = 20,
    *,
    beyond_is_good: bool = False,
) -> bytes:
    """Horizontal bars of the largest values, with a tick where each one's limit lies.

    Args:
        table: one row a bar.
        name: column of the labels.
        value: column of the lengths.
        limit: column of the limits; bars beyond theirs are red.
        rows: most bars shown.
        beyond_is_good: as of returns, whose limit is luck: bars beyond theirs are green, losses red, the others grey.
    """
    shown = table.filter(pl.col(value).is_not_null()).sort(value, descending=True).head(rows).reverse()
    place = np.arange(shown.height)
    lengths = shown[value].to_numpy()
    with style():
        figure, axes = new_figure((6.0, 0.6 + 0.22 * max(shown.height, 4)))
        limits = shown[limit].fill_null(float("inf")).to_numpy() if limit else np.full(shown.height, np.inf)
        axes.barh(place, lengths, color=bar_colours(lengths, limits, beyond_is_good=beyond_is_good), height=0.7)
        if limit:
            axes.scatter(limits[np.isfinite(limits)], place[np.isfinite(limits)], marker="|", s=90, color=MUTED)
        axes.set_yticks(place, shown[name].to_list())
        axes.set_xlabel(value.replace("_", " "))
    return to_png(figure)


def bar_colours(
    lengths: NDArray[np.float64], limits: NDArray[np.float64], *, beyond_is_good: bool = False
) -> list[str]:
    """Colours of `bars_png`, shape (bars,) each: green is ours, red a loss or an alarm."""
    if beyond_is_good:
        return [RED if a < 0 else GREEN if a > b else MUTED for a, b in zip(lengths, limits, strict=True)]
    return [RED if a > b else GREEN for a, b in zip(lengths, limits, strict=True)]


def gap_png(days: pl.DataFrame) -> bytes:
    """Log-loss gap to the market, cumulated over racing days.

    Args:
        days: race_date, races, gap_to_market (mean per race), in order of time.
    """
    with style():
        figure, axes = new_figure(SMALL)
        total = (days["gap_to_market"] * days["races"]).cum_sum().to_numpy()
        axes.axhline(0.0, color=MUTED, linewidth=0.9)
        axes.plot(days["race_date"].to_numpy(), total, color=GREEN, linewidth=1.4)
        axes.set_ylabel("nats, sum over races")
        figure.autofmt_xdate()
    return to_png(figure)
