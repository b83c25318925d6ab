"""Post-race evaluation: what each race says about the predictions made for it.

Belongs here: per-race and per-day judgement of stored predictions against results. Does not belong here: settlement of
bets (betting), what follows from a bad stretch (triggers.py).
"""

from __future__ import annotations

import polars as pl

SURPRISE_BITS = 4.0
"""A winner the market gave less than one chance in sixteen is a surprise."""


def evaluate_races(predictions: pl.DataFrame, results: pl.DataFrame) -> pl.DataFrame:
    """Judge predictions race by race.

    Args:
        predictions: race_date, race_key, runner_key, fold, model_probability, market_probability (a row per runner;
            market_probability null where the book was partial).
        results: race_key, runner_key, win_share.

    Returns:
        A row per settled race: race_date, race_key, fold, runners, winner_model_probability and
        winner_market_probability (over dead-heaters the share-weighted geometric mean), log_loss_model,
        log_loss_market, gap_to_market (positive = worse than the market), surprise_bits, calibration_bucket (of the
        model's first choice, in tenths), top_pick_won, favourite_won, error_class. Races whose win shares do not sum
        to 1 are absent: an abandoned or void race says nothing.
    """
    race = ("race_date", "race_key", "fold")
    joined = predictions.join(results.select("race_key", "runner_key", "win_share"), on=["race_key", "runner_key"])
    best = pl.col("model_probability") == pl.col("model_probability").max()
    favourite = pl.col("market_probability") == pl.col("market_probability").max()
    won = pl.col("win_share") > 0
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
    )


def evaluate_days(races: pl.DataFrame, bets: pl.DataFrame) -> pl.DataFrame:
    """Sum the judgement of races up to racing days.

    Args:
        races: output of `evaluate_races`.
        bets: settled bets: race_date, strategy_id, stake, profit.

    Returns:
        A row per day: race_date, races, gap_to_market (mean), gap_se, favourites_won, top_picks_won, bets, staked,
        profit, roi (of all strategies, null without bets).
    """
    days = races.group_by("race_date").agg(
        pl.len().alias("races"),
        pl.col("gap_to_market").mean(),
        (pl.col("gap_to_market").std() / pl.len().sqrt()).alias("gap_se"),
        pl.col("favourite_won").sum().alias("favourites_won"),
        pl.col("top_pick_won").sum().alias("top_picks_won"),
    )
    money = bets.group_by("race_date").agg(
        pl.len().alias("bets"), pl.col("stake").sum().alias("staked"), pl.col("profit").sum()
    )
    return (
        days.join(money, on="race_date", how="left")
        .with_columns(
            roi=pl.when(pl.col("staked") > 0).then(pl.col("profit") / pl.col("staked")),
        )
        .sort("race_date")
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
