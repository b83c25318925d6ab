"""Layer monitoring: has the world changed, and how did the predictions do?"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from velo_assets.assets.builds import inputs_of, record
from velo_assets.assets.dress import picture, table_asset, table_metadata
from velo_assets.code_versions import code_version
from velo_assets.resources.data import DataRootResource, WarehouseResource
from velo_assets.resources.models import CHAMPION_NAME, RegistryResource
from velo_assets.settings import DECISION_PRICE
from velo_assets.warehouse.build import append_rows, replace_table
from velo_assets.warehouse.sql_table import Column

MONITORING_CODE = code_version(
    "assets/monitoring",
    "monitoring",
    "reports",
    "settings",
    "betting",
    "racing",
    "ingestion/betfair_sp",
    "modelling",
    "serving",
    "warehouse/export",
    "simulation/marker",
)

DRIFT = (
    Column("family", "feature family, `predictions` or `target`", ""),
    Column("column", "the column of that family that is judged", ""),
    Column("psi", "population stability index over values that are there", ""),
    Column("psi_threshold", "exceeded once in a thousand when nothing has changed, racing days resampled", ""),
    Column("psi_usual", "largest index of a training year against the others, same season; null with under three", ""),
    Column("missing_reference", "share missing in the training years", "0-1"),
    Column("missing_current", "share missing now", "0-1"),
    Column("missing_usual", "largest difference of a training year's missing share from the others'; likewise", "0-1"),
    Column("missing_threshold", "difference in shares exceeded once in a thousand when nothing has changed", "0-1"),
    Column("verdict", "missingness, drift or quiet", ""),
    Column("reference_start", "first training day", ""),
    Column("reference_end", "last training day", ""),
    Column("current_start", "first day of the period", ""),
    Column("current_end", "last day of the period", ""),
)

RACES = (
    Column("source", "walk-forward (backtest folds) or served (made before the race, from the prediction log)", ""),
    Column("model", "recipe, or registered name and version", ""),
    Column("is_champion", "the version that served; null for the backtest", ""),
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
    Column("closing_line_value", "odds taken over closing odds, less 1, of the best bet; null without early odds", ""),
    Column("sqpe_right", "SQPE put the winner above the market; null where it or the market was silent", ""),
    Column("sqpe_right_expected", "how likely that was if the market was right", "probability"),
    Column("tie_right", "TIE put the winner above the market", ""),
    Column("tie_right_expected", "how likely that was if the market was right", "probability"),
    Column("nds_right", "NDS put the winner above the market", ""),
    Column("nds_right_expected", "how likely that was if the market was right", "probability"),
)

DAYS = (
    *RACES[:4],
    Column("races", "settled races with a full book that were predicted", "races"),
    Column("gap_to_market", "mean log-loss less the market's; positive = worse than the market", "nats a race"),
    Column("gap_se", "standard error of that mean; null with one race", "nats a race"),
    Column("favourites_won", "races that a favourite won", "races"),
    Column("top_picks_won", "races that a first choice won", "races"),
    Column("closing_line_value", "odds taken over closing odds, less 1, mean; null without early odds", ""),
    Column("bets", "settled bets of all strategies; null for served predictions, which are not bet on", "bets"),
    Column("staked", "money staked by them", "money"),
    Column("profit", "money won by them, net of commission", "money"),
    Column("roi", "profit over money staked", "of turnover"),
)

STRATEGIES = (
    Column("race_date", "day of the races", ""),
    Column("strategy_id", "strategy", ""),
    Column("bets", "settled bets", "bets"),
    Column("staked", "money staked", "money"),
    Column("profit", "money won, net of commission", "money"),
    Column("roi", "profit over money staked", "of turnover"),
)

VERDICTS = (
    *RACES[:3],
    Column("module", "sqpe, tie or nds", ""),
    Column("races", "races in which the module and the market spoke", "races"),
    Column("right", "of these, races whose winner it put above the market", "races"),
    Column("expected", "how many that would be if the market was right", "races"),
    Column("z", "difference of the two in standard deviations; null without spread", "sd"),
)


@table_asset(
    "monitoring/drift_report",
    ["features/runner_features", "backtest/walk_forward", "core/results"],
    "Drift of every feature family, of predictions and target: the racing since the champion's training against its "
    "training window. Thresholds come from the null for so many racing days; an Evidently page per family is kept in "
    "reports/drift/, a row per family and report in monitoring.drift_history.",
    {"evidently", "duckdb"},
    MONITORING_CODE,
)
def drift_report(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    data_root: DataRootResource,
    model_registry: RegistryResource,
) -> dg.MaterializeResult[None]:
    """Compare the latest racing with what the serving model was trained on."""
    from velo_assets.monitoring.drift_history import keep_drift
    from velo_assets.monitoring.drift_report import write_drift_report
    from velo_assets.reports.drift_history import drift_history_png

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    root, window = data_root.root(), model_registry.training_window(CHAMPION_NAME)
    report = write_drift_report(root, warehouse.warehouse(), window, closing_price=DECISION_PRICE.is_closing)
    with warehouse.get_connection() as connection:
        built = replace_table(connection, "monitoring/drift_report", report.table, DRIFT)
        history = keep_drift(connection, report.table, datetime.now(UTC).date())
        record(connection, context, inputs)
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            DRIFT,
            columns_judged=built.rows,
            columns_drifted=report.count("drift"),
            columns_with_missingness_drift=report.count("missingness"),
            regime_breaks=dg.MetadataValue.json(list(report.breaks)),
            psi=picture(report.picture, "PSI of the columns that moved most, tick = threshold"),
            history=picture(drift_history_png(history), "Families over the reports kept so far"),
            page=dg.MetadataValue.path(str(report.page)),
            evidently=dg.MetadataValue.json({family: str(path) for family, path in report.pages.items()}),
        )
    )


@table_asset(
    "monitoring/post_race_evaluation",
    ["backtest/predictions", "backtest/bets", "core/results", "market/probabilities"],
    "What each settled race says about the predictions made for it, served ones and those of the backtest: log-loss "
    "gap to the market, surprise, calibration, closing-line value, modules right or wrong; per racing day and by "
    "strategy in monitoring.post_race_days, monitoring.post_race_strategies, monitoring.module_verdicts.",
    {"duckdb", "polars"},
    MONITORING_CODE,
)
def post_race_evaluation(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Judge predictions race by race and day by day."""
    from velo_assets.monitoring.post_race import post_race
    from velo_assets.reports.asset_pictures import gap_png

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    with warehouse.get_connection() as connection:
        judged = post_race(connection, DECISION_PRICE.kind)
        replace_table(connection, "monitoring/post_race_days", judged.days, DAYS)
        replace_table(connection, "monitoring/post_race_strategies", judged.strategies, STRATEGIES)
        replace_table(connection, "monitoring/module_verdicts", judged.verdicts, VERDICTS)
        built = replace_table(connection, "monitoring/post_race_evaluation", judged.races, RACES)
        record(connection, context, inputs)
    backtest, served = judged.of("walk-forward"), judged.of("served")
    pictures = {
        name: picture(gap_png(days), f"{words}: log-loss gap to the market, cumulated; rising = worse than the market")
        for name, words, days in (("gap", "Backtest", backtest), ("gap_served", "Served", served))
        if days.height
    }
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            RACES,
            {"gap_to_market": [("backtest/walk_forward", "probability"), ("core/results", "win_share")]},
            days=backtest.height,
            races_served=int(served["races"].sum()),
            mean_gap_to_market=judged.mean_gap("walk-forward"),
            mean_gap_served=judged.mean_gap("served"),
            latest_day=str(judged.days["race_date"].max() or "none"),
            modules=dg.MetadataValue.json(judged.verdicts.to_dicts()),
            **pictures,
        )
    )


