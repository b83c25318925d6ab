"""What the features find of a simulated world: every planted effect, and nothing that was not planted.

python -m benchmarks.planted_study --root DIR --out docs/planted_effects.md

Reads a finished build of simulated results and the simulator's truth beside it, which the pipeline never reads.
Belongs here: features against the truth. Not here: what a model makes of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.families_study import home
from velo_assets.modelling.races import FloatArray, Races, race_sum, settled_frame
from velo_assets.serving.training import feature_families
from velo_assets.settings import DECISION_PRICE, DataRoot
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import feature_columns, training_frame
from velo_assets.warehouse.query import frame_of

PLANTED: Mapping[str, tuple[str, ...]] = {
    "trainer_form": ("trainer_velocity", "trainer_jockey"),
    "draw": ("bias_maps",),
    "layoff": ("class_layoff", "intent_signals"),
    "going": ("suitability", "breeding"),
    "trip": ("suitability",),
    "pace": ("running_style",),
    "jockey": ("jockey_velocity", "trainer_jockey", "intent_signals"),
}
"""Effects in the simulator's utility, and the families that are made to see them."""

HIDDEN = "private"
"""Utility that only the simulated market learns: no feature may see it."""

STRONGEST = 3
"""The best so many features of a planted effect are looked at."""

LUCK = 4.5
"""Standard errors that the strongest of some 200 features passes by luck once in a thousand times."""


def truth_frame(root: DataRoot) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Training frame with the truth joined on, the first year left out, and the names of its features.

    Returns:
        `KEYS`, outcome columns, features, `true_win_probability`, `effect_<name>`; settled races, all of
        whose runners' truth is known.

    Raises:
        FileNotFoundError: there is no truth beside the data.
    """
    files = sorted(root.truth.glob("truth_*.parquet"))
    if not files:
        raise FileNotFoundError(f"No truth in {root.truth}: only a simulated season set has one.")
    frame = training_frame(root.exports, Warehouse(root.warehouse), 9999, DECISION_PRICE.kind)
    with Warehouse(root.warehouse).connect("planted study") as connection:
        names = frame_of(connection, "select runner_key, race_date, horse from core.entries")
    # A horse runs once a day; the two files spell the off of a race differently.
    day_and_horse = ["race_date", "horse"]
    truth = pl.concat([pl.read_parquet(file) for file in files]).unique(day_and_horse, keep="none")
    known = names.unique(day_and_horse, keep="none").join(truth, on=day_and_horse, how="inner")
    wanted = [name for name in truth.columns if name.startswith("effect_")]
    joined = frame.join(
        known.select("runner_key", "true_win_probability", *wanted), on="runner_key", how="left", maintain_order="left"
    )
    whole = pl.col("true_win_probability").is_not_null().all().over("race_key")
    second_year = joined["race_date"].dt.year().min() + 1  # type: ignore[operator]
    return settled_frame(joined.filter(whole & (pl.col("race_date").dt.year() >= second_year))), feature_columns(frame)


def strengths(frame: pl.DataFrame, features: Sequence[str], target: str) -> pl.DataFrame:
    """Correlation of every feature with a target within races.

    Args:
        frame: runners sorted by `KEYS`.
        features: columns; missing values take no part.
        target: column without nulls.

    Returns:
        `feature, correlation` (times the root of the share of runners that have a value), `runners`; strongest first.
    """
    races = Races.from_frame(frame)
    goal = frame.get_column(target).cast(pl.Float64).to_numpy()
    rows = []
    for name in features:
        values = frame.get_column(name).cast(pl.Float64).fill_null(float("nan")).to_numpy()
        known = np.isfinite(values)
        x, y = _within(values, known, races), _within(goal, known, races)
        scale = float(np.sqrt((x @ x) * (y @ y)))
        share = float(known.mean())
        correlation = float(x @ y) / scale * np.sqrt(share) if scale > 1e-9 else 0.0
        rows.append({"feature": name, "correlation": correlation, "runners": int(known.sum())})
    return pl.DataFrame(rows).sort(pl.col("correlation").abs(), descending=True, maintain_order=True)


def surplus(frame: pl.DataFrame, features: Sequence[str], probability: str) -> pl.DataFrame:
    """Score test of every feature beyond a probability: does it tell winners that the probability does not?

    Args:
        frame: settled runners sorted by `KEYS`.
        features: columns; a missing value stands at its race's mean.
        probability: column of win probabilities that sum to 1 in each race.

    Returns:
        `feature, z`: standard errors from 0 of the feature's coefficient in a conditional logit with offset
        `log(probability)`; largest first.
    """
    races = Races.from_frame(frame)
    chance = frame.get_column(probability).cast(pl.Float64).to_numpy()
    rows = []
    for name in features:
        values = frame.get_column(name).cast(pl.Float64).fill_null(float("nan")).to_numpy()
        x = _within(values, np.isfinite(values), races)
        score = float(x @ (races.win_share - chance))
        variance = float(
            (race_sum(chance * x * x, races.race_starts) - race_sum(chance * x, races.race_starts) ** 2).sum()
        )
        rows.append({"feature": name, "z": score / np.sqrt(variance) if variance > 1e-9 else 0.0})
    return pl.DataFrame(rows).sort(pl.col("z").abs(), descending=True, maintain_order=True)


def _within(values: FloatArray, known: NDArray[np.bool_], races: Races) -> FloatArray:
    """Distance from the mean of the race's known values; 0 where unknown."""
    count = np.maximum(race_sum(known.astype(np.float64), races.race_starts), 1.0)
    mean = race_sum(np.where(known, values, 0.0), races.race_starts) / count
    return np.where(known, values - np.repeat(mean, races.field_size), 0.0)


