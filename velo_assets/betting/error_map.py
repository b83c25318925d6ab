"""Where the modules are right and wrong: confusion counts, convergence, and bias by narrative with its significance.

Belongs here: numbers about SQPE, TIE and NDS. Not here: fitting them (`modelling`), betting on them (`strategies`).

A difference is called a bias only when |z| > 3 and it stays significant after Holm's correction over all cells of the
map; the notes are made from those cells and from nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.betting.predictions import KEY_COLUMNS, MODULE_COLUMNS, PRICE_COLUMNS
from velo_assets.betting.strategies import MODULE_TOLERANCE
from velo_assets.modelling.bootstrap import money_interval
from velo_assets.modelling.disruption import MODULES
from velo_assets.modelling.guards import require_columns
from velo_assets.modelling.races import Races

FloatArray = NDArray[np.float64]

BIAS_Z = 3.0
"""Less than three standard errors is not called a bias, whatever the correction says."""

HOLM_LEVEL = 0.05

PICKS = "its picks"
"""Name of the cell of the runners that a module puts above the market."""

NO_SPREAD = 1e-12
"""A standard error this small is rounding; no z can be made of it."""

HOT_FORM = 0.05
"""A connection is hot when its 14-day strike rate is this far above its own long-run rate (5 points)."""

STEAM = 0.10
"""Log of opening show over decision price beyond which a runner steams or drifts: about 10%."""

FALSE_FORM = 0.10
"""Share of rivals beaten of late beyond what the prices let expect: good runs that the market did not foresee."""


@dataclass(frozen=True)
class Tag:
    """A story that racing people tell about a runner.

    Attributes:
        name: as in the error map.
        needs: columns of the frame.
        rule: which runners carry it; null counts as no.
        words: what it means.
    """

    name: str
    needs: tuple[str, ...]
    rule: pl.Expr
    words: str


_FAVOURITE = pl.col("market_probability") == pl.col("market_probability").max().over("race_key")

TAGS: tuple[Tag, ...] = (
    Tag(
        "hype favourite",
        ("market_probability", "won_last"),
        _FAVOURITE & (pl.col("won_last") > 0),
        "favourite that won last time",
    ),
    Tag(
        "false form",
        ("market_beaten_ewma", "class_drop"),
        (pl.col("market_beaten_ewma") > FALSE_FORM) & (pl.col("class_drop") < 0),
        "ran above its price of late and now meets better",
    ),
    Tag("hot trainer", ("trainer_form_14d",), pl.col("trainer_form_14d") > HOT_FORM, "stable far above its own rate"),
    Tag("hot jockey", ("jockey_form_14d",), pl.col("jockey_form_14d") > HOT_FORM, "jockey far above the own rate"),
    Tag("steamer", ("steam_today",), pl.col("steam_today") > STEAM, "backed from the opening show"),
    Tag("drifter", ("steam_today",), pl.col("steam_today") < -STEAM, "drifted from the opening show"),
    Tag("class riser", ("class_drop",), pl.col("class_drop") < 0, "goes up in class"),
    Tag("trouble last time", ("trouble_last",), pl.col("trouble_last") > 0, "met trouble in its last run"),
)
"""`won_last`, `class_drop`, `trainer_form_14d`, `jockey_form_14d`, `trouble_last`, `market_beaten_ewma` are columns of
`features.runner_features`; `steam_today` = ln(opening show / decision price), positive = backed."""

TAG_COLUMNS = tuple(sorted({name for tag in TAGS for name in tag.needs}))

READ_BY_ERROR_MAP = (*KEY_COLUMNS, *PRICE_COLUMNS, "settles", "win_share", *MODULE_COLUMNS, *TAG_COLUMNS)
"""Columns of the wide frame that this module reads."""


def available_tags(frame: pl.DataFrame, tags: Sequence[Tag] = TAGS) -> tuple[list[Tag], dict[str, str]]:
    """Tags that the frame's columns allow, and why the others are missing."""
    able, missing = [], {}
    for tag in tags:
        absent = [
            name
            for name in tag.needs
            if name not in frame.columns or frame.get_column(name).null_count() == frame.height
        ]
        if absent:
            missing[tag.name] = f"no {', '.join(absent)}"
        else:
            able.append(tag)
    return able, missing


