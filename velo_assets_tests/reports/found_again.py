"""Numbers of a tear sheet, found again in the warehouse by queries that share no code with the backtest.

From the ledger comes only which runners the strategy backed; what they returned is worked out anew from results and
prices. The tests use this on the simulated world; on any other data root:

    python -m velo_assets_tests.reports.found_again DATA_ROOT
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from velo_assets.reports.pages import number, percent

Ask = Callable[[str], Any]
"""Runs a query and returns its first value."""

SETUP = """
    create temp table paid as
    select
        results.runner_key, results.race_key, results.race_date, prices.decimal_odds as odds,
        case when results.won = 1 then 1.0 / greatest(coalesce(results.dead_heat_runners, 1), 1) else 0.0 end as share,
        probabilities.probability as chance
    from core.results as results
    inner join (select distinct runner_key from backtest.walk_forward) using (runner_key)
    inner join core.prices as prices on prices.runner_key = results.runner_key and prices.price_kind = 'sp'
    left join market.probabilities as probabilities
        on probabilities.runner_key = results.runner_key and probabilities.price_kind = 'sp';
    create temp table backed as
    select paid.*, share * odds - 1 as made
    from paid
    inner join (select runner_key from backtest.bets where strategy_id = '{strategy}') using (runner_key)
"""


def text_of(html: str) -> str:
    """What a reader reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<(style|svg).*?</\1>", " ", html, flags=re.DOTALL)))


def numbers_again(connection: duckdb.DuckDBPyConnection, strategy: str) -> dict[str, str]:
    """Numbers as the page should print them, by what they are.

    Args:
        connection: a warehouse with level-stakes win bets of `strategy` at SP.
        strategy: id of the strategy shown in detail.
    """
    connection.execute(SETUP.format(strategy=strategy))

    def ask(query: str) -> Any:
        return connection.execute(query).fetchall()[0][0]

    path = (
        "with days as (select race_date, sum(made) as made from backed group by all), "
        "path as (select race_date, sum(made) over (order by race_date) as level from days) "
        "select max(greatest(peak, 0) - level) from "
        "(select level, max(level) over (order by race_date) as peak from path)"
    )
    by_year = "select {} from backed group by year(race_date) order by year(race_date) limit 1"
    found = {
        "races predicted": f"{ask('select count(distinct race_key) from backtest.walk_forward'):,} races",
        "runners predicted": f"{ask('select count(distinct runner_key) from backtest.walk_forward'):,} runners",
        "bets": f"{ask('select count(*) from backed'):,} bets",
        "days": f"on {ask('select count(distinct race_date) from backed'):,} days",
        "average price": f"at an average price of {number(ask('select avg(odds) from backed'), 1)}",
        "return": f"The return is {percent(ask('select avg(made) from backed'), signed=True)}",
        "profit": f"profit {number(ask('select sum(made) from backed'), 1, signed=True)}",
        "bets won": f"Bets won {percent(ask('select avg(share) from backed'))}",
        "winners over expected": f"Winners / expected {number(ask('select sum(share) / sum(chance) from backed'))}",
        "deepest drawdown": f"Deepest drawdown {number(ask(path), 0)}",
        "best race": number(
            ask("select max(made) from (select sum(made) as made from backed group by race_key)"), 1, signed=True
        ),
        "every runner, level stakes": "One unit on every runner returns "
        + percent(ask("select avg(share * odds - 1) from paid where chance is not null"), signed=True),
        "every runner, staked to its price": "in proportion to its chance by the price returns "
        + percent(ask("select sum(share) / sum(1 / odds) - 1 from paid where chance is not null"), signed=True),
    }
    # A page of one year has no table by year.
    if ask("select count(distinct year(race_date)) from backed") > 1:
        found["first year"] = (
            f"{ask(by_year.format('year(race_date)'))} {ask(by_year.format('count(*)')):,} "
            f"{percent(ask(by_year.format('avg(made)')), signed=True)}"
        )
    return found


def main() -> int:
    """Look up the numbers of a data root; 1 when any is not on its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="a data root whose chain has been run")
    root = parser.parse_args().root
    words = text_of((root / "reports" / "tear_sheet.html").read_text(encoding="utf-8"))
    with duckdb.connect(str(root / "warehouse.duckdb"), read_only=True) as connection:
        shipped = re.search(r"shipped recipe (\w+)", words)
        found = numbers_again(connection, f"{shipped[1] if shipped else 'blend'}_top20")
    missing = [name for name, value in found.items() if value not in words]
    for name, value in found.items():
        print(f"{'NOT FOUND' if name in missing else 'found':<10}{name:<36}{value}")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
