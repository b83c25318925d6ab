"""Lands input files: each new or changed file once, by content, to Parquet below the landing folder.

Here: finding files, order of work, transactions, amendments and forgetting. Not here: reading any format (raceform.py
and the readers of the other kinds) and the landing tables (manifest.py).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from itertools import groupby
from pathlib import Path

import duckdb
import polars as pl

from velo_assets.code_versions import code_version
from velo_assets.ingestion import manifest
from velo_assets.ingestion.inputs import MARKER_NAME, files_in
from velo_assets.ingestion.manifest import KnownVersion, ManifestEntry
from velo_assets.ingestion.parsed import FileInUseError, LayoutError, ParsedFile, Reject, rejects_frame, storable
from velo_assets.ingestion.raceform import YEAR_SCHEMA, StagedRaceform, stage_again, stage_raceform
from velo_assets.ingestion.rejects import FIELD, KEPT, ROW
from velo_assets.ingestion.sql_text import file_literal
from velo_assets.racing.macros import register
from velo_assets.settings import FIRST_YEAR, DataRoot
from velo_assets.simulation.marker import DataKind, MixedDataError, data_kind
from velo_assets.simulation.marker import sha256 as file_sha256
from velo_assets.warehouse.build import transaction

RESULT_DAYS_AHEAD = 1
"""Results may be dated up to this many days ahead of the clock here, because it is already tomorrow in Sydney."""

CARD_DAYS_AHEAD = 366
"""Cards and prices may be dated up to this many days ahead: a slip of the pen would have every year up to it built."""

STAGING_MEMORY = "2500MB"
"""Memory limit of the DuckDB connection that reads source files; it streams, so more does not help."""

KEY_CODE = code_version("racing", "ingestion/raceform", "ingestion/layouts")
"""Version of the code that gives landed results their keys. Cards get theirs in core, by today's code: results keyed by
other code would be of other horses and races."""


@dataclass(frozen=True)
class Kind:
    """A kind of input other than raceform: folder, reader, schema, file endings."""

    name: str
    module: str
    reader: str
    schema: str
    endings: tuple[str, ...]

    def read(self, path: Path) -> ParsedFile:
        """Read one file with the reader of this kind."""
        reader: Callable[[Path], ParsedFile] = getattr(import_module(self.module), self.reader)
        return reader(path)

    def empty(self) -> pl.DataFrame:
        """An empty frame of landed rows, for the view when nothing has landed."""
        schema = dict(getattr(import_module(self.module), self.schema))
        return pl.DataFrame(schema={**schema, "source_file": pl.String(), "sequence": pl.Int64()})


_INGESTION = "velo_assets.ingestion"

OTHER_KINDS: dict[str, Kind] = {
    "racecards": Kind(
        "racecards", f"{_INGESTION}.racecards", "read_racecards", "RACECARDS_SCHEMA", (".json", ".json.gz")
    ),
    "sectionals": Kind(
        "sectionals", f"{_INGESTION}.sectionals", "read_sectionals", "SECTIONALS_SCHEMA", (".csv", ".csv.gz")
    ),
    "betfair_sp": Kind(
        "betfair_sp", f"{_INGESTION}.betfair_sp", "read_betfair_sp", "BETFAIR_SP_SCHEMA", (".csv", ".csv.gz")
    ),
    "streams": Kind(
        "streams", f"{_INGESTION}.streams", "read_stream", "STREAMS_SCHEMA", (".bz2", ".jsonl", ".json", ".txt", "")
    ),
}
"""Readers by kind; imported when first used."""

RACEFORM_ENDINGS = (".csv", ".csv.gz", ".parquet", ".db", ".sqlite", ".sqlite3")


@dataclass(frozen=True)
class LandedFile:
    """What became of one input file.

    Attributes:
        file: path below the data root.
        kind: raceform, racecards, sectionals, betfair_sp or streams.
        outcome: 'landed', 'unchanged', 'same content' (known under another name) or 'refused'.
        rows: rows landed now.
        rejected_rows: rows rejected now.
        error: why it was refused.
    """

    file: str
    kind: str
    outcome: str
    rows: int = 0
    rejected_rows: int = 0
    error: str | None = None


@dataclass(frozen=True)
class LandingSummary:
    """What a landing did.

    Attributes:
        files: every input file with its outcome.
        years_touched: years whose content changed; these, and the years after them, need a refresh.
        last_year: latest year that has landed content; None when there is none.
    """

    files: tuple[LandedFile, ...] = ()
    years_touched: tuple[int, ...] = ()
    last_year: int | None = None

    @property
    def landed(self) -> tuple[LandedFile, ...]:
        """Files that landed now."""
        return tuple(file for file in self.files if file.outcome == "landed")

    @property
    def refused(self) -> tuple[LandedFile, ...]:
        """Files that can't be used as a whole."""
        return tuple(file for file in self.files if file.outcome == "refused")


