from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from velo_assets_tests.features.stables import Stables, known

DAY = date(2020, 6, 20)
HORSE = 1


def par_races(stables: Stables, count: int = 6, seconds: float = 100.0, **conditions: Any) -> None:
    for number in range(count):
        runners = [{"position": 1, "time_seconds": seconds}, {"position": 2, "time_seconds": seconds + 1}]
        stables.race(DAY - timedelta(days=300 + number), runners, **conditions)


def test_figure_of_a_run_on_a_day_with_a_going_allowance(stables: Stables) -> None:
    # Six races in 100 seconds make par 100. On the day of the run two races take 101 and 103 seconds: 10 and 30 tenths
    # of a percent slow; the class is at par ((6 races of 0) / (6 + 5)); allowance (10 + 30) / (2 + 1).
    par_races(stables)
    run_day = DAY - timedelta(days=20)
    mine = {"horse_key": HORSE, "position": 2, "time_seconds": 102.0}
    stables.race(run_day, [{"position": 1, "time_seconds": 101.0}, mine])
    stables.race(run_day, [{"position": 1, "time_seconds": 103.0}])
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("speed_figures", DAY, DAY)[today]
    figure = 100 - 20 + 40 / 3
    assert row["speed_last"] == pytest.approx(figure)
    assert row["speed_ewma"] == pytest.approx(figure)
    assert row["speed_best"] == pytest.approx(figure)
    assert row["speed_best_at_trip"] == pytest.approx(figure)
    assert row["speed_runs"] == 1
    assert row["speed_figure_trend"] is None


def test_a_trip_is_one_however_its_metres_are_written(stables: Stables) -> None:
    # 1m0½f by its text, by whole metres and, where no text came, by the measured metres alone.
    par_races(stables, count=3, distance_furlongs=8.5, distance_m=1709.928)
    par_races(stables, count=2, distance_furlongs=8.5, distance_m=1710.0)
    mine = {"horse_key": HORSE, "position": 1, "time_seconds": 99.0}
    stables.race(DAY - timedelta(days=20), [mine], distance_furlongs=1720 / 201.168, distance_m=1720.0)
    today = stables.race(DAY, [{"horse_key": HORSE}], distance_furlongs=8.5, distance_m=1717.2)[0]
    row = stables.build("speed_figures", DAY, DAY)[today]
    assert row["speed_at_trip"] == pytest.approx(100 + 10 - 10 / 2)


def test_time_weighted_mean(stables: Stables) -> None:
    par_races(stables)
    # Alone on its day a race gives half its deviation to the allowance.
    for days, seconds in ((80, 98.0), (20, 102.0)):
        stables.race(
            DAY - timedelta(days=days), [{"horse_key": HORSE, "position": 1, "time_seconds": seconds}], race_class=days
        )
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("speed_figures", DAY, DAY)[today]
    # Par at the second run is that of six races in 100 and one in 98 seconds.
    par = 698 / 7
    deviation = 1000 * (102 / par - 1)
    first, second = 120 - 20 / 2, 100 - deviation / 2
    near, far = 2 ** (-20 / 60), 2 ** (-80 / 60)
    assert row["speed_last"] == pytest.approx(second)
    assert row["speed_ewma"] == pytest.approx((first * far + second * near) / (near + far))
    assert row["speed_best"] == pytest.approx(first)


def test_an_eased_horse_counts_no_slower_than_six_percent(stables: Stables) -> None:
    par_races(stables)
    eased = {"horse_key": HORSE, "position": 2, "time_seconds": 140.0}
    stables.race(DAY - timedelta(days=20), [{"position": 1, "time_seconds": 100.0}, eased])
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    assert stables.build("speed_figures", DAY, DAY)[today]["speed_last"] == pytest.approx(40)


@pytest.mark.parametrize("case", ["too few races for a par", "no distance", "no time", "debut"])
def test_no_figure_is_null(stables: Stables, case: str) -> None:
    par_races(stables, count=4 if case == "too few races for a par" else 6)
    conditions: dict[str, Any] = {"distance_m": None, "distance_furlongs": None} if case == "no distance" else {}
    mine = {"horse_key": 2 if case == "debut" else HORSE, "position": 1}
    if case != "no time":
        mine["time_seconds"] = 100.0
    stables.race(DAY - timedelta(days=20), [mine], **conditions)
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("speed_figures", DAY, DAY)[today]
    assert row["speed_last"] is None
    assert row["speed_ewma"] is None


def test_late_gain_and_early_pace_from_calls(stables: Stables) -> None:
    # Early share of the winner's time: 0.70 in the par races, 0.69 = fast early in the last one.
    for number in range(2):
        runners = [{"position": 1, "calls": [1, 1, 1]}, {"position": 2, "calls": [2, 2, 2]}]
        day = DAY - timedelta(days=60 + number)
        stables.race(day, runners, leader_elapsed_seconds=(30.0, 70.0, 100.0))
    mine = {"horse_key": HORSE, "position": 1, "calls": [3, 3, 1]}
    others = [{"position": 2, "calls": [1, 1, 2]}, {"position": 3, "calls": [2, 2, 3]}]
    stables.race(DAY - timedelta(days=20), [mine, *others], leader_elapsed_seconds=(30.0, 69.0, 100.0))
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("speed_figures", DAY, DAY)[today]
    assert row["late_gain_ewma"] == pytest.approx(1.0)
    assert row["early_pace_ewma"] == pytest.approx(10.0)


def test_times_of_the_same_day_do_not_count(stables: Stables) -> None:
    par_races(stables)
    stables.race(DAY, [{"horse_key": HORSE, "position": 1, "time_seconds": 90.0}])
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("speed_figures", DAY, DAY)[today]
    assert row["speed_last"] is None


def test_a_day_built_alone_equals_the_whole_build(stables: Stables) -> None:
    for number in range(40):
        runners = [
            {"horse_key": HORSE + place % 3, "position": place, "time_seconds": 100 + number % 7 + place / 3}
            for place in (1, 2, 3)
        ]
        stables.race(DAY - timedelta(days=45 * (number + 1)), runners)
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    whole = stables.build("speed_figures", DAY - timedelta(days=2000), DAY)[today]
    alone = stables.build("speed_figures", DAY, DAY)[today]
    assert known(alone) == pytest.approx(known(whole), rel=1e-9)
