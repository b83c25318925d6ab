"""Which version speaks for a racing day."""

from datetime import date

import duckdb
import polars as pl

from velo_assets.monitoring.post_race import PostRace, post_race

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


def test_a_module_above_the_market_by_rounding_is_silent_about_the_winner() -> None:
    """As in strategies, the error map and the verdicts that are served: an offset of 0 is no opinion of TIE."""
    with duckdb.connect() as connection:
        for schema in ("backtest", "core", "serving"):
            connection.execute(f"create schema {schema}")
        connection.execute(
            """
            create table backtest.predictions as select
                runner_key - 1 as position_in_frame, 'sp' as price_kind, date '2023-05-01' as race_date, 1 as race_key,
                runner_key, 2023 as fold, 0.5 as probability_blend, 0.5 as market_probability,
                if(runner_key = 1, 0.1, -0.1) as module_sqpe, if(runner_key = 1, 5e-17, -5e-17) as module_tie
            from range(1, 3) as runners(runner_key);
            create table core.results as select 1 as race_key, runner_key, (runner_key = 1)::double as win_share
            from range(1, 3) as runners(runner_key);
            create table backtest.bets (
                race_date date, strategy_id varchar, stake double, profit double, status varchar
            )
            """
        )
        races = post_race(connection, "sp").races.to_dicts()
    assert [(race["sqpe_right"], race["tie_right"], race["tie_right_expected"]) for race in races] == [
        (True, False, 0.0)
    ]


def test_the_newest_version_on_trial_speaks_for_its_days() -> None:
    assert judged(DAYS).of("served")["model"].to_list() == ["velo 10", "velo 10", "velo 9"]
    assert judged(DAYS).of("walk-forward")["model"].to_list() == ["blend"]


def test_the_champion_speaks_where_there_is_one() -> None:
    days = DAYS.with_columns(is_champion=pl.col("model") == "velo 9")
    assert judged(days).of("served")["race_date"].to_list() == [date(2024, 5, 2), date(2024, 5, 4)]
    assert judged(days).mean_gap("served") == (0.3 * 4 + 0.5 * 16) / 20
