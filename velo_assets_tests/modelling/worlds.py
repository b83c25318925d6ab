"""Small worlds of races drawn from a known conditional logit, shared by the tests of the models."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl


def world(
    races: int = 1500,
    *,
    weights: tuple[float, ...] = (0.8, -0.5, 0.0),
    market_noise: float = 0.3,
    seed: int = 1,
    first_day: date = date(2016, 1, 1),
    days: int = 1460,
    exponent: float = 1.0,
) -> pl.DataFrame:
    """Races whose winners and places follow exp(sum_k weights_k x_k); the market sees the truth, noisily.

    Columns: keys, x0.., win_share, position, market_probability, decimal_odds, trainer_key, truth.
    """
    generator = np.random.default_rng(seed)
    sizes = generator.integers(6, 13, races)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    runners = int(sizes.sum())
    race = np.repeat(np.arange(races), sizes)
    x = generator.normal(size=(runners, len(weights)))
    score = x @ np.asarray(weights)
    probability = softmax(score, starts, sizes)
    market = softmax((score + generator.normal(0, market_noise, runners)) / exponent, starts, sizes)
    finish = -(score + generator.gumbel(size=runners))
    order = np.lexsort((finish, race))
    position = np.empty(runners, dtype=np.int64)
    position[order] = np.arange(runners) - np.repeat(starts, sizes) + 1
    day = np.sort(generator.integers(0, days, races))
    return pl.DataFrame(
        {
            "race_date": [first_day + timedelta(days=int(d)) for d in np.repeat(day, sizes)],
            "race_key": race + 1000,
            "runner_key": np.arange(runners),
            **{f"x{k}": x[:, k] for k in range(len(weights))},
            "win_share": (position == 1).astype(float),
            "position": position,
            "market_probability": market,
            "decimal_odds": np.maximum(0.85 / market, 1.01),
            "trainer_key": generator.integers(0, 20, runners),
            "truth": probability,
        }
    )


def softmax(score: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    weight = np.exp(score - np.repeat(np.maximum.reduceat(score, starts), sizes))
    return weight / np.repeat(np.add.reduceat(weight, starts), sizes)


def before(frame: pl.DataFrame, day: date) -> pl.DataFrame:
    return frame.filter(pl.col("race_date") < day)


def after(frame: pl.DataFrame, day: date) -> pl.DataFrame:
    return frame.filter(pl.col("race_date") >= day)
