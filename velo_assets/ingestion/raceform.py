"""One raceform results file to Parquet, a part per year: raw text, race date and keys, and what was rejected.

Here: the fast way (DuckDB reads the CSV once, in parallel) and the careful way (line by line, for damaged files).
Not here: typed fields (velo_assets/sql/core), which files are new (landing.py), what is remembered (manifest.py).
"""

from __future__ import annotations

import csv
import gzip
import io
import mmap
import shutil
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO

import duckdb
import polars as pl

from velo_assets.ingestion.layouts import LANDED_COLUMNS, RACEFORM_COLUMNS, Layout, detect_layout, is_header
from velo_assets.ingestion.parsed import (
    RAW_TEXT_LIMIT,
    REJECT_SCHEMA,
    FileInUseError,
    LayoutError,
    Reject,
    rejects_frame,
)
from velo_assets.ingestion.rejects import FIELD, ROW, UNREADABLE
from velo_assets.ingestion.sql_text import file_literal, literal, quoted
from velo_assets.warehouse.query import row_of

MAX_LINE_BYTES = 1 << 20
"""The longest real row is under 4 kB; a line of a megabyte is damage."""

_MAX_JOINED_LINES = 5
"""A quoted field may hold a line break; one that stays open over more lines than this is an unbalanced quote."""

_CHUNK_BYTES = 1 << 23
_NUL = b"\0"
_SQLITE_MAGIC = b"SQLite format 3\0"
_SQLITE_BATCH_ROWS = 50_000
_SQLITE_IN_USE = ("SQLITE_BUSY", "SQLITE_BUSY_RECOVERY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_LOCKED")

YEAR_SCHEMA: dict[str, pl.DataType] = {
    "year": pl.Int32(),
    "rows": pl.Int64(),
    "races": pl.Int64(),
    "first_date": pl.Date(),
    "last_date": pl.Date(),
    "content_hash": pl.String(),
}


@dataclass(frozen=True)
class StagedRaceform:
    """A raceform file, read into scratch Parquet parts.

    Attributes:
        layout: layout name.
        parts: year -> Parquet files of that year.
        years: a row per year, columns of `YEAR_SCHEMA`.
        rejects: rejected rows and fields: `REJECT_SCHEMA` plus `severity`.
    """

    layout: str
    parts: dict[int, list[Path]]
    years: pl.DataFrame
    rejects: pl.DataFrame


@dataclass(frozen=True)
class _Source:
    """A relation of the landed raw columns.

    Attributes:
        layout: layout name.
        sql: select of `LANDED_COLUMNS`, plus `line_number` where the source knows it.
        header_lines: lines above the first row of a text file read the fast way; 0 for every other source.
        knows_lines: whether `sql` has a `line_number`.
        rejects: rows already rejected while reading.
        notes: fields already noted while reading.
    """

    layout: str
    sql: str
    header_lines: int = 0
    knows_lines: bool = False
    rejects: tuple[Reject, ...] = ()
    notes: tuple[Reject, ...] = ()


def stage_raceform(
    path: Path,
    scratch: Path,
    staging: duckdb.DuckDBPyConnection,
    *,
    source_file: str,
    sequence: int,
    first_date: date,
    last_date: date,
) -> StagedRaceform:
    """Read one raceform file into Parquet parts under `scratch`.

    Args:
        path: .csv, .csv.gz, .parquet or SQLite file.
        scratch: an empty folder of ours; the parts are left in it.
        staging: an in-memory DuckDB connection with the raceform macros.
        source_file: name to keep with every row.
        sequence: landing order to keep with every row; the largest wins per race.
        first_date: earliest race date that is kept.
        last_date: latest race date that can hold a result.

    Raises:
        LayoutError: the file as a whole can't be used; nothing of it lands.
        FileInUseError: another program is writing it.
        duckdb.OperationalError, OSError: disk or memory ran out, which says nothing about the file.
    """
    plain = _plain_file(path, scratch)
    parts_dir = scratch / "parts"
    source = _open_source(plain, path, staging, scratch)
    window = (first_date, last_date)
    damaged = source.header_lines > 0 and _has_nul(plain)
    if damaged or not _write_parts(staging, source, parts_dir, source_file, sequence, window):
        source = _careful_source(plain, path, scratch)
        _write_parts(staging, source, parts_dir, source_file, sequence, window)
    rejects = [
        _with_severity(rejects_frame(source.rejects), ROW),
        _with_severity(rejects_frame(source.notes), FIELD),
        _rejected_rows(staging, source, parts_dir),
        _drop_duplicates(staging, source, parts_dir),
        _unreadable_fields(staging, source, parts_dir),
    ]
    return _staged(staging, source, parts_dir, rejects)


