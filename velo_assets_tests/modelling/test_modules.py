"""Module reports: a family that matters is told from one that does not."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from velo_assets.modelling.conditional_logit import LinearLogit
from velo_assets.modelling.guards import MissingFeatureError
from velo_assets.modelling.modules import filter_report, long_odds_check, module_report, offset_report, without
from velo_assets.modelling.offsets import Signal
from velo_assets.modelling.races import Races, feature_matrix
from velo_assets.modelling.walk_forward import folds
from velo_assets_tests.modelling.worlds import world

WORLD = world(1500, market_noise=0.8)
CUT = folds(date(2016, 1, 1), date(2019, 12, 31))


def test_leaving_out_by_approximation_comes_near_a_second_fit() -> None:
    races = Races.from_frame(WORLD)
    full = LinearLogit.fit(feature_matrix(WORLD, ["x0", "x1", "x2"]), races, ["x0", "x1", "x2"])
    again = LinearLogit.fit(feature_matrix(WORLD, ["x0", "x2"]), races, ["x0", "x2"])
    reduced = without(full, ["x1"])
    assert reduced[1] == 0.0
    assert reduced[[0, 2]] == pytest.approx(again.coefficients_, abs=0.08)


def test_a_family_that_matters_is_told_from_one_that_does_not() -> None:
    families = {"form_curves": ("x0", "x1"), "trouble": ("x2",)}
    report = module_report(WORLD, families, CUT)
    rows = {row["name"]: row for row in report.to_dicts()}
    assert rows["form_curves"]["verdict"] == "adds"
    assert rows["form_curves"]["low"] > 0.01
    assert rows["trouble"]["verdict"] == "adds nothing that can be told from 0"
    assert rows["SQPE"]["delta_r2"] == pytest.approx(rows["form_curves"]["delta_r2"])
    assert rows["TRA"]["kind"] == "module"
    # Out of sample the ridge has held the true part back a little: its coefficient is near 1, clearly above 0.
    assert rows["form_curves"]["coefficient"] > 5 * rows["form_curves"]["standard_error"]
    assert 0.8 < rows["form_curves"]["coefficient"] < 1.6
    assert abs(rows["trouble"]["coefficient"]) < 3 * rows["trouble"]["standard_error"]
    with pytest.raises(MissingFeatureError, match="draw_iv"):
        module_report(WORLD, {"bias_maps": ("draw_iv",)}, CUT)


def test_an_offset_that_knows_something_is_told_from_noise() -> None:
    truth = np.log(WORLD["truth"].to_numpy() / WORLD["market_probability"].to_numpy())
    frame = WORLD.with_columns(
        pl.Series("knows", 0.5 * truth),
        pl.Series("noise", np.random.default_rng(3).normal(0, 0.3, WORLD.height)),
        pl.lit(None, dtype=pl.Float64).alias("silent"),
    )
    report = offset_report(frame, {"TIE": "knows", "NDS": "noise", "DLV": "silent"})
    rows = {row["name"]: row for row in report.to_dicts()}
    assert set(rows) == {"TIE", "NDS"}
    assert rows["TIE"]["verdict"] == "adds"
    # Half of what is known was said, so that twice the offset is right.
    assert rows["TIE"]["coefficient"] == pytest.approx(2.0, abs=0.25)
    assert rows["NDS"]["verdict"] == "costs"
    assert abs(rows["NDS"]["coefficient"]) < 3 * rows["NDS"]["standard_error"]
    with pytest.raises(MissingFeatureError, match="tie_offset"):
        offset_report(WORLD, {"TIE": "tie_offset"})


def test_filters_side_by_side() -> None:
    filters = (Signal("good", pl.col("x0") > 0.5, "planted"), Signal("idle", pl.col("x2") > 0, "nothing"))
    report = filter_report(WORLD, filters)
    assert report.get_column("verdict").to_list() == ["wins more than priced", "no clear effect"]
    good = report.row(0, named=True)
    chosen = WORLD.filter(pl.col("x0") > 0.5)
    assert good["wins"] == chosen.get_column("win_share").sum()
    assert good["actual_over_expected"] == pytest.approx(
        chosen.get_column("win_share").sum() / chosen.get_column("market_probability").sum()
    )


def test_what_never_differs_says_nothing() -> None:
    constant = WORLD.with_columns(pl.lit(1.0).alias("sire"))
    report = module_report(constant, {"form_curves": ("x0",), "breeding": ("sire",)}, CUT)
    assert report.filter(name="breeding")["verdict"][0] == "says nothing here"
    nobody = filter_report(WORLD, (Signal("good", pl.col("x0") > 0.5, ""), Signal("none", pl.col("x0") > 99, "")))
    assert nobody["verdict"].to_list() == ["wins more than priced", "says nothing here"]
    assert nobody["z"].null_count() == 1


def test_long_odds_check_by_hand() -> None:
    frame = pl.DataFrame(
        {
            "race_date": [date(2020, 1, 1)] * 3,
            "race_key": [1] * 3,
            "runner_key": [1, 2, 3],
            "win_share": [0.0, 1.0, 0.0],
            "market_probability": [0.9, 0.05, 0.05],
            "decimal_odds": [1.05, 20.0, 20.0],
            "expert_probability": [0.9, 0.07, 0.03],
        }
    )
    check = long_odds_check(frame)
    assert check["runners"] == 1
    assert check["actual_over_expected"] == pytest.approx(20.0)
    assert check["standard_error"] == pytest.approx(np.sqrt(0.05) / 0.05)
