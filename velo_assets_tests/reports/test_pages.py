"""Words for numbers, the shell, escaping."""

from __future__ import annotations

from pathlib import Path

import pytest

from velo_assets.reports.pages import banners, interval, number, percent, tone, write_page


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (number(1234.5, 1), "1,234.5"),
        (number(-0.5, 2, signed=True), "−0.50"),
        (number(-0.001, 1, signed=True), "0.0"),
        (number(None), "–"),
        (percent(0.1234), "12.3%"),
        (percent(None), "–"),
        (interval(-0.1, 0.2), "−10.0% to +20.0%"),
        (interval(None, 0.2), ""),
        (tone(0.1, 0.2), "good"),
        (tone(-0.2, -0.1), "bad"),
        (tone(-0.2, 0.1), ""),
        (tone(None, None), ""),
    ],
)
def test_words(words: str, expected: str) -> None:
    assert words == expected


def test_banners_are_carried_when_they_must() -> None:
    assert [banner["title"] for banner in banners(simulated=True, closing_price=True)] == [
        "SIMULATED.",
        "CLOSING PRICE.",
    ]
    assert banners(simulated=False, closing_price=False) == []


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    path = write_page(tmp_path / "reports" / "page.html", "<p>馬</p>")
    assert path.read_text(encoding="utf-8") == "<p>馬</p>"
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
