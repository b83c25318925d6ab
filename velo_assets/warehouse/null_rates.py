"""Null rates of the feature families, kept by the check that has just counted them for the reports that quote them.

Belongs here: the table meta.null_rates and when a kept rate still holds. Does not belong here: the counting
(null_policy.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import duckdb

from velo_assets.code_versions import code_version
from velo_assets.warehouse.builds import stored_fingerprints
from velo_assets.warehouse.null_policy import count_nulls_of, family_null_rate, null_rates

COUNTED_FROM = ("core/entries", "core/races")
"""What a count reads besides the family itself."""


def keep_null_rate(connection: duckdb.DuckDBPyConnection, family: str, rate: float) -> None:
    """Keep the rate that was just counted; nothing is kept of a family without a record of its build.

    Args:
        connection: an open warehouse.
        family: `features/...`.
        rate: from `null_policy.family_null_rate`.
    """
    state = _states(connection, [family])[family]
    if state is not None:
        _ensure(connection)
        connection.execute("insert or replace into meta.null_rates values (?, ?, ?)", [family, state, rate])


def family_null_rates(connection: duckdb.DuckDBPyConnection, families: Sequence[str]) -> dict[str, float]:
    """Null rate of each family over the rows where a value can exist, counted only where no kept rate holds.

    Args:
        connection: an open warehouse with the families built.
        families: `features/...`, one row per runner.
    """
    _ensure(connection)
    states = _states(connection, families)
    kept = {
        family: rate
        for family, state, rate in connection.execute("select family, state, rate from meta.null_rates").fetchall()
        if states.get(family) == state
    }
    missing = [family for family in families if family not in kept]
    for counts in count_nulls_of(connection, missing) if missing else ():
        kept[counts.family] = family_null_rate(null_rates(counts))
        keep_null_rate(connection, counts.family, kept[counts.family])
    return {family: kept[family] for family in families}


def _ensure(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "create table if not exists meta.null_rates (family varchar primary key, state varchar, rate double)"
    )


def _states(connection: duckdb.DuckDBPyConnection, families: Sequence[str]) -> dict[str, str | None]:
    """Hash of what each family was built from, of the tables and of the code it is counted with; None without a build
    record."""
    stored = sorted(stored_fingerprints(connection).items())
    recorded = {name for (name, _), _ in stored}
    states: dict[str, str | None] = {}
    for family in families:
        parts = [code_version("warehouse/null_policy")]
        parts += [f"{name} {year} {word}" for (name, year), word in stored if name in (family, *COUNTED_FROM)]
        states[family] = hashlib.sha256("\n".join(parts).encode()).hexdigest() if family in recorded else None
    return states
