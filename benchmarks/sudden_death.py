"""kill -9 at random moments of a backfill and of a nightly, a full disk, little memory: is a plain rerun enough?

python -m benchmarks.sudden_death --work /tmp/velo-death --moments 30
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import PROJECT, differing, machine, table_digests, velo
from velo_assets.doctor import examine
from velo_assets.settings import DataRoot
from velo_assets.simulation.world import simulate

FIRST_YEAR, LAST_YEAR = 2021, 2023
IGNORED_CHECKS = ("versions", "disk space", "unfinished files")
"""Not about death, or scratch that nothing reads."""


def study(work: Path, moments: int, seed: int = 1, races_per_year: int = 300, to: str = "serving") -> dict[str, object]:
    """Kill a backfill and a nightly at `moments` random times each, rerun plainly, compare with builds never killed.

    Args:
        work: scratch folder; emptied.
        moments: kills of the backfill, and as many of the nightly.
        seed: of the moments.
        races_per_year: size of the world.
        to: last layer that is built.

    Returns:
        Kills that hit, tables that differed, what the doctor found wrong afterwards.
    """
    shutil.rmtree(work, ignore_errors=True)
    inputs, late = work / "inputs", work / "late.csv"
    simulate(first_year=FIRST_YEAR, last_year=LAST_YEAR, races_per_year=races_per_year, seed=9, edge=0.5, out=inputs)
    _hold_back_last_day(inputs / "raceform" / f"simulated_{LAST_YEAR}.csv", late)
    whole = work / "whole"
    _fresh(inputs, whole)
    backfill_seconds = _run(whole, to)
    expected = table_digests(DataRoot(whole).warehouse)
    nightly = work / "nightly"
    shutil.copytree(whole, nightly, symlinks=True)
    _hand_in(late, nightly)
    nightly_seconds = _run(nightly, to)
    expected_after = table_digests(DataRoot(nightly).warehouse)
    dice = random.Random(seed)
    outcomes = []

    def death(kind: str, prepare: Callable[[Path], object], longest: float, wanted: dict[str, tuple[int, int]]) -> None:
        root = work / "victim"
        shutil.rmtree(root, ignore_errors=True)
        prepare(root)
        moment = dice.uniform(0.5, longest)
        hit = _killed_after(root, moment, to)
        _run(root, to)
        outcomes.append(
            {
                "kind": kind,
                "moment_seconds": round(moment, 2),
                "hit": hit,
                "differing_tables": differing(wanted, table_digests(DataRoot(root).warehouse)),
                "wrong": [
                    f"{finding.check}: {finding.detail}"
                    for finding in examine(DataRoot(root))
                    if not finding.ok and finding.check not in IGNORED_CHECKS
                ],
                "mlflow_runs_without_end": _open_mlflow_runs(root),
            }
        )
        print(json.dumps(outcomes[-1]), flush=True)

    def before_the_night(root: Path) -> None:
        _restored(whole, root)
        _hand_in(late, root)

    for _ in range(moments):
        death("backfill", lambda root: _fresh(inputs, root), backfill_seconds, expected)
        death("nightly", before_the_night, nightly_seconds, expected_after)
    return {
        "machine": machine(),
        "to": to,
        "seconds_uninterrupted": {"backfill": round(backfill_seconds, 1), "nightly": round(nightly_seconds, 1)},
        "kills": len(outcomes),
        "kills_that_hit": sum(bool(outcome["hit"]) for outcome in outcomes),
        "with_differing_tables": sum(bool(outcome["differing_tables"]) for outcome in outcomes),
        "with_findings": sum(bool(outcome["wrong"]) for outcome in outcomes),
        "mlflow_runs_without_end": sum(int(outcome["mlflow_runs_without_end"]) for outcome in outcomes),
        "tables": len(expected),
        "outcomes": outcomes,
    }


def full_disk(work: Path, megabytes: int = 24) -> dict[str, object]:
    """A data root on a tmpfs that is too small: the run fails in plain words, and finishes once there is room.

    Needs the right to mount; without it that is what the result says.
    """
    inputs, mount = work / "disk_inputs", work / "small_disk"
    simulate(first_year=FIRST_YEAR, last_year=LAST_YEAR, races_per_year=300, seed=9, edge=0.5, out=inputs)
    mount.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(mount)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if mounted.returncode:
        return {"not_measured": f"no right to mount a tmpfs here: {mounted.stderr.strip()}"}
    try:
        root = mount / "root"
        _fresh(inputs, root)
        first = subprocess.run(
            velo(root, "run", "--to", "features"), capture_output=True, text=True, cwd=PROJECT, check=False
        )
        subprocess.run(["mount", "-o", "remount,size=2g", str(mount)], check=True)
        again = subprocess.run(
            velo(root, "run", "--to", "features"), capture_output=True, text=True, cwd=PROJECT, check=False
        )
        reference = work / "disk_reference"
        shutil.rmtree(reference, ignore_errors=True)
        _fresh(inputs, reference)
        _run(reference, "features")
        return {
            "megabytes": megabytes,
            "failed_when_full": first.returncode != 0,
            "message": (first.stdout + first.stderr)[-400:],
            "finished_with_room": again.returncode == 0,
            "differing_tables": differing(
                table_digests(DataRoot(reference).warehouse), table_digests(DataRoot(root).warehouse)
            ),
        }
    finally:
        subprocess.run(["umount", str(mount)], check=False)


def _fresh(inputs: Path, root: Path) -> None:
    root.mkdir(parents=True)
    shutil.copytree(inputs / "raceform", root / "raceform")


def _restored(source: Path, root: Path) -> None:
    from velo_assets.ingestion.landing import create_views
    from velo_assets.warehouse.connection import Warehouse

    shutil.copytree(source, root, symlinks=True)
    data = DataRoot(root)
    with Warehouse(data.warehouse).connect("benchmark") as connection:
        create_views(data, connection)


def _hold_back_last_day(results: Path, late: Path) -> None:
    """Move the last racing day of a results file into a file of its own."""
    header, *lines = results.read_text(encoding="utf-8").splitlines()
    last = max(line.split(",", 1)[0] for line in lines)
    results.write_text(
        "\n".join([header, *(line for line in lines if not line.startswith(last))]) + "\n", encoding="utf-8"
    )
    late.write_text("\n".join([header, *(line for line in lines if line.startswith(last))]) + "\n", encoding="utf-8")
    _mark(results.parent)


def _hand_in(late: Path, root: Path) -> None:
    shutil.copy(late, root / "raceform" / "simulated_late.csv")
    _mark(root / "raceform")


def _mark(raceform: Path) -> None:
    """List every file as simulated, as the simulation's marker wants it."""
    from velo_assets.simulation.marker import Marker, read_marker, sha256, write_marker

    marker = read_marker(raceform)
    assert marker is not None
    files = {path.name: sha256(path) for path in raceform.glob("*.csv")}
    write_marker(raceform, Marker(marker.seed, marker.edge, files))


