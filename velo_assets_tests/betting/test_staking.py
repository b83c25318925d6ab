"""Kelly against brute force, caps, bankroll paths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from velo_assets.betting.staking import (
    PRESETS,
    STOPPED,
    FloatArray,
    IntArray,
    Staking,
    bankroll_path,
    cap_fractions,
    simultaneous_kelly,
)

ONE_RACE = np.array([0])


def kelly(p: list[float], odds: list[float]) -> FloatArray:
    return simultaneous_kelly(np.array(p), np.array(odds), ONE_RACE)


def best_log_wealth(p: FloatArray, odds: FloatArray) -> float:
    """Largest expected log wealth, found by a general optimiser."""

    def loss(stakes: FloatArray) -> float:
        return -float(p @ np.log(np.maximum(1 - stakes.sum() + stakes * odds, 1e-12)))

    best = min(
        (
            optimize.minimize(
                loss,
                start,
                bounds=[(0, 1)] * len(p),
                constraints={"type": "ineq", "fun": lambda stakes: 0.999999 - stakes.sum()},
                method="SLSQP",
                options={"ftol": 1e-13, "maxiter": 500},
            )
            for start in (np.zeros(len(p)), 0.5 * p)
        ),
        key=lambda result: result.fun,
    )
    return -float(best.fun)


def test_one_bet_is_the_textbook_fraction() -> None:
    # p = .5 at 3.0: (p O - 1) / (O - 1) = .25
    assert kelly([0.5, 0.5], [3.0, 1.5])[0] == pytest.approx(0.25)


def test_a_second_runner_may_enter_below_evens_value() -> None:
    # Worked by hand: S = {1}: b = .5/(1 - 1/3) = .75; 2nd: e = .3 * 3 = .9 > .75 enters; b = .2/(1/3) = .6.
    assert kelly([0.5, 0.3, 0.2], [3.0, 3.0, 2.0]) == pytest.approx([0.3, 0.1, 0.0])


def test_no_value_no_stake() -> None:
    assert kelly([0.3, 0.3, 0.4], [3.0, 3.0, 2.2]).tolist() == [0.0, 0.0, 0.0]


def test_races_are_solved_apart_and_runners_without_a_price_left_out() -> None:
    p = np.array([0.5, 0.5, 0.5, 0.3, 0.2])
    odds = np.array([np.nan, 1.5, 3.0, 3.0, 2.0])
    assert simultaneous_kelly(p, odds, np.array([0, 2])) == pytest.approx([0, 0, 0.3, 0.1, 0])


def test_only_eligible_runners_are_backed() -> None:
    stakes = simultaneous_kelly(
        np.array([0.5, 0.3, 0.2]), np.array([3.0, 3.0, 2.0]), ONE_RACE, np.array([True, False, False])
    )
    assert stakes == pytest.approx([0.25, 0, 0])


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(1.02, 1.3))
@settings(max_examples=25, deadline=None)
def test_kelly_is_the_optimum(seed: int, runners: int, take_out: float) -> None:
    generator = np.random.default_rng(seed)
    p = generator.dirichlet(np.full(runners, 2.0))
    market = generator.dirichlet(50 * p + 1)
    odds = np.maximum(1 / (market * take_out), 1.01)
    stakes = simultaneous_kelly(p, odds, ONE_RACE)
    wealth = float(p @ np.log(1 - stakes.sum() + stakes * odds))
    assert stakes.min() >= 0
    assert stakes.sum() < 1
    assert wealth >= best_log_wealth(p, odds) - 1e-6


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=40), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_caps_are_never_passed(fractions: list[float], seed: int) -> None:
    generator = np.random.default_rng(seed)
    race = np.sort(generator.integers(0, 5, len(fractions)))
    day = race // 2
    staking = Staking(cap_bet=0.02, cap_race=0.05, cap_day=0.08)
    capped = cap_fractions(np.array(fractions), race, day, staking)
    assert capped.max(initial=0) <= 0.02 + 1e-12
    assert np.bincount(race, weights=capped).max() <= 0.05 + 1e-12
    assert np.bincount(day, weights=capped).max() <= 0.08 + 1e-12


def everything(requested: FloatArray, rows: slice) -> tuple[FloatArray, IntArray]:
    return requested, np.zeros(len(requested), dtype=np.int64)


def test_the_bankroll_moves_from_day_to_day() -> None:
    # Day 1: 10% of 1000 wins at evens, and 10% loses: 1000. Day 2: 10% of 1000 wins 2 for 1: 1200. Day 3: loses 120.
    path = bankroll_path(
        np.full(4, 0.1),
        np.array([1, 1, 2, 3]),
        np.array([1, 2, 3, 4]),
        np.array([1.0, -1.0, 2.0, -1.0]),
        Staking(method="proportional", fraction=0.1),
        everything,
    )
    assert path.stake == pytest.approx([100, 100, 100, 120])
    assert path.closing == pytest.approx(1080)


def test_commission_leaves_the_bankroll() -> None:
    path = bankroll_path(
        np.full(2, 0.1), np.array([1, 1]), np.array([7, 7]), np.array([3.0, -1.0]), Staking(), everything, 0.05
    )
    assert path.closing == pytest.approx(1000 + 200 * 0.95)


def test_the_drawdown_stop_ends_betting_for_good() -> None:
    path = bankroll_path(
        np.full(4, 0.5),
        np.arange(4),
        np.arange(4),
        np.array([-1.0, -1.0, 5.0, 5.0]),
        Staking(method="proportional", drawdown_stop=0.5),
        everything,
    )
    assert path.stake.tolist() == [500, 0, 0, 0]
    assert path.reason.tolist() == [0, STOPPED, STOPPED, STOPPED]
    assert path.closing == 500


def test_paper_trading_preset() -> None:
    paper = PRESETS["paper_trading"]
    assert (paper.bankroll, paper.fraction, paper.method) == (1000.0, 0.1, "kelly")


@pytest.mark.parametrize("options", [{"method": "martingale"}, {"fraction": 0}, {"drawdown_stop": 2}, {"cap_bet": -1}])
def test_bad_plans_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="staking"):
        Staking(**options)  # type: ignore[arg-type]