@table_asset(
    "monitoring/roi_archive",
    ["backtest/bets", "backtest/predictions"],
    "Returns of every strategy by pattern (regime, course, trainer, tag), with intervals and the best-of-K null.",
    {"duckdb", "polars"},
    MONITORING_CODE,
)
def roi_archive(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Cut every ledger by every pattern."""
    from velo_assets.betting.backtest import read_ledgers, read_predictions
    from velo_assets.betting.trials import count_trials, data_fingerprint
    from velo_assets.monitoring.roi_archive import COLUMN_WORDS as words
    from velo_assets.monitoring.roi_archive import READ_OF_BETS, READ_OF_RUNNERS
    from velo_assets.monitoring.roi_archive import roi_archive as archive

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    with warehouse.get_connection() as connection:
        runners = read_predictions(connection, DECISION_PRICE.kind, READ_OF_RUNNERS)
        ids = connection.execute("select distinct strategy_id from backtest.bets order by strategy_id").fetchall()
        trials = count_trials(connection, data_fingerprint(runners))
        ledgers = read_ledgers(connection, (strategy_id for (strategy_id,) in ids), READ_OF_BETS)
        table = archive(ledgers, runners, trials=trials)
        columns = tuple(Column(name, *words[name]) for name in table.columns)
        built = replace_table(connection, "monitoring/roi_archive", table, columns)
        record(connection, context, inputs)
    return dg.MaterializeResult(metadata=table_metadata(built, columns, trials=trials))


@table_asset(
    "monitoring/module_weights",
    ["backtest/predictions"],
    "What SQPE, TIE and NDS each add to the market, as fitted coefficients with standard errors over rolling windows.",
    {"duckdb", "scipy"},
    MONITORING_CODE,
)
def module_weights(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Fit the modules' weights over rolling windows."""
    from velo_assets.betting.backtest import read_predictions
    from velo_assets.monitoring.module_weights import COLUMN_WORDS as words
    from velo_assets.monitoring.module_weights import READ_OF_RUNNERS
    from velo_assets.monitoring.module_weights import module_weights as fit

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    with warehouse.get_connection() as connection:
        predictions = read_predictions(connection, DECISION_PRICE.kind, READ_OF_RUNNERS)
    frame = predictions.rename({"probability_fundamental": "fundamental_probability"}).sort(
        "race_date", "race_key", "runner_key"
    )
    table = fit(frame)
    columns = tuple(Column(name, *words[name]) for name in table.columns)
    with warehouse.get_connection() as connection:
        built = replace_table(connection, "monitoring/module_weights", table, columns)
        record(connection, context, inputs)
    return dg.MaterializeResult(metadata=table_metadata(built, columns))


@table_asset(
    "monitoring/retrain_decision",
    ["monitoring/drift_report", "monitoring/post_race_evaluation", "features/runner_features", "market/probabilities"],
    "Whether to train a challenger, and why: CUSUM of the log-loss gap to the market, drift, the calendar. One row a "
    "decision; the sensor `retrain_when_asked` acts on it.",
    {"duckdb", "scipy"},
    MONITORING_CODE,
)
def retrain_decision(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, model_registry: RegistryResource
) -> dg.MaterializeResult[None]:
    """Weigh the causes to retrain."""
    from velo_assets.monitoring.retraining import COLUMN_WORDS as words
    from velo_assets.monitoring.retraining import decide_retraining
    from velo_assets.monitoring.triggers import read_unlearnt_drift, watch
    from velo_assets.serving.bundle import race_gaps
    from velo_assets.serving.predict import NoModelError, readable, serving_models
    from velo_assets.serving.training import watched_frame
    from velo_assets.warehouse.query import frame_of, row_of

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    try:
        models = serving_models(model_registry.registry(), CHAMPION_NAME)
    except NoModelError:
        models = []
    with warehouse.get_connection() as connection:
        report = frame_of(connection, "select * from monitoring.drift_report")
        able, lacking = readable(connection, models) if models else ([], {})
        watched = None
        if able and able[0] is models[0]:
            # At the prices it learned from: its quiet-time gaps are of these.
            watched = watched_frame(connection, models[0].bundle.cutoff, models[0].bundle.price_kind)
        last_trained = max((model.bundle.data_end for model in models), default=None)
        (racing_days,) = row_of(
            connection, "select count(distinct race_date) from core.results where race_date > ?", [last_trained]
        )
    readings = {}
    if watched is not None and watched.height:
        bundle = models[0].bundle
        readings = watch(bundle.reference, race_gaps(bundle, watched))
    decision = decide_retraining(
        datetime.now(UTC),
        champion_data_end=models[0].bundle.data_end if models else None,
        last_trained=last_trained,
        racing_days=racing_days,
        readings=readings,
        silent={} if able else lacking,
        drift=read_unlearnt_drift(report, models[0].bundle.data_end if models else None),
    )
    row = decision.to_frame()
    columns = tuple(Column(name, *words[name]) for name in row.columns)
    with warehouse.get_connection() as connection:
        built = append_rows(connection, "monitoring/retrain_decision", row, columns)
        record(connection, context, inputs)
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            columns,
            retrain=decision.retrain,
            year=decision.year,
            reasons=dg.MetadataValue.json(list(decision.reasons)),
            causes=dg.MetadataValue.json(list(decision.causes)),
        )
    )


