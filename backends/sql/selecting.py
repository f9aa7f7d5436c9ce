"""plan_scan of a store that speaks PostgreSQL's SQL: the ask as one SELECT (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backends.base import Exact, ExactWithRewrite, No, OrderKey, ScanAsk, ScanPlan
from backends.sql.rendering import NotRendered, Renderer
from catalog.model import Table
from core import expr as ir
from core.expr import Expr, check_depth, join_and, split_and


@dataclass(frozen=True, slots=True)
class SelectSource:
    """Where and how the rows of a table are read.

    `relation` stands after FROM, `selected` has the SQL that reads each column, `ordered` the SQL
    that sorts by it (NotRendered where it cannot). `rewrites` are the names of rewrites that
    `renderer` does; `store` names the store in reasons.
    """

    relation: str
    renderer: Renderer
    selected: Mapping[int, str]
    ordered: Callable[[int], str]
    rewrites: frozenset[str] = frozenset()
    store: str = "the store"


def plan_select(table: Table, ask: ScanAsk, source: SelectSource) -> ScanPlan:
    """The native SELECT for the ask; what the judge does not call exact is left as residual."""
    taken, residual, reasons = _split_predicate(ask, source)
    order, order_reasons = _order(table, ask, source)
    order_exact = bool(ask.order) and not order_reasons
    limit_exact = ask.limit is not None and not residual and (order_exact or not ask.order)
    # Only a SELECT list may be empty in PostgreSQL, so no columns wanted is `SELECT FROM`.
    wanted = ", ".join(source.selected[each] for each in ask.columns)
    native = f"SELECT {wanted} FROM" if wanted else "SELECT FROM"
    native += f" {source.relation}{where_sql(taken, source)}"
    if order_exact:
        native += f" ORDER BY {order}"
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


def where_sql(taken: Sequence[Expr], source: SelectSource) -> str:
    """The WHERE clause of these conjuncts, "" without any."""
    if not taken:
        return ""
    return " WHERE " + " AND ".join(source.renderer.render(part) for part in taken)


def _split_predicate(
    ask: ScanAsk, source: SelectSource
) -> tuple[list[Expr], list[Expr], list[str]]:
    taken: list[Expr] = []
    residual: list[Expr] = []
    reasons: list[str] = []
    for part in split_and(ask.predicate):
        reason = why_not(part, ask, source)
        (residual if reason else taken).append(part)
        if reason:
            reasons.append(reason)
    if ask.whole and residual and taken:
        reasons.append("the predicate may raise and is taken whole or not at all")
        return [], list(split_and(ask.predicate)), reasons
    return taken, residual, reasons


def why_not(part: Expr, ask: ScanAsk, source: SelectSource) -> str:
    """Why an expression is not taken, or ""."""
    verdict = ask.judge(part)
    if isinstance(verdict, No):
        return verdict.reason
    if isinstance(verdict, ExactWithRewrite) and verdict.rewrite not in source.rewrites:
        return f"{source.store} has no rewrite {verdict.rewrite}"
    assert isinstance(verdict, Exact | ExactWithRewrite)
    try:
        source.renderer.render(check_depth(part))
    except NotRendered as error:
        return str(error)
    return ""


def _order(table: Table, ask: ScanAsk, source: SelectSource) -> tuple[str, list[str]]:
    """The whole order, or why not: a part of it is of no use to a limit."""
    keys = []
    for key in ask.order:
        column = table.column_by_id(key.column_id)
        assert column is not None, key
        # A column's order is the order of its comparisons, which is what a judge can answer.
        reference = ir.ColumnRef(column.id, column.type)
        if why_not(ir.Compare("<", reference, reference), ask, source):
            return "", [f"the order of {column.type} is not in the exactness table"]
        try:
            keys.append(_order_sql(key, source.ordered(column.id)))
        except NotRendered as error:
            return "", [str(error)]
    return ", ".join(keys), []


def _order_sql(key: OrderKey, value: str) -> str:
    direction = "DESC" if key.descending else "ASC"
    return f"{value} {direction} NULLS {'FIRST' if key.nulls_first else 'LAST'}"
