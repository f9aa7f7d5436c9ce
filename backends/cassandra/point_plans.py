"""Plans of point reads, kept: the same keys asked again differ in their values only.

Planning a point read costs as much as the driver's part of it. A scan by equalities over the first
columns of the key is therefore planned once for its form (columns, order, limit, types); after that
only the values are read. Whatever is not exactly that form is planned anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, Final

from backends.base import Judge, ScanAsk, ScanPlan
from backends.cassandra.conditions import NotWritten, equals
from backends.cassandra.facts import TableFacts
from backends.cassandra.pushdown import NativeScan, plan_scan, stored_name
from catalog.model import Table
from core import expr as ir
from core.expr import Expr

PLANS_MAX: Final = 1_000
"""Forms kept for one instance."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A plan with what its form stands on. `order`: for each marker (position of its conjunct,
    CQL type, whether it must not be empty).
    """

    table: Table
    facts: TableFacts
    judge: Judge
    plan: ScanPlan
    native: NativeScan
    order: tuple[tuple[int, str, bool], ...]


class PointPlans:
    """See the module's text; `plan` answers what plan_scan answers."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def plan(
        self, table: Table, ask: ScanAsk, facts: TableFacts | None, *, allow_filtering: bool
    ) -> ScanPlan:
        """The plan of the ask."""
        equalities = None if facts is None or ask.grouping is not None else _equalities(ask)
        if facts is None or equalities is None:
            return plan_scan(table, ask, facts, allow_filtering=allow_filtering)
        form = tuple((ref.column_id, ref.type, value.type) for ref, value in equalities)
        places = (id(table), id(facts), id(ask.judge))
        key = (*places, form, ask.columns, ask.limit, ask.order, ask.whole)
        kept = self._kept.get(key)
        if kept is not None:
            values = _values(kept, equalities)
            if values is not None:
                native = replace(kept.native, binds=(values,))
                return replace(kept.plan, native=native, taken=ask.predicate)
        plan = plan_scan(table, ask, facts, allow_filtering=allow_filtering)
        if kept is None:
            self._keep(key, table, ask, facts, plan, equalities)
        return plan

    def _keep(
        self,
        key: Hashable,
        table: Table,
        ask: ScanAsk,
        facts: TableFacts,
        plan: ScanPlan,
        equalities: list[tuple[ir.ColumnRef, ir.Literal]],
    ) -> None:
        native = plan.native
        assert isinstance(native, NativeScan)
        if plan.residual is not None or plan.notices or native.access != "keys":
            return
        names = []
        for reference, _ in equalities:
            column = table.column_by_id(reference.column_id)
            names.append("" if column is None else stored_name(column))
        wanted = [each.name for each in facts.key[: len(names)]]
        if len(native.binds) != 1 or sorted(map(str, names)) != sorted(wanted):
            return
        alone = len(facts.partition) == 1
        order = tuple(
            (names.index(each.name), each.type, alone and each.role == "partition_key")
            for each in facts.key[: len(names)]
        )
        kept = _Kept(table, facts, ask.judge, plan, native, order)
        # A value that is two in Cassandra (zero) has a plan of another form.
        if _values(kept, equalities) != native.binds[0]:
            return
        self._kept[key] = kept
        if len(self._kept) > PLANS_MAX:
            self._kept.popitem(last=False)


def _equalities(ask: ScanAsk) -> list[tuple[ir.ColumnRef, ir.Literal]] | None:
    """The conjuncts as column = constant, or None when one is something else."""
    predicate = ask.predicate
    parts: tuple[Expr | None, ...] = (
        predicate.args if isinstance(predicate, ir.And) else (predicate,)
    )
    found = []
    for part in parts:
        if not isinstance(part, ir.Compare) or part.op != "=":
            return None
        if not isinstance(part.left, ir.ColumnRef) or not isinstance(part.right, ir.Literal):
            return None
        found.append((part.left, part.right))
    return found


def _values(
    kept: _Kept, equalities: list[tuple[ir.ColumnRef, ir.Literal]]
) -> tuple[Any, ...] | None:
    """One value for each marker, or None where the plan must be another (no key, two zeros)."""
    values = []
    try:
        for position, cql, filled in kept.order:
            candidates = equals(cql, equalities[position][1])
            if len(candidates) != 1 or (filled and candidates[0] in ("", b"")):
                return None
            values.append(candidates[0])
    except NotWritten:
        return None
    return tuple(values)
