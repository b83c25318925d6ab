"""Every settled race that was predicted, out of sample by the backtest or beforehand by a serving version, judged.

Belongs here: gathering both kinds of predictions from the warehouse. Does not belong here: the judgement of a race
(evaluation.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import polars as pl

from velo_assets.betting.backtest import read_predictions
from velo_assets.betting.settle import SETTLED
from velo_assets.betting.strategies import MODULE_TOLERANCE
from velo_assets.modelling.disruption import MODULES
from velo_assets.monitoring.evaluation import evaluate_days, evaluate_races, module_verdicts
from velo_assets.serving.prediction_log import served_predictions
from velo_assets.warehouse.query import frame_of

_READ_OF_RUNNERS = (
    "race_date",
    "race_key",
    "runner_key",
    "fold",
    "probability_blend",
    "market_probability",
    *(f"module_{module}" for module in MODULES),
)


@dataclass(frozen=True)
class PostRace:
    """What the races say.

    Attributes:
        races: a row per source, model and race, see `evaluation.evaluate_races`.
        days: a row per source, model and racing day, see `evaluation.evaluate_days`.
        strategies: a row per racing day and strategy: bets, staked, profit, roi.
        verdicts: a row per source, model and module, see `evaluation.module_verdicts`.
    """

    races: pl.DataFrame
    days: pl.DataFrame
    strategies: pl.DataFrame
    verdicts: pl.DataFrame

    def of(self, source: str) -> pl.DataFrame:
        """Days of a source; of the serving version alone where there are several, and of the newest of these."""
        days = self.days.filter(pl.col("source") == source)
        champion = days.filter(pl.col("is_champion"))
        # In the order of their names version 10 would come before version 9.
        version = pl.col("model").str.extract(r"(\d+)$").cast(pl.Int64)
        ordered = (champion if champion.height else days).sort("race_date", version)
        return ordered.unique("race_date", keep="last").sort("race_date")

    def mean_gap(self, source: str) -> float | None:
        """Mean gap to the market per race of a source; None when it has none."""
        days = self.of(source)
        races = int(days["races"].sum())
        return float((days["gap_to_market"] * days["races"]).sum()) / races if races else None


def post_race(connection: duckdb.DuckDBPyConnection, price_kind: str) -> PostRace:
    """Judge the backtest's and the served predictions by the results that are there.

    Args:
        connection: an open warehouse.
        price_kind: the decision price; served predictions are held against it as the closing market.
    """
    results = frame_of(connection, "select race_key, runner_key, win_share from core.results")
    bets = frame_of(
        connection,
        "select race_date, strategy_id, stake, profit from backtest.bets "
        "where status in (select unnest($settled::varchar[]))",
        {"settled": list(SETTLED)},
    )
    backtest = evaluate_races(_of_backtest(connection, price_kind), results)
    parts, days = [backtest], [evaluate_days(backtest, bets)]
    served = served_predictions(connection, price_kind)
    if served.height:
        of_model = served.with_columns(
            pl.lit("served").alias("source"), pl.concat_str("model_name", "model_version", separator=" ").alias("model")
        )
        parts.append(evaluate_races(of_model, results))
        days.append(evaluate_days(parts[-1], bets.clear()))
    races = pl.concat(parts, how="vertical_relaxed")
    strategies = (
        bets.group_by("race_date", "strategy_id")
        .agg(pl.len().alias("bets"), pl.col("stake").sum().alias("staked"), pl.col("profit").sum())
        .with_columns(roi=pl.when(pl.col("staked") > 0).then(pl.col("profit") / pl.col("staked")))
        .sort("race_date", "strategy_id")
    )
    return PostRace(races, pl.concat(days, how="vertical_relaxed"), strategies, module_verdicts(races))


def _of_backtest(connection: duckdb.DuckDBPyConnection, price_kind: str) -> pl.DataFrame:
    """The blend's out-of-sample predictions. Its odds are the closing ones, so there is no closing-line value."""
    wide = read_predictions(connection, price_kind, _READ_OF_RUNNERS)
    above = [
        (pl.col(f"module_{module}") > MODULE_TOLERANCE).alias(f"{module}_above")
        for module in MODULES
        if f"module_{module}" in wide.columns
    ]
    return wide.filter(pl.col("probability_blend").is_not_null()).select(
        pl.lit("walk-forward").alias("source"),
        pl.lit("blend").alias("model"),
        pl.lit(None, dtype=pl.Boolean).alias("is_champion"),
        "race_date",
        "race_key",
        "runner_key",
        "fold",
        pl.col("probability_blend").alias("model_probability"),
        "market_probability",
        *above,
    )
