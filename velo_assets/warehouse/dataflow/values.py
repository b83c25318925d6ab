"""What the value of an expression is made of, and what it says as a date.

Belongs here: names, expressions, subqueries, comparisons as they stand in a condition. Does not belong here: windows
(windows.py), which rows there are (sources.py, queries.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from velo_assets.warehouse.availability import DECISION_TIME
from velo_assets.warehouse.dataflow.comparisons import Comparison, learn
from velo_assets.warehouse.dataflow.tree import conjuncts, line_of, whole_number
from velo_assets.warehouse.moments import (
    DAY_PHASES,
    FIRST,
    MONTHS,
    NEVER,
    NOTHING,
    RACE,
    RUNNER,
    WITHIN,
    Facts,
    Label,
    Moment,
    Origin,
    Relation,
    UnsupportedSqlError,
    Value,
    merge,
)

_PERIODS = ("year", "quarter", "month", "week")


@dataclass
class Scope:
    """What names mean inside one select."""

    parent: Scope | None
    ctes: Mapping[str, Relation] = field(default_factory=dict)
    sources: dict[str, Relation] = field(default_factory=dict)
    merged: dict[str, Value] = field(default_factory=dict)
    aliases: dict[str, Value] = field(default_factory=dict)
    locals: set[str] = field(default_factory=set)
    rows: Label = field(default_factory=dict)
    unique: set[frozenset[tuple[str, str]]] = field(default_factory=set)
    same: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    windows: dict[str, Any] = field(default_factory=dict)

    def canonical(self, column: tuple[str, str]) -> tuple[str, str]:
        """The one column that stands for all that joins made equal to this one."""
        while column in self.same:
            column = self.same[column]
        return column


class ValueFlow(ABC):
    """Follows values; what it needs of queries and windows is made on top of it.

    Attributes:
        exp: sqlglot's expressions, imported when first needed: they cost a second.
        facts: what comparisons have said of days so far.
        columns_of: column names of an upstream `schema/table`, or None when it is not declared.
        line: last line seen, for messages.
    """

    def __init__(self, columns_of: Callable[[str], tuple[str, ...] | None]) -> None:
        from sqlglot import expressions

        self.exp = expressions
        self.facts = Facts()
        self.columns_of = columns_of
        self.line = 1

    @abstractmethod
    def query(self, tree: Any, ctes: Mapping[str, Relation], parent: Scope | None) -> Relation:
        """The rows of a query, see queries.py."""

    @abstractmethod
    def _window(self, window: Any, scope: Scope) -> Value:
        """The value of a window function, see windows.py."""

    def value(self, expression: Any, scope: Scope) -> Value:
        """What an expression is made of, within a scope."""
        exp = self.exp
        kind = type(expression)
        if kind in (exp.Alias, exp.Paren):
            return self.value(expression.this, scope)
        if kind is exp.Column:
            return self._column(expression, scope)
        if kind is exp.Placeholder or kind is exp.Parameter:
            return Value(symbol=self.facts.parameter(expression.name))
        if kind in (exp.Literal, exp.Null, exp.Boolean, exp.DataType, exp.Var):
            return NOTHING if kind is not exp.Literal else Value(shift=whole_number(expression) or 0)
        if kind is exp.Count and isinstance(expression.this, exp.Star):
            return NOTHING
        if kind in (exp.Columns, exp.Star):
            # Stands for columns that it does not name.
            raise UnsupportedSqlError(self.line, "columns(...), or a star inside an expression: list the columns")
        if kind is exp.Identifier:
            return NOTHING if expression.name in scope.locals else self._name(expression.name, scope, expression)
        if kind is exp.Window:
            return self._window(expression, scope)
        if kind in (exp.Subquery, exp.Exists):
            return self._subquery(expression.this, scope).plain()
        if kind is exp.In:
            return self._in_list(expression, scope)
        if kind is exp.PropertyEQ:
            return self.value(expression.expression, scope)
        if kind is exp.Lambda:
            names = {e.name for e in expression.expressions}
            added = names - scope.locals
            scope.locals |= added
            try:
                return self.value(expression.this, scope)
            finally:
                scope.locals -= added
        made = self._children(expression, scope)
        return self._dated(expression, made, scope)

    def _children(self, expression: Any, scope: Scope) -> Value:
        values = [self.value(child, scope) for child in expression.iter_expressions()]
        return Value(
            merge(*(v.label for v in values)),
            frozenset().union(*(v.sources for v in values)) if values else frozenset(),
        )

    def _dated(self, expression: Any, made: Value, scope: Scope) -> Value:
        """Give `made` its meaning as a date, where the expression is one."""
        exp = self.exp
        kind = type(expression)

        def of(child: Any) -> Value:
            return self.value(child, scope)

        if kind in (exp.Cast, exp.TryCast):
            inner = of(expression.this)
            if inner.symbol is not None and expression.to.is_type("date", "int", "bigint", "smallint"):
                return replace(inner, later=None, earlier=None)
            return made
        if kind in (exp.TimestampTrunc, exp.DateTrunc):
            unit = expression.args["unit"].name.lower()
            inner = of(expression.this)
            return self._period(made, inner, unit)
        if kind is exp.Year:
            return self._period(made, of(expression.this), "year")
        if kind is exp.Extract and expression.this.name.lower() == "year":
            return self._period(made, of(expression.expression), "year")
        if kind is exp.DateFromParts:
            first = of(expression.args["year"])
            is_first_day = all(
                isinstance(expression.args.get(part), exp.Literal) and expression.args[part].name == "1"
                for part in ("month", "day")
            )
            if is_first_day and first.symbol is not None and first.unit == "year" and first.shift <= 0:
                return replace(first, label=made.label, sources=made.sources)
            return made
        if kind in (exp.Add, exp.Sub):
            one, other = of(expression.this), of(expression.expression)
            if one.symbol is not None and other.symbol is not None and kind is exp.Sub:
                return replace(made, later=one, earlier=other)
            if one.symbol is not None:
                step, unit = self._step(expression.expression, one.unit) or (None, "")
                if step is not None and (unit == one.unit or one.shift == 0):
                    return replace(
                        made, symbol=one.symbol, unit=unit, shift=one.shift + (step if kind is exp.Add else -step)
                    )
            return made
        if kind is exp.DateDiff and expression.args["unit"].name.lower() == "day":
            one, other = of(expression.this), of(expression.expression)
            if one.symbol is not None and other.symbol is not None:
                return replace(made, later=one, earlier=other)
        if kind is exp.Greatest:
            return self._latest(made, [of(child) for child in expression.iter_expressions()])
        return made

    def _latest(self, made: Value, dates: list[Value]) -> Value:
        """The latest of some dates: a day of its own, not before any of them."""
        days = [v.symbol for v in dates if v.symbol is not None and v.unit == "day" and v.shift >= 0]
        if not days:
            return made
        latest = self.facts.symbol()
        for day in days:
            self.facts.learn_days(day, latest)
        return replace(made, symbol=latest)

    def _period(self, made: Value, inner: Value, unit: str) -> Value:
        if unit not in _PERIODS or inner.symbol is None or inner.unit != "day" or inner.shift != 0:
            return made
        period = self.facts.period(inner.symbol, unit)
        label = {
            # Which year it is, is known when the year begins.
            (Moment(FIRST, period) if moment == Moment(FIRST, inner.symbol) else moment): origin
            for moment, origin in made.label.items()
        }
        return replace(made, label=label, symbol=period, unit=unit)

    def _step(self, expression: Any, unit: str) -> tuple[int, str] | None:
        """Steps of an interval or whole number from a value of `unit`, and the unit in which the sum counts."""
        exp = self.exp
        if isinstance(expression, exp.Paren):
            return self._step(expression.this, unit)
        if isinstance(expression, exp.Interval):
            number = whole_number(expression.this)
            name = expression.args["unit"].name.lower().rstrip("s") if expression.args.get("unit") else ""
            days, months = {"day": 1, "week": 7}, {"month": 1, "quarter": 3, "year": 12}
            if number is not None and unit == "day" and name in days:
                return number * days[name], unit
            if number is not None and unit in ("day", MONTHS) and name in months:
                return number * months[name], MONTHS
            return None if number is None or name != unit else (number, unit)
        number = whole_number(expression)
        return None if number is None or unit == MONTHS else (number, unit)

    def _column(self, column: Any, scope: Scope) -> Value:
        self.line = line_of(column) or self.line
        table = column.table
        at: Scope | None = scope
        while at is not None:
            if table and table in at.sources:
                return self._in(at.sources[table], column.name)
            if table:
                try:
                    # A field of a struct column.
                    return self._name(column.args["table"].name, at, column).plain()
                except UnsupportedSqlError:
                    at = at.parent
                    continue
            break
        if table:
            raise UnsupportedSqlError(self.line, f"{column.sql('duckdb')} names no source")
        return self._name(column.name, scope, column)

    def _name(self, name: str, scope: Scope, where: Any) -> Value:
        if name in scope.locals:
            return NOTHING
        if name in scope.merged:
            return scope.merged[name]
        for relation in scope.sources.values():
            if name in relation.columns:
                return relation.columns[name]
        if name in scope.aliases:
            return scope.aliases[name]
        unlisted = [relation for relation in scope.sources.values() if relation.default is not None]
        if len(unlisted) == 1:
            return self._in(unlisted[0], name)
        if unlisted:
            found = [relation.default(name) for relation in unlisted if relation.default]
            return Value(merge(*(v.label for v in found)), frozenset().union(*(v.sources for v in found)))
        if scope.parent is not None:
            return self._name(name, scope.parent, where)
        raise UnsupportedSqlError(line_of(where) or self.line, f"no source has a column {name}")

    def _in(self, relation: Relation, name: str) -> Value:
        if name in relation.columns:
            return relation.columns[name]
        if relation.default is not None:
            relation.columns[name] = relation.default(name)
            return relation.columns[name]
        raise UnsupportedSqlError(self.line, f"no column {name}")

    def _column_id(self, expression: Any, scope: Scope) -> tuple[str, str]:
        expression = expression.unalias()
        if not isinstance(expression, self.exp.Column):
            return ("", expression.sql("duckdb"))
        name = expression.name
        if expression.table:
            return scope.canonical((expression.table, name))
        for alias, relation in scope.sources.items():
            if name in relation.columns:
                return scope.canonical((alias, name))
        return ("", name)

    @contextmanager
    def _correlated(self, scope: Scope) -> Iterator[None]:
        """Inside a correlated query, the rows outside are constants."""
        before = set(self.facts.constants)
        at: Scope | None = scope
        while at is not None:
            for relation in at.sources.values():
                self.facts.constants |= self.facts.reachable(relation)
            at = at.parent
        try:
            yield
        finally:
            self.facts.constants = before

    def _subquery(self, tree: Any, scope: Scope) -> Value:
        with self._correlated(scope):
            relation = self.query(tree, scope.ctes, scope)
        columns = list(relation.columns.values())
        return Value(
            merge(relation.rows, *(c.label for c in columns)), frozenset().union(*(c.sources for c in columns))
        )

    def _in_list(self, expression: Any, scope: Scope) -> Value:
        query = expression.args.get("query")
        if query is None:
            return self._children(expression, scope)
        wanted = self.value(expression.this, scope)
        with self._correlated(scope):
            relation = self.query(query, scope.ctes, scope)
        columns = list(relation.columns.values())
        offered = columns[0] if columns else NOTHING
        if wanted.entity and offered.entity and wanted.entity[0] == offered.entity[0] and relation.span == "window":
            # Every row of the window passes, and all rows of its keys; of other keys there is none.
            origin = Origin(line_of(expression) or self.line, "window-keys", f"{wanted.entity[0]}s of the window")
            return Value(merge(wanted.label, {self.facts.mark(wanted.entity): origin}))
        for mark_of in ("identity", "symbol"):
            one, other = getattr(wanted, mark_of), getattr(offered, mark_of)
            if one is not None and other is not None:
                learn(self.facts, offered, "=", wanted, only_below=self.facts.reachable(relation))
        return Value(merge(wanted.label, self._by_start(merge(relation.rows, *(c.label for c in columns)))))

    def _by_start(self, label: Label) -> Label:
        """The label with the decision time of `$start` for all that is known by then.

        That moment is the same for all rows, so it may choose rows of the past too: no day before `$start` is output.
        """
        start = Moment(DECISION_TIME, self.facts.parameter("start"))

        def is_known_by_then(moment: Moment) -> bool:
            return moment.phase in DAY_PHASES and self.facts.proves(moment, start)

        return {(start if is_known_by_then(moment) else moment): origin for moment, origin in label.items()}

    def _comparisons(self, condition: Any, scope: Scope) -> list[Comparison]:
        exp = self.exp
        operators = {exp.LT: "<", exp.LTE: "<=", exp.EQ: "=", exp.NullSafeEQ: "="}
        flipped = {exp.GT: "<", exp.GTE: "<="}
        out: list[Comparison] = []
        for part in conjuncts(condition, exp):
            kind = type(part)
            if kind in operators:
                one, other = self.value(part.this, scope), self.value(part.expression, scope)
                out.append((one, operators[kind], other, part.sql("duckdb")))
            elif kind in flipped:
                one, other = self.value(part.expression, scope), self.value(part.this, scope)
                out.append((one, flipped[kind], other, part.sql("duckdb")))
            elif kind is exp.Between:
                middle = self.value(part.this, scope)
                out.append((self.value(part.args["low"], scope), "<=", middle, part.sql("duckdb")))
                out.append((middle, "<=", self.value(part.args["high"], scope), part.sql("duckdb")))
        return out

    def _equal_columns(self, condition: Any, scope: Scope) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        exp = self.exp
        return [
            (self._column_id(part.this, scope), self._column_id(part.expression, scope))
            for part in conjuncts(condition, exp)
            if isinstance(part, exp.EQ)
            and isinstance(part.this, exp.Column)
            and isinstance(part.expression, exp.Column)
        ]

    def _fixed_column(self, part: Any, scope: Scope) -> tuple[str, str] | None:
        exp = self.exp
        if isinstance(part, exp.EQ):
            for one, other in ((part.this, part.expression), (part.expression, part.this)):
                if isinstance(one, exp.Column) and isinstance(other, exp.Literal):
                    return self._column_id(one, scope)
        return None

    def _mixed(self, label: Label, keys: Iterable[Value], what: str, where: Any) -> Label:
        """Rows are combined that share `keys`: restricted rows must share the key they are restricted by."""
        out: Label = {}
        for moment, origin in label.items():
            shared = self._shared(moment, keys) if moment.phase == WITHIN else moment
            if shared is None:
                key = self.facts.condition(moment)[0]
                origin = Origin(
                    line_of(where) or self.line,
                    "window-keys",
                    f"{what} mixes {key}s, but only {key}s that run in the window are there",
                )
                shared = Moment(NEVER, 0)
            out.setdefault(shared, origin)
        return out

    def _shared(self, mark: Moment, keys: Iterable[Value]) -> Moment | None:
        """The mark of what is made of all rows that share `keys`; None when some of them may be missing."""
        facts = self.facts
        condition = facts.condition(mark)
        if facts.is_in_window(condition[1]):
            # Rows of the window itself: all of them are there.
            return mark
        known = facts.implied(condition)
        for key in keys:
            of_runner = key.identity and key.identity[0] == RUNNER and (condition[0], key.identity[1]) in known
            if condition[0] != RACE and (of_runner or key.entity in known):
                return mark
        for key in keys:
            day = key.identity[1] if key.identity else key.symbol if key.shift == 0 and key.unit == "day" else None
            if day is not None and facts.is_one_day(day, condition[1]):
                # All runners of a race, or of a day, are there where that day lies in the window.
                return facts.mark((RACE, condition[1]))
        return None
