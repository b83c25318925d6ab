"""kill -9 at random moments of a backfill and of a nightly, a full disk, little memory: is a plain rerun enough?

python -m benchmarks.sudden_death --work DIR [--moments 15] [--full-disk | --little-memory ROWS]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import PROJECT, differing, machine, run_measured, velo
from velo_assets.doctor import examine
from velo_assets.settings import DataRoot
from velo_assets.simulation.world import simulate
from velo_assets.warehouse.connection import Warehouse

FIRST_YEAR, LAST_YEAR = 2021, 2023
IGNORED_CHECKS = ("versions", "disk space", "unfinished files")
"""Not about death, or scratch that nothing reads."""


@dataclass(frozen=True)
class Death:
    """One process to be killed: which command, and after how many seconds."""

    number: int
    kind: str
    moment: float


def study(
    work: Path,
    moments: int,
    seed: int = 1,
    races_per_year: int = 540,
    to: str = "serving",
    minutes: float = math.inf,
    jobs: int = 1,
) -> dict[str, object]:
    """Kill a backfill and a nightly at `moments` random times each, rerun plainly, compare with builds never killed.

    The builds never killed, and what became of each death, are kept in `work`: a study can be done in several sittings.

    Args:
        work: scratch folder; what an earlier sitting of the same study left there is gone on with.
        moments: kills of the backfill, and as many of the nightly.
        seed: of the moments.
        races_per_year: size of the world; below 520 there are too few races to train on.
        to: last layer that is built.
        minutes: after so many no further death of this sitting begins.
        jobs: deaths at the same time, each in a data root of its own.

    Returns:
        Deaths, all of a living process, tables that differed, what the doctor found wrong afterwards.
    """
    built = work / "built.json"
    if not built.exists():
        built.write_text(json.dumps(_build_references(work, races_per_year, to)), encoding="utf-8")
    seconds = json.loads(built.read_text(encoding="utf-8"))
    expected = {"backfill": DataRoot(work / "whole").warehouse, "nightly": DataRoot(work / "nightly").warehouse}
    dice = random.Random(seed)
    deaths = [
        Death(number, kind, dice.uniform(0.5, seconds[kind]))
        for number, kind in enumerate(("backfill", "nightly") * moments)
    ]
    story = work / "outcomes.jsonl"
    known = _outcomes(story)
    deadline = time.monotonic() + 60 * minutes
    with ThreadPoolExecutor(jobs) as pool:
        for death in deaths:
            if death.number not in known:
                pool.submit(_tell, story, work, death, to, expected[death.kind], deadline)
    outcomes = list(_outcomes(story).values())
    return {
        "machine": machine(),
        "to": to,
        "seconds_uninterrupted": {kind: round(value, 1) for kind, value in seconds.items()},
        "deaths": len(outcomes),
        "of": len(deaths),
        "reruns_that_failed": sum("failed" in outcome for outcome in outcomes),
        "with_differing_tables": sum(bool(outcome.get("differing_tables")) for outcome in outcomes),
        "with_findings": sum(bool(outcome.get("wrong")) for outcome in outcomes),
        "mlflow_runs_without_end": sum(int(outcome.get("mlflow_runs_without_end", 0)) for outcome in outcomes),
    }


def _tell(story: Path, work: Path, death: Death, to: str, expected: Path, deadline: float) -> None:
    if time.monotonic() > deadline:
        return
    try:
        told = json.dumps(_die_and_rise(work, death, to, expected))
    except Exception as error:
        # A rerun that fails is the finding that this study looks for; it has to be told with the others.
        told = json.dumps({"number": death.number, "kind": death.kind, "failed": str(error)})
    with story.open("a", encoding="utf-8") as lines:
        lines.write(told + "\n")
    print(told, flush=True)


def _build_references(work: Path, races_per_year: int, to: str) -> dict[str, float]:
    """Build what every death is compared with; seconds of the backfill and of the nightly that follows."""
    shutil.rmtree(work, ignore_errors=True)
    inputs, late, whole, nightly = work / "inputs", work / "late.csv", work / "whole", work / "nightly"
    simulate(first_year=FIRST_YEAR, last_year=LAST_YEAR, races_per_year=races_per_year, seed=9, edge=0.5, out=inputs)
    _hold_back_last_day(inputs / "raceform" / f"simulated_{LAST_YEAR}.csv", late)
    _fresh(inputs, whole)
    backfill = _run(whole, to)
    _before_the_night(work, nightly)
    return {"backfill": backfill, "nightly": _run(nightly, to)}


def _die_and_rise(work: Path, death: Death, to: str, expected: Path) -> dict[str, Any]:
    root = work / f"victim_{death.number}"
    dice, moment, hit = random.Random(death.number), death.moment, False
    while not hit:
        shutil.rmtree(root, ignore_errors=True)
        if death.kind == "backfill":
            _fresh(work / "inputs", root)
        else:
            _before_the_night(work, root)
        began = time.perf_counter()
        hit = _killed_after(root, moment, to)
        if not hit:
            # It was quicker than the build the moments were drawn for: another moment of the time it really took.
            moment = dice.uniform(0.5, time.perf_counter() - began)
    _run(root, to)
    outcome = {
        "number": death.number,
        "kind": death.kind,
        "moment_seconds": round(moment, 2),
        "differing_tables": differing(expected, DataRoot(root).warehouse),
        "wrong": [
            f"{finding.check}: {finding.detail}"
            for finding in examine(DataRoot(root))
            if not finding.ok and finding.check not in IGNORED_CHECKS
        ],
        "mlflow_runs_without_end": _open_mlflow_runs(root),
    }
    if not outcome["differing_tables"] and not outcome["wrong"]:
        shutil.rmtree(root)
    return outcome


def _before_the_night(work: Path, root: Path) -> None:
    _restored(work / "whole", root)
    _hand_in(work / "late.csv", root)


def _outcomes(story: Path) -> dict[int, dict[str, Any]]:
    lines = story.read_text(encoding="utf-8").splitlines() if story.exists() else []
    return {outcome["number"]: outcome for outcome in map(json.loads, lines)}


def full_disk(work: Path, megabytes: int = 24, races_per_year: int = 300, to: str = "features") -> dict[str, object]:
    """A data root on a tmpfs that is too small: the run fails in plain words, and finishes once there is room.

    Needs the right to mount; without it that is what the result says.
    """
    inputs, mount = work / "disk_inputs", work / "small_disk"
    simulate(first_year=FIRST_YEAR, last_year=LAST_YEAR, races_per_year=races_per_year, seed=9, edge=0.5, out=inputs)
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
        first = subprocess.run(velo(root, "run", "--to", to), capture_output=True, text=True, cwd=PROJECT, check=False)
        subprocess.run(["mount", "-o", "remount,size=2g", str(mount)], check=True)
        again = subprocess.run(velo(root, "run", "--to", to), capture_output=True, text=True, cwd=PROJECT, check=False)
        reference = work / "disk_reference"
        shutil.rmtree(reference, ignore_errors=True)
        _fresh(inputs, reference)
        _run(reference, to)
        return {
            "megabytes": megabytes,
            "failed_when_full": first.returncode != 0,
            "message": (first.stdout + first.stderr)[-400:],
            "finished_with_room": again.returncode == 0,
            "differing_tables": differing(DataRoot(reference).warehouse, DataRoot(root).warehouse),
        }
    finally:
        subprocess.run(["umount", str(mount)], check=False)


def little_memory(work: Path, rows: int, limit: str = "2GB") -> dict[str, object]:
    """Land and build core and features with DuckDB held to 2 GB and to the usual limit: slower, and the same.

    Args:
        work: scratch folder; a world of this size that a benchmark left there is used.
        rows: simulated runs.
        limit: the little memory.

    Returns:
        Seconds and peak memory of both, gigabytes that were spilled to disk, and tables that differ.
    """
    from benchmarks.__main__ import simulated
    from benchmarks.pipeline import linked

    world = simulated(work, rows)
    told: dict[str, object] = {"machine": machine()}
    built = []
    for name, memory in (("usual", None), ("little", limit)):
        root = linked(world, work / f"memory_{name}")
        watch = _SpillWatch(root.path / "warehouse.duckdb.tmp")
        with watch:
            done = run_measured([sys.executable, "-c", _BUILD, str(root.path), memory or ""])
        if done.code:
            return {**told, name: f"failed: {done.output[-800:]}"}
        told[name] = {
            "memory_limit": memory or Warehouse(root.warehouse).memory_limit,
            "seconds": round(done.seconds, 1),
            "peak_gb": round(done.peak_gb, 2),
            "spilled_gb": round(watch.most / 1e9, 2),
        }
        built.append(root.warehouse)
    return {**told, "differing_tables": differing(*built)}


_BUILD = """
import sys
from pathlib import Path
from benchmarks.pipeline import build_layer, years_of
from velo_assets.ingestion.landing import land
from velo_assets.settings import DataRoot
from velo_assets.warehouse.connection import Warehouse

