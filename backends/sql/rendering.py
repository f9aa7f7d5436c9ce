"""Expressions of the IR as PostgreSQL's SQL (pure).

Names are quoted, types and functions are named with pg_catalog, every operand has the type that it
had in the client's statement: PostgreSQL then resolves each operator as it did there. Literals mean
the same under every setting of standard_conforming_strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from backends.embedded.types import type_sql
from catalog.sqltext import quote_ident, quote_literal
from core import expr as ir
from core.expr import Expr, children

_SYNTAX: Final = ("coalesce", "nullif", "greatest", "least")
_BARE_NUMBER: Final = re.compile("[0-9]{1,9}")


class NotRendered(Exception):
    """This store has no SQL for the expression; the text is the reason."""


class Renderer:
    """Renders expressions over columns; a store with columns or literals of its own overrides
    `column`, `literal` and `compared`.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names

    def render(self, expr: Expr) -> str:
        """The expression as SQL. Raises NotRendered."""
        match expr:
            case ir.ColumnRef():
                return self._column(expr)
            case ir.Literal():
                return self.literal(expr)
            case ir.Param():
                raise NotRendered(f"parameter ${expr.number} is not bound")
            case ir.Compare():
                return self.compared(expr, [self.render(part) for part in children(expr)])
            case _:
                parts = [self.render(part) for part in children(expr)]
                return _RENDERERS[type(expr)](expr, parts)

    def column(self, expr: ir.ColumnRef) -> str:
        """The column itself, its path not included. Raises NotRendered."""
        name = self._names.get(expr.column_id)
        if name is None:
            raise NotRendered(f"column {expr.column_id} is not in this version of the table")
        return name

    def _column(self, expr: ir.ColumnRef) -> str:
        name = self.column(expr)
        arrows = ["->"] * len(expr.path)
        if not arrows:
            return name
        if expr.type == "text":
            arrows[-1] = "->>"
        steps = zip(arrows, expr.path, strict=True)
        return f"({name}{''.join(f' {arrow} {text_sql(key)}' for arrow, key in steps)})"

    def literal(self, expr: ir.Literal) -> str:
        """A literal. Raises NotRendered."""
        return literal_sql(expr)

    def compared(self, expr: ir.Compare, parts: Sequence[str]) -> str:
        """An operator that answers a truth value, its operands rendered."""
        return _RENDERERS[ir.Compare](expr, parts)


def text_sql(value: str) -> str:
    """A text literal. Raises NotRendered for what no text can hold."""
    if "\0" in value:
        raise NotRendered("a text with a zero byte")
    return f"{quote_literal(value).strip()}::pg_catalog.text"


def literal_sql(expr: ir.Literal) -> str:
    """A typed literal. Raises NotRendered."""
    if expr.text is None:
        return f"NULL::{named_type(expr.type)}"
    if expr.type == ir.BOOLEAN and expr.text in ("true", "false"):
        return expr.text
    # A bare number is an integer literal; a sign would bind weaker than what follows it.
    if expr.type == "integer" and _BARE_NUMBER.fullmatch(expr.text):
        return expr.text
    return text_sql(expr.text).removesuffix("::pg_catalog.text") + f"::{named_type(expr.type)}"


def named_type(name: str) -> str:
    """The type as SQL. Raises NotRendered for one that is not in the type table."""
    sql = type_sql(name)
    if sql is None:
        raise NotRendered(f"type {name} is not in the type table")
    return sql


def compare_sql(expr: ir.Compare, parts: Sequence[str]) -> str:
    """A comparison of rendered operands."""
    op = expr.op.upper() if expr.op in ir.DISTINCTIONS else expr.op
    return f"({parts[0]} {op} {parts[1]})"


def _and(expr: ir.And, parts: Sequence[str]) -> str:
    del expr
    return f"({' AND '.join(parts)})"


def _or(expr: ir.Or, parts: Sequence[str]) -> str:
    del expr
    return f"({' OR '.join(parts)})"


def _not(expr: ir.Not, parts: Sequence[str]) -> str:
    if isinstance(expr.arg, ir.IsNull):
        return parts[0].removesuffix(" IS NULL)") + " IS NOT NULL)"
    return f"(NOT {parts[0]})"


def _in(expr: ir.In, parts: Sequence[str]) -> str:
    if expr.spread:
        return f"({parts[0]} = ANY ({parts[1]}))"
    return f"({parts[0]} IN ({', '.join(parts[1:])}))"


def _is_null(expr: ir.IsNull, parts: Sequence[str]) -> str:
    del expr
    return f"({parts[0]} IS NULL)"


def _like(expr: ir.Like, parts: Sequence[str]) -> str:
    word = "ILIKE" if expr.insensitive else "LIKE"
    escape = "" if expr.escape is None else f" ESCAPE {text_sql(expr.escape)}"
    return f"({parts[0]} {word} {parts[1]}{escape})"


def _cast(expr: ir.Cast, parts: Sequence[str]) -> str:
    return f"({parts[0]}::{named_type(expr.type)})"


def _case(expr: ir.Case, parts: Sequence[str]) -> str:
    count = len(expr.whens)
    whens = "".join(f" WHEN {parts[2 * i]} THEN {parts[2 * i + 1]}" for i in range(count))
    otherwise = "" if expr.otherwise is None else f" ELSE {parts[-1]}"
    return f"(CASE{whens}{otherwise} END)"


def _call(expr: ir.Call, parts: Sequence[str]) -> str:
    name = expr.name if expr.name in _SYNTAX else f"pg_catalog.{quote_ident(expr.name)}"
    return f"{name}({', '.join(parts)})"


def _arithmetic(expr: ir.Arithmetic, parts: Sequence[str]) -> str:
    if len(parts) == 1:
        return f"({expr.op} {parts[0]})"
    return f"({parts[0]} {expr.op} {parts[1]})"


_RENDERERS: Final[Mapping[type, Callable[[Any, Sequence[str]], str]]] = {
    ir.Compare: compare_sql,
    ir.And: _and,
    ir.Or: _or,
    ir.Not: _not,
    ir.In: _in,
    ir.IsNull: _is_null,
    ir.Like: _like,
    ir.Cast: _cast,
    ir.Case: _case,
    ir.Call: _call,
    ir.Arithmetic: _arithmetic,
}
