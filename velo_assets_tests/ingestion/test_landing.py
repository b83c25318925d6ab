"""Landing as a whole: once by content, amendments, forgetting, years touched, bad input beside good."""

from __future__ import annotations

import gzip
import json
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path

import duckdb
import pytest

import velo_assets.ingestion.landing
from velo_assets.ingestion.landing import LandingSummary, forget, land
from velo_assets.ingestion.manifest import live_parts, race_years, results_kind, year_fingerprints
from velo_assets.racing import identity
from velo_assets.racing.identity import MACROS
from velo_assets.racing.macros import register
from velo_assets.settings import DataRoot
from velo_assets.simulation.marker import Marker, MixedDataError, sha256, write_marker
from velo_assets_tests.ingestion.raceform_rows import ROW, beaten, csv_text, row

TODAY = date(2026, 1, 1)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    root = DataRoot(tmp_path / "data root läufe 'x'")
    for folder in (root.raceform, root.sectionals, root.racecards):
        folder.mkdir(parents=True)
    return root


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(str(tmp_path / "warehouse.duckdb"))
    register(connection)
    yield connection
    connection.close()


def write(root: DataRoot, name: str, rows: list[dict[str, str]]) -> Path:
    path = root.raceform / name
    path.write_text(csv_text(rows), encoding="utf-8")
    return path


