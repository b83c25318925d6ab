"""The tear sheet: its numbers found again, names escaped, no network, banners, bad input."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import polars as pl
import pytest

from velo_assets.betting.ledger import place_bets
from velo_assets.betting.metrics import strategy_table
from velo_assets.betting.strategies import Strategy, load_strategies
from velo_assets.reports.accuracy import fold_metrics
from velo_assets.reports.pages import number, percent
from velo_assets.reports.tear_sheet import TearSheet, _span, build_tear_sheet
from velo_assets_tests.betting.frames import random_world, wide

STRATEGIES = [
    Strategy("blend_top20", "Blend, top 20% by edge", "blend", top_share=0.2),
    Strategy("all", "All", "market"),
]


def world() -> pl.DataFrame:
    frame = random_world(1200, seed=1, edge=0.2)
    return frame.with_columns(
        probability_fundamental=pl.col("market_probability"),
        horse=pl.when(pl.col("weighed_in_position") == 1)
        .then(pl.lit("<script>alert('Won & lost')</script>"))
        .otherwise(pl.lit("金瀛 (P072)")),
        fold=pl.col("race_date").dt.month().cast(pl.Int32) + 2000,
    )


@pytest.fixture(scope="module")
def made() -> tuple[TearSheet, pl.DataFrame, pl.DataFrame]:
    frame = world()
    bets = place_bets(frame, STRATEGIES)
    table = strategy_table(bets, names={strategy.id: strategy.name for strategy in STRATEGIES}, trials=7)
    return sheet(frame, bets, table), bets, table


def sheet(frame: pl.DataFrame, bets: pl.DataFrame, table: pl.DataFrame, **options: Any) -> TearSheet:
    folds, pooled = fold_metrics(frame, draws=50)
    values = {"settings": {"seed": 1, "price <kind>": "sp"}, "simulated": True} | options
    return build_tear_sheet(frame, bets, table, folds, pooled, **values)


def text(page: str) -> str:
    """What a reader reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<(style|svg).*?</\1>", " ", page, flags=re.DOTALL)))


def test_ten_numbers_are_found_again_by_independent_queries(made: tuple[TearSheet, pl.DataFrame, pl.DataFrame]) -> None:
    page, bets, _ = made
    words = text(page.html)
    connection = duckdb.connect()
    connection.register("ledger", bets.filter(pl.col("strategy_id") == "blend_top20"))

    def ask(query: str) -> Any:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]

    whole = "from ledger where status in ('won', 'lost', 'placed')"
    expected = [
        f"{ask(f'select count(*) {whole}'):,} bets",
        percent(ask(f"select sum(profit) / sum(stake) {whole}"), signed=True),
        percent(ask(f"select sum(win_share) / count(*) {whole}")),
        f"of {ask(f'select count(*) {whole}'):,} bets",
        f"profit {number(ask(f'select sum(profit) {whole}'), 1, signed=True)}",
        f"{ask(f'select count(distinct race_date) {whole}'):,} days",
        f"average price of {number(ask(f'select avg(matched_price) {whole}'), 1)}",
        number(ask(f"select sum(win_share) / sum(market_probability) {whole}")),
        number(
            ask(
                "with days as (select race_date, sum(profit) as made from ledger group by all), "
                "path as (select race_date, sum(made) over (order by race_date) as level from days) "
                "select max(greatest(peak, 0) - level) from "
                "(select level, max(level) over (order by race_date) as peak from path)"
            ),
            0,
        ),
        number(ask(f"select max(made) from (select sum(profit) as made {whole} group by race_key)"), 1, signed=True),
        percent(
            ask(f"select sum(profit) / sum(stake) {whole} and decision_price >= 8 and decision_price < 15"), signed=True
        ),
    ]
    missing = [value for value in expected if value not in words]
    assert not missing


def test_names_and_settings_are_escaped_and_any_script_is_kept(
    made: tuple[TearSheet, pl.DataFrame, pl.DataFrame],
) -> None:
    page = made[0].html
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;Won &amp; lost&#39;)&lt;/script&gt;" in page
    assert "金瀛 (P072)" in page
    assert "price &lt;kind&gt;" in page


def test_the_page_stands_alone(made: tuple[TearSheet, pl.DataFrame, pl.DataFrame]) -> None:
    page = made[0].html
    addresses = set(re.findall(r"https?://[^\"' >]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<(link|img|script|iframe)\b|url\(\s*['\"]?(?!#)", page)
    assert 'name="viewport"' in page


def test_every_link_has_its_race(made: tuple[TearSheet, pl.DataFrame, pl.DataFrame]) -> None:
    page = made[0].html
    links = set(re.findall(r'href="#(race-\d+)"', page))
    assert len(links) >= 8
    assert links <= set(re.findall(r'id="(race-\d+)"', page))


def test_pictures_are_png_for_the_ui(made: tuple[TearSheet, pl.DataFrame, pl.DataFrame]) -> None:
    pictures = made[0].pictures
    assert set(pictures) == {"equity", "roi_by_price", "reliability", "split", "r2", "alpha_beta", "monthly"}
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())


def test_banners_and_trials(made: tuple[TearSheet, pl.DataFrame, pl.DataFrame]) -> None:
    words = text(made[0].html)
    assert "SIMULATED." in words
    assert "CLOSING PRICE." in words
    assert "best of 7 strategies" in words


