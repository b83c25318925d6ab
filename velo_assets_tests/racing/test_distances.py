from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets.racing.distances import distance_text
from velo_assets_tests.racing.macro_connection import call

TEXTS = {
    "5f": 5.0,
    "5½f": 5.5,
    "1m": 8.0,
    "1m½f": 8.5,
    "1m2½f": 10.5,
    "2m": 16.0,
    "2m4f": 20.0,
    "4m2½f": 34.5,
    "2m4f56y": 20 + 56 / 220,
    "1m13y": 8 + 13 / 220,
    "7¼f": 7.25,
    " 1m 2f ": 10.0,
    "": None,
    "far": None,
    "0f": None,
    "5": None,
    "1200m": None,
}


def test_every_form_of_distance() -> None:
    assert call("distance_furlongs_of(value)", list(TEXTS)) == [pytest.approx(v) if v else None for v in TEXTS.values()]


def test_a_measured_distance_is_a_number_above_nothing() -> None:
    texts = ["1811", " 1811.5 ", "0", "0.0", "-5", "far", "", "nan", "inf"]
    assert call("measured_distance(value)", texts) == [1811.0, 1811.5, *[None] * 7]


def test_metres_and_back() -> None:
    assert call("furlongs_to_metres(value::double)", ["5", "8"]) == [pytest.approx(1005.84), pytest.approx(1609.344)]
    assert call("metres_to_furlongs(furlongs_to_metres(value::double))", ["10.5"]) == [pytest.approx(10.5)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 80), min_size=1, max_size=40))
def test_any_distance_written_is_read_back(halves: list[int]) -> None:
    assert call("distance_furlongs_of(value)", [distance_text(half) for half in halves]) == [h / 2 for h in halves]


def test_writer_forms_and_refusal() -> None:
    assert [distance_text(half) for half in (1, 10, 11, 16, 17, 21, 40)] == [
        "½f", "5f", "5½f", "1m", "1m½f", "1m2½f", "2m4f",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="half a furlong"):
        distance_text(0)
