"""`velo doctor`: is this data root sound, and what to do where it is not.

Belongs here: looking, comparing, advising. Does not belong here: mending (maintenance.py), the command's words
(cli.py). Nothing here changes a file.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import duckdb

from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.builds import Node, stale
from velo_assets.warehouse.connection import Warehouse, WarehouseLockTimeout

LOCK_WAIT_SECONDS = 5.0
"""A doctor does not queue for a quarter of an hour."""

FREE_BYTES = 2_000_000_000
"""Below this a landing may not find room for its scratch files."""

FREE_WAREHOUSES = 1.5
"""A snapshot or a backup needs the size of the warehouse once, and spilling needs some."""

OLDEST_PYTHON = (3, 11)

_SHOWN = 5
_CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#]+)")


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        check: what was looked at.
        ok: whether it is sound.
        detail: what was seen.
        advice: what to do; empty when nothing has to be done.
    """

    check: str
    ok: bool
    detail: str
    advice: str = ""


def examine(root: DataRoot, nodes: Sequence[Node] = ()) -> list[Finding]:
    """Look at a data root from all sides, changing nothing.

    Args:
        root: the data root.
        nodes: all assets, dependencies first, for telling which tables are out of date; without them that is not told.

    Returns:
        A finding per check, in the order of looking.

    Raises:
        FileNotFoundError: the data root does not exist.
    """
    if not root.path.is_dir():
        raise FileNotFoundError(f"There is no data root at {root.path}: make the folder, or set VELO_DATA.")
    findings = [versions(), disk(root), *stale_runs(root), lock(root), unfinished_files(root), *models(root)]
    if not root.warehouse.exists():
        return [*findings, Finding("warehouse", True, "none yet", "`velo run` builds it.")]
    try:
        with replace(Warehouse(root.warehouse), lock_timeout_seconds=LOCK_WAIT_SECONDS).read("velo doctor") as opened:
            findings += _warehouse_findings(root, opened, nodes)
    except WarehouseLockTimeout:
        findings.append(Finding("warehouse", True, "in use; its tables were not looked at", "Ask again later."))
    except duckdb.Error as error:
        findings.append(
            Finding(
                "warehouse",
                False,
                f"does not open: {str(error).splitlines()[0]}",
                "Put back a backup with `velo restore`. Without one: delete warehouse.duckdb and build anew with `velo "
                "run`, which needs every file that ever landed in the input folders and says which are missing.",
            )
        )
    return findings


def versions(constraints: Path = _CONSTRAINTS) -> Finding:
    """Installed packages against the versions that were tested together."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Finding("versions", False, f"Python {python}", "Install Python 3.11 or newer, then `make install`.")
    if not constraints.is_file():
        return Finding("versions", True, f"Python {python}; no constraints.txt beside the package to compare with")
    pins = {match[1]: match[2] for line in constraints.read_text().splitlines() if (match := _PIN.match(line))}
    differing = []
    for name, pinned in pins.items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # A package of another platform or of the development extras.
        if installed != pinned:
            differing.append(f"{name} {installed} instead of {pinned}")
    if differing:
        return Finding("versions", False, _some(differing), "`make install` puts the tested versions back.")
    return Finding("versions", True, f"Python {python}, {len(pins)} packages as pinned")


def disk(root: DataRoot) -> Finding:
    """Free space against what the next run may need."""
    free = shutil.disk_usage(root.path).free
    size = root.warehouse.stat().st_size if root.warehouse.exists() else 0
    wanted = FREE_BYTES + FREE_WAREHOUSES * size
    detail = f"{free / 1e9:.1f} GB free, the warehouse has {size / 1e9:.1f} GB"
    if free < wanted:
        advice = f"Free some: {wanted / 1e9:.1f} GB are wanted for scratch files, snapshots and backups."
        return Finding("disk space", False, detail, advice)
    return Finding("disk space", True, detail)


def lock(root: DataRoot) -> Finding:
    """Who holds the warehouse."""
    holder = Warehouse(root.warehouse).holder()
    if holder is None:
        return Finding("warehouse lock", True, "free")
    return Finding("warehouse lock", True, f"held by {holder}", "It waits for nobody: let it finish, or stop it.")


def stale_runs(root: DataRoot) -> list[Finding]:
    """Dagster runs that are recorded as running although their process is gone."""
    runs = _unfinished_runs(root)
    if runs is None:
        return []
    dead = [run for run, process in runs if process is not None and not is_alive(process)]
    if dead:
        advice = "The next `velo run` or `velo status` marks them as failed and frees what they held."
        return [Finding("stale runs", False, f"{len(dead)} runs of killed processes: {_some(dead)}", advice)]
    return [Finding("stale runs", True, f"{len(runs)} running, none of them dead")]


def live_runs(root: DataRoot) -> list[str]:
    """Dagster runs that are recorded as running and whose process is not known to be gone: that of a run which the
    daemon launched is not recorded."""
    return [run for run, process in _unfinished_runs(root) or () if process is None or is_alive(process)]


def is_alive(tag: str) -> bool:
    """Whether the process of a run's tag, its id and start time, is still there: ids are reused."""
    import psutil

    pid, _, started = tag.partition("-")
    try:
        return abs(int(psutil.Process(int(pid)).create_time()) - int(started)) <= 1
    except (psutil.NoSuchProcess, ValueError):
        return False


