"""The quality page on a small landed world, with names that try to break out of the HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest

from velo_assets.ingestion import manifest
from velo_assets.ingestion.landing import land
from velo_assets.ingestion.quality import (
    identity_collisions,
    landed_profile,
    typed_profile,
    write_landing_page,
    write_quality_page,
)
from velo_assets.racing.macros import register
from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import build_table
from velo_assets_tests.ingestion.raceform_rows import beaten, csv_text, row

BETFAIR_SP = """\
LOCAL_RACE_DATE,RACETIME_AEDT,COUNTRY,TRACK,EVENT_ID,WIN_MARKET_ID,PLACE_MARKET_ID,RACE_NAME,WIN_MARKET_NAME,\
RACE_NUMBER,SELECTION_ID,RUNNER_NAME,RATED_PRICE,WIN_BSP,WIN_RESULT,PLACE_BSP,PLACE_RESULT
2025-04-16,2025-04-17 01:00:00,GB,York,34,7,8,Stakes,1m,1,1,Nobody,7.5,4.0,1.0,1.5,1.0
"""


def landed_with_core(root: DataRoot, first: int, last: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("create schema core")
    register(connection)
    land(root, connection, today=date(2026, 1, 1))
    for table in ("core/races", "core/entries", "core/results", "core/prices"):
        build_table(connection, table, date(first, 1, 1), date(last, 12, 31))
    return connection


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    return DataRoot(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def warehouse(root: DataRoot) -> Iterator[duckdb.DuckDBPyConnection]:
    root.raceform.mkdir()
    rows = [
        row(trainer="David O'Meara"),
        beaten(trainer="David Omeara", sp="<script>alert(1)</script>", jockey="<b>Bold</b>"),
        row(date="2016-05-01", horse="The Trader (IRE)", dam="Dam A", ran="9"),
        row(date="2016-05-02", horse="The Trader (IRE)", dam="Dam B", pos="5", owner=""),
        row(date="2016-05-03", age="9"),
    ]
    (root.raceform / "a <i>.csv").write_text(csv_text(rows), encoding="utf-8")
    connection = landed_with_core(root, 2015, 2016)
    yield connection
    connection.close()


def test_collisions_are_counted_and_shown(warehouse: duckdb.DuckDBPyConnection) -> None:
    found = {collision.name: collision for collision in identity_collisions(warehouse)}
    assert {name: collision.count for name, collision in found.items()} == {
        "horse_keys_with_two_foaling_years": 1,
        "horse_names_with_two_keys": 1,
        "race_ids_of_two_races": 1,
        "races_with_two_race_ids": 0,
        "fields_that_differ_from_ran": 3,
        "positions_beyond_the_field": 1,
        "races_that_do_not_settle": 1,
        "trainer_labels_of_one_key": 1,
        "jockey_labels_of_one_key": 0,
    }
    assert found["horse_names_with_two_keys"].examples == ("The Trader (IRE)",)
    assert found["trainer_labels_of_one_key"].examples == ("David O'Meara / David Omeara",)


def test_profile_of_landed_columns(warehouse: duckdb.DuckDBPyConnection, root: DataRoot) -> None:
    profile = landed_profile(warehouse, root.path, "raceform", manifest.live_parts(warehouse, "raceform"))
    lines = {(line["column"], line["year"]): line for line in profile.to_dicts()}
    assert lines["owner", 2016]["null_rate"] == pytest.approx(1 / 3)
    assert lines["ts", 2015]["null_rate"] == 1.0
    assert lines["dec", 2015]["null_rate"] == 1.0
    assert lines["horse", 2015]["rows"] == 2
    assert lines["horse", 2016]["distinct_count"] == 2
    assert (lines["age", 2016]["low"], lines["age", 2016]["high"]) == ("9", "10")
    assert lines["pos", 2016]["odd_values"] == ""
    assert lines["sp", 2015]["odd_values"] == "3/1 (1), <script>alert(1)</script> (1)"
    assert "race_date" not in profile["column"]
    assert "runner_key" not in profile["column"]


def test_profile_of_typed_columns_gives_ranges(warehouse: duckdb.DuckDBPyConnection) -> None:
    profile = typed_profile(warehouse, "entries")
    (ages,) = profile.filter(column="age_years", year=2016).to_dicts()
    assert (ages["low"], ages["high"], ages["null_rate"]) == ("9", "10", 0.0)


def test_page_is_escaped_self_contained_and_counted(
    warehouse: duckdb.DuckDBPyConnection, root: DataRoot, tmp_path: Path
) -> None:
    path = tmp_path / "reports" / "quality.html"
    write_quality_page(warehouse, root, path)
    page = path.read_text(encoding="utf-8")
    assert '<td class="text">unreadable_sp</td><td>1</td>' in page
    assert "<script>" not in page
    assert "<b>Bold" not in page
    assert "&lt;script&gt;" in page
    assert page.count('<table class="heat">') == 5
    assert "http" not in page.replace("http-equiv", "")


def test_page_of_an_empty_warehouse(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    connection = landed_with_core(root, 2015, 2015)
    write_quality_page(connection, root, tmp_path / "quality.html")
    connection.close()
    assert "Nothing was rejected" in (tmp_path / "quality.html").read_text(encoding="utf-8")


def test_the_page_knows_exchange_prices_that_found_no_runner_and_the_reasons_of_every_reader(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    for folder, text in (
        (root.raceform, csv_text([row(date="2025-04-15", horse="Saxon Land (IRE)")])),
        (root.betfair_sp, BETFAIR_SP),
        (root.racecards, '{"GB": {"York": {"13:30": 7}}}'),
    ):
        folder.mkdir()
        (folder / ("a.json" if folder == root.racecards else "a.csv")).write_text(text, encoding="utf-8")
    connection = landed_with_core(root, 2025, 2025)
    write_quality_page(connection, root, tmp_path / "quality.html")
    connection.close()
    page = (tmp_path / "quality.html").read_text(encoding="utf-8")
    assert '<td class="text">no racing landed that day</td><td>1</td><td>1</td>' in page
    assert "the race is not an object with a list of runners" in page


def test_fields_of_a_sidecar_that_could_not_be_read_are_counted_by_column(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    root.sectionals.mkdir()
    text = "race_id,horse,calls,distance_m\n2015,Alpha,1 1,0\n2015,Beta,2 x,0\n"
    (root.sectionals / "s.csv").write_text(text, encoding="utf-8")
    connection = landed_with_core(root, 2015, 2015)
    page = tmp_path / "quality.html"
    write_quality_page(connection, root, page)
    connection.close()
    rows = re.findall(
        r'<tr><td class="text">(calls|distance_m)</td><td></td><td>2</td><td>[^<]*</td><td>\d+</td><td>(\d*)</td>',
        page.read_text(encoding="utf-8"),
    )
    assert rows == [("calls", "1"), ("distance_m", "2")]


def test_a_landing_has_a_page_of_its_own_files_only(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    root.raceform.mkdir()
    (root.raceform / "old.csv").write_text(csv_text([row(), row(horse="Old Horse")]), encoding="utf-8")
    connection = duckdb.connect()
    register(connection)
    first = write_landing_page(connection, root, land(root, connection, today=date(2026, 1, 1)))
    assert write_landing_page(connection, root, land(root, connection, today=date(2026, 1, 1))) is None
    rows = [row(date="2016-05-02", horse="<b>New</b>", age="old"), *(row(date="2016-05-02", num=str(n)) for n in "234")]
    (root.raceform / "new.csv").write_text(csv_text(rows), encoding="utf-8")
    second = write_landing_page(connection, root, land(root, connection, today=date(2026, 1, 1)))
    connection.close()
    assert first is not None
    assert second is not None
    assert first.name < second.name
    page = second.read_text(encoding="utf-8")
    assert "new.csv" in page
    assert "old.csv" not in page
    assert "&lt;b&gt;New" in page
    assert "2015" not in page
    assert "unreadable_age" in page
