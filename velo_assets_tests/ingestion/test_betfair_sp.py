from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path

import duckdb
import pytest

from velo_assets.ingestion.betfair_sp import (
    BETFAIR_SP_SCHEMA,
    MACROS,
    join_report,
    load_bsp_market,
    read_betfair_sp,
)
from velo_assets.ingestion.parsed import LayoutError
from velo_assets.racing import macros

HEADER = (
    "LOCAL_RACE_DATE,RACETIME_AEDT,COUNTRY,TRACK,EVENT_ID,WIN_MARKET_ID,PLACE_MARKET_ID,RACE_NAME,WIN_MARKET_NAME,"
    "RACE_NUMBER,SELECTION_ID,RUNNER_NAME,RATED_PRICE,WIN_BSP,WIN_RESULT,PLACE_BSP,PLACE_RESULT"
)


def row(
    selection: int,
    horse: str,
    bsp: str,
    result: str,
    *,
    market: int = 241_500_000,
    day: str = "2025-04-15",
    clock: str = "2025-04-16 01:00:00",
    course: str = "Aintree",
    country: str = "GB",
) -> str:
    return (
        f"{day},{clock},{country},{course},34,{market},{market + 1}.0,Some Chase,2m Chs,1,{selection},{horse},"
        f"7.5,{bsp},{result},1.5,{result}"
    )