def report(frame: pl.DataFrame, features: Sequence[str], families: Mapping[str, str]) -> str:
    """The study as Markdown."""
    races = Races.from_frame(frame)
    lines = [
        *_INTRODUCTION.splitlines(),
        f"{len(races):,} races, {frame.height:,} runners, {len(features)} features. Correlations are within races; by",
        f"luck alone the strongest of {len(features)} would reach about {3 / np.sqrt(frame.height):.3f}.",
        "",
        "| effect | strongest features (correlation) | families made for it | found |",
        "|---|---|---|---|",
    ]
    for effect, wanted in PLANTED.items():
        top = strengths(frame, features, f"effect_{effect}").head(STRONGEST)
        shown = ", ".join(f"{row['feature']} ({row['correlation']:+.3f})" for row in top.iter_rows(named=True))
        lines.append(
            f"| {effect} | {shown} | {', '.join(wanted)} | {'yes' if found(top, wanted, families) else '**no**'} |"
        )
    hidden = strengths(frame, features, f"effect_{HIDDEN}").head(STRONGEST)
    shown = ", ".join(f"{row['feature']} ({row['correlation']:+.3f})" for row in hidden.iter_rows(named=True))
    lines.append(f"| {HIDDEN} (told to the market alone) | {shown} | none | {'no' if unseen(hidden) else '**yes**'} |")
    lines += ["", *_BEYOND.splitlines(), "| beyond | strongest features (z) | features beyond 4.5 |", "|---|---|---:|"]
    for words, column in (("the truth", "true_win_probability"), ("the market", "market_probability")):
        known = frame.filter(pl.col(column).is_not_null().all().over("race_key"))
        told = surplus(known, features, column)
        shown = ", ".join(f"{row['feature']} ({row['z']:+.1f})" for row in told.head(5).iter_rows(named=True))
        lines.append(f"| {words} | {shown} | {told.filter(pl.col('z').abs() > LUCK).height} |")
    return "\n".join([*lines, ""])


def found(top: pl.DataFrame, wanted: Sequence[str], families: Mapping[str, str]) -> bool:
    """Whether the strongest feature is of a family made for the effect, and beyond luck."""
    first = top.row(0, named=True)
    beyond = abs(first["correlation"]) > LUCK / np.sqrt(first["runners"])
    return bool(beyond) and home(first["feature"], families) in wanted


def unseen(top: pl.DataFrame) -> bool:
    """Whether even the strongest feature is within luck."""
    first = top.row(0, named=True)
    return bool(abs(first["correlation"]) < LUCK / np.sqrt(first["runners"]))


_INTRODUCTION = """# Planted effects: what the features find of a simulated world

Written by `benchmarks/planted_study.py`; do not edit by hand. The simulator knows what really decided its races; the
pipeline never reads that. Here the feature matrix is held against it, the first year left out.

    python -m benchmarks.planted_study --root DIR --out docs/planted_effects.md

`DIR` is a finished build of the simulated default (`make run` without results). 21 November 2026.

"""

_BEYOND = """What a feature tells of the winner beyond a probability: its coefficient in a conditional logit with that
probability as offset, in standard errors. Beyond the truth there is nothing to be told, so that a feature that tells
something would know the result: this is a leak test of all features at once. The market at the default edge ignores a
third of four effects (trainer form, draw, layoff, going); the second row says how much of that these races show.

"""


def main() -> None:
    """Run the study and write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="data root of a finished simulated build")
    parser.add_argument("--out", type=Path, default=Path("docs/planted_effects.md"))
    arguments = parser.parse_args()
    frame, features = truth_frame(DataRoot(arguments.root.resolve()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(report(frame, features, feature_families()), encoding="utf-8")


if __name__ == "__main__":
    main()
