"""Many processes on one data root: runs of different years and layers, backfills, readers, snapshots, all at once.

python -m benchmarks.concurrency --work /tmp/velo-concurrency
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import PROJECT, differing, machine, velo
from velo_assets.settings import DataRoot
from velo_assets.simulation.world import simulate
from velo_assets.warehouse.connection import Warehouse

YEARS = (2021, 2022, 2023)
SINGLE_LAYERS = ("core", "features", "market", "models")
LOCK_WORDS = ("WarehouseLockTimeout", "RegistryLockedError", "database is locked", "Could not set lock")

READER = """
import sys, time
from pathlib import Path
from velo_assets.warehouse.connection import Warehouse
warehouse, deadline, reads = Warehouse(Path(sys.argv[1])), time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < deadline:
    if sys.argv[3] == "snapshot":
        warehouse.snapshot(Path(sys.argv[1]).parent / "snapshots" / "notebook.duckdb")
    else:
        with warehouse.read("a notebook") as connection:
            # A reader between two transactions must see every year whole: as many results as entries.
            entries, results = connection.execute(
                "select (select count(*) from core.entries where stage = 'result'), (select count(*) from core.results)"
            ).fetchall()[0]
            assert entries == results > 0, (entries, results)
    reads += 1
    time.sleep(0.2)
print("reads", reads)
"""


def study(work: Path, races_per_year: int = 540) -> dict[str, object]:
    """Sixteen processes (thirteen of one year and layer, three backfills) and four readers, against a build alone.

    Args:
        work: scratch folder; emptied.
        races_per_year: size of the world.

    Returns:
        What happened: exit codes, errors that speak of locks, tables that differ, seconds.
    """
    shutil.rmtree(work, ignore_errors=True)
    root = work / "root"
    simulate(first_year=YEARS[0], last_year=YEARS[-1], races_per_year=races_per_year, seed=3, edge=0.5, out=root)
    began = time.perf_counter()
    alone = subprocess.run(velo(root, "run"), capture_output=True, text=True, cwd=PROJECT, check=False)
    if alone.returncode:
        raise RuntimeError(f"The build that all is compared with failed:\n{alone.stdout}{alone.stderr}")
    sequential = time.perf_counter() - began
    expected = Warehouse(DataRoot(root).warehouse).snapshot(work / "alone.duckdb")
    commands = [velo(root, "run", "--to", layer, "--years", str(year)) for layer in SINGLE_LAYERS for year in YEARS] + [
        velo(root, "nightly")
    ]
    commands += [velo(root, "run", "--to", layer, "--years", f"{YEARS[0]}..{YEARS[-1]}") for layer in
                 ("features", "market", "backtest")]  # fmt: skip
    began = time.perf_counter()
    runs = [_start(command) for command in commands]
    readers = [
        _start([sys.executable, "-c", READER, str(DataRoot(root).warehouse), "60", kind])
        for kind in ("read", "read", "read", "snapshot")
    ]
    outputs = [process.communicate()[0] for process in (*runs, *readers)]
    seconds = time.perf_counter() - began
    codes = [process.returncode for process in (*runs, *readers)]
    lock_errors = [line for text in outputs for line in text.splitlines() if any(word in line for word in LOCK_WORDS)]
    failures = [text[-600:] for text, code in zip(outputs, codes, strict=True) if code]
    return {
        "machine": machine(),
        "processes": len(runs),
        "readers": len(readers),
        "reads": [text.strip().splitlines()[-1] for text in outputs[len(runs) :] if text.strip()],
        "failed": sum(map(bool, codes)),
        "failures": failures,
        "lock_errors": lock_errors,
        "differing_tables": differing(expected, DataRoot(root).warehouse),
        "lock_left": Warehouse(DataRoot(root).warehouse).holder(),
        "seconds_alone": round(sequential, 1),
        "seconds_all_at_once": round(seconds, 1),
    }


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=PROJECT, env=dict(os.environ)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.concurrency", description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--races", type=int, default=540, help="races a year; below 520 there are too few to train on")
    arguments = parser.parse_args()
    print(json.dumps(study(arguments.work, arguments.races), indent=1))
