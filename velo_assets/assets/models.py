"""Layer models: key Y is trained on races before Y only, and scored on Y. One MLflow run per model and year."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from velo_assets.assets.builds import inputs_of, record
from velo_assets.assets.dress import (
    TRAINING_POOL,
    Lineage,
    asset_key,
    picture,
    rows_by_year,
    show_once,
    table_metadata,
)
from velo_assets.code_versions import code_version
from velo_assets.partitions import YEARLY, Window, window_of
from velo_assets.resources.data import DataRootResource, WarehouseResource
from velo_assets.resources.models import RegistryResource
from velo_assets.settings import DECISION_PRICE, PRICE_REGIMES, DataRoot, PriceRegime
from velo_assets.warehouse.build import replace_window, table_exists
from velo_assets.warehouse.builds import forget_settings, found_settings, keep_settings
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.sql_table import Column

if TYPE_CHECKING:
    import polars as pl

KEY_COLUMNS = (
    Column("race_date", "day of the race", ""),
    Column("race_key", "race", ""),
    Column("runner_key", "runner", ""),
    Column("fold", "year scored", ""),
    Column("cutoff", "first day scored; nothing on or after the day before it was learnt from", ""),
)
MODEL_HASH = Column("model_hash", "hash of everything that decides the model's predictions", "")

FUNDAMENTAL = (
    *KEY_COLUMNS,
    Column("score", "log of the fundamental probability", "nats"),
    Column("fundamental_probability", "win probability without any price of the race", "probability"),
    MODEL_HASH,
)
EXPERT = (
    *KEY_COLUMNS,
    Column("correction", "correction on top of the market's log probability", "log-odds"),
    MODEL_HASH,
)
OFFSET = (
    *KEY_COLUMNS,
    Column("offset", "log-odds offset to the market; positive = better than its price", "log-odds"),
    Column("offset_se", "its standard error", "log-odds"),
    MODEL_HASH,
)
GATE = (
    *KEY_COLUMNS,
    Column("expert_probability", "win probability of market and gated experts", "probability"),
    Column("reliability", "share of the experts' correction that is believed", "0-1"),
    *(
        Column(f"weight_{regime.name}", f"weight of the {regime.name} expert at this price", "0-1")
        for regime in PRICE_REGIMES
    ),
    MODEL_HASH,
)
BLEND = (
    *KEY_COLUMNS,
    Column("blend_probability", "Benter's blend f^alpha p^beta", "probability"),
    Column("market_beta_probability", "market alone, its exponent fitted on earlier years", "probability"),
    Column("alpha", "exponent of the fundamental probability", ""),
    Column("alpha_se", "its standard error", ""),
    Column("beta", "exponent of the market probability", ""),
    Column("beta_se", "its standard error", ""),
    MODEL_HASH,
)

SEARCH = {
    "search_trials": dg.Field(
        int,
        default_value=0,
        description="Trials of an Optuna search of the trees' settings for each year of the window, on races before it "
        "only; 12 tell shallow from deep and fast from slow. What is found is kept: folds and serving take it until "
        "a later year's search. 0: no search.",
    ),
    "forget_found": dg.Field(
        bool,
        default_value=False,
        description="Strike what searches have found for the years of the window: those of an earlier year, or the "
        "defaults, hold again.",
    ),
}
"""Options of models/fundamental in the launchpad."""

NO_FOLD = (
    "a year is scored when the races before it are enough to learn from, by gate and blend when the predictions of "
    "earlier years are and it has a full book of prices"
)
"""Why a window may be empty."""

MODEL_CODE = code_version("assets/models", "modelling", "settings", "warehouse/export")
"""A change anywhere in modelling makes every model out of date: they share likelihood, folds and guards. What they
learn from is read by the export and by the SQL of this module."""


def _model_asset(
    name: str,
    deps: Sequence[str],
    description: str,
    kinds: set[str],
    columns: Sequence[Column],
    lineage: Lineage,
    make: Callable[[DataRoot, Warehouse, Window], list[Any]],
    options: dict[str, dg.Field] | None = None,
    before: Callable[..., None] | None = None,
) -> dg.AssetsDefinition:
    """The asset of one model: folds are made without a lock, then written, then logged.

    `make(root, warehouse, window)` fits and scores the folds of a window. `before(root, warehouse, window, **options)`
    does what the options of the launchpad ask for; its outcome is among the inputs.
    """

    @dg.asset(
        key=asset_key(name),
        deps=[asset_key(dep) for dep in deps],
        partitions_def=YEARLY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="models",
        kinds=kinds,
        owners=["team:modelling"],
        code_version=MODEL_CODE,
        description=description,
        pool=TRAINING_POOL,
        config_schema=options,
    )
    def model(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        data_root: DataRootResource,
        model_registry: RegistryResource,
    ) -> dg.MaterializeResult[None]:
        from velo_assets.ingestion.manifest import race_years
        from velo_assets.modelling.walk_forward import require_scored_year
        from velo_assets.modelling.yearly import TOO_LITTLE
        from velo_assets.reports.asset_pictures import lines_per_fold_png

        window = window_of(context)
        if before is not None:
            before(data_root.root(), warehouse.warehouse(), window, **context.op_execution_context.op_config)
        with warehouse.get_connection() as connection:
            inputs = inputs_of(connection, context, window)
            years = race_years(connection)
        # A window may have no fold; all the data there are must have one.
        require_scored_year(*years)
        try:
            folds = make(data_root.root(), warehouse.warehouse(), window)
        except TOO_LITTLE:
            # The years after the window have more to learn from; with none after it, none ever was enough.
            if window.years[-1] >= years[1]:
                raise
            folds = []
        registry = model_registry.registry()
        run_ids = {
            str(fold.fold.fold): registry.log_fold(
                name.split("/")[1], fold.fold.fold, fold.params, fold.metrics, fold.files
            )
            for fold in folds
        }
        with warehouse.get_connection() as connection:
            frame = _rows(folds, columns)
            built = replace_window(connection, name, frame, window.start, window.end, tuple(columns))
            record(connection, context, inputs)
            by_year = rows_by_year(connection, name)
        extra: dict[str, Any] = {"rows_by_year": by_year, "folds": len(folds)}
        if folds:
            extra["figures"] = _figures(folds)
            extra["mlflow_runs"] = dg.MetadataValue.json(run_ids)
        else:
            extra["no_fold"] = (
                f"Nothing to score in {window.years[0]} to {window.years[-1]}: {NO_FOLD}. The window is empty."
            )
        pictures = {
            name_of_file.removesuffix(".png"): picture(content, "What moves the score, latest races")
            for name_of_file, content in (folds[-1].files.items() if folds else ())
            if isinstance(content, bytes)
        }
        scored = [fold for fold in folds if fold.metrics.get("r2") is not None]
        if scored:
            extra["r2_latest"] = float(scored[-1].metrics["r2"])
            pictures["r2_per_fold"] = picture(
                lines_per_fold_png(
                    [fold.fold.fold for fold in scored],
                    {
                        name.split("/")[1]: [fold.metrics["r2"] for fold in scored],
                        "market": [fold.metrics["r2_market"] for fold in scored],
                    },
                    "McFadden R2",
                ),
                "R2 per fold, out of sample",
            )
        show_once(context, pictures)
        return dg.MaterializeResult(metadata=table_metadata(built, columns, lineage, **extra))

    return model


def _fundamental(root: DataRoot, warehouse: Warehouse, window: Window) -> list[Any]:
    from velo_assets.modelling.yearly import fundamental_folds
    from velo_assets.serving.training import feature_families
    from velo_assets.warehouse.export import feature_columns, training_frame

    with warehouse.connect("reading found settings") as connection:
        found = found_settings(connection, "models/fundamental")
    frame = training_frame(root.exports, warehouse, window.years[-1], DECISION_PRICE.kind)
    return fundamental_folds(frame, feature_columns(frame), window.years, feature_families(), found)


def _search(root: DataRoot, warehouse: Warehouse, window: Window, search_trials: int, forget_found: bool) -> None:
    """Strike or find settings of the fundamental model's trees, for each year of a window."""
    from velo_assets.modelling.yearly import searched_settings
    from velo_assets.warehouse.export import feature_columns, training_frame

    if forget_found:
        with warehouse.connect("forgetting settings") as connection:
            forget_settings(connection, "models/fundamental", window.years[0], window.years[-1])
    if search_trials:
        frame = training_frame(root.exports, warehouse, window.years[-1], DECISION_PRICE.kind)
        found = searched_settings(frame, feature_columns(frame), window.years, search_trials)
        with warehouse.connect("keeping settings found") as connection:
            keep_settings(connection, "models/fundamental", found)