def stage_again(
    parts: Sequence[Path], scratch: Path, staging: duckdb.DuckDBPyConnection, *, source_file: str, sequence: int
) -> StagedRaceform:
    """Give landed rows their keys anew: the raw text that these are made of is in the parts.

    Args:
        parts: landed Parquet parts of one version of a file.
        scratch: an empty folder of ours; the new parts are left in it.
        staging: as for `stage_raceform`.
        source_file: as the rows have it.
        sequence: as the rows have it.

    Returns:
        The new parts; rejects are rows that the new keys take for one runner, without their lines in the file.
    """
    parts_dir = scratch / "parts"
    source = _Source("", f"select {', '.join(map(quoted, LANDED_COLUMNS))} from {_read(*parts)}")
    _write_parts(staging, source, parts_dir, source_file, sequence, (date.min, date.max))
    rejects = [_rejected_rows(staging, source, parts_dir), _drop_duplicates(staging, source, parts_dir)]
    without_lines = (pl.lit(None, pl.Int64()).alias("line_number"), pl.lit(None, pl.String()).alias("detail"))
    return _staged(staging, source, parts_dir, [frame.with_columns(without_lines) for frame in rejects])


def _staged(
    staging: duckdb.DuckDBPyConnection, source: _Source, parts_dir: Path, rejects: Iterable[pl.DataFrame]
) -> StagedRaceform:
    parts: dict[int, list[Path]] = {}
    for part in _parts(parts_dir):
        parts.setdefault(int(part.parent.name.split("=")[1]), []).append(part)
    return StagedRaceform(source.layout, parts, _years(staging, parts), pl.concat(rejects))


def _plain_file(path: Path, scratch: Path) -> Path:
    with path.open("rb") as handle:
        start = handle.read(16)
    if not start:
        raise LayoutError(path, "the file is empty.")
    if start[:2] != b"\x1f\x8b":
        return path
    plain = scratch / "plain"
    try:
        with gzip.open(path, "rb") as packed, plain.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, _CHUNK_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise LayoutError(
            path, f"the gzip file is damaged or cut short ({error}); copy it again, nothing of it has landed."
        ) from error
    if plain.stat().st_size == 0:
        raise LayoutError(path, "the file is empty.")
    return plain


def _open_source(plain: Path, path: Path, staging: duckdb.DuckDBPyConnection, scratch: Path) -> _Source:
    with plain.open("rb") as handle:
        start = handle.read(16)
    if start == _SQLITE_MAGIC:
        return _sqlite_source(plain, path, scratch)
    if start[:4] == b"PAR1":
        return _parquet_source(plain, path, staging)
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & {".db", ".sqlite", ".sqlite3"}:
        raise LayoutError(path, "not an SQLite database, whatever its name says.")
    if ".parquet" in suffixes:
        raise LayoutError(path, "not a Parquet file, whatever its name says.")
    header, header_lines = _read_header(plain, path)
    layout = detect_layout(path, header)
    columns = "{" + ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header) + "}"
    relation = (
        f"read_csv({file_literal(plain)}, auto_detect=false, header=true, skip={header_lines - 1}, delim=',', "
        f"quote='\"', escape='\"', columns={columns}, max_line_size={MAX_LINE_BYTES})"
    )
    return _Source(layout.name, _canonical_select(layout, header, relation), header_lines)


