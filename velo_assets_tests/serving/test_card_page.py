from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from velo_assets.serving.card_page import read_card_page, reasons, write_card_page
from velo_assets.serving.predict import ServingModel, predict_cards, store_predictions
from velo_assets_tests.warehouse.small_world import LAST, RUNNERS

NOW = datetime(2021, 12, 31, 2, tzinfo=UTC)


@pytest.fixture
def card(world: duckdb.DuckDBPyConnection, champion: ServingModel) -> pl.DataFrame:
    store_predictions(world, predict_cards(world, [champion], [LAST], NOW))
    return read_card_page(world, LAST, champion)


def page_of(frame: pl.DataFrame, folder: Path) -> str:
    return write_card_page(frame, folder / "cards" / "2021-12-31.html", simulated=True).read_text(encoding="utf-8")


def test_every_runner_is_on_the_page_best_first(card: pl.DataFrame, tmp_path: Path) -> None:
    assert card.height == 4 * RUNNERS
    for (_, _), rows in card.group_by("race_key", "course"):
        assert rows["fair_probability"].is_sorted(descending=True)
    page = page_of(card, tmp_path)
    assert all(horse in page for horse in card["horse"])
    assert "SIMULATED" in page
    assert "No market price was known" in page
    assert page.count("<svg") == 4
    assert "velo 1 (champion)" in page


def test_the_page_shows_the_version_that_serves_now(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, tmp_path: Path
) -> None:
    third = replace(champion, version=3)
    second = replace(champion, version=2, is_champion=False)
    store_predictions(world, predict_cards(world, [champion], [LAST], NOW))
    store_predictions(world, predict_cards(world, [third, second], [LAST], NOW + timedelta(hours=1)))

    def says(serving: ServingModel | None) -> str:
        page = page_of(read_card_page(world, LAST, serving), tmp_path)
        return page[page.index("velo ") : page.index(" UTC")]

    # Promoted: its cards were priced in the shadow. Rolled back: the newer version was a champion, too.
    assert says(replace(second, is_champion=True)) == "velo 2 (champion) · 2021-12-31 03:00"
    assert says(champion) == "velo 1 (champion) · 2021-12-31 02:00"
    # A version that has said nothing of this card yet.
    assert says(replace(champion, version=4)) == "velo 3 (champion then) · 2021-12-31 03:00"
    assert says(None) == "velo 3 (champion then) · 2021-12-31 03:00"
    one = "(select min(race_key) from core.races where race_date = ?)"
    world.execute(f"delete from serving.predictions where model_version = 1 and race_key = {one}", [LAST])
    facts = page_of(read_card_page(world, LAST, champion), tmp_path)
    assert "velo 3 (champion then) · 2021-12-31 03:00 UTC; velo 1 (champion) · 2021-12-31 02:00 UTC" in facts


def test_a_name_cannot_run_a_script(card: pl.DataFrame, tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"
    page = page_of(
        card.with_columns(pl.lit(evil).alias(name) for name in ("horse", "jockey", "race_name", "going")), tmp_path
    )
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_missing_facts_are_said_not_invented(card: pl.DataFrame, tmp_path: Path) -> None:
    bare = ("official_rating", "weight_lb", "jockey", "trainer", "saddle_number", "stall", "style_mean", "form_runs")
    first = pl.col("race_key") == card["race_key"][0]
    frame = card.with_columns(
        pl.when(first).then(None).otherwise(pl.col(name)).alias(name) for name in bare
    ).with_columns(pl.when(first).then(None).otherwise(pl.col("off_time")).alias("off_time"))
    page = page_of(frame, tmp_path)
    assert "jockey and trainer not known" in page
    assert "No earlier run of any of these horses is known" in page
    assert "The card carries no ratings." in page
    assert "None" not in page
    assert "nan" not in page
    one = card.with_columns(
        pl.when(pl.col("runner_key") == card["runner_key"][0])
        .then(None)
        .otherwise(pl.col("form_runs"))
        .alias("form_runs")
    )
    assert page_of(one, tmp_path).count("no earlier run known") == 1


def test_a_market_price_brings_the_edge(card: pl.DataFrame, tmp_path: Path) -> None:
    priced = card.with_columns(
        market_odds=pl.lit(9.0), price_kind=pl.lit("forecast"), edge=pl.col("fair_probability") * 9.0 - 1.0
    )
    page = page_of(priced, tmp_path)
    assert "forecast, morning" in page
    assert "9.00" in page
    assert 'class="edge good"' in page


def test_non_runners_stand_last_and_struck_out(
    world: duckdb.DuckDBPyConnection, champion: ServingModel, tmp_path: Path
) -> None:
    world.execute(
        "create table landing.racecards as select race_date, course, 'GB' as region, off_text, race_id, race_name, "
        "1 as sequence, 99 as saddle_number, 'Stayed Home' as horse, 'Dam' as dam, 4 as age_years, 130 as weight_lb, "
        "'J' as jockey, 'T' as trainer, 70 as official_rating, true as non_runner from core.races where race_date = ?",
        [LAST],
    )
    keys = world.execute(
        "select race_key_of(race_date, course, region, off_text, race_id, race_name) from landing.racecards"
    ).fetchall()
    # The small world numbers its races; the card's keys are made from date, course and time.
    for (old,), (new,) in zip(
        world.execute("select race_key from core.races where race_date = ? order by race_id", [LAST]).fetchall(),
        sorted(keys),
        strict=True,
    ):
        for table in ("core.races", "core.entries"):
            world.execute(f"update {table} set race_key = ? where race_key = ?", [new, old])
    frame = read_card_page(world, LAST, champion)
    out = frame.filter("non_runner")
    assert out["horse"].unique().to_list() == ["Stayed Home"]
    page = page_of(frame, tmp_path)
    assert '<tr class="out">' in page
    assert "non-runner" in page
    assert "have not been priced" in page


def test_no_racing_is_a_page_too(world: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    frame = read_card_page(world, datetime(2022, 3, 1).date(), None)
    page = write_card_page(frame, tmp_path / "x.html", day=datetime(2022, 3, 1).date()).read_text(encoding="utf-8")
    assert "No racing." in page
    with pytest.raises(ValueError, match="give the day"):
        write_card_page(frame, tmp_path / "y.html")


def test_reasons_name_both_sides() -> None:
    assert reasons('{"jockey_velocity": 0.3, "bias_maps": -0.2, "form_curves": 0.01, "breeding": -0.02}') == (
        "For: jockey form ×1.35; Against: draw ×0.82."
    )
    assert reasons('{"form_curves": 0.001}') == "Nothing sets it apart from the field."
    assert reasons(None) == ""
