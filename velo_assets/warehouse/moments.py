"""What a value of a query may depend on, and what is known of the order of moments: the vocabulary of the dataflow.

Belongs here: moments, values, relations, and the facts that prove one moment not after another. Does not belong here:
how SQL makes values of values (dataflow/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from velo_assets.warehouse.availability import Known

DAY_PHASES = tuple(int(known) for known in Known)
"""Phases of a day, from its declarations to its results."""
FIRST, LAST = DAY_PHASES[0], DAY_PHASES[-1]
WITHIN, NEVER = LAST + 1, LAST + 2
"""Further phases. WITHIN marks what is made of rows filtered to the keys of the window: see `Facts.condition`."""

LAST_IN = "last in "
"""Unit of the last day of a group within a period, such as 'last in year'."""

MONTHS = "months of a day"
"""Unit of a day that is some calendar months away from its symbol's: they are not all as long."""


class UnsupportedSqlError(ValueError):
    """The interpreter does not understand a construct, so it cannot vouch for it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Moment(NamedTuple):
    """A point in time: a phase of the day (or period) of a symbol."""

    phase: int
    symbol: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a moment entered: line in the file, rule that it would break, and words for the reader."""

    line: int
    rule: str
    text: str


Label = dict[Moment, Origin]
Condition = tuple[str, int]
"""(key name, symbol): the horse, trainer, ... of the row of that symbol's day is one that runs in the window. With RACE
for the key: that day lies in the window."""
RUNNER, RACE = "runner_key", "race_key"
Source = tuple[str, str]
"""(schema/table, column)."""


@dataclass(frozen=True, slots=True)
class Value:
    """An expression as the interpreter sees it.

    Attributes:
        label: moments it may depend on, each with its origin.
        sources: base columns that its value is made of.
        symbol: the date symbol it equals, shifted by `shift`, or None.
        shift: steps (days, or periods) from the symbol.
        unit: 'day', MONTHS or the period the symbol counts in.
        identity: (key name, symbol): the race or runner key of a row of that symbol's day.
        entity: (key name, symbol): the horse, trainer, ... of a row of that symbol's day.
        later, earlier: operands of a difference of two dates.
    """

    label: Label = field(default_factory=dict)
    sources: frozenset[Source] = frozenset()
    symbol: int | None = None
    shift: int = 0
    unit: str = "day"
    identity: tuple[str, int] | None = None
    entity: tuple[str, int] | None = None
    later: Value | None = None
    earlier: Value | None = None

    def plain(self) -> Value:
        """The value without its meaning as a date or key."""
        return Value(self.label, self.sources)


NOTHING = Value()


def merge(*labels: Label) -> Label:
    """Union of labels; the first origin of a moment wins."""
    out: Label = {}
    for label in labels:
        for moment, origin in label.items():
            out.setdefault(moment, origin)
    return out


@dataclass
class Relation:
    """Rows with columns.

    Attributes:
        columns: output columns in order.
        rows: label of which rows there are.
        unique: sets of columns that name at most one row.
        default: makes columns that are not listed, for tables whose columns are not declared.
        span: 'window' when every entry of the days `$start` to `$end` is there, 'days' when every entry of some other
            span of days is, chosen by date alone; else empty.
    """

    columns: dict[str, Value]
    rows: Label
    unique: set[frozenset[str]] = field(default_factory=set)
    default: Callable[[str], Value] | None = None
    span: str = ""


@dataclass(frozen=True)
class Flow:
    """The result of following one query.

    Attributes:
        columns: output column to value.
        lines: output column to the line that defines it.
        rows: label of which rows there are.
        facts: proves `moment <= moment`.
    """

    columns: Mapping[str, Value]
    lines: Mapping[str, int]
    rows: Label
    facts: Facts


