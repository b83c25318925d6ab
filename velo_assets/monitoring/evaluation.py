"""Post-race evaluation: what each race says about the predictions made for it.

Belongs here: per-race and per-day judgement of stored predictions against results. Does not belong here: settlement of
bets (betting), what follows from a bad stretch (triggers.py).
"""

from __future__ import annotations

import polars as pl

from velo_assets.modelling.disruption import MODULES

SURPRISE_BITS = 4.0
"""A winner the market gave less than one chance in sixteen is a surprise."""

_OF_WHAT = ("source", "model", "is_champion")
"""Columns that tell predictions of one race apart, where there are any: backtest or served, by which version."""


def evaluate_races(predictions: pl.DataFrame, results: pl.DataFrame) -> pl.DataFrame:
    """Judge predictions race by race.

    Args:
        predictions: race_date, race_key, runner_key, fold, model_probability, market_probability (a row per runner;
            market_probability null where the book was partial). May hold `source`, `model` and `is_champion`, which
            tell several predictions of one race apart; `odds_taken` (price known when predicting, null where that was
            the closing price or none) and `closing_odds`; and `sqpe_above`, `tie_above`, `nds_above`.
        results: race_key, runner_key, win_share.

    Returns:
        A row per settled race (and source, model): race_date, race_key, fold, runners, winner_model_probability and
        winner_market_probability (over dead-heaters the share-weighted geometric mean), log_loss_model,
        log_loss_market, gap_to_market (positive = worse than the market), surprise_bits, calibration_bucket (of the
        model's first choice, in tenths), top_pick_won, favourite_won, error_class; closing_line_value (odds taken over
        closing odds, less 1, of the runner with the best expectation at the odds taken; null without early prices);
        and per module `<module>_right` (it put the winner above the market) with `<module>_right_expected` (how likely
        that was if the market was right), both null where the module or the market was silent. Races whose win shares
        do not sum to 1 are absent: an abandoned or void race says nothing.
    """
    optional: dict[str, pl.DataType] = {"odds_taken": pl.Float64(), "closing_odds": pl.Float64()}
    optional |= {f"{module}_above": pl.Boolean() for module in MODULES}
    predictions = predictions.with_columns(
        pl.lit(None, dtype=kind).alias(name) for name, kind in optional.items() if name not in predictions.columns
    )
    race = (*(name for name in _OF_WHAT if name in predictions.columns), "race_date", "race_key", "fold")
    joined = predictions.join(results.select("race_key", "runner_key", "win_share"), on=["race_key", "runner_key"])
    best = pl.col("model_probability") == pl.col("model_probability").max()
    favourite = pl.col("market_probability") == pl.col("market_probability").max()
    won = pl.col("win_share") > 0
    taken = pl.col("odds_taken").is_not_null() & pl.col("closing_odds").is_not_null()
    expectation = pl.col("model_probability") * pl.col("odds_taken")
    verdicts = [verdict for module in MODULES for verdict in _verdicts(module)]
    judged = (
        joined.group_by(race, maintain_order=True)
        .agg(
            pl.len().alias("runners"),
            pl.col("win_share").sum().alias("settled"),
            pl.col("market_probability").null_count().alias("unpriced"),
            -(pl.col("win_share") * pl.col("model_probability").log()).filter(won).sum().alias("log_loss_model"),
            -(pl.col("win_share") * pl.col("market_probability").log()).filter(won).sum().alias("log_loss_market"),
            pl.col("model_probability").max().alias("top_pick_probability"),
            won.filter(best).any().alias("top_pick_won"),
            won.filter(favourite).any().alias("favourite_won"),
            (pl.col("odds_taken") / pl.col("closing_odds") - 1.0)
            .filter(taken)
            .sort_by(expectation.filter(taken))
            .last()
            .alias("closing_line_value"),
            *verdicts,
        )
        .filter(((pl.col("settled") - 1).abs() < 1e-9) & (pl.col("unpriced") == 0))
        .with_columns(
            (-pl.col("log_loss_model")).exp().alias("winner_model_probability"),
            (-pl.col("log_loss_market")).exp().alias("winner_market_probability"),
            (pl.col("log_loss_model") - pl.col("log_loss_market")).alias("gap_to_market"),
            (pl.col("log_loss_market") / pl.lit(2.0).log()).alias("surprise_bits"),
            (pl.col("top_pick_probability") * 10).floor().clip(0, 9).cast(pl.Int32).alias("calibration_bucket"),
        )
    )
    return judged.with_columns(error_class=_error_class()).select(
        *race,
        "runners",
        "winner_model_probability",
        "winner_market_probability",
        "log_loss_model",
        "log_loss_market",
        "gap_to_market",
        "surprise_bits",
        "calibration_bucket",
        "top_pick_won",
        "favourite_won",
        "error_class",
        "closing_line_value",
        *(f"{module}_{column}" for module in MODULES for column in ("right", "right_expected")),
    )


