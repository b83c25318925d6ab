"""Post-race evaluation on two races worked by hand."""

from datetime import date

import polars as pl
import pytest

from velo_assets.monitoring.evaluation import evaluate_days, evaluate_races

DAY = date(2023, 5, 1)


def predictions() -> pl.DataFrame:
    rows = [
        # The favourite wins and the model was surer of it.
        (DAY, 1, 11, 2023, 0.60, 0.50),
        (DAY, 1, 12, 2023, 0.30, 0.25),
        (DAY, 1, 13, 2023, 0.10, 0.25),
        # A dead heat of two outsiders.
        (DAY, 2, 21, 2023, 0.70, 0.80),
        (DAY, 2, 22, 2023, 0.15, 0.05),
        (DAY, 2, 23, 2023, 0.15, 0.05),
        (DAY, 2, 24, 2023, 0.00001, 0.10),
    ]
    columns = ("race_date", "race_key", "runner_key", "fold", "model_probability", "market_probability")
    return pl.DataFrame(rows, schema=columns, orient="row")


def results() -> pl.DataFrame:
    rows = [(1, 11, 1.0), (1, 12, 0.0), (1, 13, 0.0), (2, 21, 0.0), (2, 22, 0.5), (2, 23, 0.5), (2, 24, 0.0)]
    return pl.DataFrame(rows, schema=("race_key", "runner_key", "win_share"), orient="row")


def test_a_favourite_that_wins() -> None:
    race = evaluate_races(predictions(), results()).row(0, named=True)
    # ln(.5) - ln(.6) = -.1823: the model was closer than the market.
    assert race["gap_to_market"] == pytest.approx(-0.18232, abs=1e-5)
    assert race["surprise_bits"] == pytest.approx(1.0)
    assert (race["top_pick_won"], race["favourite_won"], race["calibration_bucket"]) == (True, True, 6)
    assert race["error_class"] == "hit"


def test_a_dead_heat_of_outsiders_is_a_surprise() -> None:
    race = evaluate_races(predictions(), results()).row(1, named=True)
    assert race["winner_market_probability"] == pytest.approx(0.05)
    assert race["winner_model_probability"] == pytest.approx(0.15)
    # log2(20) = 4.32 bits.
    assert race["surprise_bits"] == pytest.approx(4.3219, abs=1e-4)
    assert race["error_class"] == "surprise seen better than the market"


def test_void_unpriced_and_unpredicted_races_say_nothing() -> None:
    void = results().with_columns(win_share=pl.when(pl.col("race_key") == 1).then(0.0).otherwise(pl.col("win_share")))
    assert evaluate_races(predictions(), void)["race_key"].to_list() == [2]
    partial = predictions().with_columns(
        market_probability=pl.when(pl.col("runner_key") == 24).then(None).otherwise(pl.col("market_probability"))
    )
    assert evaluate_races(partial, results())["race_key"].to_list() == [1]
    strangers = results().with_columns(race_key=pl.col("race_key") + 100)
    assert evaluate_races(predictions(), strangers).is_empty()


def test_days_sum_races_and_money() -> None:
    races = evaluate_races(predictions(), results())
    bets = pl.DataFrame(
        {"race_date": [DAY, DAY], "strategy_id": ["a", "b"], "stake": [1.0, 3.0], "profit": [2.0, -3.0]}
    )
    day = evaluate_days(races, bets).row(0, named=True)
    assert (day["races"], day["favourites_won"], day["bets"], day["staked"]) == (2, 1, 2, 4.0)
    assert day["roi"] == pytest.approx(-0.25)
    assert evaluate_days(races, bets.clear())["roi"].to_list() == [None]
