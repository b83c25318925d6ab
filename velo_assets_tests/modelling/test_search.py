"""The search: repeatable, cached by data, never ahead of the cutoff, no worse than where it began."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from velo_assets.modelling.fundamental import FundamentalSettings
from velo_assets.modelling.guards import LookAheadError
from velo_assets.modelling.search import search_settings
from velo_assets.modelling.softmax import BoosterSettings
from velo_assets_tests.modelling.worlds import before, world

CUTOFF = date(2019, 1, 1)
BASE = FundamentalSettings(
    booster=BoosterSettings(rounds=15, learning_rate=0.05, num_leaves=4, min_data_in_leaf=50, early_stopping_rounds=4),
    seeds=(1,),
    min_races=100,
)
WORLD = world(500)


def test_search_is_cached_by_data_and_beats_a_timid_start(tmp_path: Path) -> None:
    cache = tmp_path / "search" / "settings.json"
    train = before(WORLD, date(2018, 12, 31))
    found = search_settings(train, ("x0", "x1"), CUTOFF, cache, base=BASE, trials=4)
    stored = json.loads(cache.read_text())
    assert len(stored) == 1
    assert found != BASE
    assert replace(found, booster=BASE.booster) == BASE
    before_second = cache.stat().st_mtime_ns
    assert search_settings(train, ("x0", "x1"), CUTOFF, cache, base=BASE, trials=4) == found
    assert cache.stat().st_mtime_ns == before_second
    search_settings(train.head(2000), ("x0", "x1"), CUTOFF, cache, base=BASE, trials=1)
    assert len(json.loads(cache.read_text())) == 2


def test_search_may_not_see_the_fold(tmp_path: Path) -> None:
    with pytest.raises(LookAheadError, match="search"):
        search_settings(WORLD, ("x0",), CUTOFF, tmp_path / "s.json", base=BASE)
