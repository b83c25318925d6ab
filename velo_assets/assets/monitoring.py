"""Layer monitoring: has the world changed, and how did the predictions do?"""

from typing import Any

import dagster as dg

from velo_assets.assets.builds import record
from velo_assets.assets.dress import asset_key, picture, table_metadata
from velo_assets.code_versions import code_version
from velo_assets.resources.data import DataRootResource, WarehouseResource
from velo_assets.settings import DECISION_PRICE
from velo_assets.warehouse.build import replace_table
from velo_assets.warehouse.sql_table import Column

MONITORING_CODE = code_version("monitoring", "reports", "settings")

DRIFT = (
    Column("family", "feature family, `predictions` or `target`", ""),
    Column("column", "column", ""),
    Column("psi", "population stability index over values that are there", ""),
    Column("psi_threshold", "exceeded once in a thousand when nothing has changed, racing days resampled", ""),
    Column("missing_reference", "share missing in the training years", "0-1"),
    Column("missing_current", "share missing now", "0-1"),
    Column("missing_threshold", "difference in shares exceeded once in a thousand when nothing has changed", "0-1"),
    Column("verdict", "missingness, drift or quiet", ""),
    Column("reference_start", "first training day", ""),
    Column("reference_end", "last training day", ""),
    Column("current_start", "first day of the period", ""),
    Column("current_end", "last day of the period", ""),
)

RACES = (
    Column("race_date", "day of the race", ""),
    Column("race_key", "race", ""),
    Column("fold", "year scored", ""),
    Column("runners", "field size", "runners"),
    Column("winner_model_probability", "what the blend gave the winner", "probability"),
    Column("winner_market_probability", "what the market gave the winner", "probability"),
    Column("log_loss_model", "minus log of the former", "nats"),
    Column("log_loss_market", "minus log of the latter", "nats"),
    Column("gap_to_market", "difference of the two; positive = worse than the market", "nats"),
    Column("surprise_bits", "how surprised the market was", "bits"),
    Column("calibration_bucket", "tenth of the first choice's probability", ""),
    Column("top_pick_won", "the first choice won", ""),
    Column("favourite_won", "the favourite won", ""),
    Column("error_class", "hit, surprise or miss, and who was closer", ""),
)


def _asset(name: str, deps: list[str], description: str, kinds: set[str]) -> Any:
    return dg.asset(
        key=asset_key(name),
        deps=[asset_key(dep) for dep in deps],
        group_name="monitoring",
        kinds=kinds,
        owners=["team:trading"],
        code_version=MONITORING_CODE,
        description=description,
    )


@_asset(
    "monitoring/drift_report",
    ["features/runner_features", "backtest/walk_forward", "core/results"],
    "Drift of every feature family, of predictions and target: the latest year against the training years. Thresholds "
    "come from the null for so many racing days; an Evidently page per family is kept in reports/drift/.",
    {"evidently", "duckdb"},
)
def drift_report(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, data_root: DataRootResource
) -> dg.MaterializeResult[None]:
    """Compare the latest year with the years its model was trained on."""
    from velo_assets.monitoring.drift_report import write_drift_report

    root = data_root.root()
    report = write_drift_report(root, warehouse.warehouse(), DECISION_PRICE.kind)
    with warehouse.get_connection() as connection:
        built = replace_table(connection, "monitoring/drift_report", report.table, DRIFT)
        record(connection, context, None, built.rows)
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            DRIFT,
            columns_judged=built.rows,
            columns_drifted=report.count("drift"),
            columns_with_missingness_drift=report.count("missingness"),
            psi=picture(report.picture, "PSI of the columns that moved most, tick = threshold"),
            page=dg.MetadataValue.path(str(report.page)),
            evidently=dg.MetadataValue.json({family: str(path) for family, path in report.pages.items()}),
        )
    )


@_asset(
    "monitoring/post_race_evaluation",
    ["backtest/walk_forward", "backtest/bets", "core/results"],
    "What each settled race says about the predictions made for it, and per racing day: log-loss gap to the market, "
    "calibration, ROI by strategy (monitoring.post_race_days, monitoring.post_race_strategies).",
    {"duckdb", "polars"},
)
def post_race_evaluation(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Judge predictions race by race and day by day."""
    import polars as pl

    from velo_assets.monitoring.evaluation import evaluate_days, evaluate_races
    from velo_assets.reports.asset_pictures import gap_png
    from velo_assets.warehouse.query import frame_of

    with warehouse.get_connection() as connection:
        predictions = frame_of(
            connection,
            """
            select model.race_date, model.race_key, model.runner_key, model.fold,
                model.probability as model_probability, market.probability as market_probability
            from backtest.walk_forward as model
            inner join backtest.walk_forward as market
                on market.runner_key = model.runner_key and market.recipe = 'market'
            where model.recipe = 'blend'
            order by model.race_date, model.race_key, model.runner_key
            """,
        )
        results = frame_of(connection, "select race_key, runner_key, win_share from core.results")
        bets = frame_of(
            connection,
            "select race_date, strategy_id, stake, profit from backtest.bets where status in ('won', 'placed', 'lost')",
        )
        races = evaluate_races(predictions, results)
        days = evaluate_days(races, bets)
        by_strategy = (
            bets.group_by("race_date", "strategy_id")
            .agg(pl.len().alias("bets"), pl.col("stake").sum().alias("staked"), pl.col("profit").sum())
            .with_columns(roi=pl.when(pl.col("staked") > 0).then(pl.col("profit") / pl.col("staked")))
            .sort("race_date", "strategy_id")
        )
        replace_table(connection, "monitoring/post_race_days", days)
        replace_table(connection, "monitoring/post_race_strategies", by_strategy)
        built = replace_table(connection, "monitoring/post_race_evaluation", races, RACES)
        record(connection, context, None, built.rows)
    latest = days.tail(1).row(0, named=True) if days.height else {}
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            RACES,
            {"gap_to_market": [("backtest/walk_forward", "probability"), ("core/results", "win_share")]},
            days=days.height,
            mean_gap_to_market=float(races["gap_to_market"].mean() or 0.0),  # type: ignore[arg-type]
            latest_day=str(latest.get("race_date", "none")),
            gap=picture(gap_png(days), "Log-loss gap to the market, cumulated; rising = worse than the market"),
        )
    )


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return [drift_report, post_race_evaluation]
