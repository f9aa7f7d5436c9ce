"""Replay: the same queries against both layouts, results compared as a client sees them (V6).

Compared are the rows, the row description, the SQLSTATE and the time. Each query runs twice on the
live layout, before and after the shadow. Where its own two answers differ, the query is not
deterministic, and nothing is concluded. Where the shadow's differs, it runs once more on the live
rows in another order: LIMIT without ORDER BY, ties, sums of floats depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Literal, Protocol

from config.validation import Category
from evolution.layouts.base import Discrepancy
from evolution.validation.categories import SeverityPolicy
from evolution.validation.findings import Found
from evolution.validation.inline import ResultSum, compare_results
from evolution.validation.report import Report

Layout = Literal["live", "shadow", "shuffled"]
"""shuffled: the live rows in another order, to tell which answers depend on it."""
_SHORTEST_S: Final = 1e-6
_CANCELED: Final = "57014"


@dataclass(frozen=True, slots=True)
class Check:
    """A query in one version. `ordered`: it says in which order its rows come; `name` is how it is
    reported.
    """

    name: str
    sql: str
    ordered: bool = False
    version: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client sees: columns as (name, type), the sums of the rows, "" or the SQLSTATE."""

    columns: tuple[tuple[str, str], ...]
    rows: ResultSum
    sqlstate: str
    seconds: float


class Asking(Protocol):
    """One query against all layouts, as of one moment."""

    async def ask(self, layout: Layout) -> Answer:
        """The answer; an error of the query is one, too."""


Ask = Callable[[Check], AbstractAsyncContextManager[Asking]]


@dataclass(slots=True)
class Replay:
    """Runs checks and fills a report. `ratios` are times of the shadow by those of the live one."""

    ask: Ask
    report: Report
    policy: SeverityPolicy = field(default_factory=SeverityPolicy)
    ratios: list[float] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)

    async def run(self, checks: Sequence[Check]) -> Report:
        """Run them one after the other."""
        for check in checks:
            async with self.ask(check) as asking:
                await self._run(check, asking)
        self.report.message = self._words(checks)
        self.report.close()
        return self.report

    async def _run(self, check: Check, asking: Asking) -> None:
        first = await asking.ask("live")
        other = await asking.ask("shadow")
        again = await asking.ask("live")
        self.report.rows_compared += first.rows.multiset.count
        self.report.seconds += first.seconds + other.seconds + again.seconds
        if first.sqlstate:
            self.failing.add(f"{check.name} {check.version}")
        found = difference(first, again, check)
        if found is not None:
            self._add(check, "NONDETERMINISTIC", "two answers of the live layout differ")
            return
        found = difference(first, other, check)
        if found is not None:
            if await self._by_order(check, asking, first):
                message = "the answer depends on the order in which rows are read"
                found = "NONDETERMINISTIC", message
            self._add(check, *found)
        if not first.sqlstate and not other.sqlstate:
            fastest = min(first.seconds, again.seconds)
            self.ratios.append(other.seconds / max(fastest, _SHORTEST_S))

    async def _by_order(self, check: Check, asking: Asking, first: Answer) -> bool:
        """Whether the live rows in another order give another answer, too."""
        if first.sqlstate:
            return False
        shuffled = await asking.ask("shuffled")
        return shuffled.sqlstate != _CANCELED and difference(first, shuffled, check) is not None

    def _words(self, checks: Sequence[Check]) -> str:
        words = f"{len(checks)} answers"
        if self.failing:
            words += f" ({len(self.failing)} of them errors)"
        if self.ratios:
            words += f", median time of the shadow: {median(self.ratios):.2f} x"
        return words

    def _add(self, check: Check, category: Category, message: str) -> None:
        severity = self.policy.of(category)
        table_id = self.report.table_id
        if check.version:
            message = f"in version {check.version}: {message}"
        one = Discrepancy(category, message, check.name, table_id, severity=severity)
        self.report.findings.add(Found(one))


def difference(live: Answer, shadow: Answer, check: Check) -> tuple[Category, str] | None:
    """What a client would see as different."""
    if live.sqlstate != shadow.sqlstate:
        one, other = live.sqlstate or "no error", shadow.sqlstate or "no error"
        return "ERROR_MISMATCH", f"{one} from the live layout, {other} from the shadow"
    if live.sqlstate:
        return None
    if live.columns != shadow.columns:
        return "ROWDESC_MISMATCH", _columns(live, shadow)
    return compare_results(live.rows, shadow.rows, ordered=check.ordered)


def _columns(live: Answer, shadow: Answer) -> str:
    if len(live.columns) != len(shadow.columns):
        return f"{len(live.columns)} columns from the live layout, {len(shadow.columns)} here"
    pairs = zip(live.columns, shadow.columns, strict=True)
    one, other = next((a, b) for a, b in pairs if a != b)
    return f"column {' '.join(one)} in the live layout, {' '.join(other)} in the shadow"
