"""The registry on a real MLflow store: versions, hashes, promotion, rollback, two processes, bad stores."""

from __future__ import annotations

import datetime as dt
import fcntl
import math
import multiprocessing
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from velo_assets.modelling import registry as registry_module
from velo_assets.modelling.bootstrap import Interval
from velo_assets.modelling.promotion import GateDecision
from velo_assets.modelling.registry import (
    HashMismatchError,
    ModelMetadata,
    ModelRegistry,
    PromotionRefusedError,
    RegistryError,
    RegistryLockedError,
    RegistryMissingError,
)

FILES: dict[str, bytes | str] = {"fundamental/seed_11.txt": "tree\nnum_leaves=3\n", "blend.json": b'{"alpha": 0.31}'}
METADATA = ModelMetadata(
    data_start=dt.date(2016, 1, 1),
    data_end=dt.date(2022, 12, 31),
    git_commit="abc123",
    feature_catalogue_sha256="f" * 64,
    price_kind="sp",
    metrics={"r2": 0.19, "roi": float("nan"), "alpha": None},
    parameters={"rounds": "250"},
)
NAME = "velo_blend"


def decision(version: int, reference: str = "market_beta", promoted: bool = True) -> GateDecision:
    gain = Interval(0.002, 0.001, 0.003, 0.0012, 0.0005, 2000, 500)
    return GateDecision(
        promoted, f"{NAME} {version}", reference, "sp", "abc123", 8000, 500, gain, gain, (), (), (), 0, "refused: luck"
    )


@pytest.fixture
def registry(empty_store: Path, tmp_path: Path) -> ModelRegistry:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return ModelRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "mlartifacts", lock_timeout_seconds=0.2)


def test_a_version_comes_back_as_it_went_in(registry: ModelRegistry) -> None:
    assert registry.list(NAME) == []
    assert registry.champion(NAME) is None
    assert registry.register(NAME, FILES, METADATA) == 1
    model = registry.challenger(NAME)
    assert model is not None
    assert (model.label, model.status) == ("velo_blend 1", "challenger")
    assert model.metadata["data_end"] == "2022-12-31"
    assert model.metadata["metrics"] == {"r2": 0.19, "roi": None, "alpha": None}
    expected = {"fundamental/seed_11.txt": "tree\nnum_leaves=3\n", "blend.json": '{"alpha": 0.31}'}
    assert registry.load_files(NAME, 1) == expected
    assert registry.load_files(NAME, "challenger") == expected


def test_promotion_and_the_way_back(registry: ModelRegistry) -> None:
    for _ in range(3):
        registry.register(NAME, FILES, METADATA)
    first = registry.promote(NAME, 1, decision(1))
    assert first.status == "champion"
    assert first.decision is not None
    assert first.decision == decision(1).to_dict()
    second = registry.promote(NAME, 2, decision(2, reference="velo_blend 1"))
    assert second.previous_champion == 1
    assert [model.status for model in registry.list(NAME)] == ["archived", "champion", "challenger"]
    assert registry.rollback(NAME).version == 1
    with pytest.raises(RegistryMissingError, match="first champion"):
        registry.rollback(NAME)
    third = registry.promote(NAME, 3, decision(3, reference="velo_blend 1"))
    assert third.previous_champion == 1
    assert registry.challenger(NAME) is None


def test_a_champion_is_retired_and_the_next_is_held_against_the_market(registry: ModelRegistry) -> None:
    assert registry.next_version(NAME) == 1
    for _ in range(3):
        registry.register(NAME, FILES, METADATA)
    assert registry.next_version(NAME) == 4
    with pytest.raises(RegistryMissingError, match="nobody to retire"):
        registry.retire(NAME)
    registry.promote(NAME, 1, decision(1))
    assert registry.retire(NAME).status == "archived"
    assert registry.champion(NAME) is None
    with pytest.raises(PromotionRefusedError, match="`velo train`"):
        registry.promote(NAME, 2, decision(2, reference="velo_blend 1"))
    # With nobody on trial the retired version goes on predicting, on trial itself.
    registry.promote(NAME, 3, decision(3))
    assert registry.retire(NAME).status == "challenger"


