"""Jobs on the model registry: what `velo promote`, `velo rollback` and `velo retire` do, from the UI.

Belongs here: the ops and their jobs. Does not belong here: the registry and the gate (modelling).
"""

import dagster as dg
from pydantic import Field

from velo_assets.resources.models import CHAMPION_NAME, RegistryResource


class PromoteConfig(dg.Config):
    """Which version."""

    version: int = Field(description="Version to make champion; the gate must have passed it.")


@dg.op(description="Make a registered version the champion, on the strength of the gate's stored decision.")
def promote_version(
    context: dg.OpExecutionContext, config: PromoteConfig, model_registry: RegistryResource
) -> dg.Output[int]:
    """Promote; fails with the gate's words when it refused."""
    model = model_registry.registry().promote(CHAMPION_NAME, config.version)
    context.log.info(f"{model.label} is champion.")
    return dg.Output(
        model.version, metadata={"champion": model.label, "previous_champion": str(model.previous_champion)}
    )


@dg.op(description="Make the version that the champion replaced the champion again.")
def roll_back_champion(context: dg.OpExecutionContext, model_registry: RegistryResource) -> dg.Output[int]:
    """Roll back; fails when there is nothing to return to."""
    model = model_registry.registry().rollback(CHAMPION_NAME)
    context.log.info(f"{model.label} is champion again.")
    return dg.Output(model.version, metadata={"champion": model.label})


@dg.op(description="Set the champion aside, so that the version trained next is held against the market.")
def retire_champion(context: dg.OpExecutionContext, model_registry: RegistryResource) -> dg.Output[int]:
    """Retire; fails when there is no champion."""
    model = model_registry.registry().retire(CHAMPION_NAME)
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
