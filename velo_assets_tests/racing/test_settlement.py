"""The rules of settlement, each with a worked example."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from velo_assets.racing.settlement import place_return, place_share, settling_results, win_return


def results(rows: list[tuple[int, int, int | None, int, int]], **extra: list[object]) -> pl.DataFrame:
    frame = pl.DataFrame(
        rows,
        schema={
            "race_key": pl.Int64,
            "runner_key": pl.Int64,
            "position": pl.Int64,
            "won": pl.Int64,
            "dead_heat_runners": pl.Int64,
        },
        orient="row",
    )
    return frame.with_columns(**{name: pl.Series(values, dtype=pl.Int64) for name, values in extra.items()})


def test_ten_at_ten_to_one_in_a_two_way_dead_heat_returns_55() -> None:
    assert 10 * win_return(11.0, 0.5) == pytest.approx(55.0)


def test_a_winner_at_five_to_two() -> None:
    assert 10 * win_return(3.5, 1.0) == pytest.approx(35.0)


def test_rule_4_of_25p_takes_a_quarter_of_the_winnings_and_leaves_the_stake() -> None:
    # 10 at 4/1: winnings 40 less a quarter = 30, and the stake back.
    assert 10 * win_return(5.0, 1.0, 25) == pytest.approx(40.0)


def test_rule_4_in_a_dead_heat_acts_on_half_the_stake() -> None:
    # 5 of the 10 wins 20 less a quarter = 15, plus its 5; the other 5 is lost.
    assert 10 * win_return(5.0, 0.5, 25) == pytest.approx(20.0)


def test_a_loser_returns_nothing() -> None:
    assert win_return(100.0, 0.0) == 0.0


@pytest.mark.parametrize(
    ("position", "tied", "places", "share"),
    [(1, 1, 3, 1.0), (3, 1, 3, 1.0), (4, 1, 3, 0.0), (3, 2, 3, 0.5), (2, 3, 3, 2 / 3), (3, 2, 4, 1.0), (1, 1, 0, 0.0)],
)
def test_place_shares(position: int, tied: int, places: int, share: float) -> None:
    assert place_share(position, tied, places) == pytest.approx(share)


def test_a_non_finisher_is_not_placed() -> None:
    assert place_share(float("nan"), 1, 3) == 0.0


def test_a_place_at_a_fifth_of_ten_to_one_pays_two_to_one() -> None:
    assert 10 * place_return(11.0, 0.2, 1.0) == pytest.approx(30.0)


@given(st.floats(1.01, 1000), st.integers(1, 4), st.integers(0, 90))
def test_dead_heaters_together_are_paid_as_one_winner(odds: float, heaters: int, pence: int) -> None:
    assert heaters * win_return(odds, 1 / heaters, pence) == pytest.approx(float(win_return(odds, 1.0, pence)))


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 6))
def test_a_tie_never_shares_more_places_than_are_left(position: int, tied: int, places: int) -> None:
    assert tied * float(place_share(position, tied, places)) <= max(places - position + 1, 0) + 1e-9


def test_one_winner_settles() -> None:
    settled = settling_results(results([(1, 11, 1, 1, 1), (1, 12, 2, 0, 1), (1, 13, None, 0, 1)]))
    assert settled.get_column("settles").all()
    assert settled.get_column("win_share").to_list() == [1.0, 0.0, 0.0]
    assert settled.get_column("tied_runners").to_list() == [1, 1, 1]


def test_a_flagged_dead_heat_shares_the_win() -> None:
    settled = settling_results(results([(1, 11, 1, 1, 2), (1, 12, 1, 1, 2), (1, 13, 3, 0, 1)]))
    assert settled.get_column("win_share").to_list() == [0.5, 0.5, 0.0]
    assert settled.get_column("tied_runners").to_list() == [2, 2, 1]


def test_a_race_without_a_winner_does_not_settle() -> None:
    settled = settling_results(results([(1, 11, 2, 0, 1), (1, 12, 3, 0, 1)]))
    assert settled.get_column("unsettled_reason").to_list() == ["race has no winner"] * 2


def test_two_winners_not_flagged_as_a_dead_heat_do_not_settle() -> None:
    settled = settling_results(results([(1, 11, 1, 1, 1), (1, 12, 1, 1, 1), (2, 21, 1, 1, 1)]))
    assert settled.get_column("unsettled_reason").to_list() == ["2 winners not flagged as a dead heat"] * 2 + [None]


def test_a_disqualification_after_weigh_in_changes_nothing() -> None:
    # 11 passed the post first and was weighed in; weeks later it was disqualified and 12 promoted.
    later = results([(1, 11, None, 0, 1), (1, 12, 1, 1, 1), (1, 13, 2, 0, 1)], weighed_in_position=[1, 2, 3])
    settled = settling_results(later)
    assert settled.get_column("win_share").to_list() == [1.0, 0.0, 0.0]
    assert settled.get_column("settles").all()


def test_a_disqualification_before_weigh_in_stands() -> None:
    settled = settling_results(results([(1, 11, None, 0, 1), (1, 12, 1, 1, 1)]))
    assert settled.get_column("win_share").to_list() == [0.0, 1.0]
