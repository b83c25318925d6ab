"""Ties build records to Dagster assets: what an asset is to the planner, and writing down that it was built.

Belongs here: the translation. Does not belong here: fingerprints and planning (warehouse/builds.py).
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg
import duckdb

from velo_assets.ingestion.manifest import year_fingerprints
from velo_assets.partitions import Window
from velo_assets.warehouse.builds import WHOLE, Node, record_build


def node_of(assets_def: dg.AssetsDefinition) -> Node:
    """The planner's view of a single-asset definition."""
    spec = next(iter(assets_def.specs))
    name = spec.key.to_user_string()
    return Node(
        name=name,
        code_version=spec.code_version or "",
        dependencies=tuple(sorted(dep.asset_key.to_user_string() for dep in spec.deps if dep.asset_key != spec.key)),
        is_yearly=spec.partitions_def is not None,
        is_landing=name.startswith("landing/"),
    )


def nodes_of(assets: Iterable[dg.AssetsDefinition]) -> list[Node]:
    """All assets, dependencies before dependants."""
    from graphlib import TopologicalSorter

    nodes = {node.name: node for node in map(node_of, assets)}
    order = TopologicalSorter({name: node.dependencies for name, node in nodes.items()}).static_order()
    return [nodes[name] for name in order if name in nodes]


def window_years(window: Window | None) -> tuple[int, ...]:
    """The years a build covers; an unpartitioned asset is one whole."""
    return window.years if window else (WHOLE,)


def record(
    connection: duckdb.DuckDBPyConnection, context: dg.AssetExecutionContext, window: Window | None, rows: int
) -> None:
    """Write down that the running asset was built for its window."""
    record_build(connection, node_of(context.assets_def), window_years(window), year_fingerprints(connection), rows)
