"""De-vig methods against values worked by hand, and the laws they obey."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velo_assets.modelling import market

ONE_RACE = np.array([0])

# q = .8 and .4, B = 1.2. Odds ratio: the two logits, ln 4 and ln 2/3, move to +-ln(sqrt 6); Shin with two runners takes
# half of the .2 from each; goto: k = .2 / (.4 + .48990), so .8 - k * .4.
TWO_RUNNERS = np.array([1.25, 2.5])


@pytest.mark.parametrize(
    ("method", "odds", "expected"),
    [
        ("multiplicative", TWO_RUNNERS, [2 / 3, 1 / 3]),
        ("power", np.array([1 / 0.8, 1 / 0.6]), [0.64, 0.36]),
        ("odds_ratio", TWO_RUNNERS, [6**0.5 / (1 + 6**0.5), 1 / (1 + 6**0.5)]),
        ("shin", TWO_RUNNERS, [0.7, 0.3]),
        ("goto", TWO_RUNNERS, [0.8 - 0.08 / (0.4 + 0.24**0.5), 0.4 - 0.2 * 0.24**0.5 / (0.4 + 0.24**0.5)]),
        ("multiplicative", np.array([2.0, 4.0, 4.0]), [0.5, 0.25, 0.25]),
    ],
)
def test_hand_worked_values(method: str, odds: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(market.devig(odds, ONE_RACE, method), expected, atol=1e-10)


@pytest.mark.parametrize("method", market.METHODS)
def test_a_fair_book_is_left_alone(method: str) -> None:
    np.testing.assert_allclose(market.devig(np.array([2.0, 4.0, 4.0]), ONE_RACE, method), [0.5, 0.25, 0.25], atol=1e-12)


@pytest.mark.parametrize("method", market.METHODS)
def test_a_walkover_wins_surely(method: str) -> None:
    np.testing.assert_allclose(market.devig(np.array([1.05]), ONE_RACE, method), [1.0])


fields = st.lists(st.floats(-3.0, 2.0), min_size=2, max_size=24).map(
    lambda scores: np.exp(scores) / np.exp(scores).sum()
)


@st.composite
def priced_races(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Odds and offsets of a few races with books from .92 to 1.5."""
    races = draw(st.lists(st.tuples(fields, st.floats(0.92, 1.5)), min_size=1, max_size=4))
    odds = [np.maximum(1.0 / (p * book), market.MINIMUM_ODDS) for p, book in races]
    return np.concatenate(odds), np.cumsum([0] + [len(o) for o in odds[:-1]])


@pytest.mark.parametrize("method", market.METHODS)
@settings(max_examples=40, deadline=None)
@given(races=priced_races())
def test_probabilities_sum_to_one_and_follow_the_prices(method: str, races: tuple[np.ndarray, np.ndarray]) -> None:
    odds, starts = races
    _, complete = market.books(odds, starts)
    probability = market.devig(odds, starts, method)
    for start, stop, full in zip(starts, [*starts[1:], len(odds)], complete, strict=True):
        part = probability[start:stop]
        if not full:
            assert np.isnan(part).all()
            continue
        assert abs(part.sum() - 1.0) < 1e-12
        assert (part > 0).all()
        order = np.argsort(odds[start:stop])
        assert (np.diff(part[order]) <= 1e-12).all()


