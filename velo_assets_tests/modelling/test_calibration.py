"""Calibration figures by hand, noise floors by simulation, race-wise maps that keep the sum of 1."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets.modelling.calibration import (
    RaceCalibration,
    brier_decomposition,
    calibration_error,
    calibration_noise_floor,
    calibration_summary,
    compare_calibrations,
    equal_count_bins,
    fit_race_calibration,
    isotonic_map,
    merge_venn_abers,
    recalibration,
    reliability_table,
    renormalise,
    split_by_market,
    venn_abers,
)
from velo_assets.modelling.guards import LookAheadError, TooFewRacesError
from velo_assets.modelling.races import Races
from velo_assets_tests.modelling.worlds import after, before, world

CUTOFF, EARLIER = date(2019, 1, 1), date(2018, 12, 31)
WORLD = world(2500)
RACES = Races.from_frame(WORLD)
TRUTH = WORLD.get_column("truth").to_numpy()
BOLD = WORLD.with_columns(pl.Series("bold", RACES.softmax(1.5 * np.log(TRUTH))))


def test_calibration_error_by_hand() -> None:
    probability = np.array([0.1, 0.2, 0.6, 0.7])
    won = np.array([0.0, 1.0, 1.0, 0.0])
    assert equal_count_bins(probability, 2).tolist() == [0, 0, 1, 1]
    assert calibration_error(probability, won, 2) == pytest.approx((0.7 + 0.3) / 4)


def test_noise_floor_is_what_the_truth_itself_shows() -> None:
    floor, high = calibration_noise_floor(TRUTH, RACES, draws=100)
    assert 0 < floor < high
    assert calibration_error(TRUTH, RACES.win_share) < 1.5 * high
    assert calibration_error(BOLD.get_column("bold").to_numpy(), RACES.win_share) > 2 * high
    longer = calibration_noise_floor(TRUTH, RACES, draws=100, chosen=TRUTH < 0.1)
    assert longer[0] > 0


def test_slope_is_1_for_the_truth_and_two_thirds_for_bold_odds() -> None:
    fitted = recalibration(TRUTH, RACES.win_share)
    assert abs(fitted.slope - 1) < 3 * fitted.slope_se
    assert abs(fitted.intercept) < 3 * fitted.intercept_se
    bold = recalibration(BOLD.get_column("bold").to_numpy(), RACES.win_share)
    assert 0.6 < bold.slope < 0.8
    with pytest.raises(ArithmeticError, match="no finite maximum"):
        recalibration(np.full(10, 0.1), np.zeros(10))


def test_brier_parts_add_up() -> None:
    parts = brier_decomposition(TRUTH, RACES.win_share)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bin"]
    assert parts["brier"] == pytest.approx(total)
    assert parts["brier"] == pytest.approx(((TRUTH - RACES.win_share) ** 2).mean())
    assert parts["reliability"] < 0.001 < parts["resolution"]


def test_reliability_table_counts_every_runner() -> None:
    table = reliability_table(TRUTH, RACES.win_share, 10)
    assert table.get_column("runners").sum() == len(TRUTH)
    assert table.get_column("actual_over_expected").to_numpy() == pytest.approx(np.ones(10), abs=0.35)


def test_split_by_market_shows_a_model_that_overrules_too_much() -> None:
    market = WORLD.get_column("market_probability").to_numpy()
    honest = split_by_market(TRUTH, market, RACES.win_share, 4)
    assert honest.get_column("side").to_list() == ["above"] * 4 + ["below"] * 4
    brash = RACES.softmax(np.log(market) + 0.8 * np.random.default_rng(1).normal(size=len(market)))
    table = split_by_market(brash, market, RACES.win_share, 4)
    mean = table.group_by("side").agg(pl.col("actual_over_expected").mean()).sort("side")
    assert mean.get_column("actual_over_expected")[0] < 0.9 < 1.1 < mean.get_column("actual_over_expected")[1]


def test_race_wise_map_repairs_bold_odds_on_later_folds() -> None:
    calibration = fit_race_calibration(before(BOLD, EARLIER), "bold", CUTOFF, knots=())
    assert calibration.coefficients[0] == pytest.approx(-1 / 3, abs=0.06)
    scored = after(BOLD, CUTOFF)
    races = Races.from_frame(scored)
    bold = scored.get_column("bold").to_numpy()
    repaired = calibration.calibrate(bold, races)
    assert races.r2(repaired) > races.r2(bold)
    # A race that has lost a runner is no race to learn from.
    first = pl.col("runner_key") == pl.col("runner_key").min().over("race_key")
    gaps = before(BOLD, EARLIER).with_columns(
        bold=pl.when(~(first & (pl.col("race_key") % 5 == 0))).then(pl.col("bold"))
    )
    whole = gaps.filter(pl.col("race_key") % 5 != 0)
    fitted = fit_race_calibration(gaps, "bold", CUTOFF, knots=())
    assert fitted.races == whole["race_key"].n_unique()
    again = RaceCalibration.from_dict(calibration.to_dict())
    assert again.calibrate(bold, races).tolist() == repaired.tolist()
    assert again.model_hash == calibration.model_hash


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-0.5, 0.5), min_size=5, max_size=5))
def test_any_race_wise_map_keeps_the_sum_of_1(coefficients: list[float]) -> None:
    calibration = RaceCalibration(CUTOFF, (-3.0, -2.0, -1.5, -1.0), np.asarray(coefficients), np.eye(5), 1, EARLIER)
    calibrated = calibration.calibrate(TRUTH, RACES)
    assert np.add.reduceat(calibrated, RACES.race_starts) == pytest.approx(np.ones(len(RACES)))


def test_calibration_may_not_see_the_fold() -> None:
    with pytest.raises(LookAheadError, match="calibration of bold"):
        fit_race_calibration(BOLD, "bold", CUTOFF)
    with pytest.raises(TooFewRacesError):
        fit_race_calibration(BOLD.head(100), "bold", CUTOFF)


def test_isotonic_and_venn_abers() -> None:
    earlier, won = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 0.0, 1.0])
    assert isotonic_map(earlier, won, np.array([0.05, 0.25, 0.9])).tolist() == pytest.approx([0.0, 0.5, 1.0])
    lower, upper = venn_abers(earlier, won, np.array([0.25]), points=1)
    # the extra loser pools (1, 0, 0) to 1/3; the extra winner pools (1, 1, 0) to 2/3
    assert (lower[0], upper[0]) == pytest.approx((1 / 3, 2 / 3))
    assert merge_venn_abers(lower, upper)[0] == pytest.approx((2 / 3) / (1 - 1 / 3 + 2 / 3))
    shared = renormalise(np.full(RACES.runners, 0.2), RACES)
    assert np.add.reduceat(shared, RACES.race_starts) == pytest.approx(np.ones(len(RACES)))


def test_comparison_finds_the_power_map_best_for_bold_odds() -> None:
    table = compare_calibrations(before(BOLD, EARLIER), after(BOLD, CUTOFF), "bold", CUTOFF)
    assert table.get_column("method").to_list() == ["none", "power", "piecewise", "isotonic", "venn_abers"]
    r2 = dict(zip(table.get_column("method"), table.get_column("r2"), strict=True))
    assert r2["power"] > r2["none"]
    assert r2["power"] >= max(r2.values()) - 0.004


def test_summary_has_every_figure() -> None:
    summary = calibration_summary(TRUTH, RACES, chosen=TRUTH < 0.2)
    assert summary["runners"] == float((TRUTH < 0.2).sum())
    assert {"slope", "slope_se", "intercept", "calibration_error", "noise_floor", "brier"} <= set(summary)
