"""What has landed: landing.manifest, landing.years, landing.rejects, and the views over the live Parquet parts.

Here: the tables of the landing schema, and questions about them. Not here: reading source files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from velo_assets.ingestion.layouts import LANDED_COLUMNS
from velo_assets.ingestion.sql_text import file_literal, quoted
from velo_assets.simulation.marker import DataKind
from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.query import row_of

LIVE = "live"
REFUSED = "refused"
SUPERSEDED = "superseded"

KINDS = ("raceform", "racecards", "sectionals", "betfair_sp", "streams")
"""Kinds of input, each with a view of its name in the landing schema, in landing order."""

_TABLES = (
    """create table if not exists landing.manifest (
           file varchar, kind varchar, layout varchar, sha256 varchar, bytes bigint, modified_ns bigint, rows bigint,
           rejected_rows bigint, rejected_fields bigint, first_date date, last_date date, landed_at timestamp,
           sequence bigint, parquet varchar[], status varchar, error varchar)""",
    "alter table landing.manifest add column if not exists simulated boolean",
    "alter table landing.manifest add column if not exists key_code varchar",
    """create table if not exists landing.years (
           file varchar, sha256 varchar, kind varchar, sequence bigint, year integer, rows bigint, races bigint,
           content_hash varchar)""",
    """create table if not exists landing.rejects (
           file varchar, sha256 varchar, line_number bigint, severity varchar, reason varchar, detail varchar,
           raw_text varchar)""",
    "create sequence if not exists landing.landing_order start 1",
    "create table if not exists landing.told (year integer primary key, fingerprint varchar)",
)

RACEFORM_TYPES: dict[str, str] = {
    **dict.fromkeys(LANDED_COLUMNS, "varchar"),
    "race_date": "date",
    "race_key": "bigint",
    "horse_key": "bigint",
    "runner_key": "bigint",
    "source_file": "varchar",
    "sequence": "bigint",
    "row_hash": "ubigint",
    "race_year": "integer",
}
"""Columns of landing.raceform and their DuckDB types. `race_year` is the folder of a part: filter on it to read few."""


@dataclass(frozen=True)
class ManifestEntry:
    """One version of one input file, as remembered.

    `key_code` is the version of the code that gave its rows their keys, None for kinds that land without keys. Files
    that landed before it was kept have none either.
    """

    file: str
    kind: str
    layout: str
    sha256: str
    bytes: int
    modified_ns: int
    rows: int
    rejected_rows: int
    rejected_fields: int
    first_date: date | None
    last_date: date | None
    sequence: int
    parquet: list[str]
    status: str
    error: str | None
    simulated: bool
    key_code: str | None


@dataclass(frozen=True)
class KnownVersion:
    """The newest version of an input file that has landed or was refused."""

    bytes: int
    modified_ns: int
    sha256: str
    status: str
    error: str | None
    sequence: int
    key_code: str | None


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the landing schema and its tables where they are missing."""
    connection.execute("create schema if not exists landing")
    # What landed before there was a record of what was told has been told long ago.
    told = table_exists(connection, "landing/told") or not table_exists(connection, "landing/manifest")
    for statement in _TABLES:
        connection.execute(statement)
    if not told:
        record_told(connection, {**year_fingerprints(connection)})


def next_sequence(connection: duckdb.DuckDBPyConnection) -> int:
    """The next place in landing order; larger is later, and never given twice."""
    (sequence,) = row_of(connection, "select nextval('landing.landing_order')")
    return int(sequence)


def newest_versions(connection: duckdb.DuckDBPyConnection) -> dict[str, KnownVersion]:
    """The newest version of every file, by path below the data root."""
    rows = connection.execute(
        """select file, bytes, modified_ns, sha256, status, error, sequence, key_code from landing.manifest
           qualify row_number() over (partition by file order by sequence desc) = 1"""
    ).fetchall()
    return {row[0]: KnownVersion(*row[1:]) for row in rows}


