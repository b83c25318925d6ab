"""How the backtest's tables are written."""

from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from velo_assets.assets.backtest import _write_parts
from velo_assets.betting.backtest import read_ledgers
from velo_assets.warehouse.sql_table import Column


def test_a_ledger_is_read_in_the_order_it_was_written(tmp_path: Path) -> None:
    # As many bets on one day as threads can put out of order, in a warehouse that keeps none.
    bets = pl.select(strategy_id=pl.lit("a"), race_date=pl.lit(date(2024, 5, 1)), bet=pl.int_range(700_000))
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("set threads = 4")
        connection.execute("set preserve_insertion_order = false")
        connection.execute("create schema backtest")
        _write_parts(connection, "backtest/bets", [bets], (Column("bet", "row", ""),))
        (ledger,) = read_ledgers(connection, ["a"], ("race_date", "bet"))
        assert ledger["bet"].is_sorted()
        assert connection.execute("select comment from duckdb_columns() where column_name = 'bet'").fetchall() == [
            ("row",)
        ]
        assert connection.execute("select current_setting('preserve_insertion_order')").fetchall() == [(False,)]
