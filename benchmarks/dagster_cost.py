"""What Dagster itself costs: loading the code location, and the bookkeeping of a ten-year backfill."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import dagster as dg

from benchmarks.measure import PROJECT, Figure
from velo_assets.assets.builds import nodes_of
from velo_assets.partitions import YEARLY, range_tags

LOADS = 3


def code_location() -> list[Figure]:
    """Importing the definitions and resolving them, in a fresh process; the best of three, and of `import dagster`."""
    whole = min(
        _seconds_of("from velo_assets.definitions import defs; defs.get_repository_def()") for _ in range(LOADS)
    )
    bare = min(_seconds_of("import dagster") for _ in range(LOADS))
    return [
        Figure("code location load", whole, "s", 3.0, f"fresh process, of which `import dagster` {bare:.2f} s"),
    ]


def bookkeeping() -> list[Figure]:
    """A ten-year backfill of as many empty yearly assets as the project has: what remains is Dagster."""
    from velo_assets.definitions import defs as project

    known = nodes_of(project.assets)
    yearly = sum(node.is_yearly for node in known)
    assets = []
    for number in range(yearly):

        @dg.asset(
            name=f"empty_{number}",
            deps=[f"empty_{number - 1}"] if number else [],
            partitions_def=YEARLY,
            backfill_policy=dg.BackfillPolicy.single_run(),
        )
        def empty() -> None:
            return None

        assets.append(empty)
    job = dg.define_asset_job("all_of_them", selection="*")
    defs = dg.Definitions(assets=assets, jobs=[job])
    with tempfile.TemporaryDirectory() as folder, dg.instance_for_test(temp_dir=folder) as instance:
        began = time.perf_counter()
        result = defs.resolve_job_def("all_of_them").execute_in_process(
            instance=instance, tags=range_tags(2016, 2025),
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        )  # fmt: skip
        seconds = time.perf_counter() - began
        events = len(result.all_events)
    return [
        Figure("bookkeeping of a ten-year backfill", seconds, "s", note=f"{yearly} empty assets, {events} events"),
    ]


def _seconds_of(statement: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, cwd=PROJECT, env=dict(os.environ))
    return time.perf_counter() - began
