"""What a new version is held against: the champion's predictions, on the same races as its own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from velo_assets.betting.compare import RUNS_OF_VERSIONS, write_run
from velo_assets.modelling.guards import MissingFeatureError
from velo_assets.modelling.races import priced_frame, settled_frame
from velo_assets.serving import recipe
from velo_assets.serving.bundle import Bundle
from velo_assets.serving.recipe import _predictions_of, train_version
from velo_assets.settings import DECISION_PRICE, DataRoot
from velo_assets.warehouse.connection import Warehouse

CHAMPION: Any = SimpleNamespace(name="velo", version=3, label="velo 3")


@pytest.fixture
def root(tmp_path: Path, world_path: Path, training: pl.DataFrame, bundle: Bundle) -> DataRoot:
    """A root that keeps the run the champion was judged by, which ends where its training ended."""
    root = DataRoot(tmp_path)
    root.warehouse.write_bytes(world_path.read_bytes())
    before = training.filter(pl.col("race_date") < bundle.cutoff).select(
        "race_date", "race_key", "runner_key", "win_share", probability_blend="market_probability", fold=2020
    )
    write_run(root.reports / "runs", "judged", before, pl.DataFrame(), {})
    (root.reports / "runs" / RUNS_OF_VERSIONS).write_text('{"3": "judged"}', encoding="utf-8")
    return root


def test_the_champion_is_compared_on_the_races_since_its_training_too(
    root: DataRoot, training: pl.DataFrame, bundle: Bundle
) -> None:
    registry: Any = SimpleNamespace(load_files=lambda name, version: bundle.files())
    found = _predictions_of(root, Warehouse(root.warehouse), registry, CHAMPION, DECISION_PRICE, "code")
    assert found is not None
    races = priced_frame(settled_frame(training))
    since = races.filter(pl.col("race_date") >= bundle.cutoff)
    assert since.height > 0
    priced = found.predictions.drop_nulls("probability")
    assert set(priced["race_key"]) == set(races["race_key"])
    assert not priced["runner_key"].is_duplicated().any()
    own = bundle.predict(since).select("runner_key", "blend_probability")
    assert (
        priced.join(own, on="runner_key")
        .select((pl.col("probability") - pl.col("blend_probability")).abs().max())
        .item()
        < 1e-12
    )


def test_a_champion_that_lacks_a_feature_says_nothing_of_the_races_since(
    root: DataRoot, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(self: Bundle, frame: pl.DataFrame) -> pl.DataFrame:
        raise MissingFeatureError("a feature")

    monkeypatch.setattr(Bundle, "predict", lacking)
    registry: Any = SimpleNamespace(load_files=lambda name, version: bundle.files())
    found = _predictions_of(root, Warehouse(root.warehouse), registry, CHAMPION, DECISION_PRICE, "code")
    assert found is not None
    assert found.predictions.height > 0
    assert found.predictions.filter(pl.col("race_date") >= bundle.cutoff).is_empty()


@pytest.mark.parametrize("reference", ["velo 3", "market with its beta fitted"])
def test_a_version_judged_by_the_market_alone_replaces_no_champion(
    root: DataRoot, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the folder of runs was deleted; the registry would refuse with an error, after a night's training."""
    promoted: list[int] = []
    registry: Any = SimpleNamespace(
        champion=lambda name: CHAMPION,
        record_decision=lambda *_: None,
        promote=lambda name, version, decision: promoted.append(version),
    )
    decision = SimpleNamespace(promoted=True, reference=reference)
    monkeypatch.setattr(recipe, "read_backtest", lambda *_: SimpleNamespace(shipped="blend"))
    monkeypatch.setattr(recipe, "train_bundle", lambda *_, **__: None)
    monkeypatch.setattr(recipe, "register_bundle", lambda *_, **__: 4)
    monkeypatch.setattr(recipe, "_predictions_of", lambda *_: None)
    monkeypatch.setattr(recipe, "judge_backtest", lambda *_, **__: (decision, [], {}))
    trained = train_version(root, Warehouse(root.warehouse), registry, "velo", DECISION_PRICE, "code", "run")
    assert trained.is_champion == (reference == "velo 3")
    assert promoted == ([4] if trained.is_champion else [])
