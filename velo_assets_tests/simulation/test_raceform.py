"""The text of the files: quirks of the export, consistent margins, dead heats, goings, clocks."""

from __future__ import annotations

import numpy as np
import polars as pl

from velo_assets.simulation.raceform import margin_lengths
from velo_assets.simulation.season import LB_PER_UTILITY
from velo_assets_tests.simulation.conftest import World


def test_margins_by_hand() -> None:
    # A 5f race: 18 / 5 = 3.6, at most 3.4 lb a length. Judges call noses, necks, quarters, then whole lengths.
    lengths = np.array([0.0, 0.01, 0.31, 3.1, 26.4])
    gap = lengths * 3.4 / LB_PER_UTILITY
    called = margin_lengths(gap, np.full(5, 5.0), np.zeros(5, dtype=bool))
    assert called.tolist() == [0.0, 0.05, 0.3, 3.0, 26.0]


def test_the_quirks_of_real_files_are_there(world: World) -> None:
    rows = world.results
    sp = rows["sp"]
    for pattern in (
        r"^\d+/\d+$",
        r"^\d+/\d+F$",
        r"^\d+/\d+J$",
        r"^Eve?n?s",
        r"^(4/2|10/4|8/2|6/2|20/2|18/4|14/4|10/2)[FJC]?$",
        "^$",
    ):
        assert sp.str.contains(pattern).any(), pattern
    assert "–" in rows["or"].unique()
    assert "–" in rows["rpr"].unique()
    assert "–" in rows["ts"].unique()
    assert set(rows.filter(pl.col("pos").str.contains("^[A-Z]"))["btn"].unique()) == {"-"}
    assert set(rows.filter(pl.col("pos").str.contains("^[A-Z]"))["time"].unique()) == {"-"}
    assert {"PU", "F", "UR"} <= set(rows["pos"].unique())
    assert {"Flat", "Hurdle", "Chase", "NH Flat"} == set(rows["type"].unique())
    assert {"C", "F", "G", "H", "M"} <= set(rows["sex"].unique())
    assert rows["prize"].str.contains("^€[0-9]").any()
    assert rows["prize"].str.contains(r"^\d+(\.\d+)?$").any()
    assert rows["hg"].str.contains("^(p|b|v|t|h|tp|ht|e/s)1$").any()
    assert rows["wgt"].str.contains(r"^\d+-\d+$").all()
    assert rows["draw"].str.contains(r"^(\d+\.0)?$").all()
    assert rows["time"].str.contains(r"^(-|\d:\d{1,2}\.\d\d)$").all()
    assert rows["num"].is_in(["", "0.0"]).any()
    assert 0.02 < sp.is_in(["4/2", "10/4", "8/2", "6/2", "20/2", "18/4", "14/4", "10/2"]).mean() < 0.08


def test_jumps_have_no_draw_and_ireland_no_class(world: World) -> None:
    rows = world.results
    assert set(rows.filter(pl.col("type") != "Flat")["draw"].unique()) == {""}
    assert "" not in rows.filter(pl.col("type") == "Flat")["draw"].unique()
    irish = pl.col("course").str.contains("(IRE)", literal=True)
    assert set(rows.filter(irish)["class"].unique()) == {""}
    assert "" not in rows.filter(~irish)["class"].unique()
    assert (
        rows.filter(pl.col("course").str.contains("(AW)", literal=True))["going"]
        .str.contains("Standard|Slow|Fast")
        .all()
    )


def test_clock_has_24_hours_from_october_2025(world: World) -> None:
    hour = pl.col("off").str.split(":").list.first().cast(pl.Int64)
    before = world.results.filter(pl.col("date") < "2025-10-15").select(hour).to_series()
    after = world.results.filter(pl.col("date") >= "2025-10-15").select(hour).to_series()
    assert before.max() == 12
    assert after.min() >= 11
    assert after.max() > 12


def test_race_ids_come_round_again_but_a_race_is_date_course_and_off(world: World) -> None:
    races = world.results.group_by("date", "course", "off").agg(
        pl.col("race_id", "ran", "dist", "going").n_unique().name.suffix("_forms"), pl.col("race_id").first(), pl.len()
    )
    assert races.select(pl.max_horizontal("race_id_forms", "ran_forms", "dist_forms", "going_forms").max()).item() == 1
    assert races["race_id"].n_unique() < races.height
    assert races["len"].min() >= 3


def test_positions_margins_and_dead_heats_agree(world: World) -> None:
    finishers = (
        world.results.filter(pl.col("pos").str.contains(r"^\d+$"))
        .with_columns(pl.col("pos").cast(pl.Int64), pl.col("ovr_btn", "btn").cast(pl.Float64))
        .sort("date", "course", "off", "pos", "ovr_btn", "btn", descending=[False, False, False, False, False, True])
    )
    race = ["date", "course", "off"]
    ahead = pl.col("pos").rank("min").over(race)
    assert finishers.select((ahead == pl.col("pos")).all()).item(), "a tie shares a place and the next place is skipped"
    tied = finishers.filter(pl.len().over([*race, "pos"]) > 1)
    assert tied.height > 10
    assert tied.select((pl.col("ovr_btn").n_unique().over([*race, "pos"]) == 1).all()).item(), (
        "no distance within a dead heat"
    )
    gap = pl.col("ovr_btn") - pl.col("ovr_btn").shift(1).over(race)
    np.testing.assert_allclose(
        finishers.filter(gap.is_not_null())["btn"], finishers.select(gap.drop_nulls()).to_series(), atol=1e-6
    )
    assert set(finishers.filter(pl.col("pos") == 1)["ovr_btn"].unique()) == {0.0}


def test_handicaps_have_bands_that_hold_their_field(world: World) -> None:
    handicaps = world.results.filter(pl.col("rating_band") != "").with_columns(
        pl.col("rating_band").str.split("-").list.last().cast(pl.Int64).alias("top"),
        pl.col("or").cast(pl.Int64, strict=False).alias("rating"),
    )
    assert handicaps.height > 5000
    assert handicaps["race_name"].str.contains("Handicap").all()
    assert handicaps.select((pl.col("rating").fill_null(0) <= pl.col("top")).all()).item()
