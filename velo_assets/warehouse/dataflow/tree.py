"""Small questions asked of a sqlglot tree: where a piece of it stands, what its condition joins, whether it aggregates.

Belongs here: what needs the tree alone. Does not belong here: what its values are made of.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def parse(text: str) -> Any:
    """The sqlglot tree of a SQL text."""
    import sqlglot

    return sqlglot.parse_one(text, dialect="duckdb")


def conjuncts(condition: Any, exp: Any) -> list[Any]:
    """The conditions that `and` joins in a condition."""
    while isinstance(condition, exp.Paren):
        condition = condition.this
    if isinstance(condition, exp.And):
        return [*conjuncts(condition.this, exp), *conjuncts(condition.expression, exp)]
    return [condition]


def has_aggregate(expression: Any, exp: Any) -> bool:
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


def multiplies_rows(expression: Any, exp: Any) -> bool:
    """Whether an expression of a select makes several rows of one, as `unnest` does and the macros made of it."""
    return any(
        not isinstance(node, exp.Anonymous) or node.name.lower() in ("generate_subscripts", "regexp_split_to_table")
        for node in expression.find_all(exp.Explode, exp.Unnest, exp.Anonymous)
    )


def whole_number(expression: Any) -> int | None:
    """A literal whole number, bare or quoted; None for everything else, a negated one too."""
    if type(expression).__name__ != "Literal" or not str(expression.name).isdecimal():
        return None
    return int(expression.name)


def line_of(expression: Any, *, last: bool = False) -> int | None:
    """Line of the first (or last) identifier in an expression."""
    if expression is None:
        return None
    lines = [node.meta["line"] for node in expression.walk() if "line" in node.meta]
    if not lines:
        return None
    return int(max(lines) if last else min(lines))
