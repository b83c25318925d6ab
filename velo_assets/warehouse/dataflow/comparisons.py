"""What a comparison of two values says of the order of their days.

Belongs here: comparisons turned into facts. Does not belong here: finding them in SQL (values.py, queries.py).
"""

from __future__ import annotations

from velo_assets.warehouse.moments import DAY_PHASES, FIRST, LAST, LAST_IN, MONTHS, Facts, Moment, Value

Comparison = tuple[Value, str, Value, str]
"""Left side, operator (`<`, `<=` or `=`), right side, and the SQL in which it stands."""


def learn(facts: Facts, one: Value, operator: str, other: Value, only_below: set[int] | None = None) -> None:
    """Turn `one operator other` into facts.

    Args:
        facts: receives them.
        one: left side.
        operator: '<', '<=' or '='.
        other: right side.
        only_below: symbols that may stand on the earlier side; None for any. A left join's condition says nothing
            of the left rows that match none.
    """

    def note(earlier: Moment, later: Moment) -> None:
        # What a correlated query asks of the row outside, or any query of the parameters, holds only where it finds
        # something.
        of_rows = earlier.symbol not in facts.constants and not (
            facts.is_constant(earlier.symbol) and facts.is_constant(later.symbol)
        )
        if of_rows and (only_below is None or earlier.symbol in only_below):
            facts.learn(earlier, later)

    def note_same(earlier: int, later: int) -> None:
        for phase in DAY_PHASES:
            note(Moment(phase, earlier), Moment(phase, later))

    if operator == "=" and one.identity and other.identity and one.identity[0] == other.identity[0]:
        note_same(one.identity[1], other.identity[1])
        note_same(other.identity[1], one.identity[1])
    if operator == "<" and other.later is not None and other.earlier is not None and one.symbol is None:
        low = _literal_days(one)
        if low is not None and low >= 0:
            learn(facts, other.earlier, "<", other.later, only_below)
    if operator == "<=" and other.later is not None and other.earlier is not None and one.symbol is None:
        low = _literal_days(one)
        if low is not None and low >= 1:
            learn(facts, other.earlier, "<", other.later, only_below)
    if one.symbol is None or other.symbol is None:
        return
    if operator == "=":
        learn(facts, one, "<=", other, only_below)
        learn(facts, other, "<=", one, only_below)
        return
    a, b = one.symbol, other.symbol
    if one.unit.startswith(LAST_IN) or other.unit.startswith(LAST_IN):
        if operator == "<" and one.unit == LAST_IN + other.unit and one.shift == 0 and other.shift <= 0:
            note(Moment(LAST, a), Moment(FIRST, b))
        return
    # one + i < other + j  <=>  one < other + gap, where both count in one unit
    gap = other.shift - one.shift
    strict = gap <= 0 if operator == "<" else gap <= -1
    loose = gap <= 1 if operator == "<" else gap <= 0
    if one.unit == other.unit:
        if strict:
            note(Moment(LAST, a), Moment(FIRST, b))
        if loose:
            note_same(a, b)
    elif one.shift < 0 or other.shift > 0:
        # Days, months and years are not as long as one another: steps of the one make up for none of the other.
        return
    elif one.unit in ("day", MONTHS):
        # A period compared as a date is its first day.
        if strict:
            note(Moment(LAST, a), Moment(FIRST, b))
        elif loose:
            note(Moment(FIRST, a), Moment(FIRST, b))
            note(Moment(LAST, a), Moment(LAST, b))
    elif loose:
        note(Moment(FIRST, a), Moment(FIRST, b))


def span_after(facts: Facts, span: str, comparisons: list[Comparison]) -> str:
    """What span of days is left of `span` (see Relation.span) where these comparisons hold."""
    if not comparisons or any(v.symbol is None for one, _, other, _ in comparisons for v in (one, other)):
        return ""
    start, end = facts.parameter("start"), facts.parameter("end")
    keeps_window = all(
        operator == "<="
        and one.unit == other.unit == "day"
        and ((one.symbol == start and one.shift <= other.shift) or (other.symbol == end and other.shift >= one.shift))
        for one, operator, other, _ in comparisons
    )
    return span if keeps_window else span and "days"


def _literal_days(value: Value) -> int | None:
    return value.shift if not value.label and not value.sources and value.symbol is None else None
