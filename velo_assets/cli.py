"""The `velo` command: thin words over Dagster runs and domain functions.

Belongs here: arguments, messages, exit codes. Does not belong here: the work itself.
Exit codes: 0 done, 1 a run or a check failed, 2 the command or the data root is wrong.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from velo_assets.settings import LAYERS, DataRoot, SimulatedDefault

if TYPE_CHECKING:
    from velo_assets.automation.card_day import PricedDay
    from velo_assets.automation.runner import Outcome
    from velo_assets.modelling.registry import ModelRegistry, RegisteredModel
    from velo_assets.simulation.marker import DataKind
    from velo_assets.warehouse.builds import Node

app = typer.Typer(
    help="VELO: racing results to features, models, backtests and reports.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

LOOK_SECONDS = 0.25
"""Between two looks at the input folders: twice as long after it was written, a file is taken for whole."""


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Data root to write to; its raceform/ folder must hold no real results.")],
    first_year: Annotated[int, typer.Option(help="First season.")] = SimulatedDefault.first_year,
    last_year: Annotated[int, typer.Option(help="Last season.")] = SimulatedDefault.last_year,
    races_per_year: Annotated[int, typer.Option(help="Races in each season.")] = SimulatedDefault.races_per_year,
    seed: Annotated[int, typer.Option(help="Same seed, same world, byte for byte.")] = SimulatedDefault.seed,
    edge: Annotated[
        float, typer.Option(help="How much the market overlooks; 0 = it knows all that features can know.")
    ] = SimulatedDefault.edge,
) -> None:
    """Write a simulated racing world in raceform format, its truth beside it."""
    from velo_assets.simulation.marker import MixedDataError
    from velo_assets.simulation.world import simulate as simulate_world

    with _plain_errors():
        if _landed_kind(DataRoot(out)) == "real":
            raise MixedDataError(
                f"The warehouse of {out} holds results that were not simulated, whether or not their files are still "
                "there. Simulated results are not written beside them: give another folder with --out."
            )
        summary = simulate_world(
            first_year=first_year, last_year=last_year, races_per_year=races_per_year, seed=seed, edge=edge, out=out
        )
    typer.echo(f"Wrote {summary.runs:,} runs of {summary.races:,} races to {out / 'raceform'}, the truth beside it.")


@app.command()
def run(
    to: Annotated[str, typer.Option(help="Stop after this layer.")] = "serving",
    years: Annotated[str, typer.Option(help="Rebuild these years whatever their state, such as 2019..2021.")] = "",
) -> None:
    """Land new files and build everything that is out of date, up to a layer."""
    if to not in LAYERS:
        typer.echo(f"There is no layer {to!r}; the layers are {', '.join(LAYERS)}.", err=True)
        raise typer.Exit(2)
    span = _parse_years(years)
    root = _data_root()
    _simulate_if_empty(root)
    _run_chain(root, to=to, years=span)


@app.command()
def nightly() -> None:
    """What the nightly schedule does, now, of what is out of date: land, refresh, evaluate, decide, predict.

    The schedule's run builds this year anew whether anything has come or not; this does nothing without new files.
    """
    _run_chain(_data_root(), to="serving", years=None)


@app.command()
def land(
    forget: Annotated[str, typer.Option(help="Forget this landed file: its races leave the warehouse.")] = "",
) -> None:
    """Land new and changed files of the input folders; build nothing else."""
    root = _data_root()
    with _plain_errors():
        if forget:
            _forget(root, forget)
            return
        from velo_assets.automation.instance import velo_instance
        from velo_assets.automation.runner import Outcome, execute
        from velo_assets.definitions import defs

        outcome = Outcome()
        with velo_instance(root) as instance:
            execute(defs, instance, "land", outcome)
        _tell_landing(root, outcome)


@app.command()
def clean() -> None:
    """Remove what was simulated or generated below the data root; never an input."""
    from velo_assets.maintenance import clean as clean_root

    with _plain_errors():
        for path in clean_root(_data_root()):
            typer.echo(f"removed {path}")


@app.command()
def status() -> None:
    """What there is: data, last runs, models, alarms, in one screen."""
    from velo_assets.automation.instance import velo_instance
    from velo_assets.automation.status import status_text

    root = _data_root()
    with _plain_errors(), velo_instance(root) as instance:
        typer.echo(status_text(root, instance))


@app.command()
def train() -> None:
    """Train a challenger on all results so far and put it to the promotion gate."""
    from velo_assets.assets.serving import TRAIN_TAG
    from velo_assets.automation.instance import velo_instance
    from velo_assets.automation.runner import Outcome, execute
    from velo_assets.definitions import defs

    root = _data_root()
    _refuse_on_an_old_backtest(root)
    with _plain_errors(), velo_instance(root) as instance:
        execute(defs, instance, "train", Outcome(), assets=["serving/recipe"], tags={TRAIN_TAG: "yes"})
    status()


@app.command()
def predict(
    day: Annotated[str, typer.Argument(help="Race day, such as 2026-01-01.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and price again as soon as an input file changes.")
    ] = False,
) -> None:
    """Land what has come, price the card of a day and write its page, reports/cards/DATE.html."""
    from velo_assets.assets.builds import nodes_of
    from velo_assets.definitions import defs

    race_day = _parse_day(day)
    root = _data_root()
    nodes = nodes_of(defs.assets)
    with _plain_errors(), suppress(KeyboardInterrupt):
        priced = _price(root, race_day, nodes)
        while watch:
            _wait_for_files(root)
            try:
                priced = _price(root, race_day, nodes, priced.landed)
            except ValueError as error:
                # Such as results of old years: what stands on the page still holds.
                typer.echo(f"velo: {error}", err=True)


@app.command()
def explain(
    day: Annotated[str, typer.Argument(help="Race day, such as 2026-01-01.")],
    horse: Annotated[str, typer.Argument(help="Name of the horse, or its beginning.")],
) -> None:
    """Why a runner is priced as it is: its score against its race, in words and as a picture."""
    from velo_assets.resources.models import CHAMPION_NAME, registry_of
    from velo_assets.serving.explanation import explain_runners
    from velo_assets.serving.predict import serving_models
    from velo_assets.warehouse.connection import Warehouse

    race_day = _parse_day(day)
    root = _data_root()
    with _plain_errors():
        model = serving_models(registry_of(root), CHAMPION_NAME)[0]
        with Warehouse(root.warehouse).read(f"velo explain {day}") as connection:
            found = explain_runners(connection, model, race_day, horse)
        folder = root.reports / "explanations"
        folder.mkdir(parents=True, exist_ok=True)
        for explanation in found:
            picture = folder / f"{race_day}-{explanation.runner_key}.png"
            picture.write_bytes(explanation.picture)
            typer.echo(f"{explanation.title}, by {model.name} {model.version}\n{explanation.words}\n{picture}")


@app.command()
def promote(
    version: Annotated[int, typer.Argument(help="Version to make champion; the gate must have passed it.")],
) -> None:
    """Make a registered version the champion, on the strength of the gate's stored decision."""
    model = _change_champion(lambda registry, name: registry.promote(name, version))
    typer.echo(f"{model.label} is champion. `velo run` prices its cards.")


