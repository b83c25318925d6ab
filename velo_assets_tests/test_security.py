"""Doors that stay shut: no pickle, bound parameters, escaped names, paths inside the root, secrets that stay secret."""

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path

import polars as pl
import pytest

from velo_assets.ingestion.landing import forget, input_files, land
from velo_assets.ingestion.quality import write_quality_page
from velo_assets.maintenance import backup, restore
from velo_assets.modelling.registry import ModelMetadata, ModelRegistry, RegistryError
from velo_assets.notify import MailChannel, Message, WebhookChannel
from velo_assets.settings import DataRoot
from velo_assets.warehouse.build import build_table, describe, replace_table
from velo_assets.warehouse.connection import Warehouse
from velo_assets.warehouse.query import row_of
from velo_assets_tests.ingestion.raceform_rows import beaten, csv_text, row

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "velo_assets"
MODULES = sorted(PACKAGE.rglob("*.py"))

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = re.compile(r"\b(pyfunc\.load|joblib\.load|np\.load|numpy\.load|torch\.load|yaml\.load\(|load_model)\b")
SQL = re.compile(r"^\s*(select|insert|update|delete|create|copy|with|from|attach|alter|drop)\b", re.IGNORECASE)
ATTACK = "<script>alert(1)</script>"


def formatted_strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every f-string, \\x00 in place of what is formatted in; our own constants are text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = []
            for part in node.values:
                if isinstance(part, ast.Constant):
                    parts.append(str(part.value))
                else:
                    names = [name.id for name in ast.walk(part) if isinstance(name, ast.Name)]
                    parts.append("constant" if names and all(name.lstrip("_").isupper() for name in names) else "\x00")
            yield node.lineno, "".join(parts)


