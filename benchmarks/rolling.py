"""Three feature families in Polars' rolling functions: the yardstick, and a second opinion, of the same values in SQL.

Belongs here: trainer velocity, the form block and the draw bias, worked out from core frames a second time. Does not
belong here: timing them (pipeline.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

LOOK_BACK = "730d"
TRAINER = (
    "trainer_sr_14d",
    "trainer_sr_30d",
    "trainer_sr_90d",
    "trainer_sr_career",
    "trainer_impact",
    "trainer_ae",
    "trainer_place_rate",
    "trainer_rivals_beaten_90d",
    "trainer_rivals_beaten",
)
FORM = (
    "form_ewma",
    "form_ewma_30d",
    "form_var",
    "form_best",
    "form_runs",
    "form_wins",
    "lengths_ewma",
    "lengths_best",
    "rpr_best",
    "ts_best",
)
DRAW = ("draw_iv", "draw_bias", "draw_stall_effect")

CORE_QUERIES = {
    "entries": "select race_date, race_key, runner_key, horse_key, trainer_key, stall from core.entries",
    "races": "select race_key, code, going_group, field_size, distance_furlongs, "
    "hash(country, course, surface, round(distance_furlongs)) as trip from core.races",
    "results": "select runner_key, won, position, beaten_lengths, racing_post_rating, top_speed, true as ran "
    "from core.results",
    "prices": "select runner_key, 1 / decimal_odds / book_percent as market_probability from core.prices "
    "where price_kind = 'sp' and book_complete",
}
"""What the families are made of."""

SHRINKAGE_QUERY = """
    select
        race_date as year,
        max(strength_runs) filter (where entity = 'trainer') as career_runs,
        max(strength_runs) filter (where entity = 'trainer in a month') as month_runs,
        max(strength_expected_wins) filter (where entity = 'trainer') as career_wins,
        max(strength_expected_wins) filter (where entity = 'stall') as stall
    from features.shrinkage
    group by race_date
"""


def joined(core: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per runner, from the frames of CORE_QUERIES."""
    return (
        core["entries"]
        .lazy()
        .join(core["races"].lazy(), on="race_key")
        .join(core["results"].lazy(), on="runner_key", how="left")
        .join(core["prices"].lazy(), on="runner_key", how="left")
        .with_columns(pl.col("ran").fill_null(False))
        .collect()
    )


def trainer_velocity(runs: pl.DataFrame, shrinkage: pl.DataFrame) -> pl.DataFrame:
    """Strike rates of 14 to 730 days and what else the trainer's table makes of sums: `runner_key` and TRAINER.

    Args:
        runs: rows of `joined`.
        shrinkage: rows of SHRINKAGE_QUERY.
    """
    by_day = (
        runs.lazy()
        .filter(pl.col("trainer_key").is_not_null())
        .group_by("trainer_key", "race_date")
        .agg(
            pl.col("ran").sum().cast(pl.Float64).alias("runs"),
            pl.col("won").sum().cast(pl.Float64).alias("wins"),
            ((pl.col("position") <= 3) & pl.col("ran")).sum().cast(pl.Float64).alias("places"),
            pl.when("ran").then(1.0 / pl.col("field_size")).sum().alias("expected"),
            pl.when(pl.col("market_probability").is_not_null()).then("won").sum().cast(pl.Float64).alias("priced_wins"),
            pl.when("ran").then("market_probability").sum().alias("market_wins"),
            _rivals_beaten().sum().alias("rivals_beaten"),
        )
        .sort("trainer_key", "race_date")
    )
    everyone = (
        by_day.group_by("race_date")
        .agg(pl.col("runs").sum(), pl.col("wins").sum())
        .sort("race_date")
        .select("race_date", _ratio(_sum("wins"), _sum("runs")).alias("strike_rate"))
    )
    windows = by_day.select(
        "trainer_key",
        "race_date",
        *(
            _sum(name, f"{n}d").over("trainer_key").alias(f"{name}_{n}")
            for n in (14, 30, 90)
            for name in ("runs", "wins")
        ),
        _sum("rivals_beaten", "90d").over("trainer_key").alias("rivals_beaten_90"),
        *(
            _sum(name).over("trainer_key")
            for name in ("runs", "wins", "places", "expected", "priced_wins", "market_wins", "rivals_beaten")
        ),
    )
    month, strength = pl.col("month_runs").fill_null(300.0), pl.col("career_wins").fill_null(5.0)
    career = pl.col("career_runs").fill_null(30.0)
    rates = (
        windows.join(everyone, on="race_date")
        .with_columns(pl.col("race_date").dt.truncate("1y").alias("year"))
        .join(shrinkage.lazy(), on="year", how="left")
        .with_columns(((pl.col("wins") + career * pl.col("strike_rate")) / (pl.col("runs") + career)).alias("rate"))
        .select(
            "trainer_key",
            "race_date",
            *(
                ((pl.col(f"wins_{n}") + month * pl.col("rate")) / (pl.col(f"runs_{n}") + month)).alias(
                    f"trainer_sr_{n}d"
                )
                for n in (14, 30, 90)
            ),
            pl.col("rate").alias("trainer_sr_career"),
            ((pl.col("wins") + strength) / (pl.col("expected") + strength)).alias("trainer_impact"),
            ((pl.col("priced_wins") + strength) / (pl.col("market_wins") + strength)).alias("trainer_ae"),
            _ratio(pl.col("places"), pl.col("runs")).alias("trainer_place_rate"),
            _ratio(pl.col("rivals_beaten_90"), pl.col("runs_90")).alias("trainer_rivals_beaten_90d"),
            _ratio(pl.col("rivals_beaten"), pl.col("runs")).alias("trainer_rivals_beaten"),
        )
    )
    keys = runs.lazy().select("runner_key", "trainer_key", "race_date")
    return keys.join(rates, on=["trainer_key", "race_date"], how="left").select("runner_key", *TRAINER).collect()


