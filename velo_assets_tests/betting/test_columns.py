"""Every column of the layer has words, and no words are left over."""

from __future__ import annotations

import polars as pl
import pytest

from velo_assets.betting import columns
from velo_assets.betting.compare import COMPARISON
from velo_assets.betting.error_map import TAG_COLUMNS, convergence_table, error_map, module_scores
from velo_assets.betting.ledger import LEDGER, place_bets
from velo_assets.betting.metrics import STRATEGY_TABLE, breakdown
from velo_assets.betting.predictions import NAME_COLUMNS, RACE_COLUMNS
from velo_assets.betting.strategies import Strategy
from velo_assets.warehouse.sql_table import Column, load_table
from velo_assets_tests.betting.frames import random_world

MODULES = random_world(20, seed=1).with_columns(
    [(pl.col("runner_key") % 7 / 10 - 0.3).alias(f"module_{name}") for name in ("sqpe", "tie", "nds")]
)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (columns.BETS, list(LEDGER)),
        (columns.STRATEGIES, list(STRATEGY_TABLE)),
        (columns.BREAKDOWNS, breakdown(place_bets(MODULES, [Strategy("a", "A", "market")]), "year", trials=1).columns),
        (columns.ERROR_MAP, error_map(MODULES).columns),
        (columns.CONVERGENCE, convergence_table(MODULES).columns),
        (columns.MODULE_SCORES, module_scores(MODULES).columns),
        (columns.COMPARISON, list(COMPARISON)),
    ],
)
def test_words_are_of_the_columns(words: tuple[Column, ...], names: list[str]) -> None:
    assert sorted(column.name for column in words) == sorted(names)
    for column in words:
        assert column.description not in ("", column.name, column.name.replace("_", " "))


def test_predictions_borrow_the_words_of_what_they_take() -> None:
    names = [
        "race_date",
        "probability_blend",
        *RACE_COLUMNS,
        *NAME_COLUMNS,
        *(set(TAG_COLUMNS) - {"market_probability"}),
    ]
    words = {column.name: column for column in columns.prediction_columns(names)}
    assert list(words) == names
    assert words["distance_furlongs"].unit == "furlongs"
    of_feature = {column.name: column for column in load_table("features/runner_features").columns}
    assert words["won_last"] == of_feature["won_last"]
    for name, sources in columns.PREDICTIONS_MADE_OF.items():
        for table, column in sources:
            if table.split("/")[0] in ("core", "features"):
                assert column in {known.name for known in load_table(table).columns}, (name, table, column)
