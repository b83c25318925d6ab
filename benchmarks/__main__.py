"""python -m benchmarks [--quick] [--rows N] [names...]: every measured claim beside its yardstick.

Each benchmark runs in a process of its own, so that its peak memory is its own. Figures go to benchmarks/results/
(JSON and a picture) and, one line a run, to benchmarks/history.jsonl; both are git-ignored.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import PROJECT, Figure, machine, run_measured
from velo_assets.settings import DataRoot

RESULTS = PROJECT / "benchmarks" / "results"
HISTORY = PROJECT / "benchmarks" / "history.jsonl"
ROWS, QUICK_ROWS = 1_900_000, 60_000
YEARS = (2016, 2025)
ROWS_PER_RACE = 9.04
"""Runners per race of the simulated world."""
GROWTH_SIZES = (0.05, 0.25, 1.0, 2.1)
"""Parts of --rows: 0.1, 0.5, 1.9 and 4 million at the default."""
MEMORY_LIMITS_GB = {"landing_and_core": 4.0, "features": 6.0}


def benchmarks() -> dict[str, Callable[[DataRoot, Path, int], list[Figure]]]:
    """Every benchmark by name; the longest last."""
    from benchmarks import dagster_cost, models, pipeline

    return {
        "code_location": lambda world, scratch, rows: dagster_cost.code_location(),
        "bookkeeping": lambda world, scratch, rows: dagster_cost.bookkeeping(),
        "landing_and_core": lambda world, scratch, rows: pipeline.landing_and_core(world, scratch),
        "nightly": lambda world, scratch, rows: pipeline.nightly_independence(world, scratch),
        "settlement": lambda world, scratch, rows: models.settlement(scratch, rows),
        "matrix": lambda world, scratch, rows: pipeline.matrix_100k(simulated(scratch, min(rows, 100_000)), scratch),
        "features": lambda world, scratch, rows: pipeline.features(world, scratch),
        "three_families": lambda world, scratch, rows: pipeline.three_families(world, scratch),
        "growth": growth,
        "chain": lambda world, scratch, rows: models.whole_chain(unbuilt(scratch, rows)),
        "latency": lambda world, scratch, rows: models.latency(world, scratch),
        "walk_forward": lambda world, scratch, rows: models.walk_forward(world),
    }


def growth(world: DataRoot, scratch: Path, rows: int) -> list[Figure]:
    """Seconds of landing, core and features at four sizes; slope of log seconds against log rows."""
    from benchmarks import pipeline
    from velo_assets.ingestion.landing import land
    from velo_assets.warehouse.connection import Warehouse

    sizes, seconds = [], []
    for part in GROWTH_SIZES:
        root = simulated(scratch, int(rows * part))
        with Warehouse(root.warehouse).connect("benchmark") as connection:
            began = time.perf_counter()
            land(root, connection)
            first, last = pipeline.years_of(connection)
            pipeline.build_layer(connection, "core", first, last)
            pipeline.build_layer(connection, "features", first, last)
            seconds.append(time.perf_counter() - began)
            sizes.append(connection.execute("select count(*) from core.entries").fetchall()[0][0])
        shutil.rmtree(root.path)
    x, y = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    note = ", ".join(f"{size:,}: {second:.1f} s" for size, second in zip(sizes, seconds, strict=True))
    RESULTS.mkdir(exist_ok=True)
    _growth_picture(sizes, seconds, slope, RESULTS / "growth.png")
    return [Figure("growth, slope of log-log", slope, "ratio", 1.1, note)]


def _growth_picture(sizes: list[int], seconds: list[float], slope: float, path: Path) -> None:
    """Seconds against rows, both as logarithms, beside a line of slope 1 through the largest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    canvas, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    axes.loglog(sizes, seconds, "o-", color="#2a7f62", label=f"landing, core and features: slope {slope:.2f}")
    linear = [seconds[-1] * size / sizes[-1] for size in sizes]
    axes.loglog(sizes, linear, "--", color="#999999", label="slope 1")
    for size, second in zip(sizes, seconds, strict=True):
        axes.annotate(f"{second:.0f} s", (size, second), textcoords="offset points", xytext=(6, -12), fontsize=8)
    axes.set_xlabel("runs")
    axes.set_ylabel("seconds by the clock")
    axes.legend()
    canvas.savefig(path, dpi=120)
    pyplot.close(canvas)