def _has_nul(plain: Path) -> bool:
    """DuckDB takes NUL bytes for text; a file of text has none."""
    with plain.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_NUL) >= 0


def _read_header(plain: Path, path: Path) -> tuple[list[str], int]:
    """The header's columns, and how many lines down it stands (blank lines above it are passed over)."""
    with plain.open("rb") as handle:
        for number in range(1, 11):
            line = handle.readline(MAX_LINE_BYTES)
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise LayoutError(path, "the file is UTF-16; save it as UTF-8.")
            text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
            if not line or _NUL in line or text.count("\ufffd") > len(text) // 10:
                break
            if "\r" in text.rstrip("\r\n"):
                raise LayoutError(path, "lines end in a carriage return alone; save it with line feeds.")
            if text.strip():
                try:
                    return [name.strip() for name in next(csv.reader([text]))], number
                except csv.Error:
                    break  # A value of a hundred thousand characters is no column name.
    raise LayoutError(path, "no header: the file does not start with a line of text.")


def _canonical_select(layout: Layout, columns: Iterable[str], relation: str, line_number: str = "") -> str:
    found = {layout.canonical(column): column for column in columns}
    selected = [
        f"{quoted(found[name])}::varchar as {quoted(name)}" if name in found else f"null::varchar as {quoted(name)}"
        for name in LANDED_COLUMNS
    ]
    return f"select {', '.join(selected + ([line_number] if line_number else []))} from {relation}"


