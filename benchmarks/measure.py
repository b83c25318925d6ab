"""What every benchmark needs: the machine's name, peak memory of a process tree, digests of tables, running `velo`.

Belongs here: measuring. Does not belong here: what is measured.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

from velo_assets.settings import LAYERS

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE_SECONDS = 0.1

TOLERANCE = 1e-6
"""Relative to numbers above 1, absolute below: a thousand times what rounding was seen to do."""

VOLATILE = {
    "built_at",
    "decided_at",
    "landed_at",
    "logged_at",
    "made_at",
    "measured_at",
    "predicted_at",
    "registered_at",
    "evaluated_at",
    "modified_ns",
    "first_run_at",
    "last_run_at",
    "run_id",
    "run_a",
    "run_b",
    "archived_at",
}
"""Columns that tell when or in which run, not what: two equal builds differ in them."""


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: s, ratio, GB, ms, rows.
        limit: what it must not exceed; None when it is only shown.
        note: yardstick, sizes, circumstances.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the limit is kept; None without one."""
        return None if self.limit is None else self.value <= self.limit


@dataclass(frozen=True)
class Finished:
    """A process that has ended, with its children: seconds by the clock and of processor time, peak resident memory."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_gb: float
    output: str


def machine() -> dict[str, object]:
    """Where and when this was measured, and how busy the machine was with other things."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
        "load_1m": round(os.getloadavg()[0], 2),
        "measured_at": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def run_measured(arguments: Sequence[str], environment: dict[str, str] | None = None) -> Finished:
    """Run a process to its end, watching the resident memory of it and its children."""
    began, used = time.perf_counter(), _children_cpu_seconds()
    process = subprocess.Popen(
        list(arguments),
        env={**os.environ, **(environment or {})},
        stdout=(output := os.memfd_create("output")),
        stderr=subprocess.STDOUT,
        cwd=PROJECT,
    )
    peak = 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, _tree_bytes(watched))
        time.sleep(SAMPLE_SECONDS)
    seconds = time.perf_counter() - began
    with os.fdopen(output, "rb") as handle:
        handle.seek(0)
        text = handle.read().decode(errors="replace")
    return Finished(process.returncode, seconds, _children_cpu_seconds() - used, peak / 1e9, text)


def velo(root: Path, *arguments: str) -> list[str]:
    """The command line of `velo` for a data root, as `env VELO_DATA=... python -m velo_assets.cli ...`."""
    return ["env", f"VELO_DATA={root}", sys.executable, "-m", "velo_assets.cli", *arguments]


def differing(left: Path, right: Path) -> dict[str, str]:
    """Tables of the layers that are not the same in two warehouses, with what differs.

    Rows are matched by everything that is no fraction; fractions may differ by TOLERANCE, because two threads add up in
    an order of their own and the last bits of sums differ. Columns that tell the time or the run are left out.

    Args:
        left, right: database files.
    """
    found = {}
    with duckdb.connect() as connection:
        for name, path in (("l", left), ("r", right)):
            connection.execute(f"attach '{path}' as {name} (read_only)")
        columns = {name: _columns(connection, name) for name in "lr"}
        for table in sorted(columns["l"].keys() | columns["r"].keys()):
            if columns["l"].get(table) != columns["r"].get(table):
                found[table] = "columns differ, or the table is missing"
                continue
            words = _rows_that_differ(connection, table, columns["l"][table])
            if words:
                found[table] = words
    return found


def _columns(connection: duckdb.DuckDBPyConnection, database: str) -> dict[str, list[tuple[str, str]]]:
    rows = connection.execute(
        "select schema_name || '.' || table_name, list((column_name, data_type) order by column_name) "
        "from duckdb_columns() inner join duckdb_tables() using (database_name, schema_name, table_name) "
        "where database_name = ? and schema_name in (select unnest(?)) group by all",
        # Numbers of landing order and file names differ by how often landing was interrupted.
        [database, [layer for layer in LAYERS if layer != "landing"]],
    ).fetchall()
    return {str(table): [(n, kind) for n, kind in names if n not in VOLATILE] for table, names in rows}


def _rows_that_differ(connection: duckdb.DuckDBPyConnection, table: str, columns: list[tuple[str, str]]) -> str:
    fractions = [f'"{name}"' for name, kind in columns if kind in ("DOUBLE", "FLOAT")]
    words = [f'"{name}"::varchar' for name, kind in columns if kind not in ("DOUBLE", "FLOAT")]
    key = f"hash({', '.join(words)})" if words else "0"
    order = ", ".join(f"round({name}, 3)" for name in fractions) or "1"
    rows = (
        f"select *, {key} as matched_by, row_number() over (partition by {key} order by {order}) as occurrence "
        f"from {{}}.{table}"
    )
    gaps = [
        f"case when l.{name} is not distinct from r.{name} then 0 when l.{name} is null or r.{name} is null then 'inf' "
        f"else abs(l.{name} - r.{name}) / greatest(1, abs(l.{name})) end"
        for name in fractions
    ]
    worst = f"greatest({', '.join(['0::double', *gaps])})"
    unmatched, apart, most = connection.execute(
        f"select count(*) filter (l.matched_by is null or r.matched_by is null), "
        f"count(*) filter (l.matched_by is not null and r.matched_by is not null and {worst} > {TOLERANCE}), "
        f"max({worst}) filter (l.matched_by is not null and r.matched_by is not null) "
        f"from ({rows.format('l')}) as l full join ({rows.format('r')}) as r "
        f"on l.matched_by = r.matched_by and l.occurrence = r.occurrence"
    ).fetchall()[0]
    if not unmatched and not apart:
        return ""
    return f"{unmatched} rows unmatched, {apart} rows apart by up to {most or 0:.1e}"


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tree_bytes(process: psutil.Process) -> int:
    total = 0
    try:
        for member in (process, *process.children(recursive=True)):
            try:
                total += member.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        pass
    return total