def _expert(regime: PriceRegime) -> Callable[[DataRoot, Warehouse, Window], list[Any]]:
    def make(root: DataRoot, warehouse: Warehouse, window: Window) -> list[Any]:
        from velo_assets.modelling.yearly import expert_folds
        from velo_assets.warehouse.export import feature_columns, training_frame

        frame = training_frame(root.exports, warehouse, window.years[-1], DECISION_PRICE.kind)
        return expert_folds(frame, feature_columns(frame), window.years, regime)

    return make


def _intent(root: DataRoot, warehouse: Warehouse, window: Window) -> list[Any]:
    from velo_assets.modelling.intent import INTENT_SIGNALS
    from velo_assets.modelling.offsets import columns_of
    from velo_assets.modelling.yearly import intent_folds
    from velo_assets.warehouse.export import training_frame

    read = columns_of(INTENT_SIGNALS)
    frame = training_frame(root.exports, warehouse, window.years[-1], DECISION_PRICE.kind, read)
    return intent_folds(frame, window.years)


def _disruption(root: DataRoot, warehouse: Warehouse, window: Window) -> list[Any]:
    from velo_assets.modelling.disruption import HYPE_SIGNALS
    from velo_assets.modelling.offsets import columns_of
    from velo_assets.modelling.yearly import disruption_folds
    from velo_assets.warehouse.export import training_frame

    read = columns_of(HYPE_SIGNALS)
    frame = training_frame(root.exports, warehouse, window.years[-1], DECISION_PRICE.kind, read)
    return disruption_folds(frame, window.years)


