"""The verdict on a backtest: tear sheet, scoreboard, gate and the stored run, from warehouse tables.

Belongs here: bringing tables, metrics and the gate together and writing the files. Does not belong here: any of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from velo_assets.betting.backtest import CONCORDANCE_ROWS, choose_shipped, judge, read_predictions
from velo_assets.betting.compare import drop_old_runs, write_run
from velo_assets.betting.metrics import counted
from velo_assets.betting.settle import SETTLED
from velo_assets.ingestion.manifest import results_kind
from velo_assets.modelling.promotion import Candidate, GateDecision
from velo_assets.reports.accuracy import fold_metrics
from velo_assets.reports.pages import write_page
from velo_assets.reports.scoreboard import build_scoreboard, write_scoreboard
from velo_assets.reports.tear_sheet import (
    PRICE_BASELINE,
    READ_OF_BETS,
    READ_OF_RUNNERS,
    build_tear_sheet,
    shown_strategy,
)
from velo_assets.settings import DataRoot, DecisionPrice
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import matrix_features
from velo_assets.warehouse.null_rates import family_null_rates
from velo_assets.warehouse.query import frame_of, row_of
from velo_assets.warehouse.sql_table import all_tables


@dataclass(frozen=True)
class WrittenVerdict:
    """What was written.

    Attributes:
        headline: one sentence.
        shipped: recipe that was put to the gate.
        scoreboard: content of scoreboard.json.
        pictures: PNG bytes by name.
        run_id: folder of the stored run.
        decision: the gate's over the market; what a trained version must beat is the champion, see `serving.recipe`.
    """

    headline: str
    shipped: str
    scoreboard: dict[str, Any]
    pictures: dict[str, bytes]
    run_id: str
    decision: GateDecision


@dataclass(frozen=True)
class Backtest:
    """What a verdict rests on, read from the warehouse in one go.

    Attributes:
        predictions: wide frame.
        shipped: recipe that is put to the gate.
        ledger: bets of the strategy shown in detail, of the one that backs everything to its price, and all that did
            not count.
        days: what each strategy staked and made each day, for `velo compare`.
        strategies: table of all strategies.
        weights: alpha and beta per fold.
        races: race_date of every race.
        facts: files, runners, training_rows.
        simulated: whether the results come from the simulator.
        matrix: features of the latest predicted runners.
        null_rates: of each feature family.
    """

    predictions: pl.DataFrame
    shipped: str
    ledger: pl.DataFrame
    days: pl.DataFrame
    strategies: pl.DataFrame
    weights: pl.DataFrame
    races: pl.DataFrame
    facts: dict[str, int]
    simulated: bool
    matrix: pl.DataFrame
    null_rates: dict[str, float]

    @property
    def detail(self) -> str:
        """Id of the strategy shown in detail."""
        return f"{self.shipped}_top20"


def read_backtest(warehouse: Warehouse, decision_price: DecisionPrice) -> Backtest:
    """Read the latest backtest; the warehouse is held only meanwhile."""
    with warehouse.connect("reading the backtest") as connection:
        predictions = read_predictions(connection, decision_price.kind, READ_OF_RUNNERS)
        shipped = choose_shipped(predictions)
        strategies = frame_of(connection, "select * from backtest.strategies")
        bet = bool((strategies["bets"] > 0).any())
        shown = shown_strategy(strategies, f"{shipped}_top20")["strategy_id"] if bet else None
        return Backtest(
            predictions,
            shipped,
            # The page shows one strategy in detail, the take-out from the one that backs everything to its price, and
            # what did not count.
            frame_of(
                connection,
                f"select {', '.join(READ_OF_BETS)} from backtest.bets "
                "where strategy_id in (?, ?) or status in ('void', 'unmatched')",
                [shown, PRICE_BASELINE],
            ),
            frame_of(
                connection,
                "select strategy_id, race_date, count(*)::bigint as bets, sum(stake) as stake, sum(profit) as profit "
                "from backtest.bets where list_contains(?, status) group by all order by min(rowid)",
                [list(SETTLED)],
            ),
            strategies,
            frame_of(
                connection, "select distinct fold, alpha, alpha_se, beta, beta_se from models.blend order by fold"
            ),
            frame_of(connection, "select race_date from core.races"),
            _facts(connection),
            results_kind(connection) == "simulated",
            _matrix_sample(connection, predictions),
            _null_rates(connection),
        )


def judge_backtest(
    backtest: Backtest,
    decision_price: DecisionPrice,
    code: str,
    *,
    challenger: str | None = None,
    champion: Candidate | None = None,
) -> tuple[GateDecision, list[dict[str, Any]], dict[str, Any]]:
    """Put a backtest to the promotion gate.

    Args:
        backtest: from `read_backtest`.
        decision_price: the price bets were chosen at.
        code: hash of the code behind the predictions.
        challenger: label of the registered version on trial; the recipe's name when it is not registered.
        champion: the champion's predictions; the beta-fitted market when there is none.

    Returns:
        The decision, and the scoreboard's folds and pooled figures.
    """
    folds, pooled = fold_metrics(backtest.predictions, shipped=backtest.shipped, weights=backtest.weights)
    verdict = judge(
        backtest.predictions,
        backtest.matrix,
        counted(backtest.ledger.filter(pl.col("strategy_id") == backtest.detail)),
        backtest.strategies,
        folds,
        pooled,
        shipped=backtest.shipped,
        price_kind=decision_price.kind,
        code=code,
        challenger=challenger,
        champion=champion,
        null_rates=backtest.null_rates,
        training_rows=backtest.facts["training_rows"],
    )
    return verdict.decision, folds, pooled


def write_verdict(
    root: DataRoot, warehouse: Warehouse, decision_price: DecisionPrice, code: str, run_id: str
) -> WrittenVerdict:
    """Judge the latest backtest and write reports/tear_sheet.html, reports/scoreboard.json and reports/runs/<id>.

    Args:
        root: the data root.
        warehouse: held only while tables are read.
        decision_price: the price bets were chosen at.
        code: hash of the code behind the predictions.
        run_id: identifies the run, such as the Dagster run id.
    """
    backtest = read_backtest(warehouse, decision_price)
    decision, folds, pooled = judge_backtest(backtest, decision_price, code)
    scoreboard = build_scoreboard(
        simulated=backtest.simulated,
        files=backtest.facts["files"],
        races=backtest.races,
        runners=backtest.facts["runners"],
        decision_price=decision_price.kind + (" (closing price)" if decision_price.is_closing else ""),
        folds=folds,
        pooled=pooled,
        strategies=backtest.strategies,
        gate=decision,
    )
    settings = {
        "decision price": scoreboard["decision_price"],
        "shipped recipe": backtest.shipped,
        "folds": f"{folds[0]['year']} to {folds[-1]['year']}" if folds else "none",
        "code": code,
        "run": run_id,
    }
    sheet = build_tear_sheet(
        backtest.predictions,
        backtest.ledger,
        backtest.strategies,
        folds,
        pooled,
        settings=settings,
        simulated=backtest.simulated,
        strategy_id=backtest.detail,
        shipped=backtest.shipped,
        acceptance=scoreboard["acceptance"],
        gate=scoreboard["gate"],
        error_map="error_map.html" if (root.reports / "error_map.html").is_file() else None,
    )
    write_page(root.reports / "tear_sheet.html", sheet.html)
    write_scoreboard(root.reports / "scoreboard.json", scoreboard)
    write_run(root.reports / "runs", run_id, backtest.predictions, backtest.days, settings)
    drop_old_runs(root.reports / "runs")
    return WrittenVerdict(sheet.headline, backtest.shipped, scoreboard, dict(sheet.pictures), run_id, decision)


def _facts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    row = row_of(
        connection,
        "select (select count(*) from landing.manifest where status = 'live' and kind = 'raceform'), "
        "(select count(*) from core.entries), "
        "(select count(*) from core.results where race_date < (select max(cutoff) from backtest.walk_forward))",
    )
    return {"files": int(row[0]), "runners": int(row[1]), "training_rows": int(row[2])}


def _matrix_sample(connection: duckdb.DuckDBPyConnection, predictions: pl.DataFrame) -> pl.DataFrame:
    """Features of whole races, the latest first, up to some 200,000 runners."""
    days = predictions.group_by("race_date").len().sort("race_date", descending=True)
    reached = days.filter(pl.col("len").cum_sum() <= CONCORDANCE_ROWS)["race_date"].min()
    names = ", ".join(f'"{name}"::float as "{name}"' for name in matrix_features(connection))
    return frame_of(
        connection,
        f"select runner_key, {names} from features.runner_features where race_date >= ?",
        [reached or predictions["race_date"].max()],
    )


def _null_rates(connection: duckdb.DuckDBPyConnection) -> dict[str, float]:
    """Worst null rate of each family, over rows where the value can exist."""
    families = [table.name for table in all_tables() if table.schema == "features" and table.is_by_runner]
    rates = family_null_rates(connection, families)
    return {family.split("/")[1]: rate for family, rate in rates.items()}
