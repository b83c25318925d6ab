from __future__ import annotations

from velo_assets.racing.positions import OUTCOMES
from velo_assets_tests.racing.macro_connection import call


def test_positions() -> None:
    assert call("position_of(value)", ["1", "40", "2.0", "0", "PU", "", "-1", "1.5", None]) == [
        1, 40, 2, None, None, None, None, None, None,
    ]  # fmt: skip


def test_every_code_has_its_outcome_and_unknown_ones_are_not_guessed() -> None:
    assert call("outcome_of(value)", list(OUTCOMES)) == list(OUTCOMES.values())
    assert call("outcome_of(value)", ["1", "pu", " F ", "0", "VOI", "", None]) == [
        "finished", "pulled up", "fell", "unknown", "unknown", "unknown", "unknown",
    ]  # fmt: skip


def test_lengths() -> None:
    assert call("lengths_of(value)", ["0", ".5", "6.75", "122", "nk", "shd", "-", "", "miles", "-2", None]) == [
        0.0, 0.5, 6.75, 122.0, 0.3, 0.1, None, None, None, None, None,
    ]  # fmt: skip
