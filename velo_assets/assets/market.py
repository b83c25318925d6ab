"""Layer market: how well each de-vig method did in each year, and de-vigged probabilities per price kind."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from velo_assets.assets.builds import inputs_of, record
from velo_assets.assets.dress import picture, rows_by_year, show_once, table_asset, table_metadata
from velo_assets.code_versions import code_version
from velo_assets.partitions import window_of
from velo_assets.resources.data import WarehouseResource
from velo_assets.warehouse.build import replace_window
from velo_assets.warehouse.sql_table import Column

if TYPE_CHECKING:
    import polars as pl

DEVIG_METHODS = (
    Column("race_date", "1 January of the year measured", ""),
    Column("price_kind", "which price: sp, bsp, opening_show, ...", ""),
    Column("method", "how the margin was taken out", ""),
    Column("races", "settled full books", "races"),
    Column("loss", "sum of -log p of the winners", "nats"),
    Column("log_runners", "sum of the log of the field sizes", "nats"),
    Column("r2", "McFadden's R2 of the year; null without a settled full book", ""),
)
PROBABILITIES = (
    Column("race_date", "day of the race", ""),
    Column("race_key", "race", ""),
    Column("runner_key", "runner", ""),
    Column("price_kind", "which price: sp, bsp, opening_show, ...", ""),
    Column("decimal_odds", "price, null where unusable", "decimal odds"),
    Column("book_percent", "sum of 1/odds over the race and kind", "1 = 100%"),
    Column("book_complete", "every runner is priced; only then is the book normalised", ""),
    Column("p_multiplicative", "1/odds over its sum", "probability"),
    Column("p_power", "(1/odds)^k with sum 1", "probability"),
    Column("p_odds_ratio", "constant odds ratio to 1/odds, with sum 1", "probability"),
    Column("p_shin", "Shin's model of insider trading", "probability"),
    Column("p_goto", "1/odds less k standard errors, with sum 1", "probability"),
    Column("probability", "that of the method in use", "probability"),
    Column("method", "method in use: the likeliest over all earlier years, or the default without enough of them", ""),
)

MARKET_CODE = code_version(
    "assets/market",
    "modelling/market",
    "modelling/market_window",
    "modelling/races",
    "modelling/guards",
    "modelling/bootstrap",
)


@table_asset(
    "market/devig_methods",
    ("core/prices", "core/results"),
    "Log-loss of every de-vig method per price kind in each year. A year's market is de-vigged by the method that was "
    "likeliest over the years before it.",
    {"duckdb", "numpy"},
    MARKET_CODE,
    owner="team:modelling",
    is_yearly=True,
)
def devig_methods(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Measure every method on the settled full books of each year."""
    from velo_assets.modelling.market import method_losses
    from velo_assets.modelling.market import probabilities as devig
    from velo_assets.modelling.market_window import PRICES
    from velo_assets.warehouse.query import frame_of

    window = window_of(context)
    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, window)
        prices = frame_of(connection, PRICES, [window.start, window.end])
        results = frame_of(connection, _RESULTS, [window.start, window.end])
        losses = method_losses(devig(prices).join(results, on="runner_key", how="left", maintain_order="left"))
        built = replace_window(connection, "market/devig_methods", losses, window.start, window.end, DEVIG_METHODS)
        record(connection, context, inputs)
        every_year = frame_of(connection, "select * from market.devig_methods order by race_date, price_kind, method")
    lineage = {name: [("core/prices", name)] for name in ("race_date", "price_kind")}
    sources = [("core/prices", "decimal_odds"), ("core/results", "win_share")]
    return dg.MaterializeResult(
        metadata=table_metadata(
            built,
            DEVIG_METHODS,
            lineage | dict.fromkeys(("races", "loss", "r2"), sources),
            comparison=dg.MetadataValue.md(_comparison(every_year)),
        )
    )


@table_asset(
    "market/probabilities",
    ("core/prices", "core/results", "market/devig_methods"),
    "Win probabilities implied by each price kind, margin taken out five ways; the method in use is chosen by the "
    "likelihood of earlier years. Partial books stay null.",
    {"duckdb", "numpy"},
    MARKET_CODE,
    owner="team:modelling",
    is_yearly=True,
)
def probabilities(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Take the margin out of every complete book."""
    from velo_assets.modelling.market import FALLBACK_METHOD
    from velo_assets.modelling.market_window import market_window
    from velo_assets.reports.asset_pictures import market_reliability_png
    from velo_assets.warehouse.query import frame_of

    window = window_of(context)
    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, window)
        frame, chosen = market_window(connection, window.start, window.end)
        built = replace_window(connection, "market/probabilities", frame, window.start, window.end, PROBABILITIES)
        record(connection, context, inputs)
        by_year = rows_by_year(connection, "market/probabilities")
        settled = frame_of(connection, _SETTLED, [window.start, window.end])
    books = frame.group_by("race_key", "price_kind").first()
    extra: dict[str, object] = {
        "complete_books": int(books["book_complete"].sum()),
        "partial_books": int((~books["book_complete"]).sum()),
        "rows_by_year": by_year,
        "methods": dg.MetadataValue.md(_methods(frame, chosen, FALLBACK_METHOD)),
    }
    if settled.height:
        png = market_reliability_png(settled["probability"].to_numpy(), settled["win_share"].to_numpy())
        show_once(context, {"reliability": picture(png, "How often runners win against what the starting price says")})
    lineage = {column.name: [("core/prices", "decimal_odds")] for column in PROBABILITIES[4:-1]} | {
        column.name: [("core/prices", column.name)] for column in PROBABILITIES[:4]
    }
    lineage["method"] = [("market/devig_methods", "loss")]
    return dg.MaterializeResult(metadata=table_metadata(built, PROBABILITIES, lineage, **extra))


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return [devig_methods, probabilities]


_RESULTS = "select runner_key, win_share from core.results where race_date between ? and ?"
_SETTLED = (
    "select probability, win_share from market.probabilities join core.results using (runner_key) "
    "where probabilities.race_date between ? and ? and price_kind = 'sp' and probability is not null"
)


def _comparison(losses: "pl.DataFrame") -> str:
    """R2 of every method per price kind over all years measured."""
    import polars as pl

    sums = losses.group_by("price_kind", "method").agg(pl.col("races", "loss", "log_runners").sum())
    sums = sums.filter(pl.col("races") > 0).with_columns(r2=1 - pl.col("loss") / pl.col("log_runners"))
    lines = ["| price | method | races | R2 |", "|---|---|---:|---:|"]
    for row in sums.sort("price_kind", "r2", descending=[False, True]).iter_rows(named=True):
        lines.append(f"| {row['price_kind']} | {row['method']} | {row['races']:,} | {row['r2']:.5f} |")
    return "\n".join(lines)


def _methods(frame: "pl.DataFrame", chosen: Mapping[tuple[int, str], str], fallback: str) -> str:
    """The method of each year and price kind, and why."""
    import polars as pl

    lines = ["| year | price | method | why |", "|---|---|---|---|"]
    pairs = frame.select(pl.col("race_date").dt.year().alias("year"), "price_kind").unique().sort("year", "price_kind")
    for year, kind in pairs.iter_rows():
        method = chosen.get((year, kind))
        why = "likeliest over the years before" if method else "too few settled full books in the years before"
        lines.append(f"| {year} | {kind} | {method or fallback} | {why} |")
    return "\n".join(lines)
