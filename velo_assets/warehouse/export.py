"""Parquet exports of the feature matrix, one file a year, so that training holds no database lock.

Belongs here: writing and reading the exports, joining outcomes and prices on. Does not belong here: what a model does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
import polars as pl

from velo_assets.warehouse.build import describe
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.query import frame_of, row_of

MATRIX = "features/runner_features"
KEYS = ("race_date", "race_key", "runner_key")


def export_matrix(connection: duckdb.DuckDBPyConnection, folder: Path, years: Iterable[int]) -> list[Path]:
    """Write `runner_features_<year>.parquet` for each year: keys, and every feature as a 4-byte float.

    Args:
        connection: an open warehouse.
        folder: where the files go.
        years: years to write; a year without rows removes its file.

    Returns:
        Files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    features = ", ".join(f'"{name}"::float as "{name}"' for name in matrix_features(connection))
    written = []
    for year in years:
        target = folder / f"runner_features_{year}.parquet"
        (rows,) = row_of(
            connection,
            "select count(*) from features.runner_features where race_date between make_date($year, 1, 1) "
            "and make_date($year, 12, 31)",
            {"year": year},
        )
        if not rows:
            target.unlink(missing_ok=True)
            continue
        partial = target.with_suffix(f".{os.getpid()}.partial")
        connection.execute(
            f"copy (select {', '.join(KEYS)}, {features} from features.runner_features "
            "where race_date between make_date($year, 1, 1) and make_date($year, 12, 31) "
            f"order by {', '.join(KEYS)}) to $target (format parquet, compression snappy)",
            {"year": year, "target": str(partial)},
        )
        os.replace(partial, target)
        written.append(target)
    return written


def matrix_features(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Feature columns of the matrix: numbers and truth values, keys left out."""
    numeric = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "BOOLEAN")
    return [
        name
        for name, kind in describe(connection, MATRIX)
        if name not in KEYS and any(word in kind.upper() for word in numeric)
    ]


def read_matrix(
    folder: Path, last_year: int, columns: Sequence[str] | None = None, first_year: int = 0
) -> pl.DataFrame:
    """The exported matrix up to and including a year, sorted by its keys.

    Args:
        folder: where `export_matrix` wrote.
        last_year: no later year is read.
        columns: features to read; all by default.
        first_year: no earlier year is read.

    Returns:
        Keys and features as Float32; a feature that no file has is left out.

    Raises:
        FileNotFoundError: no year up to `last_year` has been exported.
    """
    files = sorted(
        path for path in folder.glob("runner_features_*.parquet") if first_year <= int(path.stem[-4:]) <= last_year
    )
    if not files:
        raise FileNotFoundError(
            f"No feature matrix up to {last_year} in {folder}: materialize features/runner_features first."
        )
    frames = [pl.read_parquet(file, columns=_present(file, columns)) for file in files]
    return pl.concat(frames, how="diagonal_relaxed", rechunk=True)


def _present(file: Path, columns: Sequence[str] | None) -> list[str] | None:
    """Keys and those of the columns that a file has; None for all of them."""
    if columns is None:
        return None
    there = pl.read_parquet_schema(file)
    return [*KEYS, *(name for name in columns if name in there)]


def outcomes(warehouse: Warehouse, last_year: int, price_kind: str) -> pl.DataFrame:
    """What became of each runner, and the market's view of it, up to and including a year.

    Args:
        warehouse: the warehouse; held only while reading.
        last_year: last year read.
        price_kind: the decision price.

    Returns:
        Keys, trainer_key, win_share, position, decimal_odds, market_probability; null where not known.
    """
    with warehouse.connect("reading outcomes") as connection:
        return frame_of(
            connection,
            """
            select entries.race_date, entries.race_key, entries.runner_key, entries.trainer_key,
                results.win_share, results.position, probabilities.decimal_odds,
                probabilities.probability as market_probability
            from core.entries
            left join core.results using (runner_key)
            left join market.probabilities
                on probabilities.runner_key = entries.runner_key and probabilities.price_kind = $price_kind
            where entries.race_date <= make_date($last_year, 12, 31)
            order by entries.race_date, entries.race_key, entries.runner_key
            """,
            {"price_kind": price_kind, "last_year": last_year},
        )


def training_frame(
    folder: Path,
    warehouse: Warehouse,
    last_year: int,
    price_kind: str,
    columns: Sequence[str] | None = None,
    first_year: int = 0,
) -> pl.DataFrame:
    """Matrix, outcomes and market in one frame, up to and including a year.

    Args:
        folder: where `export_matrix` wrote.
        warehouse: the warehouse; held only while outcomes are read.
        last_year: last year read.
        price_kind: the decision price.
        columns: features to read; all by default.
        first_year: first year read.

    Returns:
        A row per runner, sorted by keys: keys, OUTCOME_COLUMNS, features.
    """
    matrix = read_matrix(folder, last_year, columns, first_year)
    return outcomes(warehouse, last_year, price_kind).join(
        matrix, on=list(KEYS), how="inner", maintain_order="left", validate="1:1"
    )


def feature_columns(frame: pl.DataFrame) -> tuple[str, ...]:
    """Features of a training frame: all that is neither key, outcome nor price."""
    return tuple(name for name in frame.columns if name not in (*KEYS, *OUTCOME_COLUMNS))


OUTCOME_COLUMNS = ("trainer_key", "win_share", "position", "decimal_odds", "market_probability")
"""Columns of a training frame that no model may take as a feature: identity, outcome and price."""
