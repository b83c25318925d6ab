import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
import pytest

from velo_assets.modelling.market import probabilities
from velo_assets.modelling.registry import ModelRegistry
from velo_assets.serving.predict import (
    TYPES,
    NoModelError,
    ServingModel,
    card_days,
    card_frame,
    latest_predictions,
    predict_cards,
    readable,
    serving_models,
    store_predictions,
)
from velo_assets.warehouse.build import describe, replace_table
from velo_assets.warehouse.query import frame_of
from velo_assets_tests.warehouse.small_world import LAST, RUNNERS

NOW = datetime(2021, 12, 31, 2, tzinfo=UTC)
LATER = datetime(2021, 12, 31, 9, tzinfo=UTC)


def test_every_race_of_the_card_is_priced_once(world: duckdb.DuckDBPyConnection, champion: ServingModel) -> None:
    rows = predict_cards(world, [champion], [LAST], NOW)
    assert rows.height == 4 * RUNNERS
    assert rows.columns == list(TYPES)
    totals = rows.group_by("race_key").agg(pl.col("fair_probability").sum())["fair_probability"].to_list()
    assert totals == pytest.approx([1.0] * 4)
    assert rows["basis"].unique().to_list() == ["fundamental"]
    assert rows["fair_odds"][0] == pytest.approx(1 / rows["fair_probability"][0])
    assert rows["edge"].null_count() == rows.height
    assert set(json.loads(rows["contributions"][0])) <= set(champion.bundle.families.values())
    assert store_predictions(world, rows).height == rows.height
    assert dict(describe(world, "serving/predictions"))["predicted_at"] == "TIMESTAMP WITH TIME ZONE"


def test_a_second_run_adds_nothing(world: duckdb.DuckDBPyConnection, champion: ServingModel) -> None:
    store_predictions(world, predict_cards(world, [champion], [LAST], NOW))
    again = store_predictions(world, predict_cards(world, [champion], [LAST], LATER))
    assert again.is_empty()
    assert set(latest_predictions(world, [LAST])["predicted_at"].to_list()) == {NOW}


def test_a_version_whose_feature_was_taken_out_falls_silent_alone(
    world: duckdb.DuckDBPyConnection, champion: ServingModel
) -> None:
    lost = champion.bundle.features[0]
    assert readable(world, [champion]) == ([champion], {})
    fundamental = replace(champion.bundle.fundamental, features=champion.bundle.features[1:])
    newer = ServingModel("velo", 2, False, replace(champion.bundle, fundamental=fundamental))
    world.execute(f'alter table features.runner_features drop column "{lost}"')
    assert readable(world, [champion, newer]) == ([newer], {"velo 1": [lost]})


def test_a_changed_card_is_priced_again_beside_the_first(
    world: duckdb.DuckDBPyConnection, champion: ServingModel
) -> None:
    store_predictions(world, predict_cards(world, [champion], [LAST], NOW))
    world.execute(
        "update core.entries set jockey_key = 99, jockey = 'Late Change' where runner_key = "
        "(select min(runner_key) from core.entries where race_date = ?)",
        [LAST],
    )
    added = store_predictions(world, predict_cards(world, [champion], [LAST], LATER))
    assert added["race_key"].n_unique() == 1
    assert added.height == RUNNERS
    stored = frame_of(world, "select race_key from serving.predictions")
    assert stored.height == 5 * RUNNERS
    latest = latest_predictions(world, [LAST])
    assert latest.height == 4 * RUNNERS
    assert latest.filter(pl.col("predicted_at") == LATER).height == RUNNERS


def test_champion_and_challenger_stand_side_by_side(world: duckdb.DuckDBPyConnection, champion: ServingModel) -> None:
    shadow = ServingModel("velo", 2, False, champion.bundle)
    rows = predict_cards(world, [champion, shadow], [LAST], NOW)
    assert rows.group_by("model_version").len()["len"].to_list() == [4 * RUNNERS] * 2
    assert rows["request_id"].n_unique() == 8


