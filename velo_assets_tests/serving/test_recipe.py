"""What a new version is held against: the champion's predictions, on the same races as its own."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from velo_assets.betting.compare import RUNS_OF_VERSIONS, write_run
from velo_assets.modelling.bootstrap import Interval
from velo_assets.modelling.guards import MissingFeatureError, TooFewRacesError
from velo_assets.modelling.promotion import GateDecision
from velo_assets.modelling.races import priced_frame, settled_frame
from velo_assets.modelling.registry import ModelRegistry
from velo_assets.resources.models import registry_of
from velo_assets.serving import recipe
from velo_assets.serving.bundle import Bundle, register_bundle
from velo_assets.serving.recipe import TrainedVersion, _predictions_of, train_version
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
    write_run(root.reports / "runs", "judged", before, pl.DataFrame(), {"code": "old"})
    (root.reports / "runs" / RUNS_OF_VERSIONS).write_text('{"3": "judged"}', encoding="utf-8")
    return root


def test_the_champion_is_compared_on_the_races_since_its_training_too(
    root: DataRoot, training: pl.DataFrame, bundle: Bundle
) -> None:
    stored: Any = SimpleNamespace(load_files=lambda name, version: bundle.files())
    found = _predictions_of(root, Warehouse(root.warehouse), stored, CHAMPION)
    assert found is not None
    assert (found.price_kind, found.code) == ("sp", "old")
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
    stored: Any = SimpleNamespace(load_files=lambda name, version: bundle.files())
    found = _predictions_of(root, Warehouse(root.warehouse), stored, CHAMPION)
    assert found is not None
    assert found.predictions.height > 0
    assert found.predictions.filter(pl.col("race_date") >= bundle.cutoff).is_empty()
    # Nor of the years before its backtest, and of the days between that and its training.
    assert found.silent[0][1] == found.predictions["race_date"].min()
    assert found.silent[1][1] == bundle.cutoff
    assert found.silent[2] == (bundle.cutoff, None)


@pytest.fixture
def registry(root: DataRoot, empty_store: Path) -> ModelRegistry:
    shutil.copyfile(empty_store, root.path / empty_store.name)
    return registry_of(root)


def train(root: DataRoot, registry: ModelRegistry) -> TrainedVersion:
    return train_version(root, Warehouse(root.warehouse), registry, "velo", DECISION_PRICE, "code", "run")


def decision(challenger: str, reference: str, promoted: bool = True) -> GateDecision:
    gain = Interval(0.002, 0.001, 0.003, 0.0012, 0.0005, 2000, 500)
    return GateDecision(promoted, challenger, reference, "sp", "code", 8000, 500, gain, gain, (), (), (), 0, "words")


@pytest.mark.parametrize("reference", ["velo 1", "market with its beta fitted"])
def test_a_version_judged_by_the_market_alone_replaces_no_champion(
    root: DataRoot, registry: ModelRegistry, bundle: Bundle, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the folder of runs was deleted; the registry would refuse with an error, after a night's training."""
    register_bundle(registry, "velo", bundle, git_commit="", feature_catalogue_sha256="")
    registry.promote("velo", 1, decision("velo 1", "market with its beta fitted"))
    monkeypatch.setattr(recipe, "read_backtest", lambda *_: SimpleNamespace(shipped="blend"))
    monkeypatch.setattr(recipe, "train_bundle", lambda *_, **__: bundle)
    monkeypatch.setattr(
        recipe, "judge_backtest", lambda *_, challenger, **__: (decision(challenger, reference), [], {})
    )
    trained = train(root, registry)
    assert trained.version == 2
    assert trained.is_champion == (reference == "velo 1")
    champion = registry.champion("velo")
    assert champion is not None
    assert champion.version == (2 if trained.is_champion else 1)
    # It can be promoted later, so its run is remembered for its successors to be held against.
    assert json.loads((root.reports / "runs" / RUNS_OF_VERSIONS).read_text())["2"] == "run"


def test_runs_of_refused_versions_are_let_go_and_those_of_champions_kept(
    root: DataRoot, registry: ModelRegistry, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = root.reports / "runs" / RUNS_OF_VERSIONS
    runs.write_text("{}", encoding="utf-8")
    monkeypatch.setattr(recipe, "read_backtest", lambda *_: SimpleNamespace(shipped="blend"))
    monkeypatch.setattr(recipe, "train_bundle", lambda *_, **__: bundle)
    monkeypatch.setattr(recipe, "_predictions_of", lambda *_: None)
    references = {1: "market", 2: "velo 1", 3: "velo 2", 4: "velo 2"}

    def judged(*_: Any, challenger: str, **__: Any) -> Any:
        number = int(challenger.split()[1])
        return decision(challenger, references[number], promoted=number < 3), [], {}

    monkeypatch.setattr(recipe, "judge_backtest", judged)
    for _ in references:
        train(root, registry)
    # 1 was champion before 2, 3 was refused and is on trial no more, 4 is.
    assert set(json.loads(runs.read_text(encoding="utf-8"))) == {"1", "2", "4"}


def test_a_trial_that_fails_leaves_no_version_without_a_decision(
    root: DataRoot, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise TooFewRacesError("no race")

    monkeypatch.setattr(recipe, "read_backtest", lambda *_: SimpleNamespace(shipped="blend"))
    monkeypatch.setattr(recipe, "judge_backtest", broken)
    with pytest.raises(TooFewRacesError):
        train(root, registry)
    assert registry.list("velo") == []


def test_a_decision_names_its_version_though_another_was_registered_meanwhile(
    root: DataRoot, registry: ModelRegistry, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: Any, **__: Any) -> Bundle:
        register_bundle(registry, "velo", bundle, git_commit="", feature_catalogue_sha256="")
        return bundle

    monkeypatch.setattr(recipe, "read_backtest", lambda *_: SimpleNamespace(shipped="blend"))
    monkeypatch.setattr(recipe, "train_bundle", slow)
    monkeypatch.setattr(
        recipe, "judge_backtest", lambda *_, challenger, **__: (decision(challenger, "market", promoted=False), [], {})
    )
    trained = train(root, registry)
    assert (trained.version, trained.decision.challenger) == (2, "velo 2")
