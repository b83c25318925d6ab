"""A runner's waterfall: the right race, the right words, a picture."""

import duckdb
import pytest

from velo_assets.serving.explanation import explain_runners
from velo_assets.serving.predict import ServingModel, card_frame
from velo_assets_tests.warehouse.small_world import LAST


def test_a_runner_is_explained_against_its_own_race(world: duckdb.DuckDBPyConnection, champion: ServingModel) -> None:
    name = card_frame(world, [LAST])["horse"][0]
    (found,) = explain_runners(world, champion, LAST, name.upper())
    assert found.title.startswith(f"{name}, ")
    assert "the race's mean" in found.words
    assert found.picture.startswith(b"\x89PNG")


def test_who_is_not_there_is_told_who_is(world: duckdb.DuckDBPyConnection, champion: ServingModel) -> None:
    name = card_frame(world, [LAST])["horse"].sort()[0]
    with pytest.raises(ValueError, match=r"called 'Nobody'\. Among those that run: .*") as refused:
        explain_runners(world, champion, LAST, "Nobody")
    assert name in str(refused.value)
    with pytest.raises(ValueError, match="no race on 1999-01-01"):
        explain_runners(world, champion, LAST.replace(year=1999, month=1, day=1), name)
