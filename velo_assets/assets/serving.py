"""Layer serving: the registered recipe, predictions for upcoming races, the log, the card pages."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from velo_assets.assets.builds import inputs_of, record
from velo_assets.assets.dress import TRAINING_POOL, table_asset, table_metadata
from velo_assets.code_versions import code_version
from velo_assets.resources.data import DataRootResource, WarehouseResource
from velo_assets.resources.models import CHAMPION_NAME, RegistryResource
from velo_assets.settings import DECISION_PRICE, DataRoot
from velo_assets.warehouse.build import Built, append_rows, describe
from velo_assets.warehouse.builds import forget_build
from velo_assets.warehouse.query import row_of
from velo_assets.warehouse.sql_table import Column

if TYPE_CHECKING:
    import duckdb

SERVING_CODE = code_version(
    "assets/serving",
    "serving",
    "modelling",
    "settings",
    "betting",
    "monitoring",
    "racing",
    "ingestion/betfair_sp",
    "reports",
    "warehouse/export",
    "simulation/marker",
)

TRAIN_TAG = "velo/train"
"""Run tag that asks for a new version; without it the recipe is trained only while there is none."""

DECIDED_AT_TAG = "velo/decided_at"
"""Run tag with the time of the decision to retrain that asks (epoch, seconds); a person who asks gives none."""

MADE_BY_CHAMPION = ("serving/predictions", "serving/cards", "monitoring/drift_report", "monitoring/retrain_decision")
"""Assets that ask the registry which version serves; no fingerprint tells of that."""


def strike_made_by_champion(connection: "duckdb.DuckDBPyConnection") -> None:
    """Strike the assets that ask the registry from the records, as what it says has changed: the next run makes them
    anew."""
    for name in MADE_BY_CHAMPION:
        forget_build(connection, name)


@table_asset(
    "serving/recipe",
    ["backtest/tear_sheet", "features/runner_features", "models/blend", "models/gate"],
    "The whole recipe as one registered version: trained on all results so far when there is no version yet or "
    "training was asked for, put to the promotion gate, champion only if it passes.",
    {"lightgbm", "mlflow"},
    SERVING_CODE,
    pool=TRAINING_POOL,
)
def recipe(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    data_root: DataRootResource,
    model_registry: RegistryResource,
) -> dg.MaterializeResult[None]:
    """Train a challenger when there is cause."""
    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    registry = model_registry.registry()
    versions = registry.list(CHAMPION_NAME) if registry.exists() else []
    metadata: dict[str, Any] = {"versions": len(versions), "trained": False}
    asked, decided_at = TRAIN_TAG in context.run.tags, context.run.tags.get(DECIDED_AT_TAG)
    if versions and decided_at and versions[-1].registered_at.timestamp() > float(decided_at):
        # A second decision, made before the version was there that the first one led to, asks for nothing more.
        asked = False
    if not versions or asked:
        from velo_assets.assets.backtest import REPORT_CODE
        from velo_assets.serving.recipe import train_version

        run_id = last_backtest_run(data_root.root())
        trained = train_version(
            data_root.root(), warehouse.warehouse(), registry, CHAMPION_NAME, DECISION_PRICE, REPORT_CODE, run_id
        )
        metadata = {
            "trained": True,
            "version": trained.version,
            "promoted": trained.is_champion,
            "gate": trained.decision.summary,
            "conditions": dg.MetadataValue.json(
                {condition.name: condition.reason for condition in trained.decision.conditions}
            ),
        }
    with warehouse.get_connection() as connection:
        if asked:
            # One version more prices the cards, and may be the champion.
            strike_made_by_champion(connection)
        record(connection, context, inputs)
    return dg.MaterializeResult(metadata=metadata)


@table_asset(
    "serving/trial",
    ["serving/recipe", "core/results", "features/runner_features", "market/probabilities"],
    "The standing challenger against the champion on races that neither has learned from: 30, 60, 120 and 240 racing "
    "days after the training of the younger one; champion if it passes the gate. One row a trial.",
    {"lightgbm", "mlflow"},
    SERVING_CODE,
)
def trial(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, model_registry: RegistryResource
) -> dg.MaterializeResult[None]:
    """Compare the two versions when a trial is due."""
    from velo_assets.assets.backtest import REPORT_CODE
    from velo_assets.serving.trial import COLUMN_WORDS, TRIALS, trial_frame, try_challenger

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    tried = try_challenger(warehouse.warehouse(), model_registry.registry(), CHAMPION_NAME, REPORT_CODE)
    columns = tuple(Column(name, words, "") for name, words in COLUMN_WORDS.items())
    metadata: dict[str, Any] = {"tried": tried is not None}
    if tried is not None:
        metadata |= {
            "version": tried.challenger.version,
            "promoted": tried.decision.promoted,
            "gate": tried.decision.summary,
        }
    with warehouse.get_connection() as connection:
        built = append_rows(connection, TRIALS, trial_frame(tried), columns)
        if tried is not None and tried.decision.promoted:
            strike_made_by_champion(connection)
        record(connection, context, inputs)
    return dg.MaterializeResult(metadata=table_metadata(built, columns, **metadata))


@table_asset(
    "serving/predictions",
    [
        "serving/recipe",
        "serving/trial",
        "core/races",
        "core/entries",
        "features/runner_features",
        "market/probabilities",
    ],
    "Upcoming races priced by the champion, challengers in its shadow; written once per race, model and card version. "
    "The log is serving.prediction_log and reports/prediction_log/.",
    {"lightgbm", "duckdb"},
    SERVING_CODE,
)
def predictions(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    data_root: DataRootResource,
    model_registry: RegistryResource,
) -> dg.MaterializeResult[None]:
    """Price every race that waits for its result."""
    from velo_assets.serving.predict import (
        PREDICTION_COLUMNS,
        PREDICTIONS,
        card_days,
        predict_cards,
        readable,
        serving_models,
        store_predictions,
    )
    from velo_assets.serving.prediction_log import keep_log

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    root = data_root.root()
    models = serving_models(model_registry.registry(), CHAMPION_NAME)
    with warehouse.get_connection() as connection:
        able, lacking = readable(connection, models)
        for label, missing in lacking.items():
            context.log.warning(f"{label} predicts nothing: the matrix lacks {', '.join(missing)}")
        # With nobody left the night has to fail aloud, by the words of the version that misses its columns.
        models = able or models
        first_day = max(model.bundle.cutoff for model in models)
        days = card_days(connection, first_day)
        new = store_predictions(connection, predict_cards(connection, models, days, datetime.now(UTC)))
        keep_log(connection, root.reports / "prediction_log")
        record(connection, context, inputs)
        (rows,) = row_of(connection, "select count(*) from serving.predictions")
        built = Built(PREDICTIONS, int(rows), describe(connection, PREDICTIONS))
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            PREDICTION_COLUMNS,
            {
                "market_probability": [("market/probabilities", "probability")],
                "market_odds": [("market/probabilities", "decimal_odds")],
            },
            new_predictions=new.height,
            days=dg.MetadataValue.json([str(day) for day in days]),
            models=dg.MetadataValue.json([f"{model.name} {model.version}" for model in models]),
        )
    )


@table_asset(
    "serving/cards",
    ["serving/predictions", "features/running_style", "features/bias_maps"],
    "One page per race day with fair odds beside market odds and the reasons: reports/cards/DATE.html.",
    {"html"},
    SERVING_CODE,
)
def cards(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    data_root: DataRootResource,
    model_registry: RegistryResource,
) -> dg.MaterializeResult[None]:
    """Write the page of every day with races that wait for their result."""
    from velo_assets.ingestion.manifest import results_kind
    from velo_assets.serving.card_page import read_card_page, write_card_page
    from velo_assets.serving.predict import card_days, readable, serving_models

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    root = data_root.root()
    models = serving_models(model_registry.registry(), CHAMPION_NAME)
    with warehouse.get_connection() as connection:
        able, _ = readable(connection, models)
        serving = (able or models)[0]
        frames = {day: read_card_page(connection, day, serving) for day in card_days(connection)}
        simulated = results_kind(connection) == "simulated"
    pages = [
        write_card_page(frame, root.reports / "cards" / f"{day}.html", day=day, simulated=simulated)
        for day, frame in frames.items()
    ]
    with warehouse.get_connection() as connection:
        record(connection, context, inputs)
    return dg.MaterializeResult(metadata={"pages": dg.MetadataValue.json([str(page) for page in pages])})


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return [recipe, trial, predictions, cards]


def last_backtest_run(root: DataRoot) -> str:
    """The newest stored run: not what Dagster has heard of the tear sheet, for it may have died before it was told."""
    from velo_assets.betting.compare import stored_runs

    runs = stored_runs(root.reports / "runs")
    if not runs:
        raise ValueError("There is no stored backtest: materialize backtest/tear_sheet before the recipe.")
    return runs[-1]
