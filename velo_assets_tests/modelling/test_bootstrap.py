"""Race-day bootstrap: hand-worked ratios, coverage, pairing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from velo_assets.modelling import bootstrap


def test_day_sums_by_hand() -> None:
    days = np.array(["2020-01-02", "2020-01-01", "2020-01-02"], dtype="datetime64[D]")
    np.testing.assert_array_equal(bootstrap.day_sums([1.0, 2.0, 4.0], days), [[2.0], [5.0]])


def test_resampling_draws_days_with_replacement() -> None:
    totals = bootstrap.resample(np.array([[1.0, 1.0], [10.0, 1.0]]), draws=4000, seed=1)
    assert set(totals[:, 0]) == {2.0, 11.0, 20.0}
    assert (totals[:, 1] == 2.0).all()
    assert (totals[:, 0] == 11.0).mean() == pytest.approx(0.5, abs=0.03)


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.random.default_rng(0).normal(size=(30, 2))
    whole = bootstrap.resample(sums, 100, seed=3)
    monkeypatch.setattr(bootstrap, "DRAW_CELLS_AT_ONCE", 30 * 7)
    np.testing.assert_allclose(bootstrap.resample(sums, 100, seed=3), whole)


def test_paired_delta_r2_by_hand() -> None:
    # R2(a) = 1 - 3/4, R2(b) = 1 - 3.5/4 over two days.
    interval = bootstrap.paired_delta_r2([1.0, 2.0], [1.5, 2.0], [2.0, 2.0], [1, 2], draws=500)
    assert interval.estimate == pytest.approx(0.125)
    # Days drawn (1,1), (1,2) or (2,2) give .25, .125 and 0.
    assert (interval.low, interval.high) == (0.0, 0.25)
    assert bootstrap.r2_interval([1.0, 2.0], [2.0, 2.0], [1, 2]).estimate == pytest.approx(0.25)


def test_the_same_model_gains_exactly_nothing() -> None:
    loss = np.random.default_rng(2).random(50)
    interval = bootstrap.paired_delta_r2(loss, loss, np.ones(50), np.arange(50))
    assert (interval.estimate, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_interval_matches_the_normal_theory() -> None:
    values = np.random.default_rng(4).normal(0.3, 1.0, size=2000)
    interval = bootstrap.ratio_interval(values, np.ones(2000))
    error = values.std() / math.sqrt(2000)
    assert interval.standard_error == pytest.approx(error, rel=0.1)
    assert interval.low == pytest.approx(interval.estimate - 1.96 * error, abs=0.3 * error)
    assert interval.low < interval.lower_95_one_sided < interval.estimate < interval.high


def test_whole_days_are_drawn_not_races() -> None:
    # Ten equal races a day carry the information of one: the error is that of 40 days, not of 400 races.
    by_day = np.random.default_rng(6).normal(size=40)
    days = np.repeat(np.arange(40), 10)
    interval = bootstrap.paired_delta_r2(np.zeros(400), np.repeat(by_day, 10), np.ones(400), days)
    assert interval.standard_error == pytest.approx(by_day.std() / math.sqrt(40), rel=0.1)


def test_roi_is_profit_over_stake() -> None:
    interval = bootstrap.roi_interval([-1.0, 3.0, -1.0], [1.0, 1.0, 2.0], [1, 1, 2])
    assert interval.estimate == pytest.approx(0.25)
    assert interval.days == 2


def test_money_without_skewness_has_students_interval() -> None:
    # Profits -1, 0, 1 on a unit a day: error sqrt(2 * 3 / 2) / 3 = .57735, t(2 d.f.) = 4.3027.
    interval = bootstrap.money_interval([-1.0, 0.0, 1.0], [1.0, 1.0, 1.0])
    assert interval.standard_error == pytest.approx(3**-0.5)
    assert (interval.low, interval.high) == (pytest.approx(-4.30265 / 3**0.5), pytest.approx(4.30265 / 3**0.5))
    assert bootstrap.money_interval([-1.0, 0.0, 1.0], [1.0, 1.0, 1.0], floor=-1.0).low == -1.0


@given(st.floats(-0.9, 0.9), st.integers(1, 200))
def test_the_correction_undoes_halls_cubic(skewness: float, degrees: int) -> None:
    low, high = bootstrap.skew_corrected_ends(0.0, 1.0, skewness, degrees)
    t = special.stdtrit(degrees, 0.975)
    for end, wanted in ((-float(low), t), (-float(high), -t)):
        cubic = end + skewness * end**2 / 3 + skewness**2 * end**3 / 27 + skewness / 6
        assert cubic == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_one_big_day_leaves_few_degrees_of_freedom() -> None:
    # Nine days of -1 and one of 9: squares 90, fourth powers 6570, kurtosis 8.111; 20 / (8.111 - 7/9) = 2.727.
    assert bootstrap.effective_degrees(10, 90.0, 9 + 9.0**4) == pytest.approx(2.7273, abs=1e-4)
    normal = np.random.default_rng(0).normal(size=400)
    assert bootstrap.effective_degrees(400, (normal**2).sum(), (normal**4).sum()) > 300


def test_a_lucky_skew_reaches_further_up_than_down() -> None:
    profit = np.array([-1.0] * 18 + [12.0, 15.0])
    interval = bootstrap.money_interval(profit, np.ones(20))
    assert interval.high - interval.estimate > 1.5 * (interval.estimate - interval.low)


@pytest.mark.parametrize("profit", [[-1.0, -1.0, -1.0], [2.0]])
def test_days_without_spread_have_no_interval(profit: list[float]) -> None:
    interval = bootstrap.money_interval(profit, np.ones(len(profit)))
    assert interval.estimate == profit[0]
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_money_covers_where_percentiles_do_not() -> None:
    # One bet a day at 11.0 with a chance of 1/11, 60 days: the true return is 0.
    generator = np.random.default_rng(5)
    covered = {"money": 0, "percentile": 0}
    worlds = 300
    for world in range(worlds):
        profit = np.where(generator.random(60) < 1 / 11, 10.0, -1.0)
        money = bootstrap.money_interval(profit, np.ones(60))
        percentile = bootstrap.ratio_interval(profit, np.ones(60), draws=300, seed=world)
        covered["money"] += money.low <= 0.0 <= money.high
        covered["percentile"] += percentile.low <= 0.0 <= percentile.high
    assert 0.92 <= covered["money"] / worlds <= 0.99
    assert covered["percentile"] < covered["money"]


def test_one_day_has_no_interval() -> None:
    interval = bootstrap.ratio_interval([1.0], [2.0])
    assert interval.estimate == 0.5
    assert math.isnan(interval.low)
    assert json.loads(json.dumps(interval.to_dict()))["low"] is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap.ratio_interval([], []), "positive"),
        (lambda: bootstrap.ratio_interval([1.0, 1.0], [0.0, 0.0]), "positive"),
        (lambda: bootstrap.ratio_interval([1.0], [1.0, 2.0]), "must be"),
        (lambda: bootstrap.day_sums([1.0, 2.0], [1]), "one day per row"),
        (lambda: bootstrap.day_sums([1.0, float("nan")], [1, 2]), "row 1 is not finite"),
        (lambda: bootstrap.paired_delta_r2([1.0], [1.0, 2.0], [1.0], [1]), "same races"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


@given(st.floats(-3, 3), st.floats(0.5, 2.0))
def test_scaling_both_sums_changes_nothing(mean: float, scale: float) -> None:
    numerator = np.random.default_rng(8).normal(mean, 1.0, 20)
    plain = bootstrap.ratio_interval(numerator, np.ones(20), draws=50)
    scaled = bootstrap.ratio_interval(numerator * scale, np.full(20, scale), draws=50)
    assert scaled.low == pytest.approx(plain.low)
    assert plain.low <= plain.high


def test_more_races_needed() -> None:
    # z = 1 on 1,000 races: z = 1.96 takes 1.96^2 = 3.8416 times as many.
    interval = bootstrap.Interval(0.001, -0.001, 0.003, -0.0006, 0.001, 2000, 100)
    assert bootstrap.more_races_needed(interval, 1000) == 2842
    clear = bootstrap.Interval(0.01, 0.008, 0.012, 0.0084, 0.001, 2000, 100)
    assert bootstrap.more_races_needed(clear, 1000) == 0
    losing = bootstrap.Interval(-0.001, -0.003, 0.001, -0.0026, 0.001, 2000, 100)
    assert bootstrap.more_races_needed(losing, 1000) is None
