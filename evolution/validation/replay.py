"""Replay: the same queries against both variants, results compared as a client sees them (V6).

Compared are the rows, the row description, the SQLSTATE and the time. Each query runs twice on the
live variant, before and after the shadow: where its own two answers differ, the query is not
deterministic (or its rows were written meanwhile), and nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Protocol

from config.validation import Category
from evolution.layouts.base import Discrepancy
from evolution.validation.categories import SeverityPolicy
from evolution.validation.findings import Found
from evolution.validation.inline import ResultSum, compare_results
from evolution.validation.report import Report

_SHORTEST_S: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Check:
    """A query. `ordered`: it says in which order its rows come; `name` is how it is reported."""

    name: str
    sql: str
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client sees: columns as (name, type), the sums of the rows, "" or the SQLSTATE."""

    columns: tuple[tuple[str, str], ...]
    rows: ResultSum
    sqlstate: str
    seconds: float


class Runner(Protocol):
    """Runs queries against one variant."""

    async def run(self, sql: str) -> Answer:
        """The answer; an error of the query is one, too."""


@dataclass(slots=True)
class Replay:
    """Runs checks and fills a report. `ratios` are times of the shadow by those of the live one."""

    live: Runner
    shadow: Runner
    report: Report
    policy: SeverityPolicy = field(default_factory=SeverityPolicy)
    ratios: list[float] = field(default_factory=list)

    async def run(self, checks: Sequence[Check]) -> Report:
        """Run them one after the other."""
        for check in checks:
            first = await self.live.run(check.sql)
            other = await self.shadow.run(check.sql)
            again = await self.live.run(check.sql)
            if noise(first, again, check):
                message = "two answers of the live variant differ"
                self._add(check, "NONDETERMINISTIC", message)
                continue
            found = difference(first, other, check)
            if found is not None:
                self._add(check, *found)
            self.report.rows_compared += first.rows.multiset.count
            self.report.seconds += first.seconds + other.seconds + again.seconds
            fastest = min(first.seconds, again.seconds)
            self.ratios.append(other.seconds / max(fastest, _SHORTEST_S))
        if self.ratios:
            self.report.message = f"median time of the shadow: {median(self.ratios):.2f} x"
        self.report.close()
        return self.report

    def _add(self, check: Check, category: Category, message: str) -> None:
        severity = self.policy.of(category)
        table_id = self.report.table_id
        one = Discrepancy(category, message, check.name, table_id, severity=severity)
        self.report.findings.add(Found(one))


def noise(first: Answer, again: Answer, check: Check) -> bool:
    """Whether one variant gave two different answers."""
    return difference(first, again, check) is not None


def difference(live: Answer, shadow: Answer, check: Check) -> tuple[Category, str] | None:
    """What a client would see as different."""
    if live.sqlstate != shadow.sqlstate:
        one, other = live.sqlstate or "no error", shadow.sqlstate or "no error"
        return "ERROR_MISMATCH", f"{one} from the live variant, {other} from the shadow"
    if live.sqlstate:
        return None
    if live.columns != shadow.columns:
        return "ROWDESC_MISMATCH", _columns(live, shadow)
    return compare_results(live.rows, shadow.rows, ordered=check.ordered)


def _columns(live: Answer, shadow: Answer) -> str:
    if len(live.columns) != len(shadow.columns):
        return f"{len(live.columns)} columns from the live variant, {len(shadow.columns)} here"
    pairs = zip(live.columns, shadow.columns, strict=True)
    one, other = next((a, b) for a, b in pairs if a != b)
    return f"column {' '.join(one)} in the live variant, {' '.join(other)} in the shadow"
