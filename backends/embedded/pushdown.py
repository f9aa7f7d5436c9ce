"""plan_scan of the embedded store: the ask as one SELECT over a version view.

Pure. The view reads documents and physical columns alike, so a predicate over a document field is
the same expression that the field's index was made with. Names are quoted, types and functions are
named with pg_catalog, every operand has the type that it had in the client's statement: PostgreSQL
then resolves each operator as it did there. Literals mean the same under every setting of
standard_conforming_strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from backends.base import Exact, ExactWithRewrite, No, OrderKey, ScanAsk, ScanPlan
from backends.embedded.types import type_sql
from catalog.model import Table
from catalog.sqltext import quote_ident, quote_literal, view_schema
from core import expr as ir
from core.expr import Expr, check_depth, children, join_and, split_and

KIND: Final = "embedded"

_SYNTAX: Final = ("coalesce", "nullif", "greatest", "least")


_BARE_NUMBER: Final = re.compile("[0-9]{1,9}")


class NotRendered(Exception):
    """This store has no SQL for the expression; the text is the reason."""


def plan_scan(table: Table, ask: ScanAsk) -> ScanPlan:
    """The native SELECT for the ask; what the judge does not call exact is left as residual."""
    taken, residual, reasons = _split_predicate(table, ask)
    order_exact, order_reasons = _order_exact(table, ask)
    limit_exact = ask.limit is not None and not residual and (order_exact or not ask.order)
    names = {column.id: quote_ident(column.name) for column in table.columns}
    # Only a SELECT list may be empty in PostgreSQL, so no columns wanted is `SELECT FROM`.
    wanted = ", ".join(names[each] for each in ask.columns)
    native = f"SELECT {wanted} FROM" if wanted else "SELECT FROM"
    native += f" {view_schema(ask.version)}.{quote_ident(table.name)}"
    if taken:
        native += " WHERE " + " AND ".join(render(part, names) for part in taken)
    if order_exact:
        native += " ORDER BY " + ", ".join(_order_sql(key, names) for key in ask.order)
    if limit_exact:
        native += f" LIMIT {ask.limit}"
    return ScanPlan(
        native,
        ask.columns,
        join_and(taken),
        join_and(residual),
        limit_exact,
        order_exact,
        tuple(reasons + order_reasons),
    )


def _split_predicate(table: Table, ask: ScanAsk) -> tuple[list[Expr], list[Expr], list[str]]:
    taken: list[Expr] = []
    residual: list[Expr] = []
    reasons: list[str] = []
    for part in split_and(ask.predicate):
        reason = _why_not(table, part, ask)
        (residual if reason else taken).append(part)
        if reason:
            reasons.append(reason)
    if ask.whole and residual and taken:
        reasons.append("the predicate may raise and is taken whole or not at all")
        return [], list(split_and(ask.predicate)), reasons
    return taken, residual, reasons


def _why_not(table: Table, part: Expr, ask: ScanAsk) -> str:
    """Why a conjunct is not taken, or ""."""
    verdict = ask.judge(part)
    if isinstance(verdict, No):
        return verdict.reason
    if isinstance(verdict, ExactWithRewrite):
        return f"the embedded store has no rewrite {verdict.rewrite}"
    assert isinstance(verdict, Exact)
    names = {column.id: quote_ident(column.name) for column in table.columns}
    try:
        render(check_depth(part), names)
    except NotRendered as error:
        return str(error)
    return ""


def _order_exact(table: Table, ask: ScanAsk) -> tuple[bool, list[str]]:
    """Whether the whole order is taken: a part of it is of no use to a limit."""
    for key in ask.order:
        column = table.column_by_id(key.column_id)
        assert column is not None, key
        # A column's order is the order of its comparisons, which is what a judge can answer.
        reference = ir.ColumnRef(column.id, column.type)
        verdict = ask.judge(ir.Compare("<", reference, reference))
        if not isinstance(verdict, Exact):
            return False, [f"the order of {column.type} is not in the exactness table"]
    return bool(ask.order), []


def _order_sql(key: OrderKey, names: Mapping[int, str]) -> str:
    direction = "DESC" if key.descending else "ASC"
    return f"{names[key.column_id]} {direction} NULLS {'FIRST' if key.nulls_first else 'LAST'}"


def render(expr: Expr, names: Mapping[int, str]) -> str:
    """The expression as SQL; `names` maps column ids to quoted names. Raises NotRendered."""
    match expr:
        case ir.ColumnRef():
            return _column(expr, names)
        case ir.Literal():
            return _literal(expr)
        case ir.Param():
            raise NotRendered(f"parameter ${expr.number} is not bound")
        case _:
            parts = [render(part, names) for part in children(expr)]
            return _RENDERERS[type(expr)](expr, parts)


def _column(expr: ir.ColumnRef, names: Mapping[int, str]) -> str:
    name = names.get(expr.column_id)
    if name is None:
        raise NotRendered(f"column {expr.column_id} is not in this version of the table")
    arrows = ["->"] * len(expr.path)
    if not arrows:
        return name
    if expr.type == "text":
        arrows[-1] = "->>"
    steps = zip(arrows, expr.path, strict=True)
    return f"({name}{''.join(f' {arrow} {_text(key)}' for arrow, key in steps)})"


def _text(value: str) -> str:
    if "\0" in value:
        raise NotRendered("a text with a zero byte")
    return f"{quote_literal(value).strip()}::pg_catalog.text"


def _literal(expr: ir.Literal) -> str:
    if expr.text is None:
        return f"NULL::{_type(expr.type)}"
    if expr.type == ir.BOOLEAN and expr.text in ("true", "false"):
        return expr.text
    # A bare number is an integer literal; a sign would bind weaker than what follows it.
    if expr.type == "integer" and _BARE_NUMBER.fullmatch(expr.text):
        return expr.text
    return _text(expr.text).removesuffix("::pg_catalog.text") + f"::{_type(expr.type)}"


def _type(name: str) -> str:
    sql = type_sql(name)
    if sql is None:
        raise NotRendered(f"type {name} is not in the type table")
    return sql


def _compare(expr: ir.Compare, parts: Sequence[str]) -> str:
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
    escape = "" if expr.escape is None else f" ESCAPE {_text(expr.escape)}"
    return f"({parts[0]} {word} {parts[1]}{escape})"


def _cast(expr: ir.Cast, parts: Sequence[str]) -> str:
    return f"({parts[0]}::{_type(expr.type)})"


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


_RENDERERS: Final[Mapping[type, Callable[..., str]]] = {
    ir.Compare: _compare,
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