def _run(root: Path, to: str) -> float:
    began = time.perf_counter()
    done = subprocess.run(velo(root, "run", "--to", to), capture_output=True, text=True, cwd=PROJECT, check=False)
    if done.returncode:
        raise RuntimeError(f"`velo run` on {root} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - began


def _killed_after(root: Path, moment: float, to: str) -> bool:
    process = subprocess.Popen(
        velo(root, "run", "--to", to), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        cwd=PROJECT,
    )  # fmt: skip
    try:
        process.wait(moment)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def _open_mlflow_runs(root: Path) -> int:
    database = root / "mlflow.db"
    if not database.exists():
        return 0
    connection = sqlite3.connect(database)
    try:
        if not connection.execute("select 1 from sqlite_master where name = 'runs'").fetchall():
            return 0
        return int(connection.execute("select count(*) from runs where status = 'RUNNING'").fetchall()[0][0])
    finally:
        connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--moments", type=int, default=15, help="kills of the backfill, and as many of the nightly")
    parser.add_argument("--to", default="serving", help="last layer")
    parser.add_argument("--races", type=int, default=300, help="races a year")
    parser.add_argument("--full-disk", action="store_true", help="the full-disk study instead")
    arguments = parser.parse_args()
    result = (
        full_disk(arguments.work)
        if arguments.full_disk
        else study(arguments.work, arguments.moments, races_per_year=arguments.races, to=arguments.to)
    )
    print(json.dumps(result, indent=1))
