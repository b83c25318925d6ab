from __future__ import annotations

from velo_assets_tests.racing.macro_connection import call


def test_codes_are_a_sorted_set() -> None:
    texts = ["v", "tp", "pt", "e/s", "eb", "e/c", "ht1", "b1", "", None]
    assert call("headgear_codes(value)", texts) == ["v", "pt", "pt", "e", "be", "e", "ht", "b", "", None]
    assert call("headgear_first_time_of(value)", texts) == [
        False, False, False, False, False, False, True, True, False, None,
    ]  # fmt: skip
