"""What a reader of an input file hands back: typed rows, and the rows it could not use.

Here: the one contract between the readers (`read_<kind>(path) -> ParsedFile`) and the landing machinery.
Not here: any reading, and any writing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import polars as pl

REJECT_SCHEMA: dict[str, pl.DataType] = {
    "line_number": pl.Int64(),
    "raw_text": pl.String(),
    "reason": pl.String(),
    "detail": pl.String(),
}
"""Columns of a rejects frame. `line_number` counts from 1 and is null where a format has no lines."""

RAW_TEXT_LIMIT = 4000
"""Characters kept of a rejected row's raw text: enough to find it, too few for one 5 MB line to fill the warehouse."""


class Reject(TypedDict):
    """One row that a reader could not use."""

    line_number: int | None
    raw_text: str | None
    reason: str
    detail: str | None


class LayoutError(ValueError):
    """A file whose header or structure is none of the known layouts; it is refused as a whole."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path.name}: {message}")
        self.path = path
        self.message = message


class FileInUseError(LayoutError):
    """A file that another program is writing; it may be read a moment later without having changed."""


@dataclass(frozen=True)
class ParsedFile:
    """One input file, read.

    Attributes:
        rows: the usable rows, typed, columns as the landing view of the kind names them.
        rejects: rows that can't be used, with the columns of `REJECT_SCHEMA`.
        layout: which generation of the format the file was recognised as.
    """

    rows: pl.DataFrame
    rejects: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REJECT_SCHEMA))
    layout: str = ""


def rejects_frame(rejects: Iterable[Reject]) -> pl.DataFrame:
    """Build a rejects frame, raw text cut to `RAW_TEXT_LIMIT` characters."""
    rows = [
        {name: storable(value) if isinstance(value, str) else value for name, value in reject.items()}
        for reject in rejects
    ]
    frame = pl.DataFrame(rows, schema=REJECT_SCHEMA)
    return frame.with_columns(pl.col("raw_text").str.head(RAW_TEXT_LIMIT))


def storable(text: str) -> str:
    """Text as a UTF-8 column can hold it: JSON can name half a surrogate pair, a file name any byte."""
    return text.encode("utf-8", "replace").decode()
