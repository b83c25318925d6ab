"""SQL text for the few places where DuckDB takes no bound parameter: paths of COPY, views over files, column names."""

from __future__ import annotations

import re
from pathlib import Path


def literal(value: str | Path) -> str:
    """A SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"


def file_literal(path: Path) -> str:
    """A SQL string literal of one file to read: DuckDB takes brackets, stars and question marks for a pattern."""
    return literal(re.sub(r"([\[*?])", r"[\1]", str(path)))


def quoted(name: str) -> str:
    """A SQL identifier in quotes (`or` is a column of the export)."""
    return '"' + name.replace('"', '""') + '"'