@settings(max_examples=60, deadline=None)
@given(true=fields, exponent=st.floats(0.97, 1.6))
def test_power_recovers_what_it_was_built_from(true: np.ndarray, exponent: float) -> None:
    odds = true ** (-1.0 / exponent)
    if market.books(odds, ONE_RACE)[1][0]:
        np.testing.assert_allclose(market.devig(odds, ONE_RACE, "power"), true, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(true=fields, shift=st.floats(-0.05, 0.6))
def test_odds_ratio_recovers_what_it_was_built_from(true: np.ndarray, shift: float) -> None:
    odds = 1.0 + np.exp(-shift) * (1.0 - true) / true
    if market.books(odds, ONE_RACE)[1][0]:
        np.testing.assert_allclose(market.devig(odds, ONE_RACE, "odds_ratio"), true, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(true=fields, insiders=st.floats(0.0, 0.2))
def test_shin_recovers_what_it_was_built_from(true: np.ndarray, insiders: float) -> None:
    # Shin's bookmaker: price_i = sqrt(z p_i + (1-z) p_i^2) times the sum of the same roots.
    roots = np.sqrt(insiders * true + (1.0 - insiders) * true * true)
    odds = 1.0 / (roots * roots.sum())
    if market.books(odds, ONE_RACE)[1][0]:
        np.testing.assert_allclose(market.devig(odds, ONE_RACE, "shin"), true, atol=1e-8)


def test_shin_has_no_insiders_in_a_book_below_one() -> None:
    odds = np.array([2.2, 4.0, 4.4])
    np.testing.assert_allclose(
        market.devig(odds, ONE_RACE, "shin"), market.devig(odds, ONE_RACE, "multiplicative"), atol=1e-12
    )


def test_goto_keeps_long_prices_above_zero() -> None:
    # Free steps would take the 1000.0 chance below 0 (k = .29 standard errors of .0316 is .009 > .001).
    odds = np.array([1.6, 1.8, 8.0, 1000.0])
    probability = market.devig(odds, ONE_RACE, "goto")
    assert probability[3] == pytest.approx(market.GOTO_FLOOR / 1000.0)
    steps = (1 / odds[:3] - probability[:3]) / np.sqrt(1 / odds[:3] * (1 - 1 / odds[:3]))
    np.testing.assert_allclose(steps, steps[0])
    assert probability.sum() == pytest.approx(1.0)


def prices(**columns: list[object]) -> pl.DataFrame:
    """Race 1 complete; race 2 with an unpriced runner; race 3 infinite; race 4 with a book of .75."""
    frame = pl.DataFrame(
        {
            "race_date": [dt.date(2020, 1, 1)] * 9,
            "race_key": [1, 1, 2, 2, 2, 3, 3, 4, 4],
            "runner_key": [12, 11, 21, 22, 23, 31, 32, 41, 42],
            "price_kind": ["sp"] * 9,
            "decimal_odds": [2.5, 1.25, 1.5, 3.0, None, 1.01, float("inf"), 2.0, 4.0],
        }
    )
    return frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()})


def test_partial_books_have_no_probabilities() -> None:
    table = market.probabilities(prices())
    assert table["runner_key"].to_list() == [11, 12, 21, 22, 23, 31, 32, 41, 42]
    assert table["book_complete"].to_list() == [True, True] + [False] * 7
    assert table["p_multiplicative"].to_list() == pytest.approx([2 / 3, 1 / 3] + [None] * 7)
    assert table["probability"].to_list() == table["p_power"].to_list()
    assert table["decimal_odds"].to_list() == [1.25, 2.5, 1.5, 3.0, None, 1.01, None, 2.0, 4.0]
    assert table["book_percent"].to_list() == pytest.approx([1.2, 1.2, 1, 1, 1, 1 / 1.01, 1 / 1.01, 0.75, 0.75])


def test_a_book_said_to_be_partial_is() -> None:
    flagged = market.probabilities(prices(book_complete=[True, False] + [True] * 7))
    assert not flagged["book_complete"].any()
    assert flagged["probability"].null_count() == 9


def test_odds_below_the_minimum_are_no_price() -> None:
    table = market.probabilities(prices(decimal_odds=[2.5, 1.0] + [2.0] * 7))
    assert table.filter(race_key=1)["decimal_odds"].to_list() == [None, 2.5]
    assert table.filter(race_key=1)["probability"].null_count() == 2


def test_an_empty_frame_gives_an_empty_table() -> None:
    table = market.probabilities(prices().clear())
    assert table.height == 0
    assert "p_shin" in table.columns


def test_bad_input_is_named() -> None:
    with pytest.raises(market.MarketError, match="race 1, runner 11, kind sp"):
        market.probabilities(pl.concat([prices(), prices().filter(runner_key=11)]))
    with pytest.raises(market.MarketError, match="decimal_odds"):
        market.probabilities(prices().drop("decimal_odds"))
    with pytest.raises(market.MarketError, match="harmonic"):
        market.probabilities(prices(), "harmonic")
    with pytest.raises(market.MarketError, match="harmonic"):
        market.probabilities(prices(), chosen={(2020, "sp"): "harmonic"})
    with pytest.raises(market.MarketError, match="race_starts"):
        market.devig(np.array([2.0, 2.0]), np.array([1]), "power")


