"""The model registry as a Dagster resource that hands out the plain domain object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from velo_assets.settings import DataRoot

if TYPE_CHECKING:
    from velo_assets.modelling.registry import ModelRegistry


class RegistryResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """MLflow on SQLite below the data root."""

    lock_timeout_seconds: float = Field(default=120.0, description="How long to wait for another process.")

    def registry(self) -> ModelRegistry:
        """The registry of the data root."""
        from velo_assets.modelling.registry import ModelRegistry

        root = DataRoot.from_environment()
        return ModelRegistry(root.mlflow_uri, root.mlartifacts, self.lock_timeout_seconds)