def _careful_source(plain: Path, path: Path, scratch: Path) -> _Source:
    """Read a damaged CSV line by line into a clean one that carries line numbers; good rows survive.

    A row is taken when it has as many values as the header above it. A header of another layout inside the file starts
    a section of that layout.
    """
    header, header_lines = _read_header(plain, path)
    layout = detect_layout(path, header)
    order = [layout.canonical(name) for name in header]
    layouts = [layout.name]
    rejects: list[Reject] = []
    notes: list[Reject] = []
    clean = scratch / "clean.csv"
    with plain.open("rb") as handle, clean.open("w", encoding="utf-8", newline="") as output:
        writer = csv.writer(output, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for line in _records(handle, header_lines, rejects, notes):
            number, text, values = line
            if is_header(values):
                section = detect_layout(path, values)
                order = [section.canonical(name) for name in values]
                header = values
                layouts += [section.name] if section.name not in layouts else []
                rejects.append({"line_number": number, "raw_text": text, "reason": "repeated_header", "detail": None})
            elif len(values) != len(header):
                reason = "too_few_columns" if len(values) < len(header) else "too_many_columns"
                detail = f"{len(values)} values under {len(header)} columns"
                rejects.append({"line_number": number, "raw_text": text, "reason": reason, "detail": detail})
            else:
                row = dict(zip(order, values, strict=True))
                writer.writerow([number, *(row.get(name, "") for name in LANDED_COLUMNS)])
    columns = "{'line_number': 'BIGINT', " + ", ".join(f"{literal(name)}: 'VARCHAR'" for name in LANDED_COLUMNS) + "}"
    sql = (
        f"select * from read_csv({file_literal(clean)}, auto_detect=false, header=false, delim=',', quote='\"', "
        f"escape='\"', columns={columns}, max_line_size={2 * MAX_LINE_BYTES})"
    )
    return _Source("+".join(layouts), sql, knows_lines=True, rejects=tuple(rejects), notes=tuple(notes))


def _records(
    handle: BinaryIO, header_lines: int, rejects: list[Reject], notes: list[Reject]
) -> Iterator[tuple[int, str, list[str]]]:
    """Records below the header as (line number, text, values); lines that can't be read go to `rejects`."""
    lines = _lines(handle, rejects, notes)
    waiting: list[tuple[int, str]] = []
    while True:
        item = waiting.pop(0) if waiting else next(lines, None)
        if item is None:
            return
        number, text = item
        if number <= header_lines or not text.strip():
            continue
        values = _values(text)
        if values is None and text.count('"') % 2:
            joined = text
            taken: list[tuple[int, str]] = []
            while values is None and len(taken) < _MAX_JOINED_LINES:
                following = waiting.pop(0) if waiting else next(lines, None)
                if following is None:
                    break
                taken.append(following)
                joined = f"{joined}\n{following[1]}"
                # A line that starts with a date is a row of its own, not the rest of this one.
                if _starts_with_date(following[1]):
                    break
                values = _values(joined)
            if values is None:
                waiting = taken + waiting
                rejects.append({"line_number": number, "raw_text": text, "reason": "unbalanced_quotes", "detail": None})
                continue
        if values is None:
            rejects.append({"line_number": number, "raw_text": text, "reason": "unreadable_line", "detail": None})
            continue
        yield number, text, values


def _starts_with_date(text: str) -> bool:
    return len(text) > 11 and text[:4].isdigit() and text[4] == "-" and text[7] == "-" and text[10] == ","


def _lines(handle: BinaryIO, rejects: list[Reject], notes: list[Reject]) -> Iterator[tuple[int, str]]:
    number = 0
    while line := handle.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            start = line[:200].decode("utf-8", errors="replace")
            while line and not line.endswith(b"\n"):
                line = handle.readline(_CHUNK_BYTES)
            detail = f"over {MAX_LINE_BYTES} bytes"
            rejects.append({"line_number": number, "raw_text": start, "reason": "line_too_long", "detail": detail})
            continue
        if _NUL in line:
            shown = line.replace(_NUL, b"").decode("utf-8", errors="replace").rstrip("\r\n")
            detail = f"{line.count(_NUL)} NUL bytes"
            rejects.append({"line_number": number, "raw_text": shown, "reason": "nul_bytes", "detail": detail})
            continue
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            text = line.decode("cp1252", errors="replace")
            notes.append(
                {
                    "line_number": number,
                    "raw_text": text.rstrip("\r\n"),
                    "reason": "wrong_encoding",
                    "detail": str(error),
                }
            )
        yield number, text.removeprefix("\ufeff").rstrip("\r\n")


def _values(text: str) -> list[str] | None:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _parquet_source(plain: Path, path: Path, staging: duckdb.DuckDBPyConnection) -> _Source:
    relation = f"read_parquet({file_literal(plain)})"
    try:
        names = [row[0] for row in staging.execute(f"describe select * from {relation}").fetchall()]
    except duckdb.OperationalError:
        raise
    except duckdb.Error as error:
        raise LayoutError(path, f"the Parquet file is damaged or cut short ({str(error).splitlines()[0]}).") from error
    layout = detect_layout(path, names)
    return _Source(f"{layout.name}/parquet", _canonical_select(layout, names, relation))


def _sqlite_source(plain: Path, path: Path, scratch: Path) -> _Source:
    """SQLite table `data`: loosely typed, its CSV header stored as a row; copied to Parquet in batches."""
    folder = scratch / "sqlite"
    folder.mkdir(exist_ok=True)
    database = sqlite3.connect(f"{plain.resolve().as_uri()}?mode=ro", uri=True)
    try:
        tables = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
        if "data" not in tables:
            raise LayoutError(path, f"no table `data`; the database holds: {', '.join(tables) or 'no table at all'}.")
        names = [row[1] for row in database.execute("pragma table_info('data')")]
        first = database.execute("select * from data limit 1").fetchone()
        if first is not None and not is_header(names) and is_header([str(value) for value in first]):
            header = [str(value) for value in first]
        else:
            header = names
        layout = detect_layout(path, header)
        texts = ", ".join(f"cast({quoted(name)} as text)" for name in names)
        cursor = database.execute(f"select rowid, {texts} from data order by rowid")
        batch = 0
        while rows := cursor.fetchmany(_SQLITE_BATCH_ROWS):
            # The header stored as a row is how these databases are made, no fault of a row.
            rows = [row for row in rows if not (batch == 0 and list(row[1:]) == header)]
            schema = {"line_number": pl.Int64(), **dict.fromkeys(header, pl.String())}
            pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / f"{batch:05d}.parquet")
            batch += 1
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname in _SQLITE_IN_USE:
            raise FileInUseError(
                path, "another program is writing this SQLite database; it lands when that is done."
            ) from error
        raise LayoutError(path, f"the SQLite database is damaged or cut short ({error}).") from error
    finally:
        database.close()
    if not batch:
        raise LayoutError(path, "the table `data` is empty.")
    relation = _read(*sorted(folder.glob("*.parquet")))
    return _Source(
        f"{layout.name}/sqlite", _canonical_select(layout, header, relation, "line_number"), knows_lines=True
    )


