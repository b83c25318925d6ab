"""Pictures of the reports: one palette, one typography, SVG for pages and PNG for the UI's metadata.

Belongs here: drawing. Every function takes frames with the numbers and draws them; none computes a metric.
Matplotlib is imported inside the functions (it costs half a second) and used without pyplot, so that threads can't
clash.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from velo_assets.modelling.blend import ProfileLikelihood

INK = "#1b2330"
MUTED = "#69727d"
GRID = "#e7e4dc"
GREEN = "#0f6b4c"
GREEN_SOFT = "#d3e5dc"
GOLD = "#b9791f"
RED = "#b23b2b"
BLUE = "#35608f"
"""Green is ours, blue the market, gold the doubt (nulls, price-free model), red a loss. They differ in lightness as
well as in hue."""

SMALL = (4.6, 3.15)
WIDE = (11.0, 4.0)
TALL = (4.6, 4.4)
"""Figure sizes in inches: a card, the full width of a desk, and a phone."""

MAX_POINTS = 400
"""Points of a line in a page; more can't be seen and would bloat the file."""


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings of every picture."""
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "svg.fonttype": "none",
        "svg.hashsalt": "velo",
        "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED,
        "axes.labelsize": 9.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "lines.linewidth": 1.8,
        "lines.solid_capstyle": "round",
        "figure.facecolor": "white",
        "axes.facecolor": "white",
        "legend.frameon": False,
        "legend.fontsize": 9,
    }
    with mpl.rc_context(settings):
        yield


def new_figure(size: tuple[float, float], rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure with its axes, on the Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def to_png(figure: Figure, dpi: int = 130) -> bytes:
    """The picture as PNG bytes."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=dpi)
        _keep_layout(figure)
    return buffer.getvalue()


def to_svg(figure: Figure, label: str) -> str:
    """The picture as an inline SVG element that scales with its box and takes the page's font.

    Args:
        figure: the picture.
        label: what it shows, for readers that can't see it; escaped here.

    Returns:
        `<svg ...>...</svg>` without XML prologue.
    """
    from html import escape

    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
        _keep_layout(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    box = re.search(r'viewBox="[^"]+"', head)
    view = box.group(0) if box else ""
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view} role="img" '
    return f'{opening}aria-label="{escape(label, quote=True)}">{rest.strip()}'


def equity_curve(equity: pl.DataFrame, null: pl.DataFrame, trials: int, size: tuple[float, float] = WIDE) -> Figure:
    """Cumulated profit with its band, the best-of-K null, and the drawdown below.

    Args:
        equity: from `betting.metrics.equity`.
        null: from `betting.metrics.null_band`; may be empty.
        trials: K, for the label.
        size: inches.
    """
    with style():
        figure, (top, bottom) = new_figure(size, 2, 1, sharex=True, gridspec_kw={"height_ratios": [3.4, 1]})
        rows = _thinned(equity)
        days = rows.get_column("race_date").to_numpy()
        top.fill_between(days, rows["band_low"], rows["band_high"], color=GREEN_SOFT, linewidth=0)
        top.axhline(0, color=MUTED, linewidth=0.8)
        labels = [(float(rows["cumulative"][-1]), "this strategy", GREEN)] if len(days) else []
        if not null.is_empty():
            doubt = _thinned(null)
            top.plot(doubt["race_date"], doubt["null_best"], color=GOLD, linewidth=1.3, linestyle=(0, (4, 2)))
            top.plot(doubt["race_date"], doubt["null_mean"], color=MUTED, linewidth=1.1, linestyle=(0, (1, 1.5)))
            labels += [
                (float(doubt["null_best"][-1]), f"best of {trials:,} without skill (95%)", GOLD),
                (float(doubt["null_mean"][-1]), "expected without skill", MUTED),
            ]
        top.plot(days, rows["cumulative"], color=GREEN)
        top.set_ylabel("profit, units")
        bottom.fill_between(days, rows["drawdown"], 0, color=RED, alpha=0.75, linewidth=0)
        bottom.set_ylabel("drawdown")
        bottom.locator_params(axis="y", nbins=3)
        for axes in (top, bottom):
            axes.grid(axis="x", visible=False)
            _thousands(axes)
        _dates(bottom)
        narrow = size[0] < 7
        if len(days):
            _end_labels(top, days[-1], labels, narrow)
        return figure


