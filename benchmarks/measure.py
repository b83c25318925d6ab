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

DECIMALS, SINGLE_DECIMALS = 6, 3
"""Places that count of a number, in double and in single precision."""

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
    "run_id",
    "archived_at",
}
"""Columns that tell when, not what: two equal builds differ in them."""


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


def table_digests(database: Path) -> dict[str, tuple[int, int]]:
    """Rows and an order-free hash of every table of the layers, columns that tell the time left out.

    Numbers count to DECIMALS places: two threads add up in an order of their own, and the last bits differ.
    """
    found = {}
    with duckdb.connect(str(database), read_only=True) as connection:
        columns = connection.execute(
            "select table_schema, table_name, list((column_name, data_type) order by column_name) "
            "from information_schema.columns inner join information_schema.tables using (table_schema, table_name) "
            "where table_type = 'BASE TABLE' group by all order by all"
        ).fetchall()
        for schema, table, names in columns:
            kept = [_comparable(name, kind) for name, kind in names if name not in VOLATILE]
            # Numbers of landing order and file names differ by how often landing was interrupted.
            if schema not in LAYERS or schema == "landing" or not kept:
                continue
            row = connection.execute(
                f"select count(*), coalesce(bit_xor(hash({', '.join(kept)})), 0) from {schema}.{table}"
            ).fetchall()[0]
            found[f"{schema}.{table}"] = (int(row[0]), int(row[1]))
    return found


def _comparable(name: str, kind: str) -> str:
    # Adding zero makes -0.0 the same as 0.0.
    decimals = {"DOUBLE": DECIMALS, "FLOAT": SINGLE_DECIMALS}.get(kind)
    return f'"{name}"' if decimals is None else f'round("{name}", {decimals}) + 0'


def differing(left: dict[str, tuple[int, int]], right: dict[str, tuple[int, int]]) -> list[str]:
    """Tables that are not the same on both sides."""
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


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
