"""The report of a validation: what was compared, how, what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from evolution.layouts.base import Discrepancy
from evolution.validation.findings import Findings

Method = Literal["full", "checksum", "sample", "query", "inline"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
State = Literal["running", "done", "failed"]
Verdict = Literal["", "equal", "different", "unknown"]


@dataclass(slots=True)
class Report:
    """One validation of one table. Times are ISO 8601 in UTC.

    `cursor` is the last key that was compared, from which a run that was cut off goes on; keys are
    those of the sides. `rows_compared` counts rows of the live side, `bytes_read` is of both.
    `bound` is the upper bound at 95 % of the share of rows that differ, None where all were
    compared. `verdict`: equal (nothing critical), different, unknown (the run failed before).
    `in_flight` are rows to look at again, with the LSN at which they were seen; `details_saved` of
    the details are in the store.
    """

    report_id: int
    table_id: int
    change_id: int
    method: Method
    relation: str = ""
    started_at: str = ""
    timestamp: str = ""
    state: State = "running"
    verdict: Verdict = ""
    message: str = ""
    from_key: str = ""
    to_key: str = ""
    cursor: bytes | None = None
    rows_compared: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    bound: float | None = None
    findings: Findings = field(default_factory=Findings)
    in_flight: dict[bytes, int] = field(default_factory=dict)
    details_saved: int = 0

    @property
    def rows_per_s(self) -> float:
        """The mean rate, pauses included."""
        return self.rows_compared / self.seconds if self.seconds else 0.0

    def fail(self, message: str) -> None:
        """The run cannot go on."""
        self.state, self.message = "failed", message
        self.verdict = "different" if self.findings.critical else "unknown"

    def close(self) -> None:
        """Nothing is left to compare."""
        self.in_flight = {}
        self.state = "done"
        self.verdict = "different" if self.findings.critical else "equal"


def as_json(report: Report) -> str:
    """The report as JSON: `tableId`, `timestamp`, `discrepancies` of `type`, `message`, `recordId`,
    and what else is known.
    """
    return json.dumps(as_dict(report), ensure_ascii=False)


def as_dict(report: Report) -> dict[str, Any]:
    """The same before it is text."""
    return {
        "reportId": report.report_id,
        "tableId": report.table_id,
        "changeId": report.change_id,
        "relation": report.relation,
        "timestamp": report.timestamp,
        "method": report.method,
        "state": report.state,
        "verdict": report.verdict,
        "fromKey": report.from_key,
        "toKey": report.to_key,
        "rowsCompared": report.rows_compared,
        "bytes": report.bytes_read,
        "seconds": round(report.seconds, 3),
        "bound": report.bound,
        "counts": dict(sorted(report.findings.counts.items())),
        "discrepancies": [_discrepancy(f.discrepancy) for f in report.findings.details],
    }


def _discrepancy(one: Discrepancy) -> dict[str, Any]:
    return {
        "type": one.type,
        "message": one.message,
        "recordId": one.record_id,
        "column": one.column,
        "primaryValueHash": one.primary_value_hash,
        "shadowValueHash": one.shadow_value_hash,
        "lsn": one.lsn,
        "severity": one.severity,
    }
