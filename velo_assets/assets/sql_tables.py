"""The asset of a SQL file: everything in `velo_assets/sql` becomes a yearly table asset by being there.

Belongs here: the one way from SQL file to asset. Does not belong here: the SQL, the loader.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import duckdb

from velo_assets.assets.builds import inputs_of, record
from velo_assets.assets.dress import Lineage, asset_key, rows_by_year, table_metadata
from velo_assets.partitions import YEARLY, Window, window_of
from velo_assets.resources.data import DataRootResource, WarehouseResource
from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import refresh_table
from velo_assets.warehouse.sql_table import SqlTable, all_tables

OWNERS = {"core": ["team:ingestion"], "features": ["team:features"], "backtest": ["team:trading"]}


@dataclass(frozen=True)
class AfterBuild:
    """What follows a build of one table on the same connection.

    Attributes:
        code_version: hash of the code it relies on; joined to the hash of the table.
        follow: does it; returns metadata.
    """

    code_version: str
    follow: Callable[[duckdb.DuckDBPyConnection, DataRoot, Window], dict[str, Any]]


def sql_assets(
    schema: str, code_version: str = "", after_build: Mapping[str, AfterBuild] | None = None
) -> list[dg.AssetsDefinition]:
    """One asset for every SQL file of a layer.

    Args:
        schema: the layer, `core` or `features`.
        code_version: hash of Python code the SQL relies on (macros); joined to the hash of each file.
        after_build: by table name.
    """
    hooks = after_build or {}
    return [_sql_asset(table, code_version, hooks.get(table.name)) for table in all_tables() if table.schema == schema]


def _sql_asset(table: SqlTable, code_version: str, after_build: AfterBuild | None) -> dg.AssetsDefinition:
    versions = (table.code_version, code_version, after_build.code_version if after_build else "")

    @dg.asset(
        key=asset_key(table.name),
        deps=[asset_key(name) for name in table.dependencies if name != table.name],
        partitions_def=YEARLY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=table.schema,
        description=f"{table.header['description']}\n\n*Grain:* {table.header['grain']}\n\n"
        f"*Point in time:* {table.header['point in time']}\n\n*Look-back:* {table.header['look-back']}",
        kinds={"duckdb", "sql"},
        owners=OWNERS[table.schema],
        code_version="-".join(part for part in versions if part),
        metadata={"sql": dg.MetadataValue.md(f"```sql\n{table.text}\n```")},
    )
    def build(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, data_root: DataRootResource
    ) -> dg.MaterializeResult[None]:
        window = window_of(context)
        with warehouse.get_connection() as connection:
            inputs = inputs_of(connection, context, window)
            built = refresh_table(connection, table.name, window.start, window.end)
            extra = after_build.follow(connection, data_root.root(), window) if after_build else {}
            record(connection, context, inputs)
            by_year = rows_by_year(connection, table.name)
            if built.since:
                extra |= {"built_since": dg.MetadataValue.text(str(built.since))}
        return dg.MaterializeResult(
            metadata=table_metadata(built, table.columns, _lineage(context, table), rows_by_year=by_year, **extra)
        )

    return build


def _lineage(context: dg.AssetExecutionContext, table: SqlTable) -> Lineage:
    from velo_assets.warehouse.lineage import column_lineage
    from velo_assets.warehouse.moments import UnsupportedSqlError

    try:
        return column_lineage(table.name)
    except UnsupportedSqlError as error:
        # The rows are right whether or not we can draw where they come from.
        context.log.warning(f"No column lineage for {table.name}: {error}")
        return {}