def test_real_data_at_a_morning_price_carry_no_banner() -> None:
    frame = world().head(8 * 200).with_columns(price_kind=pl.lit("morning"))
    bets = place_bets(frame, STRATEGIES)
    table = strategy_table(bets)
    page = sheet(
        frame,
        bets,
        table,
        simulated=False,
        gate={"passed": False, "reasons": ["gain <b>0</b>"]},
        acceptance=[
            {"criterion": "training rows", "target": "> 50,000", "value": None, "met": None},
            {"criterion": "calibration error", "target": "<= 2.3%", "value": 0.011, "met": True},
        ],
    )
    words = text(page.html)
    assert "SIMULATED." not in words
    assert "CLOSING PRICE." not in words
    assert "1.1%" in words
    assert "gain &lt;b&gt;0&lt;/b&gt;" in page.html
    assert len(page.html) > 50_000


def test_the_page_of_the_modules_is_linked_and_idle_strategies_are_named() -> None:
    frame = world().head(8 * 100)
    bets = place_bets(frame, STRATEGIES)
    table = strategy_table(bets, names={"idle": "Too choosy"}, without_orders=["idle"])
    page = sheet(frame, bets, table, error_map="error_map.html").html
    assert '<a href="error_map.html">' in page
    assert "Too choosy" in page
    assert 'href="error_map.html"' not in sheet(frame, bets, table).html


def test_the_luck_of_a_single_bet_does_not_squeeze_the_intervals_of_the_others() -> None:
    frame = world()
    one = Strategy("one", "One bet", "market", low_odds=1000.0)
    many = [
        Strategy(f"many{share}", "Many", "blend", top_share=share / 100, high_odds=100.0) for share in range(20, 40, 4)
    ]
    lone = frame.with_columns(
        pl.when(pl.col("runner_key") == frame["runner_key"][0])
        .then(1000.5)
        .otherwise(pl.col("decision_price"))
        .alias("decision_price")
    )
    table = strategy_table(place_bets(lone, [*many, one]), trials=50)
    assert table.filter(pl.col("strategy_id") == "one")["best_of_k_95"].item() > 10
    low, high = _span(table)
    assert -1.5 < low < high < 1.0


def test_a_backtest_without_bets_is_refused() -> None:
    frame = wide([[2.0, 4.0]], [None])
    bets = place_bets(frame, [Strategy("all", "All", "market")])
    with pytest.raises(ValueError, match="no strategy placed a bet that counts"):
        sheet(frame, bets, strategy_table(bets))


def test_the_take_out_is_told_apart_from_the_longshot_bias_and_void_orders_are_listed() -> None:
    # Two races with a book of 1.25 (2.0, 4.0, 2.0): 2 units come back for 2.5 staked, -20%. Level: 2 * 2.0 back for 6,
    # -33.3%. The third race has no winner.
    frame = wide([[2.0, 4.0, 2.0], [2.0, 4.0, 2.0], [3.0, 3.0]], [0, 2, None]).with_columns(
        probability_fundamental=pl.col("market_probability")
    )
    bets = place_bets(frame, load_strategies(["market_all", "market_to_price"]))
    words = text(sheet(frame, bets, strategy_table(bets)).html)
    assert "the take-out, as the prices of a race add up to 125.0% on average (1/1.250 − 1 = −20.0%)" in words
    assert "One unit on every runner returns −33.3%" in words
    assert "the 13.3 points between the two are what the longshot bias costs" in words
    assert "race has no winner" in words


def test_the_headline_follows_the_evidence(made: tuple[TearSheet, pl.DataFrame, pl.DataFrame]) -> None:
    page, _, table = made
    row = table.row(0, named=True)
    pence = number(abs(100 * row["roi"]), 1)
    assert f"of {pence}p in the pound" in page.headline


def test_a_market_mended_by_its_exponent_alone_is_no_edge() -> None:
    # The blend is the market with its exponent fitted: it beats the raw market, and knows nothing more.
    frame = world()
    bets = place_bets(frame, STRATEGIES[1:])
    # Nothing to compare with, nothing claimed.
    assert sheet(frame, bets, strategy_table(bets)).headline.startswith("all: a loss of")
    fitted = frame.with_columns(probability_market_beta=pl.col("probability_blend"))
    _, pooled = fold_metrics(fitted, draws=50)
    assert pooled["delta_r2_ci"][0] > 0
    page = sheet(fitted, bets, strategy_table(bets))
    assert page.headline.startswith("No edge over the closing price.")
    words = text(page.html)
    assert "R² over the fitted market 0.0000 0.0000 to 0.0000" in words
    assert "with its exponent fitted: over that, no clear difference" in words


def test_an_each_way_profit_is_not_called_more_than_luck() -> None:
    frame = random_world(600, seed=2, edge=0.5).with_columns(probability_fundamental=pl.col("market_probability"))
    # Twice the fair prices and more: any bet makes money.
    frame = frame.with_columns(pl.col("decision_price") * 2, pl.col("closing_price") * 2)
    bets = place_bets(frame, [Strategy("each_way", "Each-way", "blend", min_edge=0.2, bet_type="each-way")])
    page = sheet(frame, bets, strategy_table(bets))
    assert page.headline.endswith("p in the pound, and how much of it luck would make is not known.")
