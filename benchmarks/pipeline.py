"""Landing, core, features, matrix, nightly: seconds and memory against yardsticks measured in the same run.

Each benchmark takes a folder with a simulated season set and a scratch folder, and returns figures.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import duckdb
import polars as pl

from benchmarks import rolling
from benchmarks.measure import Figure
from velo_assets.ingestion.landing import land
from velo_assets.ingestion.quality import write_landing_page
from velo_assets.settings import DataRoot
from velo_assets.simulation.marker import read_marker, sha256, write_marker
from velo_assets.warehouse.build import build_table, refresh_table
from velo_assets.warehouse.builds import record_build
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import export_matrix
from velo_assets.warehouse.query import frame_of
from velo_assets.warehouse.sql_table import build_order, load_table

LATE_ROWS = 600
LATE_FILE = "late.csv"
NIGHTS = 3
FEW_YEARS = 2
ROLLING_TOLERANCE = 1e-6
"""Polars adds and subtracts as its windows roll, which leaves more rounding than a sum made anew."""


def landing_and_core(world: DataRoot, scratch: Path) -> list[Figure]:
    """Landing and core of the whole set, against DuckDB reading the same CSV files as text into one Parquet file."""
    root = linked(world, scratch / "landing")
    copy_seconds = timed(lambda: _copy_as_text(root, scratch / "text.parquet"))
    with Warehouse(root.warehouse).connect("benchmark") as connection:
        land_seconds = timed(lambda: _land(root, connection))
        first, last = years_of(connection)
        core_seconds = timed(lambda: build_layer(connection, "core", first, last))
        rows = connection.execute("select count(*) from core.entries").fetchall()[0][0]
    yardstick = f"{rows:,} rows; DuckDB CSV to text Parquet {copy_seconds:.1f} s"
    return [
        Figure("landing", land_seconds, "s", note=yardstick),
        Figure("core", core_seconds, "s"),
        Figure("landing / CSV to Parquet", land_seconds / copy_seconds, "ratio", 3.0, yardstick),
        Figure("landing and core / CSV to Parquet", (land_seconds + core_seconds) / copy_seconds, "ratio", 8.0),
    ]


def nightly_independence(world: DataRoot, scratch: Path) -> list[Figure]:
    """Landing 600 amended rows and refreshing their year of core, after all years and after the last two.

    Nights alternate between the two, and the fastest of each counts: what a busy machine adds is not the pipeline's.
    """
    roots = {}
    for name, keep in (("all", None), ("few", FEW_YEARS)):
        root = linked(world, scratch / f"nightly_{name}", keep)
        with Warehouse(root.warehouse).connect("benchmark") as connection:
            land(root, connection)
            build_layer(connection, "core", *years_of(connection))
        roots[name] = root
    nights: dict[str, list[float]] = {name: [] for name in roots}
    for number in range(NIGHTS):
        for name, root in roots.items():
            late_file(root, f"Amended {number}", LATE_ROWS)
            with Warehouse(root.warehouse).connect("benchmark") as connection:
                began = time.perf_counter()
                _night(root, connection)
                nights[name].append(time.perf_counter() - began)
    for root in roots.values():
        shutil.rmtree(root.path)
    seconds = {name: min(each) for name, each in nights.items()}
    return [
        Figure("nightly landing and core", seconds["all"], "s", note=f"{LATE_ROWS} rows, their year refreshed"),
        Figure("nightly, all years / two years", seconds["all"] / seconds["few"], "ratio", 1.3),
    ]


def features(world: DataRoot, scratch: Path) -> list[Figure]:
    """All feature tables and the matrix, against one sort of entries and results by horse and date to disk."""
    root = linked(world, scratch / "features")
    with Warehouse(root.warehouse).connect("benchmark") as connection:
        land(root, connection)
        first, last = years_of(connection)
        refresh_layer(connection, "core", first, last)
        _build(connection, "market/probabilities", first, last)
        connection.execute("checkpoint")
        sort_seconds = timed(lambda: _sort(connection))
        rows = connection.execute("select count(*) from core.entries").fetchall()[0][0]
        per_table = refresh_layer(connection, "features", first, last)
        full = sum(per_table.values())
        export_seconds = timed(lambda: export_matrix(connection, root.exports, range(first, last + 1)))
        year_seconds = sum(build_layer(connection, "features", last, last).values())
        day_seconds = _one_more_day(root, connection, last)
    few = linked(world, scratch / "features_few", FEW_YEARS)
    with Warehouse(few.warehouse).connect("benchmark") as connection:
        land(few, connection)
        first_few, _ = years_of(connection)
        refresh_layer(connection, "core", first_few, last)
        refresh_layer(connection, "features", first_few, last)
        few_seconds = _one_more_day(few, connection, last)
    slowest = ", ".join(f"{name} {s:.1f}" for name, s in sorted(per_table.items(), key=lambda kv: -kv[1])[:5])
    return [
        Figure("features, all years", full, "s", 60.0, f"{rows:,} rows; slowest: {slowest}"),
        Figure("features / one sort", full / sort_seconds, "ratio", 40.0, f"sort {sort_seconds:.2f} s"),
        Figure("features, one more racing day / all years", day_seconds / full, "ratio", 0.15, f"{day_seconds:.1f} s"),
        Figure("features after one more day, ten years / two", day_seconds / few_seconds, "ratio", 1.5),
        Figure("features, the whole last year / all years", year_seconds / full, "ratio", note=f"{year_seconds:.1f} s"),
        Figure("matrix export", export_seconds, "s", note="Parquet, one file a year"),
    ]


def refresh_layer(connection: duckdb.DuckDBPyConnection, schema: str, first: int, last: int) -> dict[str, float]:
    """Tables of a layer for some years as their assets refresh them, recorded as built; seconds per table."""
    seconds = {}
    for name in build_order(schema):
        refresh = partial(refresh_table, connection, name, date(first, 1, 1), date(last, 12, 31))
        seconds[name.split("/")[1]] = timed(refresh)
        record_build(connection, name, dict.fromkeys(range(first, last + 1), "benchmark"))
    return seconds


def _one_more_day(root: DataRoot, connection: duckdb.DuckDBPyConnection, year: int) -> float:
    """Seconds to refresh the features of a year whose last race day has changed; landing and core are not counted.

    The median of three amendments: a few seconds are soon disturbed.
    """
    seconds = []
    for owner in ("Amended", "Amended again", "Amended at last"):
        late_file(root, owner)
        land(root, connection)
        refresh_layer(connection, "core", year, year)
        # Else the first features to be committed pay for writing what core has left in the log.
        connection.execute("checkpoint")
        seconds.append(sum(refresh_layer(connection, "features", year, year).values()))
    return statistics.median(seconds)


def three_families(world: DataRoot, scratch: Path) -> list[Figure]:
    """Trainer rates, form block and draw bias in SQL, against the same values by Polars' rolling functions."""
    root = linked(world, scratch / "families")
    with Warehouse(root.warehouse).connect("benchmark") as connection:
        land(root, connection)
        first, last = years_of(connection)
        build_layer(connection, "core", first, last)
        for name in ("features/shrinkage", "features/pars", "features/speed_figures"):
            _build(connection, name, first, last)
        connection.execute("checkpoint")
        return families_against_polars(connection)


