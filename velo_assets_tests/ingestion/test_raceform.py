"""Reading raceform files: layouts, formats, and a corpus of damaged inputs from which the good rows survive."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from velo_assets.ingestion.layouts import LAYOUTS, RACEFORM_COLUMNS
from velo_assets.ingestion.parsed import FileInUseError, LayoutError
from velo_assets.ingestion.raceform import StagedRaceform, stage_raceform
from velo_assets.racing.macros import register
from velo_assets_tests.ingestion.raceform_rows import HEADER, ROW, beaten, csv_text, line, row

WINNER = line(row())
SECOND = line(beaten())
TITLED = {layout.name: layout for layout in LAYOUTS}["titled_2020"]
TITLED_HEADER = list(TITLED.required)
LOWER_2025_HEADER = list({layout.name: layout for layout in LAYOUTS}["lower_2025"].required)


@pytest.fixture(scope="module")
def staging() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(config={"threads": 2})
    register(connection)
    yield connection
    connection.close()


@dataclass
class Stager:
    folder: Path
    staging: duckdb.DuckDBPyConnection

    def __call__(self, content: bytes, name: str = "raceform.csv") -> StagedRaceform:
        path = self.folder / name
        path.write_bytes(content)
        return self.stage(path)

    def stage(self, path: Path) -> StagedRaceform:
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return stage_raceform(
            path,
            scratch,
            self.staging,
            source_file=path.name,
            sequence=1,
            first_date=date(2006, 1, 1),
            last_date=date(2026, 1, 1),
        )


@pytest.fixture
def stager(tmp_path: Path, staging: duckdb.DuckDBPyConnection) -> Stager:
    return Stager(tmp_path, staging)


def landed(staged: StagedRaceform) -> pl.DataFrame:
    files = [file for files in staged.parts.values() for file in files]
    return pl.concat(pl.read_parquet(file, hive_partitioning=False) for file in files) if files else pl.DataFrame()


def horses(staged: StagedRaceform) -> list[str]:
    frame = landed(staged)
    return sorted(frame["horse"].to_list()) if frame.height else []


def reasons(staged: StagedRaceform) -> list[tuple[int, str]]:
    return sorted(
        (int(number or 0), reason) for number, reason in staged.rejects.select("line_number", "reason").rows()
    )


def text(*lines: str, end: str = "\n") -> bytes:
    return (end.join(lines) + end).encode()


BOTH = ["Azamaara (IRE)", "Gala Casino Star (IRE)"]

REFUSED: dict[str, tuple[str, bytes, str]] = {
    "empty file": ("a.csv", b"", "the file is empty"),
    "empty gzip": ("a.csv.gz", gzip.compress(b""), "the file is empty"),
    "only blank lines": ("a.csv", b"\n\n\n", "no header"),
    "binary": ("a.csv", bytes(range(256)) * 40, "no header"),
    "zip under a csv name": ("a.csv", b"PK\x03\x04" + b"\x00\x01\xfe\xff" * 99, "no header"),
    "truncated gzip": ("a.csv.gz", gzip.compress(text(HEADER, WINNER) * 50)[:-30], "damaged or cut short"),
    "gzip with a broken middle": (
        "a.csv.gz",
        (lambda packed: packed[:40] + b"\x00" * 20 + packed[60:])(gzip.compress(text(HEADER, WINNER, SECOND))),
        "damaged or cut short",
    ),
    "missing header": ("a.csv", text(WINNER, SECOND), "no header of a known layout"),
    "semicolons": ("a.csv", text(HEADER.replace(",", ";"), WINNER.replace(",", ";")), "separated by semicolons"),
    "tabs": ("a.csv", text(HEADER.replace(",", "\t"), WINNER.replace(",", "\t")), "separated by tabs"),
    "bars": ("a.csv", text(HEADER.replace(",", "|"), WINNER.replace(",", "|")), "separated by bars"),
    "a column missing": ("a.csv", text(HEADER.replace(",sp,", ","), WINNER), "Missing columns: sp"),
    "a column renamed": (
        "a.csv",
        text(HEADER.replace(",sp,", ",starting_price,"), WINNER),
        "Unknown columns: starting_price",
    ),
    "a column twice": ("a.csv", text(HEADER + ",sp", WINNER + ",3/1"), "names these columns twice: sp"),
    "an unknown column": ("a.csv", text(HEADER + ",tip", WINNER + ",x"), "Unknown columns: tip"),
    "another table": ("a.csv", text("name,price", "Ascot,3"), "no header of a known layout"),
    "nearest layout is named": (
        "a.csv",
        text(",".join(TITLED_HEADER).replace(",Dec,", ",Decimal,")),
        "nearest layout is titled_2020. Missing columns: Dec. Unknown columns: Decimal",
    ),
    "UTF-16": ("a.csv", text(HEADER, WINNER).decode().encode("utf-16"), "UTF-16"),
    "old Macintosh line ends": ("a.csv", text(HEADER, WINNER, SECOND, end="\r"), "carriage return alone"),
    "NUL bytes in the header": ("a.csv", b"\0" * 30 + text(HEADER, WINNER), "no header"),
    "HTML": ("a.csv", b"<!doctype html><html><body>503</body></html>\n", "no header of a known layout"),
    "JSON": ("a.csv", b'{"date": "2015-04-26"}\n', "no header of a known layout"),
    "an SQLite file that isn't one": ("a.db", text(HEADER, WINNER), "not an SQLite database"),
    "SQLite cut short": ("a.db", b"SQLite format 3\0" + b"\x00" * 50, "damaged or cut short"),
    "a Parquet file that isn't one": ("a.parquet", text(HEADER, WINNER), "not a Parquet file"),
    "Parquet cut short": ("a.parquet", b"PAR1" + b"\x15" * 200, "damaged or cut short"),
}


@pytest.mark.parametrize(("name", "content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_file_is_refused_as_a_whole_with_its_reason(stager: Stager, name: str, content: bytes, message: str) -> None:
    with pytest.raises(LayoutError, match=f"{name}: .*{message}"):
        stager(content, name)


def nul(value: str) -> bytes:
    return value.replace("Jordan", "Jor\0dan").encode()


DAMAGED: dict[str, tuple[bytes, list[str], list[tuple[int, str]]]] = {
    "sound": (text(HEADER, WINNER, SECOND), BOTH, []),
    "byte order mark": (b"\xef\xbb\xbf" + text(HEADER, WINNER, SECOND), BOTH, []),
    "Windows line ends": (text(HEADER, WINNER, SECOND, end="\r\n"), BOTH, []),
    "no line feed at the end": (text(HEADER, WINNER, SECOND)[:-1], BOTH, []),
    "blank lines between rows": (text(HEADER, WINNER, "", SECOND, ""), BOTH, []),
    "blank lines above the header": (text("", HEADER, WINNER, SECOND), BOTH, []),
    "header only": (text(HEADER), [], []),
    "header twice": (text(HEADER, WINNER, HEADER, SECOND), BOTH, [(3, "repeated_header")]),
    "half a line at the end": (text(HEADER, WINNER, SECOND, WINNER[:60]), BOTH, [(4, "too_few_columns")]),
    "a row with a value too many": (text(HEADER, WINNER, SECOND + ",x"), [BOTH[1]], [(3, "too_many_columns")]),
    "a row with a value too few": (
        text(HEADER, WINNER.rsplit(",", 1)[0], SECOND),
        [BOTH[0]],
        [(2, "too_few_columns")],
    ),
    "quote never closed": (
        text(HEADER, WINNER.replace("Casino Handicap", '"Casino Handicap'), SECOND),
        [BOTH[0]],
        [(2, "unbalanced_quotes")],
    ),
    "quote never closed in the last row": (
        text(HEADER, WINNER, SECOND.replace("Casino Handicap", '"Casino Handicap')),
        [BOTH[1]],
        [(3, "unbalanced_quotes")],
    ),
    "text after a closing quote": (
        text(HEADER, WINNER.replace("Casino Handicap", '"Casino" Handicap'), SECOND),
        [BOTH[0]],
        [(2, "unreadable_line")],
    ),
    "a line break in quotes": (
        text(HEADER, WINNER.replace("Casino Handicap", '"Casino\nHandicap"'), SECOND),
        BOTH,
        [],
    ),
    "a line break in quotes, and a short row": (
        text(HEADER, WINNER.replace("Casino Handicap", '"Casino\nHandicap"'), SECOND, "half,a,row"),
        BOTH,
        [(5, "too_few_columns")],
    ),
    "commas in quotes": (text(HEADER, WINNER.replace("Casino Handicap", '"Casino, Handicap"'), SECOND), BOTH, []),
    "doubled quotes": (text(HEADER, WINNER.replace("Casino Handicap", '"The ""Casino"" Cup"'), SECOND), BOTH, []),
    "NUL bytes in a row": (
        text(HEADER) + nul(WINNER) + b"\n" + SECOND.encode() + b"\n",
        [BOTH[0]],
        [(2, "nul_bytes")],
    ),
    "a block of NUL bytes": (
        text(HEADER, WINNER) + b"\0" * 5000 + b"\n" + SECOND.encode() + b"\n",
        BOTH,
        [(3, "nul_bytes")],
    ),
    "one line of 5 MB": (text(HEADER, WINNER, "x" * 5_000_000, SECOND), BOTH, [(3, "line_too_long")]),
    "one field of 5 MB": (
        text(HEADER, WINNER, SECOND.replace("Jordan Nason", "y" * 5_000_000)),
        [BOTH[1]],
        [(3, "line_too_long")],
    ),
    "Windows-1252 letters": (
        text(HEADER, WINNER) + SECOND.replace("Jordan", "Jördan").encode("cp1252") + b"\n",
        BOTH,
        [(3, "wrong_encoding")],
    ),
    "binary in the middle": (
        text(HEADER, WINNER) + bytes(range(128, 256)) + b"\n" + SECOND.encode() + b"\n",
        BOTH,
        [(3, "too_few_columns"), (3, "wrong_encoding")],
    ),
    "letters of other scripts": (
        text(HEADER, WINNER, line(beaten(horse="金瀛 (P072)", jockey="محمد", trainer="Łukasz Żółć"))),
        [BOTH[1], "金瀛 (P072)"],
        [],
    ),
    "a broken date": (text(HEADER, WINNER, line(beaten(date="2015-02-30"))), [BOTH[1]], [(3, "broken_date")]),
    "a date in words": (text(HEADER, WINNER, line(beaten(date="yesterday"))), [BOTH[1]], [(3, "broken_date")]),
    "an English date": (text(HEADER, WINNER, line(beaten(date="26/04/2015"))), [BOTH[1]], [(3, "broken_date")]),
    "no date": (text(HEADER, WINNER, line(beaten(date=""))), [BOTH[1]], [(3, "broken_date")]),
    "an infinite date": (text(HEADER, WINNER, line(beaten(date="infinity"))), [BOTH[1]], [(3, "future_date")]),
    "a future date": (text(HEADER, WINNER, line(beaten(date="2031-01-01"))), [BOTH[1]], [(3, "future_date")]),
    "a date before the first year": (
        text(HEADER, WINNER, line(beaten(date="1999-04-26"))),
        [BOTH[1]],
        [(3, "before_first_year")],
    ),
    "a date with a time": (text(HEADER, WINNER, line(beaten(date="2015-04-26 00:00:00"))), BOTH, []),
    "no course": (text(HEADER, WINNER, line(beaten(course=" "))), [BOTH[1]], [(3, "missing_course")]),
    "no horse": (text(HEADER, WINNER, line(beaten(horse=""))), [BOTH[1]], [(3, "missing_horse")]),
    "the same row twice": (text(HEADER, WINNER, SECOND, WINNER), BOTH, [(4, "duplicate_row")]),
    "the same row three times": (
        text(HEADER, WINNER, WINNER, SECOND, WINNER),
        BOTH,
        [(3, "duplicate_row"), (5, "duplicate_row")],
    ),
    "the same runner with other values": (
        text(HEADER, WINNER, SECOND, line(row(pos="2"))),
        BOTH,
        [(4, "duplicate_runner")],
    ),
    "negative odds": (text(HEADER, WINNER, line(beaten(sp="-5/1"))), BOTH, [(3, "unreadable_sp")]),
    "odds of nothing": (text(HEADER, WINNER, line(beaten(sp="0/1"))), BOTH, [(3, "unreadable_sp")]),
    "odds over zero": (text(HEADER, WINNER, line(beaten(sp="5/0"))), BOTH, [(3, "unreadable_sp")]),
    "odds in words": (text(HEADER, WINNER, line(beaten(sp="five to one"))), BOTH, [(3, "unreadable_sp")]),
    "a bare favourite mark": (text(HEADER, WINNER, line(beaten(sp="F"))), BOTH, []),
    "no odds": (text(HEADER, WINNER, line(beaten(sp=""))), BOTH, []),
    "an unknown finishing code": (text(HEADER, WINNER, line(beaten(pos="XYZ"))), BOTH, [(3, "unreadable_pos")]),
    "position zero": (text(HEADER, WINNER, line(beaten(pos="0"))), BOTH, []),
    "an unreadable distance": (text(HEADER, WINNER, line(beaten(dist="far"))), BOTH, [(3, "unreadable_dist")]),
    "15 pounds over the stones": (text(HEADER, WINNER, line(beaten(wgt="9-15"))), BOTH, [(3, "unreadable_wgt")]),
    "a time of 61 seconds": (text(HEADER, WINNER, line(beaten(time="1:61.00"))), BOTH, [(3, "unreadable_time")]),
    "a stall in words": (text(HEADER, WINNER, line(beaten(draw="rails"))), BOTH, [(3, "unreadable_draw")]),
    "a rating of 775": (text(HEADER, WINNER, line(beaten(rpr="775"))), BOTH, [(3, "unreadable_rpr")]),
    "a rating in words": (text(HEADER, WINNER, line(beaten(or_="top"))), BOTH, [(3, "unreadable_or")]),
    "an age in words": (text(HEADER, WINNER, line(beaten(age="old"))), BOTH, [(3, "unreadable_age")]),
    "a prize in words": (text(HEADER, WINNER, line(beaten(prize="a cup"))), BOTH, [(3, "unreadable_prize")]),
    "a margin in words": (text(HEADER, WINNER, line(beaten(ovr_btn="miles"))), BOTH, [(3, "unreadable_ovr_btn")]),
    "several faults at once": (
        text(HEADER, WINNER, "half,a,row", line(beaten(sp="-1/1")), HEADER, line(beaten(date="x"))),
        BOTH,
        [(3, "too_few_columns"), (4, "unreadable_sp"), (5, "repeated_header"), (6, "broken_date")],
    ),
    "nothing usable": (text(HEADER, "a,b", "c"), [], [(2, "too_few_columns"), (3, "too_few_columns")]),
    "SQL in a name": (
        text(HEADER, WINNER, line(beaten(horse="Robert'); drop table data;--"))),
        [BOTH[1], "Robert'); drop table data;--"],
        [],
    ),
}


@pytest.mark.parametrize(("content", "survivors", "rejected"), DAMAGED.values(), ids=DAMAGED.keys())
def test_good_rows_survive_and_bad_ones_are_named(
    stager: Stager, content: bytes, survivors: list[str], rejected: list[tuple[int, str]]
) -> None:
    staged = stager(content)
    assert horses(staged) == sorted(survivors)
    assert reasons(staged) == rejected


def test_corpus_is_large_enough() -> None:
    assert len(REFUSED) + len(DAMAGED) >= 60


def titled(values: dict[str, str]) -> list[str]:
    later = {"dec": "4.00", "lbs": "124", "dist_y": "1980", "dist_m": "1811", "dist_f": "9f"}
    return [{**values, **later}[canonical] for canonical in TITLED.required.values()]


def test_mixed_layouts_in_one_file_both_land(stager: Stager) -> None:
    staged = stager(text(HEADER, WINNER, ",".join(TITLED_HEADER), ",".join(titled(beaten()))))
    assert horses(staged) == BOTH
    assert staged.layout == "raceform_37+titled_2020"
    assert reasons(staged) == [(3, "repeated_header")]
    assert landed(staged).filter(pl.col("horse") == BOTH[0])["dec"].to_list() == ["4.00"]


def test_raw_text_of_a_reject_is_kept_with_its_detail(stager: Stager) -> None:
    staged = stager(text(HEADER, line(beaten(date="2015-02-30"))))
    reject = staged.rejects.row(0, named=True)
    assert reject["detail"] == "2015-02-30"
    assert reject["raw_text"].startswith("2015-02-30,Wetherby,622456,5:45")
    assert reject["severity"] == "row"


def test_titled_layout_gives_the_same_keys(stager: Stager) -> None:
    plain = landed(stager(text(HEADER, WINNER)))
    staged = stager(text(",".join(TITLED_HEADER), ",".join(titled(row(course="wetherby")))))
    assert staged.layout == "titled_2020"
    other = landed(staged)
    for key in ("race_key", "horse_key", "runner_key"):
        assert plain[key].to_list() == other[key].to_list()
    assert other.select("dec", "lbs", "dist_m", "race_id").rows() == [("4.00", "124", "1811", None)]


def test_layout_of_2025_gives_the_same_keys(stager: Stager) -> None:
    plain = landed(stager(text(HEADER, WINNER)))
    later = {"region": "GB", "dist_f": "9", "dist_m": "1811", "lbs": "124", "secs": "114.79", "dec": "4.0"}
    values = [{**row(), **later}[name] for name in LOWER_2025_HEADER]
    staged = stager(text(",".join(LOWER_2025_HEADER), ",".join(values)))
    assert staged.layout == "lower_2025"
    other = landed(staged)
    for key in ("race_key", "horse_key", "runner_key"):
        assert plain[key].to_list() == other[key].to_list()
    assert other.select("sp", "wgt", "race_id", "dec", "lbs", "secs").rows() == [
        (None, None, None, "4.0", "124", "114.79")
    ]


def test_columns_in_another_order(stager: Stager) -> None:
    columns = list(reversed(RACEFORM_COLUMNS))
    staged = stager(csv_text([row(), beaten()], columns).encode())
    assert horses(staged) == BOTH
    assert landed(staged)["course"].unique().to_list() == ["Wetherby"]


def test_gzip_and_name_with_spaces_and_unicode(stager: Stager) -> None:
    staged = stager(gzip.compress(text(HEADER, WINNER, SECOND)), "meine läufe 'öffentlich' 賽馬.csv.gz")
    assert horses(staged) == BOTH


def test_parquet_with_types(stager: Stager, tmp_path: Path) -> None:
    frame = pl.DataFrame([row(), beaten()]).with_columns(
        pl.col("date").str.to_date(), pl.col("draw").cast(pl.Float64), pl.col("age").cast(pl.Int64)
    )
    path = tmp_path / "raceform.parquet"
    frame.write_parquet(path)
    staged = stager.stage(path)
    assert staged.layout == "raceform_37/parquet"
    assert landed(staged).sort("horse").select("date", "draw", "age").rows() == [
        ("2015-04-26", "1.0", "10"),
        ("2015-04-26", "8.0", "10"),
    ]


@pytest.mark.parametrize("named_columns", [True, False])
def test_sqlite_with_its_header_stored_as_a_row(stager: Stager, tmp_path: Path, named_columns: bool) -> None:
    path = tmp_path / "raceform.db"
    names = RACEFORM_COLUMNS if named_columns else tuple(f"c{place}" for place in range(len(RACEFORM_COLUMNS)))
    database = sqlite3.connect(path)
    database.execute(f"create table data ({', '.join(chr(34) + name + chr(34) for name in names)})")
    marks = ", ".join("?" * len(names))
    database.execute(f"insert into data values ({marks})", list(RACEFORM_COLUMNS))
    for values in (row(), beaten(), row(date="soon", horse="Late")):
        loose = [int(value) if name == "age" else value for name, value in values.items()]
        database.execute(f"insert into data values ({marks})", loose)
    database.commit()
    database.close()
    staged = stager.stage(path)
    assert staged.layout == "raceform_37/sqlite"
    assert horses(staged) == BOTH
    assert reasons(staged) == [(4, "broken_date")]


def test_an_sqlite_database_that_is_being_written_is_not_called_damaged(stager: Stager, tmp_path: Path) -> None:
    path = tmp_path / "raceform.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table data (a)")
        database.commit()
        database.execute("begin exclusive")
        with pytest.raises(FileInUseError, match="another program is writing"):
            stager.stage(path)


def test_a_damaged_parquet_page_is_told_in_the_words_of_the_reader(stager: Stager, tmp_path: Path) -> None:
    path = tmp_path / "raceform.parquet"
    pl.DataFrame([row(), beaten()]).write_parquet(path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[4:900] = bytes(896)
    path.write_bytes(content)
    with pytest.raises(duckdb.Error):
        stager.stage(path)


def test_a_second_header_in_another_order_starts_rows_in_that_order(stager: Stager) -> None:
    swapped = [{"jockey": "trainer", "trainer": "jockey"}.get(name, name) for name in RACEFORM_COLUMNS]
    later = [row(date="2015-04-27"), beaten(date="2015-04-27")]
    staged = stager(csv_text([row(), beaten()]).encode() + csv_text(later, swapped).encode())
    frame = landed(staged)
    assert set(frame.select("jockey", "trainer").rows()) == {(ROW["jockey"], ROW["trainer"])}
    assert frame.height == 4
    assert reasons(staged) == [(4, "repeated_header")]


def test_sqlite_without_the_table(stager: Stager, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    database = sqlite3.connect(path)
    database.execute("create table runs (a)")
    database.commit()
    database.close()
    with pytest.raises(LayoutError, match="no table `data`; the database holds: runs"):
        stager.stage(path)


def test_years_are_split_counted_and_hashed_without_regard_to_order(stager: Stager) -> None:
    later = [row(date="2016-05-01"), beaten(date="2016-05-01")]
    forwards = stager(csv_text([row(), *later]).encode()).years
    backwards = stager(csv_text([*reversed(later), row()]).encode()).years
    changed = stager(csv_text([row(), later[0], beaten(date="2016-05-01", sp="6/1")]).encode()).years
    assert forwards.select("year", "rows", "races").rows() == [(2015, 1, 1), (2016, 2, 1)]
    assert forwards["content_hash"].to_list() == backwards["content_hash"].to_list()
    assert [a == b for a, b in zip(forwards["content_hash"], changed["content_hash"], strict=True)] == [True, False]


def test_race_without_off_time_is_told_apart_by_its_id(stager: Stager) -> None:
    staged = stager(csv_text([row(off=""), row(off="", race_id="622457")]).encode())
    assert landed(staged)["race_key"].n_unique() == 2


Make = Callable[[bytes], StagedRaceform]


def test_row_order_of_raw_values_is_untouched(stager: Stager) -> None:
    frame = landed(stager(text(HEADER, WINNER)))
    assert {name: frame[name][0] or "" for name in RACEFORM_COLUMNS} == ROW
