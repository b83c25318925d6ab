"""Layer backtest: out-of-sample predictions, bets, strategies, the gate and the reports.

Predictions are yearly. Bets are one whole: a cut of edges looks at earlier years, a bankroll runs through them all.
"""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

from velo_assets.assets.builds import inputs_of, record
from velo_assets.assets.dress import picture, table_asset, table_metadata
from velo_assets.assets.sql_tables import sql_assets
from velo_assets.code_versions import code_version
from velo_assets.resources.data import DataRootResource, WarehouseResource
from velo_assets.settings import DECISION_PRICE
from velo_assets.warehouse.build import Built, comment_columns, describe, replace_table, transaction
from velo_assets.warehouse.query import row_of
from velo_assets.warehouse.sql_table import Column

if TYPE_CHECKING:
    import duckdb
    import polars as pl

BETTING_CODE = code_version("assets/backtest", "betting", "racing", "settings", "modelling", "ingestion/betfair_sp")
REPORT_CODE = code_version(
    "assets/backtest",
    "betting",
    "racing",
    "ingestion/betfair_sp",
    "reports",
    "settings",
    "modelling",
    "warehouse/export",
    "warehouse/null_rates",
    "warehouse/null_policy",
    "simulation/marker",
)

PREDICTIONS = (
    "backtest/walk_forward",
    "market/probabilities",
    "core/results",
    "core/races",
    "core/entries",
    "core/prices",
    "models/fundamental",
    "models/intent",
    "models/disruption",
    "features/runner_features",
)
"""What the wide frame of predictions is gathered from."""

EXPORTED = ("features/runner_features", "core/entries", "core/results", "market/probabilities")
"""What a training frame reads: the exported matrix, outcomes and prices."""

MODULE_REPORTS = (
    Column("report", "recipe, module over the market, module or family left out, filter", ""),
    Column("name", "of the recipe, module, family or filter", ""),
    Column("delta_r2", "gain in R2 over the market with its exponent fitted, out of sample", ""),
    Column("low", "lower end of its 95% interval, race-day bootstrap", ""),
    Column("high", "upper end", ""),
    Column("coefficient", "1: to be believed as it stands, 0: adds nothing; of a filter, log-odds over the market", ""),
    Column("standard_error", "of the coefficient", ""),
    Column("races", "races judged", "races"),
    Column("verdict", "in words", ""),
)


@table_asset(
    "backtest/predictions",
    PREDICTIONS,
    "Out-of-sample predictions, a row a runner in order of time: every recipe's probability, prices, race, names, "
    "result, modules and what narrative tags read. Bets, reports and monitoring read this one frame.",
    {"duckdb", "polars"},
    BETTING_CODE,
)
def predictions(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Gather the wide frame of predictions."""
    from velo_assets.betting.backtest import gather_predictions
    from velo_assets.betting.columns import PREDICTIONS_MADE_OF, prediction_columns

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
        frame = gather_predictions(connection, DECISION_PRICE.kind)
        columns = prediction_columns(frame.columns)
        rows = _write_parts(connection, "backtest/predictions", [frame], columns)
        record(connection, context, inputs)
        built = Built("backtest/predictions", rows, describe(connection, "backtest/predictions"))
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            columns,
            {name: sources for name, sources in PREDICTIONS_MADE_OF.items() if name in frame.columns},
            closing_price=DECISION_PRICE.is_closing,
        )
    )


@table_asset(
    "backtest/bets",
    ("backtest/predictions", "backtest/walk_forward", "core/entries", "core/races", "landing/streams"),
    "The bet ledger: every order of every strategy, also those that were void or never matched, with the reason.",
    {"duckdb", "polars"},
    BETTING_CODE,
)
def bets(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Run every declared strategy over all out-of-sample predictions and settle the bets."""
    import polars as pl

    from velo_assets.betting.backtest import read_exchange_book, read_predictions
    from velo_assets.betting.columns import BETS, BETS_MADE_OF
    from velo_assets.betting.ledger import LEDGER, READ_BY_LEDGERS, ledgers
    from velo_assets.betting.strategies import load_strategies, runnable
    from velo_assets.betting.trials import record_trials

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    with warehouse.get_connection() as connection:
        frame = read_predictions(connection, DECISION_PRICE.kind, READ_BY_LEDGERS)
        exchange = read_exchange_book(connection, frame)
        (models,) = row_of(
            connection,
            "select coalesce(string_agg(distinct model_hash, ',' order by model_hash), '') from backtest.walk_forward",
        )
    able, skipped = runnable(load_strategies(), frame)
    for strategy, reason in skipped.items():
        context.log.warning(f"strategy {strategy} was not run: {reason}")
    with warehouse.get_connection() as connection:
        parts = itertools.chain([pl.DataFrame(schema=LEDGER)], ledgers(frame, able, exchange=exchange))
        rows = _write_parts(connection, "backtest/bets", parts, BETS)
        trials = record_trials(connection, frame, able, str(models))
        record(connection, context, inputs)
        built = Built("backtest/bets", rows, describe(connection, "backtest/bets"))
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            BETS,
            BETS_MADE_OF,
            strategies=len(able),
            strategies_not_run=dg.MetadataValue.json(skipped),
            variants_ever_tried=trials,
            runners_with_an_order_book=0 if exchange is None else int(exchange.covered.sum()),
            closing_price=DECISION_PRICE.is_closing,
        )
    )


