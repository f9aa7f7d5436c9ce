"""Validations of changes: what the controller calls, and CALL morph.validate and repair."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from core.errors import InvalidParameterValue, MorphError, UndefinedObject
from core.telemetry.log import Log
from evolution.changes.needs import Verdict
from evolution.layouts.base import Discrepancy, Layouts, ShadowTable, ShadowWork, Sides
from evolution.validation.categories import SeverityPolicy
from evolution.validation.findings import Found
from evolution.validation.localise import Comparison, column_differences, differences, unequal
from evolution.validation.pace import ReadingPace
from evolution.validation.ranges import final
from evolution.validation.replay import Ask, Check, Replay
from evolution.validation.report import METHODS, Method, Report
from evolution.validation.reports import Reports
from evolution.validation.sample import Sample
from evolution.validation.scrub import Scrub

LOG = Log("validation")
_VERIFY_ROWS: Final = 1_000
_REPAIR_ROWS: Final = 1_000
_RESUMED: Final = ("full", "checksum")
"""Methods that go on where they were cut off; the others begin again."""
Compare = Callable[[Report], Awaitable[Report]]


@dataclass(frozen=True, slots=True)
class ValidationLimits:
    """`sample_rows` is how many rows a sample has about; `sample_seed` which ones."""

    pace: ReadingPace = field(default_factory=ReadingPace)
    policy: SeverityPolicy = field(default_factory=SeverityPolicy)
    sample_rows: int = 50_000
    sample_seed: int = 0


class Validator:
    """Compares the layouts of changes. One run of a method for a change at a time."""

    def __init__(self, layouts: Layouts, reports: Reports, limits: ValidationLimits) -> None:
        self._layouts = layouts
        self._reports = reports
        self._limits = limits

    async def run(self, work: ShadowWork, table: ShadowTable, method: Method) -> Report:
        """Compare one table; goes on where a run that was cut off was.

        Raises InvalidParameterValue (22023) for another method than full, checksum and sample: the
        others compare answers (replay.py, inline.py). ObjectNotInPrerequisiteState (55000) when the
        same is running elsewhere. Faults of the store are raised, and the run
        can go on; what no repetition heals ends the report as failed.
        """
        if method not in ("full", "checksum", "sample"):
            raise InvalidParameterValue(
                f'validation method "{method}" does not compare tables',
                hint="Use full, checksum or sample here.",
            )
        async with self._reports.claim(work.change_id, table.table_id, method):
            return await self._claimed(
                work, table, method, lambda report: self._compare(work, table, report)
            )

    async def _claimed(
        self, work: ShadowWork, table: ShadowTable, method: Method, compare: Compare
    ) -> Report:
        report = await self._reports.begin(
            work.change_id, table.table_id, table.name, method, resume=method in _RESUMED
        )
        LOG.info("validation.begun", change=work.change_id, table=table.name, method=method)
        try:
            report = await compare(report)
        except MorphError as error:
            if final(error):
                report.fail(f"{error.sqlstate}: {error.primary}")
                await self._reports.save(report)
            raise
        LOG.info(
            "validation.ended",
            change=work.change_id,
            table=table.name,
            verdict=report.verdict,
            rows=report.rows_compared,
            seconds=round(report.seconds, 3),
            discrepancies=report.findings.total,
        )
        return report

    async def _compare(self, work: ShadowWork, table: ShadowTable, report: Report) -> Report:
        limits, save = self._limits, self._reports.save
        open_sides = partial(self._sides, work, table)
        policy = _policy(limits.policy, work)
        if report.method == "sample":
            rows, seed = limits.sample_rows, limits.sample_seed
            return await Sample(open_sides, report, save, rows, seed, limits.pace, policy).run()
        return await Scrub(open_sides, report, save, limits.pace, policy).run()

    def _sides(self, work: ShadowWork, table: ShadowTable) -> AbstractAsyncContextManager[Sides]:
        return self._layouts.sides(work, table)

    # ---------------------------------------------------------------- for the controller

    async def validate(self, work: ShadowWork, method: str) -> Verdict:
        """Compare all tables of a change. Goes on where an interrupted run was."""
        found = [await self.run(work, table, method_named(method)) for table in work.tables]
        critical = sum(_critical(report) for report in found)
        worst = max(found, key=_critical)
        return Verdict(worst.report_id, critical, True, _words(found))

    async def replay(self, work: ShadowWork, checks: Sequence[Check], ask: Ask) -> Verdict:
        """Run queries on both layouts (V6): one report, of the change's first table.

        Raises what `run` raises.
        """
        table = work.tables[0]

        async def compare(report: Report) -> Report:
            policy = _policy(self._limits.policy, work)
            await Replay(ask, report, policy).run(checks)
            await self._reports.save(report)
            return report

        async with self._reports.claim(work.change_id, table.table_id, "query"):
            report = await self._claimed(work, table, "query", compare)
        found = _words([replace(report, message="")]) or "no differences"
        return Verdict(
            report.report_id, _critical(report), True, f"{found} in {report.message.split(',')[0]}"
        )

    async def begin_inline(self, work: ShadowWork) -> Report:
        """A report of reads that are compared as they come (V1), of the change's first table."""
        table = work.tables[0]
        return await self._reports.begin(
            work.change_id, table.table_id, table.name, "inline", resume=False
        )

    async def save_inline(self, report: Report) -> Verdict:
        """Keep how far it is."""
        await self._reports.save(report)
        return Verdict(report.report_id, _critical(report), True, _words([report]))

    def policy(self, work: ShadowWork) -> SeverityPolicy:
        """How bad each kind of discrepancy is for a change."""
        return _policy(self._limits.policy, work)

    async def verify(
        self, table: ShadowTable, sides: Sides, keys: Sequence[bytes]
    ) -> Sequence[Discrepancy]:
        """The last look inside a cut-over: these rows, with both sides at rest."""
        comparison = Comparison(table.table_id, self._limits.policy)
        found = list(column_differences(sides, comparison))
        if len(sides[0].columns) == len(sides[1].columns):
            for at in range(0, len(keys), _VERIFY_ROWS):
                found += await look_at(sides, keys[at : at + _VERIFY_ROWS], comparison)
        return [one.discrepancy for one in found]

    async def record(self, work: ShadowWork, found: Sequence[Discrepancy], method: str) -> int:
        """Keep what others found, as a report a table; the id of the first."""
        first = 0
        for table in work.tables:
            of_table = [one for one in found if one.table_id == table.table_id]
            if not of_table and (first or table is not work.tables[-1]):
                continue
            report = await self._reports.begin(
                work.change_id, table.table_id, table.name, method_named(method), resume=False
            )
            report.findings.extend(Found(one) for one in of_table)
            report.close()
            await self._reports.save(report)
            first = first or report.report_id
        return first

    # ---------------------------------------------------------------- repair

    async def repair(self, work: ShadowWork, report_id: int) -> int:
        """Make the rows of a report's discrepancies from the live ones again, ghosts and missing
        ones too; how many changed. For after the transform was put right.

        Raises UndefinedObject (42704) for a report of another change.
        """
        change_id, table_id, keys = await self._reports.keys(report_id)
        table = next((t for t in work.tables if t.table_id == table_id), None)
        if change_id != work.change_id or table is None:
            raise UndefinedObject(f"change {work.change_id} has no validation report {report_id}")
        changed = 0
        for at in range(0, len(keys), _REPAIR_ROWS):
            part = keys[at : at + _REPAIR_ROWS]
            changed += await self._layouts.repair(work, table, part)
        return changed


