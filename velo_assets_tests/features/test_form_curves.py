from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from velo_assets_tests.features.stables import Stables, known

DAY = date(2020, 6, 20)
HORSE = 1


def run(stables: Stables, days_ago: int, position: int | None, rivals: int = 4, **result: Any) -> None:
    others = [place for place in range(1, rivals + 2) if place != position][:rivals]
    mine = {"horse_key": HORSE, "position": position, **result}
    lengths = {place: 2.0 * (place - 1) for place in range(1, rivals + 2)}
    field = [mine, *({"position": place, "beaten_lengths": lengths[place]} for place in others)]
    stables.race(DAY - timedelta(days=days_ago), field)


def test_time_weighted_means_and_last_runs(stables: Stables) -> None:
    run(stables, 90, 1, beaten_lengths=0.0)  # beat 4 of 4
    run(stables, 30, 3, beaten_lengths=4.0)  # beat 2 of 4
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("form_curves", DAY, DAY)[today]
    near, far = 2 ** (-30 / 90), 2 ** (-90 / 90)
    assert row["form_ewma"] == pytest.approx((1 * far + 0.5 * near) / (far + near))
    near, far = 2 ** (-30 / 30), 2 ** (-90 / 30)
    assert row["form_ewma_30d"] == pytest.approx((1 * far + 0.5 * near) / (far + near))
    assert (row["form_last"], row["form_last_2"], row["form_last_3"]) == (0.5, 1.0, None)
    assert row["form_best"] == 1.0
    assert row["form_var"] == pytest.approx(0.125)
    assert row["form_slope"] is None  # two runs make no slope
    assert (row["form_runs"], row["form_wins"], row["won_last"]) == (2, 1, 0)
    assert row["form_win_rate"] == 0.5
    # Over 8 furlongs lengths stay as they are; the winner's margin over the second was 2.
    assert (row["lengths_last"], row["lengths_best"]) == (4.0, -2.0)


def test_slope_over_a_year(stables: Stables) -> None:
    for days_ago, position in ((60, 5), (30, 3), (1, 1), (400, 1)):
        run(stables, days_ago, position)
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("form_curves", DAY, DAY)[today]
    # Points (-60, 0), (-30, .5), (-1, 1); the run 400 days ago lies outside.
    days, values = (-60, -30, -1), (0, 0.5, 1)
    mean_day, mean_value = sum(days) / 3, sum(values) / 3
    slope = sum((d - mean_day) * (v - mean_value) for d, v in zip(days, values, strict=True)) / sum(
        (d - mean_day) ** 2 for d in days
    )
    assert row["form_slope"] == pytest.approx(slope * 30)


def test_a_faller_beat_nobody_and_has_no_lengths(stables: Stables) -> None:
    run(stables, 10, None, outcome="fell")
    run(stables, 20, 2, beaten_lengths=2.0)
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("form_curves", DAY, DAY)[today]
    assert row["form_last"] == 0
    assert row["lengths_last"] is None
    assert row["lengths_best"] == 2.0
    assert row["won_last"] == 0


def test_published_ratings_of_earlier_days_only(stables: Stables) -> None:
    run(stables, 10, 1, racing_post_rating=90, top_speed=80)
    run(stables, 20, 1, racing_post_rating=100)
    run(stables, 0, 1, racing_post_rating=140, top_speed=140)
    rows = stables.build("form_curves", DAY, DAY)
    row = next(row for row in rows.values() if row["form_runs"])
    assert (row["rpr_last"], row["rpr_best"], row["ts_last"], row["ts_best"]) == (90, 100, 80, 80)


def test_debut_is_null_not_zero(stables: Stables) -> None:
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("form_curves", DAY, DAY)[today]
    assert known(row) == {"form_runs": 0}


def test_a_declaration_without_a_result_is_no_run(stables: Stables) -> None:
    run(stables, 20, 2)
    stables.race(DAY - timedelta(days=5), [{"horse_key": HORSE}])
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    row = stables.build("form_curves", DAY, DAY)[today]
    assert row["form_last"] == pytest.approx(0.75)
    assert row["form_runs"] == 1


def test_runs_beyond_the_look_back_are_forgotten_in_every_window(stables: Stables) -> None:
    run(stables, 735, 1)
    today = stables.race(DAY, [{"horse_key": HORSE}])[0]
    alone = stables.build("form_curves", DAY, DAY)[today]
    whole = stables.build("form_curves", DAY - timedelta(days=1200), DAY)[today]
    assert alone == whole
    assert alone["form_last"] is None
