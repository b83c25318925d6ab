from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path

import duckdb
import pytest

from velo_assets.ingestion.parsed import LayoutError
from velo_assets.ingestion.sectionals import SECTIONALS_SCHEMA, read_sectionals
from velo_assets.racing import macros
from velo_assets.warehouse.build import build_table

HEADER = "race_id,horse,declared_weight_lb,calls,rail,distance_m,race_times,sections"
LEADER = "A,1200,(24.50) (47.50) (1:10.00)"
RACE = [
    f"900001,金瀛 (P072),1091,2 2 1,{LEADER},24.50 23.00 22.50",
    f"900001,通勝 (S246),990,1 3,{LEADER},24.50 23.00 22.50",
    f"900001,駕迅 (T063),1172,---,{LEADER},24.50 23.00 22.50",
]


def write(folder: Path, *lines: str) -> Path:
    path = folder / "sectionals.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def test_leader_sections_are_not_the_runners_own(tmp_path: Path) -> None:
    parsed = read_sectionals(write(tmp_path, *RACE))
    rows = parsed.rows
    assert dict(rows.schema) == SECTIONALS_SCHEMA
    assert rows["call_positions"].to_list() == [[2, 2, 1], [1, 3], []]
    assert rows["leader_elapsed_seconds"].to_list() == [[24.5, 47.5, 70.0]] * 3
    assert rows["leader_section_seconds"].to_list() == [[24.5, 23.0, 22.5]] * 3
    assert rows["section_seconds"].to_list() == [None] * 3
    assert rows["declared_weight_lb"].to_list() == [1091, 990, 1172]
    assert rows["line_number"].to_list() == [2, 3, 4]
    assert parsed.rejects.height == 0


def test_sections_that_differ_are_the_runners_own(tmp_path: Path) -> None:
    second = RACE[1].replace("24.50 23.00 22.50", "25.10 23.40 24.00")
    rows = read_sectionals(write(tmp_path, RACE[0], second)).rows
    assert rows["section_seconds"].to_list() == [[24.5, 23.0, 22.5], [25.1, 23.4, 24.0]]


def test_what_can_not_be_read_is_rejected_with_its_line(tmp_path: Path) -> None:
    parsed = read_sectionals(
        write(
            tmp_path,
            RACE[0],
            RACE[0],
            f",x,1000,1 1 1,{LEADER},",
            f"900001,,1000,1 1 1,{LEADER},",
            f"900001,通勝 (S246),heavy,1 a 99,{LEADER},fast",
            "900001,half a row",
            HEADER,
        )
    )
    reasons = dict(zip(parsed.rejects["line_number"], parsed.rejects["reason"], strict=True))
    assert parsed.rows["horse"].to_list() == ["金瀛 (P072)", "通勝 (S246)"]
    assert parsed.rows["call_positions"].to_list() == [[2, 2, 1], [1, None, None]]
    assert parsed.rows["declared_weight_lb"].to_list() == [1091, None]
    assert {key: reasons[key] for key in (3, 4, 5, 7, 8)} == {
        3: "duplicate_runner",
        4: "missing_race_id",
        5: "missing_horse",
        7: "too_few_columns",
        8: "repeated_header",
    }
    of_line_six = parsed.rejects.filter(line_number=6)
    assert set(of_line_six["reason"]) == {"unreadable_calls", "unreadable_sections", "unreadable_declared_weight_lb"}


def test_a_distance_that_no_race_has_is_null_and_rejected_as_a_field(tmp_path: Path) -> None:
    distances = ["1200", "0", "-5", "far", "nan", "", "---"]
    parsed = read_sectionals(write(tmp_path, *(f"{n},A,1000,1 1,A,{text},," for n, text in enumerate(distances))))
    assert parsed.rows["distance_m"].to_list() == [1200.0, *[None] * 6]
    assert parsed.rejects.select("line_number", "reason", "detail").rows() == [
        (line, "unreadable_distance_m", distances[line - 2]) for line in (3, 4, 5, 6)
    ]


