from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from velo_assets.racing.comments import STYLE_PHRASES, STYLE_SCORES, STYLES
from velo_assets.racing.macros import register


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        register(opened)
        yield opened


def call(connection: duckdb.DuckDBPyConnection, macro: str, *values: object) -> object:
    marks = ", ".join("?" for _ in values)
    return connection.execute(f"select {macro}({marks})", list(values)).fetchall()[0][0]


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("Held up in rear - headway 2f out - led final furlong", "held up"),
        ("Made all - ran on well", "made all"),
        ("Soon made virtually all - stayed on", "made all"),
        ("Made most - headed final 100yds", "led"),
        ("Led - ridden and headed over 1f out - weakened(op 8/1)", "led"),
        ("LED 1F - CHASED LEADERS - WEAKENED", "led"),
        ("Tracked leaders until led after 1f - headed 2f out", "led"),
        ("Chased leaders - soon led - headed last", "led"),
        ("Tracked leader - led over 2f out - clear", "prominent"),
        ("Settled in touch - led 2f out", "mid-division"),
        ("Disputed 3rd - weakened", "prominent"),
        ("Tracked leaders until weakened quickly over 3f out", "prominent"),
        ("Settled behind leaders - effort 2f out", "prominent"),
        ("Dwelt - raced wide - midfield - never dangerous", "mid-division"),
        ("In rear of mid-division - some headway", "mid-division"),
        ("In touch in last pair - headway 2f out", "in rear"),
        ("Slowly into stride and behind - some late headway", "in rear"),
        ("Took keen hold - held up in touch in midfield", "held up"),
        ("Raced centre - rider lost iron early - held up in rear", "held up"),
        ("Soon lost place - in rear", None),
        ("Dwelt - headway to chase leaders over 3f out - soon behind", None),
        ("Led 4f out - soon clear - headed over 1f out", None),
        ("Refused to race", None),
        ("", None),
        (None, None),
    ],
)
def test_running_style_is_where_the_runner_began(
    connection: duckdb.DuckDBPyConnection, text: str | None, style: str | None
) -> None:
    assert call(connection, "comment_running_style", text) == style
    expected_score = None if style is None else dict(zip(STYLES, STYLE_SCORES, strict=True))[style]
    assert call(connection, "comment_style_score", text) == expected_score


def test_every_phrase_of_the_lexicon_means_its_style(connection: duckdb.DuckDBPyConnection) -> None:
    expected = {phrase: style for style, phrases in STYLE_PHRASES.items() for phrase in phrases}
    found = connection.execute(
        "select phrase, comment_running_style(upper(left(phrase, 1)) || substr(phrase, 2) || ' - weakened')"
        " from (select unnest(?) as phrase)",
        [list(expected)],
    ).fetchall()
    assert dict(found) == expected


@pytest.mark.parametrize(
    ("macro", "text", "expected"),
    [
        ("comment_slowly_away", "Dwelt - behind", True),
        ("comment_slowly_away", "Awkward and squeezed out start - in rear", True),
        ("comment_slowly_away", "Went left start - soon prominent", False),
        ("comment_slowly_away", "Led - slowed the pace", False),
        ("comment_hampered", "Held up - badly hampered 2 out", True),
        ("comment_hampered", "Tracked leader - carried slightly left", True),
        ("comment_hampered", "Carried head high - weakened", False),
        ("comment_short_of_room", "Held up - not clear run over 1f out", True),
        ("comment_short_of_room", "Tracked leaders - denied a clear run", True),
        ("comment_short_of_room", "Led - clear 2f out", False),
        ("comment_wide", "Led - wide bend 2f out", True),
        ("comment_wide", "Raced wide", True),
        ("comment_wide", "Broke well from wide draw - led", False),
        ("comment_mistakes", "Led - blundered 4 out", True),
        ("comment_mistakes", "In rear - not always fluent", True),
        ("comment_mistakes", "Chased leaders when hit 2 out", True),
        ("comment_mistakes", "Hit over head with rival's whip", False),
        ("comment_has_note", "Weakened (jockey said gelding stopped quickly)(op 3/1)", True),
        ("comment_has_note", "Weakened (trainer's rep had no explanation for the run)", True),
        ("comment_has_note", "Weakened (op 3/1 tchd 10/3)", False),
        ("comment_has_note", "Mistake 7th (canal turn) - weakened", False),
    ],
)
def test_trouble(connection: duckdb.DuckDBPyConnection, macro: str, text: str, expected: bool) -> None:
    assert call(connection, macro, text) is expected
    assert call(connection, macro, None) is None


@pytest.mark.parametrize(
    ("text", "opening", "touched"),
    [
        ("Led(op 25/1 tchd 11/2)", 26.0, [6.5]),
        ("Led(op 6/4 tchd 7/4 and 11/8)", 2.5, [2.75, 2.375]),
        ("Led(tchd 9/2)", None, [5.5]),
        ("Led(op Evs)", 2.0, None),
        ("Led(op Evens tchd 5/4 - tchd 6/4 in a place)", 2.0, [2.25, 2.5]),
        ("Led(op 4/11)", 1 + 4 / 11, None),
        ("Led(op 8/1 tchd 7/1 - 9/1 and 10/1 in a place)", 9.0, [8.0, 10.0, 11.0]),
        ("Led (jockey said op was late)(op 33/1)", 34.0, None),
        ("Led(op 5/0)", None, None),
        ("Led(op ?/1)", None, None),
        ("Led - stayed on", None, None),
        (None, None, None),
    ],
)
def test_betting_bracket(
    connection: duckdb.DuckDBPyConnection, text: str | None, opening: float | None, touched: list[float] | None
) -> None:
    assert call(connection, "comment_opening_show", text) == opening
    assert call(connection, "comment_touched", text) == touched


@given(numerator=st.integers(1, 1000), denominator=st.integers(1, 100))
def test_any_fraction_of_a_bracket_is_read_back(
    connection: duckdb.DuckDBPyConnection, numerator: int, denominator: int
) -> None:
    text = f"Led - headed 1f out(op {numerator}/{denominator} tchd {numerator}/{denominator})"
    odds = float(1 + Fraction(numerator, denominator))
    assert call(connection, "comment_opening_show", text) == pytest.approx(odds)
    assert call(connection, "comment_touched", text) == pytest.approx([odds])