@app.command()
def rollback() -> None:
    """Make the previous champion the champion again."""
    model = _change_champion(lambda registry, name: registry.rollback(name))
    typer.echo(f"{model.label} is champion again. `velo run` prices its cards.")


@app.command()
def retire() -> None:
    """Set the champion aside: the version trained next is held against the market, not against it."""
    model = _change_champion(lambda registry, name: registry.retire(name))
    typer.echo(f"{model.label} is champion no more; `velo train` makes a version that is held against the market.")


@app.command()
def compare(
    run_a: Annotated[str, typer.Argument(help="A stored backtest run; `velo compare` of a wrong one lists them.")],
    run_b: Annotated[str, typer.Argument(help="The run to compare it with.")],
) -> None:
    """Paired differences of two backtest runs, with intervals."""
    from velo_assets.betting.compare import compare_runs, comparison_text, load_run

    runs = _data_root().reports / "runs"
    with _plain_errors():
        result = compare_runs(load_run(runs, run_a), load_run(runs, run_b))
    typer.echo(f"a = {run_a}, b = {run_b}\n\n{comparison_text(result)}")


@app.command()
def analyze() -> None:
    """Write the feature catalogue and the data quality page of the data root."""
    from velo_assets.ingestion.quality import write_quality_page
    from velo_assets.warehouse.catalogue import write_catalogue
    from velo_assets.warehouse.connection import Warehouse

    root = _data_root()
    with _plain_errors():
        write_catalogue(root.reports / "feature_catalogue.html", root.reports / "feature_catalogue.md")
        with Warehouse(root.warehouse).read("velo analyze") as connection:
            write_quality_page(connection, root, root.reports / "data_quality.html")
    for name in ("feature_catalogue.html", "feature_catalogue.md", "data_quality.html"):
        typer.echo(root.reports / name)