def form_block(runs: pl.DataFrame) -> pl.DataFrame:
    """Time-weighted form, its variance and bests over the horse's earlier days: `runner_key` and FORM."""
    margins = (
        runs.lazy()
        .filter((pl.col("position") > 1) & pl.col("beaten_lengths").is_not_null())
        .group_by("race_key")
        .agg(pl.col("beaten_lengths").min().alias("margin"))
    )
    trip = (8.0 / pl.col("distance_furlongs")).sqrt()
    lengths = (
        pl.when(pl.col("won") == 1)
        .then(-pl.col("margin").clip(upper_bound=10.0) * trip)
        .when(pl.col("beaten_lengths").is_not_null())
        .then(pl.col("beaten_lengths").clip(upper_bound=20.0) * trip)
    )
    day = (pl.col("race_date") - pl.date(2015, 1, 1)).dt.total_days().cast(pl.Float64)
    days = (
        runs.lazy()
        .join(margins, on="race_key", how="left")
        .with_columns(
            pl.when(pl.col("field_size") >= 2).then(_rivals_beaten()).alias("rivals_beaten"),
            lengths.alias("lengths"),
        )
        .group_by("horse_key", "race_date")
        .agg(
            pl.col("ran").any(),
            pl.col("won").max().cast(pl.Float64),
            pl.col("rivals_beaten").mean(),
            pl.col("lengths").mean(),
            pl.col("racing_post_rating").max(),
            pl.col("top_speed").max(),
        )
        .sort("horse_key", "race_date")
        .with_columns(
            pl.when(pl.col("rivals_beaten").is_not_null()).then(2.0 ** (day / 30)).alias("weight_30"),
            pl.when(pl.col("rivals_beaten").is_not_null()).then(2.0 ** (day / 90)).alias("weight_90"),
        )
        .with_columns(
            (pl.col("rivals_beaten") * pl.col("weight_30")).alias("form_30"),
            (pl.col("rivals_beaten") * pl.col("weight_90")).alias("form_90"),
            (pl.col("lengths") * pl.col("weight_90")).alias("lengths_90"),
            pl.when(pl.col("lengths").is_not_null()).then("weight_90").alias("lengths_weight"),
            pl.col("ran").cast(pl.Float64),
        )
    )
    year: dict[str, Any] = {"by": "race_date", "window_size": "365d", "closed": "left"}
    windows = days.select(
        "horse_key",
        "race_date",
        _mean("form_90", "weight_90").over("horse_key").alias("form_ewma"),
        _mean("form_30", "weight_30").over("horse_key").alias("form_ewma_30d"),
        pl.col("rivals_beaten").rolling_var_by(**year).over("horse_key").alias("form_var"),
        pl.col("rivals_beaten").rolling_max_by(**year).over("horse_key").alias("form_best"),
        _sum("ran").over("horse_key").alias("form_runs"),
        pl.when(_sum("ran") > 0).then(_sum("won")).over("horse_key").alias("form_wins"),
        _mean("lengths_90", "lengths_weight").over("horse_key").alias("lengths_ewma"),
        pl.col("lengths").rolling_min_by(**year).over("horse_key").alias("lengths_best"),
        pl.col("racing_post_rating").rolling_max_by(**year).over("horse_key").alias("rpr_best"),
        pl.col("top_speed").rolling_max_by(**year).over("horse_key").alias("ts_best"),
    )
    keys = runs.lazy().select("runner_key", "horse_key", "race_date")
    return keys.join(windows, on=["horse_key", "race_date"], how="left").select("runner_key", *FORM).collect()


