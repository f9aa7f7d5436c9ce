"""LIMIT over a join of two foreign tables: the first rows of one side are enough (pure).

`a LEFT JOIN b … ORDER BY a.x LIMIT 10`: every row of `a` is in the result at least once, so that
its first ten rows in the order have all that can be seen; `b` is then asked for their keys.

`a JOIN b ON a.k = b._id … LIMIT 10`: only rows of `a` count that have a partner. A store that can
look for partners itself (MongoDB's $lookup) counts them. It is asked where that is cheaper than to
fetch both sides: the partner is found by the key of its table, and no condition on `b` makes
partners rare.

The statement runs over what came all the same, so more rows than needed do no harm. Conditions that
may raise forbid it: PostgreSQL would look at every row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from pglast import enums

from backends.base import Exact, Partner
from catalog.model import Column, Native
from core import expr as ir
from engine.exactness import judge_for
from engine.predicates import NameScope, Pushable, column_of, split_conjuncts, translate
from engine.scans import Scan, order_of, rows_wanted, sortable
from rewrite.scope import RelationRef
from rewrite.tree import Node, ast

_REFUSED: Final = ("withClause", "valuesLists", "intoClause", "lockingClause")
_KINDS: Final = {
    enums.JoinType.JOIN_INNER: "inner",
    enums.JoinType.JOIN_LEFT: "left",
    enums.JoinType.JOIN_RIGHT: "right",
}
_KEY: Final = ("_id",)
_LOOKING: Final = frozenset(("mongodb",))
"""Kinds whose stores can be asked for rows with a partner."""


@dataclass(frozen=True, slots=True)
class _Join:
    """The two sides in the order of the text, and what is asked of their rows."""

    sides: tuple[Scan, Scan]
    kind: str
    conditions: tuple[Node, ...]
    on: tuple[Node, ...]


def limited(
    statement: Node, refs: Sequence[RelationRef], scans: Sequence[Scan], types: Mapping[int, str]
) -> tuple[Scan, ...]:
    """The scans, one of them with the limit where the statement is such a join; `types` are those
    of the parameters.
    """
    node = statement.query if isinstance(statement, ast.ExplainStmt) else statement
    join = _join_of(node, refs, scans)
    if join is None:
        return tuple(scans)
    driver = _limited_side(node, join, types)
    if driver is None:
        return tuple(scans)
    return tuple(driver if scan.location == driver.location else scan for scan in scans)


def _join_of(node: Node, refs: Sequence[RelationRef], scans: Sequence[Scan]) -> _Join | None:
    if not isinstance(node, ast.SelectStmt) or node.op != enums.SetOperation.SETOP_NONE:
        return None
    if len(scans) != 2 or node.limitCount is None or any(getattr(node, n) for n in _REFUSED):
        return None
    items: Sequence[Node] = node.fromClause or ()
    kind = "inner"
    on: tuple[Node, ...] = ()
    if len(items) == 1 and isinstance(items[0], ast.JoinExpr):
        join = items[0]
        if join.isNatural or join.usingClause or join.alias is not None:
            return None
        kind, on = _KINDS.get(join.jointype, ""), split_conjuncts(join.quals)
        items = (join.larg, join.rarg)
    if not kind or len(items) != 2 or not all(isinstance(i, ast.RangeVar) for i in items):
        return None
    by_place = {scan.location: scan for scan in scans}
    sides = [by_place.get(item.location) for item in items]
    if None in sides or any(item.alias and item.alias.colnames for item in items):
        return None
    left, right = sides
    assert left is not None
    assert right is not None
    if left.alias == right.alias or len({ref.node.location for ref in refs}) != 2:
        return None
    return _Join((left, right), kind, split_conjuncts(node.whereClause), on)


def _limited_side(node: Node, join: _Join, types: Mapping[int, str]) -> Scan | None:
    scope = NameScope({side.alias: side.placed for side in join.sides}, types)
    pairs: list[tuple[tuple[str, Column], tuple[str, Column]]] = []
    found: set[str] = set()
    for conjunct in (*join.on, *join.conditions):
        verdict = translate(conjunct, scope)
        if isinstance(verdict, Pushable) and not verdict.may_raise:
            if conjunct in join.conditions or join.kind == "inner":
                found.add(verdict.alias)
            continue
        pair = _equal_columns(conjunct, scope)
        if pair is None or (join.kind != "inner" and conjunct in join.conditions):
            return None
        pairs.append(pair)
    limit = rows_wanted(node, lambda names: _is_column(names, join))
    if limit is None:
        return None
    for driver, other in (join.sides, join.sides[::-1]):
        if driver.placed.table.partitioned or other.alias in found:
            continue
        order = order_of(node, partial(_key, driver, other))
        if order is None:
            continue
        outer = join.kind == ("left" if driver is join.sides[0] else "right")
        if outer:
            return replace(driver, order=order, limit=limit)
        partner = _partner(driver, other, pairs) if join.kind == "inner" else None
        if partner is not None:
            return replace(driver, order=order, limit=limit, partner=partner)
    return None


def _is_column(names: list[str], join: _Join) -> bool:
    """Whether a name means a column; else it may be a function of the row."""
    owners = [side for side in join.sides if names[:-1] in ([], [side.alias])]
    return any(owner.placed.table.column(names[-1]) is not None for owner in owners)


def _key(driver: Scan, other: Scan, names: list[str]) -> Column | None:
    """The column of the driving side that a sort key means, whatever the output is called."""
    if names[:-1] == [driver.alias]:
        return sortable(driver.placed.table, names[-1])
    if len(names) > 1 or other.placed.table.column(names[0]) is not None:
        return None
    return sortable(driver.placed.table, names[0])


def _equal_columns(
    conjunct: Node, scope: NameScope
) -> tuple[tuple[str, Column], tuple[str, Column]] | None:
    """The two columns of `a.x = b.y`."""
    if not isinstance(conjunct, ast.A_Expr) or conjunct.kind != enums.A_Expr_Kind.AEXPR_OP:
        return None
    if [part.sval for part in conjunct.name or ()] != ["="]:
        return None
    left, right = (column_of(side, scope) for side in (conjunct.lexpr, conjunct.rexpr))
    if left is None or right is None or left[0] == right[0]:
        return None
    return left, right


def _partner(
    driver: Scan, other: Scan, pairs: Sequence[tuple[tuple[str, Column], tuple[str, Column]]]
) -> Partner | None:
    """The partner that the driver's store can be asked for."""
    if len(pairs) != 1 or driver.placed.backend not in _LOOKING:
        return None
    ours, theirs = driver.placed.table, other.placed.table
    place = (ours.instance, ours.native[:-1]) == (theirs.instance, theirs.native[:-1])
    if not place or ours.parent_path or theirs.parent_path:
        return None
    by_alias = dict(pairs[0])
    column, key = by_alias[driver.alias], by_alias[other.alias]
    if not isinstance(key.source, Native) or key.source.path != _KEY:
        return None
    judge = judge_for(driver.placed.backend)
    compared = ir.Compare("=", ir.ColumnRef(column.id, column.type), ir.ColumnRef(key.id, key.type))
    return Partner(column.id, theirs, key.id) if isinstance(judge(compared), Exact) else None