def record_unchanged(connection: duckdb.DuckDBPyConnection, file: str, sha256: str, modified_ns: int) -> None:
    """Remember a new time of change of a file whose content is the same, so that it is not read again."""
    connection.execute(
        "update landing.manifest set modified_ns = ? where file = ? and sha256 = ?", [modified_ns, file, sha256]
    )


def record(
    connection: duckdb.DuckDBPyConnection, entry: ManifestEntry, years: pl.DataFrame, rejects: pl.DataFrame
) -> None:
    """Remember one landed or refused file: manifest row, years and rejects, inside the caller's transaction.

    Args:
        connection: warehouse.
        entry: the manifest row.
        years: columns year, rows, races, content_hash.
        rejects: columns line_number, raw_text, reason, detail, severity.
    """
    # A version that was refused says nothing more once another one of the same file came.
    replaced = connection.execute(
        "select sha256 from landing.manifest where file = ? and (sha256 = ? or status = ?)",
        [entry.file, entry.sha256, REFUSED],
    ).fetchall()
    for (sha256,) in replaced:
        forget_version(connection, entry.file, sha256)
    columns = [field.name for field in fields(entry)]
    connection.execute(
        f"insert into landing.manifest ({', '.join(columns)}, landed_at) "
        f"values ({', '.join('?' for _ in columns)}, now()::timestamp)",
        [getattr(entry, name) for name in columns],
    )
    _add_details(connection, entry.file, entry.sha256, years, rejects)


def record_keys(
    connection: duckdb.DuckDBPyConnection,
    file: str,
    sha256: str,
    parquet: list[str],
    key_code: str,
    years: pl.DataFrame,
    rejects: pl.DataFrame,
) -> None:
    """Remember that the rows of a landed version have keys by other code now, inside the caller's transaction.

    Args:
        connection: warehouse.
        file: the input file.
        sha256: its version.
        parquet: parts with the new keys.
        key_code: version of the code that made them.
        years: as for `record`.
        rejects: rows that the new keys make rejects of, beside those there are.
    """
    connection.execute(
        """update landing.manifest
           set parquet = $parquet, key_code = $key_code, rows = rows - $rejected,
               rejected_rows = rejected_rows + $rejected
           where file = $file and sha256 = $sha256""",
        {"parquet": parquet, "key_code": key_code, "rejected": rejects.height, "file": file, "sha256": sha256},
    )
    connection.execute("delete from landing.years where file = ? and sha256 = ?", [file, sha256])
    _add_details(connection, file, sha256, years, rejects)


def _add_details(
    connection: duckdb.DuckDBPyConnection, file: str, sha256: str, years: pl.DataFrame, rejects: pl.DataFrame
) -> None:
    if years.height:
        connection.register("landed_years", years)
        connection.execute(
            """insert into landing.years
               select file, sha256, kind, sequence, year, landed_years.rows, races, content_hash
               from landing.manifest cross join landed_years where file = ? and sha256 = ?""",
            [file, sha256],
        )
        connection.unregister("landed_years")
    if rejects.height:
        connection.register("landed_rejects", rejects)
        connection.execute(
            """insert into landing.rejects
               select ?, ?, line_number, severity, reason, detail, raw_text from landed_rejects""",
            [file, sha256],
        )
        connection.unregister("landed_rejects")


def forget_version(connection: duckdb.DuckDBPyConnection, file: str, sha256: str) -> None:
    """Drop one version of a file from all landing tables, inside the caller's transaction."""
    connection.execute("delete from landing.manifest where file = ? and sha256 = ?", [file, sha256])
    _forget_details(connection, file, sha256)


def retire(connection: duckdb.DuckDBPyConnection, file: str, sha256: str) -> None:
    """Keep of a version that a newer one covers only that it was there, inside the caller's transaction."""
    connection.execute(
        "update landing.manifest set status = ?, parquet = [] where file = ? and sha256 = ?", [SUPERSEDED, file, sha256]
    )
    _forget_details(connection, file, sha256)


