"""Layer landing: files as they came, one Parquet per source file, a manifest, rejected rows with reasons."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import duckdb

from velo_assets.assets.dress import asset_key, table_schema
from velo_assets.code_versions import code_version
from velo_assets.resources.data import DataRootResource, WarehouseResource
from velo_assets.warehouse.build import describe
from velo_assets.warehouse.query import row_of

DESCRIPTIONS = {
    "raceform": "Race results in any generation of the raceform layout, raw text with race date and keys.",
    "racecards": "Racecards of upcoming races, one row per declared runner.",
    "sectionals": "Positions at calls and section times, one row per runner.",
    "betfair_sp": "Betfair SP monthly files, one row per market and selection.",
    "streams": "Betfair exchange streams, one row per market, runner and moment before the off.",
}


@dg.multi_asset(
    name="landing",
    specs=[
        dg.AssetSpec(
            asset_key(f"landing/{kind}"),
            group_name="landing",
            description=f"{description} A view over the Parquet files of the live source files; the manifest is "
            "landing.manifest, rejected rows are in landing.rejects.",
            kinds={"duckdb", "parquet"},
            owners=["team:ingestion"],
            code_version=code_version("ingestion", "racing"),
        )
        for kind, description in DESCRIPTIONS.items()
    ],
)
def landing(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, data_root: DataRootResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Land every new or changed file once, by content."""
    from velo_assets.ingestion.landing import land
    from velo_assets.ingestion.manifest import record_told, results_kind, untold_years
    from velo_assets.ingestion.quality import write_landing_page

    root = data_root.root()
    with warehouse.get_connection() as connection:
        summary = land(root, connection)
        source = results_kind(connection)
        untold = untold_years(connection)
        page = write_landing_page(connection, root, summary)
        described = {kind: _describe(connection, kind) for kind in DESCRIPTIONS}
    for file in summary.refused:
        context.log.warning(f"refused {file.file}: {file.error}")
    for kind, metadata in described.items():
        files = [file for file in summary.files if file.kind == kind]
        yield dg.MaterializeResult(
            asset_key=asset_key(f"landing/{kind}"),
            metadata={
                **metadata,
                "data_kind": source,
                "files": len(files),
                "files_landed": sum(file.outcome == "landed" for file in files),
                "files_refused": sum(file.outcome == "refused" for file in files),
                "rows_landed": sum(file.rows for file in files),
                "rows_rejected": sum(file.rejected_rows for file in files),
                "years_touched": sorted(untold),
                "last_year": summary.last_year,
                **({"quality_page": dg.MetadataValue.path(str(page))} if page else {}),
            },
        )
    # Only now: a run that dies before has told nobody, and the next one tells in its stead.
    with warehouse.get_connection() as connection:
        record_told(connection, untold)


def _describe(connection: duckdb.DuckDBPyConnection, kind: str) -> dict[str, Any]:
    (rows,) = row_of(connection, f"select count(*) from landing.{kind}")
    reasons = connection.execute(
        "select reason, severity, count(*) from landing.rejects join landing.manifest using (file, sha256) "
        "where kind = ? and status = 'live' group by all order by 3 desc",
        [kind],
    ).fetchall()
    metadata: dict[str, Any] = {
        "dagster/row_count": int(rows),
        "dagster/table_name": f"landing.{kind}",
        "dagster/column_schema": table_schema(describe(connection, f"landing/{kind}")),
    }
    if reasons:
        lines = ["| reason | severity | rows |", "|---|---|---:|", *(f"| {r} | {s} | {n:,} |" for r, s, n in reasons)]
        metadata["rejects"] = dg.MetadataValue.md("\n".join(lines))
    return metadata


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return [landing]
