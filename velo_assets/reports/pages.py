"""Shared workings of the HTML reports: the template environment, words for numbers, writing a page.

Belongs here: what every report needs. Not here: what any one report says.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")

SIMULATED_BANNER = {
    "kind": "simulated",
    "title": "SIMULATED.",
    "words": "These races never happened. They come from VELO's own simulator and show how the machinery works, "
    "not what it earns.",
}

CLOSING_PRICE_BANNER = {
    "kind": "closing",
    "title": "CLOSING PRICE.",
    "words": "Bets are chosen at the starting price, which is known only at the off, so nobody could have placed them. "
    "Read the returns as a test of the model, not as money that was there.",
}


def banners(*, simulated: bool, closing_price: bool) -> list[dict[str, str]]:
    """Banners that a page must carry.

    Args:
        simulated: the data come from the simulator.
        closing_price: bets or ratings were chosen by a price known only at the off.
    """
    return [*([SIMULATED_BANNER] if simulated else []), *([CLOSING_PRICE_BANNER] if closing_price else [])]


def render_page(template: str, **context: Any) -> str:
    """Render a report: one self-contained page, every value escaped unless the template marks it safe.

    Args:
        template: file in `reports/templates`, which extends `base.html.j2`.
        context: values; `banners`, `facts` and `footer` belong to the shell.

    Returns:
        The page.
    """
    css = (TEMPLATES / "velo.css").read_text(encoding="utf-8")
    shell = {"banners": [], "facts": "", "footer": "", "css": css}
    return _environment().get_template(template).render(**{**shell, **context})


@cache
def _environment() -> Environment:
    """Kept, because it keeps the templates that it has compiled."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, page: str) -> Path:
    """Write a page so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(path)
    return path


def number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a thousands comma and a true minus sign; a dash when there is none."""
    if value is None:
        return "–"
    words = f"{value:{'+' if signed else ''},.{digits}f}"
    if float(words.replace(",", "")) == 0.0:
        words = words.lstrip("+-")
    return words.replace("-", "−")


def percent(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A fraction as a percentage; a dash when there is none."""
    return "–" if value is None else f"{number(100.0 * value, digits, signed=signed)}%"


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """An interval of fractions as percentages; empty when there is none."""
    return (
        ""
        if low is None or high is None
        else f"{percent(low, digits, signed=True)} to {percent(high, digits, signed=True)}"
    )


def tone(low: float | None, high: float | None) -> str:
    """Class of a value by its interval: good above 0, bad below, else neither."""
    if low is None or high is None:
        return ""
    return "good" if low > 0 else "bad" if high < 0 else ""
