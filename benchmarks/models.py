"""Walk-forward, settlement and strategies, prediction latency: on a data root whose chain has been run."""

from __future__ import annotations

import shutil
import sys
import time
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measure import Figure, run_measured, velo
from benchmarks.model_assets import TOTAL
from benchmarks.pipeline import timed
from velo_assets.automation.card_day import PricedDay, price_day
from velo_assets.ingestion.landing import create_views
from velo_assets.modelling.races import feature_matrix
from velo_assets.serving.predict import ServingModel, serving_models
from velo_assets.settings import DECISION_PRICE, PRICE_REGIMES, DataRoot
from velo_assets.simulation.cards import write_racecards
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.export import feature_columns, training_frame
from velo_assets_tests.betting.frames import random_world

WALK_FORWARD = (
    "models/fundamental",
    *(f"models/expert_{regime.name}" for regime in PRICE_REGIMES),
    "models/gate",
    "models/blend",
)
"""Assets that the walk-forward's time is that of; TIE and NDS are offsets of their own."""

WARM_UP = 20
LATENCY_RACES = 500
STRATEGIES = 20
FIELD = 10
CARD_RACES = 50
CARDS = 6
"""Cards of one day: the first pays for what a process reads once, the median of the others counts."""


def whole_chain(world: DataRoot) -> list[Figure]:
    """Raw CSV to tear sheet and drift report through Dagster: seconds and peak memory of the process tree.

    Raises:
        RuntimeError: the chain failed; the message holds the end of its output.
    """
    done = run_measured(velo(world.path, "run"))
    if done.code:
        raise RuntimeError(f"The whole chain failed on {world.path}:\n{done.output[-2000:]}")
    layers = " ".join(
        f"{words[0]} {words[1]}"
        for words in map(str.split, done.output.splitlines())
        if len(words) == 3 and words[2] == "s"
    )
    with Warehouse(world.warehouse).read("benchmark") as connection:
        rows = connection.execute("select count(*) from core.entries").fetchall()[0][0]
    return [
        Figure("whole chain", done.seconds, "s", 600.0, f"{rows:,} rows; {layers}"),
        Figure("whole chain, processor time", done.cpu_seconds, "s", note="of all cores together"),
        Figure("whole chain, peak memory", done.peak_gb, "GB", 8.0),
    ]


def walk_forward(world: DataRoot) -> list[Figure]:
    """Every fold of fundamental, experts, gate and blend anew, against one LightGBM fit of the same rows and rounds.

    What the models read is built first, where it is missing or out of date, and not counted.

    Raises:
        RuntimeError: a step failed; the message holds the end of its output.
    """
    import lightgbm

    from velo_assets.modelling.fundamental import settings_for

    built = run_measured(velo(world.path, "run", "--to", "market"))
    done = run_measured(
        ["env", f"VELO_DATA={world.path}", sys.executable, "-m", "benchmarks.model_assets", *WALK_FORWARD]
    )
    if built.code or done.code:
        raise RuntimeError(f"The walk-forward failed:\n{(built if built.code else done).output[-2000:]}")
    seconds = dict(line.split("\t") for line in done.output.splitlines() if line.count("\t") == 1)
    each = ", ".join(f"{step.split('__')[-1]} {took}" for step, took in seconds.items() if step != TOTAL)
    frame = training_frame(world.exports, Warehouse(world.warehouse), 9999, DECISION_PRICE.kind)
    columns, years = feature_columns(frame), frame["race_date"].dt.year().n_unique()
    settings = settings_for(frame["race_key"].n_unique()).booster
    matrix = feature_matrix(frame, columns)
    won = (frame["win_share"].fill_null(0.0) > 0).to_numpy().astype(np.float64)

    def fit() -> None:
        lightgbm.train(
            {"objective": "binary", "num_leaves": settings.num_leaves, "verbose": -1, "num_threads": 2},
            lightgbm.Dataset(matrix, won),
            num_boost_round=settings.rounds,
        )

    one_fit = timed(fit)
    total = float(seconds[TOTAL])
    note = f"{years} years, {frame.height:,} rows, {len(columns)} features; one fit {one_fit:.1f} s"
    return [
        Figure("walk-forward", total, "s", 480.0, f"{note}; {each}"),
        Figure("walk-forward, processor time", done.cpu_seconds, "s", note="of both cores together"),
        Figure("walk-forward, peak memory", done.peak_gb, "GB", 8.0),
        Figure("walk-forward / one LightGBM fit", total / one_fit, "ratio", note=note),
    ]