def module_scores(frame: pl.DataFrame) -> pl.DataFrame:
    """Confusion counts of each module: it says yes to a runner that it puts above the market.

    Args:
        frame: wide frame with `module_<name>` and the result columns.

    Returns:
        `module, runners, tp, fp, tn, fn, precision, recall, f1, base_rate, expected_precision`: `base_rate`
        is the share of winners among all, `expected_precision` what the market expected of the runners it named; a
        precision means something only beside these two. Dead-heaters count as winners.
    """
    rows = []
    for module in _modules(frame):
        judged = _judged(frame, module)
        yes = judged.get_column(f"module_{module}").to_numpy() > MODULE_TOLERANCE
        won = judged.get_column("win_share").to_numpy() > 0
        tp, fp = int((yes & won).sum()), int((yes & ~won).sum())
        tn, fn = int((~yes & ~won).sum()), int((~yes & won).sum())
        precision = tp / (tp + fp) if tp + fp else None
        recall = tp / (tp + fn) if tp + fn else None
        market = judged.get_column("market_probability").to_numpy()
        rows.append(
            {
                "module": module,
                "runners": len(won),
                "tp": tp,
                "fp": fp,
                "tn": tn,
                "fn": fn,
                "precision": precision,
                "recall": recall,
                "f1": 2 * tp / (2 * tp + fp + fn) if 2 * tp + fp + fn else None,
                "base_rate": float(won.mean()) if len(won) else None,
                "expected_precision": float(market[yes].mean()) if yes.any() else None,
            }
        )
    counts = dict.fromkeys(("runners", "tp", "fp", "tn", "fn"), pl.Int64)
    rates = dict.fromkeys(("precision", "recall", "f1", "base_rate", "expected_precision"), pl.Float64)
    return pl.DataFrame(rows, schema={"module": pl.String, **counts, **rates})


def convergence_table(frame: pl.DataFrame) -> pl.DataFrame:
    """What happened to runners by how many modules put them above the market.

    Args:
        frame: wide frame with all three modules and the result columns.

    Returns:
        `modules_above` (0 to 3), `runners, wins, expected_wins, a_over_e, a_over_e_low, a_over_e_high, roi, roi_low,
        roi_high` (level stakes at the decision price). Runners on which some module is silent are left out.

    Raises:
        MissingFeatureError: a module or price is missing.
    """
    names = [f"module_{name}" for name in MODULES]
    require_columns(frame, (*names, "win_share", "market_probability", "decision_price"), "convergence_table")
    judged = _settled(frame).filter(
        pl.all_horizontal(*(pl.col(name).is_not_null() for name in (*names, "market_probability", "decision_price")))
    )
    counted = judged.with_columns(
        pl.sum_horizontal(*((pl.col(name) > MODULE_TOLERANCE).cast(pl.Int32) for name in names)).alias("modules_above")
    )
    rows = []
    for (above,), part in counted.group_by(["modules_above"]):
        days = part.group_by("race_date").agg(
            pl.len().alias("staked"),
            pl.col("win_share").sum().alias("won"),
            pl.col("market_probability").sum().alias("expected"),
            (pl.col("win_share") * pl.col("decision_price") - 1).sum().alias("profit"),
        )
        days = days.sort("race_date")
        ratio = money_interval(days["won"].to_numpy(), days["expected"].to_numpy(), 0.0)
        roi = money_interval(days["profit"].to_numpy(), days["staked"].to_numpy(), -1.0)
        rows.append(
            {
                "modules_above": above,
                "runners": part.height,
                "wins": float(part["win_share"].sum()),
                "expected_wins": float(part["market_probability"].sum()),
                "a_over_e": ratio.estimate,
                "a_over_e_low": ratio.low,
                "a_over_e_high": ratio.high,
                "roi": roi.estimate,
                "roi_low": roi.low,
                "roi_high": roi.high,
            }
        )
    numbers = ("wins", "expected_wins", "a_over_e", "a_over_e_low", "a_over_e_high", "roi", "roi_low", "roi_high")
    schema = {"modules_above": pl.Int32, "runners": pl.Int64, **dict.fromkeys(numbers, pl.Float64)}
    return pl.DataFrame(rows, schema=schema).sort("modules_above").fill_nan(None)


