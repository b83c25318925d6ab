"""Replay of a year: history is built and learnt once, then each race day arrives as files, card first, results after.

Every night does what the nightly job does, by the same domain functions: land what has come, rebuild the days since the
last racing, judge what was predicted, decide on retraining, price the new card. At the end the warehouse is compared,
row by row, with one built in one go from the same files.

    nice python benchmarks/replay.py --root /tmp/replay --raceform raceform.csv.gz --sectionals sectionals.csv.gz
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import duckdb
import polars as pl

from velo_assets.ingestion.landing import land
from velo_assets.modelling.market import probabilities
from velo_assets.modelling.market_window import PRICES
from velo_assets.modelling.yearly import expert_folds, fundamental_folds
from velo_assets.monitoring.evaluation import evaluate_races
from velo_assets.monitoring.retraining import decide_retraining
from velo_assets.monitoring.triggers import watch
from velo_assets.resources.models import CHAMPION_NAME, registry_of
from velo_assets.serving.bundle import race_gaps, register_bundle
from velo_assets.serving.card_page import read_card_page, write_card_page
from velo_assets.serving.predict import predict_cards, serving_models, store_predictions
from velo_assets.serving.prediction_log import create_outcomes, log_predictions, served_predictions
from velo_assets.serving.training import train_bundle, watched_frame
from velo_assets.settings import DECISION_PRICE, PRICE_REGIMES, DataRoot
from velo_assets.simulation.cards import write_racecards
from velo_assets.warehouse.build import build_table, replace_window
from velo_assets.warehouse.catalogue import catalogue_hash
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import export_matrix, feature_columns, training_frame
from velo_assets.warehouse.query import frame_of, row_of
from velo_assets.warehouse.sql_table import all_tables, build_order

T = TypeVar("T")
WALK_FORWARD_YEARS = 3
"""Out-of-sample years behind blend, gate and the quiet times of the CUSUM."""

CORE = ("core/races", "core/entries", "core/results", "core/prices", "core/sectionals")


@dataclass(frozen=True)
class Night:
    """What one night did.

    Attributes:
        day: race day whose card was priced.
        races: races of the card.
        predictions: rows of serving.predictions added.
        judged: races of earlier cards that could be judged.
        gap_fundamental: mean log-loss gap of the prediction served to the closing market on the races judged, nats.
        retrain: the decision.
        reason: its reason.
        seconds: by step, by the clock.
        processor_seconds: of the whole night; on a shared machine the fairer figure.
    """

    day: str
    races: int
    predictions: int
    judged: int
    gap_fundamental: float | None
    retrain: bool
    reason: str
    seconds: dict[str, float]
    processor_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--raceform", type=Path, required=True)
    parser.add_argument("--sectionals", type=Path, required=True)
    parser.add_argument("--first-day", type=date.fromisoformat, default=date(2023, 1, 1))
    parser.add_argument("--days", type=int, default=1000)
    arguments = parser.parse_args()
    all_tables()  # read once: files edited while the replay runs must not change it half way
    rows = pl.read_csv(arguments.raceform, infer_schema=False).with_columns(pl.all().fill_null(""))
    sidecar = pl.read_csv(arguments.sectionals, infer_schema=False)
    days = sorted({date.fromisoformat(text) for text in rows["date"].unique()})
    days = [day for day in days if day >= arguments.first_day][: arguments.days]
    root = DataRoot(arguments.root.resolve())
    warehouse = Warehouse(root.warehouse)
    if not (root.path / "ready").exists():
        shutil.rmtree(root.path, ignore_errors=True)
        prepare(root, warehouse, rows, sidecar, arguments.first_day)
        (root.path / "ready").touch()
    nights = [
        night(root, warehouse, rows, sidecar, previous, day)
        for previous, day in zip([None, *days], [*days, None], strict=True)
    ]
    (root.path / "nights.json").write_text(json.dumps([asdict(one) for one in nights], indent=1))
    differences = parity(root, warehouse, rows, sidecar, days[0], days[-1])
    print(summary(nights, differences, warehouse))


def prepare(root: DataRoot, warehouse: Warehouse, rows: pl.DataFrame, sidecar: pl.DataFrame, first_day: date) -> None:
    """Land the history, build it, walk forward over it, and register what will serve."""
    write_day_files(root, rows.filter(pl.col("date") < first_day.isoformat()), sidecar, "history")
    last = first_day - timedelta(days=1)
    began = time.perf_counter()
    with warehouse.connect("replay: history") as connection:
        land(root, connection)
        start = date.fromisoformat(rows["date"].min())  # type: ignore[arg-type]
        build(connection, start, last)
        export_matrix(connection, root.exports, range(start.year, last.year + 1))
    print(f"history built in {time.perf_counter() - began:.0f} s", flush=True)
    frame = training_frame(root.exports, warehouse, last.year, DECISION_PRICE.kind)
    features, years = feature_columns(frame), range(first_day.year - WALK_FORWARD_YEARS, first_day.year)
    folds = {"fundamental": fundamental_folds(frame, features, years)}
    folds |= {f"expert_{regime.name}": expert_folds(frame, features, years, regime) for regime in PRICE_REGIMES}
    with warehouse.connect("replay: walk-forward") as connection:
        for name, outcomes in folds.items():
            table = pl.concat([outcome.predictions for outcome in outcomes])
            replace_window(connection, f"models/{name}", table, date(years[0], 1, 1), last)
    print(f"walk-forward done at {time.perf_counter() - began:.0f} s", flush=True)
    bundle = train_bundle(root.exports, warehouse, first_day, price_kind=DECISION_PRICE.kind)
    register_bundle(
        registry_of(root), CHAMPION_NAME, bundle, git_commit="replay", feature_catalogue_sha256=catalogue_hash()
    )
    print(f"model registered at {time.perf_counter() - began:.0f} s", flush=True)


def night(
    root: DataRoot,
    warehouse: Warehouse,
    rows: pl.DataFrame,
    sidecar: pl.DataFrame,
    previous: date | None,
    day: date | None,
) -> Night:
    """One night: the results of the last race day and the card of the next have arrived."""
    seconds: dict[str, float] = {}
    began = time.process_time()
    if previous is not None:
        write_day_files(root, rows.filter(pl.col("date") == previous.isoformat()), sidecar, previous.isoformat())
    if day is not None:
        write_racecards(rows, day=day, out=root.racecards)
    start, end = previous or day, day or previous
    assert start is not None, "a night has a race day behind it or before it"
    assert end is not None
    now = datetime.combine(day or end + timedelta(days=1), datetime.min.time(), UTC) + timedelta(hours=2)
    models = serving_models(registry_of(root), CHAMPION_NAME)
    serving = models[0]
    with warehouse.connect("replay: a night") as connection:
        timed(seconds, "land", lambda: land(root, connection))
        timed(seconds, "build", lambda: build(connection, start, end))
        create_outcomes_if_any(connection)
        judged = timed(seconds, "evaluate", lambda: evaluate(connection, previous))
        watched = timed(seconds, "watch", lambda: watched_frame(connection, serving.bundle.cutoff, DECISION_PRICE.kind))
        readings = timed(seconds, "decide", lambda: watch(serving.bundle.reference, race_gaps(serving.bundle, watched)))
        decision = decide_retraining(
            now,
            champion_data_end=serving.bundle.data_end,
            last_trained=serving.bundle.data_end,
            racing_days=row_of(
                connection,
                "select count(distinct race_date) from core.results where race_date > ?",
                [serving.bundle.data_end],
            )[0],
            readings=readings,
            drift=None,
        )
        added = pl.DataFrame()
        if day is not None:
            rows_of_day = timed(seconds, "predict", lambda: predict_cards(connection, models, [day], now))
            added = timed(seconds, "store", lambda: store_predictions(connection, rows_of_day))
            timed(seconds, "log", lambda: log_predictions(connection, root.reports / "prediction_log"))
            create_outcomes(connection)
            card = timed(seconds, "read card", lambda: read_card_page(connection, day, serving))
    if day is not None:
        page = root.reports / "cards" / f"{day.isoformat()}.html"
        timed(seconds, "page", lambda: write_card_page(card, page))
    told = Night(
        str(day),
        added["race_key"].n_unique() if day else 0,
        added.height,
        judged.height,
        None if judged.is_empty() else float(judged["gap_to_market"].mean()),  # type: ignore[arg-type]
        decision.retrain,
        "; ".join(decision.reasons),
        {name: round(value, 3) for name, value in seconds.items()},
        round(time.process_time() - began, 3),
    )
    print(json.dumps(asdict(told)), flush=True)
    return told


def create_outcomes_if_any(connection: duckdb.DuckDBPyConnection) -> None:
    """Before the first prediction there is no log to judge."""
    from velo_assets.warehouse.build import table_exists

    if table_exists(connection, "serving/predictions"):
        create_outcomes(connection)


def evaluate(connection: duckdb.DuckDBPyConnection, previous: date | None) -> pl.DataFrame:
    """Judge the predictions of the last race day against the closing market."""
    if previous is None:
        return pl.DataFrame()
    served = served_predictions(connection, DECISION_PRICE.kind, previous)
    results = frame_of(
        connection, "select race_key, runner_key, win_share from core.results where race_date >= ?", [previous]
    )
    return evaluate_races(served, results)


def build(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> None:
    """Core, market and features of a window."""
    for name in CORE:
        build_table(connection, name, start, end)
    prices = frame_of(connection, PRICES, [start, end])
    replace_window(connection, "market/probabilities", probabilities(prices), start, end)
    for name in build_order("features"):
        build_table(connection, name, start, end)


def write_day_files(root: DataRoot, rows: pl.DataFrame, sidecar: pl.DataFrame, name: str) -> None:
    """Results and sectionals of some days as new input files."""
    for folder in (root.raceform, root.sectionals):
        folder.mkdir(parents=True, exist_ok=True)
    rows.write_csv(root.raceform / f"results_{name}.csv")
    ids = rows["race_id"].unique().implode()
    sidecar.filter(pl.col("race_id").is_in(ids)).write_csv(root.sectionals / f"sectionals_{name}.csv")


def parity(
    root: DataRoot, warehouse: Warehouse, rows: pl.DataFrame, sidecar: pl.DataFrame, first: date, last: date
) -> dict[str, str]:
    """Compare every core and feature table of the replayed days with a batch build of the same results.

    Returns:
        Table to the largest relative difference, or what is wrong.
    """
    batch_root = DataRoot(root.path / "batch")
    shutil.rmtree(batch_root.path, ignore_errors=True)
    upto = rows.filter(pl.col("date") <= last.isoformat())
    write_day_files(batch_root, upto, sidecar, "all")
    batch = Warehouse(batch_root.warehouse)
    with batch.connect("replay: batch") as connection:
        land(batch_root, connection)
        build(connection, date.fromisoformat(rows["date"].min()), last)  # type: ignore[arg-type]
    found = {}
    with warehouse.connect("replay: parity") as connection:
        connection.execute(f"attach '{batch_root.warehouse}' as batch (read_only)")
        for name in (*CORE, "market/probabilities", *build_order("features")):
            found[name] = compare(connection, name, first, last)
        connection.execute("detach batch")
    return found


PROVENANCE = ("source_file", "source")
"""Columns that say which file a row came from: they differ by design."""


def compare(connection: duckdb.DuckDBPyConnection, name: str, first: date, last: date) -> str:
    """Largest relative difference of a table's rows on the replayed days."""
    relation = name.replace("/", ".")
    columns = [
        (row[0], row[1])
        for row in connection.execute(
            "select column_name, data_type from duckdb_columns() where database_name = 'batch' "
            "and schema_name || '/' || table_name = ?",
            [name],
        ).fetchall()
        if row[0] not in PROVENANCE
    ]
    if "race_date" not in dict(columns):
        return "not by race day"
    keys = [key for key in ("race_key", "runner_key", "price_kind", "call_number") if key in dict(columns)]
    select = f"select * from {{}}{relation} where race_date between '{first}' and '{last}'"
    connection.execute(f"create or replace temp table replayed as {select.format('')}")
    connection.execute(f"create or replace temp table batched as {select.format('batch.')}")
    counts = [connection.execute(f"select count(*) from {t}").fetchall()[0][0] for t in ("replayed", "batched")]
    if counts[0] != counts[1]:
        return f"{counts[0]} rows, batch {counts[1]}"
    if not keys:
        unequal = connection.execute("select count(*) from (from replayed except from batched)").fetchall()[0][0]
        return f"{counts[0]} rows, {unequal} not found in the batch"
    worst = 0.0
    join = " and ".join(f"replayed.{key} = batched.{key}" for key in keys)
    for column, kind in columns:
        a, b = f'replayed."{column}"', f'batched."{column}"'
        if kind in ("DOUBLE", "FLOAT"):
            test = f"max(abs({a} - {b}) / greatest(abs({b}), 1e-6)), count(*) filter (({a} is null) <> ({b} is null))"
        else:
            test = f"0, count(*) filter ({a} is distinct from {b})"
        difference, unequal = connection.execute(f"select {test} from replayed join batched on {join}").fetchall()[0]
        worst = max(worst, difference or 0.0)
        if unequal:
            return f"{column}: {unequal} rows differ"
    return f"{counts[0]} rows, largest relative difference {worst:.1e}"


