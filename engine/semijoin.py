"""Which scan waits for the keys of which: semi-joins between stores (pure).

`people p JOIN orders o ON o.person = p._id` with few rows of one side fetches these first and asks
the other store for the rows of their keys only (`person = ANY (keys)`). Whether that pays is
decided by estimates, and again when the keys are there: more than `keys_max` of them, and the other
side is fetched as if there were none. A wrong estimate costs speed, never rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from backends.base import Exact, ExactWithRewrite, ScanAsk, ScanPlan, TableStatistics
from core import expr as ir
from core.expr import Expr, base_type, join_and, split_and
from engine.scans import JoinKey, Scan

_EQUAL: Final = 0.05
_RANGE: Final = 0.3
_OTHER: Final = 0.5
PAYS: Final = 2.0
"""The side that waits must be so many times as large as the side with the keys."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Scan `waiter` waits for scan `source` (numbers of scans) and the keys of `key.other_id`."""

    waiter: int
    source: int
    key: JoinKey


def estimate(scan: Scan, plan: ScanPlan, statistics: TableStatistics) -> int:
    """About how many rows the scan brings."""
    if scan.limit is not None and plan.limit_exact:
        return min(scan.limit, statistics.rows)
    rows = float(max(statistics.rows, 1))
    for part in split_and(plan.taken):
        rows *= _selectivity(part, scan, statistics.rows)
    return max(int(rows), 1)


def _selectivity(part: Expr, scan: Scan, rows: int) -> float:
    match part:
        case (
            ir.Compare(op="=", left=ir.ColumnRef() as column)
            | ir.Compare(op="=", right=ir.ColumnRef() as column)
        ):
            whole_key = scan.placed.table.key == (column.column_id,)
            return 1 / max(rows, 1) if whole_key else _EQUAL
        case ir.In() if not part.spread:
            return min(_EQUAL * len(part.items), 1.0)
        case ir.Compare() | ir.Like():
            return _RANGE
        case _:
            return _OTHER


def waits(scans: Sequence[Scan], estimates: Sequence[int], keys_max: int) -> list[Wait]:
    """Who waits for whom: each scan for one other at most, no two for each other."""
    places = Counter(scan.location for scan in scans)
    # The keys of a partitioned table are in several scans: none of them has all.
    by_location = {s.location: n for n, s in enumerate(scans) if places[s.location] == 1}
    found: list[Wait] = []
    for number, scan in enumerate(scans):
        options = [
            (estimates[source], source, key)
            for key in scan.joins
            if (source := by_location.get(key.location)) is not None
            and estimates[source] <= keys_max
            and estimates[source] * PAYS <= estimates[number]
        ]
        if options:
            _, source, key = min(options, key=lambda option: option[:2])
            found.append(Wait(number, source, key))
    return found


def reduced(ask: ScanAsk, scan: Scan, key: JoinKey, sql_type: str, array: str) -> ScanAsk | None:
    """The ask for the rows of the keys (an array in PostgreSQL's text form, its elements of
    `sql_type`); None when the table of exactness does not know the comparison.
    """
    column = scan.placed.table.column_by_id(key.column_id)
    assert column is not None
    literal = ir.Literal(f"{base_type(sql_type)}[]", array)
    part = ir.In(ir.ColumnRef(column.id, column.type), (literal,), spread=True)
    if not isinstance(ask.judge(part), Exact | ExactWithRewrite):
        return None
    whole = [*split_and(ask.predicate), part]
    return replace(ask, predicate=join_and(whole))


def took(plan: ScanPlan) -> bool:
    """Whether the store took the keys: they are the last conjunct."""
    return any(isinstance(part, ir.In) and part.spread for part in split_and(plan.taken))
