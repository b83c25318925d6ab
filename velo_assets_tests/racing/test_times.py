from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets.racing.times import time_text
from velo_assets_tests.racing.macro_connection import call


def test_every_form_of_time() -> None:
    texts = ["1:54.79", "4:1.70", "0:59.98", "59.42", "114.79", "2:00", "-", "", "1:61.00", "x", "-1:20.0", None]
    assert call("time_seconds_of(value)", texts) == [
        114.79, 241.7, 59.98, 59.42, 114.79, 120.0, None, None, None, None, None, None,
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 99 * 6000), min_size=1, max_size=40))
def test_any_time_written_is_read_back(hundredths: list[int]) -> None:
    found = call("time_seconds_of(value)", [time_text(value) for value in hundredths])
    assert found == [round(value / 100, 3) for value in hundredths]


def test_writer_refuses_a_negative_time() -> None:
    with pytest.raises(ValueError, match="negative"):
        time_text(-1)
