"""Follows every value through a SQL query: which columns it is made of, and when it can be known at the latest.

An abstract interpreter over the sqlglot tree. Each row source brings a date symbol, the race day of its row. Each value
carries the set of moments it may depend on: the declarations, the morning, the off or the results of a symbol's day,
or *never* for rows whose day nothing bounds. With the declarations of a day all results of earlier days are known.
Comparisons of dates in joins and filters become facts `moment <= moment`; a value is proven to be known by a moment
when the facts lead there. Whatever the interpreter does not understand, it takes for the worst case: a false alarm is
possible, a miss is not.

Belongs here: the flow. Does not belong here: what counts as a finding (lint.py), how a lineage looks (lineage.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from velo_assets.warehouse.availability import Known, UndeclaredColumnError, known_at
from velo_assets.warehouse.moments import (
    DAY_PHASES,
    FIRST,
    LAST,
    LAST_IN,
    NEVER,
    NOTHING,
    WITHIN,
    Facts,
    Flow,
    Label,
    Moment,
    Origin,
    Relation,
    UnsupportedSqlError,
    Value,
    merge,
)

_RACE_IDENTITIES = ("race_key", "runner_key")
_ENTITY_KEYS = ("horse_key", "trainer_key", "jockey_key", "owner_key", "sire", "dam", "damsire")
_UNIQUE = {
    "core/races": ("race_key",),
    "core/entries": ("runner_key",),
    "core/results": ("runner_key",),
    "core/prices": ("runner_key", "price_kind"),
    "core/sectionals": ("runner_key", "call_number"),
    "market/probabilities": ("runner_key", "price_kind"),
    "features/shrinkage": ("race_date", "entity"),
}
_PERIODS = ("year", "quarter", "month", "week")


@dataclass
class _Scope:
    """What names mean inside one select."""

    parent: _Scope | None
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
        while column in self.same:
            column = self.same[column]
        return column


@cache
def parse(text: str) -> Any:
    """The sqlglot tree of a SQL text."""
    import sqlglot

    return sqlglot.parse_one(text, dialect="duckdb")


def follow(text: str, columns_of: Callable[[str], tuple[str, ...] | None] | None = None) -> Flow:
    """Follow every output column of a query.

    Args:
        text: SQL of one select.
        columns_of: column names of an upstream `schema/table`, or None when it is not declared. Default: nothing is.

    Raises:
        UnsupportedSqlError: a construct the interpreter cannot vouch for; carries the line.
    """
    return _Interpreter(columns_of or (lambda name: None)).run(parse(text))


class _Interpreter:
    def __init__(self, columns_of: Callable[[str], tuple[str, ...] | None]) -> None:
        from sqlglot import expressions

        self.exp = expressions
        self.facts = Facts()
        self.columns_of = columns_of
        self.line = 1

    def run(self, tree: Any) -> Flow:
        relation = self.query(tree, {}, None)
        select = tree
        while not isinstance(select, self.exp.Select):
            select = select.this
        lines = {e.alias_or_name: _line(e, last=True) or 1 for e in select.expressions}
        return Flow(relation.columns, lines, relation.rows, self.facts)

    def query(self, tree: Any, ctes: Mapping[str, Relation], parent: _Scope | None) -> Relation:
        exp = self.exp
        self.line = _line(tree) or self.line
        known = dict(ctes)
        with_ = tree.args.get("with_")
        if with_ is not None:
            if with_.args.get("recursive"):
                raise UnsupportedSqlError(self.line, "a recursive CTE: give each step a name instead")
            for cte in with_.expressions:
                relation = self.query(cte.this, known, parent)
                known[cte.alias] = self._renamed(relation, cte)
        if isinstance(tree, exp.Subquery):
            return self.query(tree.this, known, parent)
        if isinstance(tree, exp.SetOperation):
            return self._set_operation(tree, known, parent)
        if isinstance(tree, exp.Select):
            return self._select(tree, known, parent)
        if isinstance(tree, exp.Values):
            return self._values(tree, _Scope(parent, known))
        raise UnsupportedSqlError(self.line, f"{type(tree).__name__.lower()} is not a select")

    def _renamed(self, relation: Relation, aliased: Any) -> Relation:
        alias = aliased.args.get("alias")
        names = [column.name for column in alias.args.get("columns") or ()] if alias is not None else []
        if not names:
            return relation
        values = list(relation.columns.values())
        return replace(
            relation,
            columns=dict(zip([*names, *list(relation.columns)[len(names) :]], values, strict=False)),
            unique=set(),
        )

    def _set_operation(self, tree: Any, ctes: Mapping[str, Relation], parent: _Scope | None) -> Relation:
        left = self.query(tree.left, ctes, parent)
        right = self.query(tree.right, ctes, parent)
        if isinstance(tree, self.exp.Except | self.exp.Intersect):
            left.rows = merge(left.rows, right.rows, *(column.label for column in right.columns.values()))
            return left
        by_name = tree.args.get("by_name")
        partners = [
            right.columns.get(name) if by_name else list(right.columns.values())[index]
            for index, name in enumerate(left.columns)
            if by_name or index < len(right.columns)
        ]
        union: dict[int, dict[int, int]] = {0: {}, 1: {}}
        shared: list[int | None] = []
        for column, partner in zip(left.columns.values(), partners, strict=True):
            both = partner is not None and column.symbol is not None and partner.symbol is not None
            if both and partner and self._is_shared(column, partner):
                symbol = self.facts.symbol()
                self._share_bounds(symbol, column.symbol or 0, partner.symbol or 0)
                union[0][column.symbol or 0] = symbol
                union[1][partner.symbol or 0] = symbol
                shared.append(symbol)
            else:
                shared.append(None)

        def lift(label: Label, side: int) -> Label:
            out: Label = {}
            for moment, origin in label.items():
                if moment.phase in (NEVER, WITHIN) or self.facts.is_constant(moment.symbol):
                    out.setdefault(moment, origin)
                    continue
                bounds = ((self._bounded(moment, old), new) for old, new in union[side].items())
                lifted = next((Moment(upper.phase, new) for upper, new in bounds if upper is not None), None)
                if lifted is None:
                    text = f"{origin.text}, which loses its race_date in a union,"
                    out.setdefault(Moment(NEVER, 0), Origin(origin.line, "unbounded-date", text))
                else:
                    out.setdefault(lifted, origin)
            return out

        def mark(a: tuple[str, int] | None, b: tuple[str, int] | None) -> tuple[str, int] | None:
            if a is None or b is None or a[0] != b[0]:
                return None
            one, other = union[0].get(a[1]), union[1].get(b[1])
            return (a[0], one) if one is not None and one == other else None

        columns: dict[str, Value] = {}
        for (name, column), partner, day in zip(left.columns.items(), partners, shared, strict=True):
            partner = partner or NOTHING
            columns[name] = Value(
                merge(lift(column.label, 0), lift(partner.label, 1)),
                column.sources | partner.sources,
                day,
                0,
                column.unit if day is not None else "day",
                mark(column.identity, partner.identity),
                mark(column.entity, partner.entity),
            )
        if by_name:
            for name, column in right.columns.items():
                columns.setdefault(name, Value(lift(column.label, 1), column.sources))
        return Relation(columns, merge(lift(left.rows, 0), lift(right.rows, 1)))

    def _is_shared(self, column: Value, partner: Value) -> bool:
        """Whether two columns of a union are dates of the same kind."""
        is_date = column.unit == "day" or column.unit.startswith(LAST_IN)
        return is_date and column.unit == partner.unit and column.shift == partner.shift == 0

    def _share_bounds(self, symbol: int, one: int, other: int) -> None:
        """Give the day of a union the bounds by constants that both sides' days have."""
        constants = [Moment(p, s) for p in DAY_PHASES for s in self.facts.all_constants()]
        for phase in DAY_PHASES:
            days = (Moment(phase, one), Moment(phase, other))
            for constant in constants:
                if all(self.facts.proves(day, constant) for day in days):
                    self.facts.learn(Moment(phase, symbol), constant)
                if all(self.facts.proves(constant, day) for day in days):
                    self.facts.learn(constant, Moment(phase, symbol))

    def _select(self, tree: Any, ctes: Mapping[str, Relation], parent: _Scope | None) -> Relation:
        scope = _Scope(parent, ctes)
        for unsupported in ("laterals", "match", "pivots", "sample"):
            if tree.args.get(unsupported):
                raise UnsupportedSqlError(_line(tree) or self.line, f"`{unsupported}` is not understood")
        exp = self.exp
        span = self._from(tree, scope)
        for window in tree.args.get("windows") or ():
            scope.windows[window.name] = window
        where = tree.args.get("where")
        if where is not None:
            span = self._filter(where.this, scope, span)
        keys = self._group_keys(tree, scope) if tree.args.get("group") is not None else None
        is_single = keys is None and any(_has_aggregate(e, exp) for e in tree.expressions)
        key_values = [self.value(key, scope) for key in keys or ()]
        if keys is not None:
            scope.rows = self._mixed(
                merge(scope.rows, *(v.label for v in key_values)), key_values, "an aggregate", tree
            )
            scope.unique = {frozenset(self._column_id(key, scope) for key in keys)}
        relation = Relation({}, {} if is_single else scope.rows)
        names: dict[tuple[str, str], str] = {}
        for expression in tree.expressions:
            for name, column, identity in self._outputs(expression, scope):
                if name in relation.columns:
                    # As DuckDB does it: the first of two equal names keeps the name.
                    name = f"{name}:{len(relation.columns)}"
                if is_single or (keys is not None and not self._is_key(expression, keys, scope)):
                    column = self._aggregated(column, expression, name, key_values, scope)
                relation.columns[name] = column
                scope.aliases.setdefault(name, column)
                if identity is not None:
                    names.setdefault(scope.canonical(identity), name)
        having, qualify = tree.args.get("having"), tree.args.get("qualify")
        for clause in (having, qualify):
            if clause is not None:
                span = self._filter(clause.this, scope, "")
                relation.rows = merge(relation.rows, scope.rows)
        distinct = tree.args.get("distinct")
        if is_single:
            relation.unique.add(frozenset())
        unique = set() if is_single else set(scope.unique)
        if qualify is not None:
            unique |= self._first_rows(qualify.this, scope)
        if distinct is not None and distinct.args.get("on") is not None:
            unique.add(frozenset(self._column_id(e, scope) for e in distinct.args["on"].expressions))
            origin = Origin(
                _line(tree) or self.line, "whole-history", "distinct on, which picks rows by what else is there"
            )
            relation.rows = merge(relation.rows, {Moment(NEVER, 0): origin})
        elif distinct is not None:
            relation.unique.add(frozenset(relation.columns))
        for columns in unique:
            wanted = {scope.canonical(column) for column in columns}
            if wanted <= names.keys():
                relation.unique.add(frozenset(names[column] for column in wanted))
        if tree.args.get("limit") is not None:
            span = ""
            origin = Origin(
                _line(tree) or self.line, "whole-history", "a limit, which picks rows by what else is there"
            )
            relation.rows = merge(relation.rows, {Moment(NEVER, 0): origin})
        is_calendar = (distinct is not None or keys is not None) and all(
            column.symbol is not None for column in relation.columns.values()
        )
        if span and is_calendar:
            # The days (or years) on which anybody runs: a calendar, which tells nothing of any runner.
            relation.rows = {}
        if keys is None and not is_single:
            relation.default = next((d for e in tree.expressions for d in self._star_defaults(e, scope)), None)
        relation.span = span if keys is None and not is_single else ""
        return relation

    def _aggregated(self, column: Value, expression: Any, name: str, keys: list[Value], scope: _Scope) -> Value:
        """What an aggregate over rows that share `keys` makes of a value."""
        constant = {v.symbol for v in keys if v.symbol is not None} | {v.identity[1] for v in keys if v.identity}
        keeps_day = column.symbol is not None and column.symbol in constant
        sources = column.sources or frozenset().union(*(v.sources for v in keys))
        value = Value(
            self._mixed(merge(column.label, scope.rows), keys, f"{name}, an aggregate,", expression),
            sources,
            column.symbol if keeps_day else None,
            column.shift if keeps_day else 0,
            column.unit,
            column.identity if column.identity and column.identity[1] in constant else None,
        )
        bare = expression.unalias()
        if isinstance(bare, self.exp.Max) and not bare.expressions:
            # The last day of a group tells that no later day is in it, so it stands for the whole period grouped by.
            day = self.value(bare.this, scope)
            for key in keys:
                period = self.facts.known_period(day.symbol, key.unit) if day.symbol else None
                if period is not None and key.symbol == period and key.shift == 0:
                    return replace(value, symbol=key.symbol, unit=f"{LAST_IN}{key.unit}")
        return value

    def _first_rows(self, condition: Any, scope: _Scope) -> set[frozenset[tuple[str, str]]]:
        """Column sets made unique by `row_number() over (partition by ...) = 1`."""
        exp = self.exp
        return {
            frozenset(self._column_id(e, scope) for e in part.this.args.get("partition_by") or ())
            for part in _conjuncts(condition, exp)
            if isinstance(part, exp.EQ)
            and isinstance(part.this, exp.Window)
            and isinstance(part.this.this, exp.RowNumber)
            and part.this.args.get("alias") is None
            and part.expression == exp.Literal.number(1)
        }

    def _star_defaults(self, expression: Any, scope: _Scope) -> Iterator[Callable[[str], Value]]:
        """What a star hands on of sources whose columns are not declared."""
        exp = self.exp
        wanted = expression.table if isinstance(expression, exp.Column) else ""
        if isinstance(expression, exp.Star) or (
            isinstance(expression, exp.Column) and isinstance(expression.this, exp.Star)
        ):
            for alias, relation in scope.sources.items():
                if relation.default is not None and wanted in ("", alias):
                    yield relation.default

    def _outputs(self, expression: Any, scope: _Scope) -> Iterator[tuple[str, Value, tuple[str, str] | None]]:
        exp = self.exp
        star = expression if isinstance(expression, exp.Star) else expression.this
        if isinstance(expression, exp.Columns) or (
            isinstance(star, exp.Star) and not isinstance(expression, exp.Star | exp.Column)
        ):
            raise_star = not isinstance(expression.unalias(), exp.AggFunc)
            if raise_star and isinstance(expression, exp.Columns):
                raise UnsupportedSqlError(_line(expression) or self.line, "columns(...): list the columns")
        if isinstance(expression, exp.Star) or (isinstance(expression, exp.Column) and isinstance(star, exp.Star)):
            wanted = expression.table if isinstance(expression, exp.Column) else ""
            left_out = {e.name for e in star.args.get("except_") or ()}
            replaced = {e.alias: e.this for e in star.args.get("replace") or ()}
            renamed = {e.this.name: e.alias for e in star.args.get("rename") or ()}
            for alias, relation in scope.sources.items():
                if wanted and alias != wanted:
                    continue
                for name, column in relation.columns.items():
                    if name in left_out:
                        continue
                    if name in replaced:
                        yield name, self.value(replaced[name], scope), None
                    else:
                        yield renamed.get(name, name), column, (alias, name)
            return
        bare = expression.unalias()
        identity = self._column_id(bare, scope) if isinstance(bare, exp.Column) else None
        yield expression.alias_or_name or expression.sql("duckdb"), self.value(expression, scope), identity

    def _from(self, tree: Any, scope: _Scope) -> str:
        from_ = tree.args.get("from_")
        if from_ is None:
            return ""
        alias, relation = self._source(from_.this, scope)
        self._add(scope, alias, relation)
        scope.rows = dict(relation.rows)
        scope.unique = {frozenset((alias, column) for column in unique) for unique in relation.unique}
        joins = list(tree.args.get("joins") or ()) + list(from_.this.args.get("joins") or ())
        for join in joins:
            self._join(join, scope)
        return "" if joins else relation.span

    def _add(self, scope: _Scope, alias: str, relation: Relation) -> None:
        if alias in scope.sources:
            raise UnsupportedSqlError(self.line, f"two sources are called {alias}")
        scope.sources[alias] = relation

    def _source(self, source: Any, scope: _Scope) -> tuple[str, Relation]:
        exp = self.exp
        self.line = _line(source) or self.line
        alias = source.alias_or_name
        if source.args.get("pivots") or source.args.get("sample"):
            raise UnsupportedSqlError(self.line, "pivot and sample are not understood")
        if isinstance(source, exp.Table):
            if not isinstance(source.this, exp.Identifier):
                return alias, self._series(source, source.this, scope)
            if not source.db:
                if source.name in scope.ctes:
                    return alias, self._renamed(self.facts.copy_of(scope.ctes[source.name]), source)
                raise UnsupportedSqlError(self.line, f"{source.name} is neither a CTE nor a schema.table")
            return alias, self._base(f"{source.db}/{source.name}")
        if isinstance(source, exp.Subquery):
            return alias, self._renamed(self.query(source.this, scope.ctes, None), source)
        if isinstance(source, exp.Lateral):
            inner = source.this
            if not isinstance(inner, exp.Subquery):
                return alias, self._series(source, inner, scope)
            with self._correlated(scope):
                return alias, self._renamed(self.query(inner.this, scope.ctes, scope), source)
        if isinstance(source, exp.Unnest):
            return alias, self._series(source, source, scope)
        if isinstance(source, exp.Values):
            return alias, self._renamed(self._values(source, scope), source)
        raise UnsupportedSqlError(self.line, f"{type(source).__name__.lower()} as a source is not understood")

    def _series(self, source: Any, function: Any, scope: _Scope) -> Relation:
        exp = self.exp
        if not isinstance(function, exp.GenerateSeries | exp.Unnest | exp.Explode):
            raise UnsupportedSqlError(self.line, f"table function {function.sql('duckdb')[:60]!r} is not understood")
        made = self._children(function, scope)
        alias = source.args.get("alias")
        names = [c.name for c in (alias.args.get("columns") or ())] if alias is not None else []
        value = made.plain()
        return Relation(dict.fromkeys(names, value), dict(made.label), default=lambda name: value)

    def _values(self, tree: Any, scope: _Scope) -> Relation:
        rows = [row.expressions if isinstance(row, self.exp.Tuple) else [row] for row in tree.expressions]
        width = max((len(row) for row in rows), default=0)
        columns = {f"col{i}": self.value(rows[0][i], scope).plain() for i in range(width)}
        return self._renamed(Relation(columns, {}), tree)

    def _base(self, table: str) -> Relation:
        day = self.facts.symbol()
        rows_known = (
            Known.DECLARATION if table.startswith(("core/races", "core/entries", "features/")) else Known.RESULT
        )
        line = self.line

        def column(name: str) -> Value:
            try:
                known = known_at(table, name)
            except UndeclaredColumnError:
                known = Known.RESULT
            phase = int(known)
            dotted = f"{table.replace('/', '.')}.{name}"
            return Value(
                {Moment(phase, day): Origin(line, "same-race", dotted)},
                frozenset({(table, name)}),
                symbol=day if name == "race_date" else None,
                identity=(name, day) if name in _RACE_IDENTITIES else None,
                entity=(name, day) if name in _ENTITY_KEYS else None,
            )

        declared = self.columns_of(table)
        phase = int(rows_known)
        rows = {Moment(phase, day): Origin(line, "same-race", f"the rows of {table.replace('/', '.')}")}
        unique = {frozenset(_UNIQUE.get(table, ("runner_key",)))}
        columns = {name: column(name) for name in declared} if declared is not None else {}
        return Relation(
            columns, rows, unique, None if declared is not None else column, "window" if table == "core/entries" else ""
        )

    def _join(self, join: Any, scope: _Scope) -> None:
        exp = self.exp
        kind = (join.args.get("kind") or "").upper()
        side = (join.args.get("side") or "").upper()
        method = (join.args.get("method") or "").upper()
        if method not in ("", "ASOF") or side == "RIGHT":
            raise UnsupportedSqlError(_line(join.this) or self.line, f"{method or side} join: write it as a left join")
        alias, relation = self._source(join.this, scope)
        keeps_left = side in ("LEFT", "FULL") or (isinstance(join.this, exp.Lateral) and side == "LEFT")
        left_symbols = {c.symbol for r in scope.sources.values() for c in r.columns.values()}
        left = dict(scope.sources)
        right_scope = _Scope(scope.parent, scope.ctes, {**scope.sources, alias: relation}, merged=dict(scope.merged))
        self._add(scope, alias, relation)
        on = join.args.get("on")
        using = join.args.get("using") or ()
        pairs: list[tuple[Value, str, Value, str]] = []
        condition: Label = {}
        equal: list[tuple[tuple[str, str], tuple[str, str]]] = []
        for column in using:
            name = column.name
            owner = next((a for a, r in left.items() if name in r.columns), None) or next(
                (a for a, r in left.items() if r.default is not None), None
            )
            if owner is None:
                raise UnsupportedSqlError(_line(column) or self.line, f"using ({name}): no source has it")
            one, other = self._in(left[owner], name), self._in(relation, name)
            pairs.append((one, "=", other, name))
            equal.append(((owner, name), (alias, name)))
            condition = merge(condition, one.label, other.label)
            scope.merged.setdefault(name, one)
        if on is not None:
            condition = merge(condition, self.value(on, right_scope).label)
            pairs += self._comparisons(on, right_scope)
            equal += self._equal_columns(on, right_scope)
        right_only = None
        if side == "FULL":
            pairs = []
        elif keeps_left or kind == "ANTI":
            right_only = {s for s in self._symbols(relation) if s not in left_symbols}
        for one, operator, other, _ in pairs:
            self._learn(one, operator, other, only_below=right_only)
        self._key_joined(relation, pairs, left, alias)
        matched = {b[1] if b[0] == alias else a[1] for a, b in equal if (a[0] == alias) != (b[0] == alias)}
        if on is not None:
            fixed = [self._fixed_column(part, right_scope) for part in _conjuncts(on, exp)]
            matched |= {column[1] for column in fixed if column is not None and column[0] == alias}
        is_single = any(unique <= matched for unique in relation.unique) or method == "ASOF"
        presence = merge(relation.rows, condition)
        if kind in ("SEMI", "ANTI"):
            del scope.sources[alias]
            scope.rows = merge(scope.rows, presence)
            return
        if keeps_left:
            scope.sources[alias] = self._dimmed(relation, presence)
            if not is_single or side == "FULL":
                scope.rows = merge(scope.rows, presence)
            if side == "FULL":
                for name, source in left.items():
                    dimmed = self._dimmed(source, merge(scope.rows, presence))
                    scope.sources[name] = _undated(dimmed)
                scope.sources[alias] = _undated(scope.sources[alias])
                scope.merged = {name: value.plain() for name, value in scope.merged.items()}
        else:
            scope.rows = merge(scope.rows, presence)
            for a, b in equal:
                one_id, other_id = scope.canonical(a), scope.canonical(b)
                if one_id != other_id:
                    scope.same[other_id] = one_id
        if not is_single:
            right_unique = {frozenset((alias, c) for c in unique) for unique in relation.unique}
            scope.unique = {a | b for a in scope.unique for b in right_unique}

    def _key_joined(
        self, relation: Relation, pairs: list[tuple[Value, str, Value, str]], left: Mapping[str, Relation], alias: str
    ) -> None:
        """Rows restricted to the keys of the window may be joined by that key (or race) only."""
        marks = {m for m in relation.rows if m.phase == WITHIN}
        for column in relation.columns.values():
            marks |= {m for m in column.label if m.phase == WITHIN}
        for mark in marks:
            key = self.facts.within[mark.symbol]
            joined = any(
                operator == "="
                and (
                    (one.entity and other.entity and one.entity[0] == other.entity[0] == key)
                    or (one.identity and other.identity and one.identity[0] == other.identity[0])
                )
                for one, operator, other, _ in pairs
            )
            if not joined:
                origin = Origin(
                    self.line,
                    "window-keys",
                    f"{alias} holds only {key}s of the window, but is joined by something else",
                )
                relation.rows = merge(relation.rows, {Moment(NEVER, 0): origin})

    def _dimmed(self, relation: Relation, presence: Label) -> Relation:
        default = relation.default

        def dim(value: Value) -> Value:
            return replace(value, label=merge(value.label, presence))

        return replace(
            relation,
            columns={name: dim(value) for name, value in relation.columns.items()},
            default=(lambda name: dim(default(name))) if default else None,
        )

    def _symbols(self, relation: Relation) -> set[int]:
        return self.facts._reachable(relation)

    def _in(self, relation: Relation, name: str) -> Value:
        if name in relation.columns:
            return relation.columns[name]
        if relation.default is not None:
            relation.columns[name] = relation.default(name)
            return relation.columns[name]
        raise UnsupportedSqlError(self.line, f"no column {name}")

    def _filter(self, condition: Any, scope: _Scope, span: str = "") -> str:
        """Apply a filter; says what span of days is left of `span` (see Relation.span)."""
        for part in _conjuncts(condition, self.exp):
            value = self.value(part, scope)
            found = self._comparisons(part, scope)
            for one, operator, other, _ in found:
                self._learn(one, operator, other)
            span = self._span_after(span, found)
            scope.rows = merge(scope.rows, value.label)
            column = self._fixed_column(part, scope)
            if column is not None:
                scope.unique = {
                    frozenset(c for c in unique if scope.canonical(c) != scope.canonical(column))
                    for unique in scope.unique
                }
        return span

    def _span_after(self, span: str, comparisons: list[tuple[Value, str, Value, str]]) -> str:
        if not comparisons or any(v.symbol is None for one, _, other, _ in comparisons for v in (one, other)):
            return ""
        start, end = self.facts.parameter("start"), self.facts.parameter("end")
        keeps_window = all(
            operator == "<="
            and one.unit == other.unit == "day"
            and (
                (one.symbol == start and one.shift <= other.shift) or (other.symbol == end and other.shift >= one.shift)
            )
            for one, operator, other, _ in comparisons
        )
        return span if keeps_window else span and "days"

    def _fixed_column(self, part: Any, scope: _Scope) -> tuple[str, str] | None:
        exp = self.exp
        if isinstance(part, exp.EQ):
            for one, other in ((part.this, part.expression), (part.expression, part.this)):
                if isinstance(one, exp.Column) and isinstance(other, exp.Literal):
                    return self._column_id(one, scope)
        return None

    def _comparisons(self, condition: Any, scope: _Scope) -> list[tuple[Value, str, Value, str]]:
        exp = self.exp
        operators = {exp.LT: "<", exp.LTE: "<=", exp.EQ: "=", exp.NullSafeEQ: "="}
        flipped = {exp.GT: "<", exp.GTE: "<="}
        out: list[tuple[Value, str, Value, str]] = []
        for part in _conjuncts(condition, exp):
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

    def _equal_columns(self, condition: Any, scope: _Scope) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        exp = self.exp
        return [
            (self._column_id(part.this, scope), self._column_id(part.expression, scope))
            for part in _conjuncts(condition, exp)
            if isinstance(part, exp.EQ)
            and isinstance(part.this, exp.Column)
            and isinstance(part.expression, exp.Column)
        ]

    def _learn(self, one: Value, operator: str, other: Value, only_below: set[int] | None = None) -> None:
        """Turn `one operator other` into facts.

        Args:
            one: left side.
            operator: '<', '<=' or '='.
            other: right side.
            only_below: symbols that may stand on the earlier side; None for any. A left join's condition says nothing
                of the left rows that match none.
        """

        def learn(earlier: Moment, later: Moment) -> None:
            # What a correlated query asks of the row outside holds only where it finds something.
            if earlier.symbol not in self.facts.constants and (only_below is None or earlier.symbol in only_below):
                self.facts.learn(earlier, later)

        def learn_same(earlier: int, later: int) -> None:
            for phase in DAY_PHASES:
                learn(Moment(phase, earlier), Moment(phase, later))

        if operator == "=" and one.identity and other.identity and one.identity[0] == other.identity[0]:
            learn_same(one.identity[1], other.identity[1])
            learn_same(other.identity[1], one.identity[1])
        if operator == "<" and other.later is not None and other.earlier is not None and one.symbol is None:
            low = _literal_days(one)
            if low is not None and low >= 0:
                self._learn(other.earlier, "<", other.later, only_below)
        if operator == "<=" and other.later is not None and other.earlier is not None and one.symbol is None:
            low = _literal_days(one)
            if low is not None and low >= 1:
                self._learn(other.earlier, "<", other.later, only_below)
        if one.symbol is None or other.symbol is None:
            return
        if operator == "=":
            self._learn(one, "<=", other, only_below)
            self._learn(other, "<=", one, only_below)
            return
        a, b = one.symbol, other.symbol
        if one.unit.startswith(LAST_IN) or other.unit.startswith(LAST_IN):
            if operator == "<" and one.unit == LAST_IN + other.unit and one.shift == 0 and other.shift <= 0:
                learn(Moment(LAST, a), Moment(FIRST, b))
            return
        # one + i < other + j  <=>  one < other + gap
        gap = other.shift - one.shift
        strict = gap <= 0 if operator == "<" else gap <= -1
        loose = gap <= 1 if operator == "<" else gap <= 0
        if one.unit == other.unit:
            if strict:
                learn(Moment(LAST, a), Moment(FIRST, b))
            if loose:
                learn_same(a, b)
        elif one.unit == "day":
            # A period compared as a date is its first day.
            if strict:
                learn(Moment(LAST, a), Moment(FIRST, b))
            elif loose:
                learn(Moment(FIRST, a), Moment(FIRST, b))
                learn(Moment(LAST, a), Moment(LAST, b))
        elif loose:
            learn(Moment(FIRST, a), Moment(FIRST, b))

    def value(self, expression: Any, scope: _Scope) -> Value:
        exp = self.exp
        kind = type(expression)
        if kind in (exp.Alias, exp.Paren):
            return self.value(expression.this, scope)
        if kind is exp.Column:
            return self._column(expression, scope)
        if kind is exp.Placeholder or kind is exp.Parameter:
            return Value(symbol=self.facts.parameter(expression.name))
        if kind in (exp.Literal, exp.Null, exp.Boolean, exp.DataType, exp.Var, exp.Star):
            return NOTHING if kind is not exp.Literal else Value(shift=_int(expression) or 0)
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

    def _children(self, expression: Any, scope: _Scope) -> Value:
        values = [self.value(child, scope) for child in expression.iter_expressions()]
        return Value(
            merge(*(v.label for v in values)),
            frozenset().union(*(v.sources for v in values)) if values else frozenset(),
        )

    def _dated(self, expression: Any, made: Value, scope: _Scope) -> Value:
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
                step = self._step(expression.expression, one.unit)
                if step is not None:
                    return replace(
                        made, symbol=one.symbol, unit=one.unit, shift=one.shift + (step if kind is exp.Add else -step)
                    )
            return made
        if kind is exp.DateDiff and expression.args["unit"].name.lower() == "day":
            one, other = of(expression.this), of(expression.expression)
            if one.symbol is not None and other.symbol is not None:
                return replace(made, later=one, earlier=other)
        return made

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

    def _step(self, expression: Any, unit: str) -> int | None:
        """Steps of an interval or whole number; months and years count by their sign, in days."""
        exp = self.exp
        if isinstance(expression, exp.Paren):
            return self._step(expression.this, unit)
        if isinstance(expression, exp.Interval):
            number = _int(expression.this)
            name = expression.args["unit"].name.lower().rstrip("s") if expression.args.get("unit") else ""
            days = {"day": 1, "week": 7, "month": 28, "quarter": 89, "year": 365}.get(name)
            if number is None or days is None:
                return None
            if unit == "day":
                # Rounded so that a bound is never taken for tighter than it is: back by at least, forward by at most.
                most = {"month": 31, "quarter": 92, "year": 366}.get(name, days)
                return number * days if number > 0 and name in ("day", "week") else (number * most)
            return None if name != unit else number
        return _int(expression)

    def _column(self, column: Any, scope: _Scope) -> Value:
        self.line = _line(column) or self.line
        table = column.table
        at: _Scope | None = scope
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

    def _name(self, name: str, scope: _Scope, where: Any) -> Value:
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
        raise UnsupportedSqlError(_line(where) or self.line, f"no source has a column {name}")

    def _column_id(self, expression: Any, scope: _Scope) -> tuple[str, str]:
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
    def _correlated(self, scope: _Scope) -> Iterator[None]:
        """Inside a correlated query, the rows outside are constants."""
        before = set(self.facts.constants)
        at: _Scope | None = scope
        while at is not None:
            for relation in at.sources.values():
                self.facts.constants |= self._symbols(relation)
            at = at.parent
        try:
            yield
        finally:
            self.facts.constants = before

    def _subquery(self, tree: Any, scope: _Scope) -> Value:
        with self._correlated(scope):
            relation = self.query(tree, scope.ctes, scope)
        columns = list(relation.columns.values())
        return Value(
            merge(relation.rows, *(c.label for c in columns)), frozenset().union(*(c.sources for c in columns))
        )

    def _in_list(self, expression: Any, scope: _Scope) -> Value:
        query = expression.args.get("query")
        if query is None:
            return self._children(expression, scope)
        wanted = self.value(expression.this, scope)
        with self._correlated(scope):
            relation = self.query(query, scope.ctes, scope)
        columns = list(relation.columns.values())
        offered = columns[0] if columns else NOTHING
        if wanted.entity and offered.entity and wanted.entity[0] == offered.entity[0] and relation.span == "window":
            # Every row of the window passes; rows of other keys are gone, which matters only where keys are mixed.
            mark = self.facts.symbol()
            self.facts.within[mark] = wanted.entity[0]
            origin = Origin(_line(expression) or self.line, "window-keys", f"{wanted.entity[0]}s of the window")
            return Value(merge(wanted.label, {Moment(WITHIN, mark): origin}))
        for mark_of in ("identity", "symbol"):
            one, other = getattr(wanted, mark_of), getattr(offered, mark_of)
            if one is not None and other is not None:
                self._learn(offered, "=", wanted, only_below=self._symbols(relation))
        return Value(merge(wanted.label, relation.rows, *(c.label for c in columns)))

    def _group_keys(self, tree: Any, scope: _Scope) -> list[Any]:
        exp = self.exp
        group = tree.args["group"]
        for grouping in ("cube", "rollup", "grouping_sets"):
            if group.args.get(grouping):
                raise UnsupportedSqlError(self.line, f"{grouping} is not understood")
        selected = {e.alias: e for e in tree.expressions if isinstance(e, exp.Alias)}
        if group.args.get("all"):
            return [e.unalias() for e in tree.expressions if not _has_aggregate(e, exp)]
        keys = []
        for key in group.expressions:
            if isinstance(key, exp.Literal) and not key.is_string:
                key = tree.expressions[int(key.name) - 1].unalias()
            elif (
                isinstance(key, exp.Column)
                and not key.table
                and key.name in selected
                and not any(key.name in relation.columns for relation in scope.sources.values())
            ):
                key = selected[key.name].this
            keys.append(key)
        return keys

    def _is_key(self, expression: Any, keys: Iterable[Any], scope: _Scope) -> bool:
        bare = expression.unalias()
        return any(
            bare == key
            or (
                isinstance(bare, self.exp.Column)
                and isinstance(key, self.exp.Column)
                and self._column_id(bare, scope) == self._column_id(key, scope)
            )
            for key in keys
        )

    def _mixed(self, label: Label, keys: Iterable[Value], what: str, where: Any) -> Label:
        """Rows are combined that share `keys`: restricted rows must share the key they are restricted by."""
        out: Label = {}
        for moment, origin in label.items():
            if moment.phase == WITHIN and not self._shares(moment, keys):
                key = self.facts.within[moment.symbol]
                origin = Origin(
                    _line(where) or self.line,
                    "window-keys",
                    f"{what} mixes {key}s, but only {key}s that run in the window are there",
                )
                moment = Moment(NEVER, 0)
            out.setdefault(moment, origin)
        return out

    def _shares(self, moment: Moment, keys: Iterable[Value]) -> bool:
        wanted = self.facts.within[moment.symbol]
        return any((key.entity and key.entity[0] == wanted) or key.identity is not None for key in keys)

    def _window(self, window: Any, scope: _Scope) -> Value:
        named = window.args.get("alias")
        definition = window
        if named is not None and not window.args.get("partition_by") and not window.args.get("order"):
            at: _Scope | None = scope
            while at is not None and named.name not in at.windows:
                at = at.parent
            if at is None:
                raise UnsupportedSqlError(_line(window) or self.line, f"no window is called {named.name}")
            definition = at.windows[named.name]
            if definition.args.get("alias") is not None:
                raise UnsupportedSqlError(_line(window) or self.line, "a window that builds on another window")
        elif named is not None:
            raise UnsupportedSqlError(_line(window) or self.line, f"{named.name} with an order or partition of its own")
        line = _line(window) or self.line
        partition = [self.value(e, scope) for e in definition.args.get("partition_by") or ()]
        order = definition.args.get("order")
        ordered = list(order.expressions) if order is not None else []
        order_values = [self.value(e.this, scope) for e in ordered]
        argument = self.value(window.this, scope)
        own = merge(*(v.label for v in partition), *(v.label for v in order_values))
        sources = argument.sources or frozenset().union(*(v.sources for v in [*partition, *order_values]))
        read = merge(argument.label, scope.rows, own)
        read = self._mixed(read, partition, "a window", window)
        day, reach, reason = self._reach(window, definition, ordered, order_values, scope)
        out: Label = {}
        for moment, origin in read.items():
            if moment.phase in (NEVER, WITHIN) or self.facts.is_constant(moment.symbol):
                out.setdefault(moment, origin)
                continue
            upper = None
            for symbol in [day] if reach == "before" else [s for s in (day, *self._days(partition)) if s is not None]:
                if symbol is None:
                    continue
                if reach == "before":
                    before = self._bounded(moment, symbol)
                    upper = Moment(FIRST, symbol) if before is not None else None
                elif reach in ("until", "peers"):
                    upper = self._bounded(moment, symbol)
                if upper is not None:
                    break
            if upper is None:
                rule = "whole-history" if reach in ("all", "peers") else "unbounded-date"
                out.setdefault(Moment(NEVER, 0), Origin(line, rule, f"{origin.text} through {reason}"))
            elif upper.phase > Known.MORNING:
                rule = {"until": "same-day-window", "peers": "same-race"}.get(reach, "same-day-window")
                if reach == "until" and reason.startswith("rows"):
                    rule = "rows-window"
                out.setdefault(upper, Origin(line, rule, f"{origin.text} through {reason}"))
            else:
                out.setdefault(upper, origin)
        return Value(merge(out, own), sources)

    def _days(self, partition: Iterable[Value]) -> list[int]:
        days = [v.symbol for v in partition if v.symbol is not None and v.shift == 0]
        return days + [v.identity[1] for v in partition if v.identity is not None]

    def _bounded(self, moment: Moment, symbol: int) -> Moment | None:
        for phase in DAY_PHASES:
            if self.facts.proves(moment, Moment(phase, symbol)):
                return Moment(phase, symbol)
        return None

    def _reach(
        self,
        window: Any,
        definition: Any,
        ordered: list[Any],
        order_values: list[Value],
        scope: _Scope,
    ) -> tuple[int | None, str, str]:
        """Which rows a window reads, relative to the day it is ordered by.

        Returns:
            (day symbol, 'before' | 'until' | 'peers' | 'all', words): rows of strictly earlier days, rows up to and
            with the day, rows that share a partition's day, or rows of any day.
        """
        exp = self.exp
        function = window.this
        while isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
            function = function.this
        day = order_values[0].symbol if order_values and order_values[0].unit == "day" else None
        descending = bool(ordered) and bool(ordered[0].args.get("desc"))
        if day is None or descending:
            words = "a window over the whole partition"
            if descending:
                words = "a window in descending order, which reads later days"
            elif ordered:
                words = "a window that is not ordered by race_date"
            return None, "peers", words
        if isinstance(function, exp.Lead):
            return None, "all", "lead(), which reads later rows"
        spec = window.args.get("spec") or definition.args.get("spec")
        if isinstance(function, exp.Lag):
            offset = function.args.get("offset")
            steps = 1 if offset is None else _int(offset)
            if steps is None or steps < 1:
                return None, "all", "lag() by a step that is not a positive literal"
            return self._rows_before(day, definition, scope, "rows: lag()")
        if isinstance(function, exp.RowNumber | exp.Rank | exp.DenseRank):
            return day, "until", "rows: a rank ordered by race_date"
        if isinstance(function, exp.PercentRank | exp.CumeDist | exp.Ntile):
            return None, "peers", "a rank over the whole partition"
        if spec is None:
            return day, "until", "a window without a frame, which ends with the race's own day"
        kind = str(spec.args.get("kind") or "").lower()
        side = str(spec.args.get("end_side") or "").lower()
        end = spec.args.get("end")
        if end is None or (isinstance(end, str) and "current" in end.lower()):
            return day, "until", f"{'rows: ' if kind == 'rows' else ''}a frame that ends with the current row"
        if isinstance(end, str) or side != "preceding":
            return None, "all", "a frame that reads following rows"
        step = self._step(end, "day")
        if step is None or step < 1:
            return day, "until", "a frame whose end is not a positive literal"
        if kind == "range":
            name = end.args["unit"].name.lower() if isinstance(end, exp.Interval) and end.args.get("unit") else "day"
            if name.rstrip("s") in ("day", "week", "month", "quarter", "year"):
                return day, "before", "a range frame of earlier days"
            return day, "until", f"a range frame in {name}"
        if kind == "rows":
            return self._rows_before(day, definition, scope, "rows: a frame that counts rows")
        return day, "until", f"a {kind} frame"

    def _rows_before(
        self,
        day: int,
        definition: Any,
        scope: _Scope,
        words: str,
    ) -> tuple[int, str, str]:
        names = {self._column_id(e, scope) for e in definition.args.get("partition_by") or ()}
        names |= {self._column_id(definition.args["order"].expressions[0].this, scope)}
        names = {scope.canonical(name) for name in names}
        is_one_row_a_day = any({scope.canonical(c) for c in unique} <= names for unique in scope.unique)
        if is_one_row_a_day:
            return day, "before", words
        return day, "until", f"{words} though several rows of one day can share the partition"