def timed(seconds: dict[str, float], step: str, work: Callable[[], T]) -> T:
    """Run a step and note how long it took."""
    began = time.perf_counter()
    result = work()
    seconds[step] = seconds.get(step, 0.0) + time.perf_counter() - began
    return result


def spread(seconds: list[float]) -> str:
    """Median, first and last quarter, most."""
    quarter = max(1, len(seconds) // 4)
    first, last = sum(seconds[:quarter]) / quarter, sum(seconds[-quarter:]) / quarter
    median = sorted(seconds)[len(seconds) // 2]
    return f"median {median:.1f}, first quarter {first:.1f}, last quarter {last:.1f}, most {max(seconds):.1f}"


def summary(nights: list[Night], differences: dict[str, str], warehouse: Warehouse) -> str:
    """The figures of docs/loop.md as Markdown."""
    carded = [night for night in nights if night.races]
    with warehouse.read("replay: summary") as connection:
        outcomes = connection.execute(
            "select outcome, count(*), count(distinct race_id) from serving.prediction_outcomes group by 1 order by 1"
        ).fetchall()
        late = connection.execute(
            "select count(*) from serving.predictions where predicted_at > race_date::timestamp + interval 6 hour"
        ).fetchall()[0][0]
    # The first night of a process also pays for its imports.
    clock = spread([sum(night.seconds.values()) for night in carded[1:]])
    processor = spread([night.processor_seconds for night in carded[1:]])
    retrained = ", ".join(f"{n.day} {n.reason}" for n in nights if n.retrain) or "never"
    lines = [
        (
            f"race days {len(carded)}, races {sum(n.races for n in carded)}, "
            f"predictions {sum(n.predictions for n in carded)}"
        ),
        f"races judged {sum(n.judged for n in nights)}; predictions made after 06:00 of the race day: {late}",
        f"outcomes {outcomes}",
        f"seconds a night by the clock: {clock}",
        f"seconds a night of the processor: {processor}",
        f"retrain: {retrained}",
        "",
        "| table | replay against batch |",
        "|---|---|",
        *(f"| {name} | {words} |" for name, words in differences.items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