def roi_by_group(table: pl.DataFrame, size: tuple[float, float] = SMALL) -> Figure:
    """ROI with its interval per group; a group whose interval lies on one side of 0 is filled.

    Args:
        table: from `betting.metrics.breakdown`, of one strategy.
        size: inches.
    """
    with style():
        figure, axes = new_figure(size)
        rows = table.reverse()
        place = np.arange(rows.height)
        axes.axvline(0, color=MUTED, linewidth=0.9)
        roi = 100 * rows.get_column("roi").to_numpy()
        low = 100 * rows.get_column("roi_low").fill_null(float("nan")).to_numpy()
        high = 100 * rows.get_column("roi_high").fill_null(float("nan")).to_numpy()
        for index in range(rows.height):
            colour = GREEN if low[index] > 0 else RED if high[index] < 0 else MUTED
            if np.isfinite(low[index]):
                axes.plot([low[index], high[index]], [index, index], color=colour, linewidth=2.4, alpha=0.45)
            axes.plot(roi[index], index, "o", color=colour, markersize=6.5)
        words = [
            f"{re.sub(r'^[0-9]+: ', '', group)}\n{bets:,} bets"
            for group, bets in zip(rows["group"], rows["bets"], strict=True)
        ]
        axes.set_yticks(place, words, fontsize=8.5, color=INK)
        axes.set_ylim(-0.6, max(rows.height - 0.4, 0.6))
        axes.set_xlabel("return on stakes, %")
        axes.grid(axis="y", visible=False)
        return figure


def reliability_diagram(series: Sequence[tuple[str, str, pl.DataFrame]], size: tuple[float, float] = SMALL) -> Figure:
    """Predicted against actual win rate, log scales, with 95% bars of chance.

    Args:
        series: (label, colour, table of `modelling.calibration.reliability_table`) each.
        size: inches.
    """
    with style():
        figure, axes = new_figure(size)
        floor, top = 0.005, 0.6
        axes.plot([floor / 2, 0.9], [floor / 2, 0.9], color=MUTED, linewidth=0.9)
        for shift, (label, colour, table) in enumerate(series):
            predicted, actual = table["mean_probability"].to_numpy(), table["win_rate"].to_numpy()
            bar = 1.96 * table["standard_error"].to_numpy()
            seen = (actual > 0) & (predicted > 0)
            if seen.any():
                floor = min(floor, 0.7 * float(predicted[seen].min()), 0.7 * float(actual[seen].min()))
                top = max(top, 1.3 * float(max(predicted[seen].max(), actual[seen].max())))
            lower = np.minimum(bar, 0.95 * actual)
            marker = {"fmt": "o", "markersize": 5.5} if shift == 0 else {"fmt": "s", "markersize": 4, "mfc": "white"}
            axes.errorbar(
                predicted[seen],
                actual[seen],
                yerr=[lower[seen], bar[seen]],
                color=colour,
                label=label,
                elinewidth=1,
                **marker,
            )
        axes.set(xscale="log", yscale="log", xlim=(floor, min(top, 1.0)), ylim=(floor, min(top, 1.0)))
        _percent_log(axes, both=True)
        axes.set_xlabel("predicted chance")
        axes.set_ylabel("won")
        axes.legend(loc="upper left", handletextpad=0.3)
        return figure


def split_calibration(table: pl.DataFrame, size: tuple[float, float] = SMALL) -> Figure:
    """Actual over expected where the model is above and below the market; flat at 1 for a good blend.

    Args:
        table: from `modelling.calibration.split_by_market`.
        size: inches.
    """
    with style():
        figure, axes = new_figure(size)
        axes.axhline(1.0, color=MUTED, linewidth=0.9)
        extent = 0.3
        for side, colour, marker in (("above", GREEN, "o"), ("below", BLUE, "s")):
            rows = table.filter(pl.col("side") == side) if not table.is_empty() else table
            if rows.is_empty():
                continue
            expected, ratio = rows["mean_probability"].to_numpy(), rows["actual_over_expected"].to_numpy()
            bar = 1.96 * rows["standard_error"].to_numpy() / expected
            extent = max(extent, float(np.quantile(np.abs(ratio - 1) + bar, 0.85)))
            axes.errorbar(
                expected,
                ratio,
                yerr=bar,
                color=colour,
                fmt=f"{marker}-",
                markersize=5,
                linewidth=1.1,
                elinewidth=1,
                label=f"model {side} market",
            )
        axes.set(xscale="log", ylim=(max(0.0, 1 - 1.1 * extent), 1 + 1.3 * extent))
        _percent_log(axes)
        axes.set_xlabel("predicted chance")
        axes.set_ylabel("wins / expected")
        axes.legend(loc="upper right", handletextpad=0.4)
        return figure


