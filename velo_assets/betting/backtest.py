"""A backtest from warehouse tables: one wide frame of predictions, the ledger, the verdict.

Belongs here: reading the tables that a backtest rests on, and what the promotion gate wants to know of it. Does not
belong here: the rules of betting, metrics and the gate themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import polars as pl

from velo_assets.betting.error_map import TAG_COLUMNS
from velo_assets.betting.execution import ExchangeBook, last_traded, stream_quotes
from velo_assets.betting.ledger import LEDGER
from velo_assets.betting.predictions import wide_predictions
from velo_assets.modelling.bootstrap import Interval, roi_interval
from velo_assets.modelling.promotion import (
    AcceptanceReadings,
    Candidate,
    GateDecision,
    LeakReadings,
    decide,
    feature_concordances,
    pooled_auc,
)
from velo_assets.modelling.races import Races
from velo_assets.racing import macros
from velo_assets.warehouse.build import describe, table_exists
from velo_assets.warehouse.query import frame_of, row_of

SHIPPABLE = ("blend", "experts")
"""Recipes that may be shipped: both read the market and correct it."""

MINUTES_BEFORE_ORDER = 5
"""Orders reach the exchange this long before the scheduled off; `core.prices` takes its pre-off price then, too."""

CONCORDANCE_ROWS = 200_000
"""Runners whose features are held against the market; more would change the third digit only."""


POSITION = "position_in_frame"
"""Row number of the stored wide frame: a table has no order, bets are placed in the order of time."""


@dataclass(frozen=True)
class Verdict:
    """The gate's decision and the figures beside it."""

    decision: GateDecision
    acceptance: AcceptanceReadings


def gather_predictions(connection: duckdb.DuckDBPyConnection, price_kind: str) -> pl.DataFrame:
    """The wide frame of every out-of-sample prediction, with results, races, names, modules and what the tags need.

    It is gathered once, as `backtest.predictions`; who reads it takes `read_predictions`.

    Args:
        connection: an open warehouse.
        price_kind: the decision price.

    Returns:
        See `betting.predictions.wide_predictions`; besides, the tag columns of the feature matrix and `steam_today`.
    """
    first, last = row_of(connection, "select min(race_date), max(race_date) from backtest.walk_forward")
    window = {"first": first, "last": last}
    frame = wide_predictions(
        frame_of(
            connection,
            "select race_date, race_key, runner_key, fold, recipe, probability from backtest.walk_forward",
        ),
        frame_of(
            connection,
            "select runner_key, price_kind, decimal_odds, probability from market.probabilities "
            "where race_date between $first and $last and price_kind in ('sp', $kind)",
            {**window, "kind": price_kind},
        ),
        frame_of(
            connection, "select * exclude (comment) from core.results where race_date between $first and $last", window
        ),
        frame_of(connection, "select * from core.races where race_date between $first and $last", window),
        decision_price_kind=price_kind,
        entries=frame_of(
            connection,
            "select runner_key, horse, jockey, trainer from core.entries where race_date between $first and $last",
            window,
        ),
        modules=_modules(connection, window),
        bsp=_bsp(connection, window),
    )
    tags = frame_of(connection, _TAG_QUERY, {**window, "kind": price_kind})
    return frame.join(tags, on="runner_key", how="left", maintain_order="left").with_row_index(POSITION)


