"""Quality checks: no feature family is empty; null rates, constant and one-sided columns are shown per family."""

import dagster as dg

from velo_assets.assets.dress import asset_key
from velo_assets.resources.data import WarehouseResource
from velo_assets.warehouse.sql_table import SqlTable, all_tables


def checks() -> list[dg.AssetChecksDefinition]:
    """A check for every feature family."""
    return [_null_rates(table) for table in all_tables() if table.schema == "features" and table.is_by_runner]


def _null_rates(table: SqlTable) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(table.name),
        name="null_rates",
        description="The family has values; columns that are empty, constant, or null in one whole year or country are "
        "listed.",
    )
    def null_rates(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        from velo_assets.warehouse import null_policy
        from velo_assets.warehouse.null_rates import keep_null_rate

        with warehouse.get_connection() as connection:
            counts = null_policy.count_nulls(connection, table.name)
            rates = null_policy.null_rates(counts)
            family_rate = null_policy.family_null_rate(rates)
            keep_null_rate(connection, table.name, family_rate)
        findings = null_policy.null_findings(counts)
        empty = [rate.column for rate in rates if rate.rows and rate.all_nulls == rate.rows]
        return dg.AssetCheckResult(
            # A column is empty for want of an input (no ratings in Hong Kong files) as often as by a mistake in SQL;
            # only a family without a single value stops being worth building.
            passed=len(empty) < len(rates),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "null_rate": family_rate,
                "empty_columns": dg.MetadataValue.json(empty),
                "findings": dg.MetadataValue.md("\n".join(f"- {finding.message}" for finding in findings) or "none"),
                "rates": dg.MetadataValue.md(
                    "\n".join(
                        ["| column | null rate where it can exist |", "|---|---:|"]
                        + [f"| {rate.column} | {rate.rate:.2%} |" for rate in rates]
                    )
                ),
            },
            description=f"{len(empty)} of {len(rates)} columns are empty throughout.",
        )

    return null_rates