async def look_at(sides: Sides, keys: Sequence[bytes], comparison: Comparison) -> list[Found]:
    """What differs among the rows with these keys, whatever is in flight."""
    live, shadow = await sides[0].look_up(keys), await sides[1].look_up(keys)
    return [
        found for pair in unequal(live, shadow) for found in differences(sides, pair, comparison)
    ]


def method_named(name: str) -> Method:
    """The method of this name; InvalidParameterValue (22023) when there is none."""
    for method in METHODS:
        if method == name:
            return method
    raise InvalidParameterValue(
        f'validation method "{name}" does not exist', hint=f"There are {', '.join(METHODS)}."
    )


def _policy(policy: SeverityPolicy, work: ShadowWork) -> SeverityPolicy:
    """Rows that may be left out of the shadow are not critical when they are."""
    if not work.pace.error_limit or "COERCION_ERROR" in policy.levels:
        return policy
    return replace(policy, levels={**policy.levels, "COERCION_ERROR": "warning"})


def _critical(report: Report) -> int:
    """A run that was given up is as bad as a difference."""
    return max(report.findings.critical, report.state == "failed")


def _words(reports: Sequence[Report]) -> str:
    parts = []
    for report in reports:
        counts = sorted(report.findings.counts.items())
        found = [f"{number} {category}" for category, number in counts]
        if report.message:
            found.append(report.message)
        if found:
            parts.append(f"{report.relation}: {', '.join(found)}")
    return "; ".join(parts)