def read_predictions(
    connection: duckdb.DuckDBPyConnection, price_kind: str, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """The stored wide frame of `gather_predictions`, in its order.

    Args:
        connection: an open warehouse with `backtest.predictions`.
        price_kind: the decision price.
        columns: those wanted, all when None; of a million runners each takes its time. Columns that the frame does not
            have (a recipe, a module or a tag that was not made) are passed over.

    Raises:
        ValueError: the frame was gathered at another decision price.
    """
    kinds = {kind for (kind,) in connection.execute(_STORED_KINDS).fetchall()}
    if kinds - {price_kind}:
        raise ValueError(
            f"backtest.predictions was gathered at {', '.join(sorted(kinds))} prices, not at {price_kind}: "
            "materialize backtest/predictions first"
        )
    there = [name for name, _ in describe(connection, "backtest/predictions") if name != POSITION]
    wanted = ", ".join(f'"{name}"' for name in there if columns is None or name in columns)
    with in_stored_order(connection):
        frame = frame_of(connection, f"select {POSITION}, {wanted} from backtest.predictions")
    # Sorting a million wide rows that are in order already takes longer than reading them.
    return (frame if frame[POSITION].is_sorted() else frame.sort(POSITION)).drop(POSITION)


@contextmanager
def in_stored_order(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Have rows written and read in their order, as far as DuckDB promises it, which the warehouse else does not."""
    (before,) = row_of(connection, "select current_setting('preserve_insertion_order')")
    connection.execute("set preserve_insertion_order = true")
    try:
        yield
    finally:
        connection.execute(f"set preserve_insertion_order = {str(before).lower()}")


def read_ledgers(
    connection: duckdb.DuckDBPyConnection, ids: Iterable[str], columns: Sequence[str] = tuple(LEDGER)
) -> Iterator[pl.DataFrame]:
    """The stored ledger of each strategy that has one, in the order given, one in memory at a time.

    Args:
        connection: an open warehouse with `backtest.bets`.
        ids: strategies.
        columns: columns wanted, `race_date` among them.

    Yields:
        Rows of one strategy in the order of time, as they were written.
    """
    wanted = ", ".join(f'"{name}"' for name in columns)
    for strategy_id in ids:
        with in_stored_order(connection):
            ledger = frame_of(connection, f"select {wanted} from backtest.bets where strategy_id = ?", [strategy_id])
        if ledger.height:
            yield ledger.sort("race_date", maintain_order=True)


def read_exchange_book(connection: duckdb.DuckDBPyConnection, predictions: pl.DataFrame) -> ExchangeBook | None:
    """What landed exchange streams offered five minutes before the off, for the predicted runners.

    Args:
        connection: an open warehouse.
        predictions: wide frame; the book's rows are in its order.

    Returns:
        The book; None when no predicted race has a stream.
    """
    if predictions.is_empty() or not table_exists(connection, "landing/streams"):
        return None
    window = {"first": predictions["race_date"].min(), "last": predictions["race_date"].max()}
    (quoted,) = row_of(
        connection, "select count(*) from landing.streams where race_date between $first and $last", window
    )
    if not quoted:
        return None
    macros.register(connection)
    stream = frame_of(connection, _STREAM_QUERY, window)
    # A market has one scheduled off; the earlier one is the safe choice should two files differ.
    before = timedelta(minutes=MINUTES_BEFORE_ORDER)
    offs = stream.group_by("race_key").agg((pl.col("off_utc").min() - before).alias("decided_at"))
    orders = predictions.select("race_key", "runner_key").join(offs, on="race_key", how="left", maintain_order="left")
    if orders.get_column("decided_at").null_count() == orders.height:
        return None
    booked = stream.filter(pl.col("back_price").is_not_null() | pl.col("lay_price").is_not_null())["race_key"]
    return ExchangeBook(
        stream_quotes(orders, stream),
        orders.get_column("race_key").is_in(booked.unique().to_list()).to_numpy(),
        last_traded(orders, stream),
        orders.get_column("decided_at").to_numpy(),
    )


def choose_shipped(predictions: pl.DataFrame) -> str:
    """The recipe to ship: the better of blend and experts on all folds but the last.

    Args:
        predictions: wide frame.

    Returns:
        `blend` or `experts`; the blend when there is one fold only.
    """
    chosen = shipped_by_fold(predictions)
    return chosen[max(chosen)]


def shipped_by_fold(predictions: pl.DataFrame) -> dict[int, str]:
    """The recipe that would have been shipped for each fold: the better of blend and experts on the folds before it.

    Args:
        predictions: wide frame.

    Returns:
        Recipe by fold, ascending; the blend where no fold before it decides.
    """
    folds = sorted(predictions["fold"].unique().to_list())
    names = [f"probability_{recipe}" for recipe in SHIPPABLE if f"probability_{recipe}" in predictions.columns]
    whole = pl.all_horizontal(*(pl.col(name).is_not_null() for name in names)).all().over("race_key")
    rows = predictions.filter(whole & (pl.col("win_share").sum().over("race_key") - 1).abs().lt(1e-6))
    if rows.is_empty():
        return dict.fromkeys(folds, SHIPPABLE[0])
    races = Races.from_frame(rows.select("race_date", "race_key", "win_share"))
    loss = {name.removeprefix("probability_"): races.loss(rows[name].to_numpy()) for name in names}
    fold_of_race = rows["fold"].to_numpy()[races.race_starts]
    chosen = {}
    for fold in folds:
        earlier = fold_of_race < fold
        # The races are the same, so the smaller loss is the larger R2.
        chosen[fold] = min(loss, key=lambda recipe: loss[recipe][earlier].sum()) if earlier.any() else SHIPPABLE[0]
    return chosen


def judged_probability(predictions: pl.DataFrame) -> pl.Expr:
    """The probability that a trial is about: in each fold that of the recipe which the folds before it chose.

    Judged by what is shipped in the end, the choice would be made and judged by the same races, and luck would pass the
    gate up to twice as often (docs/gate_study.md).

    Args:
        predictions: wide frame.
    """
    chosen = shipped_by_fold(predictions)
    recipe = pl.col("fold").replace_strict(chosen, return_dtype=pl.String)
    return pl.coalesce(
        pl.when(recipe == name).then(pl.col(f"probability_{name}")) for name in sorted(set(chosen.values()))
    )


def judge(
    predictions: pl.DataFrame,
    matrix: pl.DataFrame,
    bets: pl.DataFrame,
    strategies: pl.DataFrame,
    folds: list[dict[str, Any]],
    pooled: Mapping[str, Any],
    *,
    shipped: str,
    price_kind: str,
    code: str,
    challenger: str | None = None,
    champion: Candidate | None = None,
    null_rates: Mapping[str, float] | None = None,
    training_rows: int | None = None,
) -> Verdict:
    """Put the shipped recipe to the promotion gate, each fold by the recipe that the folds before it chose.

    Args:
        predictions: wide frame.
        matrix: runner_key and features of predicted runners, or a sample of whole races of them.
        bets: ledger of the shipped recipe's top fifth.
        strategies: table of all strategies.
        folds: the scoreboard's folds.
        pooled: the scoreboard's pooled figures.
        shipped: recipe on trial.
        price_kind: decision price.
        code: hash of the code that made the predictions.
        challenger: name under which the recipe is tried; that of the recipe by default.
        champion: predictions of the champion on the same races; the beta-fitted market when there is none.
        null_rates: worst null rate of each feature family, over rows where the value can exist.
        training_rows: runners before the last cutoff.
    """

    def candidate(name: str, probability: pl.Expr) -> Candidate:
        rows = predictions.select("race_date", "race_key", "runner_key", "fold", probability.alias("probability"))
        return Candidate(name, price_kind, code, rows)

    settled = predictions.filter((pl.col("win_share").sum().over("race_key") - 1).abs() < 1e-6)
    fundamental = settled.filter(pl.col("probability_fundamental").is_not_null())
    leaks = LeakReadings(
        auc_without_prices=pooled_auc(
            fundamental["probability_fundamental"].to_numpy(), (fundamental["win_share"] > 0).to_numpy().astype(float)
        ),
        features=_concordances(settled, matrix),
        roi=_roi(bets),
        bets=bets.height,
    )
    top = strategies.filter(pl.col("strategy_id") == f"{shipped}_top20")
    hunting = bets.filter(pl.col("decision_price").is_between(5.0, 21.0))
    expected = float(hunting["market_probability"].sum()) if hunting.height else 0.0
    acceptance = AcceptanceReadings(
        calibration_error=pooled.get("ece"),
        actual_over_expected_5_21=float(hunting["win_share"].sum()) / expected if expected > 0 else None,
        roi_top_20pct=top["roi"][0] if top.height else None,
        alpha=folds[-1].get("alpha") if folds else None,
        null_rate_by_family=dict(null_rates or {}),
        training_rows=training_rows,
    )
    reference = champion or candidate("market with its beta fitted", pl.col("probability_market_beta"))
    decision = decide(
        candidate(challenger or shipped, judged_probability(predictions)),
        reference,
        candidate("market", pl.col("market_probability")),
        predictions.select("race_date", "race_key", "runner_key", "win_share").sort(
            "race_date", "race_key", "runner_key"
        ),
        leaks,
        acceptance,
    )
    return Verdict(decision, acceptance)


def _concordances(settled: pl.DataFrame, matrix: pl.DataFrame) -> Mapping[str, Any]:
    rows = (
        settled.select("race_date", "race_key", "runner_key", "win_share", "market_probability")
        .filter(pl.col("market_probability").is_not_null().all().over("race_key"))
        .join(matrix.drop("race_date", "race_key", strict=False), on="runner_key", how="inner")
        .sort("race_date", "race_key", "runner_key")
    )
    names = [name for name in matrix.columns if name not in ("race_date", "race_key", "runner_key")]
    if rows.is_empty():
        return {}
    races = Races.from_frame(rows.select("race_date", "race_key", "runner_key", "win_share"))
    values = rows.select(pl.col(names).cast(pl.Float32).fill_null(float("nan"))).to_numpy().astype(np.float32)
    return feature_concordances(values, names, rows["market_probability"].to_numpy(), races)


def _roi(bets: pl.DataFrame) -> Interval | None:
    if bets.is_empty():
        return None
    return roi_interval(bets["profit"].to_numpy(), bets["stake"].to_numpy(), bets["race_date"].to_numpy())


def _modules(connection: duckdb.DuckDBPyConnection, window: Mapping[str, object]) -> pl.DataFrame:
    """Log-odds offsets of TIE and NDS against the market."""
    return frame_of(
        connection,
        """
        select fundamental.runner_key, intent."offset" as tie_offset, disruption."offset" as nds_offset
        from models.fundamental
        left join models.intent on intent.runner_key = fundamental.runner_key
        left join models.disruption on disruption.runner_key = fundamental.runner_key
        where fundamental.race_date between $first and $last
        """,
        window,
    )


def _bsp(connection: duckdb.DuckDBPyConnection, window: Mapping[str, object]) -> pl.DataFrame | None:
    frame = frame_of(
        connection,
        "select runner_key, decimal_odds from core.prices "
        "where price_kind = 'bsp' and race_date between $first and $last",
        window,
    )
    return frame if frame.height else None


_TAG_COLUMNS = [name for name in TAG_COLUMNS if name not in ("market_probability", "steam_today")]

_TAG_QUERY = f"""
    with shows as (
        select runner_key, decimal_odds from core.prices
        where price_kind = 'opening_show' and race_date between $first and $last
    ),
    decision as (
        select runner_key, decimal_odds from core.prices
        where price_kind = $kind and race_date between $first and $last
    )
    select runner_features.runner_key, {", ".join(_TAG_COLUMNS)},
        ln(shows.decimal_odds / decision.decimal_odds) as steam_today
    from features.runner_features
    left join shows on shows.runner_key = runner_features.runner_key
    left join decision on decision.runner_key = runner_features.runner_key
    where runner_features.race_date between $first and $last
"""

_STORED_KINDS = "select distinct price_kind from backtest.predictions where price_kind is not null"

_STREAM_QUERY = """
    with runners as (
        select
            entries.runner_key, entries.race_key, entries.race_date,
            exchange_course(races.course) as course_text, exchange_name(entries.horse) as horse_text
        from core.entries
        inner join core.races using (race_key)
        where entries.race_date between $first and $last
            and entries.race_date in (select race_date from landing.streams)
    )
    select
        runners.runner_key, runners.race_key, streams.off_utc,
        streams.off_utc - to_minutes(streams.minutes_before) as quoted_at,
        streams.best_back as back_price, streams.best_back_size as back_size,
        streams.best_lay as lay_price, streams.best_lay_size as lay_size, streams.last_traded
    from landing.streams as streams
    inner join runners
        on streams.race_date = runners.race_date
        and exchange_course(streams.venue) = runners.course_text
        and exchange_name(streams.horse_name) = runners.horse_text
    where coalesce(streams.market_type, 'WIN') = 'WIN' and not coalesce(streams.in_play, false)
        and streams.runner_status <> 'REMOVED'
    qualify row_number() over (
        partition by runners.runner_key, streams.minutes_before order by streams.market_id, streams.sequence desc
    ) = 1
"""
