"""Drift: quiet when nothing changed, named when something did, missingness before all else."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from velo_assets.monitoring.drift import chi_square_threshold, drift_table, population_stability, write_evidently

FAMILIES = {"form": ["form_ewma", "form_best"], "trainer": ["trainer_sr_30d"]}


def period(first: date, days: int, seed: int, per_day: int = 40) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = days * per_day
    day_effect = np.repeat(rng.normal(scale=0.3, size=days), per_day)
    return pl.DataFrame(
        {
            "race_date": [first + timedelta(days=day) for day in range(days) for _ in range(per_day)],
            "form_ewma": rng.normal(size=n) + day_effect,
            "form_best": rng.normal(size=n),
            "trainer_sr_30d": rng.beta(2, 18, size=n),
        }
    )


def test_psi_of_equal_shares_is_zero_and_grows_with_the_difference() -> None:
    even = np.array([100.0, 100.0])
    # p = q = 1/2: nothing. p = 1/2, q = 3/4: (.25) ln 1.5 + (-.25) ln .5 = .2747, up to the half counts.
    assert population_stability(even, even) == pytest.approx(0)
    assert population_stability(even * 100, np.array([5000.0, 15000.0])) == pytest.approx(0.2747, abs=1e-3)


def test_threshold_shrinks_with_rows() -> None:
    # chi2 quantile .95 at 9 degrees is 16.919.
    assert chi_square_threshold(1000, 1000, 10, 0.95) == pytest.approx(2 / 1000 * 16.919, rel=1e-4)


def test_quiet_periods_raise_no_alarm() -> None:
    reference = period(date(2018, 1, 1), 200, seed=1)
    alarms = 0
    for seed in range(2, 22):
        table = drift_table(reference, period(date(2019, 1, 1), 60, seed=seed), FAMILIES)
        alarms += table.filter(pl.col("verdict") != "quiet").height
    # 60 columns at one in a thousand each.
    assert alarms <= 2


def test_a_shifted_column_and_a_missing_one_are_named() -> None:
    reference = period(date(2018, 1, 1), 200, seed=1)
    current = period(date(2019, 1, 1), 60, seed=2).with_columns(
        form_best=pl.col("form_best") + 0.5,
        trainer_sr_30d=pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise(pl.col("trainer_sr_30d")),
    )
    verdicts = dict(drift_table(reference, current, FAMILIES).select("column", "verdict").iter_rows())
    assert verdicts == {"form_best": "drift", "trainer_sr_30d": "missingness", "form_ewma": "quiet"}


def test_a_column_that_is_always_missing_is_quiet_and_has_no_psi() -> None:
    gone = pl.lit(None, dtype=pl.Float64).alias("form_ewma")
    reference = period(date(2018, 1, 1), 50, seed=1).with_columns(gone)
    current = period(date(2019, 1, 1), 50, seed=2).with_columns(gone)
    row = drift_table(reference, current, {"form": ["form_ewma"]}).row(0, named=True)
    assert (row["verdict"], row["psi"]) == ("quiet", None)


def test_an_empty_period_is_a_clear_error() -> None:
    reference = period(date(2018, 1, 1), 50, seed=1)
    with pytest.raises(ValueError, match="current period 0"):
        drift_table(reference, reference.clear(), FAMILIES)


def test_evidently_writes_a_page_per_family(tmp_path: Path) -> None:
    reference, current = period(date(2018, 1, 1), 30, seed=1), period(date(2019, 1, 1), 20, seed=2)
    pages = write_evidently(reference, current, FAMILIES, tmp_path)
    assert set(pages) == {"form", "trainer"}
    assert "trainer_sr_30d" in pages["trainer"].read_text()
    assert not list(tmp_path.glob("*.partial"))
