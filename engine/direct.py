"""Statements that a store answers alone: one foreign table, its columns, what it can filter (pure).

Their rows go from the store to the client without the private PostgreSQL. That is allowed only
where nothing of the statement is left: every condition is in the scan, the order and the limit too,
and each output column is a column of the table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pglast import enums

from backends.base import ScanPlan
from engine.federate import FederatedPlan
from engine.scans import Scan
from engine.virtual_columns import fetched
from rewrite.tree import Node, ast

_LEFT = (
    "groupClause",
    "havingClause",
    "distinctClause",
    "windowClause",
    "withClause",
    "lockingClause",
    "valuesLists",
    "intoClause",
)


@dataclass(frozen=True, slots=True)
class Direct:
    """`columns` are the ids of the output columns, in order and with repetitions; `skip` rows are
    left out in front. `scan` is the plan's with the columns in the order of their first use.
    """

    scan: Scan
    columns: tuple[int, ...]
    skip: int

    def answers(self, plan: ScanPlan) -> bool:
        """Whether the store leaves nothing to do."""
        if plan.residual is not None or plan.grouped:
            return False
        if self.scan.order and not plan.order_exact:
            return False
        return self.scan.limit is None or plan.limit_exact


def direct_of(plan: FederatedPlan) -> Direct | None:
    """How the statement is answered by its one scan, or None when it cannot be. Remembered."""
    if "direct" not in plan.readings:
        plan.readings["direct"] = _read(plan)
    found = plan.readings["direct"]
    assert found is None or isinstance(found, Direct)
    return found


def _read(plan: FederatedPlan) -> Direct | None:
    node = plan.query
    if len(plan.parts) != 1 or len(plan.parts[0]) != 1:
        return None
    if plan.target is not None or not isinstance(node, ast.SelectStmt):
        return None
    [[part]], [ref] = plan.parts, plan.refs
    scan = part.scan
    if not scan.complete or len(plan.context.relations) != 1:
        return None
    if node.op != enums.SetOperation.SETOP_NONE or any(getattr(node, name) for name in _LEFT):
        return None
    limited = node.limitCount is not None or node.limitOffset is not None
    if limited and scan.limit is None:
        return None
    if node.sortClause and not scan.order:
        return None
    shown = [column.id for column in ref.resolved.table.columns]
    columns: list[int] = []
    for target in node.targetList or ():
        found = _output(target.val, scan, shown)
        if found is None:
            return None
        columns += found
    if fetched(replace(scan, columns=tuple(columns))).shown:
        return None  # a virtual column is computed here
    skip = _constant(node.limitOffset)
    ordered = tuple(dict.fromkeys(columns))
    return Direct(replace(scan, columns=ordered), tuple(columns), skip)


def _output(node: Node, scan: Scan, shown: list[int]) -> list[int] | None:
    """The columns that an item of the target list shows; None for anything but columns."""
    if not isinstance(node, ast.ColumnRef):
        return None
    *qualifiers, last = node.fields
    if len(qualifiers) > 1 or (qualifiers and qualifiers[0].sval != scan.alias):
        return None
    if isinstance(last, ast.A_Star):
        return shown
    column = scan.placed.table.column(last.sval)
    return None if column is None else [column.id]


def _constant(node: Node) -> int:
    return 0 if node is None else int(node.val.ival or 0)
