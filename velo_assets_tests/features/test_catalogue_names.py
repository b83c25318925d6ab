"""Modules and tags name features; the matrix has every one of them."""

from velo_assets.betting.error_map import TAGS
from velo_assets.modelling.disruption import HYPE_SIGNALS
from velo_assets.modelling.intent import INTENT_SIGNALS
from velo_assets.warehouse.sql_table import load_table

MADE_BY_THE_BACKTEST = {"market_probability", "steam_today"}


def test_every_feature_that_modules_and_tags_read_is_in_the_matrix() -> None:
    matrix = {column.name for column in load_table("features/runner_features").columns}
    read = {name for signal in (*INTENT_SIGNALS, *HYPE_SIGNALS) for name in signal.columns()}
    read |= {name for tag in TAGS for name in tag.needs} - MADE_BY_THE_BACKTEST
    assert read - matrix == set()