_ROW_HASH = f"hash({', '.join(quoted(name) for name in LANDED_COLUMNS)})"


def _write_parts(
    staging: duckdb.DuckDBPyConnection,
    source: _Source,
    parts_dir: Path,
    source_file: str,
    sequence: int,
    window: tuple[date, date],
) -> bool:
    """Write the parts, rejected rows under year 0. False when a text file needs the careful way.

    Raises:
        duckdb.Error: the source can't be read, and is no text that could be read line by line.
        duckdb.OperationalError: disk or memory ran out, whatever the source.
    """
    is_text = source.header_lines > 0
    shutil.rmtree(parts_dir, ignore_errors=True)
    first_date, last_date = (literal(day.isoformat()) for day in window)
    raw = ", ".join(quoted(name) for name in LANDED_COLUMNS)
    statement = f"""
        copy (
            with source as ({source.sql}),
            named as (
                select *, try_cast(left(trim("date"), 10) as date) as race_date, course_suffix(course) as suffix,
                       text_key(course_bare(course)) as course_key_text,
                       name_without_gb(trim(horse)) as bare_horse, name_without_gb(trim(dam)) as bare_dam
                from source
            ),
            located as (
                select *, country_from(suffix, region, course_key_text) as country,
                       text_key(bare_horse) as horse_key_text, text_key(bare_dam) as dam_key_text
                from named
            ),
            timed as (select *, off_key_text("off", race_date, country) as off_key_text from located),
            judged as (
                select *,
                       case when lower("date") = 'date' and lower(course) = 'course' then 'repeated_header'
                            when race_date is null then 'broken_date'
                            when race_date < date {first_date} then 'before_first_year'
                            when race_date > date {last_date} then 'future_date'
                            when course_key_text = '' or course is null then 'missing_course'
                            when horse_key_text = '' or horse is null then 'missing_horse' end as reason,
                       race_key_from(race_date, course_key_text, country, off_key_text, race_id, race_name) as race_key,
                       horse_key_from(
                           horse_key_text, dam_key_text,
                           case when coalesce(dam_key_text, '') = '' then year(race_date) - whole_number(age) end
                       ) as horse_key
                from timed
            )
            select {raw}, race_date, race_key, horse_key, runner_key_of(race_key, horse_key) as runner_key,
                   {literal(source_file)} as source_file, {sequence}::bigint as sequence, {_ROW_HASH} as row_hash,
                   reason, case when reason is null then year(race_date) else 0 end as race_year
            from judged
        ) to {literal(parts_dir)} (format parquet, partition_by (race_year), overwrite true)
    """
    try:
        staging.execute(statement)
    except duckdb.OperationalError:
        raise
    except duckdb.Error:
        if not is_text:
            raise
        return False
    if not is_text or not (parts_dir / "race_year=0").exists():
        return True
    headers = staging.execute(
        f"""select list_value({raw}) from {_read(parts_dir / "race_year=0")} where reason = 'repeated_header'"""
    ).fetchall()
    # A header that names the columns in another order starts rows that have to be read in that order.
    return all(
        value in (None, "", name) for (values,) in headers for name, value in zip(LANDED_COLUMNS, values, strict=True)
    )