def evaluate_days(races: pl.DataFrame, bets: pl.DataFrame) -> pl.DataFrame:
    """Sum the judgement of races up to racing days.

    Args:
        races: output of `evaluate_races`.
        bets: settled bets: race_date, strategy_id, stake, profit.

    Returns:
        A row per day (and source, model): race_date, races, gap_to_market (mean), gap_se, favourites_won,
        top_picks_won, closing_line_value (mean), bets, staked, profit, roi (of all strategies, null without bets).
    """
    day = (*(name for name in _OF_WHAT if name in races.columns), "race_date")
    days = races.group_by(day).agg(
        pl.len().alias("races"),
        pl.col("gap_to_market").mean(),
        (pl.col("gap_to_market").std() / pl.len().sqrt()).alias("gap_se"),
        pl.col("favourite_won").sum().alias("favourites_won"),
        pl.col("top_pick_won").sum().alias("top_picks_won"),
        pl.col("closing_line_value").mean(),
    )
    money = bets.group_by("race_date").agg(
        pl.len().alias("bets"), pl.col("stake").sum().alias("staked"), pl.col("profit").sum()
    )
    return (
        days.join(money, on="race_date", how="left")
        .with_columns(
            roi=pl.when(pl.col("staked") > 0).then(pl.col("profit") / pl.col("staked")),
        )
        .sort(day)
    )


def module_verdicts(races: pl.DataFrame) -> pl.DataFrame:
    """How often each module put the winner above the market, beside how often it would by the market's own odds.

    Args:
        races: output of `evaluate_races`.

    Returns:
        A row per module that spoke (and source, model): `module, races, right, expected` (counts), `z` of the
        difference (null without spread).
    """
    keys = [name for name in _OF_WHAT if name in races.columns]
    parts = []
    for module in MODULES:
        right, chance = pl.col(f"{module}_right"), pl.col(f"{module}_right_expected")
        spoken = races.filter(right.is_not_null())
        totals = (
            pl.lit(module).alias("module"),
            pl.len().alias("races"),
            right.sum().alias("right"),
            chance.sum().alias("expected"),
            (chance * (1 - chance)).sum().sqrt().alias("spread"),
        )
        parts.append(spoken.group_by(keys).agg(totals) if keys else spoken.select(totals))
    table = pl.concat(parts).filter(pl.col("races") > 0).sort(*keys, "module")
    z = pl.when(pl.col("spread") > 0).then((pl.col("right") - pl.col("expected")) / pl.col("spread"))
    return table.with_columns(z.alias("z")).drop("spread")


def _verdicts(module: str) -> tuple[pl.Expr, pl.Expr]:
    """Whether the winner was above the market by a module, and the market's own probability of that; in a dead heat
    each winner counts by its share."""
    above = pl.col(f"{module}_above")
    silent = above.is_null().any()
    right = (above.cast(pl.Float64) * pl.col("win_share")).sum() >= 0.5
    expected = (above.cast(pl.Float64) * pl.col("market_probability")).sum()
    return (
        pl.when(~silent).then(right).alias(f"{module}_right"),
        pl.when(~silent).then(expected).alias(f"{module}_right_expected"),
    )


def _error_class() -> pl.Expr:
    surprising = pl.col("surprise_bits") >= SURPRISE_BITS
    better = pl.col("gap_to_market") < 0
    return (
        pl.when(pl.col("top_pick_won"))
        .then(pl.lit("hit"))
        .when(surprising & better)
        .then(pl.lit("surprise seen better than the market"))
        .when(surprising)
        .then(pl.lit("surprise"))
        .when(better)
        .then(pl.lit("near miss, better than the market"))
        .otherwise(pl.lit("miss, market closer"))
    )