def test_promotion_needs_the_right_decision(registry: ModelRegistry) -> None:
    registry.register(NAME, FILES, METADATA)
    registry.register(NAME, FILES, METADATA)
    with pytest.raises(PromotionRefusedError, match="refused: luck"):
        registry.promote(NAME, 1, decision(1, promoted=False))
    with pytest.raises(PromotionRefusedError, match="not about 'velo_blend 1'"):
        registry.promote(NAME, 1, decision(2))
    with pytest.raises(PromotionRefusedError, match="has no champion"):
        registry.promote(NAME, 1, decision(1, reference="velo_blend 7"))
    with pytest.raises(RegistryMissingError, match="no version 9"):
        registry.promote(NAME, 9, decision(9))
    with pytest.raises(RegistryMissingError, match="nothing to roll back"):
        registry.rollback(NAME)
    assert registry.champion(NAME) is None
    registry.promote(NAME, 1, decision(1))
    with pytest.raises(PromotionRefusedError, match="champion is now 'velo_blend 1'"):
        registry.promote(NAME, 2, decision(2))
    assert registry.promote(NAME, 1, decision(1)).version == 1


def test_a_recorded_decision_promotes_later(registry: ModelRegistry) -> None:
    registry.register(NAME, FILES, METADATA)
    with pytest.raises(PromotionRefusedError, match="never tried at the gate"):
        registry.promote(NAME, 1)
    with pytest.raises(PromotionRefusedError, match="not about 'velo_blend 1'"):
        registry.record_decision(NAME, 1, decision(2))
    registry.record_decision(NAME, 1, decision(1, promoted=False))
    with pytest.raises(PromotionRefusedError, match="refused: luck"):
        registry.promote(NAME, 1)
    registry.record_decision(NAME, 1, decision(1))
    assert registry.promote(NAME, 1).status == "champion"


def test_a_changed_file_is_caught(registry: ModelRegistry) -> None:
    registry.register(NAME, FILES, METADATA)
    model = registry.challenger(NAME)
    assert model is not None
    folder = registry.artifact_root / model.folder
    blend = folder / "blend.json"
    blend.write_text('{"alpha": 0.99}')
    with pytest.raises(HashMismatchError, match=r"blend\.json has SHA-256"):
        registry.load_files(NAME, 1)
    with pytest.raises(HashMismatchError):
        registry.promote(NAME, 1, decision(1))
    assert registry.champion(NAME) is None
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("abc123", "def456"))
    with pytest.raises(HashMismatchError, match=r"manifest\.json"):
        registry.load_files(NAME, 1)
    manifest.unlink()
    with pytest.raises(RegistryMissingError, match="is gone"):
        registry.load_files(NAME, 1)


def test_a_moved_data_root_still_serves(registry: ModelRegistry, tmp_path: Path) -> None:
    registry.register(NAME, FILES, METADATA)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("mlflow.db", "mlartifacts"):
        shutil.move(tmp_path / name, moved / name)
    there = ModelRegistry(f"sqlite:///{moved / 'mlflow.db'}", moved / "mlartifacts")
    assert there.load_files(NAME, 1)["blend.json"] == '{"alpha": 0.31}'


def test_nothing_is_half_registered(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(client: object, name: str) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(ModelRegistry, "_create_model", staticmethod(fail))
    with pytest.raises(OSError, match="disk full"):
        registry.register(NAME, FILES, METADATA)
    monkeypatch.undo()
    assert registry.list(NAME) == []
    assert not [path for path in registry.artifact_root.rglob("*") if path.is_file()]
    assert registry.register(NAME, FILES, METADATA) == 1


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("a b", FILES, "no model name"),
        (NAME, {}, "at least one file"),
        (NAME, {"model.pkl": b"x"}, "never a pickle"),
        (NAME, {"../model.txt": "x"}, "no file name"),
        (NAME, {"/model.txt": "x"}, "no file name"),
        (NAME, {"manifest.json": "{}"}, "no file name"),
        (NAME, {"model.txt": b"\xff\xfe"}, "not UTF-8"),
    ],
)
def test_bad_models_are_refused(tmp_path: Path, name: str, files: dict[str, bytes | str], message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        ModelRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path).register(name, files, METADATA)
    assert list(tmp_path.iterdir()) == []