def _gate(root: DataRoot, warehouse: Warehouse, window: Window) -> list[Any]:
    from velo_assets.modelling.yearly import gate_folds
    from velo_assets.warehouse.export import outcomes

    corrections = None
    for regime in PRICE_REGIMES:
        table = _predictions(
            warehouse, f"models/expert_{regime.name}", {"correction": f"correction_{regime.name}"}, window.years[-1]
        )
        corrections = table if corrections is None else corrections.join(table, on="runner_key")
    assert corrections is not None
    return gate_folds(outcomes(warehouse, window.years[-1], DECISION_PRICE.kind), corrections, window.years)


def _blend(root: DataRoot, warehouse: Warehouse, window: Window) -> list[Any]:
    from velo_assets.modelling.yearly import blend_folds
    from velo_assets.warehouse.export import outcomes

    scores = _predictions(warehouse, "models/fundamental", {"score": "score"}, window.years[-1])
    return blend_folds(outcomes(warehouse, window.years[-1], DECISION_PRICE.kind), scores, window.years)


def _predictions(warehouse: Warehouse, name: str, columns: dict[str, str], last_year: int) -> "pl.DataFrame":
    """Earlier out-of-sample predictions of a model, by runner, some columns renamed."""
    from velo_assets.warehouse.query import frame_of

    wanted = ", ".join(f"{source} as {target}" for source, target in columns.items())
    with warehouse.connect(f"reading {name}") as connection:
        if not table_exists(connection, name):
            raise FileNotFoundError(f"There is no table {name} yet: materialize it first.")
        return frame_of(
            connection,
            f"select runner_key, {wanted} from {name.replace('/', '.')} where year(race_date) <= ?",
            [last_year],
        )


