"""The error map: one page that says where SQPE, TIE and NDS are right, where they are wrong, and what is only noise.

Belongs here: choosing and wording what the page shows. Numbers come from `betting.error_map`, the look from
`templates/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from velo_assets.betting.error_map import PICKS, TAGS, notes
from velo_assets.reports.pages import banners, interval, number, percent, render_page, tone

MODULE_WORDS = {
    "sqpe": "The price-free form model. It is bound to be too fond of its own picks: they are where it misses what the "
    "market knows.",
    "tie": "The trainer's intent, as a correction of the market.",
    "nds": "The hype the market over-bets, as a correction of the market.",
}
"""What each module is, for a reader who meets its three letters here first."""

CONVERGENCE_WORDS = {0: "none of the three", 1: "one of the three", 2: "two of the three", 3: "all three"}

TWO_SIDED_95 = 1.96


def build_error_map_page(
    table: pl.DataFrame,
    scores: pl.DataFrame,
    convergence: pl.DataFrame,
    *,
    missing_tags: Mapping[str, str],
    simulated: bool,
    closing_price: bool,
) -> str:
    """Build the page.

    Args:
        table: `betting.error_map.error_map`.
        scores: `betting.error_map.module_scores`.
        convergence: `betting.error_map.convergence_table`.
        missing_tags: tags that could not be tested, and why.
        simulated: whether the races come from the simulator.
        closing_price: whether the market is the closing price.

    Returns:
        The self-contained page.
    """
    biased = table.filter(pl.col("verdict").is_not_null()).height
    headline = (
        f"{biased} of {table.height} cells of the error map show a bias."
        if biased
        else "No module shows a bias that stands out."
    )
    return render_page(
        "error_map.html.j2",
        banners=banners(simulated=simulated, closing_price=closing_price),
        facts=f"{int(scores['runners'].max() or 0):,} runners, out of sample" if scores.height else "",  # type: ignore[arg-type]
        footer="Made by VELO. Intervals and standard errors are by race day.",
        headline=headline,
        notes=notes(table),
        convergence=_convergence_rows(convergence),
        scores=_score_rows(scores),
        modules=[_module(table, module) for module in scores.get_column("module").to_list()],
        missing_tags=[(tag, why) for tag, why in missing_tags.items()],
        tags=[(tag.name, tag.words) for tag in TAGS],
    )


def _convergence_rows(convergence: pl.DataFrame) -> list[dict[str, Any]]:
    """One row for each number of modules above the market."""
    span = _span([*convergence["a_over_e_low"], *convergence["a_over_e_high"]], 1.0)
    return [
        {
            "name": CONVERGENCE_WORDS[row["modules_above"]],
            "runners": f"{row['runners']:,}",
            "wins": number(row["wins"], 0),
            "expected": number(row["expected_wins"], 0),
            "a_over_e": number(row["a_over_e"]),
            "tone": _ratio_tone(row),
            "ratio_interval": _plain_interval(row["a_over_e_low"], row["a_over_e_high"]),
            "mark": _mark(row["a_over_e"], row["a_over_e_low"], row["a_over_e_high"], span, 1.0, _ratio_tone(row)),
            "roi": percent(row["roi"], signed=True),
            "roi_tone": tone(row["roi_low"], row["roi_high"]),
            "roi_interval": interval(row["roi_low"], row["roi_high"]),
        }
        for row in convergence.iter_rows(named=True)
    ]


def _score_rows(scores: pl.DataFrame) -> list[dict[str, Any]]:
    """Confusion counts of each module."""
    return [
        {
            "module": row["module"].upper(),
            "about": MODULE_WORDS.get(row["module"], ""),
            "tp": f"{row['tp']:,}",
            "fp": f"{row['fp']:,}",
            "tn": f"{row['tn']:,}",
            "fn": f"{row['fn']:,}",
            "precision": percent(row["precision"]),
            "expected": percent(row["expected_precision"]),
            "base_rate": percent(row["base_rate"]),
            "recall": percent(row["recall"]),
            "f1": number(row["f1"], 3),
        }
        for row in scores.iter_rows(named=True)
    ]


def _module(table: pl.DataFrame, module: str) -> dict[str, Any]:
    """The error map of one module."""
    own = table.filter(pl.col("module") == module)
    ends = [
        row["bias"] + sign * TWO_SIDED_95 * row["standard_error"]
        for row in own.iter_rows(named=True)
        if row["standard_error"] is not None
        for sign in (-1, 1)
    ]
    span = _span(ends, 0.0)
    rows = []
    for row in own.iter_rows(named=True):
        half = None if row["standard_error"] is None else TWO_SIDED_95 * row["standard_error"]
        colour = "" if row["verdict"] is None else "bad"
        rows.append(
            {
                "tag": "all its picks" if row["tag"] == PICKS else row["tag"],
                "runners": f"{row['runners']:,}",
                "predicted": percent(row["predicted"]),
                "actual": percent(row["actual"]),
                "bias": f"{number(100 * row['bias'], 2, signed=True)}",
                "error": "–" if row["standard_error"] is None else number(100 * row["standard_error"], 2),
                "z": number(row["z"], 1, signed=True),
                "holm": _p_value(row["holm_p"]),
                "verdict": row["verdict"],
                "tone": colour,
                "mark": None
                if half is None
                else _mark(row["bias"], row["bias"] - half, row["bias"] + half, span, 0.0, colour),
            }
        )
    return {"name": module.upper(), "about": MODULE_WORDS.get(module, ""), "rows": rows}


def _span(values: Sequence[float | None], centre: float) -> tuple[float, float]:
    """Ends of the line on which intervals are drawn; `centre` is always on it."""
    known = [value for value in values if value is not None]
    low, high = min([centre, *known]), max([centre, *known])
    room = 0.06 * max(high - low, 1e-6)
    return low - room, high + room


def _mark(
    value: float, low: float | None, high: float | None, span: tuple[float, float], centre: float, colour: str
) -> dict[str, Any] | None:
    """Places of an interval on a line, in percent of its width, as the `range` macro draws it."""
    if low is None or high is None:
        return None

    def place(at: float) -> float:
        return round(100.0 * (at - span[0]) / (span[1] - span[0]), 2)

    return {
        "zero": place(centre),
        "left": place(low),
        "width": round(place(high) - place(low), 2),
        "dot": place(value),
        "luck": None,
        "tone": colour or "quiet",
        "words": f"{number(low, 3)} to {number(high, 3)}",
    }


def _ratio_tone(row: Mapping[str, Any]) -> str:
    """Colour of winners over expected: by where its interval stands to 1."""
    low, high = row["a_over_e_low"], row["a_over_e_high"]
    return tone(None if low is None else low - 1, None if high is None else high - 1)


def _plain_interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def _p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else number(value, 3)