def families_against_polars(connection: duckdb.DuckDBPyConnection) -> list[Figure]:
    """Seconds of either and their ratio.

    Args:
        connection: a warehouse with core, shrinkage and speed figures built.

    Raises:
        ArithmeticError: the values differ.
    """
    core = {name: frame_of(connection, query) for name, query in rolling.CORE_QUERIES.items()}
    shrinkage = frame_of(connection, rolling.SHRINKAGE_QUERY)
    first, last = years_of(connection)
    began = time.perf_counter()
    runs = rolling.joined(core)
    # The slopes are a table of their own, from which the draw's is made.
    seconds = {
        "joins": (0.0, time.perf_counter() - began),
        "draw_slopes": (_build(connection, "features/draw_slopes", first, last), 0.0),
    }
    families: dict[str, tuple[tuple[str, ...], Callable[[], pl.DataFrame]]] = {
        "features/trainer_velocity": (rolling.TRAINER, partial(rolling.trainer_velocity, runs, shrinkage)),
        "features/form_curves": (rolling.FORM, partial(rolling.form_block, runs)),
        "features/bias_maps": (rolling.DRAW, partial(rolling.draw_bias, runs, shrinkage)),
    }
    start, end = runs["race_date"].min(), runs["race_date"].max()
    for name, (columns, in_polars) in families.items():
        select = load_table(name).select
        query = f"create or replace temp table family as select runner_key, {', '.join(columns)} from ({select})"
        in_sql = timed(partial(connection.execute, query, {"start": start, "end": end}))
        began = time.perf_counter()
        frame = in_polars()
        seconds[name.split("/")[1]] = (in_sql, time.perf_counter() - began)
        _assert_equal(name, frame_of(connection, "select * from family"), frame, columns)
    sql, polars = (sum(pair[side] for pair in seconds.values()) for side in (0, 1))
    each = ", ".join(f"{name} {a:.1f} s and {b:.1f} s" for name, (a, b) in seconds.items())
    return [Figure("three families, SQL / Polars", sql / polars, "ratio", 1.25, f"{runs.height:,} rows; {each}; equal")]


def _assert_equal(name: str, one: pl.DataFrame, other: pl.DataFrame, columns: Iterable[str]) -> None:
    both = one.join(other, on="runner_key", suffix="_polars", validate="1:1")
    if both.height != max(one.height, other.height):
        raise ArithmeticError(f"{name}: {one.height} rows in SQL, {other.height} in Polars, {both.height} in both.")
    for column in columns:
        a, b = pl.col(column).cast(pl.Float64), pl.col(f"{column}_polars").cast(pl.Float64)
        near = (a - b).abs() <= ROLLING_TOLERANCE * pl.max_horizontal(a.abs(), pl.lit(1.0))
        same = near | (a.is_null() & b.is_null())
        wrong = both.filter(~same.fill_null(False))
        if wrong.height:
            first = wrong.select("runner_key", column, f"{column}_polars").row(0)
            raise ArithmeticError(f"{name}.{column}: {wrong.height} of {both.height} values differ, first {first}.")


