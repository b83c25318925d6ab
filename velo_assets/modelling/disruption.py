"""NDS: signals that draw money beyond their worth, and the count of modules that stand above the market.

Belongs here: the hype signals and their offset model, verdicts, and convergence (2-of-3, 3-of-3). A negative
coefficient means over-bet.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from velo_assets.modelling.guards import require_columns
from velo_assets.modelling.offsets import OffsetModel, Signal, fit_offset
from velo_assets.modelling.races import KEYS, Races

HYPE_SIGNALS = (
    Signal("recent_winner", pl.col("won_last"), "won last time"),
    Signal(
        "class_rise_after_win",
        pl.col("won_last") * (-pl.col("class_drop")).clip(lower_bound=0),
        "goes up in class after a win",
    ),
    Signal("rating_rise", pl.col("or_delta").clip(lower_bound=0), "rating raised since last time"),
    Signal("hot_trainer", pl.col("trainer_form_14d"), "stable in form, 14 days against its own rate"),
    Signal("hot_jockey", pl.col("jockey_form_14d"), "jockey in form, 14 days against the own rate"),
    Signal("steam_last", pl.col("steam_last"), "backed from the opening show last time"),
    Signal("big_name_jockey", pl.col("jockey_impact"), "jockey who wins more than his share"),
    Signal("big_name_trainer", pl.col("trainer_impact"), "trainer who wins more than his share"),
    Signal("beat_its_price", pl.col("market_beaten_ewma"), "has beaten or missed its price of late"),
)
"""What the public likes to back."""

MODULES = ("sqpe", "tie", "nds")
"""The three that converge: fundamental judgement, intent, disruption."""


def fit_disruption(
    train: pl.DataFrame,
    cutoff: date,
    *,
    signals: Sequence[Signal] = HYPE_SIGNALS,
    embargo_days: int = 1,
    min_races: int = 200,
) -> OffsetModel:
    """Fit the hype offsets; see `fit_offset` for arguments and errors."""
    return fit_offset(train, signals, cutoff, "disruption", embargo_days=embargo_days, min_races=min_races)


def convergence(frame: pl.DataFrame) -> pl.DataFrame:
    """Which modules put a runner above the market, and how many.

    A module's own probability is `p_market exp(offset)`, normalised over the race; for SQPE it is the fundamental
    probability.

    Args:
        frame: runners sorted by `KEYS` with `market_probability`, `fundamental_probability`, `tie_offset` and
            `nds_offset`.

    Returns:
        `race_date, race_key, runner_key, sqpe_above, tie_above, nds_above` (null where the module or the market is
        silent), `modules_above` (0 to 3; null unless all three speak), `two_of_three`, `three_of_three`.

    Raises:
        MissingFeatureError: a column is missing.
    """
    require_columns(
        frame, (*KEYS, "market_probability", "fundamental_probability", "tie_offset", "nds_offset"), "convergence"
    )
    races = Races.from_frame(frame)
    market = frame.get_column("market_probability").cast(pl.Float64).fill_null(float("nan")).to_numpy()
    own = {"sqpe": frame.get_column("fundamental_probability").cast(pl.Float64).fill_null(float("nan")).to_numpy()}
    for module in MODULES[1:]:
        offset = frame.get_column(f"{module}_offset").cast(pl.Float64).fill_null(float("nan")).to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            own[module] = races.softmax(np.log(market) + offset)
    columns = []
    for module in MODULES:
        spoken = np.isfinite(own[module]) & np.isfinite(market)
        above = pl.Series(f"{module}_above", own[module] > market + 1e-12)
        columns.append(pl.select(pl.when(pl.Series(spoken)).then(above).alias(above.name)).to_series())
    verdicts = frame.select(*KEYS).with_columns(columns)
    count = sum((pl.col(f"{module}_above").cast(pl.Int32) for module in MODULES), start=pl.lit(0, dtype=pl.Int32))
    return verdicts.with_columns(count.alias("modules_above")).with_columns(
        (pl.col("modules_above") >= 2).alias("two_of_three"), (pl.col("modules_above") == 3).alias("three_of_three")
    )