@table_asset(
    "backtest/strategies",
    ("backtest/bets",),
    "One row per strategy: ROI with its interval, A/E, closing-line value, drawdown, and the best-of-K null beside it.",
    {"duckdb", "polars"},
    BETTING_CODE,
)
def strategies(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Measure every strategy."""
    from velo_assets.betting.backtest import read_ledgers
    from velo_assets.betting.columns import STRATEGIES
    from velo_assets.betting.metrics import strategy_table
    from velo_assets.betting.strategies import load_strategies
    from velo_assets.betting.trials import count_trials, data_fingerprint, tried
    from velo_assets.reports.asset_pictures import bars_png
    from velo_assets.warehouse.query import frame_of

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    names = {strategy.id: strategy.name for strategy in load_strategies()}
    with warehouse.get_connection() as connection:
        races = frame_of(connection, "select distinct race_date, race_key from backtest.walk_forward")
        fingerprint = data_fingerprint(races)
        trials = count_trials(connection, fingerprint)
        found = {row[0] for row in connection.execute("select distinct strategy_id from backtest.bets").fetchall()}
        idle = [name for name in names if name in tried(connection, fingerprint) - found]
        table = strategy_table(read_ledgers(connection, names), names=names, trials=trials, without_orders=idle)
        built = replace_table(connection, "backtest/strategies", table, STRATEGIES)
        record(connection, context, inputs)
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            STRATEGIES,
            trials=trials,
            roi=picture(
                bars_png(table, "strategy_id", "roi", "best_of_k_95", rows=30, beyond_is_good=True),
                "ROI, tick = best of K by luck",
            ),
            table=dg.MetadataValue.md(_strategy_lines(table)),
        )
    )


@table_asset(
    "backtest/breakdowns",
    ("backtest/bets",),
    "ROI and A/E of each strategy by year, code, course, class, price band and month, with intervals and the "
    "best-of-K null of each group.",
    {"duckdb", "polars"},
    BETTING_CODE,
)
def breakdowns(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Split every strategy along every dimension."""
    import polars as pl

    from velo_assets.betting.backtest import read_ledgers
    from velo_assets.betting.columns import BREAKDOWNS as COLUMNS
    from velo_assets.betting.metrics import BREAKDOWNS, READ_BY_BREAKDOWNS
    from velo_assets.betting.metrics import breakdowns as cuts
    from velo_assets.betting.strategies import load_strategies
    from velo_assets.betting.trials import count_trials, data_fingerprint
    from velo_assets.warehouse.query import frame_of

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    with warehouse.get_connection() as connection:
        races = frame_of(connection, "select distinct race_date, race_key from backtest.walk_forward")
        trials = count_trials(connection, data_fingerprint(races))
        parts = [
            part
            for ledger in read_ledgers(connection, [strategy.id for strategy in load_strategies()], READ_BY_BREAKDOWNS)
            for part in cuts(ledger, BREAKDOWNS, trials=trials).values()
        ]
        built = replace_table(connection, "backtest/breakdowns", pl.concat(parts, how="diagonal_relaxed"), COLUMNS)
        record(connection, context, inputs)
    return dg.MaterializeResult(metadata=table_metadata(built, COLUMNS))


@table_asset(
    "backtest/error_map",
    ("backtest/predictions",),
    "Where SQPE, TIE and NDS are right and wrong: confusion counts, convergence, bias by narrative tag with its "
    "significance after Holm's correction. For people: reports/error_map.html.",
    {"duckdb", "polars", "html"},
    REPORT_CODE,
)
def error_map(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, data_root: DataRootResource
) -> dg.MaterializeResult[None]:
    """Judge the modules."""
    from velo_assets.betting import columns
    from velo_assets.betting import error_map as judged
    from velo_assets.betting.backtest import read_predictions
    from velo_assets.ingestion.manifest import results_kind
    from velo_assets.reports.error_map_page import build_error_map_page
    from velo_assets.reports.pages import write_page

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    with warehouse.get_connection() as connection:
        frame = read_predictions(connection, DECISION_PRICE.kind, judged.READ_BY_ERROR_MAP)
        simulated = results_kind(connection) == "simulated"
    table = judged.error_map(frame)
    scores = judged.module_scores(frame)
    convergence = judged.convergence_table(frame)
    root = data_root.root()
    page = build_error_map_page(
        table,
        scores,
        convergence,
        missing_tags=judged.available_tags(frame)[1],
        simulated=simulated,
        closing_price=DECISION_PRICE.is_closing,
    )
    path = write_page(root.reports / "error_map.html", page)
    with warehouse.get_connection() as connection:
        replace_table(connection, "backtest/module_scores", scores, columns.MODULE_SCORES)
        replace_table(connection, "backtest/convergence", convergence, columns.CONVERGENCE)
        built = replace_table(connection, "backtest/error_map", table, columns.ERROR_MAP)
        record(connection, context, inputs)
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            columns.ERROR_MAP,
            notes=dg.MetadataValue.md("\n".join(f"- {note}" for note in judged.notes(table))),
            convergence=dg.MetadataValue.md(_markdown(convergence)),
            module_scores=dg.MetadataValue.md(_markdown(scores)),
            page=dg.MetadataValue.path(str(path)),
        )
    )


