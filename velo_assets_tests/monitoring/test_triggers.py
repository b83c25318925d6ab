from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from velo_assets.monitoring.drift import drift_table
from velo_assets.monitoring.triggers import (
    CusumRule,
    DayGaps,
    beyond_usual,
    calibrate_cusum,
    read_drift,
    read_unlearnt_drift,
    run_cusum,
    watch,
)


def gaps(
    days: int, rng: np.random.Generator, *, races: int = 27, mean: float = 0.0, day_effect: float = 0.02
) -> DayGaps:
    """Days of races whose gaps share a day's effect."""
    dates = np.repeat(np.datetime64("2022-01-01") + np.arange(days), races)
    shared = np.repeat(rng.normal(0, day_effect, days), races)
    return DayGaps.from_races(dates, mean + shared + rng.normal(0, 0.1, days * races))


def test_races_are_summed_per_day() -> None:
    days = np.array(["2022-01-02", "2022-01-01", "2022-01-02"], dtype="datetime64[D]")
    result = DayGaps.from_races(days, np.array([0.1, 0.2, 0.3]))
    assert result.races.tolist() == [1.0, 2.0]
    assert result.gap == pytest.approx([0.2, 0.4])
    again = DayGaps.from_dict(result.to_dict())
    assert again.race_date.tolist() == result.race_date.tolist()
    assert again.total_races == 3


def test_a_gap_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        DayGaps.from_races(np.array(["2022-01-01"], dtype="datetime64[D]"), np.array([np.nan]))


def test_the_sum_follows_pages_recursion() -> None:
    rule = CusumRule(mean=0.0, sd=1.0, allowance=0.5, threshold=3.0, false_alarms_per_year=1.0)
    days = DayGaps(
        np.arange("2022-01-01", "2022-01-05", dtype="datetime64[D]"),
        np.array([2.0, 2, 2, 2]),
        np.array([3.0, -9, 3, 4]),
    )
    reading = run_cusum(rule, days)
    # 3 - 1 = 2; 2 - 9 - 1 < 0; 3 - 1 = 2; 2 + 4 - 1 = 5 > 3 on the fourth day, after 8 races.
    assert reading.path.tolist() == [2.0, 0.0, 2.0, 5.0]
    assert reading.alarm
    assert reading.alarm_date == date(2022, 1, 4)
    assert reading.races_to_alarm == 8


def test_no_day_is_quiet() -> None:
    rule = CusumRule(0.0, 1.0, 0.05, 3.0, 1.0)
    reading = run_cusum(rule, DayGaps.empty())
    assert not reading.alarm
    assert reading.value == 0.0


def test_quiet_years_keep_the_false_alarm_rate() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for world in range(40):
        rule = calibrate_cusum(gaps(300, rng), false_alarms_per_year=0.5, draws=200, seed=world)
        alarms += run_cusum(rule, gaps(370, rng)).alarm
    # 40 years of 10,000 races at half an alarm a year: exp(-.5) of them stay quiet; 40% alarms expected, at most.
    assert alarms <= 22


def test_a_shift_of_a_fifth_of_a_standard_deviation_is_found_within_a_season() -> None:
    rng = np.random.default_rng(6)
    rule = calibrate_cusum(gaps(300, rng))
    reading = run_cusum(rule, gaps(200, rng, mean=0.02))
    assert reading.races_to_alarm is not None
    assert reading.races_to_alarm < 4000


def test_few_quiet_days_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 30"):
        calibrate_cusum(gaps(10, np.random.default_rng(1)))


def test_channels_share_the_rate_and_silent_ones_are_left_out() -> None:
    rng = np.random.default_rng(7)
    reference = {"recipe": gaps(100, rng), "fundamental": gaps(100, rng), "silent": DayGaps.empty()}
    readings = watch(reference, {"recipe": gaps(5, rng)}, false_alarms_per_year=0.5)
    assert set(readings) == {"recipe", "fundamental"}
    assert readings["recipe"].rule.false_alarms_per_year == 0.25
    assert readings["recipe"].races == 135
    assert readings["fundamental"].races == 0


