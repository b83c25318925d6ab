"""Drift of features, predictions and target: has the world, or our reading of it, changed since the champion learnt?

Belongs here: population stability with a null that knows the sample size and the racing day, missingness first,
Evidently pages. Does not belong here: deciding what follows from drift (triggers.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

BINS = 10
"""Equal-count bins of the reference; the usual number for PSI."""

NULL_DRAWS = 400
"""Resampled pseudo-periods behind each threshold."""

NULL_QUANTILE = 0.999
"""Of some 150 columns a day, fewer than one in six days shows a false alarm."""

EVIDENTLY_ROWS = 2000
EVIDENTLY_COLUMNS = 5
"""Rows of each side, and columns of each family, shown to Evidently: a fifth of a second and some 100 kB a column. Its
verdicts are not what we act on, and our own table has every column."""


@dataclass(frozen=True)
class ColumnDrift:
    """Drift of one column between the reference and the current rows.

    Attributes:
        family: feature family.
        column: column.
        psi: population stability index over the non-missing values; None when a side has too few.
        psi_threshold: what the index exceeds once in a thousand when nothing has changed.
        missing_reference: share missing in the reference.
        missing_current: share missing now.
        missing_threshold: the difference in shares exceeded once in a thousand when nothing has changed.
        verdict: `missingness`, `drift` or `quiet`; missingness is judged first, as it explains the rest.
    """

    family: str
    column: str
    psi: float | None
    psi_threshold: float | None
    missing_reference: float
    missing_current: float
    missing_threshold: float
    verdict: str


def population_stability(reference: NDArray[np.float64], current: NDArray[np.float64]) -> NDArray[np.float64]:
    """PSI of bin counts, `sum (q - p) ln(q / p)`, half a count added so that empty bins stay finite.

    Args:
        reference: counts, shape (..., bins).
        current: counts, shape (..., bins).

    Returns:
        Shape (...).
    """
    p = (reference + 0.5) / (reference + 0.5).sum(axis=-1, keepdims=True)
    q = (current + 0.5) / (current + 0.5).sum(axis=-1, keepdims=True)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def chi_square_threshold(n_reference: int, n_current: int, bins: int, quantile: float = NULL_QUANTILE) -> float:
    """PSI's null quantile for independent rows: `(1/n + 1/m) * chi2(bins - 1)` (docs/methods.md)."""
    from scipy import stats

    return float((1 / n_reference + 1 / n_current) * stats.chi2.ppf(quantile, bins - 1))


def column_drift(
    family: str,
    column: str,
    reference: NDArray[np.float64],
    reference_days: NDArray[np.int64],
    current: NDArray[np.float64],
    current_days: int,
    rng: np.random.Generator,
) -> ColumnDrift:
    """Measure one column, against a null made by resampling whole racing days of the reference.

    Runners of a day share going, course and calendar; a null for independent rows is too narrow, so the larger of it
    and the day-block null counts.

    Args:
        family: feature family, for the record.
        column: name, for the record.
        reference: values, NaN where missing, shape (n,).
        reference_days: place of each row's day among the days of the reference, shape (n,).
        current: values, NaN where missing, shape (m,).
        current_days: racing days of the current period.
        rng: source of the resampling.
    """
    days = int(reference_days.max()) + 1
    drawn = rng.integers(0, days, size=(NULL_DRAWS, current_days)) + np.arange(NULL_DRAWS)[:, None] * days
    drawn_days = np.bincount(drawn.ravel(), minlength=NULL_DRAWS * days).reshape(NULL_DRAWS, days).astype(float)
    missing = np.isnan(reference)
    rows_by_day = np.bincount(reference_days, minlength=days).astype(float)
    missing_by_day = np.bincount(reference_days, weights=missing, minlength=days)
    null_share = (drawn_days @ missing_by_day) / np.maximum(drawn_days @ rows_by_day, 1)
    missing_reference, missing_current = float(missing.mean()), float(np.isnan(current).mean())
    missing_threshold = max(
        float(np.quantile(np.abs(null_share - missing_reference), NULL_QUANTILE)),
        # A share of 0 or 1 has no spread to resample; a handful of rows is not news.
        10 / len(current),
    )

    psi = psi_threshold = None
    present, present_now = reference[~missing], current[~np.isnan(current)]
    if len(present) >= 50 * BINS and len(present_now) >= 20 * BINS:
        edges = np.unique(np.quantile(present, np.linspace(0, 1, BINS + 1)[1:-1]))
        bins = len(edges) + 1
        cell = reference_days[~missing] * bins + np.searchsorted(edges, present, side="right")
        by_day = np.bincount(cell, minlength=days * bins).reshape(days, bins).astype(float)
        total = by_day.sum(axis=0)
        now = np.bincount(np.searchsorted(edges, present_now, side="right"), minlength=bins).astype(float)
        if bins > 1:
            psi = float(population_stability(total, now))
            psi_threshold = max(
                float(np.quantile(population_stability(total, drawn_days @ by_day), NULL_QUANTILE)),
                chi_square_threshold(len(present), len(present_now), bins),
            )
    if abs(missing_current - missing_reference) > missing_threshold:
        verdict = "missingness"
    elif psi is not None and psi_threshold is not None and psi > psi_threshold:
        verdict = "drift"
    else:
        verdict = "quiet"
    return ColumnDrift(
        family, column, psi, psi_threshold, missing_reference, missing_current, missing_threshold, verdict
    )


