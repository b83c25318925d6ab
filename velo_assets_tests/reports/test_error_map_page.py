"""The page of the modules: its numbers, its words, no network, escaped."""

from __future__ import annotations

import re

import polars as pl
import pytest

from velo_assets.betting.error_map import available_tags, convergence_table, error_map, module_scores
from velo_assets.reports.error_map_page import build_error_map_page
from velo_assets.reports.pages import number, percent
from velo_assets_tests.betting.frames import random_world


def world() -> pl.DataFrame:
    """SQPE lifts the runners of hot trainers too high; TIE and NDS echo the market."""
    hot = (pl.col("runner_key") * 7919 % 13 == 0).cast(pl.Float64)
    return random_world(2500, seed=2).with_columns(
        trainer_form_14d=hot * 0.2, module_sqpe=hot * 0.8, module_tie=hot * 0.1 - 0.01, module_nds=0.02 - hot * 0.1
    )


def page(frame: pl.DataFrame, missing: dict[str, str] | None = None) -> str:
    return build_error_map_page(
        error_map(frame),
        module_scores(frame),
        convergence_table(frame),
        missing_tags=available_tags(frame)[1] if missing is None else missing,
        simulated=True,
        closing_price=True,
    )


@pytest.fixture(scope="module")
def made() -> str:
    return page(world())


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style.*?</style>", " ", html, flags=re.DOTALL)))


def test_the_planted_bias_is_told_and_its_numbers_stand_there(made: str) -> None:
    words, frame = text(made), world()
    cell = error_map(frame).filter((pl.col("module") == "sqpe") & (pl.col("tag") == "hot trainer")).row(0, named=True)
    assert cell["verdict"] == "optimistic"
    assert "SQPE is optimistic about hot trainer" in words
    assert (
        f"{percent(cell['predicted'])} {percent(cell['actual'])} {number(100 * cell['bias'], 2, signed=True)}" in words
    )
    for row in convergence_table(frame).iter_rows(named=True):
        assert f"{number(row['a_over_e_low'])} to {number(row['a_over_e_high'])}" in words
    score = module_scores(frame).row(0, named=True)
    assert f"named {score['tp']:,} {score['fp']:,}" in words
    assert f"not named {score['fn']:,} {score['tn']:,}" in words


def test_banners_and_what_could_not_be_tested(made: str) -> None:
    words = text(made)
    assert "SIMULATED." in words
    assert "CLOSING PRICE." in words
    assert "steamer no steam_today" in words


def test_the_page_stands_alone_and_escapes(made: str) -> None:
    assert not re.search(r"https?://|<(link|img|script|iframe)\b", made)
    assert 'name="viewport"' in made
    assert 'href="tear_sheet.html"' in made
    odd = page(world(), {"<b>tag</b>": "no <i>column</i>"})
    assert "&lt;b&gt;tag&lt;/b&gt;" in odd
    assert "<i>column" not in odd


def test_modules_without_an_opinion_give_a_quiet_page() -> None:
    frame = random_world(300, seed=4).with_columns(
        module_sqpe=pl.lit(0.0), module_tie=pl.lit(0.0), module_nds=pl.lit(0.0)
    )
    words = text(page(frame))
    assert "No module shows a bias that stands out." in words
    assert "none of the three" in words
