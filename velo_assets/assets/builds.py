"""Ties build records to Dagster assets: what an asset is to the planner, and writing down that it was built.

Belongs here: the translation. Does not belong here: fingerprints and planning (warehouse/builds.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter

import dagster as dg
import duckdb

from velo_assets.partitions import Window
from velo_assets.warehouse.builds import WHOLE, Node, inputs_now, record_build


def node_of(spec: dg.AssetSpec) -> Node:
    """The planner's view of an asset."""
    name = spec.key.to_user_string()
    return Node(
        name=name,
        code_version=spec.code_version or "",
        dependencies=tuple(sorted(dep.asset_key.to_user_string() for dep in spec.deps if dep.asset_key != spec.key)),
        is_yearly=spec.partitions_def is not None,
        is_landing=name.startswith("landing/"),
    )


def nodes_of(assets: Iterable[object] | None) -> list[Node]:
    """All assets, dependencies before dependants; what else `Definitions.assets` may hold is passed over."""
    built_here = (asset for asset in assets or () if isinstance(asset, dg.AssetsDefinition))
    nodes = {node.name: node for asset in built_here for node in map(node_of, asset.specs)}
    order = TopologicalSorter({name: node.dependencies for name, node in nodes.items()}).static_order()
    return [nodes[name] for name in order if name in nodes]


def inputs_of(
    connection: duckdb.DuckDBPyConnection, context: dg.AssetExecutionContext, window: Window | None
) -> dict[int, str]:
    """Fingerprint the inputs of the running asset, to be taken before they are read."""
    from velo_assets.ingestion.manifest import year_fingerprints

    years = window.years if window else (WHOLE,)
    return inputs_now(connection, _node(context), years, year_fingerprints(connection))


def record(connection: duckdb.DuckDBPyConnection, context: dg.AssetExecutionContext, inputs: Mapping[int, str]) -> None:
    """Write down that the running asset was built from these inputs."""
    record_build(connection, _node(context).name, inputs)


def _node(context: dg.AssetExecutionContext) -> Node:
    return node_of(next(iter(context.assets_def.specs)))