@table_asset(
    "backtest/tear_sheet",
    (
        "backtest/predictions",
        "backtest/walk_forward",
        "backtest/strategies",
        "backtest/bets",
        "backtest/error_map",
        "core/entries",
        "core/races",
        "core/results",
        "features/runner_features",
        "models/blend",
    ),
    "The verdict: reports/tear_sheet.html for people, reports/scoreboard.json for programs, the promotion gate's "
    "decision over the market, and the run kept for `velo compare`.",
    {"html", "json"},
    REPORT_CODE,
)
def tear_sheet(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, data_root: DataRootResource
) -> dg.MaterializeResult[None]:
    """Write the reports of the backtest."""
    from velo_assets.reports.verdict import write_verdict

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    root = data_root.root()
    verdict = write_verdict(root, warehouse.warehouse(), DECISION_PRICE, REPORT_CODE, context.run.run_id)
    with warehouse.get_connection() as connection:
        record(connection, context, inputs)
    return dg.MaterializeResult(
        metadata={
            "headline": verdict.headline,
            "shipped": verdict.shipped,
            "gate_passed": verdict.scoreboard["gate"]["passed"],
            "gate_reasons": dg.MetadataValue.json(verdict.scoreboard["gate"]["reasons"]),
            "acceptance": dg.MetadataValue.json(verdict.scoreboard["acceptance"]),
            "page": dg.MetadataValue.path(str(root.reports / "tear_sheet.html")),
            "scoreboard": dg.MetadataValue.path(str(root.reports / "scoreboard.json")),
            "run": verdict.run_id,
            **{name: picture(png, name) for name, png in verdict.pictures.items()},
        }
    )


class RunsToCompare(dg.Config):
    """Two stored backtest runs; the last two when nothing is said."""

    run_a: str = ""
    run_b: str = ""