def input_files(root: DataRoot) -> Iterator[tuple[str, Path]]:
    """Every file in the input folders as (kind, path), sorted by kind and name.

    Hidden files, partial downloads, notes and the simulation's marker are passed over.
    """
    folders = {
        "raceform": root.raceform,
        "racecards": root.racecards,
        "sectionals": root.sectionals,
        "betfair_sp": root.betfair_sp,
        "streams": root.betfair_streams,
    }
    for kind in manifest.KINDS:
        for path in files_in(folders[kind]):
            yield kind, path


def land(root: DataRoot, connection: duckdb.DuckDBPyConnection, today: date | None = None) -> LandingSummary:
    """Land every new or changed input file; a refused file is recorded and the others go through.

    Args:
        root: data root.
        connection: warehouse, read-write.
        today: the clock, for telling future dates; default the machine's date.

    Returns:
        Each file with its outcome, and the years touched.

    Raises:
        FileNotFoundError: the data root does not exist.
        MixedDataError: simulated results and real ones would come together; nothing has landed.
        RuntimeError: the manifest is empty, and landed parts are the only copy of files that have gone.
        OSError: disk or memory ran out; the files before have landed, and the same call goes on with the others.
    """
    if not root.path.is_dir():
        raise FileNotFoundError(
            f"The data root {root.path} does not exist; create it, or set VELO_DATA to one that does."
        )
    today = today or datetime.now(UTC).date()
    manifest.create_tables(connection)
    simulated = _require_one_kind(root, connection) == "simulated"
    before = manifest.year_fingerprints(connection)
    known = manifest.newest_versions(connection)
    if not known:
        _require_sources(root, connection)
    files: list[LandedFile] = []
    with _Staging.below(root.landing) as staging:
        for kind, path in input_files(root):
            files.append(_land_file(root, connection, staging, known, kind, path, today, simulated))
        _key_anew(root, connection, staging)
    covered = _covered(root, connection)
    with transaction(connection):
        for name, sha256 in covered:
            manifest.retire(connection, name, sha256)
        _follow(root, connection)
    # Last of all: until here a view could still name them.
    _remove_orphans(root, connection)
    return _summary(files, before, manifest.year_fingerprints(connection))


def forget(root: DataRoot, connection: duckdb.DuckDBPyConnection, file: str | Path) -> LandingSummary:
    """Take back everything that ever landed from one file; earlier versions of its races from other files return.

    Args:
        root: data root.
        connection: warehouse, read-write.
        file: path below the data root or absolute. It need not exist any more, and is left alone if it does.

    Raises:
        ValueError: nothing landed from this file; names what did.
    """
    manifest.create_tables(connection)
    name = _relative(root, Path(file))
    rows = connection.execute("select sha256 from landing.manifest where file = ?", [name]).fetchall()
    if not rows:
        known = [
            row[0] for row in connection.execute("select distinct file from landing.manifest order by 1").fetchall()
        ]
        shown = ", ".join(known[:20]) or "nothing"
        raise ValueError(f"Nothing landed from {name!r}. Landed files: {shown}.")
    before = manifest.year_fingerprints(connection)
    with transaction(connection):
        for (sha256,) in rows:
            manifest.forget_version(connection, name, sha256)
        _follow(root, connection)
    _remove_orphans(root, connection)
    return _summary((), before, manifest.year_fingerprints(connection))


