"""Which rows the sources of a select bring, and what joins leave of them.

Belongs here: tables, CTEs, series, joins. Does not belong here: filters, groups and sets (queries.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from velo_assets.warehouse.availability import Known, UndeclaredColumnError, known_at
from velo_assets.warehouse.dataflow.comparisons import Comparison, learn
from velo_assets.warehouse.dataflow.tree import conjuncts, line_of
from velo_assets.warehouse.dataflow.values import Scope
from velo_assets.warehouse.dataflow.windows import WindowFlow
from velo_assets.warehouse.moments import (
    RACE,
    RUNNER,
    Label,
    Moment,
    Origin,
    Relation,
    UnsupportedSqlError,
    Value,
    merge,
)

_RACE_IDENTITIES = (RACE, RUNNER)
"""Keys that name one race day."""

_ENTITY_KEYS = ("horse_key", "trainer_key", "jockey_key", "owner_key", "sire", "dam", "damsire")
"""Keys by which rows may be restricted to whatever runs in the window."""

_UNIQUE = {
    "core/races": ("race_key",),
    "core/entries": ("runner_key",),
    "core/results": ("runner_key",),
    "core/prices": ("runner_key", "price_kind"),
    "core/sectionals": ("runner_key", "call_number"),
    "market/probabilities": ("runner_key", "price_kind"),
    "features/shrinkage": ("race_date", "entity"),
    "features/draw_slopes": ("race_key",),
    "features/pars": ("race_key",),
}
"""Columns that make a row of a base table unique; runner_key where nothing is said."""


class SourceFlow(WindowFlow):
    """Follows values through sources and joins."""

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

    def _from(self, tree: Any, scope: Scope) -> str:
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

    def _add(self, scope: Scope, alias: str, relation: Relation) -> None:
        if alias in scope.sources:
            raise UnsupportedSqlError(self.line, f"two sources are called {alias}")
        scope.sources[alias] = relation

    def _source(self, source: Any, scope: Scope) -> tuple[str, Relation]:
        exp = self.exp
        self.line = line_of(source) or self.line
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

    def _series(self, source: Any, function: Any, scope: Scope) -> Relation:
        exp = self.exp
        if not isinstance(function, exp.GenerateSeries | exp.Unnest | exp.Explode):
            raise UnsupportedSqlError(self.line, f"table function {function.sql('duckdb')[:60]!r} is not understood")
        made = self._children(function, scope)
        alias = source.args.get("alias")
        names = [c.name for c in (alias.args.get("columns") or ())] if alias is not None else []
        value = made.plain()
        return Relation(dict.fromkeys(names, value), dict(made.label), default=lambda name: value)

    def _values(self, tree: Any, scope: Scope) -> Relation:
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

    def _join(self, join: Any, scope: Scope) -> None:
        exp = self.exp
        kind = (join.args.get("kind") or "").upper()
        side = (join.args.get("side") or "").upper()
        method = (join.args.get("method") or "").upper()
        if method not in ("", "ASOF") or side == "RIGHT":
            raise UnsupportedSqlError(
                line_of(join.this) or self.line, f"{method or side} join: write it as a left join"
            )
        alias, relation = self._source(join.this, scope)
        keeps_left = side in ("LEFT", "FULL")
        left_symbols = {c.symbol for r in scope.sources.values() for c in r.columns.values()}
        left = dict(scope.sources)
        right_scope = Scope(scope.parent, scope.ctes, {**scope.sources, alias: relation}, merged=dict(scope.merged))
        self._add(scope, alias, relation)
        on = join.args.get("on")
        using = join.args.get("using") or ()
        pairs: list[Comparison] = []
        condition: Label = {}
        equal: list[tuple[tuple[str, str], tuple[str, str]]] = []
        for column in using:
            name = column.name
            owner = next((a for a, r in left.items() if name in r.columns), None) or next(
                (a for a, r in left.items() if r.default is not None), None
            )
            if owner is None:
                raise UnsupportedSqlError(line_of(column) or self.line, f"using ({name}): no source has it")
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
            right_only = {s for s in self.facts.reachable(relation) if s not in left_symbols}
        for one, operator, other, _ in pairs:
            learn(self.facts, one, operator, other, only_below=right_only)
        for one, operator, other, _ in pairs:
            if operator == "=":
                self._keys_equated(one, other, right_only)
        matched = {b[1] if b[0] == alias else a[1] for a, b in equal if (a[0] == alias) != (b[0] == alias)}
        if on is not None:
            fixed = [self._fixed_column(part, right_scope) for part in conjuncts(on, exp)]
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

    def _keys_equated(self, one: Value, other: Value, right_only: set[int] | None) -> None:
        """A join makes two keys one: what is whole for the one is whole for the other.

        Of rows on the left that find nothing on the right (`right_only` holds the days of the right side), the right
        side's conditions follow from theirs, but not theirs from the right side's.
        """
        sides = [
            (a, b) for a, b in ((one.entity, other.entity), (one.identity, other.identity)) if a and b and a[0] == b[0]
        ]
        for a, b in sides:
            for condition, by in ((a, b), (b, a)):
                if right_only is None or condition[1] in right_only:
                    self.facts.imply(condition, by)

    def _dimmed(self, relation: Relation, presence: Label) -> Relation:
        default = relation.default

        def dim(value: Value) -> Value:
            return replace(value, label=merge(value.label, presence))

        return replace(
            relation,
            columns={name: dim(value) for name, value in relation.columns.items()},
            default=(lambda name: dim(default(name))) if default else None,
        )


def _undated(relation: Relation) -> Relation:
    """The relation without its dates and keys, which an unmatched row of a full join lacks."""
    default = relation.default
    return replace(
        relation,
        columns={name: value.plain() for name, value in relation.columns.items()},
        default=(lambda name: default(name).plain()) if default else None,
    )
