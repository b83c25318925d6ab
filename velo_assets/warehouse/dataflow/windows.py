"""Which rows a window function reads, relative to the day of its own row.

Belongs here: partitions, orders, frames. Does not belong here: expressions (values.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from velo_assets.warehouse.availability import DECISION_TIME
from velo_assets.warehouse.dataflow.tree import line_of, whole_number
from velo_assets.warehouse.dataflow.values import Scope, ValueFlow
from velo_assets.warehouse.moments import (
    DAY_PHASES,
    FIRST,
    NEVER,
    WITHIN,
    Label,
    Moment,
    Origin,
    UnsupportedSqlError,
    Value,
    merge,
)


class WindowFlow(ValueFlow):
    """Follows values through windows."""

    def _window(self, window: Any, scope: Scope) -> Value:
        named = window.args.get("alias")
        definition = window
        if named is not None and not window.args.get("partition_by") and not window.args.get("order"):
            at: Scope | None = scope
            while at is not None and named.name not in at.windows:
                at = at.parent
            if at is None:
                raise UnsupportedSqlError(line_of(window) or self.line, f"no window is called {named.name}")
            definition = at.windows[named.name]
            if definition.args.get("alias") is not None:
                raise UnsupportedSqlError(line_of(window) or self.line, "a window that builds on another window")
        elif named is not None:
            raise UnsupportedSqlError(
                line_of(window) or self.line, f"{named.name} with an order or partition of its own"
            )
        line = line_of(window) or self.line
        partition = [self.value(e, scope) for e in definition.args.get("partition_by") or ()]
        order = definition.args.get("order")
        ordered = list(order.expressions) if order is not None else []
        order_values = [self.value(e.this, scope) for e in ordered]
        argument = self.value(window.this, scope)
        # How many rows a frame reads is part of what it says.
        bounds = [self.value(e, scope) for e in self._bounds(window, definition)]
        own = merge(*(v.label for v in [*partition, *order_values, *bounds]))
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
            elif upper.phase > DECISION_TIME:
                rule = {"until": "same-day-window", "peers": "same-race"}.get(reach, "same-day-window")
                if reach == "until" and reason.startswith("rows"):
                    rule = "rows-window"
                out.setdefault(upper, Origin(line, rule, f"{origin.text} through {reason}"))
            else:
                out.setdefault(upper, origin)
        return Value(merge(out, own), sources)

    def _bounds(self, window: Any, definition: Any) -> list[Any]:
        """Expressions that say where a frame starts and ends; intervals and numbers among them."""
        spec = window.args.get("spec") or definition.args.get("spec")
        ends = [spec.args.get(side) for side in ("start", "end")] if spec is not None else []
        return [end for end in ends if isinstance(end, self.exp.Expression)]

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
        scope: Scope,
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
            steps = 1 if offset is None else whole_number(offset)
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
        if step is None or step[0] < 1:
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
        scope: Scope,
        words: str,
    ) -> tuple[int, str, str]:
        names = {self._column_id(e, scope) for e in definition.args.get("partition_by") or ()}
        names |= {self._column_id(definition.args["order"].expressions[0].this, scope)}
        names = {scope.canonical(name) for name in names}
        is_one_row_a_day = any({scope.canonical(c) for c in unique} <= names for unique in scope.unique)
        if is_one_row_a_day:
            return day, "before", words
        return day, "until", f"{words} though several rows of one day can share the partition"