def unfinished_files(root: DataRoot) -> Finding:
    """Scratch of processes that were killed."""
    found = [
        *root.path.glob("*.partial"),
        *root.path.glob(".velo-partial-*"),
        *root.exports.glob("*.partial"),
        *(root.path / "snapshots").glob("*.partial"),
        *root.landing.glob(".scratch-*"),
        # Pages are written as `.<name>.<process>`, a backtest run as `.<run>.unfinished`.
        *root.reports.rglob(".*.[0-9]*"),
        *root.reports.glob("runs/.*.unfinished"),
    ]
    if Warehouse(root.warehouse).holder():
        return Finding("unfinished files", True, f"{len(found)}, while a run is going on")
    if found:
        names = _some([str(path.relative_to(root.path)) for path in found])
        return Finding("unfinished files", False, names, "Left by killed processes; nothing reads them: delete them.")
    return Finding("unfinished files", True, "none")


def models(root: DataRoot) -> list[Finding]:
    """Registered model versions against their hashes, and MLflow runs that never ended."""
    database = root.path / "mlflow.db"
    if not database.is_file():
        return []
    try:
        with _sqlite(database) as connection:
            versions_ = connection.execute("select name, version from model_versions").fetchall()
            (running,) = connection.execute("select count(*) from runs where status = 'RUNNING'").fetchone()
    except sqlite3.Error as error:
        advice = "Put back a backup with `velo restore`; without one, move mlflow.db away, then `velo train`."
        return [Finding("model files", False, f"mlflow.db can't be read: {error}", advice)]
    from velo_assets.modelling.registry import ModelRegistry, RegistryError

    registry = ModelRegistry(root.mlflow_uri, root.mlartifacts)
    wrong = []
    for name, version in versions_:
        try:
            registry.load_files(str(name), int(version))
        except (RegistryError, OSError, ValueError, KeyError) as error:
            wrong.append(f"{name} {version}: {error}")
    findings = [Finding("model files", True, f"registered versions: {len(versions_)}, every file as registered")]
    if wrong:
        advice = (
            "Do not serve it: put mlartifacts back with `velo restore`. Without a backup, leave a champion by "
            "`velo rollback`, or by `velo retire` and `velo train`."
        )
        findings = [Finding("model files", False, _some(wrong), advice)]
    if running:
        detail = f"MLflow runs without an end: {running}, going on now or killed"
        findings.append(Finding("model runs", True, detail, "Harmless: nothing is read from them."))
    return findings


def _warehouse_findings(
    root: DataRoot, connection: duckdb.DuckDBPyConnection, nodes: Sequence[Node]
) -> Iterator[Finding]:
    if not table_exists(connection, "landing/manifest"):
        yield Finding("landed files", True, "nothing has landed yet", "`velo run` lands what is in raceform/.")
        return
    rows = connection.execute("select unnest(parquet) from landing.manifest where status = 'live'").fetchall()
    known = {str(part) for (part,) in rows}
    yield from _landed_files(root, connection, known)
    if all((root.path / part).is_file() for part in known):
        yield from _tables_against_landing(connection)
    yield from _exports(root, connection)
    if nodes and table_exists(connection, "meta/builds"):
        yield _builds(connection, nodes)


