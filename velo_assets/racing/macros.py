"""Registers every raceform macro on a DuckDB connection, so that SQL files can call them by name."""

from __future__ import annotations

from importlib import import_module
from weakref import WeakSet

import duckdb

MACRO_MODULES = (
    "velo_assets.racing.identity",
    "velo_assets.racing.odds",
    "velo_assets.racing.distances",
    "velo_assets.racing.weights",
    "velo_assets.racing.times",
    "velo_assets.racing.positions",
    "velo_assets.racing.courses",
    "velo_assets.racing.clock",
    "velo_assets.racing.race_identity",
    "velo_assets.racing.headgear",
    "velo_assets.racing.goings",
    "velo_assets.racing.conditions",
    "velo_assets.racing.comments",
    "velo_assets.ingestion.betfair_sp",
)
"""Modules that bring `MACROS`, in an order in which each macro only uses earlier ones."""


_REGISTERED: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()
"""Connections that have the macros: making them takes longer than building a day of a core table."""


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Create all macros as temporary ones: they live as long as the connection and leave nothing in the file.

    A second call on the same connection does nothing. To be called outside of transactions: a rollback would take the
    macros back unnoticed.
    """
    if connection in _REGISTERED:
        return
    for module in MACRO_MODULES:
        for statement in import_module(module).MACROS:
            connection.execute(statement)
    _REGISTERED.add(connection)