def _forget_details(connection: duckdb.DuckDBPyConnection, file: str, sha256: str) -> None:
    connection.execute("delete from landing.years where file = ? and sha256 = ?", [file, sha256])
    connection.execute("delete from landing.rejects where file = ? and sha256 = ?", [file, sha256])


@dataclass(frozen=True)
class LiveFile:
    """An input file that rows are landed from."""

    file: str
    kind: str
    simulated: bool


def live_files(connection: duckdb.DuckDBPyConnection) -> list[LiveFile]:
    """Every file with a live version, by name; empty when nothing has ever landed.

    Args:
        connection: warehouse, read-only will do.
    """
    if not table_exists(connection, "landing/manifest"):
        return []
    # A manifest from before it kept who wrote a file tells by the name, and may not have the column yet.
    rows = connection.execute(
        """select file, any_value(kind), bool_or(coalesce(simulated, file ~ 'raceform/simulated_[0-9]{4}[.]csv'))
           from (select null::boolean as simulated where false union all by name from landing.manifest)
           where status = 'live' group by file order by file"""
    ).fetchall()
    return [LiveFile(*row) for row in rows]


def results_kind(connection: duckdb.DuckDBPyConnection) -> DataKind:
    """What the landed results are, whatever lies in raceform/ by now; simulated as soon as a part of them is."""
    kinds = {file.simulated for file in live_files(connection) if file.kind == "raceform"}
    return "simulated" if True in kinds else "real" if kinds else "empty"


def live_parts(connection: duckdb.DuckDBPyConnection, kind: str) -> list[str]:
    """Parquet parts of the live files of a kind, relative to the data root, in landing order."""
    rows = connection.execute(
        """select part from (select sequence, unnest(parquet) as part from landing.manifest
                             where kind = ? and status = 'live')
           order by sequence, part""",
        [kind],
    ).fetchall()
    return [row[0] for row in rows]


_ON_THE_CARD = """
    sequence = max(sequence) over (partition by race_date, source_file)
    and (race_id is null or sequence = max(sequence) over (partition by race_date, race_id))"""
"""Which landed rows are on a day's card: those of the newest version of a file, so that a race or a meeting which it no
longer has is off; and of a race that came in several files its newest rows, whose off time may be another."""


def refresh_views(connection: duckdb.DuckDBPyConnection, root: Path, empty: dict[str, pl.DataFrame]) -> None:
    """Point landing.<kind> at the live parts; a typed empty view where a kind has none.

    Args:
        connection: warehouse, inside the caller's transaction.
        root: data root the parts are relative to.
        empty: an empty typed frame per kind other than raceform.
    """
    for kind in KINDS:
        parts = live_parts(connection, kind)
        if kind == "raceform":
            query = _raceform_query(root, parts)
        elif parts:
            files = ", ".join(file_literal(root / part) for part in parts)
            query = f"select * from read_parquet([{files}], union_by_name=true, hive_partitioning=false)"
            query += f" qualify {_ON_THE_CARD}" if kind == "racecards" else ""
        else:
            query = _empty_query(connection, empty[kind])
        connection.execute(f"create or replace view landing.{kind} as {query}")


def _raceform_query(root: Path, parts: list[str]) -> str:
    if not parts:
        columns = ", ".join(f"null::{kind} as {quoted(name)}" for name, kind in RACEFORM_TYPES.items())
        return f"select {columns} where false"
    # Hive partitioning lets a filter on race_year skip files without opening them.
    files = ", ".join(file_literal(root / part) for part in parts)
    columns = ", ".join(quoted(name) for name in RACEFORM_TYPES)
    return f"select {columns} from read_parquet([{files}], hive_partitioning=true, hive_types={{'race_year': integer}})"


def _empty_query(connection: duckdb.DuckDBPyConnection, frame: pl.DataFrame) -> str:
    connection.register("empty_kind", frame)
    described = connection.execute("describe select * from empty_kind").fetchall()
    connection.unregister("empty_kind")
    columns = ", ".join(f"null::{row[1]} as {quoted(row[0])}" for row in described)
    return f"select {columns} where false"


