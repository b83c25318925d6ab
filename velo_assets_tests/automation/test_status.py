"""The words of `velo status` that don't need a warehouse; the rest is in assets/test_chain.py."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from velo_assets.automation.status import _next_night, status_text
from velo_assets.settings import DataRoot


def test_an_empty_root_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        text = status_text(DataRoot(tmp_path), instance)
    assert "none yet: `make run` builds it" in text
    assert "nightly off" in text
    assert "Runs        none yet" in text


@pytest.mark.parametrize(
    ("now", "night"),
    [
        (datetime(2026, 7, 1, 0, 30, tzinfo=UTC), "2026-07-01 02:00 BST"),
        (datetime(2026, 7, 1, 1, 0, tzinfo=UTC), "2026-07-02 02:00 BST"),
        # The clocks go back in the night of 25 October: two in the morning is winter time by then.
        (datetime(2026, 10, 24, 12, 0, tzinfo=UTC), "2026-10-25 02:00 GMT"),
    ],
)
def test_the_next_night_is_told_in_the_time_of_the_racing(now: datetime, night: str) -> None:
    assert f"{_next_night(now):%Y-%m-%d %H:%M %Z}" == night
