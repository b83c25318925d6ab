"""Stored runs and their paired differences."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from velo_assets.betting.compare import (
    COMPARISON,
    UnknownRunError,
    compare_runs,
    comparison_table,
    comparison_text,
    drop_old_runs,
    latest_two,
    load_run,
    stored_runs,
    write_run,
)
from velo_assets.betting.ledger import place_bets
from velo_assets.betting.metrics import counted, strategy_table
from velo_assets.betting.strategies import Strategy
from velo_assets_tests.betting.frames import random_world

TOP = Strategy("top", "Top", "blend", top_share=0.3)


def day_totals(bets: pl.DataFrame) -> pl.DataFrame:
    """What reports/verdict.py takes from the ledger."""
    return (
        counted(bets)
        .group_by("strategy_id", "race_date", maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("bets"), pl.col("stake").sum(), pl.col("profit").sum())
    )


def store(runs: Path, run_id: str, frame: pl.DataFrame, **settings: object) -> pl.DataFrame:
    bets = place_bets(frame, [TOP])
    write_run(runs, run_id, frame, day_totals(bets), {"seed": 1, **settings})
    return bets


def test_a_better_model_shows_its_gain(tmp_path: Path) -> None:
    frame = random_world(1500, seed=1, edge=0.4)
    blunt = frame.with_columns(probability_blend=pl.col("market_probability"))
    bets_a, bets_b = store(tmp_path, "a", blunt), store(tmp_path, "b", frame, note="sharper")
    result = compare_runs(load_run(tmp_path, "a"), load_run(tmp_path, "b"), draws=300)
    rows = {row["recipe"]: row for row in result.accuracy.iter_rows(named=True)}
    assert rows["market"]["difference"] == 0.0
    assert rows["blend"]["low"] > 0
    assert rows["blend"]["difference"] == pytest.approx(rows["blend"]["r2_b"] - rows["blend"]["r2_a"])
    money = result.money.row(0, named=True)
    roi = [strategy_table(bets).get_column("roi")[0] for bets in (bets_a, bets_b)]
    assert (money["roi_a"], money["roi_b"]) == pytest.approx(tuple(roi))
    assert money["low"] < money["difference"] < money["high"]
    assert result.settings.rows() == [("note", "None", "sharper")]
    table = comparison_table("a", "b", result)
    assert table.schema == COMPARISON
    assert table.filter(pl.col("measure") == "roi").row(0, named=True)["difference"] == money["difference"]
    text = comparison_text(result)
    assert f"| blend | 1,500 | {rows['blend']['r2_a']:.5f} |" in text
    assert " *" in text
    assert "| note | None | sharper |" in text
    assert latest_two(tmp_path) == ("a", "b")


def test_a_run_equals_itself(tmp_path: Path) -> None:
    store(tmp_path, "a", random_world(100, seed=2))
    run = load_run(tmp_path, "a")
    result = compare_runs(run, run, draws=50)
    assert result.accuracy.get_column("difference").to_list() == [0.0, 0.0]
    assert result.money.select("difference", "low", "high").row(0) == (0.0, 0.0, 0.0)
    assert result.settings.is_empty()


def test_what_can_not_be_compared_is_said(tmp_path: Path) -> None:
    frame = random_world(60, seed=3)
    store(tmp_path, "a", frame.with_columns(probability_experts=pl.col("probability_blend")))
    other = frame.with_columns(pl.col("race_key") + 10_000, pl.col("runner_key") + 10_000_000)
    write_run(tmp_path, "b", other, day_totals(place_bets(other, [Strategy("own", "Own", "market")])), {})
    result = compare_runs(load_run(tmp_path, "a"), load_run(tmp_path, "b"), draws=50)
    assert result.accuracy.is_empty()
    assert result.money.is_empty()
    said = " | ".join(result.notes)
    assert "recipes only in a: experts" in said
    assert "strategies only in b: own" in said
    assert "share no race" in said


def test_a_day_that_one_run_only_has_is_in_no_difference(tmp_path: Path) -> None:
    frame = random_world(120, seed=7)
    nights = frame.filter(pl.col("race_date") < frame["race_date"].max())
    store(tmp_path, "a", nights)
    store(tmp_path, "b", frame)
    result = compare_runs(load_run(tmp_path, "a"), load_run(tmp_path, "b"), draws=50)
    assert result.money.select("difference", "low", "high").row(0) == (0.0, 0.0, 0.0)
    assert result.money["bets_a"].item() == result.money["bets_b"].item()
    assert any("race days only in b, left out of the returns: 1, 2020-01-20" in note for note in result.notes)
    # A day on which one run found nothing to bet on is a day of both.
    quiet = nights["race_date"].min()
    write_run(
        tmp_path,
        "c",
        nights,
        load_run(tmp_path, "a").days.filter(pl.col("race_date") > quiet),
        {},
    )
    result = compare_runs(load_run(tmp_path, "a"), load_run(tmp_path, "c"), draws=50)
    assert result.money["bets_a"].item() > result.money["bets_b"].item()
    assert not result.notes


def test_runs_are_replaced_and_listed(tmp_path: Path) -> None:
    store(tmp_path, "a", random_world(20, seed=4))
    store(tmp_path, "a", random_world(30, seed=4))
    assert stored_runs(tmp_path) == ["a"]
    assert latest_two(tmp_path) is None
    assert load_run(tmp_path, "a").predictions.get_column("race_key").n_unique() == 30


def test_old_runs_go_but_not_those_a_version_was_judged_by(tmp_path: Path) -> None:
    for moment, run_id in enumerate(["a", "b", "c", "d"]):
        store(tmp_path, run_id, random_world(10, seed=6))
        os.utime(tmp_path / run_id / "days.parquet", (moment, moment))
    (tmp_path / "version_runs.json").write_text('{"1": "a"}', encoding="utf-8")
    assert drop_old_runs(tmp_path, keep=2) == ["b"]
    assert stored_runs(tmp_path) == ["a", "c", "d"]


def test_unknown_and_impossible_run_ids(tmp_path: Path) -> None:
    store(tmp_path, "known", random_world(10, seed=5))
    with pytest.raises(UnknownRunError, match="there are: known"):
        load_run(tmp_path, "other")
    with pytest.raises(ValueError, match="run id"):
        load_run(tmp_path, "../elsewhere")