def error_map(frame: pl.DataFrame, tags: Sequence[Tag] = TAGS) -> pl.DataFrame:
    """Optimism or conservatism of each module, over its picks and by narrative tag.

    Over all runners every module is right on average, because the chances of a race sum to 1; so the first cell of a
    module are the runners it puts above the market.

    Args:
        frame: wide frame with `module_<name>`, the result columns, and the feature columns that the tags need.
        tags: tags to test; those whose columns are missing are left out, see `available_tags`.

    Returns:
        `module, tag, runners, predicted, actual, bias, standard_error, z, holm_p, verdict`: `bias` = mean predicted
        less mean actual, positive = optimistic; the standard error clusters by race day; `verdict` is 'optimistic',
        'conservative' or null. Sorted by module, then |z| falling.
    """
    able, _ = available_tags(frame, tags)
    rows = []
    for module in _modules(frame):
        judged = _judged(frame, module)
        residual = judged.get_column("own").to_numpy() - judged.get_column("win_share").to_numpy()
        _, day = np.unique(judged.get_column("race_date").to_numpy(), return_inverse=True)
        picks = judged.get_column(f"module_{module}").to_numpy() > MODULE_TOLERANCE
        named = [(PICKS, picks)]
        named += [(tag.name, judged.select(tag.rule.fill_null(False)).to_series().to_numpy()) for tag in able]
        for tag_name, rows_of in named:
            count = int(rows_of.sum())
            if count == 0:
                continue
            by_day = np.bincount(day[rows_of], weights=residual[rows_of])
            days = int(np.count_nonzero(np.bincount(day[rows_of])))
            bias = float(residual[rows_of].mean())
            size = np.bincount(day[rows_of])
            spread = float(np.sqrt(((by_day - bias * size) ** 2).sum())) / count
            error = spread * math.sqrt(days / (days - 1)) if days > 1 else float("nan")
            rows.append(
                {
                    "module": module,
                    "tag": tag_name,
                    "runners": count,
                    "predicted": float(judged.get_column("own").to_numpy()[rows_of].mean()),
                    "actual": float(judged.get_column("win_share").to_numpy()[rows_of].mean()),
                    "bias": bias,
                    "standard_error": error,
                    "z": bias / error if error > NO_SPREAD else float("nan"),
                }
            )
    numbers = ("predicted", "actual", "bias", "standard_error", "z")
    schema = {"module": pl.String, "tag": pl.String, "runners": pl.Int64, **dict.fromkeys(numbers, pl.Float64)}
    table = pl.DataFrame(rows, schema=schema).fill_nan(None)
    adjusted = holm(
        np.array([math.nan if z is None else math.erfc(abs(z) / math.sqrt(2.0)) for z in table["z"].to_list()])
    )
    significant = (pl.col("z").abs() > BIAS_Z) & (pl.col("holm_p") < HOLM_LEVEL)
    return (
        table.with_columns(pl.Series("holm_p", adjusted, dtype=pl.Float64).fill_nan(None))
        .with_columns(
            pl.when(significant & (pl.col("bias") > 0))
            .then(pl.lit("optimistic"))
            .when(significant)
            .then(pl.lit("conservative"))
            .otherwise(None)
            .alias("verdict")
        )
        .sort(pl.col("module"), pl.col("z").abs(), descending=[False, True], nulls_last=True)
    )


def notes(table: pl.DataFrame, tags: Sequence[Tag] = TAGS) -> list[str]:
    """Sentences about the biases that passed the test; says so when none did.

    Args:
        table: from `error_map`.
        tags: for the words.
    """
    words = {tag.name: tag.words for tag in tags}
    lines = []
    for row in table.filter(pl.col("verdict").is_not_null()).iter_rows(named=True):
        about = f" ({words[row['tag']]})" if row["tag"] in words else ""
        lines.append(
            f"{row['module'].upper()} is {row['verdict']} about {row['tag']}{about}: it says "
            f"{100 * row['predicted']:.1f}%, {100 * row['actual']:.1f}% won, over {row['runners']:,} runners "
            f"(z = {row['z']:.1f})."
        )
    return lines or [f"No bias of any module stands out: none of {table.height} cells passes |z| > 3 after Holm."]


def holm(p_values: FloatArray) -> FloatArray:
    """Holm's step-down adjusted p-values; NaN stays NaN and does not count as a test."""
    adjusted = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0) if len(order) else []
    return adjusted


def _modules(frame: pl.DataFrame) -> list[str]:
    """Modules that the frame holds."""
    return [
        name
        for name in MODULES
        if f"module_{name}" in frame.columns and frame.get_column(f"module_{name}").null_count() < frame.height
    ]


def _settled(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of races that settle."""
    return frame.filter(pl.col("settles").fill_null(False) & pl.col("win_share").is_not_null())


def _judged(frame: pl.DataFrame, module: str) -> pl.DataFrame:
    """Settled rows of races in which the module speaks of every runner, with its probability as `own`."""
    name = f"module_{module}"
    whole = (pl.col(name).is_not_null() & pl.col("market_probability").is_not_null()).all().over("race_key")
    rows = _settled(frame).filter(whole)
    if rows.is_empty():
        return rows.with_columns(pl.lit(None, pl.Float64).alias("own"))
    races = Races.from_frame(rows.select("race_date", "race_key"))
    score = np.log(rows.get_column("market_probability").to_numpy()) + rows.get_column(name).to_numpy()
    return rows.with_columns(pl.Series("own", races.softmax(score)))
