"""What the worker remembers of its statements and sessions, for morph.statements and .sessions."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pglast import fingerprint
from pglast.parser import ParseError

from core.telemetry.metrics import Cell, Distribution, Metrics

if TYPE_CHECKING:
    from engine.plans import Plan
    from rewrite.analysis import StatementPlan

STATEMENTS_MAX = 1000
TEXT_MAX = 1000


@dataclass(slots=True)
class StatementStats:
    """Counters of one fingerprint."""

    query: str
    kind: str
    tier: int
    calls: int = 0
    errors: int = 0
    total_ms: float = 0.0
    max_ms: float = 0.0


@dataclass(slots=True)
class _Shape:
    """What is counted for one plan shape. `statements` is held: its identity is the key. `used`
    is true when it was counted again since it was new or last up for eviction.
    """

    statements: tuple[StatementPlan, ...]
    stats: StatementStats
    count: Cell
    seconds: Distribution
    used: bool = False


class Statements:
    """Counters by plan shape, bounded: what was used since it was last looked at gets a second
    chance, so that counting moves nothing. Folded by fingerprint when read.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._by_key: OrderedDict[int, _Shape] = OrderedDict()

    def record(self, plan: Plan, elapsed_s: float, failed: bool) -> None:
        """Count one run. Plans of one template share their statements tuple, so its identity is
        the cheapest key; texts that are equal in another plan are folded by `rows`.
        """
        key = id(plan.statements)
        shape = self._by_key.get(key)
        if shape is None:
            self._make_room()
            shape = self._by_key[key] = self._shape(plan)
        else:
            shape.used = True
        if not failed:
            shape.count.value += 1
        shape.seconds.observe(elapsed_s)
        stats = shape.stats
        stats.calls += 1
        stats.errors += failed
        elapsed_ms = elapsed_s * 1000
        stats.total_ms += elapsed_ms
        if elapsed_ms > stats.max_ms:  # noqa: PLR1730 (hot: a call costs more)
            stats.max_ms = elapsed_ms

    def _make_room(self) -> None:
        shapes = self._by_key
        while len(shapes) >= STATEMENTS_MAX:
            key, shape = shapes.popitem(last=False)
            if shape.used:
                shape.used = False
                shapes[key] = shape

    def _shape(self, plan: Plan) -> _Shape:
        tier = 2 if any(s.action.value == "merge" for s in plan.statements) else 1
        kind = plan.statements[0].kind if plan.statements else "Unknown"
        return _Shape(
            plan.statements,
            StatementStats(plan.text[:TEXT_MAX], kind, tier),
            self._metrics.statements.cell(kind, str(tier)),
            self._metrics.statement_seconds.cell(str(tier)),
        )

    def rows(self) -> list[tuple[str, str, str, int, int, int, float, float]]:
        """One row a fingerprint: fingerprint, query, kind, tier, calls, errors, total, max."""
        folded: dict[str, StatementStats] = {}
        for stats in [shape.stats for shape in self._by_key.values()]:
            try:
                key = fingerprint(stats.query)
            except ParseError:
                key = stats.query
            known = folded.get(key)
            if known is None:
                folded[key] = StatementStats(
                    stats.query, stats.kind, stats.tier, stats.calls, stats.errors,
                    stats.total_ms, stats.max_ms,
                )  # fmt: skip
            else:
                known.calls += stats.calls
                known.errors += stats.errors
                known.total_ms += stats.total_ms
                known.max_ms = max(known.max_ms, stats.max_ms)
        return [
            (k, s.query, s.kind, s.tier, s.calls, s.errors, s.total_ms, s.max_ms)
            for k, s in folded.items()
        ]
