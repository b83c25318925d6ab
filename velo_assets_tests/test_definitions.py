"""The wiring, as a snapshot: a diff of wiring.txt shows what a change does to assets, jobs, schedules and sensors."""

import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from velo_assets.automation.freshness import NIGHTLY_FAIL, WEEKLY_FAIL
from velo_assets.definitions import build_defs, defs
from velo_assets.settings import LAYERS

SNAPSHOT = Path(__file__).with_name("wiring.txt")
PROJECT = Path(__file__).resolve().parent.parent
ARCHITECTURE = PROJECT / "docs" / "architecture.md"
DIAGRAM = re.compile(r"(?<=<!-- diagram -->\n).*?(?=<!-- /diagram -->)", re.S)


def wiring() -> str:
    lines = []
    for asset in defs.assets:
        for spec in asset.specs:
            partitions = "yearly" if spec.partitions_def else "whole"
            deps = ", ".join(sorted(dep.asset_key.to_user_string() for dep in spec.deps))
            lines.append(f"asset {spec.key.to_user_string()} ({spec.group_name}, {partitions}) <- {deps}")
    for check in defs.asset_checks:
        lines += [
            f"check {spec.key.to_user_string()}{' (blocking)' if spec.blocking else ''}" for spec in check.check_specs
        ]
    lines += [f"job {job.name}" for job in defs.jobs]
    lines += [
        f"schedule {schedule.name}: {schedule.cron_schedule} {schedule.execution_timezone}"
        for schedule in defs.schedules
    ]
    lines += [f"sensor {sensor.name}" for sensor in defs.sensors]
    return "\n".join(sorted(lines)) + "\n"


def test_whatever_trains_waits_for_the_one_place() -> None:
    waiting = {asset.key.to_user_string() for asset in defs.assets if asset.op.pool == "training"}
    models = {spec.key.to_user_string() for asset in defs.assets for spec in asset.specs if spec.group_name == "models"}
    assert waiting == {*models, "serving/recipe"}


def test_the_wiring_is_as_written_down() -> None:
    if os.environ.get("VELO_WRITE_WIRING"):
        SNAPSHOT.write_text(wiring(), encoding="utf-8")
    assert wiring() == SNAPSHOT.read_text(encoding="utf-8"), "VELO_WRITE_WIRING=1 pytest writes the new wiring down"


def diagram() -> str:
    """Layers with their assets, and which layer reads which: a Mermaid flowchart."""
    assets: dict[str, list[str]] = {layer: [] for layer in LAYERS}
    reads: set[tuple[str, str]] = set()
    for asset in defs.assets:
        for spec in asset.specs:
            layer, name = spec.key.path
            assets[layer].append(name)
            reads |= {(dep.asset_key.path[0], layer) for dep in spec.deps if dep.asset_key.path[0] != layer}
    boxes = [
        f'    {layer}["<b>{layer}</b><br/>{"<br/>".join(", ".join(row) for row in _rows(sorted(names)))}"]'
        for layer, names in assets.items()
    ]
    order = sorted(reads, key=lambda pair: (LAYERS.index(pair[0]), LAYERS.index(pair[1])))
    arrows = [f"    {source} --> {target}" for source, target in order]
    return "\n".join(["```mermaid", "flowchart TD", *boxes, *arrows, "```"]) + "\n"


def _rows(names: list[str], width: int = 4) -> list[list[str]]:
    return [names[first : first + width] for first in range(0, len(names), width)]


def test_the_diagram_of_the_architecture_is_that_of_the_definitions() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    if os.environ.get("VELO_WRITE_WIRING"):
        text = DIAGRAM.sub(diagram(), text)
        ARCHITECTURE.write_text(text, encoding="utf-8")
    found = DIAGRAM.search(text)
    assert found is not None
    assert found[0] == diagram(), "VELO_WRITE_WIRING=1 pytest draws it anew"


def test_the_readme_names_every_asset_in_the_row_of_its_layer() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    for asset in defs.assets:
        for spec in asset.specs:
            layer, name = spec.key.path
            (row,) = re.findall(rf"^\| `{layer}` \|.*$", readme, flags=re.M)
            # The feature families have a page of their own: the catalogue.
            named = ["*"] if layer == "features" else re.findall(r"`([a-z_*]+)`", row)
            assert any(fnmatch(name, pattern) for pattern in named), spec.key


def test_assets_are_grouped_owned_and_described() -> None:
    for asset in defs.assets:
        for spec in asset.specs:
            name = spec.key.to_user_string()
            assert spec.group_name == spec.key.path[0], name
            assert spec.group_name in LAYERS, name
            assert spec.owners, name
            assert spec.kinds, name
            assert spec.description, name
            assert spec.code_version or spec.group_name == "landing", name


def test_layers_only_read_layers_before_them() -> None:
    # `models` and `backtest` read within their layer too.
    for asset in defs.assets:
        for spec in asset.specs:
            own = LAYERS.index(spec.key.path[0])
            for dep in spec.deps:
                assert LAYERS.index(dep.asset_key.path[0]) <= own, (spec.key, dep.asset_key)


def test_what_the_nightly_builds_shows_when_it_is_late() -> None:
    late = {
        spec.key.to_user_string(): spec.freshness_policy.fail_window.to_timedelta()
        for asset in defs.assets
        for spec in asset.specs
        if spec.freshness_policy is not None
    }
    for name in ("landing/raceform", "core/results", "features/runner_features", "serving/predictions"):
        assert late[name] == NIGHTLY_FAIL
    assert late["monitoring/weekly_report"] == WEEKLY_FAIL
    assert "models/blend" not in late
    assert "serving/recipe" not in late


def test_schedules_and_sensors_are_off_until_turned_on() -> None:
    for automation in (*defs.schedules, *defs.sensors):
        assert automation.default_status.value == "STOPPED"


def test_loading_brings_no_heavy_library_along() -> None:
    code = (
        "import sys; import velo_assets.definitions; "
        "print([m for m in ('lightgbm', 'sklearn', 'mlflow', 'evidently', 'matplotlib', 'polars', 'sqlglot', 'shap') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_domain_packages_never_import_dagster() -> None:
    package = Path(__file__).resolve().parent.parent / "velo_assets"
    domains = (
        "racing",
        "warehouse",
        "ingestion",
        "modelling",
        "betting",
        "monitoring",
        "simulation",
        "reports",
        "serving",
    )
    guilty = [
        str(file.relative_to(package))
        for domain in domains
        for file in (package / domain).glob("*.py")
        if "import dagster" in (text := file.read_text(encoding="utf-8")) or "from dagster" in text
    ]
    assert guilty == []


def test_resources_can_be_overridden() -> None:
    from velo_assets.resources.data import WarehouseResource

    other = build_defs(resource_overrides={"warehouse": WarehouseResource(threads=1)})
    assert other.resources["warehouse"].threads == 1
