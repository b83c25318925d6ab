"""The wide frame that strategies read: a row per runner with its prices, every recipe's probability, its race and its
result.

Belongs here: widening `backtest.walk_forward` and joining market, races and results. Not here: what is bet on.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.modelling.disruption import MODULES
from velo_assets.modelling.guards import require_columns
from velo_assets.modelling.races import Races
from velo_assets.racing.settlement import settling_results

CLOSING_PRICE_KINDS = ("sp", "bsp")
"""Kinds known only at the off. A run that chooses bets by one of them must say so in every table and figure."""

RACE_COLUMNS = (
    "race_label",
    "course",
    "country",
    "code",
    "race_type",
    "race_class",
    "is_handicap",
    "field_size",
    "distance_furlongs",
    "going_group",
    "off_time",
)
"""Columns of `core.races` that strategies, breakdowns and the tear sheet use, where present."""

KEY_COLUMNS = ("race_date", "race_key", "runner_key", "fold")

PRICE_COLUMNS = ("decision_price", "price_kind", "market_probability", "closing_price", "bsp")

NAME_COLUMNS = ("horse", "jockey", "trainer")

OUTCOME_COLUMNS = (
    "settles",
    "unsettled_reason",
    "weighed_in_position",
    "win_share",
    "tied_runners",
    "winners",
    "race_known",
)
"""What a bet settles on."""

RECIPE_COLUMNS = tuple(
    f"probability_{recipe}"
    for recipe in ("market", "market_beta", "fundamental", "benter", "blend", "experts", "single")
)

OFFSET_COLUMNS = tuple(f"{name}_offset" for name in MODULES)

MODULE_COLUMNS = tuple(f"module_{name}" for name in MODULES)

SCORED_COLUMNS = (*KEY_COLUMNS, *PRICE_COLUMNS, "settles", "win_share", *RECIPE_COLUMNS)
"""What accuracy is judged by."""


def wide_predictions(
    walk_forward: pl.DataFrame,
    market: pl.DataFrame,
    results: pl.DataFrame,
    races: pl.DataFrame,
    *,
    decision_price_kind: str = "sp",
    entries: pl.DataFrame | None = None,
    modules: pl.DataFrame | None = None,
    bsp: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Widen out-of-sample predictions to one row per runner.

    Args:
        walk_forward: `backtest.walk_forward`, long: `race_date, race_key, runner_key, fold, recipe, probability`.
        market: `market.probabilities` with `runner_key, price_kind, decimal_odds, probability`.
        results: `core.results`.
        races: `core.races`.
        decision_price_kind: kind of price on which bets are chosen.
        entries: `core.entries`, for the readable names `horse`, `jockey`, `trainer`.
        modules: `runner_key` and any of `tie_offset`, `nds_offset`: log-odds offsets of the modules against the market.
        bsp: `runner_key, decimal_odds` of Betfair SP, for settlement at BSP.

    Returns:
        One row per predicted runner, in order of time within a race day: keys, `fold`, `decision_price`, `price_kind`,
        `closing_price` (SP), `market_probability` (at the decision price), `probability_<recipe>`, of which `market` is
        that same probability and `benter` the blend with alpha = beta = 1, race columns; names; the result columns of
        `settling_results` (null for a runner without a result) and `race_known`; modules as `with_modules` gives them.

    Raises:
        MissingFeatureError: a column is missing.
        ValueError: no prediction, a runner predicted twice by one recipe, or the decision price kind is not in
            `market`.
    """
    require_columns(
        walk_forward, ("race_date", "race_key", "runner_key", "fold", "recipe", "probability"), "wide_predictions"
    )
    require_columns(market, ("runner_key", "price_kind", "decimal_odds", "probability"), "wide_predictions: market")
    if walk_forward.is_empty():
        raise ValueError(
            "wide_predictions: backtest.walk_forward is empty; materialize models and backtest/walk_forward first"
        )
    kinds = market.get_column("price_kind").unique().to_list()
    if decision_price_kind not in kinds:
        raise ValueError(
            f"wide_predictions: no {decision_price_kind!r} prices in market.probabilities; there are {sorted(kinds)}"
        )
    # Put in order while it is narrow: every join after that keeps the order.
    frame = walk_forward.select("race_date", "race_key", "runner_key", "fold").unique("runner_key")
    off = races.select("race_key", *_present(races, ("off_time",)))
    frame = in_order_of_time(frame.join(off, on="race_key", how="left")).drop("off_time", strict=False)
    # The market's own probability is that of the decision price, whatever a year that was stored earlier says.
    for recipe in sorted(set(walk_forward.get_column("recipe").unique().to_list()) - {"market"}):
        part = walk_forward.filter(pl.col("recipe") == recipe)
        if part.get_column("runner_key").n_unique() != part.height:
            raise ValueError(
                f"wide_predictions: recipe {recipe!r} predicts some runner twice; each race belongs to one fold"
            )
        frame = _with(frame, part.select("runner_key", pl.col("probability").alias(f"probability_{recipe}")))
    frame = _with(
        frame,
        market.filter(pl.col("price_kind") == decision_price_kind).select(
            "runner_key",
            pl.col("decimal_odds").alias("decision_price"),
            pl.lit(decision_price_kind).alias("price_kind"),
            pl.col("probability").alias("market_probability"),
            pl.col("probability").alias("probability_market"),
        ),
    )
    closing = market.filter(pl.col("price_kind") == "sp").select(
        "runner_key", pl.col("decimal_odds").alias("closing_price")
    )
    frame = _with(frame, closing)
    frame = _with(frame, races.select("race_key", *_present(races, RACE_COLUMNS)), "race_key")
    if entries is not None:
        frame = _with(frame, entries.select("runner_key", *_present(entries, NAME_COLUMNS)))
    if modules is not None:
        frame = _with(frame, modules.select("runner_key", *_present(modules, OFFSET_COLUMNS)))
    if bsp is not None:
        frame = _with(frame, bsp.select("runner_key", pl.col("decimal_odds").alias("bsp")))
    outcome = settling_results(results)
    known = outcome.select("race_key").unique().with_columns(pl.lit(True).alias("race_known"))
    frame = _with(_with(frame, outcome.drop("race_key")), known, "race_key")
    return with_modules(with_benter_baseline(frame))