class Facts:
    """Symbols and what is known of their order."""

    def __init__(self) -> None:
        self._edges: dict[Moment, set[Moment]] = {}
        self._count = 0
        self._periods: dict[tuple[int, str], int] = {}
        self.constants: set[int] = set()
        self.parameters: dict[str, int] = {}
        self._conditions: dict[int, Condition] = {}
        self._marks: dict[Condition, int] = {}
        self._implied_by: dict[Condition, set[Condition]] = {}

    def symbol(self) -> int:
        """A fresh symbol."""
        self._count += 1
        return self._count

    def parameter(self, name: str) -> int:
        """The symbol of a bound parameter."""
        if name not in self.parameters:
            self.parameters[name] = self.symbol()
        return self.parameters[name]

    def period(self, symbol: int, unit: str) -> int:
        """The period (year, month, ...) that the day of `symbol` lies in."""
        key = (symbol, unit)
        if key not in self._periods:
            period = self.symbol()
            self._periods[key] = period
            self.learn(Moment(FIRST, period), Moment(FIRST, symbol))
            self.learn(Moment(LAST, symbol), Moment(LAST, period))
            if self.is_constant(symbol):
                self.constants.add(period)
        return self._periods[key]

    def known_period(self, symbol: int, unit: str) -> int | None:
        """The period of a day, when some expression has asked for it."""
        return self._periods.get((symbol, unit))

    def mark(self, condition: Condition) -> Moment:
        """The moment that stands for 'whole only where this condition holds'."""
        if condition not in self._marks:
            self._marks[condition] = self.symbol()
            self._conditions[self._marks[condition]] = condition
        return Moment(WITHIN, self._marks[condition])

    def condition(self, mark: Moment) -> Condition:
        """The condition under which a value with this mark is whole."""
        return self._conditions[mark.symbol]

    def imply(self, condition: Condition, by: Condition) -> None:
        """Record that `condition` holds wherever `by` does: a join has made their keys equal."""
        self._implied_by.setdefault(condition, set()).add(by)

    def implied(self, condition: Condition) -> set[Condition]:
        """All conditions by any of which this one holds, itself among them."""
        seen, queue = {condition}, [condition]
        while queue:
            key, symbol = queue.pop()
            others = self._implied_by.get((key, symbol), set())
            # One runner is one horse, of one trainer.
            others = others | {(key, other) for _, other in self._implied_by.get((RUNNER, symbol), ())}
            queue += others - seen
            seen |= others
        return seen

    def learn_in_window(self, symbol: int) -> None:
        """Record that the day of a symbol lies from `$start` to `$end`."""
        self.learn_days(self.parameter("start"), symbol)
        self.learn_days(symbol, self.parameter("end"))

    def is_in_window(self, symbol: int) -> bool:
        """Whether the day of a symbol is proven to lie from `$start` to `$end`."""
        start, end = self.parameter("start"), self.parameter("end")
        return self.proves(Moment(FIRST, start), Moment(FIRST, symbol)) and self.proves(
            Moment(LAST, symbol), Moment(LAST, end)
        )

    def is_one_day(self, one: int, other: int) -> bool:
        """Whether two symbols are proven to be of one day."""
        return self.proves(Moment(FIRST, one), Moment(FIRST, other)) and self.proves(
            Moment(FIRST, other), Moment(FIRST, one)
        )

    def learn_days(self, earlier: int, later: int) -> None:
        """Record that the day of one symbol is not after that of another."""
        for phase in DAY_PHASES:
            self.learn(Moment(phase, earlier), Moment(phase, later))

    def learn(self, earlier: Moment, later: Moment) -> None:
        """Record that `earlier` is not after `later`."""
        self._edges.setdefault(earlier, set()).add(later)

    def proves(self, earlier: Moment, later: Moment) -> bool:
        """Whether the facts lead from `earlier` to `later`.

        What is not after a parameter is not after the rows that lie behind it, but nothing follows from there for days
        of other rows: they lie behind it only where there is such a row.
        """
        first = (earlier, self._is_parameter(earlier.symbol))
        seen, queue = {first}, [first]
        while queue:
            moment, is_past_parameter = queue.pop()
            if moment == later:
                return True
            follow = set(self._edges.get(moment, ()))
            if is_past_parameter and not self._is_parameter(moment.symbol):
                follow = {after for after in follow if after.symbol == moment.symbol}
            if moment.phase < LAST:
                follow.add(Moment(moment.phase + 1, moment.symbol))
            for after in follow:
                step = (after, is_past_parameter or self._is_parameter(after.symbol))
                if step not in seen:
                    seen.add(step)
                    queue.append(step)
        return False

    def _is_parameter(self, symbol: int) -> bool:
        return symbol in self.parameters.values()

    def is_constant(self, symbol: int) -> bool:
        """Whether a symbol is the same for all rows: a parameter, or a row of an outer query."""
        return symbol in self.constants or self._is_parameter(symbol)

    def all_constants(self) -> set[int]:
        """Symbols that are the same for all rows."""
        return self.constants | set(self.parameters.values())

    def copy_of(self, relation: Relation) -> Relation:
        """An independent instance of a relation: two references to one CTE are different rows."""
        symbols = self.reachable(relation)
        fresh = {old: self.symbol() for old in symbols}
        for (symbol, unit), period in list(self._periods.items()):
            if symbol in fresh and period in fresh:
                self._periods[fresh[symbol], unit] = fresh[period]
        for symbol in [*fresh, *self.all_constants()]:
            for phase in DAY_PHASES:
                moment = Moment(phase, symbol)
                copied = Moment(phase, fresh.get(symbol, symbol))
                for after in list(self._edges.get(moment, ())):
                    if copied != moment or after.symbol in fresh:
                        self.learn(copied, Moment(after.phase, fresh.get(after.symbol, after.symbol)))
        for condition, others in list(self._implied_by.items()):
            if condition[1] in fresh:
                for key, symbol in list(others):
                    self.imply((condition[0], fresh[condition[1]]), (key, fresh.get(symbol, symbol)))

        def moment_of(old: Moment) -> Moment:
            if old.phase == WITHIN:
                key, symbol = self.condition(old)
                return self.mark((key, fresh.get(symbol, symbol)))
            return old if old.phase == NEVER else Moment(old.phase, fresh.get(old.symbol, old.symbol))

        def label(old: Label) -> Label:
            return {moment_of(moment): origin for moment, origin in old.items()}

        def mark(old: tuple[str, int] | None) -> tuple[str, int] | None:
            return old and (old[0], fresh.get(old[1], old[1]))

        def value(old: Value) -> Value:
            symbol = None if old.symbol is None else fresh.get(old.symbol, old.symbol)
            return Value(
                label(old.label), old.sources, symbol, old.shift, old.unit, mark(old.identity), mark(old.entity)
            )

        default = relation.default
        return Relation(
            {name: value(column) for name, column in relation.columns.items()},
            label(relation.rows),
            set(relation.unique),
            (lambda name: value(default(name))) if default else None,
            relation.span,
        )

    def reachable(self, relation: Relation) -> set[int]:
        """Symbols of days that its values, and the facts about them, speak of."""
        queue = self._spoken_of(relation.rows)
        for column in [*relation.columns.values(), *([relation.default("")] if relation.default else [])]:
            queue |= self._spoken_of(column.label)
            queue |= {s for s in (column.symbol, *(m and m[1] for m in (column.identity, column.entity))) if s}
        seen: set[int] = set()
        while queue:
            symbol = queue.pop()
            if symbol in seen or self.is_constant(symbol):
                continue
            seen.add(symbol)
            for phase in DAY_PHASES:
                queue |= {after.symbol for after in self._edges.get(Moment(phase, symbol), ())}
        return seen

    def _spoken_of(self, label: Label) -> set[int]:
        days = {m.symbol for m in label if m.phase in DAY_PHASES}
        for moment in label:
            if moment.phase == WITHIN:
                days |= {symbol for _, symbol in self.implied(self.condition(moment))}
        return days
