"""Market probabilities of a window of race days, straight from the warehouse.

Belongs here: which rows the market is made of, and which method each year goes by. Does not belong here: taking the
margin out (market.py).
"""

from __future__ import annotations

from datetime import date

import duckdb
import polars as pl

from velo_assets.modelling.market import choose_methods, probabilities
from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.query import frame_of

PRICES = (
    "select race_date, race_key, runner_key, price_kind, decimal_odds, book_complete from core.prices "
    "where race_date between ? and ?"
)


def market_window(
    connection: duckdb.DuckDBPyConnection, start: date, end: date
) -> tuple[pl.DataFrame, dict[tuple[int, str], str]]:
    """Every price of some days with the margin taken out, each year by the method that was likeliest before it.

    Args:
        connection: an open warehouse with core.prices and market.devig_methods.
        start: first race date.
        end: last race date.

    Returns:
        Rows of market.probabilities, and the method chosen by (year, price kind).

    Raises:
        FileNotFoundError: market.devig_methods is missing, or an earlier year has prices but was not measured, so that
            its vote would be missing.
    """
    chosen = choose_methods(_earlier_losses(connection, end), tuple(range(start.year, end.year + 1)))
    return probabilities(frame_of(connection, PRICES, [start, end]), chosen=chosen), chosen


def _earlier_losses(connection: duckdb.DuckDBPyConnection, end: date) -> pl.DataFrame:
    """`market.devig_methods` up to the window's end; each year looks at the years before it only."""
    if not table_exists(connection, "market/devig_methods"):
        raise FileNotFoundError("There is no table market/devig_methods yet: materialize it first.")
    unmeasured = connection.execute(
        "select distinct year(race_date) as year from core.prices where race_date < make_date(?, 1, 1) "
        "except select year(race_date) from market.devig_methods order by 1",
        [end.year],
    ).fetchall()
    if unmeasured:
        years = ", ".join(str(year) for (year,) in unmeasured)
        raise FileNotFoundError(
            f"market.devig_methods lacks {years}, by which later years choose: materialize market/devig_methods for "
            "them first, or let `velo run` do it."
        )
    return frame_of(connection, "select * from market.devig_methods where race_date <= ?", [end])
