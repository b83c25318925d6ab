"""Comments: how the race was run, trouble, the betting bracket."""

from __future__ import annotations

import polars as pl

from velo_assets.simulation.comments import START_TROUBLE
from velo_assets_tests.simulation.conftest import World

BRACKET = r"\((op (\d+/\d+|Evens))?( ?tchd (\d+/\d+|Evens))?\)$"


def test_brackets_end_two_fifths_of_the_comments(world: World) -> None:
    comments = world.results["comment"]
    assert 0.40 < comments.str.contains(BRACKET).mean() < 0.44
    assert comments.str.contains(r"\(op \S+\)$").any()
    assert comments.str.contains(r"\(tchd \S+\)$").any()
    assert comments.str.contains(r"\(op \S+ tchd \S+\)$").any()
    assert 0.03 < (comments == "").mean() < 0.07


def test_only_winners_made_all_and_every_race_has_one_early_leader(world: World) -> None:
    made_all = world.results.filter(pl.col("comment").str.to_lowercase().str.contains("made all"))
    assert made_all.height > 100
    assert set(made_all["pos"].unique()) == {"1"}
    start = "|".join(START_TROUBLE)
    leads = pl.col("comment").str.contains(rf"(?i)^(?:(?:{start}) - )?(?:soon )?(?:led\b|made (?:all|most))").sum()
    assert world.results.group_by("date", "course", "off").agg(leads.alias("leaders"))["leaders"].max() == 1


def test_non_finishers_say_what_happened(world: World) -> None:
    said = world.results.filter(pl.col("comment") != "")
    assert said.filter(pl.col("pos") == "PU")["comment"].str.contains("pulled up").all()
    assert said.filter(pl.col("pos") == "F")["comment"].str.contains("fell").all()
    assert said.filter(pl.col("pos") == "UR")["comment"].str.contains("unseated").all()


def test_front_runners_are_those_with_the_style(world: World) -> None:
    rows = world.results.with_columns(pl.col("date").str.to_date().alias("race_date")).join(
        world.truth, on=["race_date", "course", "off", "horse"], validate="1:1"
    )
    led = rows.filter(pl.col("comment").str.contains("^(Led|Made all|Soon led)"))["running_style"].mean()
    held_up = rows.filter(pl.col("comment").str.contains("^(Held up|In rear|Behind)"))["running_style"].mean()
    assert led > held_up + 0.3