def _undated(relation: Relation) -> Relation:
    """The relation without its dates and keys, which an unmatched row of a full join lacks."""
    default = relation.default
    return replace(
        relation,
        columns={name: value.plain() for name, value in relation.columns.items()},
        default=(lambda name: default(name).plain()) if default else None,
    )


def _literal_days(value: Value) -> int | None:
    return value.shift if not value.label and not value.sources and value.symbol is None else None


def _conjuncts(condition: Any, exp: Any) -> list[Any]:
    while isinstance(condition, exp.Paren):
        condition = condition.this
    if isinstance(condition, exp.And):
        return [*_conjuncts(condition.this, exp), *_conjuncts(condition.expression, exp)]
    return [condition]


def _has_aggregate(expression: Any, exp: Any) -> bool:
    """Whether an expression aggregates rows, outside windows and subqueries."""
    stack = [expression]
    while stack:
        node = stack.pop()
        if isinstance(node, exp.Window | exp.Query):
            if isinstance(node, exp.Window):
                function = node.this
                while isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
                    function = function.this
                stack.extend(function.iter_expressions())
            continue
        if isinstance(node, exp.AggFunc):
            return True
        stack.extend(node.iter_expressions())
    return False


def _int(expression: Any) -> int | None:
    """A literal whole number, bare or quoted; None for everything else, a negated one too."""
    if type(expression).__name__ != "Literal" or not str(expression.name).isdecimal():
        return None
    return int(expression.name)


def _line(expression: Any, *, last: bool = False) -> int | None:
    """Line of the first (or last) identifier in an expression."""
    if expression is None:
        return None
    lines = [node.meta["line"] for node in expression.walk() if "line" in node.meta]
    if not lines:
        return None
    return int(max(lines) if last else min(lines))
