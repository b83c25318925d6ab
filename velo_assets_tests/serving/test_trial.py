"""The standing challenger meets the champion as it is, on races that neither has learned from."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from velo_assets.modelling.bootstrap import Interval
from velo_assets.modelling.promotion import GateDecision
from velo_assets.modelling.registry import ModelRegistry
from velo_assets.resources.models import registry_of
from velo_assets.serving.bundle import Bundle, register_bundle
from velo_assets.serving.trial import SCHEMA, TRIALS, Trial, trial_frame, try_challenger
from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import append_rows
from velo_assets.warehouse.connection import Warehouse
from velo_assets_tests.warehouse.small_world import LAST

DAYS_AGO = 330
"""Some 49 of the world's racing days."""


@pytest.fixture
def warehouse(tmp_path: Path, world_path: Path) -> Warehouse:
    root = DataRoot(tmp_path)
    root.warehouse.write_bytes(world_path.read_bytes())
    return Warehouse(root.warehouse)


@pytest.fixture
def registry(tmp_path: Path, empty_store: Path) -> ModelRegistry:
    shutil.copyfile(empty_store, tmp_path / empty_store.name)
    return registry_of(DataRoot(tmp_path))


def weighing(bundle: Bundle, beta: float, days_ago: int = DAYS_AGO) -> Bundle:
    """A version that takes the market to a power and believes nothing else: its own knowledge of this world is such
    that the alarms would ring."""
    assert bundle.blend is not None
    return replace(
        bundle,
        cutoff=LAST - timedelta(days=days_ago),
        fundamental=replace(bundle.fundamental, mix_=(0.0, 0.0)),
        blend=replace(bundle.blend, coefficients=np.array([0.0, beta])),
    )


def stand(registry: ModelRegistry, champion: Bundle, challenger: Bundle) -> None:
    gain = Interval(0.002, 0.001, 0.003, 0.0012, 0.0005, 2000, 500)
    passed = GateDecision(True, "velo 1", "market", "sp", "code", 8000, 500, gain, gain, (), (), (), 0, "words")
    for bundle in (champion, challenger):
        register_bundle(registry, "velo", bundle, git_commit="", feature_catalogue_sha256="")
    registry.promote("velo", 1, passed)


def test_a_better_challenger_becomes_champion(warehouse: Warehouse, registry: ModelRegistry, bundle: Bundle) -> None:
    assert try_challenger(warehouse, registry, "velo", "code") is None
    # The champion is the older one and knows next to nothing; races before the challenger's training don't count.
    stand(registry, weighing(bundle, 0.1, DAYS_AGO + 100), weighing(bundle, 0.9))
    trial = try_challenger(warehouse, registry, "velo", "code")
    assert trial is not None
    assert trial.decision.promoted, trial.decision.summary
    assert 40 < trial.days < 60
    assert 4 * trial.days - 4 < trial.decision.races <= 4 * trial.days
    champion = registry.champion("velo")
    assert champion is not None
    assert (champion.version, champion.previous_champion) == (2, 1)
    assert try_challenger(warehouse, registry, "velo", "code") is None


def test_an_equal_challenger_is_refused_and_waits_for_twice_as_many_days(
    warehouse: Warehouse, registry: ModelRegistry, bundle: Bundle
) -> None:
    stand(registry, weighing(bundle, 1.0), weighing(bundle, 1.0))
    trial = try_challenger(warehouse, registry, "velo", "code")
    assert isinstance(trial, Trial)
    assert not trial.decision.promoted
    challenger = registry.challenger("velo")
    assert challenger is not None
    assert challenger.decision is not None
    assert challenger.decision["reference"] == "velo 1"
    row = trial_frame(trial)
    assert dict(row.schema) == SCHEMA
    with warehouse.connect("test") as connection:
        append_rows(connection, TRIALS, row)
    assert try_challenger(warehouse, registry, "velo", "code") is None
    assert trial_frame(None).is_empty()


@pytest.mark.parametrize("reason", ["too few days", "other prices", "a lost feature"])
def test_no_trial_where_there_is_nothing_to_compare(
    warehouse: Warehouse, registry: ModelRegistry, bundle: Bundle, reason: str
) -> None:
    champion, challenger = weighing(bundle, 0.1), weighing(bundle, 1.0)
    if reason == "too few days":
        challenger = weighing(bundle, 1.0, 150)
    if reason == "other prices":
        champion = replace(champion, price_kind="bsp")
    if reason == "a lost feature":
        with warehouse.connect("test") as connection:
            connection.execute(f'alter table features.runner_features drop column "{bundle.features[0]}"')
    stand(registry, champion, challenger)
    assert try_challenger(warehouse, registry, "velo", "code") is None
