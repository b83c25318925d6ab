"""NDS: signals that draw money beyond their worth.

Belongs here: the hype signals and their offset model. A negative coefficient means over-bet.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from velo_assets.modelling.offsets import OffsetModel, Signal, fit_offset

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