def _require_one_kind(root: DataRoot, connection: duckdb.DuckDBPyConnection) -> DataKind:
    """What the files of raceform/ are, if the results that landed before them are of the same kind."""
    found = data_kind(root.raceform)
    landed = [file for file in manifest.live_files(connection) if file.kind == "raceform"]
    kinds = {file.simulated for file in landed} | ({found == "simulated"} if found != "empty" else set())
    if len(kinds) == 2:
        shown = ", ".join(file.file for file in landed[:3])
        if any(file.simulated for file in landed):
            remedy = "run `velo clean`, which removes the simulated files and all that was made of them"
        else:
            remedy = f"delete the simulated files and their list {MARKER_NAME}, and put the real ones back"
        raise MixedDataError(
            f"Simulated and real results never mix: {root.raceform} is {found}, and {len(landed)} file(s) of the other "
            f"kind have landed before ({shown}). Either {remedy}; or give one kind a data root of its own."
        )
    return found


def _summary(files: Sequence[LandedFile], before: dict[int, str], after: dict[int, str]) -> LandingSummary:
    return LandingSummary(tuple(files), manifest.touched_years(before, after), max(after, default=None))


def create_views(root: DataRoot, connection: duckdb.DuckDBPyConnection) -> None:
    """Make the landing tables and views exist, typed, even before anything has landed."""
    manifest.create_tables(connection)
    with transaction(connection):
        _follow(root, connection)


@dataclass
class _Staging:
    """A scratch folder, and an in-memory connection that reads source files, opened when the first one needs it."""

    scratch: Path
    _connection: duckdb.DuckDBPyConnection | None = None

    @classmethod
    @contextmanager
    def below(cls, folder: Path) -> Iterator[_Staging]:
        """A staging area in a folder of ours, gone afterwards."""
        folder.mkdir(parents=True, exist_ok=True)
        # Landing holds the warehouse alone: scratch that is here was left by a killed one.
        for left in folder.glob(".scratch-*"):
            shutil.rmtree(left, ignore_errors=True)
        staging = cls(Path(tempfile.mkdtemp(prefix=".scratch-", dir=folder)))
        try:
            yield staging
        finally:
            if staging._connection is not None:
                staging._connection.close()
            shutil.rmtree(staging.scratch, ignore_errors=True)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            spill = str(self.scratch / "spill")
            self._connection = duckdb.connect(
                config={"memory_limit": STAGING_MEMORY, "temp_directory": spill, "threads": 2}
            )
            register(self._connection)
        return self._connection


