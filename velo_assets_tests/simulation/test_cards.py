"""Racecards from past entries."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from velo_assets.simulation.cards import furlongs_of, off_time_24, racecard_from_results, split_country, write_racecards
from velo_assets_tests.simulation.conftest import World

RESULT_ONLY = {"pos", "position", "ovr_btn", "btn", "time", "sp", "won"}


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("Noverre (USA)", ("Noverre", "USA")),
        ("Abir GB", ("Abir", "GB")),
        ("金瀛 (P072)", ("金瀛 (P072)", None)),
        ("Dr Fong", ("Dr Fong", None)),
    ],
)
def test_split_country(label: str, parts: tuple[str, str | None]) -> None:
    assert split_country(label) == parts


def test_off_times_on_both_clocks() -> None:
    assert off_time_24("1:30", date(2020, 1, 1)) == "13:30"
    assert off_time_24("12:45", date(2020, 1, 1)) == "12:45"
    assert off_time_24("11:50", date(2020, 1, 1)) == "11:50"
    assert off_time_24("13:30", date(2026, 1, 1)) == "13:30"


def test_furlongs_by_hand() -> None:
    assert [furlongs_of(text) for text in ("5½f", "1m", "1m2½f", "2m4f", "1m½f", "", "far")] == [
        5.5,
        8.0,
        10.5,
        20.0,
        8.5,
        None,
        None,
    ]


def test_a_card_holds_the_entries_and_none_of_the_results(world: World) -> None:
    day = date.fromisoformat(world.results["date"][0])
    rows = world.results.filter(pl.col("date") == day.isoformat())
    cards = racecard_from_results(rows, day)
    races = [race for courses in cards.values() for times in courses.values() for race in times.values()]
    runners = [(race, runner) for race in races for runner in race["runners"]]
    assert len(races) == rows.select("course", "off").n_unique()
    assert len(runners) == rows.height
    assert not RESULT_ONLY & set(races[0]) | RESULT_ONLY & set(runners[0][1])
    for race, runner in runners:
        assert runner["rpr"] is None
        assert runner["ts"] is None
        assert race["prize"] is None
        full = runner["name"] + (f" ({runner['region']})" if runner["region"] else "")
        row = rows.filter((pl.col("horse") == full) & (pl.col("course") == race["course"])).row(0, named=True)
        stones, pounds = map(int, row["wgt"].split("-"))
        assert runner["lbs"] == stones * 14 + pounds
        assert runner["trainer"] == row["trainer"]
        assert race["field_size"] == int(row["ran"])


def test_a_card_does_not_depend_on_the_result(world: World) -> None:
    day = date.fromisoformat(world.results["date"][0])
    shuffled = world.results.sample(fraction=1.0, shuffle=True, seed=3).with_columns(
        pl.lit("9").alias("pos"), pl.lit("").alias("sp"), pl.lit("").alias("comment"), pl.lit("").alias("prize")
    )
    assert racecard_from_results(world.results, day) == racecard_from_results(shuffled, day)


def test_written_cards_read_back(world: World, tmp_path: Path) -> None:
    day = date.fromisoformat(world.results["date"][-1])
    path = write_racecards(world.results, day=day, out=tmp_path)
    assert path.name == f"racecards_{day.isoformat()}.json"
    assert json.loads(path.read_text(encoding="utf-8")) == racecard_from_results(world.results, day)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_day_without_racing_and_missing_columns_are_errors(world: World, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no races on 2024-12-25"):
        write_racecards(world.results, day=date(2024, 12, 25), out=tmp_path)
    with pytest.raises(ValueError, match="trainer"):
        racecard_from_results(world.results.drop("trainer"), date(2024, 1, 1))