def r2_per_fold(folds: Sequence[dict[str, Any]], shipped: str = "blend", size: tuple[float, float] = SMALL) -> Figure:
    """R2 of market, price-free model and shipped recipe per fold, and below the gain over the market with its interval.

    Args:
        folds: the scoreboard's folds.
        shipped: recipe.
        size: inches.
    """
    with style():
        figure, (top, bottom) = new_figure(size, 2, 1, sharex=True, gridspec_kw={"height_ratios": [1.25, 1]})
        years = np.array([row["year"] for row in folds])
        place = np.arange(len(years))
        for key, label, colour, marker in (
            ("r2_market", "market", BLUE, "s"),
            (f"r2_{shipped}", shipped, GREEN, "o"),
            ("r2_fundamental", "price-free", GOLD, "^"),
        ):
            values = _column(folds, key)
            if np.isfinite(values).any():
                hollow = "white" if key == "r2_market" else colour
                size_of = 8.0 if key == "r2_market" else 4.5
                top.plot(
                    place,
                    values,
                    marker,
                    color=colour,
                    mfc=hollow,
                    markersize=size_of,
                    label=label,
                    linestyle="-",
                    linewidth=0.8,
                )
        top.set_ylabel("R²")
        top.margins(y=0.25)
        top.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=3,
            handlelength=1.2,
            columnspacing=1.2,
            borderaxespad=0.1,
        )
        gain = 1000 * _column(folds, "delta_r2")
        limits = 1000 * np.array(
            [[_float(end) for end in (row.get("delta_r2_ci") or (None, None))] for row in folds]
        ).reshape(-1, 2)
        bottom.axhline(0, color=MUTED, linewidth=0.9)
        for index in range(len(years)):
            colour = GREEN if limits[index, 0] > 0 else RED if limits[index, 1] < 0 else MUTED
            bottom.plot([index, index], limits[index], color=colour, linewidth=2.4, alpha=0.45)
            bottom.plot(index, gain[index], "o", color=colour, markersize=5)
        bottom.set_ylabel("gain × 1000")
        bottom.set_xticks(place, [str(year) for year in years], rotation=0 if len(years) < 9 else 60)
        for axes in (top, bottom):
            axes.grid(axis="x", visible=False)
            axes.locator_params(axis="y", nbins=4)
        return figure


def alpha_beta_per_fold(folds: Sequence[dict[str, Any]], size: tuple[float, float] = SMALL) -> Figure:
    """Weights of the blend per fold with two standard errors.

    Args:
        folds: the scoreboard's folds.
        size: inches.
    """
    with style():
        figure, (top, bottom) = new_figure(size, 2, 1, sharex=True)
        years = [row["year"] for row in folds]
        place = np.arange(len(years))
        for axes, name, label, colour, neutral in (
            (top, "beta", "β  on the market", BLUE, 1.0),
            (bottom, "alpha", "α  on the model", GREEN, 0.0),
        ):
            axes.axhline(neutral, color=MUTED, linewidth=0.9)
            values, error = _column(folds, name), 2 * _column(folds, f"{name}_se")
            axes.errorbar(
                place,
                values,
                yerr=np.nan_to_num(error),
                fmt="o",
                color=colour,
                markersize=5.5,
                elinewidth=2.0,
                capsize=0,
            )
            axes.set_title(label, color=colour, fontsize=9.5, pad=4)
            axes.margins(x=0.08, y=0.2)
            axes.grid(axis="x", visible=False)
            axes.locator_params(axis="y", nbins=4)
        bottom.set_xticks(place, [str(year) for year in years], rotation=0 if len(years) < 9 else 60)
        return figure


def profile_picture(profile: ProfileLikelihood, size: tuple[float, float] = SMALL) -> Figure:
    """Log-likelihood of the blend's weights around its maximum: rings, and each weight's profile at its side.

    Args:
        profile: of the blend.
        size: inches.
    """
    with style():
        figure, ((top, corner), (axes, side)) = new_figure(
            size, 2, 2, sharex="col", sharey="row", width_ratios=(4, 1), height_ratios=(1, 4)
        )
        corner.set_axis_off()
        alpha, beta, surface = profile.alpha, profile.beta, profile.surface
        # Half the chi-square points of two degrees of freedom: 99%, 95% and 68%.
        levels = [-4.605, -2.996, -1.139]
        axes.contourf(alpha, beta, surface, levels=[*levels, 0.0], colors=["#e6efea", GREEN_SOFT, "#8fbfa8"])
        axes.contour(alpha, beta, surface, levels=levels, colors=GREEN, linewidths=1.0)
        row, column = np.unravel_index(int(np.argmax(surface)), surface.shape)
        axes.plot(alpha[column], beta[row], "o", color=GREEN, markersize=5)
        axes.plot(0.0, 1.0, "x", color=BLUE, markersize=8, markeredgewidth=2)
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        axes.axhline(1.0, color=MUTED, linewidth=0.8)
        axes.set_xlabel("α  on the model")
        axes.set_ylabel("β  on the market")
        top.plot(alpha, profile.alpha_profile, color=GREEN)
        side.plot(profile.beta_profile, beta, color=BLUE)
        # Half the chi-square point of one degree of freedom: where a weight's own 95% interval ends.
        top.axhline(-1.921, color=MUTED, linewidth=0.8, linestyle=":")
        side.axvline(-1.921, color=MUTED, linewidth=0.8, linestyle=":")
        for profiled in (top, side):
            profiled.tick_params(labelsize=7)
        top.locator_params(axis="y", nbins=2)
        side.locator_params(axis="x", nbins=2)
        return figure


