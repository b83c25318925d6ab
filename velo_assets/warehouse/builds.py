"""Remembers what every table and year was built from, and tells what is out of date.

A fingerprint is a hash of an asset's code, of the settings found for it, and of the fingerprints of all it reads, up to
the same year: content, not time. `velo run` builds what differs and nothing else; a rerun on unchanged files changes
nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

WHOLE = 0
"""The year of an asset that has no partitions."""

_SETTINGS = "settings of "
"""Precedes the name of an asset in the records: settings found for a year, which hold until those of a later one. It is
no layer, so that nobody counts them as tables."""


@dataclass(frozen=True)
class Node:
    """An asset as the planner sees it.

    Attributes:
        name: `schema/table`.
        code_version: changes when the asset's code changes.
        dependencies: names of the assets it reads.
        is_yearly: partitioned by year, else one whole.
        is_landing: built from files, with fingerprints of its own.
    """

    name: str
    code_version: str
    dependencies: tuple[str, ...]
    is_yearly: bool
    is_landing: bool = False


Fingerprints = dict[tuple[str, int], str]
"""(asset, year) to fingerprint; year WHOLE for unpartitioned assets."""


def ensure_builds(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table of build records when it is missing."""
    connection.execute(
        "create table if not exists meta.builds ("
        "name varchar, year integer, fingerprint varchar, built_at timestamptz, "
        "primary key (name, year))"
    )


def stored_fingerprints(connection: duckdb.DuckDBPyConnection) -> Fingerprints:
    """Every recorded fingerprint."""
    ensure_builds(connection)
    rows = connection.execute("select name, year, fingerprint from meta.builds").fetchall()
    return {(str(name), int(year)): str(fingerprint) for name, year, fingerprint in rows}


def inputs_now(
    connection: duckdb.DuckDBPyConnection, node: Node, years: Iterable[int], landed: Mapping[int, str]
) -> dict[int, str]:
    """Fingerprint of each year of an asset, from what its inputs are at this moment.

    Args:
        connection: an open warehouse.
        node: the asset.
        years: years to be built; WHOLE for an unpartitioned asset.
        landed: fingerprint of the landed files per year.
    """
    stored = stored_fingerprints(connection)
    return {year: _fingerprint(node, year, stored, landed) for year in years}


def record_build(connection: duckdb.DuckDBPyConnection, name: str, inputs: Mapping[int, str]) -> None:
    """Write down that years of an asset were built from the inputs fingerprinted when they were read.

    Args:
        connection: an open warehouse.
        name: the asset.
        inputs: from `inputs_now`, taken before the inputs were read: what another process changes while a model trains
            then leaves the asset out of date, as it is.
    """
    ensure_builds(connection)
    now = datetime.now(UTC)
    for year, fingerprint in inputs.items():
        connection.execute(
            "insert or replace into meta.builds (name, year, fingerprint, built_at) values (?, ?, ?, ?)",
            [name, year, fingerprint, now],
        )