def _rows(folds: Iterable[Any], columns: Sequence[Column]) -> "pl.DataFrame":
    """All folds' rows in the declared column order; no rows, but the right types, when there is no fold."""
    import polars as pl

    frames = [fold.predictions.select(column.name for column in columns) for fold in folds]
    if frames:
        rows: pl.DataFrame = pl.concat(frames)
        return rows
    types = {
        "race_date": pl.Date,
        "cutoff": pl.Date,
        "race_key": pl.Int64,
        "runner_key": pl.Int64,
        "fold": pl.Int32,
        "model_hash": pl.String,
    }
    empty: pl.DataFrame = pl.DataFrame(schema={column.name: types.get(column.name, pl.Float64) for column in columns})
    return empty


def _figures(folds: Sequence[Any]) -> dg.MarkdownMetadataValue:
    """A table of every fold's figures."""
    names = list(dict.fromkeys(name for fold in folds for name in fold.metrics))
    lines = ["| fold | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for fold in folds:
        cells = ["" if fold.metrics.get(name) is None else f"{fold.metrics[name]:.4f}" for name in names]
        warm_up = " (warm-up)" if fold.fold.warm_up else ""
        lines.append(f"| {fold.fold.fold}{warm_up} | " + " | ".join(cells) + " |")
    return dg.MetadataValue.md("\n".join(lines))


def _lineage(columns: Sequence[Column], sources: dict[str, list[tuple[str, str]]], upstream: str) -> Lineage:
    keys = {name: [(upstream, name)] for name in ("race_date", "race_key", "runner_key")}
    return {**keys, **{column.name: sources[column.name] for column in columns if column.name in sources}}


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    matrix, market = "features/runner_features", "market/probabilities"
    probability = (market, "probability")
    experts = [
        _model_asset(
            f"models/expert_{regime.name}",
            (matrix, market, "core/results"),
            f"Correction of the market for runners at {regime.low:g} to {regime.high:g}, learnt from the whole race's "
            "softmax on races before the year.",
            {"lightgbm", "mlflow", "duckdb"},
            EXPERT,
            _lineage(EXPERT, {"correction": [probability, (market, "decimal_odds")]}, matrix),
            _expert(regime),
        )
        for regime in PRICE_REGIMES
    ]
    expert_names = [f"models/expert_{regime.name}" for regime in PRICE_REGIMES]
    return [
        _model_asset(
            "models/fundamental",
            (matrix, "core/results", market),
            "SQPE, the price-free model: LightGBM race softmax and a linear conditional logit, mixed on inner folds. "
            "Prices only measure it.",
            {"lightgbm", "mlflow", "duckdb"},
            FUNDAMENTAL,
            _lineage(FUNDAMENTAL, {}, matrix),
            _fundamental,
            SEARCH,
            _search,
        ),
        _model_asset(
            "models/intent",
            (matrix, market, "core/results"),
            "TIE: what the trainer's entry-time choices say beyond the price, a log-odds offset with standard error, "
            "partially pooled by trainer.",
            {"scipy", "mlflow", "duckdb"},
            OFFSET,
            _lineage(OFFSET, {}, matrix),
            _intent,
        ),
        _model_asset(
            "models/disruption",
            (matrix, market, "core/results"),
            "NDS: over-betting. Conditional logit with offset log p_market on hype signals; negative = over-bet.",
            {"scipy", "mlflow", "duckdb"},
            OFFSET,
            _lineage(OFFSET, {}, matrix),
            _disruption,
        ),
        *experts,
        _model_asset(
            "models/gate",
            (*expert_names, market, "core/results"),
            "Soft gate over the experts by price, with a reliability head fitted on their earlier out-of-sample "
            "corrections; a correction that has not proved itself counts for nothing.",
            {"scipy", "mlflow", "duckdb"},
            GATE,
            _lineage(
                GATE, {"expert_probability": [probability, *((e, "correction") for e in expert_names)]}, expert_names[0]
            ),
            _gate,
        ),
        _model_asset(
            "models/blend",
            ("models/fundamental", market, "core/results"),
            "Benter's blend of fundamental and market probability; alpha and beta by maximum likelihood on earlier "
            "out-of-sample predictions, with standard errors.",
            {"scipy", "mlflow", "duckdb"},
            BLEND,
            _lineage(
                BLEND,
                {
                    "blend_probability": [("models/fundamental", "score"), probability],
                    "market_beta_probability": [probability],
                },
                "models/fundamental",
            ),
            _blend,
        ),
    ]
