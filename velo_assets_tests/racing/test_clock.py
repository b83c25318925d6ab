from __future__ import annotations

from datetime import time

import pytest

from velo_assets_tests.racing.macro_connection import call

CASES = [
    ("1:00", "2015-01-01", "GB", time(13, 0), "13:00"),
    ("10:59", "2015-01-01", "IRE", time(22, 59), "22:59"),
    ("11:15", "2015-01-01", "GB", time(11, 15), "11:15"),
    ("12:50", "2015-01-01", "GB", time(12, 50), "12:50"),
    ("11:15", "2015-01-01", "HK", time(23, 15), "23:15"),
    ("14:20", "2015-01-01", "FR", time(14, 20), "14:20"),
    ("2:20", "2015-01-01", "FR", None, "2:20"),
    ("2:20", "2025-10-14", "GB", time(14, 20), "14:20"),
    ("09:30", "2025-10-15", "AUS", time(9, 30), "09:30"),
    ("12:05", "2025-12-28", "GB", time(12, 5), "12:05"),
    ("10:30", "2025-12-28", "GB", time(10, 30), "10:30"),
    ("2:20", "2025-12-28", "GB", time(14, 20), "14:20"),
    ("2:20", "2025-12-28", "USA", None, "2:20"),
    ("25:00", "2015-01-01", "GB", None, "25:00"),
    ("12:60", "2015-01-01", "GB", None, "12:60"),
    ("noon", "2015-01-01", "GB", None, "noon"),
    ("", "2015-01-01", "GB", None, None),
    ("0:30", "2015-01-01", "FR", None, "0:30"),
    ("0:30", "2015-01-01", "GB", time(0, 30), "00:30"),
]


@pytest.mark.parametrize(("text", "day", "country", "expected", "key"), CASES)
def test_clock(text: str, day: str, country: str, expected: time | None, key: str | None) -> None:
    assert call(f"off_time_of(value, date '{day}', '{country}')", [text]) == [expected]
    assert call(f"off_key_text(value, date '{day}', '{country}')", [text]) == [key]


def test_missing_off_time() -> None:
    assert call("off_time_of(value, date '2015-01-01', 'GB')", [None]) == [None]
    assert call("off_key_text(value, date '2015-01-01', 'GB')", [None]) == [None]