def simulated(folder: Path, rows: int) -> DataRoot:
    """A data root with about `rows` simulated runs in ten seasons; written once per folder and size."""
    from velo_assets.simulation.world import simulate

    root = DataRoot(folder / f"world_{rows}")
    if not (root.raceform / "SIMULATED.json").exists():
        races = max(60, round(rows / ROWS_PER_RACE / (YEARS[1] - YEARS[0] + 1)))
        simulate(first_year=YEARS[0], last_year=YEARS[1], races_per_year=races, seed=7, edge=0.5, out=root.path)
    return root


def unbuilt(folder: Path, rows: int) -> DataRoot:
    """The same with nothing built: of what an earlier benchmark left, the chain would find everything up to date."""
    from velo_assets.maintenance import clean

    root = simulated(folder, rows)
    if root.warehouse.exists():
        clean(root)
    return simulated(folder, rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which ones; all by default: {', '.join(benchmarks())}")
    parser.add_argument("--rows", type=int, default=ROWS, help="runs of the simulated world")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows: shows that all of it works")
    parser.add_argument("--work", type=Path, help="scratch folder, kept; a temporary one by default")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - benchmarks().keys()
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(benchmarks())}")
    rows = QUICK_ROWS if arguments.quick else arguments.rows
    if arguments.alone:
        (name,) = arguments.names
        figures = benchmarks()[name](simulated(arguments.work, rows), arguments.work, rows)
        arguments.alone.write_text(json.dumps([asdict(figure) for figure in figures]), encoding="utf-8")
        return 0
    work = arguments.work or Path(tempfile.mkdtemp(prefix="velo-bench-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        return _measure(list(arguments.names) or list(benchmarks()), work, rows)
    finally:
        if arguments.work is None:
            shutil.rmtree(work, ignore_errors=True)


def _measure(names: list[str], work: Path, rows: int) -> int:
    about = machine()
    print(f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, load {about['load_1m']}")
    simulated(work, rows)
    found: dict[str, list[Figure]] = {}
    failed = False
    for name in names:
        answer = work / f"{name}_{rows}.json"
        answer.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks", name, "--rows", str(rows), "--work", str(work)]
        done = run_measured([*command, "--alone", str(answer)])
        if done.code or not answer.exists():
            failed = True
            print(f"{name}: failed\n{done.output[-1500:]}")
            continue
        found[name] = [Figure(**figure) for figure in json.loads(answer.read_text(encoding="utf-8"))]
        found[name].append(Figure(f"{name}, peak memory", done.peak_gb, "GB", MEMORY_LIMITS_GB.get(name)))
        found[name].append(
            Figure(f"{name}, processor time", done.cpu_seconds, "s", note="of all cores; setting up included")
        )
        for figure in found[name]:
            print(_line(figure), flush=True)
    record = {
        "machine": about,
        "rows": rows,
        "figures": {name: [asdict(figure) for figure in figures] for name, figures in found.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "benchmarks.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    with HISTORY.open("a", encoding="utf-8") as history:
        history.write(json.dumps(record) + "\n")
    _picture([figure for figures in found.values() for figure in figures], about, RESULTS / "benchmarks.png")
    print(f"{RESULTS / 'benchmarks.json'}\n{RESULTS / 'benchmarks.png'}")
    return int(failed)


def _line(figure: Figure) -> str:
    limit = "" if figure.limit is None else f"at most {figure.limit:g}: {'holds' if figure.holds else 'FELL SHORT'}"
    return f"{figure.name:<48}{figure.value:>10.2f} {figure.unit:<6} {limit:<24} {figure.note}"


def _picture(figures: list[Figure], about: dict[str, object], path: Path) -> None:
    """Every figure that has a limit, as a part of it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    limited = [figure for figure in figures if figure.limit]
    if not limited:
        return
    canvas, axes = pyplot.subplots(figsize=(9, 1 + 0.35 * len(limited)), layout="constrained")
    parts = [figure.value / (figure.limit or 1.0) for figure in limited]
    axes.barh(
        [figure.name for figure in limited], parts, color=["#2a7f62" if part <= 1 else "#b3402e" for part in parts]
    )
    for row, figure in enumerate(limited):
        text = f" {figure.value:.2f} of {figure.limit:g} {figure.unit}"
        axes.text(parts[row], row, text, va="center", fontsize=8)
    axes.axvline(1.0, color="#333333", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("part of the limit")
    axes.set_xlim(0, max(1.3, 1.25 * max(parts)))
    axes.set_title(f"{about['processor']}, {about['cores']} cores, load {about['load_1m']}", fontsize=9)
    canvas.savefig(path, dpi=120)
    pyplot.close(canvas)


if __name__ == "__main__":
    sys.exit(main())
