"""Experts against one model against the blend; weights, calibration maps and modules, on finished builds.

python -m benchmarks.models_study --build "Hong Kong=DIR" --build "Simulated=DIR" --out docs/models_study.md

Reads finished builds (`velo run --to backtest`) and changes nothing in them. Only the single model, which the chain
does not build, is fitted here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from velo_assets.betting.backtest import choose_shipped, read_predictions
from velo_assets.ingestion.manifest import results_kind
from velo_assets.modelling.bootstrap import paired_delta_r2
from velo_assets.modelling.calibration import compare_calibrations
from velo_assets.modelling.experts import ALL_PRICES
from velo_assets.modelling.races import KEYS, Races, sort_runners
from velo_assets.modelling.yearly import expert_folds, folds_of, gate_folds
from velo_assets.reports.accuracy import comparable, fold_metrics, recipe_table
from velo_assets.reports.models_page import read_and_build
from velo_assets.settings import DECISION_PRICE, DataRoot
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import feature_columns, training_frame
from velo_assets.warehouse.query import frame_of

SHOWN = ("market", "market_beta", "fundamental", "blend", "experts", "single")
NAMES = {
    "market": "market",
    "market_beta": "market, exponent fitted",
    "fundamental": "fundamental (no price)",
    "blend": "Benter blend",
    "experts": "experts, gate, reliability head",
    "single": "one model, log-price interactions",
}


def single_model(frame: pl.DataFrame, years: Sequence[int]) -> pl.DataFrame:
    """Out-of-sample probabilities of the single model: `runner_key, probability_single`."""
    everything = [fold.fold for fold in folds_of(frame, range(9999))]
    outcomes = expert_folds(frame, feature_columns(frame), everything, ALL_PRICES)
    corrections = pl.concat(
        outcome.predictions.select("runner_key", pl.col("correction").alias(f"correction_{ALL_PRICES.name}"))
        for outcome in outcomes
    )
    known = frame.select(*KEYS, "win_share", "decimal_odds", "market_probability")
    gated = gate_folds(known, corrections, years, (ALL_PRICES,))
    return pl.concat(
        outcome.predictions.select("runner_key", pl.col("expert_probability").alias("probability_single"))
        for outcome in gated
    )


def study(name: str, root: DataRoot) -> list[str]:
    """One build's sections."""
    warehouse = Warehouse(root.warehouse)
    with warehouse.connect("models study") as connection:
        predictions = read_predictions(connection, DECISION_PRICE.kind)
        weights = frame_of(
            connection, "select distinct fold, alpha, alpha_se, beta, beta_se from models.blend order by fold"
        )
        kind = "simulated races" if results_kind(connection) == "simulated" else "real races"
    years = sorted(predictions["fold"].unique().to_list())
    frame = training_frame(root.exports, warehouse, years[-1], DECISION_PRICE.kind)
    predictions = predictions.join(single_model(frame, years), on="runner_key", how="left", maintain_order="left")
    shipped = choose_shipped(predictions)
    races = predictions["race_key"].n_unique()
    page = read_and_build(root, warehouse, DECISION_PRICE)
    return [
        f"## {name}",
        "",
        f"{kind.capitalize()}, {races:,} out of sample in folds {years[0]}-{years[-1]}. Shipped: **{NAMES[shipped]}**,",
        "the better of blend and experts on all folds but the last.",
        "",
        *_recipes(predictions, shipped, years),
        *_head_to_head(predictions, shipped),
        *_folds(predictions, shipped, weights, years),
        *_maps(predictions, shipped, years),
        *_reports(page.table),
    ]


def _recipes(predictions: pl.DataFrame, shipped: str, years: Sequence[int]) -> list[str]:
    spans = [(f"{years[0]}-{years[-1]}", predictions)]
    if len(years) > 1:
        spans.insert(0, (f"{years[0]}-{years[-2]}", predictions.filter(pl.col("fold") < years[-1])))
    lines = [
        "| folds | recipe | R2 | over the market | 95% interval | over the market, exponent fitted | 95% interval |",
        "|---|---|---:|---:|---|---:|---|",
    ]
    for span, part in spans:
        for row in recipe_table(part, shipped).iter_rows(named=True):
            cells = [span, NAMES[row["recipe"]], f"{row['r2']:.5f}"]
            for reference in ("market", "market_beta"):
                cells += _gain(row, f"over_{reference}")
            lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _head_to_head(predictions: pl.DataFrame, shipped: str) -> list[str]:
    """Experts less single model, experts less blend, single model less blend, paired by race."""
    frame = comparable(predictions, shipped)
    races = Races.from_frame(frame)
    loss = {name: races.loss(frame[f"probability_{name}"].to_numpy()) for name in ("blend", "experts", "single")}
    clear: dict[tuple[str, str], bool] = {}
    lines = ["| paired, all folds | dR2 | 95% interval | verdict |", "|---|---:|---|---|"]
    for left, right in (("experts", "single"), ("experts", "blend"), ("single", "blend")):
        gain = paired_delta_r2(loss[left], loss[right], np.log(races.field_size), races.race_date)
        verdict = "first better" if gain.low > 0 else "second better" if gain.high < 0 else "no difference to be told"
        clear[left, right] = gain.low > 0
        lines.append(
            f"| {NAMES[left]} less {NAMES[right]} | {gain.estimate:+.5f} | {gain.low:+.5f} to {gain.high:+.5f} | "
            f"{verdict} |"
        )
    beaten = clear["experts", "single"]
    words = "beat" if beaten else "do not beat"
    return [
        *lines,
        "",
        f"The experts {words} one model with log-price interactions: what ships stays {NAMES[shipped]}"
        + (", on its merits." if beaten else ", for want of a clear winner; the gate decides."),
        "",
    ]


