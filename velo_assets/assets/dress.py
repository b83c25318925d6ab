"""What every table asset shows in the UI: row count, column schema, column lineage, pictures, build records.

Belongs here: turning domain values into Dagster metadata. Does not belong here: computing those values.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from velo_assets.partitions import YEARLY
from velo_assets.warehouse.build import Built, describe
from velo_assets.warehouse.sql_table import Column

if TYPE_CHECKING:
    import duckdb

Lineage = Mapping[str, Sequence[tuple[str, str]]]
"""Output column to the (`schema/table`, column) pairs it is made from."""

PALETTE = 64
"""Colours of a picture in the UI: a quarter of the bytes of 16 million, and no difference to the eye."""

Decorator = Callable[[Callable[..., Any]], dg.AssetsDefinition]
"""What turns a function into an asset."""


TRAINING_POOL = "training"
"""Assets that fit on both cores and want gigabytes; one place (dagster.yaml)."""


def asset_key(name: str) -> dg.AssetKey:
    """The asset key of `schema/table`."""
    return dg.AssetKey(name.split("/"))


def table_asset(
    name: str,
    deps: Iterable[str],
    description: str,
    kinds: set[str],
    code_version: str,
    *,
    owner: str = "team:trading",
    is_yearly: bool = False,
    pool: str | None = None,
) -> Decorator:
    """The decorator of an asset that Python makes; the layer in its name is its group.

    Args:
        name: `schema/table`.
        deps: names of the assets that it reads.
        description: what it says in the UI.
        kinds: labels in the UI.
        code_version: hash of the code it relies on.
        owner: who is asked about it.
        is_yearly: one partition a year, any number of them in one run; else unpartitioned.
        pool: pool whose place it waits for.
    """
    return dg.asset(
        key=asset_key(name),
        deps=[asset_key(dep) for dep in deps],
        partitions_def=YEARLY if is_yearly else None,
        backfill_policy=dg.BackfillPolicy.single_run() if is_yearly else None,
        group_name=name.split("/")[0],
        kinds=kinds,
        owners=[owner],
        code_version=code_version,
        description=description,
        pool=pool,
    )


def table_schema(columns: Sequence[tuple[str, str]], described: Mapping[str, Column] | None = None) -> dg.TableSchema:
    """Columns as the UI lists them.

    The one place that makes Dagster's columns: the first call of such a class keeps all names that its caller can see
    for as long as the process lives, and an open connection among them made DuckDB complain of leaks at every exit.

    Args:
        columns: name and type.
        described: descriptions and units by name, where there are any.
    """
    words = described or {}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=name,
                type=kind,
                description=words[name].description if name in words else None,
                tags={"unit": _tag(words[name].unit)} if name in words and words[name].unit else {},
            )
            for name, kind in columns
        ]
    )


def table_metadata(
    built: Built, columns: Sequence[Column], lineage: Lineage | None = None, **extra: Any
) -> dict[str, Any]:
    """Metadata of a table asset.

    Args:
        built: what the build left behind; its columns must be the described ones.
        columns: descriptions and units.
        lineage: sources of each column, where known.
        **extra: further entries, such as key numbers and pictures.
    """
    metadata: dict[str, Any] = {
        "dagster/row_count": built.rows,
        "dagster/column_schema": table_schema(built.columns, {column.name: column for column in columns}),
        "dagster/table_name": built.name.replace("/", "."),
        **extra,
    }
    if lineage:
        metadata["made_of"] = made_of(lineage)
        present = {name for name, _ in built.columns}
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(
            deps_by_column={
                column: [dg.TableColumnDep(asset_key=asset_key(table), column_name=source) for table, source in sources]
                for column, sources in lineage.items()
                if column in present and sources
            }
        )
    return metadata


def made_of(lineage: Lineage) -> dg.MarkdownMetadataValue:
    """Each column, what it is made of, and the raceform (or card, price, ...) columns at the end of the line.

    The open-source UI draws no lineage of columns, so this table says it in words.
    """
    from velo_assets.warehouse.lineage import trace

    lines = ["| column | made of | in the files that landed |", "|---|---|---|"]
    for column, sources in lineage.items():
        direct = ", ".join(f"{table.replace('/', '.')}.{source}" for table, source in sources)
        leaves = {leaf for source in sources for leaf in trace(*source).leaves()}
        landed = {leaf for leaf in leaves if leaf[0].startswith("landing/")}
        raw = ", ".join(f"{table.removeprefix('landing/')}.{source}" for table, source in sorted(landed))
        lines.append(f"| {column} | {direct} | {raw} |")
    return dg.MetadataValue.md("\n".join(lines))


def picture(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A PNG shown inline in the UI, in `PALETTE` colours.

    Inline because Dagster's web server serves no files; it is so kept with every event that carries it.
    """
    from PIL import Image

    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as full:
        full.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(small.getvalue()).decode()})")


def show_once(context: dg.AssetExecutionContext, pictures: Mapping[str, dg.MarkdownMetadataValue]) -> None:
    """Show the pictures of a yearly asset with the last year of the run; as its metadata each year would keep a copy.

    Args:
        context: of the running asset.
        pictures: name to what `picture` made.
    """
    context.add_asset_metadata(pictures, partition_key=max(context.partition_keys))


def rows_by_year(connection: duckdb.DuckDBPyConnection, name: str) -> dg.MarkdownMetadataValue:
    """A small table of rows and races per year of the whole table."""
    has_races = "race_key" in dict(describe(connection, name))
    rows = connection.execute(
        f"select year(race_date), count(*), {'count(distinct race_key)' if has_races else '0'} "
        f"from {name.replace('/', '.')} group by 1 order by 1"
    ).fetchall()
    lines = ["| year | rows | races |", "|---|---:|---:|", *(f"| {y} | {n:,} | {r:,} |" for y, n, r in rows)]
    return dg.MetadataValue.md("\n".join(lines))


def _tag(text: str) -> str:
    # Dagster tag values allow few characters; a unit such as `%` or `m/s` is written out.
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text.replace("%", "percent")).strip("_-.")[:63]
