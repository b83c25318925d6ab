from __future__ import annotations

from datetime import date, timedelta

import pytest

from velo_assets.warehouse.lint import lint_tables
from velo_assets.warehouse.sql_table import build_order, load_table
from velo_assets_tests.features.stables import Stables, known

DAY = date(2020, 6, 20)

RUNBOOK_FEATURES = {
    *("trainer_sr_14d", "trainer_sr_30d", "trainer_sr_90d", "jockey_sr_14d", "jockey_sr_30d", "jockey_sr_90d"),
    *("tj_combo_uplift", "class_drop", "classdrop_flag", "layoff_days", "layoff_penalty", "freshness_flag"),
    *("weight_delta", "or_delta", "course_going_iv", "draw_iv", "bias_persist_flag"),
    *("form_ewma", "form_slope", "ts_trend", "form_var"),
}


def test_every_family_column_is_in_the_matrix_once(stables: Stables) -> None:
    matrix = [column.name for column in load_table("features/runner_features").columns]
    assert len(matrix) == len(set(matrix))
    keys = {"race_date", "race_key", "runner_key"}
    layer = [load_table(name) for name in build_order("features")]
    families = [table for table in layer if table.is_by_runner and table.table != "runner_features"]
    beside = {name for family in families for name in family.beside_the_matrix}
    assert beside == {"jockey_ability"}
    assert set(matrix) - keys == {column.name for family in families for column in family.columns} - keys - beside
    described = {column.name: column.description for family in families for column in family.columns}
    for column in load_table("features/runner_features").columns:
        assert described[column.name] == column.description


def test_the_21_features_of_the_runbook_are_there_by_name() -> None:
    assert len(RUNBOOK_FEATURES) == 21
    matrix = {column.name for column in load_table("features/runner_features").columns}
    assert matrix >= RUNBOOK_FEATURES


def test_one_row_per_runner_whatever_is_missing(stables: Stables) -> None:
    stables.race(DAY - timedelta(days=20), [{"horse_key": 1, "trainer_key": 1, "position": 1}, {"position": 2}])
    keys = stables.race(DAY, [{"horse_key": 1, "trainer_key": 1}, {}, {"horse_key": 3, "jockey_key": 2}])
    rows = stables.build("runner_features", DAY, DAY)
    assert sorted(rows) == keys
    assert rows[keys[0]]["form_last"] == pytest.approx(1)
    assert rows[keys[0]]["trainer_runs_career"] == 1


def test_a_year_built_alone_equals_the_whole_build(stables: Stables) -> None:
    for number in range(40):
        runners = [
            {
                "horse_key": 1 + (number + place) % 5,
                "trainer_key": place % 2,
                "jockey_key": (number * place) % 3,
                "stall": place,
                "weight_lb": 120 + place,
                "official_rating": 60 + number % 7 + place,
                "position": place,
                "beaten_lengths": 1.5 * (place - 1),
                "time_seconds": 100 + number % 5 + place / 4,
                "sp": 1.5 + place,
                "style_score": place / 4,
            }
            for place in (1, 2, 3, 4)
        ]
        stables.race(DAY - timedelta(days=55 * number + 1), runners)
    keys = stables.race(DAY, [{"horse_key": key, "trainer_key": 1, "jockey_key": 1, "stall": key} for key in (1, 2, 3)])
    whole = stables.build("runner_features", date(2014, 1, 1), date(2020, 12, 31))
    alone = stables.build("runner_features", date(2020, 1, 1), date(2020, 12, 31))
    for key in keys:
        assert known(alone[key]) == pytest.approx(known(whole[key]), rel=1e-9)


def test_the_lint_vouches_for_every_family() -> None:
    assert [str(finding) for finding in lint_tables()] == []
