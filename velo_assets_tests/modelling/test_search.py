"""The search: repeatable, never ahead of the cutoff, no worse than where it began; folds take what it found."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import date

import pytest

from velo_assets.modelling import fundamental
from velo_assets.modelling.fundamental import FundamentalSettings
from velo_assets.modelling.guards import LookAheadError
from velo_assets.modelling.search import RANGES, search_settings, settings_in_use
from velo_assets.modelling.softmax import BoosterSettings
from velo_assets.modelling.yearly import fundamental_folds, searched_settings
from velo_assets_tests.modelling.worlds import before, world

CUTOFF = date(2019, 1, 1)
BASE = FundamentalSettings(
    booster=BoosterSettings(rounds=15, learning_rate=0.05, num_leaves=4, min_data_in_leaf=50, early_stopping_rounds=4),
    seeds=(1,),
    min_races=100,
)
WORLD = world(500)
USUAL = FundamentalSettings()
FOUND = {
    2018: {"base": asdict(USUAL.booster), "booster": {"num_leaves": 5, "learning_rate": 0.2}},
    2020: {"base": asdict(USUAL.booster), "booster": {"num_leaves": 31}},
}


def test_search_repeats_itself_and_beats_a_timid_start() -> None:
    train = before(WORLD, date(2018, 12, 31))
    found = search_settings(train, ("x0", "x1"), CUTOFF, base=BASE, trials=4)
    assert found["booster"].keys() == RANGES.keys()
    assert found["r2"] > found["r2_of_base"]
    assert search_settings(train, ("x0", "x1"), CUTOFF, base=BASE, trials=4) == found
    stored = json.loads(json.dumps(found))
    taken = settings_in_use({2019: stored}, 2019, BASE)
    assert taken == replace(BASE, booster=replace(BASE.booster, **found["booster"]))


def test_a_search_reads_the_races_that_the_fit_stops_on() -> None:
    train = before(WORLD, date(2018, 12, 31))
    few = replace(BASE, latest_races=150)
    latest = train.filter(train["race_key"].is_in(train["race_key"].unique().sort().tail(150).implode()))
    found = search_settings(train, ("x0", "x1"), CUTOFF, base=few, trials=2)
    assert search_settings(latest, ("x0", "x1"), CUTOFF, base=few, trials=2) == found


@pytest.mark.parametrize("settings", [USUAL, fundamental.LARGE])
def test_a_search_can_begin_where_the_defaults_are(settings: FundamentalSettings) -> None:
    for name, (low, high) in RANGES.items():
        assert low <= getattr(settings.booster, name) <= high, name


def test_search_may_not_see_the_fold() -> None:
    with pytest.raises(LookAheadError, match="search"):
        search_settings(WORLD, ("x0",), CUTOFF, base=BASE, trials=1)


def test_what_was_found_holds_until_the_next_search_and_never_before_it() -> None:
    leaves = [settings_in_use(FOUND, year, USUAL).booster.num_leaves for year in range(2017, 2022)]
    assert leaves == [USUAL.booster.num_leaves, 5, 5, 31, 31]
    assert settings_in_use(FOUND, 2019, USUAL).booster.learning_rate == 0.2
    # A history that has grown large starts from elsewhere.
    assert settings_in_use(FOUND, 2019, fundamental.LARGE) == fundamental.LARGE


def test_folds_are_fitted_with_what_was_found_for_them() -> None:
    races = world(2400)
    found = searched_settings(races, ("x0", "x1"), (2018,), trials=2)
    assert list(found) == [2018]
    usual = fundamental_folds(races, ("x0", "x1"), (2017, 2018), found={})
    searched = fundamental_folds(races, ("x0", "x1"), (2017, 2018), found=FOUND)
    hashes = [[fold.predictions["model_hash"][0] for fold in folds] for folds in (usual, searched)]
    assert hashes[0][0] == hashes[1][0]
    assert hashes[0][1] != hashes[1][1]
    assert [fold.params["settings"] for fold in searched] == ["usual", "found"]