def _land_file(
    root: DataRoot,
    connection: duckdb.DuckDBPyConnection,
    staging: _Staging,
    known: dict[str, KnownVersion],
    kind: str,
    path: Path,
    today: date,
    simulated: bool,
) -> LandedFile:
    name = _relative(root, path)
    held = storable(name)
    if name != held:
        # Not remembered: no table can hold the name.
        return LandedFile(held, kind, "refused", error=f"{held}: its name is not UTF-8; rename it.")
    try:
        stat = path.stat()
        newest = known.get(name)
        # Size and time of change unchanged: the content is taken as unchanged, so that a run reads no history again.
        same = newest is not None and (newest.bytes, newest.modified_ns) == (stat.st_size, stat.st_mtime_ns)
        sha256 = newest.sha256 if newest is not None and same else file_sha256(path)
    except OSError as unopened:
        # Not remembered: a file that can't be opened now may be readable in the next run, without having changed.
        return LandedFile(name, kind, "refused", error=f"{path.name}: can't be opened ({unopened.strerror}).")
    again = newest if newest is not None and newest.sha256 == sha256 else None
    if again is not None and not _is_keyed_by_other_code(kind, again):
        if not same:
            manifest.record_unchanged(connection, name, sha256, stat.st_mtime_ns)
        outcome = "refused" if again.status == manifest.REFUSED else "unchanged"
        return LandedFile(name, kind, outcome, error=again.error)
    # A copy of a version that a newer one has covered is as old as that version, whatever night it turns up.
    twins = connection.execute(
        "select file from landing.manifest where kind = ? and sha256 = ? and status <> ? and file <> ? order by file",
        [kind, sha256, manifest.REFUSED, name],
    ).fetchall()
    if twins and again is None:
        return LandedFile(name, kind, "same content", error=f"same content as {twins[0][0]}")
    # What lands again for the sake of its keys wins and loses against other files as before.
    sequence = manifest.next_sequence(connection) if again is None else again.sequence
    work = staging.scratch / f"{sequence}"
    work.mkdir()
    try:
        if kind == "raceform":
            last_date = today + timedelta(days=RESULT_DAYS_AHEAD)
            layout, parts, years, rejects = _raceform(path, work, staging.connection, name, sequence, last_date)
        else:
            last_date = today + timedelta(days=CARD_DAYS_AHEAD)
            layout, parts, years, rejects = _other(OTHER_KINDS[kind], path, work, name, sequence, last_date)
        status, error = manifest.LIVE, None
    except FileInUseError as busy:
        return LandedFile(name, kind, "refused", error=str(busy))  # Not remembered either.
    except LayoutError as refusal:
        layout, parts, status, error = "", [], manifest.REFUSED, str(refusal)
        years, rejects = pl.DataFrame(schema=YEAR_SCHEMA), None
    except (OSError, duckdb.OperationalError, pl.exceptions.PolarsError) as exhausted:
        # Disk or memory ran out. That is no fault of the file, and the next one would fare no better.
        raise OSError(f"{name} can't be landed now: {exhausted}") from exhausted
    landed = _move_parts(root, kind, parts, sha256, sequence)
    row_rejects = 0 if rejects is None else rejects.filter(pl.col("severity") == ROW).height
    entry = ManifestEntry(
        file=name,
        kind=kind,
        layout=layout,
        sha256=sha256,
        bytes=stat.st_size,
        modified_ns=stat.st_mtime_ns,
        rows=int(years["rows"].sum()),
        rejected_rows=row_rejects,
        rejected_fields=0 if rejects is None else rejects.height - row_rejects,
        first_date=years["first_date"].min(),  # type: ignore[arg-type]
        last_date=years["last_date"].max(),  # type: ignore[arg-type]
        sequence=sequence,
        parquet=landed,
        status=status,
        error=error,
        simulated=simulated and kind == "raceform",
        key_code=KEY_CODE if kind == "raceform" else None,
    )
    with transaction(connection):
        manifest.record(connection, entry, years, pl.DataFrame() if rejects is None else rejects)
    shutil.rmtree(work, ignore_errors=True)
    known[name] = KnownVersion(stat.st_size, stat.st_mtime_ns, sha256, status, error, sequence, entry.key_code)
    outcome = "refused" if status == manifest.REFUSED else "landed"
    return LandedFile(name, kind, outcome, entry.rows, row_rejects, error)


_Landed = tuple[str, list[tuple[int | None, Path]], pl.DataFrame, pl.DataFrame]


def _raceform(
    path: Path, work: Path, staging: duckdb.DuckDBPyConnection, name: str, sequence: int, last_date: date
) -> _Landed:
    if not path.name.lower().endswith(RACEFORM_ENDINGS):
        raise LayoutError(path, f"not a raceform file by its name; use one of {', '.join(RACEFORM_ENDINGS)}.")
    try:
        staged = stage_raceform(
            path,
            work,
            staging,
            source_file=name,
            sequence=sequence,
            first_date=date(FIRST_YEAR, 1, 1),
            last_date=last_date,
        )
    except duckdb.OperationalError:
        raise
    except duckdb.Error as error:
        raise LayoutError(path, f"can't be read ({error}).") from error
    return staged.layout, _by_year(staged), staged.years, staged.rejects


def _by_year(staged: StagedRaceform) -> list[tuple[int | None, Path]]:
    return [(year, part) for year, files in staged.parts.items() for part in files]


def _is_keyed_by_other_code(kind: str, version: KnownVersion) -> bool:
    return kind == "raceform" and version.status == manifest.LIVE and version.key_code != KEY_CODE


