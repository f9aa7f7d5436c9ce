"""Plans of reads by equalities, kept: the same columns asked again differ in their values only.

Planning a read of one document costs as much as a third of the driver's part of it. A scan whose
predicate is `column = constant AND …` is therefore planned once for its form (columns, limit,
types); after that only the filter is made. Whatever is not exactly that form is planned anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Final

from backends.base import Judge, ScanAsk, ScanPlan
from backends.mongodb.filters import Field, conjunction, equal_to
from backends.mongodb.literals import NotPushed
from backends.mongodb.pushdown import fields_of, plan_scan
from backends.mongodb.query import MongoQuery, Segment
from catalog.model import Table
from core import expr as ir

PLANS_MAX: Final = 1_000
"""Forms kept for one instance."""

Equality = tuple[ir.ColumnRef, ir.Literal]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A plan with what its form stands on; the objects are held so that their ids stay theirs."""

    table: Table
    judge: Judge
    plan: ScanPlan
    query: MongoQuery
    fields: tuple[Field, ...]


class PointPlans:
    """See the module's text; `plan` answers what plan_scan answers."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def plan(self, table: Table, ask: ScanAsk, *, expressions: bool) -> ScanPlan:
        """The plan of the ask."""
        special = ask.grouping is not None or ask.order or ask.limit == 0
        equalities = None if special else _equalities(ask)
        if equalities is None:
            return plan_scan(table, ask, expressions=expressions)
        form = tuple([(ref.column_id, ref.type, value.type) for ref, value in equalities])
        key = (id(table), id(ask.judge), form, ask.columns, ask.limit, ask.whole)
        kept = self._kept.get(key)
        if kept is not None:
            segment = _segment(kept.fields, equalities)
            if segment is not None:
                query = replace(kept.query, segments=(segment,))
                return replace(kept.plan, native=query, taken=ask.predicate)
        plan = plan_scan(table, ask, expressions=expressions)
        if kept is None:
            self._keep(key, table, ask, plan, equalities)
        return plan

    def _keep(
        self,
        key: Hashable,
        table: Table,
        ask: ScanAsk,
        plan: ScanPlan,
        equalities: list[Equality],
    ) -> None:
        query = plan.native
        assert isinstance(query, MongoQuery)
        if plan.residual is not None or query.pipeline is not None or plan.taken != ask.predicate:
            return
        try:
            find = fields_of(table)
            fields = tuple(replace(find(ref), loose=True) for ref, _ in equalities)
        except NotPushed:
            return
        # Conditions that are more than their values (of numeric columns) are made anew each time.
        if query.segments == (_segment(fields, equalities),):
            self._kept[key] = _Kept(table, ask.judge, plan, query, fields)
            if len(self._kept) > PLANS_MAX:
                self._kept.popitem(last=False)


def _equalities(ask: ScanAsk) -> list[Equality] | None:
    """The conjuncts as column = constant, or None when one is something else."""
    predicate = ask.predicate
    found: list[Equality] = []
    for part in predicate.args if isinstance(predicate, ir.And) else (predicate,):
        if not isinstance(part, ir.Compare) or part.op != "=":
            return None
        if not isinstance(part.left, ir.ColumnRef) or not isinstance(part.right, ir.Literal):
            return None
        if part.left.path or part.right.text is None:
            return None
        found.append((part.left, part.right))
    return found


def _segment(fields: tuple[Field, ...], equalities: list[Equality]) -> Segment | None:
    """The find of these values, or None where it must be planned."""
    try:
        clauses = [
            equal_to(field, value) for field, (_, value) in zip(fields, equalities, strict=True)
        ]
    except NotPushed:
        return None
    return Segment(conjunction(clauses))
