"""Tiny wide frames for the betting tests."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl


def wide(
    odds: list[list[float | None]],
    winners: list[int | None],
    probability: list[list[float]] | None = None,
    dates: list[date] | None = None,
    folds: list[int] | None = None,
) -> pl.DataFrame:
    """One race per list of odds; `winners` are positions in the list, None for a race without a winner."""
    races = len(odds)
    days = dates or [date(2024, 5, 1) + timedelta(days=race) for race in range(races)]
    rows = []
    for race in range(races):
        implied = [0.0 if price is None else 1.0 / price for price in odds[race]]
        for runner, price in enumerate(odds[race]):
            market = implied[runner] / sum(implied)
            won = winners[race] == runner
            rows.append(
                {
                    "race_date": days[race],
                    "race_key": race + 1,
                    "runner_key": 100 * (race + 1) + runner,
                    "fold": folds[race] if folds else days[race].year,
                    "decision_price": price,
                    "closing_price": price,
                    "price_kind": "sp",
                    "market_probability": market,
                    "probability_market": market,
                    "probability_blend": probability[race][runner] if probability else market,
                    "race_label": f"race {race + 1}",
                    "course": "Ascot",
                    "code": "flat",
                    "race_class": 3,
                    "field_size": len(odds[race]),
                    "is_handicap": False,
                    "horse": f"Horse {race + 1}.{runner}",
                    "settles": winners[race] is not None,
                    "unsettled_reason": None if winners[race] is not None else "race has no winner",
                    "weighed_in_position": 1 if won else runner + 2,
                    "win_share": 1.0 if won else 0.0,
                    "tied_runners": 1,
                    "winners": 0 if winners[race] is None else 1,
                    "race_known": True,
                }
            )
    return pl.DataFrame(
        rows,
        schema_overrides={
            "fold": pl.Int32,
            "race_class": pl.Int32,
            "field_size": pl.Int32,
            "decision_price": pl.Float64,
            "unsettled_reason": pl.String,
        },
    )


def random_world(races: int, seed: int, runners: int = 8, take_out: float = 1.15, edge: float = 0.0) -> pl.DataFrame:
    """Races whose winners follow known probabilities: the blend knows them, the market but for `edge` of noise."""
    generator = np.random.default_rng(seed)
    score = generator.normal(0.0, 1.0, (races, runners))
    truth = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    blurred = np.exp(score + edge * generator.normal(0.0, 1.0, (races, runners)))
    market = (blurred / blurred.sum(axis=1, keepdims=True)).ravel()
    winner = (truth.cumsum(axis=1) > generator.random((races, 1))).argmax(axis=1)
    won = np.zeros((races, runners))
    won[np.arange(races), winner] = 1.0
    odds = np.maximum(1.0 / (market * take_out), 1.02)
    race = np.repeat(np.arange(races), runners)
    days = np.datetime64("2020-01-01") + race // 6
    position = np.where(won.ravel() > 0, 1, np.tile(np.arange(2, runners + 2), races))
    return pl.DataFrame(
        {
            "race_date": days,
            "race_key": race + 1,
            "runner_key": 100 * (race + 1) + np.tile(np.arange(runners), races),
            "fold": (days.astype("datetime64[Y]").astype(np.int64) + 1970).astype(np.int32),
            "decision_price": odds,
            "closing_price": odds,
            "market_probability": market,
            "probability_market": market,
            "probability_blend": truth.ravel(),
            "weighed_in_position": position,
            "win_share": won.ravel(),
        }
    ).with_columns(
        price_kind=pl.lit("sp"),
        race_label=pl.concat_str(pl.lit("race "), "race_key"),
        course=pl.lit("Ascot"),
        code=pl.lit("flat"),
        race_class=pl.lit(3, pl.Int32),
        field_size=pl.lit(runners, pl.Int32),
        is_handicap=pl.lit(False),
        horse=pl.concat_str(pl.lit("Horse "), "runner_key"),
        settles=pl.lit(True),
        unsettled_reason=pl.lit(None, pl.String),
        tied_runners=pl.lit(1),
        winners=pl.lit(1),
        race_known=pl.lit(True),
    )
