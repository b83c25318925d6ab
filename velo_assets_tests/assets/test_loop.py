"""The loop through Dagster: a card lands and is priced, changes and is priced again, results land and are judged.

With what goes wrong in practice: a race abandoned, a race never predicted, a withdrawn horse, and every step run twice.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from velo_assets.automation.instance import velo_instance
from velo_assets.automation.runner import Outcome, RunFailed, execute
from velo_assets.definitions import defs
from velo_assets.ingestion.landing import land
from velo_assets.modelling.market import probabilities
from velo_assets.settings import DataRoot
from velo_assets.simulation.cards import racecard_from_results, split_country
from velo_assets.simulation.marker import read_marker, sha256, write_marker
from velo_assets.warehouse.build import build_table, replace_window
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import build_order
from velo_assets_tests.conftest import BuiltWorld

CORE = ("core/races", "core/entries", "core/results", "core/prices", "core/sectionals")
PRICES = (
    "select race_date, race_key, runner_key, price_kind, decimal_odds, book_complete from core.prices "
    "where race_date between ? and ?"
)


@pytest.fixture(scope="module")
def root(built_world: BuiltWorld, tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A copy of the built world."""
    path = tmp_path_factory.mktemp("loop") / "data"
    shutil.copytree(built_world.root.path, path, ignore=shutil.ignore_patterns("dagster"))
    return DataRoot(path)