def holds_unbound_value(text: str) -> bool:
    """Whether something is formatted in between single quotes of a SQL statement."""
    # A view takes no parameters, and `date '...'` takes nothing but a date.
    text = text.replace("date '\x00'", "")
    return bool(SQL.match(text)) and any("\x00" in quoted for quoted in text.split("'")[1::2])


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_can_load_a_pickle(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not {name.split(".")[0] for name in names} & UNSAFE_MODULES, f"{module}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "__import__"), f"{module}:{node.lineno}"
    assert not UNSAFE_CALLS.search(text)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_value_is_formatted_into_sql(module: Path) -> None:
    found = [
        f"{module}:{line}: {text!r}"
        for line, text in formatted_strings(ast.parse(module.read_text(encoding="utf-8")))
        if holds_unbound_value(text)
    ]
    assert found == []


def test_the_scan_sees_a_value_between_quotes() -> None:
    tree = ast.parse("connection.execute(f\"select * from core.entries where horse = '{name}'\")")
    (found,) = formatted_strings(tree)
    assert holds_unbound_value(found[1])
    (bound,) = formatted_strings(ast.parse("f\"select 'a' from {table} where horse = ?\""))
    assert not holds_unbound_value(bound[1])


def test_web_server_and_dashboards_listen_on_loopback_only() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    served = [
        line
        for line in makefile.splitlines()
        if re.search(r"dagster (dev|webserver)|dagster-webserver|mlflow (ui|server)", line)
    ]
    assert served
    assert all("127.0.0.1" in line for line in served)
    assert "0.0.0.0" not in makefile


def test_telemetry_is_off() -> None:
    assert re.search(r"telemetry:\s+enabled: false", (PROJECT / "dagster.yaml").read_text())


def test_a_name_with_quotes_is_data_not_sql(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    root.raceform.mkdir()
    name = "Robert'); drop table landing.manifest; --"
    (root.raceform / "o'brien.csv").write_text(csv_text([row(horse=name), beaten()]), encoding="utf-8")
    with Warehouse(root.warehouse).connect() as connection:
        land(root, connection)
        build_table(connection, "core/entries", date(2015, 1, 1), date(2015, 12, 31))
        horses = {horse for (horse,) in connection.execute("select horse from core.entries").fetchall()}
        assert any("drop table" in horse for horse in horses)
        assert row_of(connection, "select count(*) from landing.manifest") == (1,)
        forget(root, connection, "raceform/o'brien.csv")
        assert row_of(connection, "select count(*) from landing.manifest") == (0,)


def test_a_link_in_the_inputs_lands_by_content_and_forgetting_it_leaves_the_target(tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text(csv_text([row(), beaten()]), encoding="utf-8")
    root = DataRoot(tmp_path / "root")
    root.raceform.mkdir(parents=True)
    (root.raceform / "link.csv").symlink_to(outside)
    with Warehouse(root.warehouse).connect() as connection:
        land(root, connection)
        parts = [part for (part,) in connection.execute("select unnest(parquet) from landing.manifest").fetchall()]
        assert all((root.path / part).resolve().is_relative_to(root.path.resolve()) for part in parts)
        forget(root, connection, "raceform/link.csv")
    assert outside.exists()
    assert [kind for kind, _ in input_files(root)] == ["raceform"]


def test_forgetting_a_path_outside_the_root_touches_nothing(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "root")
    root.raceform.mkdir(parents=True)
    outside = tmp_path / "secret.csv"
    outside.write_text("mine")
    with Warehouse(root.warehouse).connect() as connection:
        for name in ("../secret.csv", str(outside), "/etc/passwd"):
            with pytest.raises(ValueError, match="Nothing landed"):
                forget(root, connection, name)
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "mlartifacts/../../outside.txt"])
def test_a_backup_can_not_write_outside_the_root(tmp_path: Path, name: str) -> None:
    root = DataRoot(tmp_path / "root")
    root.path.mkdir()
    with Warehouse(root.warehouse).connect():
        pass
    saved = backup(root, tmp_path / "backups")
    planted = tmp_path / "backups" / "outside.txt"
    planted.write_text("evil")
    manifest = json.loads((saved / "backup.json").read_text())
    manifest["files"][name] = hashlib.sha256(b"evil").hexdigest()
    (saved / "backup.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="outside the backup"):
        restore(root, saved)
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.json", "model.pkl", "model.bin"])
def test_the_registry_takes_no_path_that_leaves_it_and_no_format_with_code(tmp_path: Path, name: str) -> None:
    registry = ModelRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "mlartifacts")
    provenance = ModelMetadata(date(2016, 1, 1), date(2016, 12, 31), "abc", "0" * 64, "none")
    with pytest.raises(RegistryError):
        registry.register("velo", {name: "x"}, provenance)
    assert not (tmp_path / "evil.txt").exists()


@pytest.mark.parametrize("name", ["core/x; drop table core.y", "core/../meta", 'core/"x"', "core.x", "../x"])
def test_a_table_name_can_carry_no_sql(tmp_path: Path, name: str) -> None:
    with Warehouse(tmp_path / "w.duckdb").connect() as connection:
        with pytest.raises(ValueError, match="not a table name"):
            describe(connection, name)
        with pytest.raises(ValueError, match="not a table name"):
            replace_table(connection, name, pl.DataFrame({"a": [1]}))


def test_a_horse_called_script_is_text_on_the_quality_page(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    root.raceform.mkdir()
    rows = [
        row(horse=ATTACK, trainer="Dave O'Malley", dam="A"),
        beaten(trainer="Dave Omalley", sp=ATTACK),
        row(date="2015-05-01", horse=ATTACK, dam="B"),
    ]
    (root.raceform / f"{ATTACK.replace('/', '-')}.csv").write_text(csv_text(rows), encoding="utf-8")
    with Warehouse(root.warehouse).connect() as connection:
        land(root, connection)
        for table in ("core/races", "core/entries", "core/results", "core/prices"):
            build_table(connection, table, date(2015, 1, 1), date(2016, 12, 31))
        write_quality_page(connection, root, root.reports / "quality.html")
    assert_escaped((root.reports / "quality.html").read_text(encoding="utf-8"))


def test_a_horse_called_script_is_text_on_the_card_page(tmp_path: Path) -> None:
    from velo_assets.serving.card_page import read_card_page, write_card_page

    day = date(2026, 3, 1)
    texts = dict.fromkeys(("race_label", "course", "country", "race_name", "distance_text", "going", "code"), ATTACK)
    races = pl.DataFrame(
        {"race_date": [day], "race_key": [1], **{name: [text] for name, text in texts.items()}, "off_text": [ATTACK]}
    ).with_columns(
        off_time=pl.lit(time(14, 30)), race_class=pl.lit(None, pl.Int32), is_handicap=pl.lit(False),
        stage=pl.lit("card"),
    )  # fmt: skip
    people = {name: [ATTACK, ATTACK] for name in ("horse", "jockey", "trainer", "sex", "headgear")}
    entries = pl.DataFrame(
        {"race_date": [day] * 2, "race_key": [1, 1], "runner_key": [1, 2], "horse_key": [1, 2], **people}
    ).with_columns(
        *(pl.lit(4, pl.Int32).alias(name) for name in ("saddle_number", "stall", "age_years", "weight_lb")),
        headgear_first_time=pl.lit(False), official_rating=pl.lit(80, pl.Int32), card_rating=pl.lit(90, pl.Int32),
        stage=pl.lit("card"),
    )  # fmt: skip
    with Warehouse(tmp_path / "w.duckdb").connect() as connection:
        replace_table(connection, "core/races", races)
        replace_table(connection, "core/entries", entries)
        path = write_card_page(read_card_page(connection, day, None), tmp_path / "card.html")
    assert_escaped(path.read_text(encoding="utf-8"))


def assert_escaped(page: str) -> None:
    assert ATTACK not in page
    assert "alert(1)" in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"<script[^>]*>\s*alert", page)


def test_templates_mark_nothing_as_safe_but_our_own_style_and_pictures() -> None:
    marked = {
        name
        for path in (PACKAGE / "reports" / "templates").iterdir()
        for name in re.findall(r"\{\{\s*(.*?)\s*\|\s*safe\b", path.read_text(encoding="utf-8"))
    }
    assert marked == {"css", "svg", "phone"}
    assert not [path for path in PACKAGE.rglob("*.j2") if "autoescape" in path.read_text(encoding="utf-8")]
    assert "autoescape=True" in (PACKAGE / "reports" / "pages.py").read_text(encoding="utf-8")


def test_secrets_of_the_notifier_are_in_no_representation_and_no_error() -> None:
    secret = "hunter2-very-secret"
    channels = [
        WebhookChannel(url=f"http://127.0.0.1:9/{secret}"),
        MailChannel(host="127.0.0.1", port=9, sender="a@b.c", recipients=("d@e.f",), password=secret),
    ]
    for channel in channels:
        assert secret not in repr(channel)
        with pytest.raises(OSError) as caught:  # noqa: PT011
            channel.send(Message("title", "text"))
        assert secret not in str(caught.value)