def _parts(parts_dir: Path) -> list[Path]:
    return sorted(parts_dir.glob("race_year=*/*.parquet"))


def _read(*paths: Path, row_numbers: bool = False) -> str:
    files = [file for path in paths for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
    extra = ", filename=true, file_row_number=true" if row_numbers else ""
    return f"read_parquet([{', '.join(map(file_literal, files))}], hive_partitioning=false{extra})"


def _line_table(staging: duckdb.DuckDBPyConnection, source: _Source, hashes_sql: str) -> None:
    """Make temp table `row_lines` (row_hash, line_number, occurrence) of the rows whose hash `hashes_sql` selects.

    The parts carry no line numbers, because numbering rows makes the CSV reader run on one thread. Rejects are few, so
    the source is read again for them alone.
    """
    number = "line_number" if source.knows_lines else f"row_number() over () + {source.header_lines}"
    staging.execute(f"create or replace temp table wanted as {hashes_sql}")
    staging.execute(
        f"""
        create or replace temp table row_lines as
        with numbered as (select {number} as line_number, {_ROW_HASH} as row_hash from ({source.sql}))
        select row_hash, line_number,
               row_number() over (partition by row_hash order by line_number) as occurrence
        from numbered where row_hash in (select row_hash from wanted)
        """
    )


def _with_severity(frame: pl.DataFrame, severity: str) -> pl.DataFrame:
    return frame.with_columns(pl.lit(severity).alias("severity"))


_RAW_VALUES = ", ".join(f"coalesce({quoted(name)}, '')" for name in RACEFORM_COLUMNS)
_RAW_TEXT = f"left(concat_ws(',', {_RAW_VALUES}), {RAW_TEXT_LIMIT})"


def _rejected_rows(staging: duckdb.DuckDBPyConnection, source: _Source, parts_dir: Path) -> pl.DataFrame:
    rejected = parts_dir / "race_year=0"
    if not rejected.exists():
        return _with_severity(rejects_frame([]), ROW)
    parts = _read(rejected)
    _line_table(staging, source, f"select distinct row_hash from {parts}")
    frame = staging.sql(
        f"""
        with bad as (
            select *, row_number() over (partition by row_hash) as occurrence from {parts}
        )
        select line_number, {_RAW_TEXT} as raw_text, reason,
               case when reason in ('broken_date', 'before_first_year', 'future_date') then "date" end as detail
        from bad left join row_lines using (row_hash, occurrence) order by line_number
        """
    ).pl()
    shutil.rmtree(rejected)
    return _with_severity(_typed(frame, REJECT_SCHEMA), ROW)


def _drop_duplicates(staging: duckdb.DuckDBPyConnection, source: _Source, parts_dir: Path) -> pl.DataFrame:
    """Keep the first of the rows that name the same runner; rewrite the parts that held others."""
    empty = _with_severity(rejects_frame([]), ROW)
    if not _parts(parts_dir):
        return empty
    parts = _read(*_parts(parts_dir), row_numbers=True)
    staging.execute(
        f"""
        create or replace temp table repeated as
        with runners as (
            select runner_key from {_read(*_parts(parts_dir))} group by runner_key having count(*) > 1
        )
        select filename, file_row_number, runner_key, row_hash, {_RAW_TEXT} as raw_text,
               row_number() over (partition by row_hash order by filename, file_row_number) as occurrence
        from {parts} where runner_key in (select runner_key from runners)
        """
    )
    if not _count(staging, "select count(*) from repeated"):
        return empty
    _line_table(staging, source, "select distinct row_hash from repeated")
    staging.execute(
        """
        create or replace temp table dropped as
        with placed as (
            select repeated.*, line_number,
                   first(row_hash) over (partition by runner_key order by line_number) as kept_hash,
                   row_number() over (partition by runner_key order by line_number) as place,
                   first(line_number) over (partition by runner_key order by line_number) as kept_line
            from repeated join row_lines using (row_hash, occurrence)
        )
        select *, case when row_hash = kept_hash then 'duplicate_row' else 'duplicate_runner' end as reason
        from placed where place > 1
        """
    )
    for (name,) in staging.execute("select distinct filename from dropped").fetchall():
        part = Path(name)
        rewritten = part.with_suffix(".rewritten")
        staging.execute(
            f"""copy (
                select * exclude (file_row_number) from read_parquet({file_literal(part)}, file_row_number=true,
                                                                     hive_partitioning=false)
                where file_row_number not in (select file_row_number from dropped where filename = {literal(name)})
            ) to {literal(rewritten)} (format parquet)"""
        )
        rewritten.replace(part)
    frame = staging.sql(
        """select line_number, case when reason = 'duplicate_runner' then raw_text end as raw_text, reason,
                  'line ' || kept_line || ' is kept' as detail
           from dropped order by line_number"""
    ).pl()
    return _with_severity(_typed(frame, REJECT_SCHEMA), ROW)


def _unreadable_fields(staging: duckdb.DuckDBPyConnection, source: _Source, parts_dir: Path) -> pl.DataFrame:
    """Values that no macro can read. Each column's distinct values are few, so judging them is cheap."""
    empty = _with_severity(rejects_frame([]), FIELD)
    if not _parts(parts_dir):
        return empty
    parts = _read(*_parts(parts_dir))
    judged = " union all ".join(
        f"select {literal(column)} as field, value from (select distinct {quoted(column)} as value from {parts}) "
        f"where {condition}"
        for column, condition in UNREADABLE.items()
    )
    staging.execute(f"create or replace temp table bad_values as {judged}")
    columns = [row[0] for row in staging.execute("select distinct field from bad_values order by 1").fetchall()]
    if not columns:
        return empty
    staging.execute(
        "create or replace temp table bad_fields (field varchar, value varchar, row_hash ubigint, raw varchar)"
    )
    for column in columns:
        staging.execute(
            f"""insert into bad_fields
                select {literal(column)}, {quoted(column)}, row_hash, {_RAW_TEXT} from {parts}
                where {quoted(column)} in (select value from bad_values where field = {literal(column)})"""
        )
    _line_table(staging, source, "select distinct row_hash from bad_fields")
    frame = staging.sql(
        """select line_number, raw as raw_text, 'unreadable_' || field as reason, value as detail
           from bad_fields left join (select * from row_lines where occurrence = 1) using (row_hash)
           order by line_number, reason"""
    ).pl()
    return _with_severity(_typed(frame, REJECT_SCHEMA), FIELD)


def _years(staging: duckdb.DuckDBPyConnection, parts: dict[int, list[Path]]) -> pl.DataFrame:
    """Rows, races and content of each year, their keys included.

    The hash ignores row order, so a re-sorted file is the same content.
    """
    if not parts:
        return pl.DataFrame(schema=YEAR_SCHEMA)
    files = [file for year_files in parts.values() for file in year_files]
    frame = staging.sql(
        f"""select year(race_date)::integer as year, count(*) as rows, count(distinct race_key) as races,
                   min(race_date) as first_date, max(race_date) as last_date,
                   md5(bit_xor(keyed_hash) || ':' || sum(keyed_hash::hugeint) || ':' || count(*)) as content_hash
            from (select *, hash(row_hash, race_key, horse_key) as keyed_hash from {_read(*files)})
            group by all order by year"""
    ).pl()
    return _typed(frame, YEAR_SCHEMA)


def _typed(frame: pl.DataFrame, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    (count,) = row_of(connection, query)
    return int(count)
