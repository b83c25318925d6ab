"""Settle a ledger of bets: returns, commission, profit, and the reason of every bet that does not count.

Belongs here: bets joined to results, back and lay, win and each-way, commission on net market winnings. The sport's
rules are in `racing.settlement`, `racing.rule4` and `racing.place_terms`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.racing.place_terms import STANDARD_PLACE_TERMS, PlaceTerm, place_terms
from velo_assets.racing.rule4 import deductions_for_bets
from velo_assets.racing.settlement import MIN_DECIMAL_ODDS, place_return, place_share, win_return

FloatArray = NDArray[np.float64]

COMMISSION_RATES = (0.0, 0.02, 0.05)
"""Commission on net market winnings that every report shows."""

PRICE_KINDS_AT_THE_OFF = ("sp", "bsp")
"""Kinds formed at the off: they already know every withdrawal, so Rule 4 never touches them."""

SETTLED = ("won", "placed", "lost")
"""Statuses that count as bets; `void` and `unmatched` are in the ledger but in no total of stakes."""


def settle_bets(
    bets: pl.DataFrame,
    results: pl.DataFrame | None = None,
    *,
    commission: float = 0.0,
    withdrawals: pl.DataFrame | None = None,
    terms: Sequence[PlaceTerm] = STANDARD_PLACE_TERMS,
) -> pl.DataFrame:
    """Settle every bet of a ledger.

    Args:
        bets: one row per bet: `strategy_id, race_key, runner_key, stake` (matched money; for a lay the backer's stake),
            `matched_price` (decimal; for a bet at SP the SP); optionally `side` ('back'), `bet_type` ('win' or
            'each-way'), `price_kind`, `placed_at`, `field_size`, `is_handicap` (the last two are needed by each-way
            bets), `status` and `reason` (a row whose status is already 'unmatched' or 'void' stays so).
        results: from `racing.settlement.settling_results`; None when the bets already carry its columns.
        commission: rate on the net winnings of each strategy in each race.
        withdrawals: withdrawn runners, see `racing.rule4.deductions_for_bets`.
        terms: place terms.

    Returns:
        The bets in the same order with `status` (won, placed, lost, void, unmatched), `reason`, `rule4_pence`,
        `gross_profit`, `commission`, `return` (stake and winnings, after commission; for a lay the liability is the
        stake at risk) and `profit`.

    Raises:
        ValueError: a commission outside [0, 1), a negative stake, an unknown side or bet type.
    """
    if not 0 <= commission < 1:
        raise ValueError(f"commission must be in [0, 1), got {commission}")
    frame = _with_defaults(bets)
    if results is not None:
        known = results.select("race_key").unique().with_columns(pl.lit(True).alias("race_known"))
        frame = frame.join(results.drop("race_key"), on="runner_key", how="left", maintain_order="left").join(
            known, on="race_key", how="left", maintain_order="left"
        )
    stake = frame.get_column("stake").to_numpy().astype(np.float64)
    if np.any(stake < 0):
        raise ValueError(
            f"settle: {int((stake < 0).sum())} bets have a negative stake; lays are side='lay' with a positive stake"
        )
    frame = frame.with_columns(_void_reason().alias("_void"))
    price = frame.get_column("matched_price").cast(pl.Float64).fill_null(float("nan")).to_numpy()
    share = frame.get_column("win_share").cast(pl.Float64).fill_null(0.0).to_numpy()
    rule4 = _rule4(frame, withdrawals)
    each_way = (frame.get_column("bet_type") == "each-way").to_numpy()
    unit_return = win_return(price, share, rule4)
    placed = np.zeros(len(price), dtype=np.bool_)
    if each_way.any():
        unit_return, placed = _each_way(frame, price, share, rule4, each_way, unit_return, terms)
    back = (frame.get_column("side") == "back").to_numpy()
    open_bet = (frame.get_column("status").fill_null("") != "unmatched").to_numpy()
    counts = open_bet & frame.get_column("_void").is_null().to_numpy()
    unit_profit = np.where(back, unit_return - 1.0, 1.0 - unit_return)
    gross = np.where(counts, stake * unit_profit, 0.0)
    # A lay wins when the runner loses; a dead heat is a win for the back and a loss or less of a win for the lay.
    won = np.where(back, share > 0, share == 0)
    status = np.select([~open_bet, ~counts, won, placed], ["unmatched", "void", "won", "placed"], default="lost")
    frame = frame.with_columns(
        pl.Series("status", status),
        pl.when(pl.Series(open_bet))
        .then(pl.coalesce(pl.col("_void"), pl.col("reason")))
        .otherwise(pl.col("reason"))
        .alias("reason"),
        pl.Series("rule4_pence", rule4.astype(np.int64)),
        pl.Series("gross_profit", gross),
        pl.Series("_risk", np.where(open_bet, np.where(back, stake, stake * (price - 1.0)), 0.0)).fill_nan(0.0),
    )
    frame = _charge(frame, commission)
    drop = [
        name
        for name in ("_void", "_risk", *([] if results is None else [*results.columns, "race_known"]))
        if name not in bets.columns
    ]
    return frame.drop([name for name in drop if name in frame.columns])


def unit_profits(frame: pl.DataFrame, terms: Sequence[PlaceTerm] = STANDARD_PLACE_TERMS) -> FloatArray:
    """Profit before commission of 1 unit staked on every bet of a frame, as `settle_bets` would settle it; 0 for void
    bets.

    Args:
        frame: as `bets` of `settle_bets`, carrying the columns of `settling_results`; `stake` is not read.
        terms: place terms.

    Returns:
        `(bets,)`.
    """
    settled = settle_bets(frame.with_columns(pl.lit(1.0).alias("stake")), terms=terms)
    return settled.get_column("gross_profit").to_numpy()


def _with_defaults(bets: pl.DataFrame) -> pl.DataFrame:
    """Fill optional columns and refuse unknown words."""
    defaults = {"side": "back", "bet_type": "win", "price_kind": "taken"}
    frame = bets.with_columns([pl.lit(word).alias(name) for name, word in defaults.items() if name not in bets.columns])
    frame = frame.with_columns(
        [pl.lit(None, dtype=pl.String).alias(name) for name in ("status", "reason") if name not in bets.columns]
    )
    for name, known in (("side", ("back", "lay")), ("bet_type", ("win", "each-way"))):
        unknown = frame.filter(~pl.col(name).is_in(known)).get_column(name).unique().to_list()
        if unknown:
            raise ValueError(f"settle: unknown {name} {unknown[0]!r}; use {' or '.join(known)}")
    if frame.filter((pl.col("side") == "lay") & (pl.col("bet_type") == "each-way")).height:
        raise ValueError("settle: an each-way bet can't be laid; lay the win market")
    return frame


def _void_reason() -> pl.Expr:
    """Why a bet is void; null when it counts. `settles` is null for a runner without a result."""
    price = pl.col("matched_price")
    return (
        pl.when((pl.col("status") == "void").fill_null(False))
        .then(pl.coalesce(pl.col("reason"), pl.lit("void")))
        .when((pl.col("status") == "unmatched").fill_null(False))
        .then(None)
        .when(pl.col("settles").is_null() & pl.col("race_known").fill_null(False))
        .then(pl.lit("non-runner"))
        .when(pl.col("settles").is_null())
        .then(pl.lit("race has no result"))
        .when(~pl.col("settles"))
        .then(pl.col("unsettled_reason"))
        .when(price.is_null() | price.is_nan())
        .then(pl.lit("no price"))
        .when(price < MIN_DECIMAL_ODDS)
        .then(pl.lit(f"price below {MIN_DECIMAL_ODDS}"))
        .otherwise(None)
    )


def _rule4(frame: pl.DataFrame, withdrawals: pl.DataFrame | None) -> FloatArray:
    """Deduction per bet; 0 for prices formed at the off."""
    if withdrawals is None or withdrawals.is_empty() or "placed_at" not in frame.columns:
        return np.zeros(frame.height)
    pence = deductions_for_bets(frame, withdrawals).to_numpy().astype(np.float64)
    at_the_off = frame.get_column("price_kind").is_in(PRICE_KINDS_AT_THE_OFF).to_numpy()
    return np.where(at_the_off, 0.0, pence)


def _each_way(
    frame: pl.DataFrame,
    price: FloatArray,
    share: FloatArray,
    rule4: FloatArray,
    each_way: NDArray[np.bool_],
    unit_return: FloatArray,
    terms: Sequence[PlaceTerm],
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Returns of each-way bets: half the stake to win, half to be placed; where no place is paid all of it is to
    win."""
    missing = [name for name in ("field_size", "is_handicap") if name not in frame.columns]
    if missing:
        raise ValueError(f"settle: each-way bets need {' and '.join(missing)} of their race to find the place terms")
    places, fraction = place_terms(
        frame.get_column("field_size").fill_null(1).to_numpy(),
        frame.get_column("is_handicap").fill_null(False).to_numpy(),
        terms,
    )
    position = frame.get_column("weighed_in_position").cast(pl.Float64).fill_null(float("nan")).to_numpy()
    tied = frame.get_column("tied_runners").fill_null(1).to_numpy()
    in_place = place_share(position, tied, places)
    halves = 0.5 * unit_return + 0.5 * place_return(price, fraction, in_place, rule4)
    paid = each_way & (places > 0)
    return np.where(paid, halves, unit_return), paid & (in_place > 0)


def _charge(frame: pl.DataFrame, commission: float) -> pl.DataFrame:
    """Commission on the net winnings of each strategy and race, borne by its winning bets in proportion to their
    profit."""
    if commission > 0:
        market = ("strategy_id", "race_key")
        frame = frame.with_columns(
            pl.col("gross_profit").sum().over(*market).clip(lower_bound=0.0).alias("_net"),
            pl.col("gross_profit").clip(lower_bound=0.0).sum().over(*market).alias("_wins"),
        ).with_columns(
            pl.when(pl.col("_wins") > 0)
            .then(commission * pl.col("_net") * pl.col("gross_profit").clip(lower_bound=0.0) / pl.col("_wins"))
            .otherwise(0.0)
            .alias("commission")
        )
        frame = frame.drop("_net", "_wins")
    else:
        frame = frame.with_columns(pl.lit(0.0).alias("commission"))
    return frame.with_columns((pl.col("gross_profit") - pl.col("commission")).alias("profit")).with_columns(
        pl.when(pl.col("status") == "unmatched").then(0.0).otherwise(pl.col("_risk") + pl.col("profit")).alias("return")
    )
