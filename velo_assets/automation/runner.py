"""Runs the chain from the command line, through Dagster: land, plan what is out of date, build it, tell what was done.

Belongs here: planning and launching. Does not belong here: what a layer does (assets), how it is worded (cli.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from velo_assets.assets.builds import nodes_of
from velo_assets.automation.instance import process_tag
from velo_assets.automation.retention import forget_old_runs, keep_runs_days
from velo_assets.partitions import range_tags
from velo_assets.settings import LAYERS, DataRoot
from velo_assets.warehouse.builds import WHOLE, Node, forget_years, is_of_settings, stale, stored_fingerprints
from velo_assets.warehouse.connection import Warehouse

if TYPE_CHECKING:
    from velo_assets.ingestion.landing import LandingSummary


REFRESHES_TAG = "velo/refreshes"
"""Tag of a landing whose command goes on to refresh whatever has landed, through all layers."""


@dataclass(frozen=True)
class Plan:
    """What has to be built.

    Attributes:
        assets: asset names, dependencies first.
        first_year: first year out of date; None when only unpartitioned assets are.
        last_year: last year with data.
        landed_years: years of which something has landed.
    """

    assets: tuple[str, ...]
    first_year: int | None
    last_year: int | None
    landed_years: tuple[int, ...]


@dataclass
class Outcome:
    """What a command did.

    Attributes:
        seconds: time spent per layer.
        built: assets built, in order.
        years: years refreshed, first and last.
        run_ids: Dagster runs, to be found in the UI.
        files_landed: input files that were new or had changed.
        rows_landed: rows of these.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    built: list[str] = field(default_factory=list)
    years: tuple[int, int] | None = None
    run_ids: list[str] = field(default_factory=list)
    files_landed: int = 0
    rows_landed: int = 0


class RunFailed(RuntimeError):
    """A Dagster run failed; the message names the step and its error."""


def plan(
    nodes: Sequence[Node],
    root: DataRoot,
    *,
    to_layer: str = "serving",
    years: tuple[int, int] | None = None,
) -> Plan:
    """Find what is out of date.

    Args:
        nodes: all assets, dependencies first.
        root: the data root.
        to_layer: last layer to build.
        years: rebuild these years whatever their state, and what else is out of date.

    Returns:
        The plan; empty when everything is up to date.

    Raises:
        ValueError: no such layer.
    """
    from velo_assets.ingestion.manifest import year_fingerprints

    if to_layer not in LAYERS:
        raise ValueError(f"There is no layer {to_layer!r}; the layers are {', '.join(LAYERS)}.")
    with Warehouse(root.warehouse).connect("velo run: planning") as connection:
        landed = year_fingerprints(connection)
        stored = stored_fingerprints(connection)
    wanted = LAYERS[: LAYERS.index(to_layer) + 1]
    nodes = [node for node in nodes if node.name.split("/")[0] in wanted]
    if years:
        # A year whose files were forgotten is known from its record alone, and has to be emptied.
        stored = {
            (name, year): fingerprint
            for (name, year), fingerprint in stored.items()
            if is_of_settings(name) or not (years[0] <= year <= years[1] and year in landed)
        }
    behind = stale(nodes, stored, landed, sorted(landed))
    behind_years = sorted({year for missing in behind.values() for year in missing} - {WHOLE})
    return Plan(
        assets=tuple(node.name for node in nodes if node.name in behind),
        first_year=behind_years[0] if behind_years else None,
        last_year=behind_years[-1] if behind_years else None,
        landed_years=tuple(sorted(landed)),
    )


def run_chain(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    root: DataRoot,
    *,
    to_layer: str = "serving",
    years: tuple[int, int] | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Land new files, then build whatever is out of date up to a layer; old runs are forgotten on the way.

    Args:
        defs: the definitions.
        instance: where runs are recorded.
        root: the data root.
        to_layer: last layer to build.
        years: first and last year to rebuild whatever their state.
        say: receives a line for each thing worth knowing.

    Returns:
        What was done.

    Raises:
        RunFailed: a step failed.
        ValueError: no such layer, or `VELO_KEEP_RUNS_DAYS` is no number of days.
    """
    outcome = Outcome()
    forgotten = forget_old_runs(instance, datetime.now(UTC))
    if forgotten:
        say(f"Dagster forgot {len(forgotten)} runs older than {keep_runs_days()} days.")
    execute(defs, instance, "land", outcome, tags={REFRESHES_TAG: "yes"} if to_layer == LAYERS[-1] else None)
    nodes = nodes_of(defs.assets)
    todo = plan(nodes, root, to_layer=to_layer, years=years)
    nothing_landed = years is not None and not any(years[0] <= year <= years[1] for year in todo.landed_years)
    if years and nothing_landed:
        say(f"Nothing has landed for {years[0]}{f' to {years[1]}' if years[1] > years[0] else ''}.")
    if not todo.assets:
        if not nothing_landed:
            say("Everything is up to date.")
        return outcome
    first, last = todo.first_year, todo.last_year
    if first is None or last is None:
        say(f"Building {len(todo.assets)} summaries.")
    else:
        say(f"Building {len(todo.assets)} assets for {first} to {last}.")
        outcome.years = (first, last)
    if years:
        # Else a table that is also out of date would be built from the first day that changed, not whole.
        with Warehouse(root.warehouse).connect("velo run: years to rebuild") as connection:
            forget_years(connection, todo.assets, *years)
    execute(defs, instance, "refresh", outcome, assets=todo.assets, years=outcome.years)
    return outcome


def report_forgotten(instance: dg.DagsterInstance, file: str, summary: LandingSummary) -> None:
    """Record in Dagster what a forgotten file touched, so that the `landed_years` sensor refreshes those years.

    Args:
        instance: where it is recorded.
        file: the forgotten file.
        summary: what forgetting it touched.
    """
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=dg.AssetKey(["landing", "raceform"]),
            description=f"Forgot {file}.",
            metadata={
                "forgotten": file,
                "years_touched": list(summary.years_touched),
                "last_year": summary.last_year,
            },
        )
    )


def execute(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    outcome: Outcome,
    *,
    assets: Sequence[str] | None = None,
    years: tuple[int, int] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """Execute a job in this process and add its story to `outcome`.

    Raises:
        RunFailed: a step failed.
    """
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        run_config={"loggers": {"console": {"config": {"log_level": "WARNING"}}}},
        tags={**process_tag(), **(range_tags(*years) if years else {}), **(tags or {})},
        asset_selection=[dg.AssetKey(name.split("/")) for name in assets] if assets else None,
        raise_on_error=False,
    )
    outcome.run_ids.append(result.run_id)
    failures = []
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.STEP_SUCCESS and event.step_key:
            layer = event.step_key.split("__")[0]
            outcome.seconds[layer] = outcome.seconds.get(layer, 0.0) + event.step_success_data.duration_ms / 1000
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
            name = event.asset_key.to_user_string()
            if name not in outcome.built:
                outcome.built.append(name)
            if name.startswith("landing/"):
                metadata = event.step_materialization_data.materialization.metadata
                outcome.files_landed += int(metadata["files_landed"].value)  # type: ignore[arg-type]
                outcome.rows_landed += int(metadata["rows_landed"].value)  # type: ignore[arg-type]
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            cause = error.cause if error and error.cause else error
            failures.append(f"{event.step_key}: {cause.message.strip() if cause else 'failed'}")
    if not result.success:
        raise RunFailed("\n".join(failures) or f"Run {result.run_id} of {job} failed before its first step.")
