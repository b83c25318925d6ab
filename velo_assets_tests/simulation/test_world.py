"""The world as a whole: determinism, calibration, truth, the market's knowledge, planted breaks."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from velo_assets.ingestion.layouts import RACEFORM_COLUMNS
from velo_assets.simulation.marker import MixedDataError, data_kind, read_marker, sha256
from velo_assets.simulation.prices import decimal_ladder, nearest_price
from velo_assets.simulation.season import RegimeChange, race_softmax
from velo_assets.simulation.world import SimulatedYear, power_devig, shared_day_rows, simulate, simulate_years
from velo_assets_tests.simulation.conftest import World, read_results

HEADER = (
    "date,course,race_id,off,race_name,type,class,pattern,rating_band,age_band,sex_rest,dist,going,ran,num,pos,draw,ovr_btn,btn,"
    "horse,age,sex,wgt,hg,time,sp,jockey,trainer,prize,or,rpr,ts,sire,dam,damsire,owner,comment"
)


def r2_of(probability: np.ndarray, year: SimulatedYear) -> float:
    first, size = year.season.first, year.season.race["runners"].astype(np.int64)
    won = year.season.runner["position"] == 1
    share = won / np.repeat(np.add.reduceat(won.astype(float), first), size)
    return float(1.0 + (share * np.log(probability)).sum() / np.log(size).sum())


def best_market_r2(years: list[SimulatedYear]) -> tuple[float, float]:
    """R2 of the SP market with the best beta (averaged over seasons), and of the truth."""
    curves = []
    for year in years:
        first, size = year.season.first, year.season.race["runners"].astype(np.int64)
        odds = decimal_ladder()[nearest_price(year.season.runner["sp_implied"].astype(np.float64))]
        market = np.log(power_devig(1.0 / odds, first, size))
        curves.append([r2_of(race_softmax(beta * market, first, size), year) for beta in np.arange(0.8, 1.3, 0.02)])
    truth = np.mean([r2_of(year.season.runner["true_probability"], year) for year in years])
    return float(np.mean(curves, axis=0).max()), float(truth)


def test_files_have_the_header_of_the_export(world: World) -> None:
    for path in world.summary.files:
        with path.open(encoding="utf-8") as handle:
            assert handle.readline().rstrip("\n") == HEADER
    assert ",".join(RACEFORM_COLUMNS) == HEADER
    assert [path.name for path in world.summary.files] == [f"simulated_{year}.csv" for year in (2024, 2025, 2026)]


def test_same_arguments_same_bytes_and_longer_runs_share_their_seasons(tmp_path: Path) -> None:
    arguments = {"first_year": 2016, "races_per_year": 60, "edge": 0.5}
    one = simulate(**arguments, last_year=2017, seed=4, out=tmp_path / "one")
    two = simulate(**arguments, last_year=2017, seed=4, out=tmp_path / "two")
    longer = simulate(**arguments, last_year=2018, seed=4, out=tmp_path / "longer")
    other = simulate(**arguments, last_year=2017, seed=5, out=tmp_path / "other")
    paths = [*one.files, *one.truth_files, one.marker]
    assert [sha256(p) for p in paths] == [sha256(p) for p in (*two.files, *two.truth_files, two.marker)]
    assert [sha256(p) for p in longer.files[:2]] == [sha256(p) for p in one.files]
    assert sha256(other.files[0]) != sha256(one.files[0])
    assert replace(one, files=(), truth_files=(), marker=tmp_path) == replace(
        two, files=(), truth_files=(), marker=tmp_path
    )


def test_calibration(world: World) -> None:
    measured = world.summary
    assert 2950 <= measured.races <= 3000
    assert measured.runs == world.results.height
    assert 8.7 <= measured.mean_field <= 9.3
    # Bands of the brief, widened by two standard errors of a world of 3,000 races.
    assert 0.33 - 0.017 <= measured.favourite_win_rate <= 0.36 + 0.017
    assert 0.16 - 0.014 <= measured.market_r2 <= 0.19 + 0.014
    assert 0.017 <= measured.overround_per_runner <= 0.020
    assert 0.60 <= measured.trainer_shared_day_rate <= 0.70
    assert 0.60 <= measured.jockey_shared_day_rate <= 0.70
    assert 0.05 <= measured.non_finisher_rate <= 0.07
    assert measured.dead_heat_rate <= 0.0015 + 2 * np.sqrt(0.0015 / 3000)


def test_truth_belongs_to_the_rows_and_sums_to_one(world: World) -> None:
    sums = world.truth.group_by("race_date", "course", "off").agg(
        pl.col("true_win_probability", "market_win_probability").sum()
    )
    assert sums.height == world.summary.races
    np.testing.assert_allclose(sums["true_win_probability"], 1.0, atol=1e-9)
    np.testing.assert_allclose(sums["market_win_probability"], 1.0, atol=1e-9)
    rows = world.results.with_columns(pl.col("date").str.to_date().alias("race_date"))
    joined = rows.join(world.truth, on=["race_date", "course", "off", "horse"], how="inner", validate="1:1")
    assert joined.height == world.results.height
    assert ((joined["pos"] == "1") == (joined["won"] == 1)).all()


def test_results_follow_the_true_probabilities(world: World) -> None:
    groups = (
        world.truth.with_columns((pl.col("true_win_probability") * 10).floor().alias("bin"))
        .group_by("bin")
        .agg(
            pl.col("won").sum(),
            pl.col("true_win_probability").sum().alias("expected"),
            (pl.col("true_win_probability") * (1 - pl.col("true_win_probability"))).sum().alias("variance"),
            pl.len(),
        )
        .filter(pl.col("len") > 50)
    )
    z = ((groups["won"] - groups["expected"]) / groups["variance"].sqrt()).to_numpy()
    assert np.abs(z).max() < 3.5


def test_an_efficient_market_knows_the_truth_and_an_edge_takes_some_away() -> None:
    def seasons(edge: float) -> list[SimulatedYear]:
        return list(simulate_years(first_year=2016, last_year=2017, races_per_year=4000, seed=9, edge=edge))

    market, truth = best_market_r2(seasons(0.0))
    assert abs(truth - market) < 0.0008, "at edge 0 only the rounding to the price ladder parts market and truth"
    with_edge, same_truth = best_market_r2(seasons(1.0))
    assert same_truth == pytest.approx(truth, abs=1e-12), "the edge changes prices, not results"
    assert 0.004 < truth - with_edge < 0.010


def test_each_jockey_rides_once_in_a_race_and_each_horse_once_a_day(world: World) -> None:
    rides = world.results.group_by("date", "course", "off", "jockey").len()
    assert rides["len"].max() == 1
    horses = world.truth.group_by("race_date", "horse_number").len()
    assert horses["len"].max() == 1


def test_horses_have_careers(world: World) -> None:
    careers = world.truth.group_by("horse_number").agg(
        pl.len(), pl.col("race_date").dt.year().n_unique().alias("years")
    )
    seasoned = careers.filter(pl.col("years") == 3)
    assert seasoned.height > 200
    assert 10 <= seasoned["len"].mean() <= 30


def test_planted_regimes_change_only_what_they_name() -> None:
    plain, flipped, broken = (
        next(simulate_years(first_year=2016, last_year=2016, races_per_year=400, seed=2, regime=regime))
        for regime in (
            RegimeChange(),
            RegimeChange(flip_longshot_bias_from=date(2016, 7, 1)),
            RegimeChange(break_feature_from=date(2016, 7, 1)),
        )
    )
    late = (plain.results["date"] >= "2016-07-01").to_numpy()
    same_price = (plain.results["sp"] == flipped.results["sp"]).to_numpy()
    assert same_price[~late].all()
    assert same_price[late].mean() < 0.6
    assert plain.results["pos"].equals(flipped.results["pos"])
    late_truth = (plain.truth["race_date"] >= date(2016, 7, 1)).to_numpy()
    # Until the break all is equal; from it on the worlds differ, as another winner changes later entries.
    early = plain.truth.filter(~pl.Series(late_truth))
    assert early.equals(broken.truth.filter(pl.col("race_date") < date(2016, 7, 1)))
    first_day = broken.truth.filter(pl.col("race_date") >= date(2016, 7, 1)).head(1)
    assert not first_day.is_empty()


def test_a_column_can_go_missing_from_a_date(tmp_path: Path) -> None:
    summary = simulate(
        first_year=2016,
        last_year=2016,
        races_per_year=60,
        seed=2,
        edge=0.0,
        out=tmp_path,
        drop_column_from=("or", date(2016, 6, 1)),
    )
    rows = read_results(summary.files)
    assert set(rows.filter(pl.col("date") >= "2016-06-01")["or"].unique()) == {""}
    assert "" not in rows.filter(pl.col("date") < "2016-06-01")["or"].unique()


def test_refuses_to_write_beside_real_results(tmp_path: Path) -> None:
    folder = tmp_path / "raceform"
    folder.mkdir()
    (folder / "raceform.csv").write_text("date\n", encoding="utf-8")
    with pytest.raises(MixedDataError, match=r"raceform\.csv"):
        simulate(first_year=2016, last_year=2016, races_per_year=60, seed=1, edge=0.0, out=tmp_path)
    assert [path.name for path in folder.iterdir()] == ["raceform.csv"]
    assert data_kind(folder) == "real"


def test_a_new_simulation_replaces_the_earlier_one(tmp_path: Path) -> None:
    simulate(first_year=2016, last_year=2017, races_per_year=60, seed=1, edge=0.0, out=tmp_path)
    summary = simulate(first_year=2017, last_year=2017, races_per_year=60, seed=3, edge=2.0, out=tmp_path)
    assert sorted(path.name for path in (tmp_path / "raceform").iterdir()) == ["SIMULATED.json", "simulated_2017.csv"]
    assert [path.name for path in (tmp_path / "truth").iterdir()] == ["truth_2017.parquet"]
    marker = read_marker(tmp_path / "raceform")
    assert marker is not None
    assert (marker.seed, marker.edge) == (3, 2.0)
    assert marker.files == {"simulated_2017.csv": sha256(summary.files[0])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"last_year": 2015}, "before first_year"),
        ({"races_per_year": 10}, "at least 50"),
        ({"edge": -0.1}, "between 0"),
        ({"edge": 9.0}, "between 0"),
        ({"drop_column_from": ("colour", date(2016, 1, 1))}, "colour"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"first_year": 2016, "last_year": 2016, "races_per_year": 60, "seed": 1, "edge": 0.0}
    with pytest.raises(ValueError, match=message):
        simulate(**{**arguments, **change}, out=tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_shared_day_rows_counts_rows_with_company() -> None:
    # Trainer 1 has two runners on day 5, trainer 2 one on each of two days.
    assert shared_day_rows(np.array([1, 1, 2, 2]), np.array([5, 5, 5, 6])) == 2


def test_power_devig_of_a_hand_worked_book() -> None:
    # Two runners at evens and 1/1 in a book of 1.0 stay; q = (.6, .6): k = log .5 / log .6 makes both .5.
    p = power_devig(np.array([0.5, 0.5, 0.6, 0.6]), np.array([0, 2]), np.array([2, 2]))
    np.testing.assert_allclose(p, 0.5, atol=1e-9)