def test_drift_needs_more_columns_than_chance_moves() -> None:
    table = pl.DataFrame(
        {
            "column": [f"c{i}" for i in range(150)],
            "verdict": ["drift"] * 2 + ["quiet"] * 148,
            "missing_reference": [0.05] * 150,
            "missing_current": [0.06] * 150,
        }
    )
    reading = read_drift(table)
    assert reading.drifted == ("c0", "c1")
    assert not reading.alarm
    more = table.with_columns(verdict=pl.Series(["drift"] * 3 + ["missingness"] + ["quiet"] * 146))
    assert read_drift(more).drifted[0] == "c3"
    assert read_drift(more).alarm


def test_one_column_that_goes_missing_is_a_cause() -> None:
    table = pl.DataFrame(
        {
            "column": ["rating", "draw"],
            "verdict": ["missingness", "quiet"],
            "missing_reference": [0.1, 0.3],
            "missing_current": [1.0, 0.3],
        }
    )
    reading = read_drift(table)
    assert reading.gone == ("rating",)
    assert reading.alarm


def test_drift_of_racing_that_the_model_has_learnt_is_no_cause() -> None:
    """At Hong Kong's pace 15 racing days take two months: a year learnt long ago asked for a training every month."""
    table = pl.DataFrame(
        {
            "column": [f"c{place}" for place in range(5)],
            "verdict": ["drift"] * 5,
            "missing_reference": [0.0] * 5,
            "missing_current": [0.0] * 5,
            "current_start": [date(2023, 1, 1)] * 5,
        }
    )
    assert read_unlearnt_drift(table, date(2023, 12, 26)) is None
    assert read_unlearnt_drift(table, date(2023, 1, 1)) is None
    for learnt_until in (date(2022, 12, 31), None):
        reading = read_unlearnt_drift(table, learnt_until)
        assert reading is not None
        assert reading.alarm


def years_of(means: list[float], missing: list[float], first_year: int = 2020) -> pl.DataFrame:
    """A year of 100 days with 10 runners each per mean; so large a share of the values is missing."""
    frames = []
    for offset, (mean, gone) in enumerate(zip(means, missing, strict=True)):
        rng = np.random.default_rng(offset + 1)
        values = rng.normal(mean, 1.0, 1000)
        values[: int(1000 * gone)] = np.nan
        rng.shuffle(values)
        days = [date(first_year + offset, 1, 1) + timedelta(days=3 * (row // 10)) for row in range(1000)]
        frames.append(pl.DataFrame({"race_date": days, "value": values}))
    return pl.concat(frames).with_columns(pl.col("value").fill_nan(None))


@pytest.mark.parametrize(
    ("means", "missing", "verdict"),
    [
        # Years that always differ by as much say nothing when they do so again.
        ([0.0, 0.6, 0.0, 0.6, 0.0, 0.6], [0.0] * 6, "quiet"),
        ([0.0, 0.05, 0.0, 0.05, 0.0, 0.9], [0.0] * 6, "drift"),
        # Young data lack values for want of history: the share falls from year to year.
        ([0.0] * 6, [0.9, 0.5, 0.3, 0.2, 0.15, 0.1], "quiet"),
        ([0.0] * 6, [0.02, 0.03, 0.02, 0.03, 0.02, 0.15], "missingness"),
        # A source that breaks off is told whatever the first years were like.
        ([0.0] * 6, [0.9, 0.5, 0.3, 0.2, 0.15, 1.0], "missingness"),
        # Two years are too few to know what is usual.
        ([0.0, 0.05, 0.9], [0.0] * 3, "quiet"),
        ([0.0, 0.05, 0.9], [0.0, 0.0, 0.7], "missingness"),
    ],
)
def test_a_column_has_moved_when_it_moves_more_than_its_own_years_did(
    means: list[float], missing: list[float], verdict: str
) -> None:
    rows = years_of(means, missing)
    reference, current = (
        rows.filter((pl.col("race_date").dt.year() == 2019 + len(means)) == now) for now in (False, True)
    )
    start, end = date(2019 + len(means), 1, 1), date(2019 + len(means), 12, 31)
    table = beyond_usual(drift_table(reference, current, {"all": ["value"]}), reference, start, end)
    assert table["verdict"].to_list() == [verdict]
