"""Alarms in simulated worlds: how often they fire when nothing has changed, and how soon when something has.

Each world is raced for seven years by the simulator. A small price-free conditional logit over a dozen point-in-time
features learns from the first three, predicts the next two out of sample (blend and quiet times of the CUSUM come from
these), and serves the last two. The monitors are the product's own: `triggers.watch`, `drift.drift_table`,
`triggers.read_drift`. The features are worked out here in seconds, because forty warehouses would take hours.

    nice python benchmarks/alarm_study.py --quiet 20 --planted 3 --out /tmp/alarm_study.json

A world takes about 7 s of one core.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from velo_assets.modelling.blend import fit_blend
from velo_assets.modelling.conditional_logit import LinearLogit
from velo_assets.modelling.market import devig
from velo_assets.modelling.races import KEYS, Races, between, feature_matrix, priced_frame, settled_frame, sort_runners
from velo_assets.monitoring.drift import drift_table
from velo_assets.monitoring.triggers import (
    FALSE_ALARMS_PER_YEAR,
    RACES_PER_YEAR,
    DayGaps,
    beyond_usual,
    read_drift,
    same_season,
    watch,
)
from velo_assets.simulation.season import RegimeChange
from velo_assets.simulation.world import simulate_years

FIRST_YEAR, SCORED, SERVED, LAST_YEAR = 2015, date(2018, 1, 1), date(2020, 1, 1), 2021
WORLD_RACES_PER_YEAR = 2_000
EDGE = 1.0
DRIFT_EVERY_DAYS = 60

FEATURES = (
    "form_last", "form_mean", "layoff", "long_layoff", "rating", "rating_vs_field", "rating_change", "weight_vs_field",
    "trainer_rate", "jockey_rate", "draw_bias", "age_vs_field",
)  # fmt: skip

# The draw and the layoffs can only be missed by a model that was paid for knowing them: the market ignores them there.
PLANTED: dict[str, dict[str, Any]] = {
    "favourite-longshot bias flips": {"regime": RegimeChange(flip_longshot_bias_from=SERVED)},
    "a feature breaks (draw bias turns, layoffs stop to hurt)": {
        "regime": RegimeChange(break_feature_from=SERVED),
        "edge": 4.0,
    },
    "the rating goes missing": {"drop_column_from": ("or", SERVED)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quiet", type=int, default=20)
    parser.add_argument("--planted", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    told = []
    for seed in range(arguments.quiet):
        told.append({"world": "quiet", "seed": 100 + seed, **watch_world(100 + seed)})
        print(json.dumps(told[-1]), flush=True)
    for name, change in PLANTED.items():
        for seed in range(arguments.planted):
            told.append({"world": name, "seed": 500 + seed, **watch_world(500 + seed, **change)})
            print(json.dumps(told[-1]), flush=True)
    arguments.out.write_text(json.dumps(told, indent=1))
    print(summary(told))


def watch_world(seed: int, **change: Any) -> dict[str, Any]:
    """Race a world, train, serve and watch it.

    Returns:
        Races watched, and the races until each alarm: CUSUM by channel, drift; None where it stayed quiet.
    """
    years = simulate_years(
        **{"first_year": FIRST_YEAR, "last_year": LAST_YEAR, "races_per_year": WORLD_RACES_PER_YEAR, "edge": EDGE}
        | {"seed": seed, **change}
    )
    frame = features_of(pl.concat([year.results for year in years]))
    early = settled_frame(between(frame, date(FIRST_YEAR, 7, 1), SCORED))
    races = Races.from_frame(early)
    model = LinearLogit.fit(feature_matrix(early, FEATURES), races, FEATURES, ridge=10.0)
    past, served = between(frame, SCORED, SERVED), between(frame, SERVED, None)
    past, served = (scored(model, priced_frame(settled_frame(part))) for part in (past, served))
    blend = fit_blend(past.filter(pl.col("race_date") < SERVED - timedelta(days=1)), SERVED)
    weights = np.asarray([blend.alpha, blend.beta])
    readings = watch(gaps(past, weights), gaps(served, weights), seed=seed)
    return {
        "races": int(Races.from_frame(served).race_key.size),
        "alpha": round(blend.alpha, 3),
        **{f"cusum {channel}": reading.races_to_alarm for channel, reading in readings.items()},
        **{
            f"shift {channel}": shift_sd(reading.rule.mean, reading.rule.sd, gaps(served, weights)[channel])
            for channel, reading in readings.items()
        },
        "drift": drift_alarm(between(frame, date(FIRST_YEAR, 7, 1), SERVED), between(frame, SERVED, None)),
    }


def shift_sd(mean: float, sd: float, watched: DayGaps) -> float:
    """How much worse a race was while serving, in standard deviations."""
    return round((float(watched.gap.sum()) / watched.total_races - mean) / sd, 3)


def scored(model: LinearLogit, rows: pl.DataFrame) -> pl.DataFrame:
    races = Races.from_frame(rows)
    probability = races.softmax(model.score(feature_matrix(rows, FEATURES), races))
    return rows.with_columns(pl.Series("score", np.log(probability)))


def gaps(rows: pl.DataFrame, weights: np.ndarray) -> dict[str, DayGaps]:
    races = Races.from_frame(rows)
    score, log_market = rows["score"].to_numpy(), rows["market_probability"].log().to_numpy()
    market = races.loss(np.exp(log_market))
    own = {"recipe": races.softmax(weights[0] * score + weights[1] * log_market), "fundamental": np.exp(score)}
    return {name: DayGaps.from_races(races.race_date, races.loss(p) - market) for name, p in own.items()}


def drift_alarm(reference: pl.DataFrame, served: pl.DataFrame) -> int | None:
    """Races until a drift report, made every two months on the year so far, is a cause."""
    day = SERVED
    while day < served["race_date"].max():  # type: ignore[operator]
        day += timedelta(days=DRIFT_EVERY_DAYS)
        start, end = max(SERVED, day - timedelta(days=365)), day - timedelta(days=1)
        current = between(served, start, day)
        table = drift_table(same_season(reference, start, end), current, {"all": FEATURES})
        if read_drift(beyond_usual(table, reference, start, end)).alarm:
            return between(served, None, day)["race_key"].n_unique()
    return None


def features_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Outcome, market and point-in-time features of raw results: everything is known before the day of the race."""
    frame = rows.select(
        pl.col("date").str.to_date().alias("race_date"),
        pl.concat_str("date", "course", "off", separator="|").hash(7).reinterpret(signed=True).alias("race_key"),
        pl.concat_str("date", "course", "off", "horse", separator="|")
        .hash(7)
        .reinterpret(signed=True)
        .alias("runner_key"),
        "horse", "trainer", "jockey", "course",
        pl.col("pos").cast(pl.Int32, strict=False).alias("position"),
        pl.col("draw").cast(pl.Float64, strict=False).alias("stall"),
        pl.col("or").cast(pl.Float64, strict=False).alias("rating"),
        pl.col("age").cast(pl.Float64, strict=False).alias("age"),
        (14.0 * whole("wgt", r"^(\d+)-") + whole("wgt", r"-(\d+)$")).alias("weight_lb"),
        odds(pl.col("sp")).alias("decimal_odds"),
    )  # fmt: skip
    frame = sort_runners(frame)
    won = (pl.col("position") == 1).fill_null(False)
    size = pl.len().over("race_key")
    frame = frame.with_columns(
        (won.cast(pl.Float64) / won.sum().over("race_key")).fill_nan(0.0).alias("win_share"),
        ((size - pl.col("position")) / (size - 1)).fill_null(0.0).alias("beaten"),
    )  # fmt: skip
    races = Races.from_frame(frame)
    market = devig(frame["decimal_odds"].fill_null(float("nan")).to_numpy(), races.race_starts)
    frame = frame.with_columns(pl.Series("market_probability", market).fill_nan(None))
    third = ((pl.col("stall") - 1) / (size - 1) * 2.999).floor()
    frame = frame.with_columns(
        pl.concat_str("course", third.cast(pl.Int32).cast(pl.String), separator="|").alias("spot")
    )
    for key, name, prior in (
        ("trainer", "trainer_rate", 50),
        ("jockey", "jockey_rate", 50),
        ("spot", "draw_bias", 100),
    ):
        frame = frame.join(rate_before(frame, key, prior).rename({"rate": name}), on=[key, "race_date"], how="left")
    runs = frame.sort("race_date").with_columns(
        pl.col("beaten").shift(1).over("horse").alias("form_last"),
        pl.col("beaten").shift(1).rolling_mean(5, min_samples=1).over("horse").alias("form_mean"),
        (pl.col("rating") - pl.col("rating").shift(1).over("horse")).alias("rating_change"),
        (pl.col("race_date") - pl.col("race_date").shift(1).over("horse")).dt.total_days().alias("days"),
    )
    return sort_runners(
        runs.with_columns(
            pl.col("days").clip(1, 400).log().alias("layoff"),
            (pl.col("days") > 90).cast(pl.Float64).alias("long_layoff"),
            *(
                (pl.col(name) - pl.col(name).mean().over("race_key")).alias(f"{short}_vs_field")
                for name, short in (("rating", "rating"), ("weight_lb", "weight"), ("age", "age"))
            ),
        ).select(*KEYS, "win_share", "decimal_odds", "market_probability", *FEATURES)
    )