@pytest.fixture
def instance(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("VELO_DATA", str(root.path))
    monkeypatch.setenv("VELO_DAGSTER_STORAGE", str(root.path / "dagster"))
    with velo_instance(root) as opened:
        yield opened


@pytest.fixture(scope="module")
def raced(root: DataRoot) -> pl.DataFrame:
    """Four races of the last day, moved to two days later: they are still to come."""
    rows = pl.read_csv(sorted(root.raceform.glob("*.csv"))[-1], infer_schema=False).with_columns(pl.all().fill_null(""))
    last = rows.filter(pl.col("date") == rows["date"].max())
    races = last.select("course", "off").unique(maintain_order=True).head(4)
    day = date.fromisoformat(last["date"][0]) + timedelta(days=2)
    return last.join(races, on=["course", "off"], how="semi").with_columns(
        pl.lit(day.isoformat()).alias("date"), (pl.col("race_id").cast(pl.Int64) + 500_000).cast(pl.String)
    )


def nights_work(root: DataRoot, instance: dg.DagsterInstance, day: date, *assets: str) -> None:
    """Land, rebuild the days around the card as the assets do (without their checks), then what is asked for."""
    first, last = day - timedelta(days=3), day + timedelta(days=1)
    with Warehouse(root.warehouse).connect("test") as connection:
        land(root, connection)
        for name in (*CORE, "market", *build_order("features")):
            if name == "market":
                prices = frame_of(connection, PRICES, [first, last])
                replace_window(connection, "market/probabilities", probabilities(prices), first, last)
            else:
                build_table(connection, name, first, last)
    execute(defs, instance, "refresh", Outcome(), assets=assets)


def ask(root: DataRoot, sql: str) -> list[tuple[Any, ...]]:
    with Warehouse(root.warehouse).connect("test") as connection:
        return connection.execute(sql).fetchall()


def write_card(root: DataRoot, rows: pl.DataFrame, day: date, change: bool = False) -> None:
    cards = racecard_from_results(rows, day)
    if change:
        race = next(race for courses in cards.values() for times in courses.values() for race in times.values())
        race["runners"][0]["non_runner"] = True
        race["runners"][1]["jockey"] = "A Substitute"
    root.racecards.mkdir(exist_ok=True)
    (root.racecards / "card.json").write_text(json.dumps(cards), encoding="utf-8")


@pytest.mark.timeout(900)  # builds the world first when it is run alone
def test_a_card_its_change_its_results_and_what_never_ran(
    root: DataRoot, instance: dg.DagsterInstance, raced: pl.DataFrame
) -> None:
    day = date.fromisoformat(raced["date"][0])
    races = raced.select("course", "off").unique(maintain_order=True).rows()
    carded = raced.filter(~((pl.col("course") == races[3][0]) & (pl.col("off") == races[3][1])))

    # The card lands: three races are priced, once, however often the night is run.
    write_card(root, carded, day)
    nights_work(root, instance, day, "serving/predictions")
    page = root.reports / "cards" / f"{day}.html"
    recorded = "select built_at from meta.builds where name = 'serving/cards'"
    before = ask(root, recorded)
    page.mkdir(parents=True)
    with pytest.raises(RunFailed, match="Is a directory"):
        execute(defs, instance, "refresh", Outcome(), assets=["serving/cards"])
    assert ask(root, recorded) == before
    page.rmdir()
    execute(defs, instance, "refresh", Outcome(), assets=["serving/predictions", "serving/cards"])
    priced = "select count(distinct race_key), count(*), count(distinct request_id) from serving.predictions"
    assert ask(root, priced) == [(3, carded.height, 3)]
    assert "3 races" in page.read_text(encoding="utf-8")

    # One race changes: it is priced again beside the first time, the others are not.
    write_card(root, carded, day, change=True)
    nights_work(root, instance, day, "serving/predictions", "serving/cards")
    changed = ask(
        root,
        "select race_key, count(distinct card_version) from serving.predictions group by 1 order by 2 desc, 1",
    )
    assert [versions for _, versions in changed] == [2, 1, 1]
    assert "non-runner" in page.read_text(encoding="utf-8")

    # Results of the changed race without the withdrawn horse, of one other, and of one that no card announced; the
    # third was abandoned, and racing went on the day after.
    ((withdrawn,),) = ask(root, "select horse from landing.racecards where non_runner group by 1")
    # Cards and results write the country of a British horse differently.
    is_out = (
        pl.col("horse")
        .map_elements(lambda name: split_country(name)[0], return_dtype=pl.String)
        .eq(split_country(withdrawn)[0])
    )
    (changed_race,) = raced.filter(is_out).select("course", "off").unique().rows()
    abandoned, other = [race for race in races[:3] if race != changed_race]
    of = {race: (pl.col("course") == race[0]) & (pl.col("off") == race[1]) for race in races}
    results = raced.filter(~is_out & ~of[abandoned])
    next_day = results.filter(of[other]).with_columns(
        pl.lit((day + timedelta(days=1)).isoformat()).alias("date"),
        (pl.col("race_id").cast(pl.Int64) + 500_000).cast(pl.String),
    )
    new = root.raceform / "new.csv"
    pl.concat([results, next_day]).write_csv(new)
    # Made of simulated results, and so one of them: it would not land among them otherwise.
    marker = read_marker(root.raceform)
    assert marker is not None
    write_marker(root.raceform, replace(marker, files={**marker.files, new.name: sha256(new)}))
    after = ["serving/predictions", "serving/cards", "monitoring/post_race_evaluation"]
    nights_work(root, instance, day, *after)
    execute(defs, instance, "refresh", Outcome(), assets=after)
    assert ask(root, priced)[0][0] == 3
    assert dict(ask(root, "select outcome, count(distinct race_id) from serving.prediction_outcomes group by 1")) == {
        "settled": 2,
        "non-runner": 1,
        "no result": 1,
    }
    judged = ask(
        root,
        "select race_key, count(*) from monitoring.post_race_evaluation where source = 'served' group by 1",
    )
    # Judged are the predicted races with a winner and a full book at the off (a horse taken out of the results may have
    # left a hole in it): each once, and no other.
    settled = {row[0] for row in ask(root, "select race_key from core.results group by 1 having sum(win_share) > 0.99")}
    full = {row[0] for row in ask(root, "select race_key from market.probabilities where price_kind = 'sp' group by 1 "
                                        "having bool_and(book_complete)")}  # fmt: skip
    predicted = {row[0] for row in ask(root, "select distinct race_key from serving.predictions")}
    assert {key for key, _ in judged} == predicted & settled & full
    assert judged
    assert {count for _, count in judged} == {1}
    assert ask(root, "select count(*) from core.races where stage = 'card'") == [(1,)]
    assert len(list(root.reports.glob("prediction_log/*.jsonl"))) == 1
    lines = next(iter(root.reports.glob("prediction_log/*.jsonl"))).read_text(encoding="utf-8").splitlines()
    assert len(lines) == ask(root, "select count(*) from serving.prediction_log")[0][0]


def test_the_page_of_a_race_day_that_is_over_stays(root: DataRoot, raced: pl.DataFrame) -> None:
    assert Path(root.reports / "cards" / f"{raced['date'][0]}.html").is_file()