@table_asset(
    "backtest/comparison",
    ("backtest/tear_sheet",),
    "Two stored runs side by side, the last two unless the launchpad names others: paired differences in R2 and in "
    "return, with intervals. The same as `velo compare RUN_A RUN_B`.",
    {"duckdb", "polars"},
    REPORT_CODE,
)
def comparison(
    context: dg.AssetExecutionContext,
    config: RunsToCompare,
    warehouse: WarehouseResource,
    data_root: DataRootResource,
) -> dg.MaterializeResult[None]:
    """Compare two stored runs."""
    import polars as pl

    from velo_assets.betting.columns import COMPARISON as COLUMNS
    from velo_assets.betting.compare import (
        COMPARISON,
        compare_runs,
        comparison_table,
        comparison_text,
        latest_two,
        load_run,
        stored_runs,
    )

    runs = data_root.root().reports / "runs"
    pair = (config.run_a, config.run_b) if config.run_a and config.run_b else latest_two(runs)
    if pair is None:
        table, text = pl.DataFrame(schema=COMPARISON), "One stored run so far: nothing to compare it with."
    else:
        result = compare_runs(load_run(runs, pair[0]), load_run(runs, pair[1]))
        table, text = comparison_table(*pair, result), comparison_text(result)
    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
        built = replace_table(connection, "backtest/comparison", table, COLUMNS)
        record(connection, context, inputs)
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            COLUMNS,
            runs=list(pair or ()),
            stored_runs=stored_runs(runs),
            comparison=dg.MetadataValue.md(text),
        )
    )


@table_asset(
    "backtest/module_reports",
    ("backtest/predictions", *EXPORTED, "models/blend", "models/expert_longshot"),
    "What every recipe, module, feature family and filter adds to the market out of sample: gain with its interval, "
    "coefficient with its standard error, and the verdict in words. The page is reports/models.html.",
    {"duckdb", "scipy", "html"},
    REPORT_CODE,
)
def module_reports(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, data_root: DataRootResource
) -> dg.MaterializeResult[None]:
    """Write the reports of the models."""
    from velo_assets.reports.models_page import read_and_build
    from velo_assets.reports.pages import write_page

    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, None)
    root = data_root.root()
    page = read_and_build(root, warehouse.warehouse(), DECISION_PRICE)
    write_page(root.reports / "models.html", page.html)
    with warehouse.get_connection() as connection:
        built = replace_table(connection, "backtest/module_reports", page.table, MODULE_REPORTS)
        record(connection, context, inputs)
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            MODULE_REPORTS,
            headline=page.headline,
            page=dg.MetadataValue.path(str(root.reports / "models.html")),
            closing_price=DECISION_PRICE.is_closing,
            reports=dg.MetadataValue.md(_markdown(page.table)),
        )
        | {name: picture(png, name) for name, png in page.pictures.items()}
    )


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    python = (predictions, bets, strategies, breakdowns, error_map, module_reports, tear_sheet, comparison)
    return [*sql_assets("backtest"), *python]


def _write_parts(
    connection: "duckdb.DuckDBPyConnection", name: str, parts: Iterable["pl.DataFrame"], columns: tuple[Column, ...]
) -> int:
    """Replace a table by these parts, in one transaction, in their order, one part in memory at a time, without a copy
    between."""
    from velo_assets.betting.backtest import in_stored_order

    relation = name.replace("/", ".")
    rows = 0
    with in_stored_order(connection), transaction(connection):
        for place, part in enumerate(parts):
            connection.register("part_of_table", part.to_arrow())
            how = "insert into" if place else "create or replace table"
            connection.execute(f"{how} {relation} {'' if place else 'as '}select * from part_of_table")
            connection.unregister("part_of_table")
            rows += part.height
        comment_columns(connection, name, columns)
    return rows


def _strategy_lines(table: "pl.DataFrame") -> str:
    shown = table.select(
        "strategy_id", "bets", "win_rate", "roi", "roi_low", "roi_high", "a_over_e", "max_drawdown", "best_of_k_95"
    )
    return _markdown(shown)


def _markdown(table: "pl.DataFrame") -> str:
    def cell(value: object) -> str:
        if value is None:
            return ""
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * table.width]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in table.iter_rows()]
    return "\n".join(lines)
