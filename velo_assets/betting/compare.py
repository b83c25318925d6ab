"""Two stored backtests side by side: paired differences with intervals.

Belongs here: storing a run's predictions and daily results as Parquet under `reports/runs/<run_id>/`, loading them,
comparing them. Not here: what a run is made of.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from velo_assets.betting.predictions import recipes
from velo_assets.modelling.bootstrap import DEFAULT_DRAWS, day_sums, paired_delta_r2, resample
from velo_assets.modelling.races import Races

STORED_COLUMNS = ("race_date", "race_key", "runner_key", "fold", "decision_price", "price_kind", "settles", "win_share")
"""Columns of a stored run's predictions, besides the market's and every recipe's probability."""


RUNS_OF_VERSIONS = "version_runs.json"
"""In the folder of all runs: by which stored run each version was judged that is, was or may yet be champion."""

KEPT_RUNS = 20
"""Stored runs beside those that a model version was judged by; the oldest go first."""


class UnknownRunError(ValueError):
    """No stored run of that id."""


@dataclass(frozen=True, eq=False)
class Run:
    """A stored backtest.

    Attributes:
        run_id: name of its folder.
        predictions: wide frame, columns `STORED_COLUMNS`, `market_probability`, `probability_<recipe>`.
        days: what each strategy staked and made each day: `strategy_id, race_date, bets, stake, profit`.
        settings: what produced it.
    """

    run_id: str
    predictions: pl.DataFrame
    days: pl.DataFrame
    settings: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Result of `compare_runs`; differences are b less a.

    Attributes:
        accuracy: `recipe, races, r2_a, r2_b, difference, low, high`, paired by race.
        money: `strategy_id, bets_a, bets_b, roi_a, roi_b, difference, low, high`, paired by race day, over the days
            that both runs predict.
        settings: `name, a, b` where they differ.
        notes: what could not be compared, in words.
    """

    accuracy: pl.DataFrame
    money: pl.DataFrame
    settings: pl.DataFrame
    notes: list[str]


def write_run(
    runs: Path, run_id: str, predictions: pl.DataFrame, days: pl.DataFrame, settings: Mapping[str, Any]
) -> Path:
    """Store a backtest; a run of the same id is replaced as a whole.

    Args:
        runs: folder of all runs (`reports/runs`).
        run_id: letters, digits, `.`, `_` and `-`.
        predictions: wide frame.
        days: `strategy_id, race_date, bets, stake, profit` over the bets that count, strategies in ledger order.
        settings: JSON-ready.

    Returns:
        The run's folder.

    Raises:
        ValueError: a run id with other characters.
    """
    folder = _folder(runs, run_id)
    unfinished = runs / f".{run_id}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    kept = [name for name in (*STORED_COLUMNS, "market_probability") if name in predictions.columns]
    kept += [f"probability_{recipe}" for recipe in recipes(predictions)]
    predictions.select(kept).write_parquet(unfinished / "predictions.parquet")
    days.write_parquet(unfinished / "days.parquet")
    (unfinished / "settings.json").write_text(json.dumps(dict(settings), indent=2, default=str), encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.rename(folder)
    return folder


def stored_runs(runs: Path) -> list[str]:
    """Ids of the stored runs, oldest first."""
    folders = [path for path in runs.glob("*/days.parquet") if not path.parent.name.startswith(".")]
    return [path.parent.name for path in sorted(folders, key=lambda path: (path.stat().st_mtime, path.parent.name))]


def drop_old_runs(runs: Path, keep: int = KEPT_RUNS) -> list[str]:
    """Delete the oldest stored runs, but none that `version_runs.json` names: the next challenger needs the champion's.

    Returns:
        Ids of the runs that went.
    """
    judged = runs / RUNS_OF_VERSIONS
    needed = set(json.loads(judged.read_text(encoding="utf-8")).values()) if judged.is_file() else set()
    gone = [run_id for run_id in stored_runs(runs)[:-keep] if run_id not in needed]
    for run_id in gone:
        shutil.rmtree(_folder(runs, run_id))
    return gone


def load_run(runs: Path, run_id: str) -> Run:
    """Load a stored run.

    Raises:
        UnknownRunError: there is none of that id; names those there are.
        ValueError: a run id that can't be one.
    """
    folder = _folder(runs, run_id)
    if not (folder / "days.parquet").is_file():
        there = ", ".join(stored_runs(runs)) or "none"
        raise UnknownRunError(f"no stored run {run_id!r} in {runs}; there are: {there}")
    return Run(
        run_id,
        pl.read_parquet(folder / "predictions.parquet"),
        pl.read_parquet(folder / "days.parquet"),
        json.loads((folder / "settings.json").read_text(encoding="utf-8")),
    )


def compare_runs(a: Run, b: Run, *, draws: int = DEFAULT_DRAWS, seed: int = 0) -> Comparison:
    """Compare two runs on what they share.

    Args:
        a: the run compared with.
        b: the run on trial.
        draws: bootstrap draws.
        seed: of the draws; both runs see the same drawn days, which is what pairs them.

    Returns:
        Differences b less a with 95% intervals. Recipes are compared on the races both price in full; strategies on the
        race days that both predict, where a day without a bet counts as one.
    """
    notes = []
    names_a = dict.fromkeys(("market", *recipes(a.predictions)))
    accuracy = [_accuracy(a, b, recipe, draws, seed) for recipe in names_a if _both(a, b, recipe)]
    ids = {run.run_id: run.days.get_column("strategy_id").unique(maintain_order=True).to_list() for run in (a, b)}
    days = _race_days(a).intersection(_race_days(b))
    money = [_money(a, b, strategy, days, draws, seed) for strategy in ids[a.run_id] if strategy in ids[b.run_id]]
    for run, other in ((a, b), (b, a)):
        absent = sorted(set(recipes(run.predictions)) - set(recipes(other.predictions)))
        if absent:
            notes.append(f"recipes only in {run.run_id}: {', '.join(absent)}")
        missing = [name for name in ids[run.run_id] if name not in ids[other.run_id]]
        if missing:
            notes.append(f"strategies only in {run.run_id}: {', '.join(missing)}")
        if alone := _race_days(run) - days:
            notes.append(
                f"race days only in {run.run_id}, left out of the returns: {len(alone):,}, {min(alone)} to {max(alone)}"
            )
    shared = set(a.predictions.get_column("race_key")) & set(b.predictions.get_column("race_key"))
    if not shared:
        notes.append("the runs share no race, so nothing is paired by race")
    old, new = a.settings, b.settings
    changed = [
        (name, str(old.get(name)), str(new.get(name)))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return Comparison(
        pl.DataFrame([row for row in accuracy if row is not None], schema=_ACCURACY, orient="row"),
        pl.DataFrame([row for row in money if row is not None], schema=_MONEY, orient="row"),
        pl.DataFrame(changed, schema={"name": pl.String, "a": pl.String, "b": pl.String}, orient="row"),
        notes,
    )


def latest_two(runs: Path) -> tuple[str, str] | None:
    """The last stored run but one, and the last; None while there are fewer than two."""
    there = stored_runs(runs)
    return (there[-2], there[-1]) if len(there) > 1 else None


def comparison_table(a: str, b: str, result: Comparison) -> pl.DataFrame:
    """A comparison as one long table.

    Args:
        a: id of the run compared with.
        b: id of the run on trial.
        result: from `compare_runs`.

    Returns:
        Columns `COMPARISON`; `measure` is `r2` (`name` is a recipe, `cases` are races) or `roi` (`name` is a strategy,
        `cases` are the bets of run b).
    """
    parts = [
        table.select(
            pl.lit(measure).alias("measure"),
            pl.col(name).alias("name"),
            pl.col(cases).alias("cases"),
            pl.col(f"{measure}_a").alias("value_a"),
            pl.col(f"{measure}_b").alias("value_b"),
            *_INTERVAL,
        )
        for measure, table, name, cases in (
            ("r2", result.accuracy, "recipe", "races"),
            ("roi", result.money, "strategy_id", "bets_b"),
        )
    ]
    runs = (pl.lit(a).alias("run_a"), pl.lit(b).alias("run_b"))
    return pl.concat(parts).select(*runs, pl.all()).cast(COMPARISON)  # type: ignore[arg-type]


def comparison_text(result: Comparison) -> str:
    """A comparison in Markdown, for the terminal and the UI alike; an interval that leaves out 0 is starred."""
    lines: list[str] = []
    for title, table, name, digits, scale in (
        ("R2, paired by race", result.accuracy, "recipe", 5, 1.0),
        ("Return on stakes in %, paired by race day", result.money, "strategy_id", 2, 100.0),
    ):
        count = "races" if name == "recipe" else "bets_b"
        kind = "r2" if name == "recipe" else "roi"
        lines += [
            f"**{title}**",
            "",
            f"| {name} | {count} | a | b | b - a | 95% interval |",
            "|---|---:|---:|---:|---:|---|",
        ]
        for row in table.iter_rows(named=True):
            values = [scale * row[column] for column in (f"{kind}_a", f"{kind}_b")]
            ends = ""
            if row["low"] is not None:
                star = " *" if row["low"] > 0 or row["high"] < 0 else ""
                ends = f"{scale * row['low']:+.{digits}f} to {scale * row['high']:+.{digits}f}{star}"
            lines.append(
                f"| {row[name]} | {row[count]:,} | {values[0]:.{digits}f} | {values[1]:.{digits}f} | "
                f"{scale * row['difference']:+.{digits}f} | {ends} |"
            )
        lines.append("")
    if result.settings.height:
        lines += ["**Settings that differ**", "", "| setting | a | b |", "|---|---|---|"]
        lines += [f"| {name} | {old} | {new} |" for name, old, new in result.settings.iter_rows()]
        lines.append("")
    lines += [f"- {note}" for note in result.notes]
    return "\n".join(lines).rstrip()


_INTERVAL = {"difference": pl.Float64, "low": pl.Float64, "high": pl.Float64}
_ACCURACY = {"recipe": pl.String, "races": pl.Int64, "r2_a": pl.Float64, "r2_b": pl.Float64, **_INTERVAL}
_MONEY = {
    "strategy_id": pl.String,
    "bets_a": pl.Int64,
    "bets_b": pl.Int64,
    "roi_a": pl.Float64,
    "roi_b": pl.Float64,
    **_INTERVAL,
}
COMPARISON: dict[str, pl.DataType] = {
    "run_a": pl.String(),
    "run_b": pl.String(),
    "measure": pl.String(),
    "name": pl.String(),
    "cases": pl.Int64(),
    "value_a": pl.Float64(),
    "value_b": pl.Float64(),
    "difference": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
}
"""Columns of `backtest.comparison`."""


def _column(recipe: str) -> str:
    return "market_probability" if recipe == "market" else f"probability_{recipe}"


def _both(a: Run, b: Run, recipe: str) -> bool:
    return all(_column(recipe) in run.predictions.columns for run in (a, b))


def _accuracy(a: Run, b: Run, recipe: str, draws: int, seed: int) -> dict[str, Any] | None:
    """Paired difference in R2 of one recipe; None when no race can be paired."""
    name = _column(recipe)
    left = a.predictions.select("race_date", "race_key", "runner_key", "settles", "win_share", pl.col(name).alias("a"))
    joined = left.join(b.predictions.select("runner_key", pl.col(name).alias("b")), on="runner_key", how="left")
    good = (
        pl.col("settles").fill_null(False).all()
        & (pl.col("a").is_not_null() & pl.col("b").is_not_null()).all()
        & ((pl.col("win_share").sum() - 1.0).abs() < 1e-6)
        & (pl.len() > 1)
    )
    rows = joined.filter(good.over("race_key")).sort("race_date", "race_key", "runner_key")
    if rows.is_empty():
        return None
    races = Races.from_frame(rows)
    loss = {run: races.loss(rows.get_column(run).cast(pl.Float64).to_numpy()) for run in ("a", "b")}
    gain = paired_delta_r2(loss["b"], loss["a"], np.log(races.field_size), races.race_date, draws, seed)
    r2 = {run: races.r2(rows.get_column(run).cast(pl.Float64).to_numpy()) for run in ("a", "b")}
    values = gain.to_dict()
    return {
        "recipe": recipe,
        "races": len(races),
        "r2_a": r2["a"],
        "r2_b": r2["b"],
        "difference": gain.estimate,
        "low": values["low"],
        "high": values["high"],
    }


def _race_days(run: Run) -> set[date]:
    """Days of the races that a run predicted and that have a result; bets are on these."""
    return set(run.predictions.filter(pl.col("settles").is_not_null()).get_column("race_date").unique())


def _money(a: Run, b: Run, strategy: str, days: set[date], draws: int, seed: int) -> dict[str, Any] | None:
    """Paired difference in ROI of one strategy over these days; None when one of the runs staked nothing on them."""
    parts = [
        run.days.filter((pl.col("strategy_id") == strategy) & pl.col("race_date").is_in(sorted(days))) for run in (a, b)
    ]
    if any(part.get_column("stake").sum() <= 0 for part in parts):
        return None
    table = pl.concat(
        [
            part.select("race_date", *(pl.col(name).alias(f"{name}_{run}") for name in ("profit", "stake")))
            for run, part in zip("ab", parts, strict=True)
        ],
        how="diagonal",
    ).fill_null(0.0)
    names = ("profit_a", "stake_a", "profit_b", "stake_b")
    sums = day_sums(table.select(names).to_numpy(), table.get_column("race_date").to_numpy())
    drawn = resample(sums, draws, seed)
    drawn = drawn[(drawn[:, 1] > 0) & (drawn[:, 3] > 0)]
    differences = drawn[:, 2] / drawn[:, 3] - drawn[:, 0] / drawn[:, 1]
    total = sums.sum(axis=0)
    roi = total[0] / total[1], total[2] / total[3]
    low, high = np.quantile(differences, [0.025, 0.975]) if len(sums) > 1 else (None, None)
    return {
        "strategy_id": strategy,
        "bets_a": int(parts[0].get_column("bets").sum()),
        "bets_b": int(parts[1].get_column("bets").sum()),
        "roi_a": roi[0],
        "roi_b": roi[1],
        "difference": roi[1] - roi[0],
        "low": low,
        "high": high,
    }


def _folder(runs: Path, run_id: str) -> Path:
    """Folder of a run; refuses ids that could leave the runs' folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", run_id):
        raise ValueError(f"run id {run_id!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit")
    return runs / run_id
