"""Rolling weights of the modules: what SQPE, TIE and NDS have lately been worth beside the market, as coefficients.

Belongs here: one conditional logit of market and module offsets over the latest races. Does not belong here: the
modules, and the blend that serves, whose weights are fitted before its fold and then stay.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from velo_assets.modelling.conditional_logit import ChoiceLikelihood, maximise
from velo_assets.modelling.races import Races, priced_frame, settled_frame, sort_runners

ROLLING_RACES = 3_000
"""Races behind a weight: its standard error is then near .1, and the season before last no longer counts."""

LEAST_RACES = 200
"""With fewer races no weight could be told from 0."""

STEP_RACES = 500
"""Races between two fits of the history."""

MODULE_COLUMNS = {"sqpe": "log_ratio", "tie": "tie_offset", "nds": "nds_offset"}
"""Module to the log-odds it would add to the market. SQPE's is log f - log p."""

READ_OF_RUNNERS = (
    "race_date",
    "race_key",
    "runner_key",
    "win_share",
    "market_probability",
    "probability_fundamental",
    "tie_offset",
    "nds_offset",
)
"""Columns of the wide frame of predictions that the weights are fitted on."""

WEIGHT_SCHEMA: dict[str, pl.DataType] = {
    "first_day": pl.Date(),
    "last_day": pl.Date(),
    "races": pl.Int64(),
    "module": pl.String(),
    "weight": pl.Float64(),
    "standard_error": pl.Float64(),
    "z": pl.Float64(),
}
"""Columns of monitoring.module_weights."""

COLUMN_WORDS: dict[str, tuple[str, str]] = {
    "first_day": ("first race day of the window", ""),
    "last_day": ("last race day of the window", ""),
    "races": ("settled, fully priced races of the window", "races"),
    "module": ("market (exponent of the price), sqpe, tie or nds", ""),
    "weight": ("fitted coefficient: 0 adds nothing to the market, 1 is to be believed as it stands", ""),
    "standard_error": ("of the weight", ""),
    "z": ("weight over its standard error; for the market its distance from 1", ""),
}
"""What each column is, and its unit."""


def module_weights(
    frame: pl.DataFrame, *, races: int = ROLLING_RACES, step: int = STEP_RACES, least: int = LEAST_RACES
) -> pl.DataFrame:
    """Fit the weights over rolling windows of the latest races.

    The likelihood is that of Benter's blend, `c_i ∝ exp(b log p_i + sum_m w_m offset_mi)`, without penalty. Offsets
    must be out of sample. A module silent in a whole window is left out of it; a missing offset of a runner is 0.

    Args:
        frame: `KEYS`, `win_share`, `market_probability` and any of `fundamental_probability`, `tie_offset`,
            `nds_offset`; unsettled and partly priced races are passed over.
        races: races of a window.
        step: races between the ends of two windows; the last window always ends with the last race.
        least: fewest races of a window.

    Returns:
        `WEIGHT_SCHEMA`, oldest window first; empty with fewer than `least` races.
    """
    rows = priced_frame(settled_frame(sort_runners(frame)))
    if "fundamental_probability" in rows.columns:
        known = pl.col("fundamental_probability") > 0
        ratio = (pl.col("fundamental_probability") / pl.col("market_probability")).log()
        rows = rows.with_columns(pl.when(known).then(ratio).alias("log_ratio"))
    modules = {name: column for name, column in MODULE_COLUMNS.items() if column in rows.columns}
    starts = Races.from_frame(rows)
    total = len(starts)
    ends = sorted({*range(total, least - 1, -step)})
    parts, guess = [], dict[str, float]()
    for end in ends:
        parts.append(_window(rows, starts, max(0, end - races), end, modules, guess))
        # Neighbouring windows share most of their races: the search begins where the last one ended.
        guess = dict(parts[-1].select("module", "weight").iter_rows())
    return pl.concat(parts) if parts else pl.DataFrame(schema=WEIGHT_SCHEMA)


def _window(
    rows: pl.DataFrame, starts: Races, first: int, end: int, modules: dict[str, str], guess: dict[str, float]
) -> pl.DataFrame:
    begin = int(starts.race_starts[first])
    own = rows.slice(begin, int(starts.field_size[first:end].sum()))
    races = Races.from_frame(own)
    spoken = {name: column for name, column in modules.items() if own[column].is_not_null().any()}
    offsets = [own[column].fill_null(0.0).fill_nan(0.0).to_numpy() for column in spoken.values()]
    design = np.column_stack((np.log(own["market_probability"].to_numpy()), *offsets)).astype(np.float64)
    names = ["market", *spoken]
    against = np.concatenate(([1.0], np.zeros(len(spoken))))
    start = np.array([guess.get(name, usual) for name, usual in zip(names, against, strict=True)])
    fit = maximise(ChoiceLikelihood(design, races), start)
    errors = fit.standard_errors
    return pl.DataFrame(
        {
            "first_day": [races.race_date[0].item()] * len(errors),
            "last_day": [races.race_date[-1].item()] * len(errors),
            "races": [len(races)] * len(errors),
            "module": names,
            "weight": fit.coefficients,
            "standard_error": errors,
            "z": (fit.coefficients - against) / np.maximum(errors, 1e-300),
        },
        schema=WEIGHT_SCHEMA,
    )