def _key_anew(root: DataRoot, connection: duckdb.DuckDBPyConnection, staging: _Staging) -> None:
    """Give results today's keys whose file, or version of it, is no longer there to be read again."""
    versions = connection.execute(
        "select file, sha256, sequence, parquet from landing.manifest "
        "where kind = 'raceform' and status = 'live' and key_code is distinct from ? and len(parquet) > 0",
        [KEY_CODE],
    ).fetchall()
    for file, sha256, sequence, parquet in versions:
        work = staging.scratch / f"keys-{sequence}"
        work.mkdir()
        old = [root.path / part for part in parquet]
        staged = stage_again(old, work, staging.connection, source_file=file, sequence=sequence)
        parts = _move_parts(root, "raceform", _by_year(staged), sha256, sequence)
        with transaction(connection):
            manifest.record_keys(connection, file, sha256, parts, KEY_CODE, staged.years, staged.rejects)
        shutil.rmtree(work, ignore_errors=True)


def _other(
    kind: Kind,
    path: Path,
    work: Path,
    name: str,
    sequence: int,
    last_date: date,
) -> _Landed:
    if not path.name.lower().endswith(kind.endings):
        raise LayoutError(path, f"not a {kind.name} file by its name; use one of {', '.join(kind.endings)}.")
    try:
        parsed = kind.read(path)
    except pl.exceptions.PolarsError as error:
        raise LayoutError(path, f"can't be read ({error}).") from error
    rows, misdated = _of_our_years(parsed.rows, last_date)
    part = work / "rows.parquet"
    rows.with_columns(pl.lit(name).alias("source_file"), pl.lit(sequence, pl.Int64()).alias("sequence")).write_parquet(
        part
    )
    severity = pl.when(pl.col("reason").is_in(KEPT)).then(pl.lit(FIELD)).otherwise(pl.lit(ROW))
    rejects = pl.concat([parsed.rejects, misdated]).with_columns(severity.alias("severity"))
    return parsed.layout, [(None, part)], _years_of(rows), rejects