@app.command()
def lint() -> None:
    """Lint every feature's SQL for leaks."""
    from velo_assets.warehouse.lint import RULES, lint_tables

    findings = lint_tables()
    for finding in findings:
        typer.echo(str(finding))
    for rule in sorted({finding.rule for finding in findings}):
        typer.echo(f"[{rule}] {RULES[rule]}")
    typer.echo(f"{len(findings)} leaks found.")
    raise typer.Exit(1 if findings else 0)


@app.command()
def leaks(
    days: Annotated[int, typer.Option(help="Race days tried, spread over the data.", min=1)] = 1,
    table: Annotated[
        list[str] | None, typer.Option(help="Feature table, such as features/trouble; all by default.")
    ] = None,
) -> None:
    """Prove on the warehouse that no feature knows its future: features of sampled days, built from altered results."""
    from velo_assets.warehouse.connection import Warehouse
    from velo_assets.warehouse.recompute import prove

    passed = True
    with _plain_errors(), Warehouse(_data_root().warehouse).read("velo leaks") as connection:
        for result in prove(connection, days, tuple(table) if table else None):
            typer.echo(str(result))
            passed = passed and result.passed
    raise typer.Exit(0 if passed else 1)


@app.command()
def lineage(
    table: Annotated[str, typer.Argument(help="Table, such as features/form_curves.")],
    column: Annotated[str | None, typer.Argument(help="One of its columns; all by default.")] = None,
) -> None:
    """Show what a column is made of, down to the columns of the files that landed."""
    from velo_assets.warehouse.lineage import column_lineage, trace
    from velo_assets.warehouse.sql_table import SqlTableError

    name = table.replace(".", "/")
    try:
        columns = [column] if column else list(column_lineage(name))
        trees = [trace(name, one) for one in columns]
    except SqlTableError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    for tree in trees:
        typer.echo(tree.text())


