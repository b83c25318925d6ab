"""Small comma-separated files as raw text, row by row: what can be read, with line numbers, and what can't.

Belongs here: opening (plain or gzip), header, counting values, damaged lines. Does not belong here: what a column means
(the reader of each kind), and the raceform files, which are too large for this (raceform.py).
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import polars as pl

from velo_assets.ingestion.parsed import LayoutError, Reject

MAX_LINE_BYTES = 1 << 20
"""No row of these kinds comes near a megabyte; a longer line is damage, passed over without keeping it in memory."""

_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class RawTable:
    """A file's rows as text.

    Attributes:
        rows: `line_number` and a text column per header name; values are trimmed, blank is null.
        rejects: lines that are not rows.
        columns: header names, as the file has them.
    """

    rows: pl.DataFrame
    rejects: list[Reject]
    columns: tuple[str, ...]


def read_delimited(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> RawTable:
    """Read a .csv or .csv.gz file with a header line.

    Args:
        path: the file; gzip is recognised by its first bytes, not by its name.
        required: columns the header must have, in any order.
        optional: columns it may have; absent ones become null columns. Further columns are kept too.

    Raises:
        LayoutError: empty, binary or cut-short file, another delimiter, a header without the required columns.
    """
    try:
        with _open(path) as handle:
            return _read(path, handle, required, optional)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise LayoutError(
            path, f"the gzip file is damaged or cut short ({error}); copy it again, nothing of it has landed."
        ) from error


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")


def _read(path: Path, handle: IO[bytes], required: Sequence[str], optional: Sequence[str]) -> RawTable:
    rejects: list[Reject] = []
    lines = _lines(handle, rejects)
    header = _header(path, lines, rejects, required)
    missing = [name for name in optional if name not in header]
    values: list[list[str]] = []
    numbers: list[int] = []
    for number, text in lines:
        row = _values(text)
        reason = _reason(row, header)
        if reason is None:
            values.append(cast("list[str]", row))
            numbers.append(number)
        else:
            detail = f"{len(row)} values under {len(header)} columns" if row and reason.endswith("columns") else None
            rejects.append({"line_number": number, "raw_text": text, "reason": reason, "detail": detail})
    frame = pl.DataFrame(values, schema=dict.fromkeys(header, pl.String), orient="row")
    frame = frame.with_columns(pl.all().str.strip_chars().replace("", None))
    frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)
    return RawTable(frame.insert_column(0, pl.Series("line_number", numbers, pl.Int64)), rejects, tuple(header))


def _lines(handle: IO[bytes], rejects: list[Reject]) -> Iterator[tuple[int, str]]:
    """Non-blank lines as (number from 1, text); over-long and NUL lines go to `rejects`."""
    number = 0
    while line := handle.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := handle.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            _reject(rejects, number, line[:200], "line_too_long", f"over {MAX_LINE_BYTES:,} bytes")
            continue
        if b"\0" in line:
            _reject(rejects, number, line.replace(b"\0", b" "), "nul_bytes", None)
            continue
        stripped = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        try:
            text = stripped.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            text = stripped.decode("cp1252", errors="replace").rstrip("\r\n")
            _reject(rejects, number, stripped, "wrong_encoding", "the row is kept")
        if text.strip():
            yield number, text


def _reject(rejects: list[Reject], number: int, line: bytes, reason: str, detail: str | None) -> None:
    raw = line.decode("utf-8", errors="replace").rstrip("\r\n")
    rejects.append({"line_number": number, "raw_text": raw, "reason": reason, "detail": detail})


def _header(path: Path, lines: Iterator[tuple[int, str]], rejects: list[Reject], required: Sequence[str]) -> list[str]:
    first = next(lines, None)
    if first is None:
        why = f" ({rejects[0]['reason']} in line {rejects[0]['line_number']})" if rejects else ""
        raise LayoutError(path, f"the file holds no line of text{why}.")
    names = [name.strip() for name in _values(first[1]) or []]
    absent = [name for name in required if name not in names]
    if absent:
        for delimiter, word in _OTHER_DELIMITERS.items():
            if len(names) == 1 and delimiter in names[0]:
                raise LayoutError(path, f"values are separated by {word}; save it with commas.")
        raise LayoutError(
            path,
            f"no header with the columns {', '.join(required)}: missing {', '.join(absent)};"
            f" the first line has {', '.join(names)[:300] or 'nothing'}.",
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise LayoutError(path, f"the header names {', '.join(repeated)} more than once.")
    return names


def _values(text: str) -> list[str] | None:
    """Values of one line, None where a quote is never closed."""
    try:
        return next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration):
        return None


def _reason(row: list[str] | None, header: list[str]) -> str | None:
    if row is None:
        return "unbalanced_quotes"
    if len(row) < len(header):
        return "too_few_columns"
    if len(row) > len(header):
        return "too_many_columns"
    return "repeated_header" if [value.strip() for value in row] == header else None