def date_sidecars(connection: duckdb.DuckDBPyConnection) -> None:
    """Find the years of sidecars anew, inside the caller's transaction: they are those of races that ran or are carded.

    A sidecar has no dates, and may land before its races or name some that come later. The views must be up to date.
    """
    connection.execute("delete from landing.years where kind = 'sectionals'")
    connection.execute(
        """insert into landing.years
           with races as (
               select race_id, race_year from landing.raceform
               union
               select race_id, year(race_date) from landing.racecards
           ),
           sidecar as (
               select source_file, sequence, race_id,
                      hash(race_id, horse, declared_weight_lb, calls, rail, distance_m, race_times, sections)
                          as row_hash
               from landing.sectionals
           )
           select manifest.file, manifest.sha256, manifest.kind, manifest.sequence, races.race_year, count(*),
                  count(distinct race_id), md5(bit_xor(row_hash) || ':' || sum(row_hash::hugeint) || ':' || count(*))
           from sidecar
           left join races using (race_id)
           join landing.manifest on manifest.file = sidecar.source_file and manifest.sequence = sidecar.sequence
           group by all"""
    )


def year_fingerprints(connection: duckdb.DuckDBPyConnection) -> dict[int, str]:
    """What each year's core tables are made of: equal fingerprints mean nothing to refresh.

    The hash is over the content of the live files in landing order. Content that landed again counts at its last place
    only. Rows of a sidecar whose races have not landed count to no year: nothing can use them until they do.

    Returns:
        year -> fingerprint, for every year that a live file has rows of.
    """
    rows = connection.execute(
        """select years.year, years.kind, years.content_hash, max(years.sequence) as place
           from landing.years join landing.manifest using (file, sha256)
           where manifest.status = 'live' and years.year is not null
           group by all order by place, years.kind, years.content_hash"""
    ).fetchall()
    contents: dict[int, list[str]] = {}
    for year, kind, content, _ in rows:
        contents.setdefault(int(year), []).append(f"{kind}:{content}")
    return {
        year: hashlib.sha256("\n".join(found).encode()).hexdigest()[:32] for year, found in sorted(contents.items())
    }


def untold_years(connection: duckdb.DuckDBPyConnection) -> dict[int, str | None]:
    """Years whose content differs from what the sensors were last told, with their fingerprints; None for one emptied.

    A landing that dies between its commits and its word to the sensors leaves its years here for the next one.
    """
    now = year_fingerprints(connection)
    told = {int(year): str(word) for year, word in connection.execute("from landing.told").fetchall()}
    return {year: now.get(year) for year in touched_years(told, now)}


def record_told(connection: duckdb.DuckDBPyConnection, years: dict[int, str | None]) -> None:
    """Write down that the sensors were told of these years, from `untold_years`."""
    for year, fingerprint in years.items():
        connection.execute("delete from landing.told where year = ?", [year])
        if fingerprint is not None:
            connection.execute("insert into landing.told values (?, ?)", [year, fingerprint])


def race_years(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """First and last year of all landed results and cards; prices or sectionals of other years tell of no race.

    Raises:
        LookupError: no race has landed.
    """
    (first, last), *_ = connection.execute(
        """select min(years.year), max(years.year) from landing.years join landing.manifest using (file, sha256)
           where manifest.status = 'live' and years.kind in ('raceform', 'racecards')"""
    ).fetchall()
    if first is None:
        raise LookupError("No results and no cards have landed: put results into raceform/ and run `velo run`.")
    return int(first), int(last)


def touched_years(before: dict[int, str], after: dict[int, str]) -> tuple[int, ...]:
    """Years whose content differs between two fingerprints, sorted."""
    return tuple(sorted(year for year in before.keys() | after.keys() if before.get(year) != after.get(year)))