def _with(frame: pl.DataFrame, columns: pl.DataFrame, key: str = "runner_key") -> pl.DataFrame:
    """Columns joined on, the frame's order kept."""
    return frame.join(columns, on=key, how="left", maintain_order="left")


def in_order_of_time(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by day, off time where known, race, runner: the order in which bets are placed and caps are used up."""
    order = ["race_date", *(["off_time"] if "off_time" in frame.columns else []), "race_key", "runner_key"]
    return frame.sort(order, nulls_last=True)


def with_benter_baseline(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `probability_benter`: the blend with alpha = beta = 1, `c ∝ f * p`, where both are known for the whole
    race."""
    if "probability_fundamental" not in frame.columns or "market_probability" not in frame.columns or frame.is_empty():
        return frame
    races = Races.from_frame(frame.select("race_date", "race_key"))
    score = [
        np.log(np.clip(_floats(frame, name), 1e-12, None)) for name in ("probability_fundamental", "market_probability")
    ]
    return frame.with_columns(pl.Series("probability_benter", races.softmax(score[0] + score[1])).fill_nan(None))


def with_modules(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `module_<name>`: log of a module's own probability over the market's, positive = better than the market
    thinks.

    A module's probability is the market's with its log-odds offset, normalised over the race; SQPE's is the
    price-free probability. Null where module or market is silent.
    """
    if "market_probability" not in frame.columns or frame.is_empty():
        return frame
    races = Races.from_frame(frame.select("race_date", "race_key"))
    market = _floats(frame, "market_probability")
    columns = []
    with np.errstate(divide="ignore", invalid="ignore"):
        if "probability_fundamental" in frame.columns:
            own = _floats(frame, "probability_fundamental")
            columns.append(pl.Series("module_sqpe", np.log(own / market)).fill_nan(None))
        for name in MODULES[1:]:
            if f"{name}_offset" in frame.columns:
                own = races.softmax(np.log(market) + _floats(frame, f"{name}_offset"))
                columns.append(pl.Series(f"module_{name}", np.log(own / market)).fill_nan(None))
    return frame.with_columns(columns)


def _floats(frame: pl.DataFrame, name: str) -> NDArray[np.float64]:
    """A column as floats, NaN for null."""
    return frame.get_column(name).cast(pl.Float64).fill_null(float("nan")).to_numpy()


def recipes(frame: pl.DataFrame) -> list[str]:
    """Recipes whose probability the frame holds."""
    return sorted(name.removeprefix("probability_") for name in frame.columns if name.startswith("probability_"))


def _present(frame: pl.DataFrame, names: Iterable[str]) -> list[str]:
    """Those of the names that the frame has."""
    return [name for name in names if name in frame.columns]
