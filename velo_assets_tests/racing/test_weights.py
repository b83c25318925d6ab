from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets.racing.weights import weight_text
from velo_assets_tests.racing.macro_connection import call


def test_every_form_of_weight() -> None:
    texts = ["9-2", "8-12", "11-13", "9-0", "9-00", "128", "128.0", "9-14", "9-15", "", "-", "9", "nine", None]
    assert call("weight_lb_of(value)", texts) == [
        128, 124, 167, 126, 126, 128, 128, None, None, None, None, None, None, None,
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 99 * 14 + 13), min_size=1, max_size=40))
def test_any_weight_written_is_read_back(pounds: list[int]) -> None:
    assert call("weight_lb_of(value)", [weight_text(weight) for weight in pounds]) == pounds


def test_writer_refuses_a_negative_weight() -> None:
    with pytest.raises(ValueError, match="negative"):
        weight_text(-1)
