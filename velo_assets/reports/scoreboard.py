"""The scoreboard: the backtest's verdict as JSON, for programs and for comparing runs.

Belongs here: the keys and their order. Not here: computing any of the numbers.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from velo_assets.modelling.promotion import GateDecision

FOLD_KEYS = (
    "year",
    "races",
    "r2_market",
    "r2_market_beta",
    "r2_fundamental",
    "r2_blend",
    "r2_experts",
    "delta_r2",
    "delta_r2_ci",
    "delta_r2_beta",
    "delta_r2_beta_ci",
    "alpha",
    "alpha_se",
    "beta",
    "beta_se",
    "calibration_slope",
    "ece",
    "ece_floor",
)
STRATEGY_KEYS = ("name", "bets", "win_rate", "roi", "roi_ci", "a_over_e", "max_drawdown", "sharpe")


def build_scoreboard(
    *,
    simulated: bool,
    files: int,
    races: pl.DataFrame,
    runners: int,
    decision_price: str,
    folds: Sequence[Mapping[str, Any]],
    pooled: Mapping[str, Any],
    strategies: pl.DataFrame,
    gate: GateDecision | None,
    acceptance: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Put the verdict together.

    Args:
        simulated: whether the data come from the simulator.
        files: number of source files.
        races: `core.races`, at least `race_date`.
        runners: rows of `core.entries`.
        decision_price: price kind on which bets were chosen.
        folds: from `reports.accuracy.fold_metrics`.
        pooled: the same over all folds.
        strategies: `betting.metrics.strategy_table`; `name` of the scoreboard is the strategy's id.
        gate: the gate's decision; None when it was not asked, which counts as not passed.
        acceptance: `promotion.acceptance_table`; by default the gate's own.

    Returns:
        JSON-ready, keys as in the project's definition; what was not measured is null.
    """
    dates = races.get_column("race_date")
    rows = acceptance if acceptance is not None else (gate.acceptance if gate is not None else ())
    return {
        "data": {
            "kind": "simulated" if simulated else "real",
            "files": files,
            "races": races.height,
            "runners": runners,
            "first_date": None if dates.is_empty() else str(dates.min()),
            "last_date": None if dates.is_empty() else str(dates.max()),
        },
        "decision_price": decision_price,
        "folds": [_plain({key: fold.get(key) for key in FOLD_KEYS}) for fold in folds],
        "pooled": _plain({key: pooled.get(key) for key in FOLD_KEYS}),
        "strategies": [_plain(_strategy(row)) for row in strategies.iter_rows(named=True)],
        "acceptance": acceptance_rows(rows),
        "gate": gate_verdict(gate),
    }


def acceptance_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The acceptance table with the scoreboard's keys `criterion, target, value, met`."""
    return [
        _plain(
            {
                "criterion": row.get("criterion", row.get("figure")),
                "target": row["target"],
                "value": row["value"],
                "met": row["met"],
            }
        )
        for row in rows
    ]


def gate_verdict(gate: GateDecision | None) -> dict[str, Any]:
    """`passed` and `reasons`: those of the conditions that failed, or of all when it passed."""
    if gate is None:
        return {"passed": False, "reasons": ["the gate was not asked"]}
    conditions = gate.conditions if gate.promoted else gate.failed
    return {"passed": gate.promoted, "reasons": [f"{condition.name}: {condition.reason}" for condition in conditions]}


def write_scoreboard(path: Path, scoreboard: Mapping[str, Any]) -> Path:
    """Write the JSON file so that a reader never sees half of it.

    Raises:
        ValueError: a value that is not finite slipped in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(scoreboard, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(path)
    return path


def _strategy(row: Mapping[str, Any]) -> dict[str, Any]:
    """One strategy with the scoreboard's keys."""
    interval = None if row["roi_low"] is None else [row["roi_low"], row["roi_high"]]
    values = {"name": row["strategy_id"], "roi_ci": interval}
    return {key: values[key] if key in values else row[key] for key in STRATEGY_KEYS}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """NaN and infinity become null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
