"""Which version speaks for a racing day."""

from datetime import date

import polars as pl

from velo_assets.monitoring.post_race import PostRace

DAYS = pl.DataFrame(
    {
        "source": ["walk-forward", "served", "served", "served", "served"],
        "model": ["blend", "velo 10", "velo 9", "velo 10", "velo 9"],
        "is_champion": [None, False, False, False, False],
        "race_date": [date(2024, 5, day) for day in (1, 2, 2, 3, 4)],
        "gap_to_market": [0.1, 0.2, 0.3, 0.4, 0.5],
        "races": [1, 2, 4, 8, 16],
    }
)


def judged(days: pl.DataFrame) -> PostRace:
    return PostRace(pl.DataFrame(), days, pl.DataFrame(), pl.DataFrame())


def test_the_newest_version_on_trial_speaks_for_its_days() -> None:
    assert judged(DAYS).of("served")["model"].to_list() == ["velo 10", "velo 10", "velo 9"]
    assert judged(DAYS).of("walk-forward")["model"].to_list() == ["blend"]


def test_the_champion_speaks_where_there_is_one() -> None:
    days = DAYS.with_columns(is_champion=pl.col("model") == "velo 9")
    assert judged(days).of("served")["race_date"].to_list() == [date(2024, 5, 2), date(2024, 5, 4)]
    assert judged(days).mean_gap("served") == (0.3 * 4 + 0.5 * 16) / 20
