"""Why a runner is priced as it is: the waterfall of its score, on demand.

Belongs here: finding the runner and its race, and putting the explanation together. Does not belong here: what a
feature contributes (modelling.explain), the reasons stored with every prediction (predict, card_page).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb
import polars as pl

from velo_assets.modelling.explain import explain, waterfall_plot, waterfall_words
from velo_assets.serving.predict import ServingModel, card_frame


@dataclass(frozen=True)
class RunnerExplanation:
    """The waterfall of one runner.

    Attributes:
        runner_key: the runner.
        title: its name and race.
        words: families first, then the features that weigh most.
        picture: PNG bytes.
    """

    runner_key: int
    title: str
    words: str
    picture: bytes


def explain_runners(
    connection: duckdb.DuckDBPyConnection, model: ServingModel, day: date, horse: str
) -> list[RunnerExplanation]:
    """Explain the fundamental score of a day's runners of a name, each against the mean of its race.

    Args:
        connection: an open warehouse with features built for the day; read-only is enough.
        model: the version asked.
        day: race day, past or to come.
        horse: name or its beginning, in any case.

    Returns:
        One explanation per runner found.

    Raises:
        ValueError: nobody of that name runs on that day; names who does.
    """
    frame = card_frame(connection, [day], stages=("card", "result"))
    if frame.is_empty():
        raise ValueError(f"There is no race on {day} in the warehouse.")
    found = frame.filter(pl.col("horse").str.to_lowercase().str.starts_with(horse.lower()))
    if found.is_empty():
        runners = ", ".join(frame["horse"].sort().head(20).to_list())
        raise ValueError(f"No runner of {day} is called {horse!r}. Among those that run: {runners}.")
    explanations = []
    for runner in found.select("race_key", "runner_key", "horse", "race_label").iter_rows(named=True):
        race = frame.filter(race_key=runner["race_key"])
        explanation = explain(model.bundle.fundamental, race, model.bundle.families)
        key = runner["runner_key"]
        explanations.append(
            RunnerExplanation(
                key,
                f"{runner['horse']}, {runner['race_label']}",
                waterfall_words(explanation, key),
                waterfall_plot(explanation, key),
            )
        )
    return explanations