def forget_build(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Strike an asset from the records, because a blocking check refused it: the next run builds and checks it anew."""
    ensure_builds(connection)
    connection.execute("delete from meta.builds where name = ?", [name])


def forget_years(connection: duckdb.DuckDBPyConnection, names: Iterable[str], first: int, last: int) -> None:
    """Strike years of assets from the records, because someone wants them built again whatever they hold."""
    ensure_builds(connection)
    connection.execute(
        "delete from meta.builds where list_contains($names, name) and year between $first and $last",
        {"names": list(names), "first": first, "last": last},
    )


def forget_other_years(connection: duckdb.DuckDBPyConnection, name: str, first: int, last: int) -> None:
    """Strike all but some years of an asset from the records, because those have changed the columns of its table."""
    ensure_builds(connection)
    connection.execute("delete from meta.builds where name = ? and year not between ? and ?", [name, first, last])


def keep_settings(connection: duckdb.DuckDBPyConnection, name: str, found: Mapping[int, Mapping[str, Any]]) -> None:
    """Keep settings that a search found for an asset, each from a year on: it and later ones are then out of date.

    Args:
        connection: an open warehouse.
        name: the asset.
        found: JSON-ready settings by year.
    """
    _ensure_settings(connection)
    for year, settings in found.items():
        text = json.dumps(settings, sort_keys=True)
        connection.execute("insert or replace into meta.settings values (?, ?, ?)", [name, year, text])
        record_build(connection, _SETTINGS + name, {year: hashlib.sha256(text.encode()).hexdigest()})


def forget_settings(connection: duckdb.DuckDBPyConnection, name: str, first: int, last: int) -> None:
    """Strike what was found for an asset for some years."""
    _ensure_settings(connection)
    connection.execute("delete from meta.settings where name = ? and year between ? and ?", [name, first, last])
    ensure_builds(connection)
    forget_years(connection, [_SETTINGS + name], first, last)


def found_settings(connection: duckdb.DuckDBPyConnection, name: str) -> dict[int, dict[str, Any]]:
    """Settings that were found for an asset, by the year from which on they hold."""
    _ensure_settings(connection)
    rows = connection.execute("select year, settings from meta.settings where name = ? order by year", [name])
    return {int(year): json.loads(text) for year, text in rows.fetchall()}


def is_of_settings(name: str) -> bool:
    """Whether a record is of settings found, not of a build: it says what a year should be made with."""
    return name.startswith(_SETTINGS)


def _ensure_settings(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "create table if not exists meta.settings ("
        "name varchar, year integer, settings varchar, primary key (name, year))"
    )


def stale(
    nodes: Iterable[Node], stored: Mapping[tuple[str, int], str], landed: Mapping[int, str], years: Iterable[int]
) -> dict[str, tuple[int, ...]]:
    """What has to be built, and for which years, so that every fingerprint is what it should be.

    Args:
        nodes: all assets, dependencies before dependants.
        stored: recorded fingerprints.
        landed: fingerprint of the landed files per year.
        years: years that have data; years built earlier whose files are gone are looked at too.

    Returns:
        Asset name to the years out of date, (WHOLE,) for unpartitioned ones; up-to-date assets are absent.
    """
    years = set(years)
    expected: Fingerprints = {key: fingerprint for key, fingerprint in stored.items() if is_of_settings(key[0])}
    out: dict[str, tuple[int, ...]] = {}
    for node in nodes:
        if node.is_landing:
            continue
        # A year whose files were forgotten has to be emptied, until it is recorded as built from nothing.
        built = {year for name, year in stored if name == node.name and year != WHOLE}
        wanted = tuple(sorted({*years, *built})) if node.is_yearly else (WHOLE,)
        for year in wanted:
            expected[node.name, year] = _fingerprint(node, year, expected, landed)
        behind = tuple(year for year in wanted if stored.get((node.name, year)) != expected[node.name, year])
        if behind:
            out[node.name] = behind
    return out


def _fingerprint(node: Node, year: int, known: Mapping[tuple[str, int], str], landed: Mapping[int, str]) -> str:
    if year != WHOLE and year not in landed:
        # Without files a year is empty, whatever the code and the years before it.
        return hashlib.sha256(f"{node.name} {year} without files".encode()).hexdigest()
    parts = [node.name, node.code_version, str(year)]
    for dependency in sorted(node.dependencies):
        if dependency.startswith("landing/"):
            parts += [f"{dependency} {y} {landed[y]}" for y in sorted(landed) if year in (WHOLE, y) or y < year]
        else:
            parts += [
                f"{dependency} {y} {known[dependency, y]}"
                # Years without files count for nothing: an empty partition built from the UI makes nothing stale.
                for y in (WHOLE, *sorted(landed))
                if (dependency, y) in known and (year == WHOLE or y <= year)
            ]
    found = _SETTINGS + node.name
    in_use = max((y for name, y in known if name == found and y <= year), default=None)
    if in_use is not None:
        parts.append(f"{found} {known[found, in_use]}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
