"""Builds some model assets of a data root anew, through Dagster, and prints how long each took.

python -m benchmarks.model_assets models/fundamental models/blend   (VELO_DATA names the root)

Belongs here: launching, so that a benchmark can watch a process of its own. Not here: what is measured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from velo_assets.automation.instance import velo_instance
from velo_assets.automation.runner import Outcome, execute
from velo_assets.definitions import defs
from velo_assets.settings import DataRoot
from velo_assets.warehouse.connection import Warehouse

TOTAL = "all together"


def build(assets: Sequence[str]) -> None:
    """Build every year of the assets and print a line each, and one for all: name, tab, seconds."""
    root = DataRoot.from_environment()
    with Warehouse(root.warehouse).read("benchmark") as connection:
        first, last = connection.execute(
            "select min(year(race_date)), max(year(race_date)) from core.results"
        ).fetchall()[0]
    outcome = Outcome()
    with velo_instance(root) as instance:
        began = time.perf_counter()
        execute(defs, instance, "refresh", outcome, assets=assets, years=(int(first), int(last)))
        seconds = time.perf_counter() - began
        steps = {name.replace("/", "__") for name in assets}
        for step in instance.get_run_step_stats(outcome.run_ids[-1]):
            if step.step_key not in steps:
                continue
            print(f"{step.step_key}\t{(step.end_time or 0.0) - (step.start_time or 0.0):.1f}")
    print(f"{TOTAL}\t{seconds:.1f}")


if __name__ == "__main__":
    build(sys.argv[1:])
