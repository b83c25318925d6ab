"""A bundle from the warehouse: reads matrix, outcomes and walk-forward scores, trains what will serve from a day on.

Belongs here: which rows a serving model learns from. Does not belong here: the models (modelling), files (bundle).
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from velo_assets.modelling.races import KEYS, between
from velo_assets.serving.bundle import EMBARGO, Bundle, build_bundle, first_day_needed, out_of_sample_scores
from velo_assets.settings import PRICE_REGIMES
from velo_assets.warehouse.build import table_exists
from velo_assets.warehouse.builds import found_settings
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import OUTCOME_COLUMNS, feature_columns, matrix_features, outcomes, read_matrix
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import all_tables

if TYPE_CHECKING:
    from pathlib import Path

    from velo_assets.modelling.experts import ExpertSettings
    from velo_assets.modelling.fundamental import FundamentalSettings


def feature_families() -> dict[str, str]:
    """Family (table within `features`) of every feature."""
    return {
        column.name: table.table
        for table in all_tables()
        if table.schema == "features" and table.table != "runner_features"
        for column in table.columns
    }


def train_bundle(
    exports: Path,
    warehouse: Warehouse,
    cutoff: date,
    *,
    price_kind: str,
    shipped: str = "blend",
    fundamental: FundamentalSettings | None = None,
    expert: ExpertSettings | None = None,
) -> Bundle:
    """Train the recipe for serving from a day on, on everything known before it.

    Args:
        exports: where the feature matrix is exported, a file a year.
        warehouse: held only while tables are read.
        cutoff: first day to be predicted, usually today.
        price_kind: the decision price.
        shipped: recipe that gives the fair probability where there is a price.
        fundamental: settings of the fundamental model; defaults when None.
        expert: settings of the experts; defaults when None.

    Raises:
        FileNotFoundError: nothing has been exported yet.
        TooFewRacesError: too few settled races before the cutoff.
    """
    history = outcomes(warehouse, cutoff.year, price_kind)
    # Settings of the caller's own may reach further back than the usual ones.
    usual = fundamental is None and expert is None
    first_day = first_day_needed(between(history, None, cutoff - EMBARGO)) if usual else None
    matrix = read_matrix(exports, cutoff.year, first_year=first_day.year if first_day else 0)
    with warehouse.connect("reading found settings") as connection:
        found = found_settings(connection, "models/fundamental")
    frame = history.join(matrix, on=list(KEYS), how="inner", maintain_order="left", validate="1:1")
    return build_bundle(
        frame,
        feature_columns(frame),
        cutoff,
        families=feature_families(),
        price_kind=price_kind,
        history=history,
        out_of_sample=_walk_forward_scores(warehouse),
        shipped=shipped,
        found=found,
        fundamental=fundamental,
        expert=expert,
    )


def watched_frame(connection: duckdb.DuckDBPyConnection, since: date, price_kind: str) -> pl.DataFrame:
    """Runners since a day with features, outcome and decision price, for `bundle.race_gaps`.

    Args:
        connection: an open warehouse.
        since: first race day.
        price_kind: the decision price.

    Returns:
        Keys, outcome columns and features as Float32, sorted by keys.
    """
    features = ", ".join(f'matrix."{name}"::float as "{name}"' for name in matrix_features(connection))
    outcome = {
        "trainer_key": "entries.trainer_key",
        "win_share": "results.win_share",
        "position": "results.position",
        "decimal_odds": "market.decimal_odds",
        "market_probability": "market.probability as market_probability",
    }
    columns = ", ".join(outcome[name] for name in OUTCOME_COLUMNS)
    return frame_of(
        connection,
        f"""
        select entries.race_date, entries.race_key, entries.runner_key, {columns}, {features}
        from core.entries
        inner join core.results on results.runner_key = entries.runner_key
        inner join features.runner_features as matrix on matrix.runner_key = entries.runner_key
        left join market.probabilities as market
            on market.runner_key = entries.runner_key and market.price_kind = $price_kind
        where entries.race_date >= $since
        order by entries.race_date, entries.race_key, entries.runner_key
        """,
        {"since": since, "price_kind": price_kind},
    )


def _walk_forward_scores(warehouse: Warehouse) -> pl.DataFrame | None:
    """Scores and corrections of all folds; None before the walk-forward has run."""
    wanted = {"fundamental": "score"} | {f"expert_{regime.name}": "correction" for regime in PRICE_REGIMES}
    with warehouse.connect("reading walk-forward scores") as connection:
        if not all(table_exists(connection, f"models/{name}") for name in wanted):
            return None
        tables = {
            name: frame_of(connection, f"select runner_key, {column} from models.{name}")
            for name, column in wanted.items()
        }
    return out_of_sample_scores(tables)
