"""Follows every value through a SQL query: which columns it is made of, and when it can be known at the latest.

An abstract interpreter over the sqlglot tree. Each row source brings a date symbol, the race day of its row. Each value
carries the set of moments it may depend on: the declarations, the morning, the off or the results of a symbol's day,
or *never* for rows whose day nothing bounds. With the declarations of a day all results of earlier days are known.
Comparisons of dates in joins and filters become facts `moment <= moment`; a value is proven to be known by a moment
when the facts lead there. Whatever the interpreter does not understand, it takes for the worst case: a false alarm is
possible, a miss is not.

Belongs here: the way in, selects, filters, groups and sets. Does not belong here: joins (sources.py), windows
(windows.py), expressions (values.py), what counts as a finding (lint.py), how a lineage looks (lineage.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from velo_assets.warehouse.dataflow.comparisons import learn, span_after
from velo_assets.warehouse.dataflow.sources import SourceFlow
from velo_assets.warehouse.dataflow.tree import conjuncts, has_aggregate, line_of, multiplies_rows, parse
from velo_assets.warehouse.dataflow.values import Scope
from velo_assets.warehouse.moments import (
    DAY_PHASES,
    LAST_IN,
    NEVER,
    NOTHING,
    WITHIN,
    Flow,
    Label,
    Moment,
    Origin,
    Relation,
    UnsupportedSqlError,
    Value,
    merge,
)


def follow(text: str, columns_of: Callable[[str], tuple[str, ...] | None] | None = None) -> Flow:
    """Follow every output column of a query.

    Args:
        text: SQL of one select.
        columns_of: column names of an upstream `schema/table`, or None when it is not declared. Default: nothing is.

    Raises:
        UnsupportedSqlError: a construct the interpreter cannot vouch for; carries the line.
    """
    return QueryFlow(columns_of or (lambda name: None)).run(parse(text))


class QueryFlow(SourceFlow):
    """Follows values through whole queries."""

    def run(self, tree: Any) -> Flow:
        """Every output column of a query."""
        relation = self.query(tree, {}, None)
        select = tree
        while not isinstance(select, self.exp.Select):
            select = select.this
        lines = {e.alias_or_name: line_of(e, last=True) or 1 for e in select.expressions}
        return Flow(relation.columns, lines, relation.rows, self.facts)

    def query(self, tree: Any, ctes: Mapping[str, Relation], parent: Scope | None) -> Relation:
        """The rows of a query.

        Args:
            tree: select, set operation, values or a subquery of these.
            ctes: what the queries outside have named.
            parent: the scope of the row outside, for a correlated query.

        Raises:
            UnsupportedSqlError: a construct that the interpreter cannot vouch for.
        """
        self.line = line_of(tree) or self.line
        known = dict(ctes)
        with_ = tree.args.get("with_")
        if with_ is not None:
            if with_.args.get("recursive"):
                raise UnsupportedSqlError(self.line, "a recursive CTE: give each step a name instead")
            for cte in with_.expressions:
                relation = self.query(cte.this, known, parent)
                known[cte.alias] = self._renamed(relation, cte)
        relation = self._unlimited(tree, known, parent)
        if tree.args.get("limit") is not None or tree.args.get("offset") is not None:
            origin = Origin(
                line_of(tree) or self.line, "whole-history", "a limit, which picks rows by what else is there"
            )
            relation = replace(relation, rows=merge(relation.rows, {Moment(NEVER, 0): origin}), span="")
        return relation

    def _unlimited(self, tree: Any, ctes: Mapping[str, Relation], parent: Scope | None) -> Relation:
        exp = self.exp
        if isinstance(tree, exp.Subquery):
            return self.query(tree.this, ctes, parent)
        if isinstance(tree, exp.SetOperation):
            return self._set_operation(tree, ctes, parent)
        if isinstance(tree, exp.Select):
            return self._select(tree, ctes, parent)
        if isinstance(tree, exp.Values):
            return self._values(tree, Scope(parent, ctes))
        raise UnsupportedSqlError(self.line, f"{type(tree).__name__.lower()} is not a select")

    def _set_operation(self, tree: Any, ctes: Mapping[str, Relation], parent: Scope | None) -> Relation:
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
                if moment.phase == NEVER or self.facts.is_constant(moment.symbol):
                    out.setdefault(moment, origin)
                    continue
                if moment.phase == WITHIN:
                    key, symbol = self.facts.condition(moment)
                    kept = union[side].get(symbol)
                    out.setdefault(self.facts.mark((key, kept)) if kept is not None else Moment(NEVER, 0), origin)
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

    def _select(self, tree: Any, ctes: Mapping[str, Relation], parent: Scope | None) -> Relation:
        scope = Scope(parent, ctes)
        for unsupported in ("laterals", "match", "pivots", "sample"):
            if tree.args.get(unsupported):
                raise UnsupportedSqlError(line_of(tree) or self.line, f"`{unsupported}` is not understood")
        exp = self.exp
        span = self._from(tree, scope)
        for window in tree.args.get("windows") or ():
            scope.windows[window.name] = window
        where = tree.args.get("where")
        if where is not None:
            span = self._filter(where.this, scope, span)
        keys = self._group_keys(tree, scope) if tree.args.get("group") is not None else None
        is_single = keys is None and any(has_aggregate(e, exp) for e in tree.expressions)
        key_values = [self.value(key, scope) for key in keys or ()]
        if keys is not None:
            scope.rows = self._mixed(
                merge(scope.rows, *(v.label for v in key_values)), key_values, "an aggregate", tree
            )
            scope.unique = {frozenset(self._column_id(key, scope) for key in keys)}
        multiplies = any(multiplies_rows(e, exp) for e in tree.expressions)
        if multiplies:
            scope.unique = set()
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
        if is_single and not multiplies:
            relation.unique.add(frozenset())
        unique = set() if is_single else set(scope.unique)
        if qualify is not None and not multiplies:
            unique |= self._first_rows(qualify.this, scope)
        if distinct is not None and distinct.args.get("on") is not None:
            unique.add(frozenset(self._column_id(e, scope) for e in distinct.args["on"].expressions))
            origin = Origin(
                line_of(tree) or self.line, "whole-history", "distinct on, which picks rows by what else is there"
            )
            relation.rows = merge(relation.rows, {Moment(NEVER, 0): origin})
        elif distinct is not None:
            relation.unique.add(frozenset(relation.columns))
        for columns in unique:
            wanted = {scope.canonical(column) for column in columns}
            if wanted <= names.keys():
                relation.unique.add(frozenset(names[column] for column in wanted))
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

    def _aggregated(self, column: Value, expression: Any, name: str, keys: list[Value], scope: Scope) -> Value:
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

    def _first_rows(self, condition: Any, scope: Scope) -> set[frozenset[tuple[str, str]]]:
        """Column sets made unique by `row_number() over (partition by ...) = 1`."""
        exp = self.exp
        return {
            frozenset(self._column_id(e, scope) for e in part.this.args.get("partition_by") or ())
            for part in conjuncts(condition, exp)
            if isinstance(part, exp.EQ)
            and isinstance(part.this, exp.Window)
            and isinstance(part.this.this, exp.RowNumber)
            and part.this.args.get("alias") is None
            and part.expression == exp.Literal.number(1)
        }

    def _star_defaults(self, expression: Any, scope: Scope) -> Iterator[Callable[[str], Value]]:
        """What a star hands on of sources whose columns are not declared."""
        exp = self.exp
        wanted = expression.table if isinstance(expression, exp.Column) else ""
        if isinstance(expression, exp.Star) or (
            isinstance(expression, exp.Column) and isinstance(expression.this, exp.Star)
        ):
            for alias, relation in scope.sources.items():
                if relation.default is not None and wanted in ("", alias):
                    yield relation.default

    def _outputs(self, expression: Any, scope: Scope) -> Iterator[tuple[str, Value, tuple[str, str] | None]]:
        exp = self.exp
        star = expression if isinstance(expression, exp.Star) else expression.this
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

    def _filter(self, condition: Any, scope: Scope, span: str = "") -> str:
        """Apply a filter; says what span of days is left of `span` (see Relation.span)."""
        for part in conjuncts(condition, self.exp):
            value = self.value(part, scope)
            found = self._comparisons(part, scope)
            for one, operator, other, _ in found:
                learn(self.facts, one, operator, other)
            span = span_after(self.facts, span, found)
            scope.rows = merge(scope.rows, value.label)
            column = self._fixed_column(part, scope)
            if column is not None:
                scope.unique = {
                    frozenset(c for c in unique if scope.canonical(c) != scope.canonical(column))
                    for unique in scope.unique
                }
        return span

    def _group_keys(self, tree: Any, scope: Scope) -> list[Any]:
        exp = self.exp
        group = tree.args["group"]
        for grouping in ("cube", "rollup", "grouping_sets"):
            if group.args.get(grouping):
                raise UnsupportedSqlError(self.line, f"{grouping} is not understood")
        selected = {e.alias: e for e in tree.expressions if isinstance(e, exp.Alias)}
        if group.args.get("all"):
            return [e.unalias() for e in tree.expressions if not has_aggregate(e, exp)]
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

    def _is_key(self, expression: Any, keys: Iterable[Any], scope: Scope) -> bool:
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
