"""Which two spans a drift report compares."""

from collections.abc import Iterable
from datetime import date, timedelta

import polars as pl
import pytest

from velo_assets.monitoring import drift_report
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


@pytest.mark.parametrize(("every", "weekdays"), [(7, range(7)), (2, (2, 6)), (2, range(7))])
def test_the_days_of_a_long_history_are_of_all_days_of_the_week(
    every: int, weekdays: Iterable[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ten_years = [date(2010, 1, 1) + timedelta(days=day) for day in range(3650)]
    raced = pl.DataFrame({"race_date": [day for day in ten_years if day.weekday() in weekdays]})
    monkeypatch.setattr(drift_report, "REFERENCE_ROWS", -(-raced.height // every))
    drawn = drift_report._some_days(raced, ten_years[0], ten_years[-1])
    assert drawn.is_sorted()
    assert drawn.n_unique() == len(drawn) == pytest.approx(raced.height / every, abs=1)
    of_weekday = drawn.dt.weekday().value_counts()["count"]
    assert len(of_weekday) == len(list(weekdays))
    assert of_weekday.min() > 0.6 * len(drawn) / len(of_weekday)
    assert drawn.equals(drift_report._some_days(raced, ten_years[0], ten_years[-1]))


def test_every_day_of_a_short_history_is_read() -> None:
    raced = YEARS.to_frame("race_date")
    assert drift_report._some_days(raced, YEARS[10], YEARS[20]).to_list() == YEARS[10:21].to_list()
