"""The contract says when each column is known; the matrix refuses what comes later than the decision."""

import pytest

from velo_assets.warehouse.availability import (
    CORE_COLUMNS,
    Known,
    LateColumnError,
    UndeclaredColumnError,
    assert_matrix_available,
    known_at,
)
from velo_assets.warehouse.lineage import trace
from velo_assets.warehouse.sql_table import load_table

RAW_RESULT_COLUMNS = frozenset(
    {"pos", "ovr_btn", "btn", "time", "secs", "sp", "dec", "prize", "rpr", "ts", "comment", "win_result", "win_bsp"}
)
"""Raceform columns written at the off or after the race."""


def test_every_core_column_declares_when_it_is_known() -> None:
    for table in CORE_COLUMNS:
        for column in load_table(table).columns:
            assert known_at(table, column.name) in Known


def test_an_undeclared_core_column_is_an_error() -> None:
    with pytest.raises(UndeclaredColumnError, match=r"core/results\.whisper"):
        known_at("core/results", "whisper")


@pytest.mark.parametrize(
    ("table", "column", "known"),
    [
        ("core/entries", "stall", Known.DECLARATION),
        ("core/entries", "body_weight_lb", Known.MORNING),
        ("core/prices", "decimal_odds", Known.OFF),
        ("core/results", "prize_won", Known.RESULT),
        ("core/results", "race_date", Known.DECLARATION),
        ("market/probabilities", "probability", Known.RESULT),
        ("features/nowhere", "value", Known.RESULT),
    ],
)
def test_the_contract(table: str, column: str, known: Known) -> None:
    assert known_at(table, column) is known


@pytest.mark.parametrize("table", ["core/races", "core/entries"])
def test_nothing_known_before_the_off_is_made_of_a_raw_result_column(table: str) -> None:
    for column in load_table(table).columns:
        if known_at(table, column.name) <= Known.MORNING:
            raw = {name for source, name in trace(table, column.name).leaves() if source == "landing/raceform"}
            assert not raw & RAW_RESULT_COLUMNS, column.name


def test_the_matrix_refuses_what_comes_after_the_decision() -> None:
    table = "features/weight_rating"
    assert_matrix_available(["body_weight_lb"], Known.MORNING, table=table)
    with pytest.raises(LateColumnError, match=r"body_weight_lb is known at morning \(it reads core\.entries\.body"):
        assert_matrix_available(["weight_lb", "body_weight_lb"], Known.DECLARATION, table=table)
    with pytest.raises(LateColumnError, match="no column sp"):
        assert_matrix_available(["sp"], Known.RESULT, table=table)
