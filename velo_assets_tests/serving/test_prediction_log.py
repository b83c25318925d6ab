import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest

from velo_assets.monitoring.evaluation import evaluate_races
from velo_assets.serving.predict import ServingModel, predict_cards, store_predictions
from velo_assets.serving.prediction_log import LOG_TYPES, keep_log, log_predictions, served_predictions
from velo_assets.warehouse.build import replace_table
from velo_assets.warehouse.query import frame_of
from velo_assets_tests.warehouse.small_world import LAST, RUNNERS

NOW = datetime(2021, 12, 31, 2, tzinfo=UTC)


def predict(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, folder: Path, now: datetime = NOW
) -> pl.DataFrame:
    new = store_predictions(world, predict_cards(world, [champion], [LAST], now))
    keep_log(world, folder)
    return new


def results_arrive(world: duckdb.DuckDBPyConnection, where: str = "true") -> None:
    """The day's results land, all or some."""
    world.execute(f"insert into core.results by name select * from main.results where {where}")
    world.execute("update core.races set stage = 'result' where race_key in (select race_key from core.results)")
    prices = frame_of(
        world,
        "select race_key, runner_key, decimal_odds, 1.0 / decimal_odds as q from main.prices where price_kind = 'sp'",
    )
    market = prices.select(
        "runner_key",
        "decimal_odds",
        pl.lit("sp").alias("price_kind"),
        (pl.col("q") / pl.col("q").sum().over("race_key")).alias("probability"),
    )
    replace_table(world, "market/probabilities", market)


def outcomes(world: duckdb.DuckDBPyConnection) -> dict[str, int]:
    return dict(world.execute("select outcome, count(*) from serving.prediction_outcomes group by 1").fetchall())


def test_the_log_has_exactly_its_fields(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, tmp_path: Path
) -> None:
    new = predict(world, champion, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "2021-12-31.jsonl").read_text().splitlines()]
    assert len(lines) == new.height
    assert list(lines[0]) == list(LOG_TYPES)
    assert lines[0]["timestamp"] == "2021-12-31T02:00:00.000000+00:00"
    assert lines[0]["won"] is None
    assert lines[0]["final_prob"] > 0
    assert world.execute("select count(*) from serving.prediction_log").fetchall() == [(new.height,)]


def test_a_rerun_leaves_file_and_table_as_they_were(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, tmp_path: Path
) -> None:
    predict(world, champion, tmp_path)
    before = (tmp_path / "2021-12-31.jsonl").read_bytes()
    assert predict(world, champion, tmp_path).is_empty()
    assert (tmp_path / "2021-12-31.jsonl").read_bytes() == before


def test_what_a_killed_process_did_not_log_or_write_is_made_up_for(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    predict(world, champion, whole)
    said = {path.name: path.read_bytes() for path in whole.iterdir()}
    # Stored, not logged.
    world.execute("delete from serving.prediction_log")
    late = tmp_path / "late"
    assert predict(world, champion, late).is_empty()
    assert {path.name: path.read_bytes() for path in late.iterdir()} == said
    # Logged, not written: a part of that day's lines, and no file of a day after it.
    (late / "2021-12-31.jsonl").write_text("")
    world.execute("update core.races set going = 'Soft' where race_key = (select min(race_key) from main.results)")
    new = store_predictions(world, predict_cards(world, [champion], [LAST], NOW + timedelta(days=1)))
    assert new.height == RUNNERS
    assert log_predictions(world, late) == [late / "2021-12-31.jsonl", late / "2022-01-01.jsonl"]
    (late / "2022-01-01.jsonl").unlink()
    log_predictions(world, late)
    assert (late / "2021-12-31.jsonl").read_bytes() == said["2021-12-31.jsonl"]
    assert len((late / "2022-01-01.jsonl").read_text().splitlines()) == RUNNERS


def test_results_are_joined_without_touching_the_log(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, tmp_path: Path
) -> None:
    predict(world, champion, tmp_path)
    assert outcomes(world) == {"awaited": 4 * RUNNERS}
    results_arrive(world)
    assert outcomes(world) == {"settled": 4 * RUNNERS}
    assert world.execute("select sum(won) from serving.prediction_outcomes").fetchall() == [(4,)]
    assert world.execute("select count(won) from serving.prediction_log").fetchall() == [(0,)]


def test_an_abandoned_race_a_non_runner_and_a_void_race_have_their_words(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, tmp_path: Path
) -> None:
    predict(world, champion, tmp_path)
    races = [row[0] for row in world.execute("select distinct race_key from main.results order by 1").fetchall()]
    abandoned, withdrawn, void, _ = races
    loser = world.execute(
        "select min(runner_key) from main.results where race_key = ? and won = 0", [withdrawn]
    ).fetchall()[0][0]
    results_arrive(world, f"race_key <> {abandoned} and runner_key <> {loser}")
    world.execute("update core.results set won = 0, win_share = 0 where race_key = ?", [void])
    # Racing went on: a later day has results, so the abandoned race will have none.
    world.execute("insert into core.results by name select race_key + 50 as race_key, runner_key + 50 as runner_key, "
                  "race_date + 1 as race_date, horse_key, won, win_share from main.results")  # fmt: skip
    assert outcomes(world) == {"no result": RUNNERS, "non-runner": 1, "settled": 2 * RUNNERS - 1, "void": RUNNERS}


def test_served_predictions_are_judged_without_the_horses_that_were_withdrawn(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, tmp_path: Path
) -> None:
    assert served_predictions(world, "sp").is_empty()
    predict(world, champion, tmp_path)
    loser = world.execute("select min(runner_key) from main.results where won = 0").fetchall()[0][0]
    results_arrive(world, f"runner_key <> {loser}")
    served = served_predictions(world, "sp")
    assert served.height == 4 * RUNNERS - 1
    totals = served.group_by("race_key").agg(pl.col("model_probability").sum())["model_probability"].to_list()
    assert totals == pytest.approx([1.0] * 4)
    results = frame_of(world, "select race_key, runner_key, win_share from core.results")
    assert evaluate_races(served, results).height == 4


def test_a_race_that_gained_a_runner_or_was_never_predicted_is_not_judged(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, tmp_path: Path
) -> None:
    predict(world, champion, tmp_path)
    results_arrive(world)
    world.execute(
        "insert into core.results by name select race_key, -1 as runner_key, race_date, -1 as horse_key, 0 as won, "
        "0.0 as win_share from main.results limit 1"
    )
    assert served_predictions(world, "sp")["race_key"].n_unique() == 3


def test_the_hour_that_comes_twice_keeps_two_times_and_no_duplicate(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, tmp_path: Path
) -> None:
    london = ZoneInfo("Europe/London")
    first = datetime(2021, 10, 31, 1, 30, tzinfo=london)
    predict(world, champion, tmp_path, first)
    world.execute("update core.races set going = 'Soft' where race_key = (select min(race_key) from main.results)")
    predict(world, champion, tmp_path, first.replace(fold=1))
    stamps = world.execute("select distinct epoch(timestamp) from serving.prediction_log order by 1").fetchall()
    assert stamps[1][0] - stamps[0][0] == 3600
    counts = world.execute(
        "select count(*), count(distinct (request_id, horse_id)) from serving.prediction_log"
    ).fetchall()
    assert counts == [(5 * RUNNERS, 5 * RUNNERS)]
