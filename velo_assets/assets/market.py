"""Layer market: de-vigged probabilities per price kind."""

import dagster as dg

from velo_assets.assets.builds import inputs_of, record
from velo_assets.assets.dress import asset_key, picture, rows_by_year, table_metadata
from velo_assets.code_versions import code_version
from velo_assets.partitions import YEARLY, window_of
from velo_assets.resources.data import WarehouseResource
from velo_assets.warehouse.build import replace_window
from velo_assets.warehouse.sql_table import Column

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
    Column("probability", "the method in use", "probability"),
)


@dg.asset(
    key=asset_key("market/probabilities"),
    deps=[asset_key("core/prices"), asset_key("core/races")],
    partitions_def=YEARLY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="market",
    kinds={"duckdb", "numpy"},
    owners=["team:modelling"],
    code_version=code_version("modelling/market"),
    description="Win probabilities implied by each price kind, margin taken out five ways. Partial books stay null.",
)
def probabilities(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.MaterializeResult[None]:
    """Take the margin out of every complete book."""
    from velo_assets.modelling.market import probabilities as devig
    from velo_assets.reports.asset_pictures import market_reliability_png
    from velo_assets.warehouse.query import frame_of

    window = window_of(context)
    with warehouse.get_connection() as connection:
        inputs = inputs_of(connection, context, window)
        prices = frame_of(
            connection,
            "select race_date, race_key, runner_key, price_kind, decimal_odds, book_complete "
            "from core.prices where race_date between ? and ?",
            [window.start, window.end],
        )
        frame = devig(prices)
        built = replace_window(connection, "market/probabilities", frame, window.start, window.end, PROBABILITIES)
        record(connection, context, inputs, built.rows)
        by_year = rows_by_year(connection, "market/probabilities")
        settled = frame_of(
            connection,
            "select probability, win_share from market.probabilities join core.results using (runner_key) "
            "where probabilities.race_date between ? and ? and price_kind = 'sp' and probability is not null",
            [window.start, window.end],
        )
    books = frame.group_by("race_key", "price_kind").first()
    extra: dict[str, object] = {
        "complete_books": int(books["book_complete"].sum()),
        "partial_books": int((~books["book_complete"]).sum()),
        "rows_by_year": by_year,
    }
    if settled.height:
        png = market_reliability_png(settled["probability"].to_numpy(), settled["win_share"].to_numpy())
        extra["reliability"] = picture(png, "How often runners win against what the starting price says")
    lineage = {column.name: [("core/prices", "decimal_odds")] for column in PROBABILITIES[4:]} | {
        column.name: [("core/prices", column.name)] for column in PROBABILITIES[:4]
    }
    return dg.MaterializeResult(metadata=table_metadata(built, PROBABILITIES, lineage, **extra))


def assets() -> list[dg.AssetsDefinition]:
    """The assets of the layer."""
    return [probabilities]