root = DataRoot(Path(sys.argv[1]))
warehouse = Warehouse(root.warehouse, memory_limit=sys.argv[2]) if sys.argv[2] else Warehouse(root.warehouse)
with warehouse.connect("little memory") as connection:
    land(root, connection)
    years = years_of(connection)
    for layer in ("core", "features"):
        build_layer(connection, layer, *years)
"""


class _SpillWatch:
    """The most bytes seen in DuckDB's folder of spilled data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most, self._done = folder, 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.2):
            try:
                self.most = max(self.most, sum(path.stat().st_size for path in self.folder.glob("*")))
            except FileNotFoundError:
                continue


def _fresh(inputs: Path, root: Path) -> None:
    root.mkdir(parents=True)
    shutil.copytree(inputs / "raceform", root / "raceform")


def _restored(source: Path, root: Path) -> None:
    from velo_assets.ingestion.landing import create_views

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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sudden_death", description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--moments", type=int, default=15, help="kills of the backfill, and as many of the nightly")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="of this sitting; the next goes on in the same --work"
    )
    parser.add_argument("--jobs", type=int, default=1, help="kills at the same time")
    parser.add_argument("--to", default="serving", help="last layer")
    parser.add_argument("--races", type=int, default=540, help="races a year")
    parser.add_argument("--full-disk", action="store_true", help="the full-disk study instead")
    parser.add_argument("--megabytes", type=int, default=24, help="of the disk that is too small")
    parser.add_argument("--little-memory", type=int, metavar="ROWS", help="the memory study instead, on so many runs")
    arguments = parser.parse_args()
    if arguments.full_disk:
        result = full_disk(arguments.work, arguments.megabytes, arguments.races, arguments.to)
    elif arguments.little_memory:
        result = little_memory(arguments.work, arguments.little_memory)
    else:
        result = study(
            arguments.work,
            arguments.moments,
            races_per_year=arguments.races,
            to=arguments.to,
            minutes=arguments.minutes,
            jobs=arguments.jobs,
        )
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