def landing(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> LandingSummary:
    return land(root, warehouse, today=TODAY)


def outcomes(summary: LandingSummary) -> dict[str, str]:
    return {Path(file.file).name: file.outcome for file in summary.files}


def rows_landed(warehouse: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    return warehouse.execute("select horse, sp from landing.raceform order by sequence, horse").fetchall()


def test_missing_root_says_what_to_do(tmp_path: Path, warehouse: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(FileNotFoundError, match="create it, or set VELO_DATA"):
        land(DataRoot(tmp_path / "nowhere"), warehouse)


def test_empty_folders_give_typed_empty_views(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    summary = landing(root, warehouse)
    assert summary == LandingSummary()
    for kind in ("raceform", "racecards", "sectionals", "betfair_sp", "streams"):
        assert warehouse.execute(f"select count(*) from landing.{kind}").fetchone() == (0,)
    types = dict(
        warehouse.execute(
            "select column_name, data_type from information_schema.columns where table_name = 'raceform'"
        ).fetchall()
    )
    assert types["race_date"] == "DATE"
    assert types["runner_key"] == "BIGINT"


def test_landing_twice_is_landing_once(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    write(root, "a.csv", [row(), beaten()])
    first = landing(root, warehouse)
    second = landing(root, warehouse)
    assert outcomes(first) == {"a.csv": "landed"}
    assert first.years_touched == (2015,)
    assert outcomes(second) == {"a.csv": "unchanged"}
    assert second.years_touched == ()
    assert rows_landed(warehouse) == [("Azamaara (IRE)", "5/1"), ("Gala Casino Star (IRE)", "3/1")]


def test_touched_but_unchanged_file_is_skipped_by_content(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    path = write(root, "a.csv", [row()])
    landing(root, warehouse)
    os.utime(path, ns=(1, 1))
    assert outcomes(landing(root, warehouse)) == {"a.csv": "unchanged"}


def test_renamed_copy_lands_nothing(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    write(root, "a.csv", [row()])
    landing(root, warehouse)
    write(root, "copy of a.csv", [row()])
    summary = landing(root, warehouse)
    assert outcomes(summary) == {"a.csv": "unchanged", "copy of a.csv": "same content"}
    assert summary.years_touched == ()


def test_bad_files_are_recorded_and_good_ones_go_through(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    write(root, "b good.csv", [row(), beaten(sp="-1/1")])
    (root.raceform / "a empty.csv").write_bytes(b"")
    (root.raceform / "c cut.csv.gz").write_bytes(gzip.compress(b"date,course\n" * 99)[:-20])
    (root.raceform / "d notes.xls").write_bytes(b"x")
    (root.raceform / ".hidden.csv").write_bytes(b"x")
    (root.raceform / "e.csv.part").write_bytes(b"x")
    write_marker(root.raceform, Marker(seed=1, edge=0.0, files={}))
    (root.raceform / "README").write_bytes(b"x")
    summary = landing(root, warehouse)
    assert outcomes(summary) == {
        "a empty.csv": "refused",
        "b good.csv": "landed",
        "c cut.csv.gz": "refused",
        "d notes.xls": "refused",
    }
    assert [file.error for file in summary.refused if "empty" in file.file] == ["a empty.csv: the file is empty."]
    errors = dict(warehouse.execute("select file, error from landing.manifest where status = 'refused'").fetchall())
    assert len(errors) == 3
    assert warehouse.execute("select line_number, severity, reason, detail from landing.rejects").fetchall() == [
        (3, "field", "unreadable_sp", "-1/1")
    ]
    assert warehouse.execute(
        "select rows, rejected_rows, rejected_fields, first_date from landing.manifest where status = 'live'"
    ).fetchall() == [(2, 0, 1, date(2015, 4, 26))]
    again = landing(root, warehouse)
    assert {file.file: file.error for file in again.refused} == errors


def test_results_of_tomorrow_are_allowed_and_of_next_week_rejected(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    write(root, "a.csv", [row(date="2026-01-02"), row(date="2026-01-03")])
    assert landing(root, warehouse).files[0].rejected_rows == 1
    assert warehouse.execute("select reason, detail from landing.rejects").fetchall() == [("future_date", "2026-01-03")]


def test_years_touched_are_exactly_those_whose_content_changed(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    history = [row(date=f"{year}-04-26") for year in (2015, 2016, 2017)]
    write(root, "dump.csv", history)
    assert landing(root, warehouse).years_touched == (2015, 2016, 2017)
    history[1]["sp"] = "4/1"
    write(root, "dump.csv", history)
    assert landing(root, warehouse).years_touched == (2016,)
    write(root, "nightly.csv", [row(date="2018-04-26")])
    assert landing(root, warehouse).years_touched == (2018,)


def test_a_dump_that_grows_does_not_pile_up(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    write(root, "dump.csv", [row()])
    landing(root, warehouse)
    write(root, "dump.csv", [row(), row(date="2015-04-27")])
    landing(root, warehouse)
    assert warehouse.execute("select status from landing.manifest order by sequence").fetchall() == [
        ("superseded",),
        ("live",),
    ]
    assert len(live_parts(warehouse, "raceform")) == 1
    assert len(list(root.landing.rglob("*.parquet"))) == 1
    assert len(rows_landed(warehouse)) == 2


def test_an_old_copy_of_a_dump_does_not_come_back_over_its_amendments(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    write(root, "raceform.csv", [row()])
    landing(root, warehouse)
    write(root, "raceform-old.csv", [row()])
    write(root, "raceform.csv", [row(sp="9/1"), row(date="2015-04-27")])
    for _ in range(3):
        assert outcomes(landing(root, warehouse))["raceform-old.csv"] == "same content"
        assert rows_landed(warehouse)[0] == ("Gala Casino Star (IRE)", "9/1")


def test_a_version_that_is_covered_leaves_nothing_but_its_name(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    for extra in ([], [row(date="2015-04-27")]):
        write(root, "dump.csv", [row(sp="-1/1"), *extra])
        landing(root, warehouse)
    assert warehouse.execute("select count(*) from landing.rejects").fetchone() == (1,)
    assert warehouse.execute(
        "select distinct status from landing.years join landing.manifest using (sha256)"
    ).fetchall() == [("live",)]


def card(root: DataRoot, name: str, *races: tuple[str, str, str, int]) -> None:
    cards: dict[str, dict[str, dict[str, object]]] = {}
    for course, day, off, race_id in races:
        race = {"date": day, "off_time": off, "race_id": race_id, "runners": [{"name": "Alpha"}]}
        cards.setdefault(course, {})[f"{day} {off}"] = race
    (root.racecards / name).write_text(json.dumps({"GB": cards}), encoding="utf-8")


def on_the_card(warehouse: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    return warehouse.execute("select course, off_text from landing.racecards order by race_date, off_text").fetchall()


def test_a_card_fetched_again_takes_the_place_of_the_one_before(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    today, tomorrow = "2026-01-01", "2026-01-02"
    card(root, "card.json", ("Ascot", today, "13:20", 1), ("Ascot", today, "13:50", 2), ("York", today, "14:00", 3))
    landing(root, warehouse)
    card(root, "card.json", ("Ascot", today, "13:25", 1), ("Ascot", tomorrow, "12:00", 4))
    landing(root, warehouse)
    assert on_the_card(warehouse) == [("Ascot", "13:25"), ("Ascot", "12:00")]
    assert len(live_parts(warehouse, "racecards")) == 1
    # The file says nothing of today any more: what it said last stands.
    card(root, "card.json", ("Ascot", tomorrow, "12:05", 4), ("Ascot", tomorrow, "12:40", 5))
    landing(root, warehouse)
    assert on_the_card(warehouse) == [("Ascot", "13:25"), ("Ascot", "12:05"), ("Ascot", "12:40")]
    assert len(live_parts(warehouse, "racecards")) == 2


def test_a_race_that_was_put_back_is_on_the_card_once(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    day = "2026-01-01"
    card(root, "1 morning.json", ("Ascot", day, "13:20", 1), ("Ascot", day, "13:50", 2))
    card(root, "2 noon.json", ("Ascot", day, "13:25", 1))
    landing(root, warehouse)
    assert on_the_card(warehouse) == [("Ascot", "13:25"), ("Ascot", "13:50")]


def test_a_refused_version_is_forgotten_when_its_file_is_mended(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    path = root.raceform / "a.csv.gz"
    whole = gzip.compress(csv_text([row()]).encode())
    path.write_bytes(whole[:-20])
    assert outcomes(landing(root, warehouse)) == {"a.csv.gz": "refused"}
    path.write_bytes(whole)
    assert outcomes(landing(root, warehouse)) == {"a.csv.gz": "landed"}
    assert warehouse.execute("select status from landing.manifest").fetchall() == [("live",)]


def test_the_only_copy_is_not_deleted_when_the_warehouse_is(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    path = write(root, "a.csv", [row()])
    landing(root, warehouse)
    content = path.read_bytes()
    path.unlink()
    with duckdb.connect() as anew:
        register(anew)
        with pytest.raises(RuntimeError, match=r"raceform/a\.csv.*only copy"):
            land(root, anew, today=TODAY)
        assert len(list(root.landing.rglob("*.parquet"))) == 1
        path.write_bytes(content)
        assert outcomes(land(root, anew, today=TODAY)) == {"a.csv": "landed"}
    assert len(list(root.landing.rglob("*.parquet"))) == 1


def test_no_view_names_a_part_that_is_gone_when_a_landing_dies(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "dump.csv", [row()])
    landing(root, warehouse)
    write(root, "dump.csv", [row(), row(date="2015-04-27")])

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr("velo_assets.ingestion.manifest.refresh_views", die)
        with pytest.raises(KeyboardInterrupt):
            landing(root, warehouse)
    assert len(rows_landed(warehouse)) == 1
    landing(root, warehouse)
    assert len(rows_landed(warehouse)) == 2


def test_a_file_written_over_with_other_days_keeps_the_earlier_ones(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    write(root, "latest.csv", [row()])
    landing(root, warehouse)
    write(root, "latest.csv", [row(date="2015-04-27")])
    landing(root, warehouse)
    assert warehouse.execute("select count(distinct race_key) from landing.raceform").fetchone() == (2,)


def test_a_file_put_back_to_its_earlier_content_wins_again(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    for price in ("3/1", "4/1", "3/1"):
        write(root, "a.csv", [row(sp=price)])
        assert landing(root, warehouse).years_touched == (2015,)
    latest = warehouse.execute("select sp from landing.raceform order by sequence desc limit 1").fetchone()
    assert latest == ("3/1",)


KEYS = "select race_key, horse_key, runner_key, horse, sp from landing.raceform order by horse, sequence"


def with_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, code that makes other keys."""
    changed = [macro.replace("md5_number_lower(value)", "md5_number_lower('other' || value)") for macro in MACROS]
    assert changed != list(MACROS)
    monkeypatch.setattr(identity, "MACROS", tuple(changed))
    monkeypatch.setattr(velo_assets.ingestion.landing, "KEY_CODE", "other keys")


def test_results_get_the_keys_of_new_code_whether_or_not_their_file_is_still_there(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = write(root, "later.csv", [row()])
    landing(root, warehouse)
    # Landed last, so this price wins, though its name comes first.
    write(root, "amended.csv", [row(sp="9/1")])
    gone = write(root, "gone.csv", [beaten()])
    landing(root, warehouse)
    gone.unlink()
    before, fingerprints = warehouse.execute(KEYS).fetchall(), year_fingerprints(warehouse)

    with_other_keys(monkeypatch)
    assert outcomes(landing(root, warehouse)) == {"amended.csv": "landed", "later.csv": "landed"}
    after = warehouse.execute(KEYS).fetchall()
    assert [key[3:] for key in after] == [key[3:] for key in before]
    assert year_fingerprints(warehouse).keys() == fingerprints.keys()
    assert year_fingerprints(warehouse) != fingerprints
    assert {path.name for path in (root.landing / "raceform").rglob("*.parquet")} == {
        Path(part).name for part in live_parts(warehouse, "raceform")
    }
    gone.write_text(csv_text([beaten()]))
    with duckdb.connect(str(tmp_path / "anew.duckdb")) as anew:
        fresh = DataRoot(tmp_path / "anew")
        fresh.raceform.mkdir(parents=True)
        for source in (later, root.raceform / "amended.csv", gone):
            (fresh.raceform / source.name).write_bytes(source.read_bytes())
            landing(fresh, anew)
        assert anew.execute(KEYS).fetchall() == after
    assert set(outcomes(landing(root, warehouse)).values()) == {"unchanged"}


def test_a_dump_that_grew_in_the_night_of_new_code_supersedes_the_one_before(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "dump.csv", [row()])
    landing(root, warehouse)
    write(root, "dump.csv", [row(), beaten()])
    with_other_keys(monkeypatch)
    landing(root, warehouse)
    assert len(rows_landed(warehouse)) == 2


def test_rows_that_new_keys_take_for_one_runner_are_rejected(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(root, "a.csv", [row(), beaten()])
    landing(root, warehouse)
    path.unlink()
    with_other_keys(monkeypatch)
    blind = [macro.replace("md5_number_lower(value)", "md5_number_lower('')") for macro in MACROS]
    monkeypatch.setattr(identity, "MACROS", tuple(blind))
    landing(root, warehouse)
    assert len(rows_landed(warehouse)) == 1
    assert warehouse.execute("select rows, rejected_rows from landing.manifest").fetchall() == [(1, 1)]
    assert warehouse.execute("select line_number, reason from landing.rejects").fetchall() == [
        (None, "duplicate_runner")
    ]


def test_files_that_landed_before_their_key_code_was_kept_land_anew_once(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    write(root, "a.csv", [row(), beaten()])
    landing(root, warehouse)
    rows, fingerprints = rows_landed(warehouse), year_fingerprints(warehouse)
    warehouse.execute("alter table landing.manifest drop column key_code")
    assert outcomes(landing(root, warehouse)) == {"a.csv": "landed"}
    assert outcomes(landing(root, warehouse)) == {"a.csv": "unchanged"}
    assert (rows_landed(warehouse), year_fingerprints(warehouse)) == (rows, fingerprints)


def test_broken_links_are_passed_over(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    (root.raceform / "a.csv").symlink_to(root.raceform / "gone.csv")
    write(root, "b.csv", [row()])
    assert outcomes(landing(root, warehouse)) == {"b.csv": "landed"}


def test_deleting_a_source_changes_nothing_until_it_is_forgotten(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    path = write(root, "a.csv", [row()])
    write(root, "b.csv", [row(date="2016-04-26")])
    landing(root, warehouse)
    path.unlink()
    assert landing(root, warehouse).years_touched == ()
    assert len(rows_landed(warehouse)) == 2
    assert forget(root, warehouse, "raceform/a.csv").years_touched == (2015,)
    assert len(rows_landed(warehouse)) == 1
    assert warehouse.execute("select count(*) from landing.years where file = 'raceform/a.csv'").fetchone() == (0,)
    assert len(list(root.landing.rglob("*.parquet"))) == 1


def test_forgetting_a_file_that_is_still_there_lands_it_again(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    path = write(root, "a.csv", [row()])
    landing(root, warehouse)
    forget(root, warehouse, path)
    assert rows_landed(warehouse) == []
    assert outcomes(landing(root, warehouse)) == {"a.csv": "landed"}


def test_forgetting_an_unknown_file_names_the_known_ones(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    write(root, "a.csv", [row()])
    landing(root, warehouse)
    with pytest.raises(ValueError, match=r"Nothing landed from 'raceform/z.csv'. Landed files: raceform/a.csv"):
        forget(root, warehouse, "raceform/z.csv")


def test_parts_without_a_manifest_row_are_swept(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    write(root, "a.csv", [row()])
    landing(root, warehouse)
    orphan = root.landing / "raceform" / "race_year=2015" / "left-by-a-killed-run.parquet"
    orphan.write_bytes(b"half a file")
    landing(root, warehouse)
    assert not orphan.exists()
    assert len(rows_landed(warehouse)) == 1


def test_scratch_is_gone_after_landing(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    write(root, "a.csv", [row()])
    landing(root, warehouse)
    assert [path.name for path in root.landing.iterdir()] == ["raceform"]


def test_year_filter_reads_only_the_parts_of_the_year(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    write(root, "a.csv", [row(date=f"{year}-04-26") for year in range(2010, 2020)])
    landing(root, warehouse)
    plan = warehouse.execute(
        """explain analyze select count(horse) from landing.raceform
           where race_year between year($start::date) and year($end::date)""",
        {"start": date(2015, 1, 1), "end": date(2015, 12, 31)},
    ).fetchall()[0][1]
    assert "Scanning Files: 1/10" in plan or "Total Files Read: 1" in plan


SIDECAR = """race_id,horse,declared_weight_lb,calls,rail,distance_m,race_times,sections
622456,Gala Casino Star (IRE),1091,2 1,A,1800,(24.0) (48.5),24.0 24.5
"""


def test_a_sidecar_touches_the_years_of_its_races(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    write(root, "a.csv", [row(), row(date="2016-04-26", race_id="7")])
    landing(root, warehouse)
    (root.sectionals / "s.csv").write_text(SIDECAR, encoding="utf-8")
    assert landing(root, warehouse).years_touched == (2015,)
    assert warehouse.execute("select distance_m, rail from landing.sectionals").fetchall() == [(1800.0, "A")]


def test_a_sidecar_of_the_morning_touches_the_year_of_its_card(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    write(root, "a.csv", [row(race_id="7")])
    race = {"date": "2026-01-01", "race_id": 622456, "runners": [{"name": "Gala Casino Star", "region": "IRE"}]}
    (root.racecards / "card.json").write_text(json.dumps({"GB": {"Ascot": {"14:00": race}}}), encoding="utf-8")
    landing(root, warehouse)
    (root.sectionals / "s.csv").write_text(SIDECAR, encoding="utf-8")
    assert landing(root, warehouse).years_touched == (2026,)


def test_a_sidecar_ahead_of_its_races_touches_no_year_and_follows_them(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    write(root, "a.csv", [row(date="2014-04-26", race_id="7")])
    landing(root, warehouse)
    ahead = root.sectionals / "s.csv"
    ahead.write_text(SIDECAR + SIDECAR.splitlines()[1].replace("622456", "8") + "\n", encoding="utf-8")
    assert landing(root, warehouse).years_touched == ()
    write(root, "b.csv", [row()])
    assert landing(root, warehouse).years_touched == (2015,)
    write(root, "c.csv", [row(date="2016-04-26", race_id="8")])
    assert landing(root, warehouse).years_touched == (2016,)
    ahead.unlink()
    assert forget(root, warehouse, ahead).years_touched == (2015, 2016)


def test_a_sidecar_that_grows_touches_the_years_of_what_is_new(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    write(root, "a.csv", [row(), row(date="2016-04-26", race_id="8")])
    path = root.sectionals / "s.csv"
    path.write_text(SIDECAR, encoding="utf-8")
    landing(root, warehouse)
    path.write_text(SIDECAR + SIDECAR.splitlines()[1].replace("622456", "8") + "\n", encoding="utf-8")
    assert landing(root, warehouse).years_touched == (2016,)
    assert warehouse.execute("select count(*) from landing.sectionals").fetchone() == (2,)


def test_race_years_are_those_of_results_and_cards(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    landing(root, warehouse)
    with pytest.raises(LookupError, match="put results into raceform/"):
        race_years(warehouse)
    write(root, "a.csv", [row(), row(date="2017-04-26", race_id="7")])
    landing(root, warehouse)
    assert race_years(warehouse) == (2015, 2017)


def test_fingerprints_do_not_depend_on_the_order_of_other_years(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    write(root, "a.csv", [row()])
    landing(root, warehouse)
    alone = year_fingerprints(warehouse)[2015]
    write(root, "b.csv", [row(date="2016-04-26")])
    landing(root, warehouse)
    assert year_fingerprints(warehouse)[2015] == alone


def test_a_card_from_before_the_first_year_is_rejected_and_makes_no_year(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    # No partition is that early: every later run would fail on it.
    race = {"date": "2005-06-01", "runners": [{"name": "Old Timer"}]}
    (root.racecards / "card.json").write_text(json.dumps({"GB": {"Ascot": {"14:00": race}}}), encoding="utf-8")
    write(root, "a.csv", [row()])
    summary = landing(root, warehouse)
    assert {Path(file.file).name: (file.rows, file.rejected_rows) for file in summary.files} == {
        "a.csv": (1, 0),
        "card.json": (0, 1),
    }
    assert list(year_fingerprints(warehouse)) == [2015]
    assert race_years(warehouse) == (2015, 2015)
    assert warehouse.execute("select reason, detail from landing.rejects").fetchall() == [
        ("before_first_year", "2005-06-01")
    ]


def test_a_card_of_decades_to_come_is_rejected_and_makes_no_year(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    # Every year up to it would be built.
    days = ("2062-06-01", "2027-01-03", "2027-01-02", "2026-01-02")
    races = {f"14:{n:02}": {"date": day, "runners": [{"name": "Early Bird"}]} for n, day in enumerate(days)}
    (root.racecards / "card.json").write_text(json.dumps({"GB": {"Ascot": races}}), encoding="utf-8")
    write(root, "a.csv", [row()])
    summary = landing(root, warehouse)
    assert [(file.rows, file.rejected_rows) for file in summary.files if file.kind == "racecards"] == [(2, 2)]
    assert list(year_fingerprints(warehouse)) == [2015, 2026, 2027]
    assert warehouse.execute("select reason, severity, detail from landing.rejects order by detail").fetchall() == [
        ("too_far_ahead", "row", "2027-01-03"),
        ("too_far_ahead", "row", "2062-06-01"),
    ]


def test_a_row_that_lands_without_one_value_is_no_rejected_row(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    text = "race_id,horse,calls\n1,Alpha,1 1\n1,Beta,2 x\n1,Beta,3 3\n"
    (root.sectionals / "s.csv").write_text(text, encoding="utf-8")
    (file,) = landing(root, warehouse).files
    assert (file.rows, file.rejected_rows) == (2, 1)
    assert warehouse.execute("select reason, severity from landing.rejects order by 1").fetchall() == [
        ("duplicate_runner", "row"),
        ("unreadable_calls", "field"),
    ]
    assert warehouse.execute("select rejected_fields from landing.manifest").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("raceform/long.csv", "x" * 200_000 + "\n1\n", "no header"),
        ("racecards/digits.json", '{"GB": ' + "1" * 5_000 + "}", "thousands of digits"),
        ("racecards/deep.json", "[" * 200_000, "nested far deeper"),
        ("betfair_streams/deep.jsonl", "[" * 200_000 + "\n", "line 1: not_json"),
    ],
    ids=lambda value: value if len(value) < 30 else "",
)
def test_a_file_that_no_reader_can_hold_is_refused_and_the_others_land(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection, name: str, text: str, words: str
) -> None:
    path = root.path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    write(root, "a.csv", [row()])
    summary = landing(root, warehouse)
    assert outcomes(summary) == {"a.csv": "landed", path.name: "refused"}
    assert words in str(summary.refused[0].error)


def test_a_file_whose_name_is_not_utf8_is_refused_and_the_others_land(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    write(root, "a.csv", [row()])
    try:
        Path(os.fsdecode(os.fsencode(root.raceform) + b"/r\xe4ce.csv")).write_text("x", encoding="utf-8")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    summary = landing(root, warehouse)
    assert outcomes(summary) == {"a.csv": "landed", "r?ce.csv": "refused"}
    assert "rename it" in str(summary.refused[0].error)


def simulated(root: DataRoot, name: str) -> Path:
    path = write(root, name, [row(date="2016-04-26")])
    write_marker(root.raceform, Marker(seed=1, edge=0.0, files={name: sha256(path)}))
    return path


def test_simulated_results_do_not_land_beside_real_ones_whose_files_have_gone(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    path = write(root, "a.csv", [row()])
    landing(root, warehouse)
    path.unlink()
    simulated(root, "simulated_2016.csv")
    with pytest.raises(MixedDataError, match=r"raceform/a\.csv.*delete the simulated files"):
        landing(root, warehouse)
    assert len(rows_landed(warehouse)) == 1
    assert results_kind(warehouse) == "real"


def test_real_results_do_not_land_beside_simulated_ones_that_were_deleted(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    path = simulated(root, "simulated_2016.csv")
    landing(root, warehouse)
    path.unlink()
    (root.raceform / "SIMULATED.json").unlink()
    landing(root, warehouse)
    assert results_kind(warehouse) == "simulated"
    write(root, "a.csv", [row()])
    with pytest.raises(MixedDataError, match="velo clean"):
        landing(root, warehouse)
    forget(root, warehouse, path)
    assert outcomes(landing(root, warehouse)) == {"a.csv": "landed"}
    assert results_kind(warehouse) == "real"


def test_a_manifest_that_did_not_keep_who_wrote_a_file_tells_by_the_name(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    assert results_kind(warehouse) == "empty"
    simulated(root, "simulated_2016.csv")
    landing(root, warehouse)
    warehouse.execute("alter table landing.manifest drop column simulated")
    assert results_kind(warehouse) == "simulated"
    assert outcomes(landing(root, warehouse)) == {"simulated_2016.csv": "unchanged"}


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """The system writes no file further than this, as a full disk would not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def many(count: int) -> list[dict[str, str]]:
    return [row(horse=f"Horse {number:05}") for number in range(count)]


def test_a_full_disk_stops_the_landing_and_is_not_held_against_the_file(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection
) -> None:
    write(root, "a.csv", [row(date="2016-04-26")])
    (root.raceform / "b.csv.gz").write_bytes(gzip.compress(csv_text(many(10_000)).encode()))
    with no_file_over(2_000_000), pytest.raises(OSError, match=r"raceform/b\.csv\.gz.*File too large"):
        landing(root, warehouse)
    assert outcomes(landing(root, warehouse)) == {"a.csv": "unchanged", "b.csv.gz": "landed"}


def test_memory_that_runs_out_is_not_held_against_the_file(
    root: DataRoot, warehouse: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "a.csv", many(10_000))
    with monkeypatch.context() as little:
        little.setattr("velo_assets.ingestion.landing.STAGING_MEMORY", "1MB")
        with pytest.raises(OSError, match=r"raceform/a\.csv can't be landed now: Out of Memory"):
            landing(root, warehouse)
    assert outcomes(landing(root, warehouse)) == {"a.csv": "landed"}


def test_a_database_in_use_lands_when_it_is_free(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    with closing(sqlite3.connect(root.raceform / "raceform.db")) as database:
        database.execute(f"create table data ({', '.join(chr(34) + name + chr(34) for name in ROW)})")
        database.execute(f"insert into data values ({', '.join('?' * len(ROW))})", list(ROW.values()))
        database.commit()
        database.execute("begin exclusive")
        busy = landing(root, warehouse)
        assert "another program" in str(busy.refused[0].error)
        database.rollback()
    assert outcomes(landing(root, warehouse)) == {"raceform.db": "landed"}


def test_brackets_and_stars_in_a_name_are_no_pattern(root: DataRoot, warehouse: duckdb.DuckDBPyConnection) -> None:
    for name, horse in (("results1.csv", "Alpha"), ("results[1].csv", "Beta"), ("results?.csv", "Gamma")):
        write(root, name, [row(horse=horse)])
    assert set(outcomes(landing(root, warehouse)).values()) == {"landed"}
    assert {horse for horse, _ in rows_landed(warehouse)} == {"Alpha", "Beta", "Gamma"}


def test_a_data_root_may_have_brackets_in_its_name(tmp_path: Path, warehouse: duckdb.DuckDBPyConnection) -> None:
    root = DataRoot(tmp_path / "data [1]")
    root.raceform.mkdir(parents=True)
    for price in ("3/1", "4/1"):
        write(root, "a.csv", [row(sp=price), row(sp=price), beaten()])
        assert outcomes(landing(root, warehouse)) == {"a.csv": "landed"}
    assert rows_landed(warehouse) == [("Azamaara (IRE)", "5/1"), ("Gala Casino Star (IRE)", "4/1")]
