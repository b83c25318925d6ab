"""The catalogue lists every feature with its meaning and sources, and where the earlier systems' features went."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from velo_assets.warehouse import catalogue
from velo_assets.warehouse.catalogue import (
    PREDECESSORS,
    catalogue_hash,
    catalogue_html,
    catalogue_markdown,
    features,
    write_catalogue,
)
from velo_assets.warehouse.sql_table import load_table


def entry(name: str) -> catalogue.Feature:
    return next(feature for feature in features() if feature.name == name)


def test_every_matrix_column_is_in_the_catalogue() -> None:
    names = {feature.name for feature in features()}
    matrix = {column.name for column in load_table("features/runner_features").columns}
    assert matrix - names <= {"race_date", "race_key", "runner_key"}


def test_an_entry_says_what_when_and_of_what() -> None:
    rating = entry("rpr_last")
    assert rating.family == "form_curves"
    assert rating.unit == "points"
    assert "730 days" in rating.look_back
    assert rating.known == "declaration"
    assert "core.results.racing_post_rating" in rating.core_columns
    assert "rpr" in rating.raceform_columns
    assert entry("body_weight_lb").known == "morning"
    for feature in features():
        assert feature.meaning, feature
        assert feature.null_policy.startswith("null"), feature
        assert feature.core_columns, feature


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("runs in 90 days; null without a jockey", ("runs in 90 days", "null without a jockey")),
        ("draw bias, null over jumps", ("draw bias", "null over jumps")),
        ("age", ("age", "null without an earlier run or a value it is made of")),
    ],
)
def test_the_null_policy_is_read_from_the_comment(description: str, expected: tuple[str, str]) -> None:
    assert catalogue._split_nulls(description, "1095 days") == expected


def test_every_feature_of_the_earlier_systems_has_its_place() -> None:
    names = {feature.name for feature in features()}
    assert sum(old.system == "v1.1" for old in PREDECESSORS) == 21
    assert sum(old.system == "TIE" for old in PREDECESSORS) == 7
    assert len({old.name for old in PREDECESSORS if old.system == "SQPE"}) == 11
    for old in PREDECESSORS:
        assert set(old.columns) <= names, old
        assert old.system != "v1.1" or old.columns == (old.name,)


def test_the_pages_hold_every_feature_and_are_written(tmp_path: Path) -> None:
    made = write_catalogue(tmp_path / "pages" / "features.html", tmp_path / "features.md")
    assert made == catalogue_hash()
    page = (tmp_path / "pages" / "features.html").read_text(encoding="utf-8")
    text = (tmp_path / "features.md").read_text(encoding="utf-8")
    assert made in page
    assert made in text
    for feature in features():
        assert f"<td>{feature.name}</td>" in page
        assert f"| {feature.name} |" in text
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {5, 9}


def test_the_html_is_well_formed_and_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = catalogue.Feature("x", "trouble", "<script>&\"'", "", "", "null", "off", ("a|b",), ())
    monkeypatch.setattr(catalogue, "features", lambda: (hostile,))
    monkeypatch.setattr(catalogue, "_families", lambda: (("trouble", (hostile,)),))
    page = catalogue_html()
    assert "<script>" not in page
    assert "&lt;script&gt;&amp;&quot;&#x27;" in page
    assert "a\\|b" in catalogue_markdown()

    class Balance(HTMLParser):
        depth = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.depth += tag != "meta"

        def handle_endtag(self, tag: str) -> None:
            self.depth -= 1

    balance = Balance()
    balance.feed(page)
    assert balance.depth == 0


def test_the_hash_is_stable() -> None:
    assert catalogue_hash() == catalogue_hash()
    assert len(catalogue_hash()) == 16
