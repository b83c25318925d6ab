"""Leakage checks, blocking, on every materialization of a feature table: lint of its SQL, sampled recomputation.

The matrix is held to the contract of its columns besides.
"""

from datetime import timedelta

import dagster as dg

from velo_assets.assets.dress import asset_key
from velo_assets.resources.data import WarehouseResource
from velo_assets.warehouse.builds import forget_build
from velo_assets.warehouse.sql_table import SqlTable, all_tables

MATRIX = "features/runner_features"

SAMPLED_DAYS = 1
"""Days that a check rebuilds from data cut at that day; the test suite and `velo leaks` try more."""


def checks() -> list[dg.AssetChecksDefinition]:
    """Two checks for every feature table, and one for the matrix."""
    tables = [table for table in all_tables() if table.schema == "features"]
    return [*(check for table in tables for check in (_lint(table), _recomputation(table))), _contract()]


def _lint(table: SqlTable) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(table.name),
        name="leak_lint",
        blocking=True,
        description="Static proof: every path from a result, price or sectional ends before the race day.",
    )
    def leak_lint(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        from velo_assets.warehouse.lint import lint_sql

        findings = lint_sql(table.text, table.path)
        if findings:
            with warehouse.get_connection() as connection:
                forget_build(connection, table.name)
        return dg.AssetCheckResult(
            passed=not findings,
            metadata={"findings": dg.MetadataValue.md("\n".join(f"- {finding}" for finding in findings) or "none")},
            description=str(findings[0]) if findings else "No path from a result of the day or later.",
        )

    return leak_lint


def _recomputation(table: SqlTable) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(table.name),
        name="time_travel",
        blocking=True,
        description="A refreshed day, rebuilt from data cut at that day, equals what is stored (dynamic proof, T1).",
    )
    def time_travel(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        from velo_assets.warehouse.changes import refreshed_days
        from velo_assets.warehouse.recompute import sample_dates, sampled_recomputation

        with warehouse.get_connection() as connection:
            first, last = refreshed_days(connection, table.name) or (None, None)
            # No other day will do: of years that were not refreshed core may have been, and the table may lack them.
            days = sample_dates(
                connection,
                SAMPLED_DAYS,
                after=first - timedelta(days=1) if first else None,
                until=last,
                table="core/entries",
            )
            result = sampled_recomputation(connection, table.name, days)
            if not result.passed:
                forget_build(connection, table.name)
        return dg.AssetCheckResult(
            passed=result.passed,
            metadata={"rows_compared": result.rows, "differences": dg.MetadataValue.json(list(result.differences))},
            description=str(result),
        )

    return time_travel


def _contract() -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(MATRIX),
        name="known_by_the_decision",
        blocking=True,
        description="Contract: every feature the table holds for models is known when bets are chosen.",
    )
    def known_by_the_decision(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        from velo_assets.warehouse.availability import DECISION_TIME, LateColumnError, assert_matrix_available
        from velo_assets.warehouse.export import matrix_features

        with warehouse.get_connection() as connection:
            features = matrix_features(connection)
            try:
                assert_matrix_available(features, DECISION_TIME, table=MATRIX)
            except LateColumnError as late:
                forget_build(connection, MATRIX)
                return dg.AssetCheckResult(passed=False, description=str(late))
        return dg.AssetCheckResult(
            passed=True,
            metadata={"features": len(features)},
            description=f"All {len(features)} features are known by the {DECISION_TIME.word}.",
        )

    return known_by_the_decision
