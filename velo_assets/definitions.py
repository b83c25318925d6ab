"""The code location: assets, checks, jobs, schedules, sensors and resources put together. No work at import."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from velo_assets.assets import all_assets
from velo_assets.automation.freshness import with_freshness
from velo_assets.automation.jobs import JOBS
from velo_assets.automation.registry_jobs import REGISTRY_JOBS
from velo_assets.automation.schedules import SCHEDULES
from velo_assets.automation.sensors import SENSORS
from velo_assets.checks import all_checks
from velo_assets.resources.data import DataRootResource, WarehouseResource
from velo_assets.resources.models import RegistryResource
from velo_assets.resources.notifier import NotifierResource


def build_defs(*, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions of the project.

    Args:
        resource_overrides: resources to put in place of the usual ones, by name; tests build small code locations so.

    Returns:
        Definitions that run in process: a step is short and imports are dear (see docs/architecture.md).
    """
    with warnings.catch_warnings():
        # Backfill policies are beta in Dagster 1.13; one warning an asset says nothing a reader can act on.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions(
            assets=[with_freshness(asset) for asset in all_assets()],
            asset_checks=all_checks(),
            jobs=[*JOBS, *REGISTRY_JOBS],
            schedules=SCHEDULES,
            sensors=SENSORS,
            resources={
                "data_root": DataRootResource(),
                "warehouse": WarehouseResource(),
                "model_registry": RegistryResource(),
                "notifier": NotifierResource(),
                **(resource_overrides or {}),
            },
            executor=dg.in_process_executor,
        )


defs = build_defs()
