"""A small simulated world, built once for all tests of the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from velo_assets.simulation.world import SimulationSummary, simulate

FIRST_YEAR, LAST_YEAR = 2024, 2026


@dataclass(frozen=True)
class World:
    root: Path
    summary: SimulationSummary
    results: pl.DataFrame
    truth: pl.DataFrame


def read_results(files: tuple[Path, ...]) -> pl.DataFrame:
    return pl.concat([pl.read_csv(path, infer_schema_length=0).fill_null("") for path in files])


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three seasons of 1,000 races that include the change of clock in October 2025."""
    root = tmp_path_factory.mktemp("world")
    summary = simulate(first_year=FIRST_YEAR, last_year=LAST_YEAR, races_per_year=1000, seed=20, edge=0.0, out=root)
    truth = pl.concat([pl.read_parquet(path) for path in summary.truth_files])
    return World(root=root, summary=summary, results=read_results(summary.files), truth=truth)