def rate_before(frame: pl.DataFrame, key: str, prior: int) -> pl.DataFrame:
    """Share of rivals beaten by a connection or from a spot in the year before each day, shrunk to a half."""
    days = frame.filter(pl.col(key).is_not_null()).group_by(key, "race_date").agg(
        pl.col("beaten").sum().alias("sum"), pl.len().cast(pl.Float64).alias("n")
    ).sort("race_date")  # fmt: skip

    def over_the_year(column: str) -> pl.Expr:
        year = pl.col(column).rolling_sum_by("race_date", window_size="365d", closed="left")
        return year.over(key).fill_null(0)

    return days.select(
        key,
        "race_date",
        ((over_the_year("sum") + 0.5 * prior) / (over_the_year("n") + prior)).alias("rate"),
    )


def whole(column: str, pattern: str) -> pl.Expr:
    return pl.col(column).str.extract(pattern).cast(pl.Float64)


def odds(text: pl.Expr) -> pl.Expr:
    bare = text.str.replace(r"[FJC]+$", "")
    fraction = bare.str.extract(r"^(\d+)/").cast(pl.Float64) / bare.str.extract(r"/(\d+)$").cast(pl.Float64)
    return pl.when(bare.str.to_lowercase().is_in(["evs", "evens", "even"])).then(2.0).otherwise(fraction + 1.0)