def test_folds_are_logged_as_runs(registry: ModelRegistry) -> None:
    metrics = {"r2": 0.15, "roi": math.nan, "alpha": None}
    run_id = registry.log_fold("fundamental", 2021, {"rounds": 250}, metrics, {"plots/shap.png": b"\x89PNG"})
    with registry._reading() as client:
        run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"r2": 0.15}
    assert run.data.params == {"rounds": "250"}
    assert run.data.tags["velo.fold"] == "2021"
    assert (registry.artifact_root / run_id / "artifacts/plots/shap.png").read_bytes() == b"\x89PNG"


def test_a_fold_fitted_again_keeps_its_run_and_brings_the_figures_up_to_date(registry: ModelRegistry) -> None:
    def log(text: str, r2: float, year: int = 2021) -> str:
        return registry.log_fold("blend", year, {"races": 9}, {"r2": r2}, {"model.json": text, "shap.png": b"\x89PNG"})

    first = log("alpha", 0.15)
    assert log("alpha", 0.16) == first
    with registry._reading() as client:
        run = client.get_run(first)
    assert run.data.metrics == {"r2": 0.16}
    assert run.info.status == "FINISHED"
    other = log("beta", 0.17)
    assert other != first
    assert log("alpha", 0.18) not in (first, other)
    assert log("alpha", 0.18, year=2022) != first


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    registry = ModelRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    assert not registry.exists()
    for call in (registry.champion, registry.challenger, registry.list):
        with pytest.raises(RegistryMissingError, match=r"no model registry at .*mlflow\.db"):
            call(NAME)
    with pytest.raises(RegistryError, match="not a SQLite store"):
        ModelRegistry("file:./mlruns", tmp_path).exists()


def test_a_broken_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and long enough to be taken for a file header" * 10)
    registry = ModelRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    with pytest.raises(RegistryError, match="not a SQLite database"):
        registry.champion(NAME)


def test_a_locked_store_is_named(registry: ModelRegistry) -> None:
    outside = sqlite3.connect(registry.database, isolation_level=None)
    outside.execute("begin exclusive")
    with pytest.raises(RegistryLockedError, match="outside VELO"):
        registry.register(NAME, FILES, METADATA)
    with pytest.raises(RegistryLockedError, match="outside VELO"):
        registry.champion(NAME)
    outside.execute("rollback")
    outside.close()
    with registry.database.with_name("mlflow.db.lock").open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.truncate(0)
        handle.write("process 7 (promote velo_blend 3)")
        handle.flush()
        with pytest.raises(RegistryLockedError, match=r"process 7 \(promote velo_blend 3\)"):
            registry.register(NAME, FILES, METADATA)
    assert registry.list(NAME) == []
    assert registry.register(NAME, FILES, METADATA) == 1


def register_and_promote(registry: ModelRegistry, barrier: Any, said: Any) -> None:
    barrier.wait(timeout=60)
    version = registry.register(NAME, FILES, METADATA)
    try:
        registry.promote(NAME, version, decision(version))
        said.put(("promoted", version, ""))
    except PromotionRefusedError as error:
        said.put(("refused", version, str(error)))


def test_two_processes_promote_at_once(registry: ModelRegistry) -> None:
    # Forked, so that MLflow's 5 seconds of import are paid once; this store's file is first opened in the children.
    context = multiprocessing.get_context("fork")
    barrier, said = context.Barrier(2), context.Queue()
    patient = replace(registry, lock_timeout_seconds=60.0)
    processes = [context.Process(target=register_and_promote, args=(patient, barrier, said)) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = sorted(said.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    # Both register; the one that promotes first wins, and the other's decision is about a past without a champion.
    assert (first[0], second[0]) == ("promoted", "refused")
    assert {first[1], second[1]} == {1, 2}
    assert f"champion is now 'velo_blend {first[1]}'" in second[2]
    champion = registry.champion(NAME)
    assert champion is not None
    assert champion.version == first[1]
    assert len(registry.list(NAME)) == 2


def test_versions_not_made_here_are_named(registry: ModelRegistry) -> None:
    with registry._writing("foreign") as client:
        client.create_registered_model("foreign")
        client.create_model_version("foreign", source=str(registry.artifact_root))
    with pytest.raises(RegistryError, match="was not registered by VELO"):
        registry.list("foreign")


def test_metadata_is_json_ready() -> None:
    assert replace(METADATA, metrics={"x": math.inf}).to_dict()["metrics"] == {"x": None}
    assert registry_module.MODEL_SUFFIXES == (".txt", ".json")