def write(folder: Path, *lines: str, header: str = HEADER, name: str = "bsp.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_row_becomes_typed(tmp_path: Path) -> None:
    parsed = read_betfair_sp(write(tmp_path, row(1, "Saxon Land", "4.0", "1.0")))
    assert dict(parsed.rows.schema) == BETFAIR_SP_SCHEMA
    assert parsed.layout == "betfair_sp RACETIME_AEDT"
    assert parsed.rows.to_dicts() == [
        {
            "line_number": 2,
            "race_date": date(2025, 4, 15),
            "off_time": time(16, 0),
            "off_utc": datetime(2025, 4, 15, 15, 0),
            "course": "Aintree",
            "country": "GB",
            "event_id": 34,
            "market_id": 241_500_000,
            "place_market_id": 241_500_001,
            "race_name": "Some Chase",
            "market_name": "2m Chs",
            "race_number": 1,
            "selection_id": 1,
            "horse_name": "Saxon Land",
            "rated_price": 7.5,
            "bsp": 4.0,
            "bsp_status": "ok",
            "place_bsp": 1.5,
            "result": "won",
            "won": 1,
            "placed": "won",
            "removed": False,
            "market_winners": 1,
            "multi_winner": False,
            "date_corrected": False,
        }
    ]


def test_the_clock_has_no_australian_summer_time(tmp_path: Path) -> None:
    winter = row(1, "A", "2", "1", day="2025-01-15", clock="2025-01-15 22:20:00", market=238_200_000)
    skipped_in_sydney = row(2, "B", "2", "1", day="2025-10-04", clock="2025-10-05 02:30:00", market=248_700_000)
    rows = read_betfair_sp(write(tmp_path, winter, skipped_in_sydney)).rows
    assert rows["off_time"].to_list() == [time(12, 20), time(17, 30)]


def test_prices_and_results_that_are_none(tmp_path: Path) -> None:
    rows = read_betfair_sp(
        write(
            tmp_path,
            row(1, "Infinite", "inf", "0.0"),
            row(2, "Removed", "", "-1.0"),
            row(3, "Void", "", ""),
            row(4, "Nought", "0", "0.0"),
            row(5, "Negative", "-3.5", "0.0"),
        )
    ).rows
    assert rows.select("bsp", "bsp_status", "result", "won", "removed").rows() == [
        (None, "infinite", "lost", 0, False),
        (None, "missing", "removed", None, True),
        (None, "missing", "unknown", None, False),
        (None, "out of range", "lost", 0, False),
        (None, "out of range", "lost", 0, False),
    ]


def test_a_market_where_everyone_won_is_flagged_and_a_dead_heat_is_not(tmp_path: Path) -> None:
    everyone = [row(number, f"H{number}", "3", "1.0", market=1_000) for number in (1, 2, 3)]
    dead_heat = [row(number, f"D{number}", "3", "1.0", market=2_000) for number in (4, 5)]
    rows = read_betfair_sp(write(tmp_path, *everyone, *dead_heat)).rows
    assert rows["multi_winner"].to_list() == [True, True, True, False, False]
    assert rows["market_winners"].to_list() == [3, 3, 3, 2, 2]


def test_day_and_month_that_changed_places_are_put_back_by_the_market_id(tmp_path: Path) -> None:
    header = HEADER.replace("RACETIME_AEDT", "RACETIME").replace("COUNTRY", "COUNTRY_ID")
    exchanged = row(1, "A", "2", "1", day="2025-12-03", clock="2025-12-04 02:00:00", market=241_660_000, country="35.0")
    right = row(2, "B", "2", "1", day="2025-12-11", clock="2025-12-12 02:00:00", market=251_520_000, country="1.0")
    undated = row(3, "C", "2", "1", day="2025-12-15", clock="", market=251_650_000, country="", course="Naas")
    parsed = read_betfair_sp(write(tmp_path, exchanged, right, undated, header=header))
    assert parsed.layout == "betfair_sp RACETIME"
    assert parsed.rows.select("race_date", "off_time", "country", "date_corrected").rows() == [
        (date(2025, 4, 11), time(17, 0), "IRE", True),
        (date(2025, 12, 11), time(16, 0), "GB", False),
        (date(2025, 12, 15), None, "IRE", False),
    ]


def test_dates_are_left_alone_without_a_row_to_judge_by(tmp_path: Path) -> None:
    rows = read_betfair_sp(write(tmp_path, row(1, "A", "2", "1", day="2025-04-05", clock="2025-04-06 01:00:00"))).rows
    assert rows.select("race_date", "date_corrected").rows() == [(date(2025, 4, 5), False)]


def test_what_can_not_be_used_is_rejected_with_its_line(tmp_path: Path) -> None:
    parsed = read_betfair_sp(
        write(
            tmp_path,
            row(1, "A", "2", "1"),
            row(1, "A", "9", "0"),
            row(2, "B", "2", "0", day="15/04/2025"),
            row(3, "", "2", "0"),
            row(4, "D", "evens", "maybe"),
            row(5, "E", "2", "0", course=""),
            "2025-04-15,half a line",
            HEADER,
            row(6, "F", "2", "0").replace("241500000", "x"),
        )
    )
    assert parsed.rows["horse_name"].to_list() == ["A", "D"]
    assert parsed.rows["bsp_status"].to_list() == ["ok", "unreadable"]
    assert sorted(parsed.rejects.select("line_number", "reason").rows()) == [
        (3, "duplicate_runner"),
        (4, "broken_date"),
        (5, "missing_horse"),
        (6, "unreadable_bsp"),
        (6, "unreadable_result"),
        (7, "missing_course"),
        (8, "too_few_columns"),
        (9, "repeated_header"),
        (10, "missing_market"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no line of text"),
        (b"\x89PNG\r\n\x1a\n\0\0", "missing LOCAL_RACE_DATE"),
        (HEADER.replace(",", "\t").encode(), "tabs"),
        (b"2025-04-15,2,3\n", "missing LOCAL_RACE_DATE"),
        (gzip.compress((HEADER + "\n" + row(1, "A", "2", "1") + "\n").encode() * 500, mtime=0)[:-9], "cut short"),
    ],
)
def test_a_file_that_is_no_bsp_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(LayoutError, match=message):
        read_betfair_sp(path)


def test_the_market_set_keeps_complete_races_once(tmp_path: Path) -> None:
    clean = [
        row(1, "A", "2", "1.0", market=1_000),
        row(2, "B", "2", "0.0", market=1_000),
        row(3, "Gone", "", "-1.0", market=1_000),
    ]
    unpriced = [row(4, "C", "1.5", "1.0", market=2_000), row(5, "D", "inf", "0.0", market=2_000)]
    no_winner = [row(6, "E", "2", "0.0", market=3_000), row(7, "F", "2", "0.0", market=3_000)]
    thin_book = [row(8, "G", "4", "1.0", market=4_000), row(9, "H", "4", "0.0", market=4_000)]
    dead_heat = [row(10, "I", "2", "1.0", market=5_000), row(11, "J", "2", "1.0", market=5_000)]
    first = write(tmp_path, *clean, *unpriced, *no_winner, *thin_book, *dead_heat, name="a.csv")
    second = write(tmp_path, *clean, name="b.csv")
    market = load_bsp_market([first, second])
    assert market.select("race_id", "horse", "bsp", "won", "win_share").rows() == [
        (1_000, "A", 2.0, 1, 1.0),
        (1_000, "B", 2.0, 0, 0.0),
        (5_000, "I", 2.0, 1, 0.5),
        (5_000, "J", 2.0, 1, 0.5),
    ]
    with pytest.raises(ValueError, match="at least one file"):
        load_bsp_market([])


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        macros.register(opened)
        for statement in MACROS:
            opened.execute(statement)
        yield opened


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Kempton (AW)", "Kempton"),
        ("Newmarket (July)", "Newmarket"),
        ("Curragh (IRE)", "The Curragh"),
        ("Chelmsford (AW)", "Chelmsford City"),
        ("Epsom", "Epsom Downs"),
        ("Bangor-on-Dee", "Bangor-On-Dee"),
        ("Gowran Park (IRE)", "Gowran Park"),
        ("Ascot", "Royal Ascot"),
    ],
)
def test_one_spelling_per_course(connection: duckdb.DuckDBPyConnection, ours: str, theirs: str) -> None:
    pair = connection.execute("select exchange_course(?), exchange_course(?)", [ours, theirs]).fetchall()[0]
    assert pair[0] == pair[1]
    assert pair[0]