def settlement(scratch: Path, rows: int) -> list[Figure]:
    """Twenty strategies with all their metrics over random races, against one scan of the predictions table."""
    from velo_assets.betting.ledger import place_bets
    from velo_assets.betting.metrics import strategy_table
    from velo_assets.betting.strategies import Strategy

    frame = random_world(rows // FIELD, seed=1, runners=FIELD, edge=0.2)
    strategies = [
        Strategy(f"s{number}", f"Strategy {number}", "blend", min_edge=number / 100) for number in range(STRATEGIES)
    ]
    table = scratch / "predictions.parquet"
    frame.write_parquet(table)
    scan = timed(lambda: pl.read_parquet(table))

    def settle() -> None:
        bets = place_bets(frame, strategies)
        strategy_table(bets, names={each.id: each.name for each in strategies}, trials=STRATEGIES)

    seconds = timed(settle)
    note = f"{frame.height:,} runners, {STRATEGIES} strategies; scan of all columns {scan * 1000:.0f} ms"
    return [
        Figure("settlement and metrics", seconds, "s", 60.0, note),
        Figure("settlement / scan", seconds / scan, "ratio", note=note),
    ]


def latency(world: DataRoot, scratch: Path) -> list[Figure]:
    """One race at a time through the warm bundle of the registry, and a card of fifty from its file to its page.

    The chain is run first, where it is missing or out of date, and not counted.

    Raises:
        RuntimeError: the chain failed; the message holds the end of its output.
    """
    from velo_assets.modelling.registry import ModelRegistry
    from velo_assets.resources.models import CHAMPION_NAME

    built = run_measured(velo(world.path, "run"))
    if built.code:
        raise RuntimeError(f"The whole chain failed on {world.path}:\n{built.output[-2000:]}")
    model = serving_models(ModelRegistry(world.mlflow_uri, world.mlartifacts), CHAMPION_NAME)[0]
    with Warehouse(world.warehouse).read("benchmark") as connection:
        last = int(connection.execute("select max(year(race_date)) from core.results").fetchall()[0][0])
    frame = training_frame(world.exports, Warehouse(world.warehouse), last, DECISION_PRICE.kind)
    # The newest model has seen these races; moved behind its cutoff they cost what new ones cost.
    races = (
        frame.filter(pl.col("race_date").dt.year() == last)
        .with_columns(pl.lit(model.bundle.cutoff + timedelta(days=1)).alias("race_date"))
        .partition_by("race_key", maintain_order=True)[: LATENCY_RACES + WARM_UP]
    )
    milliseconds = [1000 * timed(partial(model.bundle.predict, race)) for race in races][WARM_UP:]
    note = f"{len(milliseconds)} races, warm, in process" if milliseconds else "no race"
    return [
        Figure("prediction of a race, p50", float(np.percentile(milliseconds, 50)), "ms", note=note),
        Figure("prediction of a race, p99", float(np.percentile(milliseconds, 99)), "ms", 10.0, note),
        *_card(world, scratch, model),
    ]


def _card(world: DataRoot, scratch: Path, model: ServingModel) -> list[Figure]:
    """Cards of fifty races of the day after the last: landed, the day built up to its features, priced, written.

    Each has other races than the one before, whose place it takes, so that all of its fifty are new.
    """
    from velo_assets.assets.builds import nodes_of
    from velo_assets.definitions import defs

    nodes = nodes_of(defs.assets)
    root = DataRoot(scratch / "card")
    shutil.rmtree(root.path, ignore_errors=True)
    shutil.copytree(world.path, root.path, ignore=shutil.ignore_patterns("dagster", "reports", "mlartifacts"))
    cards: list[tuple[float, PricedDay]] = []
    known = None
    with Warehouse(root.warehouse).connect("benchmark") as connection:
        create_views(root, connection)
        last = connection.execute("select max(race_date) from core.races").fetchall()[0][0]
        day = last + timedelta(days=1)
        # Noon of the day before: a simulated world may end in years to come.
        noon = datetime(last.year, last.month, last.day, 12, tzinfo=UTC)
        for number in range(CARDS):
            _hand_in_card(root, day, number)
            began = time.process_time()
            priced = price_day(root, connection, [model], day, nodes, noon + timedelta(minutes=number), known)
            cards.append((time.process_time() - began, priced))
            known = priced.landed
    shutil.rmtree(root.path)
    counted = sorted(cards[1:], key=lambda each: sum(each[1].seconds.values()))
    processor, priced = counted[len(counted) // 2]
    races, seconds = priced.predictions["race_key"].n_unique(), priced.seconds
    parts = ", ".join(f"{name} {took:.2f}" for name, took in seconds.items())
    note = (
        f"{races} races, {priced.predictions.height} runners, median of {CARDS - 1} cards; {parts}; "
        f"processor time {processor:.2f}"
    )
    return [
        Figure("card of fifty races, file to page", sum(seconds.values()), "s", 2.0, note),
        Figure("card of fifty races, features to page", seconds["prices"] + seconds["page"], "s", note=note),
    ]


def _hand_in_card(root: DataRoot, day: date, number: int = 0) -> None:
    """A card made of the last races of the newest results, as if they were to come; the next `number` has the next."""
    rows = pl.read_csv(max(root.raceform.glob("*.csv")), infer_schema=False)
    # One race per course and off time: a card knows no other name of a race.
    newest = rows.sort("date", descending=True, maintain_order=True)
    races = newest.unique(["course", "off"], keep="first", maintain_order=True)
    races = races.slice(number * CARD_RACES, CARD_RACES)
    card = rows.join(races.select("date", "course", "off"), on=["date", "course", "off"], how="semi")
    write_racecards(card.with_columns(date=pl.lit(day.isoformat())), day=day, out=root.racecards)
