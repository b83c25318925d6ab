from __future__ import annotations

import bz2
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from velo_assets.ingestion.parsed import LayoutError
from velo_assets.ingestion.streams import MINUTES_BEFORE, STREAMS_SCHEMA, read_stream

OFF = datetime(2025, 6, 7, 23, 30, tzinfo=UTC)


def milliseconds(minutes_before: float) -> int:
    return int((OFF - timedelta(minutes=minutes_before)).timestamp() * 1000)


def definition(
    status: str = "OPEN", *, off: datetime = OFF, runners: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    default = [{"id": 1, "status": "ACTIVE", "sortPriority": 1, "name": "A"}, {"id": 2, "status": "ACTIVE"}]
    return {
        "status": status,
        "marketTime": off.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "timezone": "Europe/London",
        "venue": "Kempton",
        "countryCode": "GB",
        "eventId": "77",
        "marketType": "WIN",
        "numberOfWinners": 1,
        "marketBaseRate": 5.0,
        "inPlay": status == "CLOSED",
        "runners": runners or default,
    }


def line(minutes_before: float, *, market: str = "1.5", **change: Any) -> str:
    return json.dumps({"op": "mcm", "pt": milliseconds(minutes_before), "mc": [{"id": market, **change}]})


def settled() -> dict[str, Any]:
    runners = [{"id": 1, "status": "WINNER", "bsp": 3.4, "name": "A"}, {"id": 2, "status": "LOSER", "bsp": "Infinity"}]
    return definition("CLOSED", runners=runners)


RACE = [
    line(45, marketDefinition=definition()),
    line(40, rc=[{"id": 1, "ltp": 4.0, "atb": [[3.9, 20]], "atl": [[4.1, 9]], "trd": [[4.0, 50], [3.9, 10]]}]),
    line(10, rc=[{"id": 1, "ltp": 3.5}]),
    line(2, rc=[{"id": 2, "ltp": 8.0, "atb": [[7.8, 2], [7.6, 5]]}]),
    line(-1, rc=[{"id": 1, "ltp": 1.2}]),
    line(-5, marketDefinition=settled()),
]


def write(folder: Path, *lines: str, packed: bool = False) -> Path:
    path = folder / ("stream.bz2" if packed else "stream")
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(bz2.compress(data) if packed else data)
    return path


def quotes(rows: pl.DataFrame, selection: int) -> dict[int, tuple[object, ...]]:
    columns = ["minutes_before", "last_traded", "best_back", "best_lay", "total_matched"]
    return {row[0]: row[1:] for row in rows.filter(selection_id=selection).select(columns).rows()}


@pytest.mark.parametrize("packed", [False, True])
def test_the_book_of_a_moment_is_the_last_state_before_it(tmp_path: Path, packed: bool) -> None:
    parsed = read_stream(write(tmp_path, *RACE, packed=packed))
    assert dict(parsed.rows.schema) == STREAMS_SCHEMA
    assert parsed.rejects.height == 0
    assert parsed.rows.height == 2 * len(MINUTES_BEFORE)
    nothing = (None, None, None, None)
    assert quotes(parsed.rows, 1) == {
        60: nothing,
        30: (4.0, 3.9, 4.1, 60.0),
        10: (3.5, 3.9, 4.1, 60.0),
        5: (3.5, 3.9, 4.1, 60.0),
        1: (3.5, 3.9, 4.1, 60.0),
        0: (3.5, 3.9, 4.1, 60.0),
    }
    sizes = parsed.rows.filter(selection_id=1, minutes_before=5).select("best_back_size", "best_lay_size")
    assert sizes.row(0) == (20.0, 9.0)
    assert quotes(parsed.rows, 2)[5] == nothing
    assert quotes(parsed.rows, 2)[1] == (8.0, 7.8, None, None)


def test_result_price_and_market_come_from_the_last_definition(tmp_path: Path) -> None:
    rows = read_stream(write(tmp_path, *RACE)).rows.filter(minutes_before=0)
    assert rows.select("won", "bsp", "runner_status").rows() == [(1, 3.4, "WINNER"), (0, None, "LOSER")]
    assert rows.select("market_id", "venue", "country", "race_date", "base_rate_percent", "horse_name").row(0) == (
        "1.5",
        "Kempton",
        "GB",
        date(2025, 6, 8),
        5.0,
        "A",
    )
    assert rows["off_utc"][0] == OFF.replace(tzinfo=None)
    assert rows["published_utc"][0] == (OFF - timedelta(minutes=2)).replace(tzinfo=None)


def test_a_removed_runner_has_no_price_once_it_is_out(tmp_path: Path) -> None:
    runners = [{"id": 1, "status": "ACTIVE"}, {"id": 2, "status": "REMOVED", "removalDate": "2025-06-07T23:05:00.000Z"}]
    lines = [
        *RACE[:2],
        line(35, rc=[{"id": 2, "ltp": 9.0}]),
        line(25, marketDefinition=definition(runners=runners)),
        RACE[3],
        line(-1, rc=[]),
    ]
    rows = read_stream(write(tmp_path, *lines)).rows.filter(selection_id=2)
    assert quotes(rows, 2)[30][0] == 9.0
    assert quotes(rows, 2)[10][0] is None
    assert rows["won"].to_list() == [None] * 6
    assert rows["removed_utc"][0] == datetime(2025, 6, 7, 23, 5)


def test_moments_move_with_the_scheduled_off(tmp_path: Path) -> None:
    later = definition(off=OFF + timedelta(minutes=10))
    lines = [
        *RACE[:3],
        line(4, marketDefinition=later),
        line(3, rc=[{"id": 1, "ltp": 5.0}]),
        line(-11, rc=[{"id": 1, "ltp": 6.0}]),
    ]
    rows = read_stream(write(tmp_path, *lines)).rows
    taken = {minutes: values[0] for minutes, values in quotes(rows, 1).items()}
    assert taken == {60: None, 30: 4.0, 10: 5.0, 5: 5.0, 1: 5.0, 0: 5.0}
    assert rows["off_utc"][0] == (OFF + timedelta(minutes=10)).replace(tzinfo=None)


def test_a_file_that_ends_before_the_off_keeps_its_last_state(tmp_path: Path) -> None:
    rows = read_stream(write(tmp_path, *RACE[:2])).rows
    assert quotes(rows, 1)[40] == (4.0, 3.9, 4.1, 60.0)
    assert quotes(rows, 1)[10] == (None, None, None, None)
    assert rows["won"].to_list() == [None] * rows.height


def test_several_markets_and_a_second_close_give_each_market_once(tmp_path: Path) -> None:
    other = line(44, market="1.6", marketDefinition=definition())
    parsed = read_stream(write(tmp_path, RACE[0], other, *RACE[1:], line(-6, marketDefinition=settled())))
    assert parsed.rows.group_by("market_id").len().sort("market_id").rows() == [("1.5", 12), ("1.6", 14)]
    assert parsed.rejects.height == 0


def test_bad_lines_are_rejected_and_the_rest_is_read(tmp_path: Path) -> None:
    lines = [
        json.dumps({"op": "connection", "connectionId": "x"}),
        RACE[0],
        "{half a line",
        "[1, 2]",
        json.dumps({"op": "ocm", "pt": 1}),
        line(41, market="1.9", rc=[{"id": 1, "ltp": 2.0}]),
        line(41, market="1.9", rc=[{"id": 1, "ltp": 2.1}]),
        json.dumps({"op": "mcm", "mc": []}),
        '{"op": "mcm", "pt": 1e400, "mc": []}',
        json.dumps({"op": "mcm", "pt": milliseconds(40), "ct": "HEARTBEAT"}),
        *RACE[1:],
    ]
    parsed = read_stream(write(tmp_path, *lines))
    assert parsed.rejects.select("line_number", "reason").rows() == [
        (3, "not_json"),
        (4, "not_market_data"),
        (5, "not_market_data"),
        (6, "no_definition"),
        (8, "unreadable_update"),
        (9, "unreadable_update"),
    ]
    assert quotes(parsed.rows, 1)[30][0] == 4.0


@pytest.mark.parametrize(
    "damage",
    [
        {"runners": None},
        {"runners": [{"id": 9, "status": "REMOVED", "removalDate": "yesterday"}]},
        {"runners": [{"id": "nine", "status": "ACTIVE"}]},
        {"timezone": "Mars/Base"},
        {"numberOfWinners": "one"},
    ],
)
def test_a_market_with_a_damaged_definition_is_left_out_alone(tmp_path: Path, damage: dict[str, Any]) -> None:
    damaged = {name: value for name, value in {**definition(), **damage}.items() if value is not None}
    parsed = read_stream(write(tmp_path, line(46, market="1.9", marketDefinition=damaged), *RACE))
    assert parsed.rows["market_id"].unique().to_list() == ["1.5"]
    (reject,) = parsed.rejects.to_dicts()
    assert reject["reason"] == "unreadable_market"
    assert reject["detail"].startswith("market 1.9: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no line with op mcm"),
        (b"date,course\n" * 500, "line 1: not_json"),
        (b"\x00\xff\x00" * 100, "not_json"),
        (bz2.compress("\n".join(RACE).encode())[:-20], "cut short"),
        (b"BZh9 is only the name", "damaged"),
    ],
)
def test_a_file_that_is_no_stream_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.bz2"
    path.write_bytes(content)
    with pytest.raises(LayoutError, match=message):
        read_stream(path)
