"""Drift over the reports: each report leaves a row per family, so that a slow change shows.

Belongs here: the table monitoring.drift_history. Does not belong here: one report (drift.py), its picture (reports).
"""

from __future__ import annotations

from datetime import date

import duckdb
import polars as pl

from velo_assets.monitoring.triggers import USUAL_TIMES
from velo_assets.warehouse.build import ensure_table, table_exists, transaction
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import Declared

HISTORY: Declared = {
    "report_date": ("date", "day of the report", ""),
    "family": ("varchar", "feature family, `predictions` or `target`", ""),
    "columns": ("integer", "columns judged", "columns"),
    "moved": ("integer", "of these, columns that moved", "columns"),
    "gone_missing": ("integer", "of these, columns whose missing share moved", "columns"),
    "worst_ratio": (
        "double",
        "largest PSI over its limit, the larger of threshold and unusual; null where the usual is not known yet",
        "",
    ),
    "reference_end": ("date", "last training day that the report held the racing against", ""),
}
"""Column of monitoring.drift_history to DuckDB type, description and unit."""


def keep_drift(connection: duckdb.DuckDBPyConnection, table: pl.DataFrame, report_date: date) -> pl.DataFrame:
    """Add a report to the history; a second report of the same day takes the place of the first.

    Args:
        connection: an open warehouse.
        table: the report, with `family`, `verdict`, `psi`, `psi_threshold`, `psi_usual` and `reference_end`.
        report_date: its day.

    Returns:
        The whole history, oldest first.
    """
    usual = USUAL_TIMES * pl.col("psi_usual")
    # `max_horizontal` passes over nulls, but a limit without its usual half would be crossed by quiet years.
    limit = pl.when(usual.is_not_null()).then(pl.max_horizontal("psi_threshold", usual))
    rows = table.group_by("family").agg(
        pl.lit(report_date, dtype=pl.Date).alias("report_date"),
        pl.len().cast(pl.Int32).alias("columns"),
        (pl.col("verdict") != "quiet").sum().cast(pl.Int32).alias("moved"),
        (pl.col("verdict") == "missingness").sum().cast(pl.Int32).alias("gone_missing"),
        (pl.col("psi") / limit).max().alias("worst_ratio"),
        pl.col("reference_end").max(),
    )
    with transaction(connection):
        ensure_table(connection, "monitoring/drift_history", HISTORY)
        connection.execute("delete from monitoring.drift_history where report_date = ?", [report_date])
        if rows.height:
            connection.register("drift_rows", rows.to_arrow())
            try:
                connection.execute("insert into monitoring.drift_history by name select * from drift_rows")
            finally:
                connection.unregister("drift_rows")
    return drift_history(connection)


def drift_history(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """All reports kept so far, oldest first; empty before the first.

    Args:
        connection: an open warehouse.
    """
    if not table_exists(connection, "monitoring/drift_history"):
        return pl.DataFrame(schema=dict.fromkeys(HISTORY, pl.Null))
    names = ", ".join(f'"{name}"' for name in HISTORY)
    return frame_of(connection, f"select {names} from monitoring.drift_history order by report_date, family")
