"""Reports in the private PostgreSQL: morph_catalog.validation_reports and .discrepancies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import asyncpg

from core.errors import ObjectNotInPrerequisiteState, UndefinedObject
from evolution.layouts.base import Discrepancy
from evolution.validation.embedded.failures import translated
from evolution.validation.embedded.side import Connect, opened
from evolution.validation.findings import Findings, Found
from evolution.validation.report import Method, Report

DEADLINE_S: Final = 30.0
_SILENT_FOR: Final = {
    "sample": timedelta(0), "query": timedelta(0), "inline": timedelta(hours=1),
}  # fmt: skip
"""Methods that begin again, and after how long without news a run is taken as cut off: a run of the
first two holds a claim, each worker has one of the last.
"""
_STAMP: Final = "to_jsonb({} AT TIME ZONE 'UTC') #>> '{{}}' || 'Z'"
_UNFINISHED: Final = f"""
SELECT r.*, {_STAMP.format("started_at")} AS started, {_STAMP.format("updated_at")} AS updated,
  counts::text AS counts_text, severities::text AS severities_text
FROM morph_catalog.validation_reports r
WHERE change_id = $1 AND table_id = $2 AND method = $3 AND state = 'running'
ORDER BY report_id DESC LIMIT 1"""
_NEW: Final = f"""
INSERT INTO morph_catalog.validation_reports (change_id, table_id, relation, method)
VALUES ($1, $2, $3, $4) RETURNING report_id, {_STAMP.format("started_at")} AS started"""
_CUT_OFF: Final = """
UPDATE morph_catalog.validation_reports SET state = 'failed', verdict = 'unknown',
  message = 'the run was cut off'
WHERE change_id = $1 AND table_id = $2 AND method = $3 AND state = 'running'
  AND updated_at < clock_timestamp() - $4::interval"""
_OLD: Final = """
DELETE FROM morph_catalog.validation_reports WHERE report_id IN (
  SELECT report_id FROM morph_catalog.validation_reports
  WHERE change_id = $1 AND table_id = $2 AND state <> 'running'
  ORDER BY report_id DESC OFFSET $3)"""
_SAVE: Final = f"""
UPDATE morph_catalog.validation_reports SET state = $2, verdict = $3, message = $4,
  updated_at = clock_timestamp(), from_key = $5, to_key = $6, run_cursor = $7, in_flight = $8,
  rows_compared = $9, bytes = $10, seconds = $11, bound = $12, counts = $13::text::jsonb,
  severities = $14::text::jsonb
