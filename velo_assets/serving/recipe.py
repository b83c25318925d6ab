"""The recipe as a registered version: trained when there is cause, put to the gate, promoted only if it passes.

Belongs here: when to train, the gate's inputs for a registered version. Does not belong here: training itself
(training.py), the registry and the gate (modelling).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from velo_assets.betting.backtest import judged_probability
from velo_assets.betting.compare import RUNS_OF_VERSIONS, UnknownRunError, load_run
from velo_assets.modelling.guards import MissingFeatureError
from velo_assets.modelling.promotion import Candidate, GateDecision
from velo_assets.modelling.races import KEYS, priced_frame, settled_frame
from velo_assets.modelling.registry import ModelRegistry, RegisteredModel
from velo_assets.reports.verdict import judge_backtest, read_backtest
from velo_assets.serving.bundle import Bundle, load_bundle, register_bundle
from velo_assets.serving.training import train_bundle, watched_frame
from velo_assets.settings import DataRoot, DecisionPrice
from velo_assets.warehouse.catalogue import catalogue_hash
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.query import row_of


@dataclass(frozen=True)
class TrainedVersion:
    """A version that was just trained.

    Attributes:
        version: its number.
        decision: the gate's.
        is_champion: whether it was promoted.
    """

    version: int
    decision: GateDecision
    is_champion: bool


def train_version(
    root: DataRoot,
    warehouse: Warehouse,
    registry: ModelRegistry,
    name: str,
    price: DecisionPrice,
    code: str,
    run_id: str,
) -> TrainedVersion:
    """Train the recipe on all results so far, register it as challenger and put it to the gate.

    Args:
        root: the data root.
        warehouse: held only while tables are read.
        registry: the model registry.
        name: registered name of the recipe.
        price: the decision price.
        code: hash of the code behind the backtest's predictions.
        run_id: stored backtest run of the same models.

    Raises:
        TooFewRacesError: too few settled races.
        FileNotFoundError: the matrix has not been exported.
    """
    with warehouse.connect("last result") as connection:
        (last_day,) = row_of(connection, "select max(race_date) from core.results")
    cutoff: date = last_day + timedelta(days=1)
    backtest = read_backtest(warehouse, price)
    champion = registry.champion(name) if registry.exists() else None
    of_champion = None if champion is None else _predictions_of(root, warehouse, registry, champion)

    def judged(version: int) -> GateDecision:
        label = f"{name} {version}"
        decision, _, _ = judge_backtest(backtest, price, code, challenger=label, champion=of_champion)
        return decision

    # Judged first: whatever goes wrong leaves no version that predicts without ever having been at the gate.
    expected = registry.next_version(name)
    decision = judged(expected)
    bundle = train_bundle(root.exports, warehouse, cutoff, price_kind=price.kind, shipped=backtest.shipped)
    version = register_bundle(
        registry, name, bundle, git_commit=_git_commit(), feature_catalogue_sha256=catalogue_hash()
    )
    if version != expected:  # Another process registered one meanwhile; a decision names the version it is about.
        decision = judged(version)
    # The run comes first: a version that can be promoted must have one for its successors to be held against.
    _remember_run(root, registry, name, version, run_id)
    registry.record_decision(name, version, decision)
    # Where the champion's run is lost, the decision is over the market: it replaces nobody.
    is_champion = decision.promoted and (champion is None or decision.reference == champion.label)
    if is_champion:
        registry.promote(name, version, decision)
    return TrainedVersion(version, decision, is_champion)


def _predictions_of(
    root: DataRoot, warehouse: Warehouse, registry: ModelRegistry, champion: RegisteredModel
) -> Candidate | None:
    """The champion's own out-of-sample predictions: those of the backtest it was judged by, and what it makes of the
    races since. Without these no later version could be compared with it on the same races."""
    run_id = _runs_of_versions(root).get(str(champion.version))
    if run_id is None:
        return None
    try:
        run = load_run(root.reports / "runs", run_id)
    except UnknownRunError:
        return None
    bundle = load_bundle(registry.load_files(champion.name, champion.version))
    judged = run.predictions.filter(pl.col("race_date") < bundle.cutoff).select(
        *KEYS, pl.col("fold").cast(pl.Int32), judged_probability(run.predictions).alias("probability")
    )
    # Of years before its backtest it was never asked; and where the backtest ended before its training did, nothing it
    # says of the days between is out of sample.
    days: list[date] = judged["race_date"].unique().sort().to_list()
    silent: list[tuple[date, date | None]] = [(date.min, days[0]), (days[-1] + timedelta(days=1), bundle.cutoff)]
    with warehouse.connect("races since the champion's training") as connection:
        # At the prices it learned from, whatever the decision price is by now.
        raced = priced_frame(settled_frame(watched_frame(connection, bundle.cutoff, bundle.price_kind)))
    try:
        since = priced_by(bundle, raced)
    except MissingFeatureError:
        # The matrix has outgrown the champion: on the races before its training it can still be beaten.
        since = judged.clear()
        silent.append((bundle.cutoff, None))
    return Candidate(
        champion.label, bundle.price_kind, str(run.settings["code"]), pl.concat([judged, since]), tuple(silent)
    )


def priced_by(bundle: Bundle, raced: pl.DataFrame) -> pl.DataFrame:
    """What a version makes of races since its training, as a `Candidate` has it; null where its recipe is silent."""
    of_recipe = pl.when(pl.col("basis") == bundle.shipped).then(pl.col("fair_probability"))
    return bundle.predict(raced).select(
        *KEYS, pl.col("race_date").dt.year().cast(pl.Int32).alias("fold"), of_recipe.alias("probability")
    )


def _runs_of_versions(root: DataRoot) -> dict[str, str]:
    path = root.reports / "runs" / RUNS_OF_VERSIONS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _remember_run(root: DataRoot, registry: ModelRegistry, name: str, version: int, run_id: str) -> None:
    """Note by which run a version was judged, which keeps the run; that of a version that the gate refused may go once
    it is on trial no more, as nobody will be held against it."""
    from velo_assets.reports.pages import write_page

    standing = {
        str(model.version)
        for model in registry.list(name)
        if model.aliases or (model.decision is not None and model.decision["promoted"])
    }
    kept = {number: run for number, run in _runs_of_versions(root).items() if number in standing}
    write_page(root.reports / "runs" / RUNS_OF_VERSIONS, json.dumps({**kept, str(version): run_id}, indent=1))


def _git_commit() -> str:
    """Commit of the code, or `unknown` outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