def simulated_prices(exponent: float, races: int = 1500) -> pl.DataFrame:
    """Six-runner races whose prices are `p^(1/exponent)` in a book of its own, and their winners."""
    generator = np.random.default_rng(5)
    scores = np.exp(generator.normal(size=(races, 6)))
    true = scores / scores.sum(axis=1, keepdims=True)
    winner = (true.cumsum(axis=1) > generator.random((races, 1))).argmax(axis=1)
    day = np.datetime64("2020-01-01") + np.arange(races) // 8
    return pl.DataFrame(
        {
            "race_date": np.repeat(day, 6),
            "race_key": np.repeat(np.arange(races), 6),
            "runner_key": np.arange(races * 6),
            "price_kind": ["sp"] * (races * 6),
            "decimal_odds": (true ** (-1.0 / exponent)).ravel(),
            "win_share": (winner[:, None] == np.arange(6)).astype(float).ravel(),
        }
    ).cast({"race_date": pl.Date})


def test_the_method_that_made_the_prices_wins_the_comparison() -> None:
    frame = simulated_prices(1.3)
    joined = market.probabilities(frame).join(frame.select("runner_key", "win_share"), on="runner_key")
    table = market.compare_methods(joined, draws=400)
    rows = {row["method"]: row for row in table.iter_rows(named=True)}
    assert rows["power"]["races"] == 1500
    assert rows["multiplicative"]["delta_r2"] == 0.0
    assert rows["power"]["delta_r2"] > 0
    assert rows["power"]["delta_low"] > 0
    earlier = market.compare_methods(joined, before=dt.date(2020, 3, 1), draws=50)
    assert earlier["races"].unique().to_list() == [60 * 8]
    with pytest.raises(market.MarketError, match="no settled race"):
        market.compare_methods(joined, before=dt.date(2019, 1, 1))


def test_a_year_is_devigged_by_what_was_likeliest_before_it() -> None:
    # 2020 and 2021 are priced by two different laws; each later year follows the sum of the years before it.
    flat = simulated_prices(1.0, races=1200)
    bent = simulated_prices(1.4, races=1200).with_columns(
        pl.col("race_date").dt.offset_by("1y"), pl.col("race_key") + 5000, pl.col("runner_key") + 50_000
    )
    frame = pl.concat([flat, bent])
    joined = market.probabilities(frame).join(frame.select("runner_key", "win_share"), on="runner_key")
    losses = market.method_losses(joined)
    assert losses.height == 2 * len(market.METHODS)
    assert losses["races"].unique().to_list() == [1200]
    by_hand = losses.filter(pl.col("race_date") == dt.date(2020, 1, 1)).sort("loss")["method"][0]
    chosen = market.choose_methods(losses, [2020, 2021, 2022])
    assert (2020, "sp") not in chosen
    assert chosen[2021, "sp"] == by_hand
    both = losses.group_by("method").agg(pl.col("loss").sum()).sort("loss")
    assert chosen[2022, "sp"] == both["method"][0]
    # Results of a year and later ones have no say in it.
    scrambled = losses.with_columns(
        pl.when(pl.col("race_date").dt.year() >= 2021).then(-pl.col("loss")).otherwise(pl.col("loss")).alias("loss")
    )
    assert market.choose_methods(scrambled, [2021]) == {(2021, "sp"): by_hand}
    assert market.choose_methods(losses, [2021], min_races=1201) == {}
    table = market.probabilities(frame, chosen={(2021, "sp"): "shin"})
    early = table.filter(pl.col("race_date").dt.year() == 2020)
    late = table.filter(pl.col("race_date").dt.year() == 2021)
    assert set(early["method"]) == {market.FALLBACK_METHOD}
    assert early["probability"].to_list() == early["p_power"].to_list()
    assert set(late["method"]) == {"shin"}
    assert late["probability"].to_list() == late["p_shin"].to_list()


def test_partial_books_and_unsettled_races_have_no_say_in_the_method() -> None:
    results = pl.DataFrame({"runner_key": [11, 12, 21, 22, 23, 31, 32, 41, 42], "win_share": [1.0] + [0.0] * 8})
    losses = market.method_losses(market.probabilities(prices()).join(results, on="runner_key"))
    assert losses["races"].unique().to_list() == [1]
    multiplicative = losses.filter(method="multiplicative").row(0, named=True)
    assert multiplicative["loss"] == pytest.approx(-np.log(2 / 3))
    void = market.method_losses(
        market.probabilities(prices()).join(results.with_columns(win_share=pl.lit(0.0)), on="runner_key")
    )
    assert void["races"].sum() == 0
    assert void["r2"].null_count() == len(market.METHODS)
    assert market.choose_methods(void, [2021]) == {}
    assert market.method_losses(market.probabilities(prices().clear()).with_columns(win_share=pl.lit(0.0))).is_empty()
