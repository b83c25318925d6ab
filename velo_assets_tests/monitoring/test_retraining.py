from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from velo_assets.monitoring.retraining import DECISION_SCHEMA, RetrainDecision, decide_retraining
from velo_assets.monitoring.triggers import CusumReading, CusumRule, DriftReading

NOW = datetime(2024, 6, 1, 2, tzinfo=UTC)
RULE = CusumRule(0.0, 1.0, 0.05, 10.0, 0.5)
QUIET = CusumReading(RULE, 2.0, np.array([1.0, 2.0]), 300, None, None)
ALARM = CusumReading(RULE, 12.0, np.array([1.0, 12.0]), 300, date(2024, 5, 30), 280)


def decision(**changed: Any) -> RetrainDecision:
    arguments: dict[str, Any] = {
        "champion_data_end": date(2024, 1, 1),
        "last_trained": date(2024, 1, 1),
        "racing_days": 150,
        "readings": {"recipe": QUIET},
        "drift": DriftReading(150, (), 3),
    }
    return decide_retraining(NOW, **(arguments | changed))


def test_no_cause_keeps_the_champion() -> None:
    quiet = decision()
    assert not quiet.retrain
    assert quiet.reasons[0].startswith("no cause")
    assert quiet.cusum == 2.0
    assert quiet.days_since_training == 152


def test_each_cause_is_named() -> None:
    both = decision(readings={"recipe": QUIET, "fundamental": ALARM}, drift=DriftReading(150, ("a", "b", "c"), 3))
    assert both.retrain
    assert "CUSUM of the fundamental: alarm on 2024-05-30 after 280 races" in both.reasons[0]
    assert "3 of 150 columns moved" in both.reasons[1]
    assert both.cusum == 12.0
    assert both.drifted_columns == 3


def test_the_calendar_asks_after_a_year() -> None:
    old = decision(champion_data_end=date(2023, 6, 2), last_trained=date(2023, 6, 2))
    assert old.retrain
    assert "calendar" in old.reasons[0]
    assert not decision(champion_data_end=date(2023, 6, 3), last_trained=date(2023, 6, 3)).retrain


def test_an_old_champion_is_no_cause_once_a_newer_version_was_trained() -> None:
    tried = decision(champion_data_end=date(2022, 6, 1), last_trained=date(2024, 1, 1))
    assert not tried.retrain
    assert tried.days_since_training == 731


def test_a_matrix_that_no_version_can_read_is_trained_on_at_once() -> None:
    lost = decision(racing_days=2, silent={"velo 3": ["draw", "going"]})
    assert lost.retrain
    assert lost.causes == ("lost features of velo 3",)
    assert "lacks draw, going" in lost.reasons[0]


def test_a_recent_challenger_holds_the_next_training_back() -> None:
    """It has to meet the champion on thirty racing days before another may take its place."""
    held = decision(readings={"recipe": ALARM}, racing_days=34)
    assert not held.retrain
    assert held.reasons[-1] == "held back: a version learned until 2024-01-01, 34 racing days ago"
    assert decision(readings={"recipe": ALARM}, racing_days=35).retrain


def test_a_root_without_new_results_is_not_trained_again_and_again() -> None:
    stale = decision(champion_data_end=date(2022, 12, 31), last_trained=date(2022, 12, 31), racing_days=0)
    assert stale.causes == ("calendar",)
    assert not stale.retrain
    assert "held back" in stale.reasons[-1]


def test_the_first_model_is_trained_unasked_and_not_twice() -> None:
    first = decision(champion_data_end=None, last_trained=None, racing_days=0, readings={}, drift=None)
    assert not first.retrain
    assert "unasked" in first.reasons[-1]
    assert first.cusum is None
    assert first.days_since_training is None


def test_the_row_has_the_columns_of_the_table() -> None:
    frame = decision().to_frame()
    assert dict(frame.schema) == DECISION_SCHEMA
    assert frame["decided_at"][0] == NOW


def test_local_time_without_zone_is_refused_and_both_strokes_of_two_differ() -> None:
    nothing: dict[str, Any] = {
        "champion_data_end": None, "last_trained": None, "racing_days": 0, "readings": {}, "drift": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match="zone"):
        decide_retraining(datetime(2024, 10, 27, 1, 30), **nothing)
    london = ZoneInfo("Europe/London")
    strokes = [datetime(2024, 10, 27, 1, 30, tzinfo=london, fold=fold) for fold in (0, 1)]
    rows = [decide_retraining(stroke, **nothing).to_frame() for stroke in strokes]
    assert (rows[1]["decided_at"] - rows[0]["decided_at"])[0].total_seconds() == 3600
