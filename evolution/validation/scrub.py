"""Scrub: both sides once, in key order; sums of chunks first, rows only where they differ (V3).

Between chunks nothing is open: where a run got is in its report, and it goes on from there after a
crash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from config.validation import Category
from core.checksum import chunk_hash
from core.clock import Clock
from evolution.layouts.base import Chunk, Sides
from evolution.validation.categories import SeverityPolicy
from evolution.validation.judge import Judge, OpenSides, Saved
from evolution.validation.localise import column_differences, unequal, unequal_rows
from evolution.validation.pace import CLOCK, ChunkSize, ReadingPace, pause
from evolution.validation.ranges import Aligned, Unreadable, next_range
from evolution.validation.report import Report

UNREADABLE_MAX: Final = 1_000
"""So many rows that cannot be read end a pass: each one has to be found by bisection."""


@dataclass(slots=True)
class Scrub:
    """One pass over one table. `saved` is called after each chunk, with the report up to there."""

    open_sides: OpenSides
    report: Report
    saved: Saved
    pace: ReadingPace = field(default_factory=ReadingPace)
    policy: SeverityPolicy = field(default_factory=SeverityPolicy)
    clock: Clock = CLOCK
    _judge: Judge = field(init=False)
    _unread: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._judge = Judge(self.open_sides, self.report, self.saved, self.policy, self.clock)

    async def run(self) -> Report:
        """Compare everything from the report's cursor on."""
        size = ChunkSize(self.pace)
        ended = False
        while not ended:
            begun = self.clock.monotonic()
            async with self.open_sides() as sides:
                if not self._fits(sides):
                    break
                part = await next_range(sides, self.report.cursor, size.rows)
                await self._compare(sides, part)
            ended = part.ended
            seconds = self.clock.monotonic() - begun
            size.took(part.live.rows, len(part.live.data), seconds)
            await self._judge.step(seconds)
            if self._unread >= UNREADABLE_MAX:
                self.report.fail(f"{self._unread} rows cannot be read")
                await self.saved(self.report)
                return self.report
            if not ended and (wait_s := size.pause_s(part.live.rows, seconds)):
                await pause(self.clock, wait_s)
                self.report.seconds += wait_s
        await self._judge.look_again()
        self.report.close()
        await self.saved(self.report)
        return self.report

    def _fits(self, sides: Sides) -> bool:
        """Whether the sides have the same columns; if not, it is reported once."""
        if self.report.cursor is None and not self.report.findings.total:
            found = column_differences(sides, self._judge.comparison)
            self.report.findings.extend(found)
        return len(sides[0].columns) == len(sides[1].columns)

    async def _compare(self, sides: Sides, part: Aligned) -> None:
        report = self.report
        report.rows_compared += part.live.rows
        report.bytes_read += len(part.live.data) + len(part.shadow.data)
        if not report.from_key and (part.live.rows or part.shadow.rows):
            rows = (part.live if part.live.rows else part.shadow).split()
            report.from_key = sides[0].key_text(rows[0].key)
        self._judge.put_off(sides, {*part.live.left_out, *part.shadow.left_out})
        for unreadable in part.unreadable:
            self._unreadable(sides, unreadable)
            self._unread += 1
        skipped = {u.key for u in part.unreadable}
        if not same(part.live, part.shadow, report.method):
            pairs = unequal(*unequal_rows(part.live, part.shadow))
            await self._judge.pairs(sides, (p for p in pairs if p.key not in skipped), {})
        last = part.last or part.live.last or part.shadow.last
        if last is not None:
            report.cursor = last
            report.to_key = sides[0].key_text(last)

    def _unreadable(self, sides: Sides, row: Unreadable) -> None:
        side = sides[0] if row.of_live else sides[1]
        category: Category = "COERCION_ERROR" if row.of_live else "DECODE_ERROR"
        message = f"{row.error.sqlstate}: {row.error.primary}"
        self.report.findings.add(self._judge.comparison.found(category, message, side, row.key))


def same(live: Chunk, shadow: Chunk, method: str) -> bool:
    """Whether two chunks are equal: by their sums, or byte for byte with the method full."""
    if live.rows != shadow.rows or len(live.data) != len(shadow.data):
        return False
    if method == "full":
        return live.data == shadow.data
    return chunk_hash(live.data) == chunk_hash(shadow.data)