def _landed_files(root: DataRoot, connection: duckdb.DuckDBPyConnection, known: set[str]) -> Iterator[Finding]:
    present = {str(path.relative_to(root.path)) for path in root.landing.glob("[!.]*/**/*.parquet")}
    missing, orphans = sorted(known - present), sorted(present - known)
    if missing:
        advice = "Put them back with `velo restore`, or `velo land --forget` their source file and land it again."
        yield Finding("landed files", False, f"missing on disk: {_some(missing)}", advice)
    elif orphans:
        yield Finding("landed files", False, f"unknown to the manifest: {_some(orphans)}", "`velo land` removes them.")
    else:
        yield Finding("landed files", True, f"{len(known)} Parquet files, as the manifest says")
    (refused,) = connection.execute("select count(*) from landing.manifest where status = 'refused'").fetchall()[0]
    if refused:
        advice = "`select file, error from landing.manifest where status = 'refused'` says why."
        yield Finding("refused files", False, f"{refused} input files were refused", advice)


def _tables_against_landing(connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    if not table_exists(connection, "core/races"):
        return
    rows = connection.execute(
        """
        with landed as (select race_year as year, count(distinct race_key) as races from landing.raceform group by all),
        core as (select year(race_date) as year, count(*) as races from core.races where stage = 'result' group by all)
        select year, coalesce(landed.races, 0), coalesce(core.races, 0)
        from landed full join core using (year)
        where landed.races is distinct from core.races order by year
        """
    ).fetchall()
    if rows:
        detail = _some([f"{year}: {landed:,} races landed, {core:,} in core" for year, landed, core in rows])
        yield Finding("core against landing", False, detail, "`velo run` builds these years.")
    else:
        yield Finding("core against landing", True, "as many races as landed, in every year")
    without = connection.execute(
        "select count(*) from core.results anti join core.entries using (runner_key)"
    ).fetchall()[0][0]
    if without:
        advice = "`velo run --years` with the years of these rows builds both anew."
        yield Finding("results without entries", False, f"{without:,} rows", advice)


def _exports(root: DataRoot, connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    if not table_exists(connection, "features/runner_features"):
        return
    rows = connection.execute("select distinct year(race_date) from features.runner_features").fetchall()
    in_warehouse = {int(year) for (year,) in rows}
    on_disk = {int(path.stem[-4:]) for path in root.exports.glob("runner_features_*.parquet")}
    if in_warehouse != on_disk:
        parts = []
        if in_warehouse - on_disk:
            parts.append(f"years without an export: {_some(sorted(map(str, in_warehouse - on_disk)))}")
        if on_disk - in_warehouse:
            parts.append(f"exports of years that the matrix lacks: {_some(sorted(map(str, on_disk - in_warehouse)))}")
        yield Finding("exports", False, "; ".join(parts), "`velo run --to features --years` writes them.")
    else:
        yield Finding("exports", True, f"{len(on_disk)} years, as the matrix")


def _builds(connection: duckdb.DuckDBPyConnection, nodes: Sequence[Node]) -> Finding:
    from velo_assets.ingestion.manifest import year_fingerprints

    rows = connection.execute("select name, year, fingerprint from meta.builds").fetchall()
    landed = year_fingerprints(connection)
    stored = {(str(name), int(year)): str(fingerprint) for name, year, fingerprint in rows}
    behind = stale(nodes, stored, landed, sorted(landed))
    if behind:
        detail = f"{len(behind)} of {sum(not node.is_landing for node in nodes)}: {_some(list(behind))}"
        return Finding("tables out of date", False, detail, "New files or changed code: `velo run` builds them.")
    return Finding("tables out of date", True, "none")


def _unfinished_runs(root: DataRoot) -> list[tuple[str, str | None]] | None:
    """Dagster runs without an end and their process tags; None where nothing has ever run."""
    database = root.path / "dagster" / "history" / "runs.db"
    if not database.is_file():
        return None
    with _sqlite(database) as connection:
        rows = connection.execute(
            "select runs.run_id, (select value from run_tags where run_tags.run_id = runs.run_id "
            "and key = 'velo/process') from runs where status in ('STARTED', 'STARTING')"
        ).fetchall()
    return [(str(run), None if process is None else str(process)) for run, process in rows]


def _sqlite(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=LOCK_WAIT_SECONDS)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
