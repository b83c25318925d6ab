"""A day's features from its racecards, landed before the results, are those of the batch build that has the results."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from velo_assets.ingestion.landing import land
from velo_assets.racing.macros import register
from velo_assets.settings import DataRoot
from velo_assets.simulation.cards import racecard_from_results
from velo_assets.simulation.world import simulate_years
from velo_assets.warehouse.build import build_table
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.recompute import SINGLE_TOLERANCE, TOLERANCE
from velo_assets.warehouse.sql_table import build_order, load_table

DAY = date(2024, 12, 16)
FIRST = date(2023, 1, 1)
CORE = ("core/races", "core/entries", "core/results", "core/prices", "core/sectionals")


def cards_of(rows: pl.DataFrame) -> dict[str, Any]:
    """The day's cards as real ones are.

    Yards to the yard, master ratings, weights before the rider's allowance, a withdrawal that only the jockey tells.
    """
    cards = racecard_from_results(rows, DAY)
    races = [race for courses in cards.values() for times in courses.values() for race in times.values()]
    for number, race in enumerate(races):
        race["distance_y"] += 13 * number
        for runner in race["runners"]:
            runner["rpr"], runner["ts"] = 60 + len(runner["name"]), 50 + len(runner["name"])
            if len(runner["name"]) % 3 == 0:
                runner["jockey_allowance"], runner["lbs"] = 5, runner["lbs"] + 5
        gone = {**race["runners"][0], "name": f"Gone {number}", "number": 40, "draw": None, "jockey": "Non-Runner"}
        race["runners"].append(gone)
    return cards


def sidecar_of(rows: pl.DataFrame) -> pl.DataFrame:
    """What is known of each runner on the morning: its weight and the rail."""
    return rows.select(
        "race_id",
        "horse",
        declared_weight_lb=1000 + pl.col("horse").str.len_chars() + pl.col("date").str.slice(8).cast(pl.Int64),
        calls=pl.lit("---"),
        rail=pl.when(pl.col("course").str.len_chars() % 2 == 0).then(pl.lit("A")).otherwise(pl.lit("C+3")),
    )


def features_of(folder: Path, results: pl.DataFrame, everything: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Land `results` and the cards and sidecar of the day, build all, and read the features of the day."""
    root = DataRoot(folder)
    for inputs in (root.raceform, root.racecards, root.sectionals):
        inputs.mkdir(parents=True)
    results.write_csv(root.raceform / "results.csv")
    sidecar_of(everything).write_csv(root.sectionals / "sidecar.csv")
    (root.racecards / "card.json").write_text(json.dumps(cards_of(everything)), encoding="utf-8")
    with duckdb.connect() as connection:
        for schema in ("core", "features"):
            connection.execute(f"create schema {schema}")
        register(connection)
        assert [file.error for file in land(root, connection, today=DAY).refused] == []
        for table in CORE:
            build_table(connection, table, FIRST, DAY)
        for table in build_order("features"):
            # Of earlier days, what the day's features read of each other; the day alone last, as a card builds it.
            build_table(connection, table, FIRST, DAY)
            if load_table(table).is_by_race:
                build_table(connection, table, DAY, DAY)
        return {
            table: frame_of(connection, f"select * from {table.replace('/', '.')} where race_date = ?", [DAY])
            for table in build_order("features")
            if load_table(table).is_by_runner
        }


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Features of the day as a card, and with its results."""
    seasons = simulate_years(first_year=2023, last_year=2024, races_per_year=1000, seed=3)
    rows = pl.concat([season.results for season in seasons])
    before = rows.filter(pl.col("date") < DAY.isoformat())
    folder = tmp_path_factory.mktemp("roots")
    return features_of(folder / "card", before, rows), features_of(folder / "batch", rows, rows)


@pytest.mark.parametrize("table", [name for name in build_order("features") if load_table(name).is_by_runner])
def test_a_card_has_the_features_of_its_result(
    both: tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]], table: str
) -> None:
    card, batch = (features[table].sort("runner_key") for features in both)
    assert card["runner_key"].to_list() == batch["runner_key"].to_list()
    differing = []
    for name, kind in batch.schema.items():
        pair = pl.DataFrame({"card": card[name], "batch": batch[name]})
        same = pl.col("card").eq_missing(pl.col("batch"))
        if kind.is_float():
            tolerance = TOLERANCE if kind == pl.Float64 else SINGLE_TOLERANCE
            near = (pl.col("card") - pl.col("batch")).abs() <= tolerance * pl.max_horizontal(1.0, pl.col("batch").abs())
            same = same | near.fill_null(False)
        wrong = pair.filter(~same)
        if wrong.height:
            differing.append((name, wrong.height, wrong.row(0)))
    assert differing == []


def test_the_day_has_what_cards_used_to_lack(
    both: tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]],
) -> None:
    for features in both:
        matrix = features["features/runner_features"]
        assert matrix.height == 117
        known = ("card_rating", "body_weight_lb", "speed_at_trip", "sire_impact", "dam_impact", "draw_rail_bias")
        assert [name for name in known if matrix[name].is_null().all()] == []
        assert matrix["dam_impact"].n_unique() > 1
