"""Landed exchange streams as the book that orders meet: from stream lines to the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from velo_assets.betting.backtest import read_exchange_book
from velo_assets.betting.execution import Limits
from velo_assets.betting.ledger import place_bets
from velo_assets.betting.metrics import strategy_table
from velo_assets.betting.staking import Staking
from velo_assets.betting.strategies import Execution, Strategy
from velo_assets.ingestion.streams import read_stream
from velo_assets_tests.betting.frames import wide

OFF = datetime(2024, 5, 1, 14, 0, tzinfo=UTC)
"""Off of the first race of `wide`."""

THROUGH_THE_BOOK = Strategy(
    "x", "X", "market", min_edge=-0.9, staking=Staking(unit=10.0), execution=Execution("exchange", Limits())
)


def line(minutes_before: float, **change: object) -> str:
    moment = int((OFF - timedelta(minutes=minutes_before)).timestamp() * 1000)
    return json.dumps({"op": "mcm", "pt": moment, "mc": [{"id": "1.5", **change}]})


def write_stream(folder: Path, market_type: str = "WIN") -> Path:
    runners = [{"id": number, "status": "ACTIVE", "name": f"{number}. Horse 1.{number}"} for number in range(3)]
    definition = {
        "status": "OPEN",
        "marketTime": OFF.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "timezone": "Europe/London",
        "venue": "Ascot",
        "countryCode": "GB",
        "eventId": "7",
        "marketType": market_type,
        "numberOfWinners": 1,
        "runners": [{**runner, "name": runner["name"].split(". ")[1]} for runner in runners],
    }
    lines = [
        line(45, marketDefinition=definition),
        line(40, rc=[{"id": 0, "atb": [[2.2, 4.0]], "atl": [[2.3, 50]]}, {"id": 1, "atb": [[4.4, 100]]}]),
        line(7, rc=[{"id": 1, "atb": [[4.4, 0], [4.2, 80]], "atl": [[4.5, 30]]}]),
        line(2, rc=[{"id": 1, "atb": [[9.0, 500]]}]),
    ]
    path = folder / "stream"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Core tables of two races at Ascot, and the stream of the first."""
    frame = world()
    with duckdb.connect() as opened:
        for schema in ("core", "landing"):
            opened.execute(f"create schema {schema}")
        for name, table in {
            "core.entries": frame.select("runner_key", "race_key", "race_date", "horse"),
            "core.races": frame.select("race_key", "course").unique(),
            "landing.streams": read_stream(write_stream(tmp_path)).rows.with_columns(sequence=pl.lit(1)),
        }.items():
            opened.register("part", table.to_arrow())
            opened.execute(f"create table {name} as select * from part")
            opened.unregister("part")
        yield opened


def world() -> pl.DataFrame:
    return wide([[2.0, 4.0, 4.0], [3.0, 1.5]], [1, 0])


def test_orders_meet_the_stream_five_minutes_before_the_off(connection: duckdb.DuckDBPyConnection) -> None:
    frame = world()
    book = read_exchange_book(connection, frame)
    assert book is not None
    assert book.covered.tolist() == [True, True, True, False, False]
    assert np.array_equal(book.quotes.back_price[:3], [2.2, 4.2, np.nan], equal_nan=True)
    assert book.quotes.back_size[:2].tolist() == [4.0, 80.0]
    bets = place_bets(frame, [THROUGH_THE_BOOK], exchange=book)
    rows = bets.select("book", "status", "reason", "stake", "matched_price").rows()
    assert rows[:3] == [
        ("exchange", "lost", "partly matched: depth", 4.0, 2.2),
        ("exchange", "won", None, 10.0, 4.2),
        ("exchange", "unmatched", "no price on offer at the decision time", 0.0, None),
    ]
    assert [row[0] for row in rows[3:]] == ["synthetic", "synthetic"]
    assert bets["ordered_at"].to_list()[:3] == [(OFF - timedelta(minutes=5)).replace(tzinfo=None)] * 3
    assert bets["ordered_at"].null_count() == 2
    # Taken before the off, so the closing line is known: 4 at 2.2 against 2.0, 10 at 4.2 against 4.0.
    real = bets.filter(pl.col("book") == "exchange")
    assert strategy_table(real)["closing_line_value"][0] == pytest.approx((4 * 0.1 + 10 * 0.05) / 14)


def test_of_two_versions_of_a_stream_the_one_landed_last_counts(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "insert into landing.streams select * replace (2 as sequence, best_back / 2 as best_back) from landing.streams"
    )
    connection.execute("update landing.streams set best_lay = null where sequence = 1")
    book = read_exchange_book(connection, world())
    assert book is not None
    assert np.array_equal(book.quotes.back_price[:3], [1.1, 2.1, np.nan], equal_nan=True)
    assert np.array_equal(book.quotes.lay_price[:2], [2.3, 4.5])


def test_lays_take_the_lay_side_of_the_stream(connection: duckdb.DuckDBPyConnection) -> None:
    frame = world().filter(pl.col("race_key") == 1)
    lay = Strategy("l", "L", "market", side="lay", execution=Execution("exchange", Limits(bet_liability=7.0)))
    bets = place_bets(frame, [lay], exchange=read_exchange_book(connection, frame))
    assert bets["matched_price"].to_list() == [2.3, 4.5, None]
    assert bets["stake"].to_list() == [1.0, 1.0, 0.0]
    assert bets["profit"].to_list() == pytest.approx([1.0, -3.5, 0.0])


def test_a_stream_without_an_order_book_says_where_the_synthetic_book_stands(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    connection.execute(
        "update landing.streams set best_back = null, best_lay = null, "
        "last_traded = case when selection_id = 0 and minutes_before <= 10 then 2.5 end"
    )
    frame = world()
    book = read_exchange_book(connection, frame)
    assert book is not None
    assert not book.covered.any()
    assert np.array_equal(book.last_traded, [2.5, np.nan, np.nan, np.nan, np.nan], equal_nan=True)
    bets = place_bets(frame, [THROUGH_THE_BOOK], exchange=book)
    assert bets["book"].to_list() == ["last traded"] + ["synthetic"] * 4
    first = bets.row(0, named=True)
    assert 2.3 < first["matched_price"] < 2.5


def test_without_a_stream_of_the_races_there_is_no_book(connection: duckdb.DuckDBPyConnection) -> None:
    assert read_exchange_book(connection, world().filter(pl.col("race_key") == 2)) is None
    connection.execute("update landing.streams set market_type = 'PLACE'")
    assert read_exchange_book(connection, world()) is None
    connection.execute("drop table landing.streams")
    assert read_exchange_book(connection, world()) is None


def test_a_lay_on_the_synthetic_book_does_not_pocket_the_margin() -> None:
    # A book of 1.25: SP 2.0, 4.0, 2.0; without the margin 2.5, 5.0, 2.5.
    frame = wide([[2.0, 4.0, 2.0]], [0])
    bets = place_bets(frame, [Strategy("l", "L", "market", side="lay", execution=Execution("exchange"))])
    fair = bets["market_probability"].to_numpy() ** -1.0
    assert (bets.filter(pl.col("stake") > 0)["matched_price"].to_numpy() >= fair[(bets["stake"] > 0).to_numpy()]).all()