def test_a_weight_as_a_spreadsheet_leaves_it_is_read_and_another_rejected_as_a_field(tmp_path: Path) -> None:
    weights = ["1122", "1122.0", '"1,122"', "1122.5", "0", "", "---"]
    parsed = read_sectionals(write(tmp_path, *(f"{n},A,{text},1 1,A,1200,," for n, text in enumerate(weights))))
    assert parsed.rows["declared_weight_lb"].to_list() == [1122, 1122, *[None] * 5]
    assert parsed.rejects.select("line_number", "reason", "detail").rows() == [
        (line, "unreadable_declared_weight_lb", text) for line, text in ((4, "1,122"), (5, "1122.5"), (6, "0"))
    ]


def test_gzip_bom_and_columns_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "sidecar"
    path.write_bytes(gzip.compress("\ufeffhorse,race_id,calls\r\nA,1,3 2 1\r\n".encode()))
    rows = read_sectionals(path).rows
    assert rows.select("race_id", "horse", "call_positions", "rail").rows() == [("1", "A", [3, 2, 1], None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no line of text"),
        (b"\n\n", "no line of text"),
        (b"\x00\x01\x02\x00", "no line of text"),
        (b"1,2,3\n", "missing race_id, horse, calls"),
        (b"race_id;horse;calls\n1;A;1\n", "semicolons"),
        (b"race_id,horse,horse,calls\n", "more than once"),
        (gzip.compress(b"race_id,horse,calls\n" + b"1,A,1 2 3\n" * 5000)[:-20], "cut short"),
    ],
)
def test_a_file_that_is_no_sidecar_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad file ü.csv"
    path.write_bytes(content)
    with pytest.raises(LayoutError, match=message):
        read_sectionals(path)


def test_damaged_lines_leave_the_good_rows(tmp_path: Path) -> None:
    path = tmp_path / "damaged.csv"
    long_line = b"9," + b"x" * (5 << 20) + b",1\n"
    path.write_bytes(b"race_id,horse,calls\n1,A,1\n2,B\0,1\n" + long_line + b'4,"D,1\n5,Caf\xe9,1\n6,F,2\n')
    parsed = read_sectionals(path)
    assert parsed.rows["horse"].to_list() == ["A", "Café", "F"]
    assert parsed.rejects.sort("line_number").select("line_number", "reason").rows() == [
        (3, "nul_bytes"),
        (4, "line_too_long"),
        (5, "unbalanced_quotes"),
        (6, "wrong_encoding"),
    ]


def test_core_has_a_row_per_runner_and_call(tmp_path: Path) -> None:
    landed = read_sectionals(write(tmp_path, *RACE)).rows.with_columns(sequence=1)
    with duckdb.connect() as connection:
        macros.register(connection)
        connection.execute("create schema core; create schema landing")
        connection.register("landed", landed)
        connection.execute("create table landing.sectionals as from landed")
        connection.execute(
            "insert into landing.sectionals by name "
            "select * replace ([5, 5, 5] as call_positions, 0 as sequence) from landed"
        )
        connection.execute(
            """create table core.races as select * from (values
                 (1, date '2016-01-01', '900001'), (2, date '2016-01-01', '900002'), (3, date '2017-01-01', '900001')
               ) t(race_key, race_date, race_id)"""
        )
        connection.execute(
            """create table core.entries as select * from (values
                 (11, 1, date '2016-01-01', '金瀛 (P072)'), (12, 1, date '2016-01-01', '通勝 (S246)'),
                 (13, 1, date '2016-01-01', 'No Sidecar'), (21, 2, date '2016-01-01', '金瀛 (P072)'),
                 (31, 3, date '2017-01-01', '駕迅 (T063)')
               ) t(runner_key, race_key, race_date, horse)"""
        )
        build_table(connection, "core/sectionals", date(2016, 1, 1), date(2016, 12, 31))
        rows = connection.execute(
            """select runner_key, call_number, calls, position_at_call, section_seconds, leader_elapsed_seconds,
                      leader_section_seconds from core.sectionals order by 1, 2"""
        ).fetchall()
    assert rows == [
        (11, 1, 3, 2, None, 24.5, 24.5),
        (11, 2, 3, 2, None, 47.5, 23.0),
        (11, 3, 3, 1, None, 70.0, 22.5),
        (12, 1, 3, 1, None, 24.5, 24.5),
        (12, 2, 3, 3, None, 47.5, 23.0),
        (12, 3, 3, None, None, 70.0, 22.5),
    ]