def matrix_100k(world: DataRoot, scratch: Path) -> list[Figure]:
    """From core to matrix for a set of about 100,000 rows."""
    root = linked(world, scratch / "matrix")
    with Warehouse(root.warehouse).connect("benchmark") as connection:
        land(root, connection)
        first, last = years_of(connection)
        build_layer(connection, "core", first, last)
        rows = connection.execute("select count(*) from core.entries").fetchall()[0][0]
        seconds = sum(build_layer(connection, "features", first, last).values())
    per_100k = seconds * 100_000 / rows
    return [Figure("core to matrix, per 100,000 rows", per_100k, "s", 5.0, f"{rows:,} rows in {seconds:.2f} s")]


def build_layer(connection: duckdb.DuckDBPyConnection, schema: str, first: int, last: int) -> dict[str, float]:
    """Build every table of a layer for some years, dependencies first; seconds per table."""
    return {name.split("/")[1]: _build(connection, name, first, last) for name in build_order(schema)}


def _land(root: DataRoot, connection: duckdb.DuckDBPyConnection) -> None:
    """Landing as the asset does it, with its quality page."""
    write_landing_page(connection, root, land(root, connection))


def _night(root: DataRoot, connection: duckdb.DuckDBPyConnection) -> None:
    _land(root, connection)
    _, last = years_of(connection)
    build_layer(connection, "core", last, last)


def years_of(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """First and last year landed."""
    row = connection.execute("select min(race_year), max(race_year) from landing.raceform").fetchall()[0]
    return int(row[0]), int(row[1])


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes by the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _build(connection: duckdb.DuckDBPyConnection, name: str, first: int, last: int) -> float:
    if name.startswith("market/"):
        if not _exists(connection, name):
            _devig(connection, name)
        return 0.0
    for dependency in load_table(name).dependencies:
        if dependency.startswith("market/") and not _exists(connection, dependency):
            _devig(connection, dependency)
    return timed(lambda: build_table(connection, name, date(first, 1, 1), date(last, 12, 31)))


def _devig(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    from velo_assets.modelling.market import probabilities
    from velo_assets.warehouse.build import replace_table

    prices = frame_of(
        connection,
        "select race_date, race_key, runner_key, price_kind, decimal_odds, book_complete from core.prices "
        "where price_kind = 'sp'",
    )
    replace_table(connection, name, probabilities(prices))


def _exists(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    from velo_assets.warehouse.build import table_exists

    return table_exists(connection, name)


def _sort(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "create or replace table core.sorted as select entries.*, results.* exclude (runner_key, race_key, race_date, "
        "horse_key) from core.entries left join core.results using (runner_key) order by entries.horse_key, "
        "entries.race_date"
    )
    connection.execute("checkpoint")
    connection.execute("drop table core.sorted")


def _copy_as_text(root: DataRoot, target: Path) -> None:
    connection = duckdb.connect(config={"threads": 2})
    connection.execute(
        "copy (select * from read_csv($files, all_varchar = true, union_by_name = true)) to $target (format parquet)",
        {"files": [str(path) for path in results(root)], "target": str(target)},
    )
    connection.close()
    target.unlink()


def results(root: DataRoot) -> list[Path]:
    """The CSV files of a season set, by year."""
    return sorted(root.raceform.glob("*.csv"))


def linked(world: DataRoot, path: Path, last_years: int | None = None) -> DataRoot:
    """A data root whose inputs are links to those of `world`, all or the last few years."""
    shutil.rmtree(path, ignore_errors=True)
    root = DataRoot(path)
    root.raceform.mkdir(parents=True)
    files: Iterable[Path] = results(world)
    for file in list(files)[-last_years if last_years else None :]:
        (root.raceform / file.name).symlink_to(file.resolve())
    return root


def late_file(root: DataRoot, owner: str, rows: int | None = None) -> Path:
    """Write the last race day, or the last so many rows, as a file of its own with another owner: an amendment."""
    newest = [file for file in results(root) if file.name != LATE_FILE][-1]
    frame = pl.read_csv(newest, infer_schema=False).sort("date", maintain_order=True)
    late = frame.tail(rows) if rows else frame.filter(pl.col("date") == pl.col("date").max())
    path = root.raceform / LATE_FILE
    late.with_columns(pl.lit(owner).alias("owner")).write_csv(path)
    marker = read_marker(root.raceform)
    if marker is not None:
        # Made of simulated results, and so one of them: it would not land among them otherwise.
        write_marker(root.raceform, replace(marker, files={**marker.files, path.name: sha256(path)}))
    return path