def draw_bias(runs: pl.DataFrame, shrinkage: pl.DataFrame) -> pl.DataFrame:
    """What a stall is worth at course, distance and going, before the day: `runner_key` and DRAW."""
    stalled = pl.col("stall").is_not_null() & pl.col("code").is_in(["flat", "all-weather"]) & (pl.col("field_size") > 1)
    place = pl.min_horizontal("stall", "field_size") - 1
    frame = runs.lazy().with_columns(
        pl.when(stalled).then(place / (pl.col("field_size") - 1)).alias("share"),
        pl.when(stalled)
        .then((5.0 * place / pl.col("field_size")).floor().cast(pl.Int32).clip(upper_bound=4))
        .alias("fifth"),
        pl.when(stalled).then("stall").alias("stall_number"),
        pl.when(pl.col("field_size") >= 2).then(_rivals_beaten()).alias("rivals_beaten"),
        pl.when(pl.col("won").is_not_null()).then(1.0 / pl.col("field_size")).alias("expected"),
        pl.col("going_group").fill_null(""),
    )
    fifths = frame.filter(pl.col("fifth").is_not_null())
    by_going = _cells(fifths, ["trip", "going_group", "fifth"], "going")
    by_trip = _cells(fifths, ["trip", "fifth"], "trip")
    slope = (
        fifths.filter(pl.col("rivals_beaten").is_not_null())
        .group_by("trip", "race_date")
        .agg(
            ((pl.col("share") - 0.5) * (pl.col("rivals_beaten") - 0.5)).sum().alias("crossed"),
            ((pl.col("share") - 0.5) ** 2).sum().alias("squared"),
        )
    )
    slopes = (
        fifths.select("trip", "race_date")
        .unique()
        .join(slope, on=["trip", "race_date"], how="left")
        .sort("trip", "race_date")
        .select(
            "trip",
            "race_date",
            (_sum("crossed").over("trip") / (_sum("squared").over("trip") + 50.0 / 12)).alias("slope"),
        )
    )
    numbers = (
        fifths.group_by("trip", "stall_number", "race_date")
        .agg(
            pl.col("rivals_beaten").count().cast(pl.Float64).alias("runs"),
            (pl.col("rivals_beaten") - 0.5).sum().alias("beaten"),
        )
        .sort("trip", "stall_number", "race_date")
        .select(
            "trip",
            "stall_number",
            "race_date",
            (_sum("beaten").over("trip", "stall_number") / (_sum("runs").over("trip", "stall_number") + 100.0)).alias(
                "draw_stall_effect"
            ),
        )
    )
    strength = pl.col("stall_strength").fill_null(20.0)
    prior = (pl.col("wins_trip") + strength) / (pl.col("expected_trip") + strength)
    return (
        frame.select("runner_key", "race_date", "trip", "going_group", "fifth", "stall_number", "share")
        .with_columns(pl.col("race_date").dt.truncate("1y").alias("year"))
        .join(shrinkage.lazy().select("year", pl.col("stall").alias("stall_strength")), on="year", how="left")
        .join(by_going, on=["trip", "going_group", "fifth", "race_date"], how="left")
        .join(by_trip, on=["trip", "fifth", "race_date"], how="left")
        .join(slopes, on=["trip", "race_date"], how="left")
        .join(numbers, on=["trip", "stall_number", "race_date"], how="left")
        .select(
            "runner_key",
            ((pl.col("wins_going") + strength * prior) / (pl.col("expected_going") + strength)).alias("draw_iv"),
            ((pl.col("share") - 0.5) * pl.col("slope")).alias("draw_bias"),
            "draw_stall_effect",
        )
        .collect()
    )


def _cells(fifths: pl.LazyFrame, cell: list[str], suffix: str) -> pl.LazyFrame:
    days = fifths.group_by(*cell, "race_date").agg(
        pl.col("won").sum().cast(pl.Float64).alias("wins"), pl.col("expected").sum()
    )
    return days.sort(*cell, "race_date").select(
        *cell,
        "race_date",
        _sum("wins").over(*cell).alias(f"wins_{suffix}"),
        _sum("expected").over(*cell).alias(f"expected_{suffix}"),
    )


def _sum(name: str, look_back: str = LOOK_BACK) -> pl.Expr:
    """Sum over the look-back, the day itself left out; 0 where it is empty."""
    return pl.col(name).fill_null(0.0).rolling_sum_by("race_date", look_back, closed="left").fill_null(0.0)


def _mean(weighted: str, weight: str) -> pl.Expr:
    """Weighted mean over the look-back; counted, because weights that roll out of a window leave rounding behind."""
    known = pl.col(weight).is_not_null().cast(pl.Float64).rolling_sum_by("race_date", LOOK_BACK, closed="left")
    return pl.when(known > 0.5).then(_sum(weighted) / _sum(weight))


def _ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part / whole)


def _rivals_beaten() -> pl.Expr:
    """Share of rivals beaten; 0 for a non-finisher, null for a runner without a result or without rivals."""
    size = pl.col("field_size")
    beaten = (size - pl.min_horizontal("position", "field_size")) / (size - 1)
    return (
        pl.when(~pl.col("ran") | (size < 2)).then(None).when(pl.col("position").is_null()).then(0.0).otherwise(beaten)
    )
