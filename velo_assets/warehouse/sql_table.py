"""One SQL file, one table: reads `velo_assets/sql/<schema>/<table>.sql` and what its comments and query say of it.

Belongs here: header, columns with descriptions and units, dependencies. Does not belong here: running the SQL
(build.py), column lineage (lineage.py), leakage rules (lint.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from velo_assets.code_versions import code_version
from velo_assets.settings import LAYERS

SQL_ROOT = Path(__file__).resolve().parent.parent / "sql"

_HEADER_LINE = re.compile(r"^--\s*(?P<key>[a-z][a-z -]*?):\s*(?P<value>.*)$")
_COLUMN_LINE = re.compile(
    r"(?P<name>[a-z_][a-z0-9_]*)\s*,?\s*--\s*(?P<description>.*?)(?:\s*\[(?P<unit>[^\[\]]*)\])?\s*$"
)
_NAME = re.compile(r"[a-z_]+/[a-z_0-9]+")
_COMMENT = re.compile(r"--[^\n]*")
_READS = re.compile(rf"\b(?:from|join)\s+({'|'.join(LAYERS)})\.([a-z_0-9]+)\b")


BUILT_BY = ("warehouse/build", "warehouse/changes")
"""The code that turns a select into a stored table: types, and which days are built anew."""


class SqlTableError(ValueError):
    """A SQL file breaks the conventions of the house; the message names file and line."""


@dataclass(frozen=True)
class Column:
    """An output column: its name, what it is, and its unit (empty when it has none)."""

    name: str
    description: str
    unit: str


Declared = Mapping[str, tuple[str, str, str]]
"""Column to DuckDB type, description and unit, of a table that no select defines."""


def described_columns(declared: Declared) -> tuple[Column, ...]:
    """The columns of a declaration, as a select would describe them."""
    return tuple(Column(name, description, unit) for name, (_, description, unit) in declared.items())


@dataclass(frozen=True)
class SqlTable:
    """A table and the file that defines it.

    Attributes:
        name: `schema/table`, the asset key and the path of the file below velo_assets/sql.
        path: the file.
        text: its SQL.
        header: grain, point in time, look-back, description; `written: in spans of years` or `as they come` where a
            table is; `beside the matrix` where columns are.
        columns: output columns in order.
    """

    name: str
    path: Path
    text: str
    header: dict[str, str]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> str:
        """DuckDB schema, the layer."""
        return self.name.split("/")[0]

    @property
    def table(self) -> str:
        """Table name within the schema."""
        return self.name.split("/")[1]

    @property
    def is_by_runner(self) -> bool:
        """Whether its rows belong to runners."""
        return any(column.name == "runner_key" for column in self.columns)

    @property
    def is_by_race(self) -> bool:
        """Whether its rows belong to races or their runners; the others are dated by the year they hold for."""
        return any(column.name == "race_key" for column in self.columns)

    @property
    def beside_the_matrix(self) -> tuple[str, ...]:
        """Columns of a family that are no features: other tables read them."""
        return tuple(re.findall(r"[a-z_0-9]+", self.header.get("beside the matrix", "")))

    @property
    def relation(self) -> str:
        """`schema.table`, as SQL names it."""
        return f"{self.schema}.{self.table}"

    @property
    def select(self) -> str:
        """The SQL without its closing semicolon, to stand inside another statement."""
        return self.text.rstrip().rstrip(";")

    @property
    def is_written_in_spans(self) -> bool:
        """Whether a long window is written a few years at a time: for tables that look back no further than it."""
        return self.header.get("written", "").startswith("in spans of years")

    @property
    def is_written_as_it_comes(self) -> bool:
        """Whether its rows come by date without being sorted: those of a probe of dated entries do."""
        return "as they come" in self.header.get("written", "")

    @property
    def code_version(self) -> str:
        """Hash of the SQL without comments and white space, so that a reworded comment rebuilds nothing, and of
        `BUILT_BY`: a day must not be refreshed by other code than the rest of its year."""
        bare = " ".join(_COMMENT.sub(" ", self.text).split())
        return hashlib.sha256(f"{bare} {code_version(*BUILT_BY)}".encode()).hexdigest()[:16]

    @property
    def dependencies(self) -> tuple[str, ...]:
        """Tables that the SQL reads, as sorted `schema/table` names."""
        return _dependencies(self.text)


@cache
def load_table(name: str) -> SqlTable:
    """Read the table called `name` ('features/form_curves').

    Raises:
        SqlTableError: no such file, a header key missing, or no described column. A column without a description
            beside described ones is found when the table is built (`build_table`), where the SQL is understood.
    """
    path = SQL_ROOT / f"{name}.sql"
    # Names come from the command line too: nothing outside the folder is looked at.
    if not _NAME.fullmatch(name) or not path.is_file():
        raise SqlTableError(f"There is no SQL file for {name!r}: a table is named like features/form_curves.")
    text = path.read_text(encoding="utf-8")
    return SqlTable(name=name, path=path, text=text, header=_read_header(path, text), columns=_read_columns(path, text))


@cache
def all_tables() -> tuple[SqlTable, ...]:
    """Every SQL table of the house, sorted by name."""
    names = sorted(str(path.relative_to(SQL_ROOT).with_suffix("")) for path in SQL_ROOT.glob("*/*.sql"))
    return tuple(load_table(name) for name in names)


def build_order(schema: str, names: Iterable[str] | None = None) -> tuple[str, ...]:
    """SQL tables of a layer, each after those of the layer that it reads.

    Args:
        schema: the layer, `core` or `features`.
        names: tables wanted, with all that they read; None for all.
    """
    tables = {table.name: table for table in all_tables() if table.schema == schema}
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order or name not in tables:
            return
        for dependency in tables[name].dependencies:
            if dependency != name:
                visit(dependency)
        order.append(name)

    for name in tables if names is None else names:
        visit(name)
    return tuple(order)


def _read_header(path: Path, text: str) -> dict[str, str]:
    header: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        match = _HEADER_LINE.match(line)
        if match:
            key = match["key"].strip()
            header[key] = match["value"].strip()
        elif key:
            header[key] = f"{header[key]} {line.removeprefix('--').strip()}"
    missing = [wanted for wanted in ("grain", "point in time", "look-back", "description") if wanted not in header]
    if missing:
        raise SqlTableError(
            f"{path}: the header lacks {', '.join(missing)} (lines such as `-- grain: one row per runner`)."
        )
    return header


def _read_columns(path: Path, text: str) -> tuple[Column, ...]:
    lines = text.splitlines()
    start = max((number for number, line in enumerate(lines) if re.match(r"select\b", line)), default=None)
    if start is None:
        raise SqlTableError(f"{path}: no final select at the start of a line.")
    columns: list[Column] = []
    for number, line in enumerate(lines[start + 1 :], start=start + 2):
        if re.match(r"from\b", line):
            break
        if "--" not in line:
            continue
        if line.strip().startswith("--"):
            raise SqlTableError(
                f"{path}:{number}: a comment line inside the final select; describe columns at their end."
            )
        match = _COLUMN_LINE.search(line)
        if match is None or not match["description"]:
            raise SqlTableError(f"{path}:{number}: expected `column, -- description [unit]`, found {line.strip()!r}.")
        columns.append(Column(match["name"], match["description"].strip(), match["unit"] or ""))
    if not columns:
        raise SqlTableError(f"{path}: the final select describes no column.")
    return tuple(columns)


@cache
def _dependencies(text: str) -> tuple[str, ...]:
    # Scanned, not parsed: sqlglot costs a second at every load of the code location. A test holds the two to agree.
    return tuple(sorted({f"{schema}/{table}" for schema, table in _READS.findall(_COMMENT.sub(" ", text))}))
