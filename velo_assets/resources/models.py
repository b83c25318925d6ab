"""The model registry as a Dagster resource that hands out the plain domain object."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from velo_assets.settings import DataRoot

if TYPE_CHECKING:
    from velo_assets.modelling.registry import ModelRegistry

CHAMPION_NAME = "velo"
"""Registered name of the whole recipe: fundamental model, experts, gate and blend as one version."""


def registry_of(root: DataRoot, lock_timeout_seconds: float = 120.0) -> ModelRegistry:
    """The registry of a data root."""
    from velo_assets.modelling.registry import ModelRegistry

    return ModelRegistry(root.mlflow_uri, root.mlartifacts, lock_timeout_seconds)


class RegistryResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """MLflow on SQLite below the data root."""

    lock_timeout_seconds: float = Field(default=120.0, description="How long to wait for another process.")

    def registry(self) -> ModelRegistry:
        """The registry of the data root."""
        return registry_of(DataRoot.from_environment(), self.lock_timeout_seconds)

    def training_window(self, name: str) -> tuple[date, date] | None:
        """First and last training day of the version that predicts; None before there is any."""
        registry = self.registry()
        if not registry.exists():
            return None
        model = registry.champion(name) or registry.challenger(name)
        if model is None:
            return None
        return date.fromisoformat(model.metadata["data_start"]), date.fromisoformat(model.metadata["data_end"])
