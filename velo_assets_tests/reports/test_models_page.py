"""The models page: every module is on it with its verdict, what adds nothing says so, names are escaped."""

from __future__ import annotations

import html
import re
from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from velo_assets.modelling.guards import MissingFeatureError
from velo_assets.modelling.modules import FIVE_FILTERS
from velo_assets.reports.accuracy import recipe_table
from velo_assets.reports.models_page import MODULE_WORDS, REPORT_RACES, ModelsPage, _first_year, read_and_build
from velo_assets.reports.pages import render_page
from velo_assets.settings import DECISION_PRICE
from velo_assets.warehouse.query import frame_of
from velo_assets_tests.betting.frames import random_world
from velo_assets_tests.conftest import BuiltWorld


@pytest.fixture(scope="module")
def page(built_world: BuiltWorld) -> ModelsPage:
    return read_and_build(built_world.root, built_world.warehouse, DECISION_PRICE)


def test_the_asset_wrote_the_page_and_its_table(built_world: BuiltWorld, page: ModelsPage) -> None:
    assert page.headline in html.unescape((built_world.root.reports / "models.html").read_text(encoding="utf-8"))
    with built_world.warehouse.connect("test") as connection:
        stored = frame_of(connection, "select * from backtest.module_reports")
    keys = ["report", "name"]
    # A table has no order of rows, and two threads add floats in either order.
    assert_frame_equal(stored.sort(keys), page.table.sort(keys), check_exact=False, rel_tol=1e-4, abs_tol=1e-6)


def test_every_module_family_and_filter_has_its_row_and_verdict(page: ModelsPage) -> None:
    words = html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.html)))
    assert "SIMULATED" in words
    assert "CLOSING PRICE" in words
    for name, meaning in MODULE_WORDS.items():
        assert f"{name}: {meaning}" in words
    for signal in FIVE_FILTERS:
        assert f"{signal.name}: {signal.description}" in words
    assert "adds nothing that can be told from 0" in words
    assert "venn-abers" in words or "isotonic" not in words
    judged = page.table.filter(pl.col("report") != "recipe")
    assert judged["verdict"].null_count() == 0
    families = page.table.filter(pl.col("report") == "family left out")
    assert families.height >= 15
    assert families.filter(pl.col("low") > pl.col("delta_r2")).is_empty()
    assert set(page.pictures) == {"r2", "alpha_beta", "profile"}


def test_what_comes_from_data_is_escaped() -> None:
    cell = {"words": "<script>alert(1)</script>", "kind": "text"}
    table = {"title": "<b>x</b>", "about": "", "heads": ("<i>",), "rows": [[cell]]}
    pictures = dict.fromkeys(("r2", "alpha_beta", "profile"), "<svg></svg>")
    section = {"title": "s", "about": "a", "tables": [table]}
    made = render_page("models.html.j2", headline="<h>", lead="<l>", pictures=pictures, sections=[section])
    assert "<script>alert" not in made
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made
    assert "&lt;b&gt;x&lt;/b&gt;" in made


def test_a_large_history_is_read_from_its_latest_years_only() -> None:
    years = [pl.DataFrame({"race_date": [date(year, 5, 1)] * 40_000}) for year in range(2015, 2026)]
    frame = pl.concat(years).with_row_index("race_key")
    assert _first_year(frame) == 2023
    assert _first_year(frame.filter(pl.col("race_date") > date(2025, 1, 1))) == 0
    assert REPORT_RACES == 20_000


def test_recipes_are_compared_on_the_same_races() -> None:
    frame = random_world(600, seed=4, edge=0.3).with_columns(
        probability_market_beta=pl.col("market_probability"), probability_single=pl.col("market_probability")
    )
    holed = frame.with_columns(
        pl.when(pl.col("race_key") > 50).then(pl.col("probability_single")).alias("probability_single")
    )
    table = recipe_table(frame, "blend", draws=200)
    rows = {row["recipe"]: row for row in table.iter_rows(named=True)}
    assert table["recipe"][0] == "blend"
    assert rows["blend"]["over_market_low"] > 0
    assert rows["single"]["over_market"] == 0.0
    assert rows["market"]["over_market"] is None
    assert rows["blend"]["over_market"] == pytest.approx(rows["blend"]["r2"] - rows["market"]["r2"])
    fewer = recipe_table(holed, "blend", draws=200)
    assert fewer["races"].unique().to_list() == [550]
    with pytest.raises(MissingFeatureError, match="probability_blend"):
        recipe_table(frame.drop("probability_blend"), "blend")
