"""The scoreboard's keys, exactly."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from velo_assets.betting.ledger import place_bets
from velo_assets.betting.metrics import strategy_table
from velo_assets.betting.strategies import Strategy
from velo_assets.modelling.promotion import AcceptanceReadings, acceptance_table
from velo_assets.reports.accuracy import fold_metrics
from velo_assets.reports.scoreboard import FOLD_KEYS, STRATEGY_KEYS, build_scoreboard, write_scoreboard
from velo_assets_tests.betting.frames import random_world


def board() -> dict[str, object]:
    frame = random_world(300, seed=1)
    folds, pooled = fold_metrics(frame, draws=50)
    bets = place_bets(frame, [Strategy("all", "All", "market"), Strategy("none", "None", "market", min_edge=9.0)])
    return build_scoreboard(
        simulated=True,
        files=2,
        races=pl.DataFrame({"race_date": [date(2020, 1, 1), date(2021, 2, 3)]}),
        runners=2400,
        decision_price="sp",
        folds=folds,
        pooled=pooled,
        strategies=strategy_table(bets),
        gate=None,
        acceptance=acceptance_table(AcceptanceReadings(calibration_error=0.01)),
    )


def test_the_keys_are_those_of_the_definition(tmp_path: Path) -> None:
    made = json.loads(write_scoreboard(tmp_path / "reports" / "scoreboard.json", board()).read_text())
    assert list(made) == ["data", "decision_price", "folds", "pooled", "strategies", "acceptance", "gate"]
    assert made["data"] == {
        "kind": "simulated",
        "files": 2,
        "races": 2,
        "runners": 2400,
        "first_date": "2020-01-01",
        "last_date": "2021-02-03",
    }
    assert tuple(made["folds"][0]) == tuple(made["pooled"]) == FOLD_KEYS
    assert tuple(made["strategies"][0]) == STRATEGY_KEYS
    assert made["strategies"][0]["name"] == "all"
    assert len(made["strategies"][0]["roi_ci"]) == 2
    assert made["acceptance"][0] == {"criterion": "calibration error", "target": "<= 2.3%", "value": 0.01, "met": True}
    assert made["gate"] == {"passed": False, "reasons": ["the gate was not asked"]}


def test_what_is_not_a_number_is_refused_or_null(tmp_path: Path) -> None:
    assert board()["pooled"]["alpha"] is None  # type: ignore[index]
    with pytest.raises(ValueError, match="Out of range"):
        write_scoreboard(tmp_path / "x.json", {"value": float("nan")})
    assert not (tmp_path / "x.json").exists()