def _folds(predictions: pl.DataFrame, shipped: str, weights: pl.DataFrame, years: Sequence[int]) -> list[str]:
    folds, _ = fold_metrics(predictions, shipped=shipped, weights=weights)
    lines = [
        "| fold | races | "
        + " | ".join(NAMES[name] for name in SHOWN)
        + " | alpha (SE) | beta (SE) | slope | ECE | floor |",
        "|---|---:|" + "---:|" * (len(SHOWN) + 5),
    ]
    for year, fold in zip(years, folds, strict=True):
        table = recipe_table(predictions.filter(pl.col("fold") == year), shipped, draws=10)
        r2 = dict(table.select("recipe", "r2").iter_rows())
        cells = [str(year), f"{fold['races']:,}", *(f"{r2[name]:.4f}" if name in r2 else "" for name in SHOWN)]
        cells += [f"{fold['alpha']:+.3f} ({fold['alpha_se']:.3f})", f"{fold['beta']:.3f} ({fold['beta_se']:.3f})"]
        cells += [f"{fold['calibration_slope']:.3f}", f"{fold['ece']:.2%}", f"{fold['ece_floor']:.2%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        "Slope, ECE and its floor (what perfect chances would show) are those of the shipped recipe.",
        "",
    ]


def _maps(predictions: pl.DataFrame, shipped: str, years: Sequence[int]) -> list[str]:
    """Calibration maps, each fold's fitted on the folds before it."""
    name = f"probability_{shipped}"
    rows = sort_runners(comparable(predictions, shipped).select(*KEYS, "win_share", "fold", name))
    parts = []
    for year in years[1:]:
        scored = rows.filter(pl.col("fold") == year)
        cutoff = scored["race_date"].min().replace(month=1, day=1)  # type: ignore[union-attr,call-arg]
        earlier = rows.filter(pl.col("race_date") < cutoff - timedelta(days=1))  # type: ignore[operator]
        parts.append(compare_calibrations(earlier, scored, name, cutoff))  # type: ignore[arg-type]
    if not parts:
        return []
    weight = pl.col("races")
    figures = ("r2", "slope", "calibration_error", "noise_floor")
    mean = (
        pl.concat(parts)
        .group_by("method", maintain_order=True)
        .agg((pl.col(figure) * weight).sum() / weight.sum() for figure in figures)
        .sort("r2", descending=True)
    )
    lines = [
        f"Maps of the shipped recipe, fitted on the folds before, mean over folds {years[1]}-{years[-1]} by races:",
        "",
        "| map | R2 | slope | ECE | floor |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['method']} | {row['r2']:.5f} | {row['slope']:.3f} | {row['calibration_error']:.2%} | "
        f"{row['noise_floor']:.2%} |"
        for row in mean.iter_rows(named=True)
    ]
    return [*lines, ""]


def _reports(table: pl.DataFrame) -> list[str]:
    lines = [
        "| report | name | dR2 | 95% interval | coefficient (SE) | verdict |",
        "|---|---|---:|---|---:|---|",
    ]
    for row in table.filter(pl.col("report") != "recipe").iter_rows(named=True):
        coefficient = "" if row["coefficient"] is None else f"{row['coefficient']:+.3f} ({row['standard_error']:.3f})"
        cells = [row["report"], row["name"], *_gain(row, "delta_r2", "low", "high"), coefficient, row["verdict"]]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _gain(row: dict[str, object], name: str, low: str = "", high: str = "") -> list[str]:
    if row[name] is None:
        return ["", ""]
    return [f"{row[name]:+.5f}", f"{row[low or name + '_low']:+.5f} to {row[high or name + '_high']:+.5f}"]


_INTRODUCTION = """# Models study: experts against one model against the blend

Written by `benchmarks/models_study.py`; do not edit by hand. Everything is out of sample, walk-forward by years, and
measured against the starting price (a closing price). Intervals resample race days. 21 November 2026; the last Hong
Kong fold was opened once before (that day, 10:43), and decides nothing here.

    python -m benchmarks.models_study --build "Hong Kong 2016-2023=DIR" --build "Simulated default=DIR"

A module's coefficient multiplies what it says: 1 is to be believed as it stands, 0 adds nothing. "Left out" is the R2
that one linear model of all features and the price loses without the module's or family's features.
"""


def main() -> None:
    """Run the study and write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", action="append", required=True, metavar="NAME=DIR", help="a finished build")
    parser.add_argument("--out", type=Path, default=Path("docs/models_study.md"))
    arguments = parser.parse_args()
    lines = [*_INTRODUCTION.splitlines(), ""]
    for build in arguments.build:
        name, _, folder = build.partition("=")
        began = time.perf_counter()
        lines += study(name, DataRoot(Path(folder).resolve()))
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