def test_a_price_known_before_the_off_brings_the_blend_and_the_edge(
    world: duckdb.DuckDBPyConnection, champion: ServingModel
) -> None:
    before = card_frame(world, [LAST])
    key = before["race_key"][0]
    world.execute(
        "insert into core.prices by name select runner_key, race_key, race_date, 'forecast' as price_kind, "
        "8.0 as decimal_odds, 'morning' as known_at, 1.0 as book_percent, true as book_complete from core.entries "
        "where race_key = ?",
        [key],
    )
    prices = frame_of(
        world, "select race_date, race_key, runner_key, price_kind, decimal_odds, book_complete from core.prices"
    )
    replace_table(world, "market/probabilities", probabilities(prices))
    rows = predict_cards(world, [champion], [LAST], NOW)
    priced = rows.filter(race_key=key)
    assert priced["basis"].unique().to_list() == ["blend"]
    assert priced["price_known_at"].unique().to_list() == ["morning"]
    assert priced["edge"][0] == pytest.approx(priced["fair_probability"][0] * 8.0 - 1.0)
    assert rows.filter(pl.col("race_key") != key)["basis"].unique().to_list() == ["fundamental"]
    # The card has not changed, what was known of its market has: that is another version.
    assert card_frame(world, [LAST]).filter(race_key=key)["card_version"][0] != before["card_version"][0]


def test_closing_prices_are_never_used(world: duckdb.DuckDBPyConnection) -> None:
    past = card_frame(
        world, [world.execute("select max(race_date) from core.results").fetchall()[0][0]], stages=("result",)
    )
    assert past.height == 4 * RUNNERS
    assert past["decimal_odds"].null_count() == past.height


def test_unknown_horses_have_a_price_too(world: duckdb.DuckDBPyConnection, champion: ServingModel) -> None:
    key = world.execute("select min(runner_key) from core.entries where race_date = ?", [LAST]).fetchall()[0][0]
    names = [name for name, _ in describe(world, "features/runner_features")]
    values = ", ".join(f'"{name}" = null' for name in names if name not in ("race_date", "race_key", "runner_key"))
    world.execute(f"update features.runner_features set {values} where runner_key = ?", [key])
    rows = predict_cards(world, [champion], [LAST], NOW)
    unknown = rows.filter(runner_key=key)
    assert unknown["features_known"][0] == 0.0
    assert 0.0 < unknown["fair_probability"][0] < 1.0


def test_cards_whose_features_are_not_built_are_not_priced(
    world: duckdb.DuckDBPyConnection, champion: ServingModel
) -> None:
    world.execute(
        "delete from features.runner_features where runner_key = "
        "(select min(runner_key) from core.entries where race_date = ?)",
        [LAST],
    )
    with pytest.raises(ValueError, match=rf"features of {LAST} are not built.*`velo run --to features`"):
        predict_cards(world, [champion], [LAST], NOW)


def test_a_race_that_was_abandoned_waits_for_no_result(world: duckdb.DuckDBPyConnection) -> None:
    assert card_days(world) == [LAST]
    assert card_days(world, LAST + timedelta(days=1)) == []
    # A race of the same day has its result: the others may yet have theirs.
    world.execute("insert into core.results by name select * from main.results limit 1")
    assert card_days(world) == [LAST]
    world.execute("update core.results set race_date = race_date + 1 where race_date = ?", [LAST])
    assert card_days(world) == []


def test_a_day_without_racing_is_empty_not_an_error(world: duckdb.DuckDBPyConnection, champion: ServingModel) -> None:
    rows = predict_cards(world, [champion], [datetime(2022, 3, 1).date()], NOW)
    assert rows.is_empty()
    assert store_predictions(world, rows).is_empty()
    assert card_days(world, LAST) == [LAST]


def test_local_time_is_refused(world: duckdb.DuckDBPyConnection, champion: ServingModel) -> None:
    with pytest.raises(ValueError, match="zone"):
        predict_cards(world, [champion], [LAST], datetime(2021, 10, 31, 1, 30))


def test_without_a_registry_the_way_out_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NoModelError, match="train and register"):
        serving_models(ModelRegistry(f"sqlite:///{tmp_path / 'none.db'}", tmp_path), "velo")
