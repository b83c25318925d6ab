"""The bet ledger: choose, stake, execute and settle every bet of every strategy.

Belongs here: the path from the wide frame of predictions to `backtest.bets`. Not here: the parts it calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from velo_assets.betting.execution import REASONS, ExchangeBook, Quotes, SyntheticBook, execute
from velo_assets.betting.predictions import (
    KEY_COLUMNS,
    MODULE_COLUMNS,
    OUTCOME_COLUMNS,
    PRICE_COLUMNS,
    RACE_COLUMNS,
    RECIPE_COLUMNS,
)
from velo_assets.betting.settle import settle_bets, unit_profits
from velo_assets.betting.staking import (
    STOPPED,
    BoolArray,
    FloatArray,
    IntArray,
    bankroll_path,
    cap_fractions,
    simultaneous_kelly,
)
from velo_assets.betting.strategies import Selection, Strategy
from velo_assets.modelling.guards import require_columns
from velo_assets.modelling.races import Races
from velo_assets.racing.settlement import MIN_DECIMAL_ODDS

READ_BY_LEDGERS = (
    *KEY_COLUMNS,
    *PRICE_COLUMNS,
    *RACE_COLUMNS,
    *OUTCOME_COLUMNS,
    *RECIPE_COLUMNS,
    *MODULE_COLUMNS,
)
"""Columns of the wide frame that some strategy may read."""

LEDGER: dict[str, pl.DataType] = {
    "strategy_id": pl.String(),
    "race_date": pl.Date(),
    "race_key": pl.Int64(),
    "runner_key": pl.Int64(),
    "fold": pl.Int32(),
    "recipe": pl.String(),
    "side": pl.String(),
    "bet_type": pl.String(),
    "price_kind": pl.String(),
    "book": pl.String(),
    "ordered_at": pl.Datetime("us"),
    "decision_price": pl.Float64(),
    "closing_price": pl.Float64(),
    "probability": pl.Float64(),
    "market_probability": pl.Float64(),
    "edge": pl.Float64(),
    "requested_stake": pl.Float64(),
    "stake": pl.Float64(),
    "matched_price": pl.Float64(),
    "bankroll": pl.Float64(),
    "status": pl.String(),
    "reason": pl.String(),
    "win_share": pl.Float64(),
    "rule4_pence": pl.Int64(),
    "gross_profit": pl.Float64(),
    "commission": pl.Float64(),
    "return": pl.Float64(),
    "profit": pl.Float64(),
    "code": pl.String(),
    "course": pl.String(),
    "race_class": pl.Int32(),
    "field_size": pl.Int32(),
    "is_handicap": pl.Boolean(),
}
"""Columns of `backtest.bets` in order. Money in the unit of the stakes; `stake` is what was matched, 0 when nothing
was; `bankroll` is the money at the start of the day, null for stakes that do not depend on it. `price_kind` is the kind
of the decision price. `book` says what took the order: `price` (matched at the price in full), `exchange` (the order
book of a landed stream), `last traded` (a synthetic book around the last trade of a stream without one) or `synthetic`.
`ordered_at` (UTC) is null for orders without a stream: their price forms at the off."""


def place_bets(
    predictions: pl.DataFrame,
    strategies: Sequence[Strategy],
    *,
    commission: float = 0.0,
    withdrawals: pl.DataFrame | None = None,
    book: SyntheticBook | None = None,
    exchange: ExchangeBook | None = None,
) -> pl.DataFrame:
    """Run strategies over predictions.

    Args:
        predictions: from `betting.predictions.wide_predictions`, all folds together (edge cuts look at earlier folds,
            bankrolls run through the years).
        strategies: from `load_strategies`; those that can't run raise, see `strategies.runnable`.
        commission: rate on the net winnings of each strategy in each race.
        withdrawals: withdrawn runners, see `racing.rule4.deductions_for_bets`; needs `placed_at` in `predictions`.
        book: the synthetic book for strategies with `execution.book = "exchange"`.
        exchange: what real streams offered, one row per row of `predictions`; it takes the place of the synthetic book
            in the races that it covers.

    Returns:
        The ledger, columns `LEDGER`: every order, also those that were void or never matched, with the reason. Sorted
        by strategy in the order given, then by time.

    Raises:
        MissingFeatureError: a strategy's inputs are missing.
        ValueError: rows of a race are not next to each other.
    """
    parts = list(
        ledgers(predictions, strategies, commission=commission, withdrawals=withdrawals, book=book, exchange=exchange)
    )
    return pl.concat(parts) if parts else pl.DataFrame(schema=LEDGER)


def ledgers(
    predictions: pl.DataFrame,
    strategies: Sequence[Strategy],
    *,
    commission: float = 0.0,
    withdrawals: pl.DataFrame | None = None,
    book: SyntheticBook | None = None,
    exchange: ExchangeBook | None = None,
) -> Iterator[pl.DataFrame]:
    """As `place_bets`, one ledger per strategy, so that millions of bets need not be held at once."""
    require_columns(
        predictions, ("race_date", "race_key", "runner_key", "fold", "decision_price", *OUTCOME_COLUMNS), "place_bets"
    )
    selection = Selection(predictions)
    races = Races.from_frame(predictions.select("race_date", "race_key"))
    race = np.repeat(np.arange(len(races)), races.field_size)
    day = predictions.get_column("race_date").to_numpy().astype("datetime64[D]").astype(np.int64)
    for strategy in strategies:
        require_columns(predictions, strategy.needs(), f"strategy {strategy.id!r}")
        chosen = selection.chosen(strategy)
        rows = np.flatnonzero(chosen)
        orders = _orders(predictions, strategy, selection, rows)
        if strategy.staking.uses_bankroll or strategy.execution.book != "none":
            orders, market = _quoted(strategy, orders, rows, book or SyntheticBook(), exchange)
            orders = _staked_by_bankroll_or_book(
                orders, strategy, selection, races, chosen, rows, race, day, market, commission
            )
        else:
            stake = _level_stakes(strategy, orders.get_column("decision_price").to_numpy())
            orders = orders.with_columns(
                pl.Series("requested_stake", stake),
                pl.Series("stake", stake),
                pl.lit(None, pl.Float64).alias("bankroll"),
            )
        yield _ledger(settle_bets(orders, commission=commission, withdrawals=withdrawals))


def totals(bets: pl.DataFrame) -> pl.DataFrame:
    """How many orders of each strategy ended in which status and why: what the reports print beside every total.

    Args:
        bets: ledger.

    Returns:
        `strategy_id, status, reason, orders, requested_stake, stake`; part-matched orders keep their reason.
    """
    return (
        bets.group_by("strategy_id", "status", "reason", maintain_order=True)
        .agg(pl.len().alias("orders"), pl.col("requested_stake").sum(), pl.col("stake").sum())
        .sort("strategy_id", "status", "reason", nulls_last=True)
    )


def _orders(predictions: pl.DataFrame, strategy: Strategy, selection: Selection, rows: IntArray) -> pl.DataFrame:
    """Chosen runners as orders: what is known when the bet is sent, and the result columns for settlement."""
    wanted = (
        "race_date",
        "race_key",
        "runner_key",
        "fold",
        "decision_price",
        "closing_price",
        "price_kind",
        "market_probability",
    )
    extra = (*RACE_COLUMNS, *OUTCOME_COLUMNS, "bsp", "placed_at")
    columns = [name for name in dict.fromkeys((*wanted, *extra)) if name in predictions.columns]
    orders = predictions.select(columns)[rows].with_columns(
        pl.lit(strategy.id).alias("strategy_id"),
        pl.lit(strategy.recipe).alias("recipe"),
        pl.lit(strategy.side).alias("side"),
        pl.lit(strategy.bet_type).alias("bet_type"),
        pl.lit("price").alias("book"),
        pl.Series("probability", selection.probability(strategy)[rows]),
        pl.Series("edge", selection.edge(strategy)[rows]),
        pl.lit(None, pl.String).alias("reason"),
    )
    settled_at = "bsp" if strategy.settle_at == "bsp" else "decision_price"
    if strategy.settle_at == "bsp":
        orders = orders.with_columns(pl.lit("bsp").alias("price_kind"))
    # The decision price is checked here: a chosen price below 1.01 is void whatever it would have settled at.
    bad = (pl.col("decision_price") < MIN_DECIMAL_ODDS).fill_null(False)
    return orders.with_columns(
        pl.col(settled_at).alias("matched_price"),
        pl.when(bad).then(pl.lit("void")).otherwise(None).alias("status"),
        pl.when(bad).then(pl.lit(f"price below {MIN_DECIMAL_ODDS}")).otherwise(None).alias("reason"),
    )


def _level_stakes(strategy: Strategy, price: FloatArray) -> FloatArray:
    """Stakes that depend on nothing but the price."""
    unit = strategy.staking.unit
    return unit / price if strategy.staking.method == "to_price" else np.full(len(price), unit)


def _quoted(
    strategy: Strategy, orders: pl.DataFrame, rows: IntArray, book: SyntheticBook, exchange: ExchangeBook | None
) -> tuple[pl.DataFrame, Quotes | None]:
    """Quotes of the chosen runners, and the orders with the book they meet; no quotes when all match at the price."""
    if strategy.execution.book == "none":
        return orders, None
    price = orders.get_column("decision_price").cast(pl.Float64).to_numpy()
    if strategy.side == "lay":
        # Who lays at SP pockets the bookmaker's margin, but nobody backs with him there: the exchange beside the ring
        # offers the price without it. So lays are quoted around that price, or the decision price if it is longer.
        chance = orders.get_column("market_probability").cast(pl.Float64).fill_null(1.0).to_numpy()
        price = np.maximum(price, 1.0 / np.clip(chance, 1e-6, 1.0))
    kind = np.full(len(rows), "synthetic", dtype=object)
    if exchange is not None:
        traded = np.isfinite(exchange.last_traded[rows])
        price = np.where(traded, exchange.last_traded[rows], price)
        kind = np.where(exchange.covered[rows], "exchange", np.where(traded, "last traded", "synthetic"))
    quotes = book.quotes(
        orders.get_column("runner_key").to_numpy(),
        np.maximum(np.nan_to_num(price, nan=MIN_DECIMAL_ODDS), MIN_DECIMAL_ODDS),
        orders.get_column("field_size").fill_null(10).to_numpy(),
    )
    orders = orders.with_columns(pl.Series("book", kind, dtype=pl.String))
    if exchange is None:
        return orders, quotes
    orders = orders.with_columns(pl.Series("ordered_at", exchange.ordered_at[rows]).cast(pl.Datetime("us")))
    return orders, quotes.where(exchange.covered[rows], exchange.quotes.take(rows))


def _staked_by_bankroll_or_book(
    orders: pl.DataFrame,
    strategy: Strategy,
    selection: Selection,
    races: Races,
    chosen: BoolArray,
    rows: IntArray,
    race: IntArray,
    day: IntArray,
    market: Quotes | None,
    commission: float,
) -> pl.DataFrame:
    """Stakes that depend on the bankroll, on what the book takes, or on both."""
    staking, limits = strategy.staking, strategy.execution.limits
    probability, orders_race, orders_day = selection.probability(strategy)[rows], race[rows], day[rows]
    price = orders.get_column("matched_price").cast(pl.Float64).fill_null(float("nan")).to_numpy()
    taken = price if market is None else (market.back_price if strategy.side == "back" else market.lay_price)

    def fill(requested: FloatArray, part: slice) -> tuple[FloatArray, IntArray]:
        if market is None:
            return requested, np.zeros(len(requested), dtype=np.int64)
        fills = execute(
            requested, probability[part], orders_race[part], orders_day[part], market.take(part), limits, strategy.side
        )
        return fills.stake, fills.reason

    if staking.uses_bankroll:
        if staking.method == "kelly":
            whole = simultaneous_kelly(
                selection.probability(strategy), selection.column("decision_price"), races.race_starts, chosen
            )
            fraction = staking.fraction * whole[rows]
        else:
            fraction = np.full(len(rows), staking.fraction)
        fraction = cap_fractions(fraction, orders_race, orders_day, staking)
        void = (orders.get_column("status").fill_null("") == "void").to_numpy()
        per_unit = np.where(void, 0.0, unit_profits(orders.with_columns(pl.Series("matched_price", taken))))
        path = bankroll_path(fraction, orders_day, orders_race, np.nan_to_num(per_unit), staking, fill, commission)
        requested, stake, reason = fraction * path.bankroll, path.stake, path.reason
        bankroll = pl.Series("bankroll", path.bankroll)
    else:
        requested = _level_stakes(strategy, orders.get_column("decision_price").to_numpy())
        stake, reason = fill(requested, slice(0, len(requested)))
        bankroll = pl.Series("bankroll", [None] * len(requested), dtype=pl.Float64)
    # Kelly leaves many chosen runners without a stake: they are no orders.
    wanted = requested > 0
    words = {**REASONS, STOPPED: "drawdown stop reached"}
    staked = orders.with_columns(
        pl.Series("requested_stake", requested),
        pl.Series("stake", stake),
        pl.Series("_code", reason),
        pl.Series("_taken", taken),
        bankroll,
    ).with_columns(
        pl.when(pl.col("status") == "void")
        .then(pl.col("reason"))
        .otherwise(pl.col("_code").replace_strict(words, return_dtype=pl.String))
        .alias("reason"),
        pl.when(pl.col("status") == "void")
        .then(pl.lit("void"))
        .when(pl.col("stake") <= 0)
        .then(pl.lit("unmatched"))
        .otherwise(None)
        .alias("status"),
        pl.when(pl.col("stake") > 0).then(pl.col("_taken")).otherwise(None).alias("matched_price"),
    )
    return staked.filter(pl.Series(wanted)).drop("_code", "_taken")


def _ledger(settled: pl.DataFrame) -> pl.DataFrame:
    """Exactly the ledger's columns and types."""
    return settled.with_columns(
        [pl.lit(None, kind).alias(name) for name, kind in LEDGER.items() if name not in settled.columns]
    ).select([pl.col(name).cast(kind) for name, kind in LEDGER.items()])
