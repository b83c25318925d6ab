"""Jobs on the model registry: what `velo promote`, `velo rollback` and `velo retire` do, from the UI.

Belongs here: the ops and their jobs, and what a change of champion leaves out of date. Does not belong here: the
registry and the gate (modelling).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from velo_assets.assets.serving import strike_made_by_champion
from velo_assets.resources.data import WarehouseResource
from velo_assets.resources.models import CHAMPION_NAME, RegistryResource
from velo_assets.warehouse.connection import Warehouse

if TYPE_CHECKING:
    from velo_assets.modelling.registry import RegisteredModel


def change_champion(warehouse: Warehouse, change: Callable[[], "RegisteredModel"]) -> "RegisteredModel":
    """Promote, roll back or retire, and strike what the version before has made, so that the next run builds it anew.

    The warehouse is held for both: when it is busy for too long, or the gate refuses, nothing has happened.

    Args:
        warehouse: of the data root; one that is not there is not made.
        change: the step in the registry.

    Raises:
        WarehouseLockTimeout: someone held the warehouse all the while.
        RegistryError: as `change` does.
    """
    if not warehouse.path.exists():
        return change()
    with warehouse.connect("a change of champion") as connection:
        model = change()
        strike_made_by_champion(connection)
    return model


class PromoteConfig(dg.Config):
    """Which version."""

    version: int = Field(description="Version to make champion; the gate must have passed it.")


@dg.op(description="Make a registered version the champion, on the strength of the gate's stored decision.")
def promote_version(
    context: dg.OpExecutionContext,
    config: PromoteConfig,
    warehouse: WarehouseResource,
    model_registry: RegistryResource,
) -> dg.Output[int]:
    """Promote; fails with the gate's words when it refused."""
    registry = model_registry.registry()
    model = change_champion(warehouse.warehouse(), lambda: registry.promote(CHAMPION_NAME, config.version))
    context.log.info(f"{model.label} is champion.")
    return dg.Output(
        model.version, metadata={"champion": model.label, "previous_champion": str(model.previous_champion)}
    )


@dg.op(description="Make the version that the champion replaced the champion again.")
def roll_back_champion(
    context: dg.OpExecutionContext, warehouse: WarehouseResource, model_registry: RegistryResource
) -> dg.Output[int]:
    """Roll back; fails when there is nothing to return to."""
    registry = model_registry.registry()
    model = change_champion(warehouse.warehouse(), lambda: registry.rollback(CHAMPION_NAME))
    context.log.info(f"{model.label} is champion again.")
    return dg.Output(model.version, metadata={"champion": model.label})


@dg.op(description="Set the champion aside, so that the version trained next is held against the market.")
def retire_champion(
    context: dg.OpExecutionContext, warehouse: WarehouseResource, model_registry: RegistryResource
) -> dg.Output[int]:
    """Retire; fails when there is no champion."""
    registry = model_registry.registry()
    model = change_champion(warehouse.warehouse(), lambda: registry.retire(CHAMPION_NAME))
    context.log.info(f"{model.label} is champion no more.")
    return dg.Output(model.version, metadata={"retired": model.label})


@dg.job(name="promote", description="Promote a version that passed the gate; ask for it by number in the launchpad.")
def promote() -> None:
    """One op."""
    promote_version()


@dg.job(name="rollback", description="Make the previous champion the champion again.")
def rollback() -> None:
    """One op."""
    roll_back_champion()


@dg.job(name="retire", description="Set the champion aside: the version trained next is held against the market.")
def retire() -> None:
    """One op."""
    retire_champion()


REGISTRY_JOBS = (promote, rollback, retire)
