from __future__ import annotations

import pytest

from velo_assets_tests.racing.macro_connection import call


@pytest.mark.parametrize(
    ("going", "surface", "group", "index"),
    [
        ("Good", "turf", "good", 0.0),
        ("Good To Firm", "turf", "firm", -1.0),
        ("Firm", "turf", "firm", -2.0),
        ("Yielding To Soft", "turf", "soft", 1.5),
        ("Very Soft", "turf", "heavy", 2.5),
        ("Heavy", "turf", "heavy", 3.0),
        ("GOOD TO SOFT (Soft in places)", "turf", "good", 1.0),
        ("Good, Good To Firm in places", "turf", "good", 0.0),
        ("Good-To-Soft", "turf", "good", 1.0),
        ("Standard", "all-weather", "aw-standard", 0.0),
        ("Standard To Slow", "all-weather", "aw-slow", 0.5),
        ("Good", "all-weather", "aw-standard", 0.0),
        ("Fast", "all-weather", "aw-fast", -1.0),
        ("Muddy", "all-weather", "aw-slow", 2.0),
        ("Lunar", "turf", None, None),
        (None, "turf", None, None),
    ],
)
def test_group_and_index(going: str | None, surface: str, group: str | None, index: float | None) -> None:
    assert call(f"going_group_of(value, '{surface}')", [going]) == [group]
    assert call(f"going_index_of(value, '{surface}')", [going]) == [index]


def test_words_that_only_dirt_and_artificial_surfaces_have() -> None:
    assert call("going_is_dirt(value)", ["Fast", "Standard", "Good", "Firm", "Soft", None]) == [
        True, True, False, False, False, False,
    ]  # fmt: skip
