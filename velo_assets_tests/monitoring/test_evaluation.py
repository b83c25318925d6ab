"""Post-race evaluation on two races worked by hand."""

from datetime import date

import polars as pl
import pytest

from velo_assets.monitoring.evaluation import evaluate_days, evaluate_races, module_verdicts

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


def test_modules_and_closing_line_of_a_race_worked_by_hand() -> None:
    told = predictions().with_columns(
        odds_taken=pl.Series([2.2, 5.0, 4.0, None, None, None, None], dtype=pl.Float64),
        closing_odds=pl.Series([2.0, 4.0, 4.0, 1.25, 20.0, 20.0, 10.0]),
        sqpe_above=pl.Series([True, True, False, False, True, True, False]),
        tie_above=pl.Series([False, True, False, None, None, None, None], dtype=pl.Boolean),
    )
    first, second = evaluate_races(told, results()).to_dicts()
    # Expectations at the odds taken: 1.32, 1.5, .4; the second was taken at 5 and closed at 4.
    assert first["closing_line_value"] == pytest.approx(0.25)
    assert second["closing_line_value"] is None
    assert (first["sqpe_right"], first["sqpe_right_expected"]) == (True, pytest.approx(0.75))
    assert (first["tie_right"], first["tie_right_expected"]) == (False, pytest.approx(0.25))
    # Both dead-heaters were above the market, which gave them .05 each.
    assert (second["sqpe_right"], second["sqpe_right_expected"]) == (True, pytest.approx(0.10))
    assert (second["tie_right"], second["nds_right"]) == (None, None)
    table = module_verdicts(evaluate_races(told, results()))
    sqpe = table.filter(module="sqpe").row(0, named=True)
    assert (sqpe["races"], sqpe["right"], sqpe["expected"]) == (2, 2, pytest.approx(0.85))
    assert sqpe["z"] == pytest.approx((2 - 0.85) / (0.75 * 0.25 + 0.1 * 0.9) ** 0.5)
    assert table["module"].to_list() == ["sqpe", "tie"]


def test_two_versions_of_one_race_are_judged_apart() -> None:
    both = pl.concat(
        predictions().with_columns(pl.lit("served").alias("source"), pl.lit(model).alias("model"))
        for model in ("velo 1", "velo 2")
    )
    races = evaluate_races(both, results())
    assert races.height == 4
    assert races.filter(model="velo 1").drop("model").equals(races.filter(model="velo 2").drop("model"))
    bets = pl.DataFrame(
        schema={"race_date": pl.Date, "strategy_id": pl.String, "stake": pl.Float64, "profit": pl.Float64}
    )
    assert evaluate_days(races, bets)["model"].to_list() == ["velo 1", "velo 2"]
