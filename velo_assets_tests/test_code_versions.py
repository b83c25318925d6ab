"""Code versions: what an asset rests on lies within the hash that makes it out of date, or is named with a reason."""

import ast
import importlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from velo_assets import code_versions
from velo_assets.code_versions import code_version, files_of
from velo_assets.racing.macros import MACRO_MODULES
from velo_assets.warehouse.sql_table import BUILT_BY, load_table

PACKAGE = Path(code_versions.__file__).parent

BESIDE = {
    "assets/builds": "keeps fingerprints; they are compared, not stored in a table",
    "assets/dress": "what the UI shows of a table that is there",
    "assets/sql_tables": "runs a SQL file; what it stores is hashed with the SQL",
    "code_versions": "the hash itself",
    "partitions": "which years a run covers",
    "resources/data": "where the data root is",
    "resources/models": "where the registry is",
    "resources/notifier": "who is told",
    "ingestion/inputs": "which files there are",
    "ingestion/manifest": "which years have landed; their content is in the fingerprints",
    "warehouse/build": "stores the frames of these assets as they are; hashed with every SQL table",
    "warehouse/builds": "keeps fingerprints, and settings that are part of them",
    "warehouse/catalogue": "descriptions of columns",
    "warehouse/connection": "opens the file and waits for it",
    "warehouse/query": "a result as a frame, read to its end",
    "warehouse/sql_table": "reads the SQL files, which have hashes of their own",
}
"""Modules that change nothing of what any asset stores."""

BESIDE_IN = {
    "CORE_CODE": {
        "ingestion/delimited": "reads files when they land; core calls the macros alone",
        "ingestion/parsed": "likewise",
    },
    "EXPORT_CODE": {"settings": "paths"},
    "MARKET_CODE": {"reports/asset_pictures": "a picture in the UI"},
    "MODEL_CODE": {
        "reports/asset_pictures": "a picture in the UI",
        "serving/training": "names of the families in a picture",
    },
    "BETTING_CODE": {
        "ingestion/delimited": "reads files when they land; betting calls the macros alone",
        "ingestion/parsed": "likewise",
        "reports/asset_pictures": "a picture in the UI",
    },
    "REPORT_CODE": {
        "ingestion/delimited": "reads files when they land; betting calls the macros alone",
        "ingestion/parsed": "likewise",
        "serving/training": "families by the names of the SQL files",
    },
    "MONITORING_CODE": {
        "ingestion/delimited": "reads files when they land; betting calls the macros alone",
        "ingestion/parsed": "likewise",
        "warehouse/null_rates": "what the tear sheet says of blanks, which is written elsewhere",
    },
    "SERVING_CODE": {
        "ingestion/delimited": "reads files when they land; betting calls the macros alone",
        "ingestion/parsed": "likewise",
        "assets/backtest": "its code version is the label of the backtest's predictions",
        "warehouse/null_rates": "what the tear sheet says of blanks, which is written elsewhere",
    },
}
"""Modules that the assets of one code version import, and that change nothing of what these store."""

NOT_PLANNED = {"landing": "the planner compares files, not code, for what lands"}


def module_path(name: str) -> Path:
    return PACKAGE.joinpath(*name.split("/")).with_suffix(".py")


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Modules of the package that these nodes import, those for type checking alone left out."""
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("velo_assets"):
            package = "/".join((node.module or "").split(".")[1:])
            for alias in node.names:
                inner = f"{package}/{alias.name}" if package else alias.name
                yield inner if module_path(inner).is_file() else package
        yield from imported(ast.iter_child_nodes(node))


def imports_of(name: str) -> set[str]:
    found = set(imported([ast.parse(module_path(name).read_text(encoding="utf-8"))]))
    by_name = {module.removeprefix("velo_assets.").replace(".", "/") for module in MACRO_MODULES}
    return found | (by_name if name == "racing/macros" else set())


def declared(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """Names of the code versions of an asset module, with their parts."""
    return {
        ast.unparse(node.targets[0]): tuple(ast.literal_eval(part) for part in node.value.args)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "code_version"
    }


def imported_under(tree: ast.Module, version: str) -> set[str]:
    """What the assets of a code version import: those that name it in their decorator, or the whole module."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    todo = [
        name
        for name, function in functions.items()
        if any(
            isinstance(node, ast.Name) and node.id == version
            for decorator in function.decorator_list
            for node in ast.walk(decorator)
        )
    ]
    if not todo:
        return set(imported([tree]))
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            named = {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
            todo += named & functions.keys()
    outside = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    return set(imported([*outside, *(functions[name] for name in seen)]))


MODULES = {
    path.stem: ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((PACKAGE / "assets").glob("*.py"))
    if path.stem not in ("__init__", "builds", "dress", "sql_tables")
}
VERSIONS = [(module, version) for module, tree in MODULES.items() for version in declared(tree)]


def test_every_layer_has_a_code_version() -> None:
    assert {module for module, _ in VERSIONS} == MODULES.keys() - NOT_PLANNED.keys()
    assert {version for _, version in VERSIONS} == BESIDE_IN.keys()


@pytest.mark.parametrize(("module", "version"), VERSIONS)
def test_what_an_asset_imports_lies_within_its_code_version(module: str, version: str) -> None:
    parts = declared(MODULES[module])[version]
    within = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in files_of(*parts)}
    assert f"assets/{module}" in within
    passed_over = BESIDE.keys() | BESIDE_IN[version].keys()
    reasons = dict.fromkeys(imported_under(MODULES[module], version), f"assets/{module}")
    reasons |= {
        name: inner
        for inner in within
        if module_path(inner).is_file() and inner != f"assets/{module}"
        for name in imports_of(inner)
    }
    missing = {name: by for name, by in reasons.items() if name not in within | passed_over}
    assert missing == {}, "imported by code of the version, and neither in it nor named with a reason"
    unused = BESIDE_IN[version].keys() - reasons.keys()
    assert unused == set(), "named, but nothing imports it"


def test_the_constants_are_those_that_were_read() -> None:
    for module, version in VERSIONS:
        parts = declared(MODULES[module])[version]
        assert getattr(importlib.import_module(f"velo_assets.assets.{module}"), version) == code_version(*parts)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package's files that hashes are taken of."""
    for folder in ("betting", "reports", "warehouse"):
        shutil.copytree(PACKAGE / folder, tmp_path / folder)
    monkeypatch.setattr(code_versions, "_ROOT", tmp_path)
    code_version.cache_clear()
    yield tmp_path
    code_version.cache_clear()


@pytest.mark.parametrize(
    "name",
    ["betting/strategies.toml", "reports/templates/card.html.j2", "reports/templates/velo.css", "betting/settle.py"],
)
def test_an_edited_file_is_another_version(copied: Path, name: str) -> None:
    package = name.split("/")[0]
    before = code_version(package)
    code_version.cache_clear()
    assert code_version(package) == before
    (copied / name).write_text((copied / name).read_text(encoding="utf-8") + "\n", encoding="utf-8")
    code_version.cache_clear()
    assert code_version(package) != before


def test_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(FileNotFoundError):
        code_version("modeling")


def test_a_table_of_sql_is_out_of_date_when_the_code_that_stores_it_is_another(copied: Path) -> None:
    before = load_table("features/form_curves").code_version
    path = copied / f"{BUILT_BY[0]}.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    code_version.cache_clear()
    assert load_table("features/form_curves").code_version != before