def _of_our_years(rows: pl.DataFrame, last_date: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of the years that are kept, up to `last_date`, and rejects of the others, as results have them."""
    if "race_date" not in rows.columns:
        return rows, rejects_frame([])
    day = pl.col("race_date")
    reason = pl.when(day < date(FIRST_YEAR, 1, 1)).then(pl.lit("before_first_year"))
    judged = rows.with_columns(reason=reason.when(day > last_date).then(pl.lit("too_far_ahead")))
    misdated = judged.filter(pl.col("reason").is_not_null())
    numbers = misdated["line_number"] if "line_number" in misdated.columns else [None] * misdated.height
    rejects: list[Reject] = [
        {"line_number": number, "raw_text": None, "reason": why, "detail": str(when)}
        for number, why, when in zip(numbers, misdated["reason"], misdated["race_date"], strict=True)
    ]
    return judged.filter(pl.col("reason").is_null()).drop("reason"), rejects_frame(rejects)


def _years_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Years of a dated kind by its dates; else one row without a year."""
    if rows.is_empty():
        return pl.DataFrame(schema=YEAR_SCHEMA)
    if "race_date" in rows.columns and rows["race_date"].null_count() < rows.height:
        dated = rows.filter(pl.col("race_date").is_not_null())
        hashes = dated.drop("line_number", strict=False).hash_rows(seed=0)
        summed = dated.select(pl.col("race_date"), hashes.alias("row_hash"))
        found = (
            summed.group_by(pl.col("race_date").dt.year().alias("year"))
            .agg(
                rows=pl.len(),
                first_date=pl.col("race_date").min(),
                last_date=pl.col("race_date").max(),
                content_hash=pl.col("row_hash").sort().hash().sum().cast(pl.String),
            )
            .sort("year")
        )
    else:
        found = pl.DataFrame({"rows": [rows.height]})
    return found.select(
        (pl.col(name) if name in found.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in YEAR_SCHEMA.items()
    )


def _move_parts(
    root: DataRoot, kind: str, parts: list[tuple[int | None, Path]], sha256: str, sequence: int
) -> list[str]:
    """Rename finished parts into the landing folder: a reader sees a whole file or none.

    Keys made anew get parts of their own, so that those of the older keys are there until the manifest names the new.
    """
    landed = []
    keyed = f"-{KEY_CODE[:8]}" if kind == "raceform" else ""
    for number, (year, part) in enumerate(parts):
        folder = root.landing / kind / (f"race_year={year}" if year is not None else "")
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{sha256[:16]}-{sequence}{keyed}-{number}.parquet"
        part.replace(target)
        landed.append(str(target.relative_to(root.path)))
    return landed


def _remove_orphans(root: DataRoot, connection: duckdb.DuckDBPyConnection) -> None:
    """Delete parts that no manifest row names: left by a landing that was killed before it committed, or forgotten."""
    known = {
        row[0]
        for row in connection.execute("select unnest(parquet) from landing.manifest where status = 'live'").fetchall()
    }
    for part in _parts_on_disk(root):
        if str(part.relative_to(root.path)) not in known:
            part.unlink()


def _parts_on_disk(root: DataRoot) -> list[Path]:
    return [part for kind in manifest.KINDS for part in (root.landing / kind).rglob("*.parquet")]


_COVERED_BY = {
    "raceform": "race_key",
    "racecards": "race_date",
    "sectionals": "race_id",
    "betfair_sp": "market_id",
    "streams": "market_id",
}
"""What of an older version has to be in a newer one of the same file for it to say nothing more. A card says who runs
on a day: a race or a meeting that it no longer has is off."""


def _covered(root: DataRoot, connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Older live versions, as (file, sha256), that the newest version of the same file covers as a whole.

    A dump that grows every night, or a card fetched every half hour, would otherwise keep every copy, and core would
    read them all.
    """
    rows = connection.execute(
        """select file, kind, sequence, sha256, parquet from landing.manifest where status = 'live'
           qualify count(*) over (partition by file) > 1 order by file, sequence desc"""
    ).fetchall()
    covered = []
    for (file, kind), versions in groupby(rows, key=lambda row: row[:2]):
        (newest, *_), *older = [(parquet, sequence, sha256) for _, _, sequence, sha256, parquet in versions]
        if not newest:
            continue
        new, old = (
            "read_parquet([" + ", ".join(file_literal(root.path / part) for part in parts) + "], "
            "union_by_name=true, hive_partitioning=false)"
            for parts in (newest, [part for parts, _, _ in older for part in parts] or newest)
        )
        key = _COVERED_BY[kind]
        left = connection.execute(
            f"select distinct sequence from {old} where {key} not in (select {key} from {new} where {key} is not null)"
        ).fetchall()
        uncovered = {sequence for (sequence,) in left}
        covered += [(file, sha256) for _, sequence, sha256 in older if sequence not in uncovered]
    return covered


def _require_sources(root: DataRoot, connection: duckdb.DuckDBPyConnection) -> None:
    """Stop where landed parts are the only copy left of files that the manifest, being empty, knows nothing of.

    Raises:
        RuntimeError: names the files.
    """
    sources: set[str] = set()
    for part in _parts_on_disk(root):
        try:
            found = connection.execute(
                f"select source_file from read_parquet({file_literal(part)}, hive_partitioning=false) limit 1"
            ).fetchall()
        except duckdb.Error:
            continue  # Cut short by a power failure: nobody can read it.
        sources |= {str(name) for (name,) in found}
    lost = sorted(name for name in sources if not (root.path / name).is_file())
    if lost:
        raise RuntimeError(
            f"The warehouse knows of no landed file, and these were landed before and have since left the input "
            f"folders: {', '.join(lost[:20])}. What is in {root.landing} is the only copy of them: put the files back, "
            "or a backup with `velo restore`; else move that folder away, and nothing of it is used."
        )


def _follow(root: DataRoot, connection: duckdb.DuckDBPyConnection) -> None:
    """Let views and the years of sidecars follow the manifest, inside the transaction that changed it."""
    manifest.refresh_views(connection, root.path, {name: kind.empty() for name, kind in OTHER_KINDS.items()})
    manifest.date_sidecars(connection)


def _relative(root: DataRoot, path: Path) -> str:
    absolute = path if path.is_absolute() else root.path / path
    return absolute.relative_to(root.path).as_posix() if absolute.is_relative_to(root.path) else str(path)
