"""A card from its file to its page in one process, against what `velo run` makes of it."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from velo_assets.assets.builds import nodes_of
from velo_assets.automation.card_day import NotBuiltError, PricedDay, price_day
from velo_assets.automation.instance import velo_instance
from velo_assets.automation.runner import plan, run_chain
from velo_assets.cli import app
from velo_assets.definitions import defs
from velo_assets.ingestion.landing import create_views
from velo_assets.modelling.registry import ModelRegistry
from velo_assets.resources.models import CHAMPION_NAME, registry_of
from velo_assets.serving.predict import serving_models
from velo_assets.settings import DataRoot
from velo_assets.simulation.cards import racecard_from_results
from velo_assets.simulation.marker import read_marker, season_file, sha256, write_marker
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.recompute import SINGLE_TOLERANCE, TOLERANCE
from velo_assets.warehouse.sql_table import all_tables
from velo_assets_tests.conftest import BuiltWorld

DAY = date(2024, 1, 2)
NOW = datetime(2024, 1, 2, 9, tzinfo=UTC)
MADE = [table.relation for table in all_tables()]
NODES = nodes_of(defs.assets)


@pytest.fixture
def root(built_world: BuiltWorld, tmp_path: Path) -> DataRoot:
    """A copy of the built world, whose results end with 2023."""
    shutil.copytree(built_world.root.path, tmp_path / "world", ignore=shutil.ignore_patterns("dagster"))
    root = DataRoot(tmp_path / "world")
    with Warehouse(root.warehouse).connect("test") as connection:
        create_views(root, connection)
    return root


def results(root: DataRoot) -> pl.DataFrame:
    return pl.read_csv(root.raceform / season_file(2023), infer_schema=False)


def hand_in(root: DataRoot, *, races: int = 6, withdrawn: bool = False) -> None:
    """Put a card of the day into racecards/, made of the last races of 2023; maybe the first race has lost a horse."""
    rows = results(root)
    newest = rows.sort("date", descending=True, maintain_order=True)
    last = newest.unique(["course", "off"], keep="first", maintain_order=True).head(races)
    card = rows.join(last.select("date", "course", "off"), on=["date", "course", "off"], how="semi")
    cards = racecard_from_results(card.with_columns(date=pl.lit(DAY.isoformat())), DAY)
    if withdrawn:
        first = next(race for courses in cards.values() for times in courses.values() for race in times.values())
        first["runners"] = first["runners"][1:]
    root.racecards.mkdir(exist_ok=True)
    (root.racecards / "card.json").write_text(json.dumps(cards), encoding="utf-8")


def hand_in_results(root: DataRoot, rows: pl.DataFrame, name: str) -> None:
    """Put results beside the simulated ones, as simulated too."""
    rows.write_csv(root.raceform / name)
    marker = read_marker(root.raceform)
    assert marker is not None
    write_marker(root.raceform, replace(marker, files={**marker.files, name: sha256(root.raceform / name)}))


def price(root: DataRoot, known: PricedDay | None = None, day: date = DAY) -> PricedDay:
    models = serving_models(registry_of(root), CHAMPION_NAME)
    with Warehouse(root.warehouse).connect("test") as connection:
        return price_day(root, connection, models, day, NODES, NOW, known.landed if known else None)


def tables(root: DataRoot) -> dict[str, pl.DataFrame]:
    """The rows of the new year in every table that is made of SQL, and in the market."""
    with Warehouse(root.warehouse).connect("test") as connection:
        return {
            table: frame_of(connection, f"select * from {table} where race_date >= '2024-01-01'").sort(pl.all())
            for table in [*MADE, "market.probabilities"]
        }


def assert_same(ones: dict[str, pl.DataFrame], others: dict[str, pl.DataFrame]) -> None:
    for table, one in ones.items():
        # Sums of fractions are added up in another order every time.
        assert_frame_equal(one, others[table], rel_tol=TOLERANCE, abs_tol=SINGLE_TOLERANCE, check_row_order=False)


def test_a_card_is_priced_as_the_whole_chain_builds_it(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_in(root)
    priced = price(root)
    assert [file.kind for file in priced.landing.landed] == ["racecards"]
    assert priced.predictions["race_key"].n_unique() == 6
    assert priced.new.height == priced.predictions.height
    assert priced.page.read_text(encoding="utf-8").count("<h2") >= 6
    here = tables(root)
    # The assets' records are left as they are: the next run builds, checks and shows what was built here.
    assert {"core/entries", "features/runner_features", "market/probabilities"} <= set(plan(NODES, root).assets)
    monkeypatch.setenv("VELO_DATA", str(root.path))
    with velo_instance(root) as instance:
        run_chain(defs, instance, root, to_layer="market", say=lambda words: None)
    assert_same(tables(root), here)
    # Nothing new came, and everything is up to date: it is priced as it stands.
    again = price(root)
    assert again.new.is_empty()
    assert again.predictions.drop("predicted_at").equals(priced.predictions.drop("predicted_at"))


@pytest.mark.parametrize("in_one_process", [True, False])
def test_a_withdrawal_prices_its_race_anew(root: DataRoot, in_one_process: bool) -> None:
    hand_in(root)
    first = price(root)
    hand_in(root, withdrawn=True)
    second = price(root, first if in_one_process else None)
    assert second.new["race_key"].n_unique() == 1
    assert second.predictions.height == first.predictions.height - 1
    here = tables(root)
    assert price(root, second if in_one_process else None).new.is_empty()
    assert_same(tables(root), here)
    if in_one_process:
        return
    # A process that knows nothing of the first card builds whole years, and the same tables.
    fresh = DataRoot(root.path.parent / "fresh")
    shutil.copytree(root.path, fresh.path)
    with Warehouse(fresh.warehouse).connect("test") as connection:
        create_views(fresh, connection)
        for table in MADE:
            connection.execute(f"delete from {table} where race_date >= '2024-01-01'")
        connection.execute("delete from meta.refreshes where year = 2024")
    price(fresh)
    assert_same(tables(fresh), here)


def test_what_broke_off_half_way_is_put_right_by_a_second_call(root: DataRoot) -> None:
    hand_in(root)
    whole = DataRoot(root.path.parent / "whole")
    shutil.copytree(root.path, whole.path)
    with Warehouse(whole.warehouse).connect("test") as connection:
        create_views(whole, connection)
    with Warehouse(root.warehouse).connect("test") as connection:
        connection.execute("create table main.kept as from market.devig_methods where year(race_date) = 2022")
        connection.execute("delete from market.devig_methods where year(race_date) = 2022")
    with pytest.raises(FileNotFoundError, match="lacks 2022"):
        price(root)
    with Warehouse(root.warehouse).connect("test") as connection:
        connection.execute("insert into market.devig_methods from main.kept")
        # As if it had ended among the features.
        connection.execute("delete from features.runner_features where race_date = ?", [DAY])
        connection.execute("delete from meta.refreshes where name = 'features/runner_features' and year = 2024")
    broken, straight = price(root), price(whole)
    assert broken.predictions.height == straight.predictions.height
    assert_same(tables(root), tables(whole))


def test_results_that_come_with_the_card_are_taken_in(root: DataRoot) -> None:
    hand_in(root)
    before = price(root)
    rows = results(root)
    races = rows.sort("date", descending=True, maintain_order=True).unique("race_id", keep="first", maintain_order=True)
    eve = rows.join(races.head(6).select("race_id"), on="race_id", how="semi").with_columns(
        date=pl.lit("2024-01-01"), race_id="9" + pl.col("race_id")
    )
    hand_in_results(root, eve, "new_year.csv")
    after = price(root, before)
    with Warehouse(root.warehouse).connect("test") as connection:
        (ran,) = connection.execute("select count(*) from core.results where race_date = '2024-01-01'").fetchall()[0]
    assert ran == eve.height
    assert after.predictions.height == before.predictions.height
    # The horses ran the day before, so their features say something else.
    assert not after.predictions["fair_probability"].equals(before.predictions["fair_probability"])


def test_old_years_are_not_rebuilt_on_a_race_morning(root: DataRoot) -> None:
    hand_in(root)
    old = pl.read_csv(root.raceform / season_file(2021), infer_schema=False).head(9)
    hand_in_results(root, old.with_columns(race_id="8" + pl.col("race_id"), off=pl.lit("11:11")), "late.csv")
    assert price(root, day=date(2020, 12, 31)).predictions.is_empty()
    with pytest.raises(NotBuiltError, match=r"of 2021 to 2022 are behind.*velo run --to market"):
        price(root)


def test_the_command_lands_the_card_itself(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VELO_DATA", str(root.path))
    result = CliRunner().invoke(app, ["predict", DAY.isoformat()])
    assert result.exit_code == 0
    assert "0 races priced" in result.output
    assert "put its card into racecards/" in result.output
    hand_in(root)
    result = CliRunner().invoke(app, ["predict", DAY.isoformat()])
    assert result.exit_code == 0, result.output
    assert "6 races priced" in result.output


def test_watching_prices_anew_when_a_file_comes(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    from velo_assets import cli

    monkeypatch.setenv("VELO_DATA", str(root.path))
    looks = 0

    def look(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            hand_in(root)
        if looks == 6:
            (root.racecards / "torn.json").write_text('{"GB": ', encoding="utf-8")
        if looks == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.time, "sleep", look)
    result = CliRunner().invoke(app, ["predict", DAY.isoformat(), "--watch"])
    assert result.exit_code == 0, result.output
    assert result.output.count("races priced") == 3
    assert "6 races priced" in result.output
    assert "refused racecards/torn.json" in result.output


def test_without_a_model_nothing_lands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VELO_DATA", str(tmp_path))
    result = CliRunner().invoke(app, ["predict", DAY.isoformat()])
    assert result.exit_code == 1
    assert not ModelRegistry(DataRoot(tmp_path).mlflow_uri, DataRoot(tmp_path).mlartifacts).exists()
