"""Which two spans a drift report compares."""

from datetime import date, timedelta

import polars as pl
import pytest

from velo_assets.monitoring.drift_report import CURRENT_DAYS, LEAST_DAYS_SINCE, choose_periods

YEARS = pl.Series([date(2020, 1, 1) + timedelta(days=7 * week) for week in range(4 * 52)])
TRAINED = (date(2020, 1, 1), date(2022, 12, 31))


def test_the_champions_training_window_is_the_reference() -> None:
    periods = choose_periods(YEARS, TRAINED)
    assert (periods.reference_start, periods.reference_end) == TRAINED
    assert periods.current_start > TRAINED[1]
    assert periods.current_end == YEARS.max()


def test_no_more_than_a_year_is_looked_at() -> None:
    periods = choose_periods(YEARS, (date(2020, 1, 1), date(2021, 6, 30)))
    assert (periods.current_end - periods.current_start).days == CURRENT_DAYS - 1


def test_just_after_a_training_the_last_year_is_held_against_those_before() -> None:
    end = YEARS[-LEAST_DAYS_SINCE]
    for training in ((YEARS[0], end), None):
        periods = choose_periods(YEARS, training)
        assert (periods.reference_start, periods.reference_end.year) == (YEARS[0], 2022)
        assert periods.current_start.year == 2023
    assert choose_periods(YEARS, (YEARS[0], YEARS[-LEAST_DAYS_SINCE - 1])).reference_end == YEARS[-LEAST_DAYS_SINCE - 1]


def test_one_year_alone_can_not_be_compared() -> None:
    with pytest.raises(ValueError, match="only year"):
        choose_periods(YEARS.head(10), None)