def test_one_spelling_per_horse(connection: duckdb.DuckDBPyConnection) -> None:
    names = ["Gala Casino Star (IRE)", "Gala Casino Star", "GALA CASINO STAR", "Gala  Casino-Star"]
    keys = {connection.execute("select exchange_name(?)", [name]).fetchall()[0][0] for name in names}
    assert keys == {"galacasinostar"}


@pytest.mark.parametrize("day", ["0000-04-15", "-5000-04-15", "50000-04-15"])
def test_a_date_out_of_all_time_is_no_date(tmp_path: Path, day: str) -> None:
    odd = row(1, "Saxon Land", "4.0", "1.0", day=day, clock=f"{day} 01:00:00")
    parsed = read_betfair_sp(write(tmp_path, odd, row(2, "Half Moon", "2.0", "0.0")))
    assert parsed.rows["selection_id"].to_list() == [2]
    assert parsed.rejects["reason"].to_list() == ["broken_date"]


def test_the_join_report_says_why_a_row_found_no_runner(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    parsed = read_betfair_sp(
        write(
            tmp_path,
            row(1, "Saxon Land", "2", "1.0"),
            row(2, "Not Here", "2", "0.0"),
            row(3, "Withdrawn", "", "-1.0"),
            row(4, "Twice", "2", "0.0"),
            row(5, "Elsewhere", "2", "0.0", market=2, course="York"),
            row(6, "Tomorrow", "2", "0.0", market=3, day="2025-04-16"),
        )
    )
    connection.execute("create schema core; create schema landing")
    connection.register("landed", parsed.rows)
    # Of two versions of a file the one that landed last counts.
    connection.execute(
        "create table landing.betfair_sp as select * replace ('York' as course), 1 as sequence from landed "
        "union all select *, 2 as sequence from landed"
    )
    connection.execute(
        "create table core.races as select 1 as race_key, date '2025-04-15' as race_date, 'Aintree' as course"
    )
    connection.execute(
        "create table core.entries as "
        "select 1 as race_key, unnest(['Saxon Land (IRE)', 'Twice (GB)', 'Twice (USA)']) as horse"
    )
    report = join_report(connection)
    assert dict(zip(report["outcome"], report["runners"], strict=True)) == {
        "joined": 1,
        "no such horse at the course that day": 1,
        "removed before the race": 1,
        "several such horses": 1,
        "no such course that day": 1,
        "no racing landed that day": 1,
    }
