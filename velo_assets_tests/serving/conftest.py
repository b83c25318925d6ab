"""One small world whose last racing day is still to come, and a bundle trained on the days before."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from velo_assets.modelling.experts import ExpertSettings
from velo_assets.modelling.fundamental import FundamentalSettings
from velo_assets.modelling.market import probabilities
from velo_assets.modelling.softmax import BoosterSettings
from velo_assets.racing.macros import register
from velo_assets.serving.bundle import Bundle, build_bundle, load_bundle
from velo_assets.serving.predict import ServingModel
from velo_assets.serving.training import feature_families, watched_frame
from velo_assets.warehouse.build import replace_table
from velo_assets.warehouse.export import matrix_features
from velo_assets.warehouse.query import frame_of
from velo_assets_tests.warehouse.small_world import LAST, build_features, write_core

SMALL = BoosterSettings(rounds=20, num_leaves=6, min_data_in_leaf=100)


@pytest.fixture(scope="session")
def world_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the world: results until the day before LAST, cards on LAST."""
    path: Path = tmp_path_factory.mktemp("serving") / "world.duckdb"
    with duckdb.connect(str(path), config={"threads": 2}) as connection:
        register(connection)
        write_core(connection, days=110)
        build_features(connection)
        connection.execute("update core.races set stage = 'card' where race_date = ?", [LAST])
        connection.execute("update core.entries set stage = 'card' where race_date = ?", [LAST])
        for table in ("results", "prices", "sectionals"):
            connection.execute(f"create table main.{table} as select * from core.{table} where race_date = ?", [LAST])
            connection.execute(f"delete from core.{table} where race_date = ?", [LAST])
        prices = frame_of(
            connection,
            "select race_date, race_key, runner_key, price_kind, decimal_odds, book_complete from core.prices",
        )
        replace_table(connection, "market/probabilities", probabilities(prices))
    return path


@pytest.fixture
def world(world_path: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of the world that a test may change."""
    copy = tmp_path / "world.duckdb"
    copy.write_bytes(world_path.read_bytes())
    with duckdb.connect(str(copy), config={"threads": 2}) as connection:
        register(connection)
        yield connection


@pytest.fixture(scope="session")
def training(world_path: Path) -> pl.DataFrame:
    """The training frame of the days before LAST."""
    with duckdb.connect(str(world_path), read_only=True) as connection:
        return watched_frame(connection, date(2020, 1, 1), "sp")


@pytest.fixture(scope="session")
def bundle(world_path: Path, training: pl.DataFrame) -> Bundle:
    """A small recipe for LAST, as it comes back from its files."""
    with duckdb.connect(str(world_path), read_only=True) as connection:
        features = matrix_features(connection)
    trained = build_bundle(
        training,
        features,
        LAST - timedelta(days=30),
        families=feature_families(),
        price_kind="sp",
        fundamental=FundamentalSettings(booster=SMALL, seeds=(11,), min_races=100, inner_share=0.4),
        expert=ExpertSettings(booster=SMALL, seeds=(11,), min_races=100, inner_share=0.4),
    )
    return load_bundle(trained.files())


@pytest.fixture(scope="session")
def champion(bundle: Bundle) -> ServingModel:
    return ServingModel("velo", 1, True, bundle)