@app.command()
def doctor() -> None:
    """Examine the data root: versions, locks, stale runs, orphans, models, tables; with advice in plain words."""
    from velo_assets.assets.builds import nodes_of
    from velo_assets.definitions import defs
    from velo_assets.doctor import examine

    root = _data_root()
    with _plain_errors():
        findings = examine(root, nodes_of(defs.assets))
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.ok else 'SEE '} {finding.check}: {finding.detail}")
        if finding.advice:
            typer.echo(f"     {finding.advice}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command()
def snapshot(
    out: Annotated[Path | None, typer.Option(help="The copy; snapshots/warehouse.duckdb by default.")] = None,
) -> None:
    """Copy the warehouse for notebooks, swapped in atomically, so that readers never block a run."""
    from velo_assets.warehouse.connection import Warehouse

    root = _data_root()
    with _plain_errors():
        typer.echo(Warehouse(root.warehouse).snapshot(out or root.path / "snapshots" / "warehouse.duckdb"))


@app.command()
def backup(out: Annotated[Path, typer.Argument(help="Folder that receives the backup.")]) -> None:
    """Copy warehouse, registry, landed files and reports, all as of one moment."""
    from velo_assets.maintenance import backup as make_backup

    with _plain_errors():
        typer.echo(make_backup(_data_root(), out))


@app.command()
def restore(source: Annotated[Path, typer.Argument(help="A folder made by `velo backup`.")]) -> None:
    """Put a backup in place of what is there, after checking every file of it."""
    from velo_assets.maintenance import restore as put_back

    root = DataRoot.from_environment()
    with _plain_errors():
        for name in put_back(root, source):
            typer.echo(f"restored {name}")
    typer.echo(f"{root.path} is as the backup was; inputs were not touched. `velo doctor` tells what is out of date.")


def _price(root: DataRoot, day: date, nodes: Sequence[Node], known: Mapping[int, str] | None = None) -> PricedDay:
    """Price a day and say what came of it."""
    from datetime import UTC, datetime

    from velo_assets.automation.card_day import price_day
    from velo_assets.resources.models import CHAMPION_NAME, registry_of
    from velo_assets.serving.predict import serving_models
    from velo_assets.warehouse.connection import Warehouse

    models = serving_models(registry_of(root), CHAMPION_NAME)
    with Warehouse(root.warehouse).connect(f"velo predict {day}") as connection:
        priced = price_day(root, connection, models, day, nodes, datetime.now(UTC), known)
    for file in priced.landing.refused:
        typer.echo(f"refused {file.file}: {file.error}", err=True)
    for label, missing in priced.lacking.items():
        typer.echo(f"{label} predicts nothing: the matrix lacks {', '.join(missing)}", err=True)
    races, seconds = priced.predictions["race_key"].n_unique(), sum(priced.seconds.values())
    typer.echo(f"{races} races priced, {priced.new.height} new predictions; {priced.page} ({seconds:.1f} s)")
    if not races:
        typer.echo(f"No race of {day} waits for its result: put its card into racecards/ and run this again.")
    return priced


def _wait_for_files(root: DataRoot) -> None:
    """Return when the input files have changed and, for one look, not gone on changing."""
    from velo_assets.ingestion.landing import input_files

    def look() -> dict[str, tuple[int, int]]:
        found = {}
        for _, path in input_files(root):
            with suppress(FileNotFoundError):
                state = path.stat()
                found[str(path)] = (state.st_size, state.st_mtime_ns)
        return found

    typer.echo("Waiting for files; stop with Ctrl-C.")
    before = seen = look()
    while True:
        time.sleep(LOOK_SECONDS)
        now = look()
        if now == seen and now != before:
            return
        seen = now


def _change_champion(change: Callable[[ModelRegistry, str], RegisteredModel]) -> RegisteredModel:
    """Promote, roll back or retire a version of the recipe in the registry of the data root."""
    from velo_assets.automation.registry_jobs import change_champion
    from velo_assets.resources.models import CHAMPION_NAME, registry_of
    from velo_assets.warehouse.connection import Warehouse

    root = _data_root()
    registry = registry_of(root)
    with _plain_errors():
        return change_champion(Warehouse(root.warehouse), lambda: change(registry, CHAMPION_NAME))


def _refuse_on_an_old_backtest(root: DataRoot) -> None:
    """A version is judged by the stored backtest: behind today's results or code, it would speak of another model."""
    from velo_assets.assets.builds import nodes_of
    from velo_assets.automation.runner import plan
    from velo_assets.definitions import defs

    with _plain_errors():
        behind = plan(nodes_of(defs.assets), root, to_layer="backtest").assets
    if "backtest/tear_sheet" in behind:
        typer.echo(
            "velo: the backtest, by which a version is judged, is out of date: `velo run` first, then `velo train`.",
            err=True,
        )
        raise typer.Exit(1)


def _forget(root: DataRoot, file: str) -> None:
    from velo_assets.automation.instance import velo_instance
    from velo_assets.automation.runner import report_forgotten
    from velo_assets.ingestion.landing import forget
    from velo_assets.ingestion.manifest import record_told, untold_years
    from velo_assets.warehouse.connection import Warehouse

    with Warehouse(root.warehouse).connect("velo land --forget") as connection:
        summary = forget(root, connection, file)
        untold = untold_years(connection)
    with velo_instance(root) as instance:
        report_forgotten(instance, file, replace(summary, years_touched=tuple(sorted(untold))))
    with Warehouse(root.warehouse).connect("velo land --forget: told") as connection:
        record_told(connection, untold)
    typer.echo(f"Forgot {file}.")
    if not summary.years_touched:
        typer.echo("No year is touched: its races came again in other files.")
        return
    years = ", ".join(map(str, summary.years_touched))
    last = max(summary.last_year or 0, *summary.years_touched)
    typer.echo(f"Years touched: {years}. `velo run` refreshes {summary.years_touched[0]} to {last}.")
    if (root.path / file).exists():
        typer.echo(f"{file} is still in its folder: the next landing takes it again, so move it away first.")


def _run_chain(root: DataRoot, *, to: str, years: tuple[int, int] | None) -> None:
    from velo_assets.automation.instance import velo_instance
    from velo_assets.automation.runner import run_chain
    from velo_assets.definitions import defs

    began = time.perf_counter()
    with _plain_errors(), velo_instance(root) as instance:
        outcome = run_chain(defs, instance, root, to_layer=to, years=years, say=typer.echo)
    _tell_landing(root, outcome)
    for layer, seconds in outcome.seconds.items():
        typer.echo(f"  {layer:<12}{seconds:7.1f} s")
    typer.echo(f"Done in {time.perf_counter() - began:.1f} s; {len(outcome.built)} assets materialized.")
    for report in sorted(root.reports.glob("*.html")) + sorted(root.reports.glob("*.json")):
        typer.echo(f"  {report}")
    typer.echo("See it all: make dev, then http://127.0.0.1:3000")


def _tell_landing(root: DataRoot, outcome: Outcome) -> None:
    from velo_assets.warehouse.connection import Warehouse
    from velo_assets.warehouse.query import row_of

    with Warehouse(root.warehouse).read("velo: landing summary") as connection:
        files, rows, rejected = row_of(
            connection,
            "select count(*), coalesce(sum(rows), 0), coalesce(sum(rejected_rows), 0) from landing.manifest "
            "where status = 'live'",
        )
        refused = connection.execute("select file, error from landing.manifest where status = 'refused'").fetchall()
    new = f"{outcome.files_landed} new, {outcome.rows_landed:,} rows" if outcome.files_landed else "nothing new"
    why = " (landing.rejects says why)" if rejected else ""
    typer.echo(f"Landed: {new}; {files} files hold {rows:,} rows, {rejected:,} rejected{why}.")
    for file, error in refused:
        typer.echo(f"  refused {file}: {error}", err=True)


def _data_root() -> DataRoot:
    root = DataRoot.from_environment()
    if not root.path.is_dir():
        typer.echo(
            f"There is no data root at {root.path}: make the folder, or set VELO_DATA to one that exists.", err=True
        )
        raise typer.Exit(2)
    return root


def _simulate_if_empty(root: DataRoot) -> None:
    from velo_assets.simulation.marker import data_kind, read_marker, season_file

    with _plain_errors():
        kind, marker, default = data_kind(root.raceform), read_marker(root.raceform), SimulatedDefault()
        if kind == "simulated" and marker is not None and not marker.is_complete:
            years = range(default.first_year, default.last_year + 1)
            if (marker.seed, marker.edge, set(marker.files)) != (
                default.seed,
                default.edge,
                {*map(season_file, years)},
            ):
                raise RuntimeError(
                    f"The simulation in {root.raceform} was stopped before its last season: run the same `velo "
                    "simulate` again, or `velo clean`."
                )
            typer.echo(f"The simulation in {root.raceform} was stopped before its last season: writing it again.")
        elif kind != "empty":
            return
        elif (landed := _landed_kind(root)) != "empty":
            typer.echo(f"No results in {root.raceform}: going on with the {landed} ones that landed before.")
            return
        else:
            typer.echo(f"No results in {root.raceform}: writing a SIMULATED season set there first.")
        simulate(root.path, default.first_year, default.last_year, default.races_per_year, default.seed, default.edge)


def _landed_kind(root: DataRoot) -> DataKind:
    """What the landed results of a data root are, whatever lies in its raceform/ by now."""
    from velo_assets.ingestion.manifest import results_kind
    from velo_assets.warehouse.connection import Warehouse

    if not root.warehouse.exists():
        return "empty"
    with Warehouse(root.warehouse).read("velo: kind of the landed results") as connection:
        return results_kind(connection)


def _parse_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        typer.echo(f"A day is written such as 2026-01-01, got {text!r}.", err=True)
        raise typer.Exit(2) from None


def _parse_years(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d{4})(?:\.\.\.?(\d{4}))?", text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        typer.echo(f"--years wants a year or a range such as 2019..2021, got {text!r}.", err=True)
        raise typer.Exit(2)
    return int(match[1]), int(match[2] or match[1])


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Errors that a person can act on are one line, not a stack; VELO_DEBUG=1 shows the stack."""
    import duckdb

    try:
        yield
    except typer.Exit:
        raise
    except (duckdb.CatalogException, duckdb.IOException, ValueError, OSError, RuntimeError) as error:
        if os.environ.get("VELO_DEBUG"):
            raise
        words = str(error)
        if isinstance(error, duckdb.Error):
            advice = "`velo run` builds" if isinstance(error, duckdb.CatalogException) else "`velo doctor` looks into"
            words = f"{words.splitlines()[0].partition(': ')[2]} {advice} it."
        typer.echo(f"velo: {words}", err=True)
        raise typer.Exit(1) from error


def main() -> None:
    """The command line, and out by the shortest way.

    What Evidently imports holds on to DuckDB until the interpreter is taken down, and DuckDB's binding then writes
    thirty lines on what it calls leaked under the summary of a run.
    """
    try:
        app()
    except SystemExit as left:
        if isinstance(left.code, str):
            typer.echo(left.code, err=True)
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    else:
        code = 0
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