WHERE report_id = $1 RETURNING {_STAMP.format("updated_at")}"""
_DETAIL: Final = """
INSERT INTO morph_catalog.discrepancies VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT DO NOTHING"""
_DETAILS: Final = """
SELECT * FROM morph_catalog.discrepancies WHERE report_id = $1 ORDER BY seq"""


class EmbeddedReports:
    """See `Reports`. Of a change's table the last `kept` reports stay."""

    def __init__(self, connect: Connect, kept: int = 20, details_max: int = 10_000) -> None:
        self._connect = connect
        self._kept = kept
        self._details_max = details_max

    @asynccontextmanager
    async def claim(self, change_id: int, table_id: int, method: Method) -> AsyncIterator[None]:
        """See Reports: a lock of a connection, which dies with its process."""
        name = f"morph validation {change_id} {table_id} {method}"
        with translated():
            connection = await self._connect()
        try:
            with translated():
                mine = await connection.fetchval(
                    "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name, timeout=DEADLINE_S
                )
            if not mine:
                raise ObjectNotInPrerequisiteState(
                    f"another validation of change {change_id} by this method is running",
                    hint="Its progress is in morph.validation_reports.",
                )
            yield
        finally:
            connection.terminate()

    async def begin(
        self, change_id: int, table_id: int, relation: str, method: Method, *, resume: bool = True
    ) -> Report:
        """See Reports."""
        async with self._transaction() as connection:
            row = await connection.fetchrow(_UNFINISHED, change_id, table_id, method)
            if row is not None and resume:
                return await self._resumed(connection, row)
            if method in _SILENT_FOR:
                silent = _SILENT_FOR[method]
                await connection.execute(_CUT_OFF, change_id, table_id, method, silent)
            await connection.execute(_OLD, change_id, table_id, max(self._kept - 1, 0))
            made = await connection.fetchrow(_NEW, change_id, table_id, relation, method)
        report = Report(made["report_id"], table_id, change_id, method, relation, made["started"])
        report.findings.details_max = self._details_max
        return report

    async def _resumed(self, connection: asyncpg.Connection, row: asyncpg.Record) -> Report:
        details = [_found(row["table_id"], d) for d in await connection.fetch(_DETAILS, row[0])]
        findings = Findings(
            self._details_max,
            Counter(json.loads(row["counts_text"])),
            Counter(json.loads(row["severities_text"])),
            details,
        )
        report = Report(
            row["report_id"],
            row["table_id"],
            row["change_id"],
            row["method"],
            row["relation"],
            row["started"],
            row["updated"],
            from_key=row["from_key"],
            to_key=row["to_key"],
            cursor=row["run_cursor"],
            rows_compared=row["rows_compared"],
            bytes_read=row["bytes"],
            seconds=row["seconds"],
            findings=findings,
        )
        report.in_flight = dict.fromkeys(row["in_flight"], -1)
        report.details_saved = len(details)
        return report

    async def save(self, report: Report) -> None:
        """See Reports."""
        findings = report.findings
        fresh = findings.details[report.details_saved :]
        rows = [
            _values(report.report_id, seq, found)
            for seq, found in enumerate(fresh, report.details_saved + 1)
        ]
        async with self._transaction() as connection:
            report.timestamp = await connection.fetchval(
                _SAVE,
                report.report_id,
                report.state,
                report.verdict,
                report.message,
                report.from_key,
                report.to_key,
                report.cursor,
                list(report.in_flight),
                report.rows_compared,
                report.bytes_read,
                report.seconds,
                report.bound,
                json.dumps(findings.counts),
                json.dumps(findings.severities),
            )
            if report.timestamp is None:
                raise UndefinedObject(f"validation report {report.report_id} is gone")
            if rows:
                await connection.executemany(_DETAIL, rows)
        report.details_saved += len(rows)

    async def keys(self, report_id: int) -> tuple[int, int, Sequence[bytes]]:
        """See Reports. Raises UndefinedObject (42704)."""
        async with self._transaction() as connection:
            row = await connection.fetchrow(
                "SELECT change_id, table_id FROM morph_catalog.validation_reports "
                "WHERE report_id = $1",
                report_id,
            )
            if row is None:
                raise UndefinedObject(f"validation report {report_id} does not exist")
            keys = await connection.fetch(
                "SELECT row_key FROM morph_catalog.discrepancies WHERE report_id = $1 "
                "AND row_key IS NOT NULL GROUP BY row_key ORDER BY min(seq)",
                report_id,
            )
        return row["change_id"], row["table_id"], [key[0] for key in keys]

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        with translated():
            async with opened(self._connect) as connection, connection.transaction():
                await connection.execute(
                    "SET LOCAL search_path = pg_catalog, pg_temp; "
                    f"SET LOCAL statement_timeout = {round(DEADLINE_S * 1000)}; "
                    "SET LOCAL ROLE morph_owner",
                    timeout=DEADLINE_S,
                )
                yield connection


def _values(report_id: int, seq: int, found: Found) -> tuple[object, ...]:
    one = found.discrepancy
    return (
        report_id,
        seq,
        one.type,
        one.severity,
        one.message.replace("\0", ""),
        one.record_id,
        found.key,
        one.column,
        one.primary_value_hash,
        one.shadow_value_hash,
        one.lsn,
    )


def _found(table_id: int, row: asyncpg.Record) -> Found:
    return Found(
        Discrepancy(
            row["type"],
            row["message"],
            row["record_id"],
            table_id,
            row["column_name"],
            row["primary_value_hash"],
            row["shadow_value_hash"],
            row["lsn"],
            row["severity"],
        ),
        row["row_key"],
    )