def summary(told: list[dict[str, Any]]) -> str:
    """The table of docs/loop.md."""
    channels = ("cusum recipe", "cusum fundamental", "drift")
    lines = [
        "| world | worlds | races watched | " + " | ".join(channels) + " |",
        "|---|---:|---:|" + "---|" * len(channels),
    ]
    for name in dict.fromkeys(row["world"] for row in told):
        rows = [row for row in told if row["world"] == name]
        cells = []
        for channel in channels:
            fired = sorted(row[channel] for row in rows if row[channel] is not None)
            median = f", median after {fired[len(fired) // 2]:,} races" if fired else ""
            cells.append(f"{len(fired)} of {len(rows)}{median}")
        lines.append(f"| {name} | {len(rows)} | {sum(row['races'] for row in rows):,} | " + " | ".join(cells) + " |")
    quiet = [row for row in told if row["world"] == "quiet"]
    if quiet:
        races = sum(row["races"] for row in quiet)
        alarms = sum(row[channel] is not None for row in quiet for channel in channels)
        worlds = sum(any(row[channel] is not None for channel in channels) for row in quiet)
        lines += [
            "",
            (
                f"Quiet worlds with an alarm: {worlds} of {len(quiet)}; alarms per {RACES_PER_YEAR:,} quiet races: "
                f"{alarms / races * RACES_PER_YEAR:.2f} (threshold set for {FALSE_ALARMS_PER_YEAR}, promised 1); "
                f"processor seconds: {time.process_time():.0f}"
            ),
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