def monthly_heat_map(table: pl.DataFrame, size: tuple[float, float] | None = None) -> Figure:
    """Profit per calendar month, one row per year.

    Args:
        table: `breakdown(..., 'year_month')` of one strategy.
        size: inches; by default as high as the years need.
    """
    from matplotlib.colors import LinearSegmentedColormap

    with style():
        years = sorted({str(group)[:4] for group in table["group"]})
        grid = np.full((max(len(years), 1), 12), np.nan)
        for group, profit in zip(table["group"], table["profit"], strict=True):
            grid[years.index(str(group)[:4]), int(str(group)[5:7]) - 1] = profit
        figure, axes = new_figure(size or (SMALL[0], max(SMALL[1], 0.42 * len(years) + 0.8)))
        colours = LinearSegmentedColormap.from_list("velo", [RED, "#e9c9c1", "#f7f5ef", "#bfdbcd", GREEN])
        scale = float(np.nanquantile(np.abs(grid), 0.95)) if np.isfinite(grid).any() else 1.0
        axes.pcolormesh(grid, cmap=colours, vmin=-scale, vmax=scale, edgecolors="white", linewidth=2)
        for (row, column), value in np.ndenumerate(grid):
            if np.isfinite(value):
                strong = abs(value) > 0.62 * scale
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    f"{value:+.0f}".replace("-", "−"),
                    ha="center",
                    va="center",
                    fontsize=7.6,
                    color="white" if strong else INK,
                )
        axes.set_xticks(np.arange(12) + 0.5, list("JFMAMJJASOND"))
        axes.set_yticks(np.arange(len(years)) + 0.5, years)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        return figure


def _keep_layout(figure: Figure) -> None:
    """Keep the layout found by the first drawing: finding it anew costs as much as the drawing itself."""
    figure.set_layout_engine("none")


def _thinned(table: pl.DataFrame) -> pl.DataFrame:
    """At most `MAX_POINTS` rows, first and last kept."""
    if table.height <= MAX_POINTS:
        return table
    rows: NDArray[np.int64] = np.unique(np.linspace(0, table.height - 1, MAX_POINTS).astype(np.int64))
    return table[rows]


def _end_labels(axes: Axes, last: np.datetime64, labels: list[tuple[float, str, str]], narrow: bool) -> None:
    """Name the lines at their right end, or above the picture where there is no room."""
    if narrow:
        for position, (_, words, colour) in enumerate(labels):
            axes.text(
                0.0,
                1.03 + 0.085 * (len(labels) - 1 - position),
                words,
                transform=axes.transAxes,
                color=colour,
                fontsize=9,
            )
        return
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    placed: list[float] = []
    for value, words, colour in sorted(labels, key=lambda item: -item[0]):
        height = value if not placed else min(value, placed[-1] - gap)
        placed.append(height)
        axes.annotate(
            words,
            (last, height),
            xytext=(8, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=9,
            annotation_clip=False,
        )


def _dates(axes: Axes) -> None:
    """Years, or months on a short record, below the picture."""
    # Matplotlib's date module carries no types; it is taken as it is.
    dates: Any = import_module("matplotlib.dates")
    locator = dates.AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, show_offset=False))


def _thousands(axes: Axes) -> None:
    """1,000 with a comma and a true minus sign."""
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace("-", "−")))


def _percent_log(axes: Axes, *, both: bool = False) -> None:
    """Plain percentages on log axes."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    ticks = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0]
    for axis in (axes.xaxis, axes.yaxis) if both else (axes.xaxis,):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axis.set_minor_formatter(NullFormatter())


def _column(rows: Sequence[dict[str, Any]], key: str) -> NDArray[np.float64]:
    """Values of a key as floats, NaN for null."""
    return np.array([_float(row.get(key)) for row in rows], dtype=np.float64)


def _float(value: float | None) -> float:
    return float("nan") if value is None else float(value)