def drift_table(
    reference: pl.DataFrame, current: pl.DataFrame, families: Mapping[str, Sequence[str]], seed: int = 7
) -> pl.DataFrame:
    """Drift of every column of every family.

    Args:
        reference: rows of the champion's training window, with race_date.
        current: rows of the period in question, with race_date.
        families: family to its numeric or boolean columns.
        seed: of the resampling.

    Returns:
        A row per column, with the fields of `ColumnDrift`, the worst first.

    Raises:
        ValueError: a side has no rows.
    """
    if reference.is_empty() or current.is_empty():
        raise ValueError(f"Drift: the reference has {reference.height} rows, the current period {current.height}.")
    rng = np.random.default_rng(seed)
    _, reference_days = np.unique(reference["race_date"].to_physical().to_numpy(), return_inverse=True)
    days = current["race_date"].n_unique()
    rows = [
        column_drift(family, column, _numbers(reference, column), reference_days, _numbers(current, column), days, rng)
        for family, columns in families.items()
        for column in columns
    ]
    table = pl.DataFrame(
        [vars(row) for row in rows],
        schema={
            "family": pl.String,
            "column": pl.String,
            "psi": pl.Float64,
            "psi_threshold": pl.Float64,
            "missing_reference": pl.Float64,
            "missing_current": pl.Float64,
            "missing_threshold": pl.Float64,
            "verdict": pl.String,
        },
    )
    rank = pl.col("verdict").replace_strict({"missingness": 0, "drift": 1, "quiet": 2}, return_dtype=pl.Int8)
    return table.sort(rank, (pl.col("psi") / pl.col("psi_threshold")).fill_null(0) * -1, "column")


def write_evidently(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    families: Mapping[str, Sequence[str]],
    folder: Path,
    seed: int = 7,
) -> dict[str, Path]:
    """Evidently's data drift page of each family, for the eye: its own tests are not what we act on.

    Args:
        reference: rows of the champion's training window.
        current: rows of the period in question.
        families: family to its columns, those to look at first in front.
        folder: where `<family>.html` is written; about 4 MB each.
        seed: of the row sample.

    Returns:
        Family to its page; families without a column that has values on both sides are absent.
    """
    # 7 s to import: Evidently brings plotly, nltk and its own web service along.
    from evidently import Report
    from evidently.presets import DataDriftPreset

    folder.mkdir(parents=True, exist_ok=True)
    small_reference = reference.sample(min(EVIDENTLY_ROWS, reference.height), seed=seed)
    small_current = current.sample(min(EVIDENTLY_ROWS, current.height), seed=seed)
    pages = {}
    for family, columns in families.items():
        usable = [c for c in columns if small_reference[c].n_unique() > 2 and small_current[c].count() > 100]
        usable = [c for c in usable if small_reference[c].count() > 100]
        if not usable:
            continue
        as_numbers = [pl.col(c).cast(pl.Float64) for c in usable[:EVIDENTLY_COLUMNS]]
        snapshot = Report([DataDriftPreset(method="psi")]).run(
            small_current.select(as_numbers).to_pandas(), small_reference.select(as_numbers).to_pandas()
        )
        page = folder / f"{family}.html"
        partial = page.with_suffix(".partial")
        snapshot.save_html(str(partial))
        partial.replace(page)
        pages[family] = page
    return pages


def _numbers(frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    return frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()
