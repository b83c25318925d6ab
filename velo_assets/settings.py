"""Settings every layer shares: paths under the data root, price regimes, windows, the first year.

Frozen dataclasses only. Nothing here reads the environment at import; `DataRoot.from_environment` does so when called.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

LAYERS = ("landing", "core", "features", "market", "models", "backtest", "monitoring", "serving")
"""Layers in the order of the data flow; a layer is an asset key prefix, a DuckDB schema and an asset group."""


@dataclass(frozen=True)
class DataRoot:
    """The folder that holds everything: inputs as they came, and all that we make of them.

    Attributes:
        path: absolute path of the root. `VELO_DATA`, or `data/` in the working directory.
    """

    path: Path

    @classmethod
    def from_environment(cls) -> DataRoot:
        """The root named by `VELO_DATA`, else `data` below the working directory."""
        return cls(Path(os.environ.get("VELO_DATA") or "data").expanduser().resolve())

    @property
    def raceform(self) -> Path:
        """Input: raceform results files."""
        return self.path / "raceform"

    @property
    def racecards(self) -> Path:
        """Input: racecard JSON files."""
        return self.path / "racecards"

    @property
    def betfair_sp(self) -> Path:
        """Input: Betfair SP monthly CSV files."""
        return self.path / "betfair_sp"

    @property
    def betfair_streams(self) -> Path:
        """Input: Betfair exchange stream files, plain or .bz2."""
        return self.path / "betfair_streams"

    @property
    def sectionals(self) -> Path:
        """Input: sectional sidecar files."""
        return self.path / "sectionals"

    @property
    def landing(self) -> Path:
        """Ours: one Parquet file per source file."""
        return self.path / "landing"

    @property
    def warehouse(self) -> Path:
        """Ours: the DuckDB database file."""
        return self.path / "warehouse.duckdb"

    @property
    def mlflow_uri(self) -> str:
        """Ours: the MLflow tracking and registry store (SQLite)."""
        return f"sqlite:///{self.path / 'mlflow.db'}"

    @property
    def mlartifacts(self) -> Path:
        """Ours: model files and other MLflow artifacts."""
        return self.path / "mlartifacts"

    @property
    def reports(self) -> Path:
        """Ours: HTML pages, pictures, scoreboard.json."""
        return self.path / "reports"

    @property
    def truth(self) -> Path:
        """The simulator's truth, beside a simulated set. The pipeline never reads it."""
        return self.path / "truth"

    @property
    def exports(self) -> Path:
        """Ours: Parquet exports of the training matrix, so that training holds no database lock."""
        return self.path / "exports"


@dataclass(frozen=True)
class PriceRegime:
    """A band of decimal odds at decision time, lower bound included, upper bound excluded."""

    name: str
    low: float
    high: float


PRICE_REGIMES = (
    PriceRegime("mid_price", 5.0, 8.0),
    PriceRegime("value_zone", 8.0, 15.0),
    PriceRegime("longshot", 15.0, 40.0),
)
"""The bands that get an expert each. Below 5.0 the market is sharpest; above 40 too few win to learn from."""

PRICE_BUCKETS = ((1.0, 5.0), (5.0, 8.0), (8.0, 15.0), (15.0, 21.0), (21.0, 40.0), (40.0, 1001.0))
"""Decimal-odds buckets of the reports; 5-21 is the runbook's hunting ground."""


FIRST_YEAR = 2006
"""First yearly partition. Results before it are landed, and rejected as out of range."""

TIMEZONE = "Europe/London"


@dataclass(frozen=True)
class SimulatedDefault:
    """The season set that `make run` writes when there are no results: small enough for three minutes on two cores."""

    first_year: int = 2021
    last_year: int = 2025
    races_per_year: int = 1000
    seed: int = 2026
    edge: float = 0.5


@dataclass(frozen=True)
class DecisionPrice:
    """The price at which a bet is chosen.

    Attributes:
        kind: a price kind of core.prices.
        is_closing: known at the off only; every table and figure that rests on it must say so.
    """

    kind: str
    is_closing: bool


DECISION_PRICE = DecisionPrice("sp", is_closing=True)
"""Results files hold a full book for SP alone, so SP both chooses and settles, and every report carries the warning."""
