"""One small simulated world, built once through Dagster, for every test that needs a warehouse."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from velo_assets.automation.instance import velo_instance
from velo_assets.automation.runner import Outcome, run_chain
from velo_assets.definitions import defs
from velo_assets.settings import DataRoot
from velo_assets.simulation.world import simulate
from velo_assets.warehouse.connection import Warehouse

YEARS = (2021, 2022, 2023)


@dataclass(frozen=True)
class BuiltWorld:
    """A data root after one run of the whole chain."""

    root: DataRoot
    instance: dg.DagsterInstance
    outcome: Outcome

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.root.warehouse)


@pytest.fixture(scope="session")
def built_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuiltWorld]:
    path = tmp_path_factory.mktemp("world")
    simulate(first_year=YEARS[0], last_year=YEARS[-1], races_per_year=540, seed=5, edge=0.5, out=path)
    root = DataRoot(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VELO_DATA", str(path))
        patch.setenv("DAGSTER_HOME", os.environ.get("DAGSTER_HOME", str(Path(__file__).resolve().parent.parent)))
        with velo_instance(root) as instance:
            yield BuiltWorld(root, instance, run_chain(defs, instance, root))