@table_asset(
    "monitoring/weekly_report",
    ["monitoring/post_race_evaluation", "monitoring/drift_report", "monitoring/retrain_decision"],
    "Last week in HTML and Markdown: races, predictions against the market, returns with intervals, drift, data "
    "quality, what changed. reports/weekly/.",
    {"html", "markdown"},
    MONITORING_CODE,
)
def weekly_report(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, data_root: DataRootResource
) -> dg.MaterializeResult[None]:
    """Write the report of the last whole week with results, or of the week before today."""
    from velo_assets.ingestion.manifest import results_kind
    from velo_assets.monitoring.drift_history import drift_history
    from velo_assets.monitoring.weekly import write_weekly_report
    from velo_assets.reports.drift_history import drift_history_png
    from velo_assets.warehouse.query import row_of

    root = data_root.root()
    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
        (last_day,) = row_of(connection, "select max(race_date) from core.results")
        history = drift_history(connection)
        # A root whose results end long ago is told about its own last week, not about an empty one.
        day = min(datetime.now(UTC).date(), last_day + timedelta(days=7))
        report = write_weekly_report(
            connection,
            root.reports / "weekly",
            day,
            price_kind=DECISION_PRICE.kind,
            closing_price=DECISION_PRICE.is_closing,
            simulated=results_kind(connection) == "simulated",
            drift_history=drift_history_png(history) if history.height else None,
        )
        record(connection, context, inputs)
    return dg.MaterializeResult(metadata={"headline": report.headline, "page": dg.MetadataValue.path(str(report.html))})


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return [drift_report, post_race_evaluation, roi_archive, module_weights, retrain_decision, weekly_report]
