"""Scrub: both sides once, in key order; sums of chunks first, rows only where they differ (V3).

Between chunks nothing is open: where a run got is in its report, and it goes on from there after a
crash. A row that is in flight (its key is in the log and not applied, or the two sides have it at
different LSNs) is looked at again after the pass, at most three times, then it is STALE.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from core.checksum import chunk_hash
from evolution.layouts.base import Category, Chunk, Sides
from evolution.validation.categories import SeverityPolicy
from evolution.validation.localise import (
    Comparison,
    Pair,
    column_differences,
    differences,
    unequal,
)
from evolution.validation.pace import SLEEP, ChunkSize, ReadingPace, Sleep
from evolution.validation.ranges import Aligned, Unreadable, next_range
from evolution.validation.report import Report

RECHECKS: Final = 3
RECHECK_WAIT_S: Final = 0.2
_LATER_MAX: Final = 100_000
_LOOK_UP_ROWS: Final = 1_000
_UNKNOWN: Final = -1

OpenSides = Callable[[], AbstractAsyncContextManager[Sides]]
Saved = Callable[[Report], Awaitable[None]]


@dataclass(slots=True)
class Scrub:
    """One pass over one table. `saved` is called after each chunk, with the report up to there."""

    open_sides: OpenSides
    report: Report
    saved: Saved
    pace: ReadingPace = field(default_factory=ReadingPace)
    policy: SeverityPolicy = field(default_factory=SeverityPolicy)
    sleep: Sleep = SLEEP
    _later: dict[bytes, int] = field(default_factory=dict, init=False)

    async def run(self) -> Report:
        """Compare everything from the report's cursor on."""
        size = ChunkSize(self.pace)
        ended = False
        while not ended:
            begun = monotonic()
            async with self.open_sides() as sides:
                if not self._fits(sides):
                    break
                part = await next_range(sides, self.report.cursor, size.rows)
                self._compare(sides, part)
            ended = part.ended
            seconds = monotonic() - begun
            size.took(part.live.rows, len(part.live.data), seconds)
            await self._step(seconds)
            if not ended and (pause := size.pause_s(part.live.rows, seconds)):
                await self.sleep(pause)
                self.report.seconds += pause
        await self._again()
        self.report.close()
        await self.saved(self.report)
        return self.report

    async def _step(self, seconds: float) -> None:
        self.report.seconds += seconds
        await self.saved(self.report)

    @property
    def _comparison(self) -> Comparison:
        return Comparison(self.report.table_id, self.policy)

    def _fits(self, sides: Sides) -> bool:
        """Whether the sides have the same columns; if not, it is reported once."""
        if self.report.cursor is None and not self.report.findings.total:
            self.report.findings.extend(column_differences(sides, self._comparison))
        return len(sides[0].columns) == len(sides[1].columns)

    def _compare(self, sides: Sides, part: Aligned) -> None:
        report = self.report
        report.rows_compared += part.live.rows
        report.bytes += len(part.live.data) + len(part.shadow.data)
        first = part.live.data or part.shadow.data
        if first and not report.from_key:
            rows = (part.live if part.live.data else part.shadow).split()
            report.from_key = sides[0].key_text(rows[0].key)
        for key in {*part.live.left_out, *part.shadow.left_out}:
            self._put_off(sides, key, _UNKNOWN)
        for unreadable in part.unreadable:
            self._unreadable(sides, unreadable)
        skipped = {u.key for u in part.unreadable}
        if not same(part.live, part.shadow, report.method):
            pairs = unequal(part.live.split(), part.shadow.split())
            self._pairs(sides, (p for p in pairs if p.key not in skipped), {})
        last = part.last or part.live.last or part.shadow.last
        if last is not None:
            report.cursor = last
            report.to_key = sides[0].key_text(last)

    def _pairs(self, sides: Sides, pairs: Iterable[Pair], before: Mapping[bytes, int]) -> None:
        """Report pairs at rest and put off those in flight. A row that one side does not have is at
        rest when it was the same `before`.
        """
        for pair in pairs:
            one_sided = pair.live is None or pair.shadow is None
            if not in_flight(sides, pair) or (one_sided and before.get(pair.key) == pair.lsn):
                self.report.findings.extend(differences(sides, pair, self._comparison))
            else:
                self._put_off(sides, pair.key, pair.lsn)

    def _put_off(self, sides: Sides, key: bytes, lsn: int) -> None:
        if len(self._later) < _LATER_MAX:
            self._later[key] = lsn
        else:
            self._stale(sides, key, "in flight, and too many others are")

    def _stale(self, sides: Sides, key: bytes, message: str) -> None:
        self.report.findings.add(self._comparison.found("STALE", message, sides[0], key))

    def _unreadable(self, sides: Sides, row: Unreadable) -> None:
        side = sides[0] if row.of_live else sides[1]
        category: Category = "COERCION_ERROR" if row.of_live else "DECODE_ERROR"
        message = f"{row.error.sqlstate}: {row.error.primary}"
        self.report.findings.add(self._comparison.found(category, message, side, row.key))

    async def _again(self) -> None:
        """The keys that were in flight, until they are at rest on both sides."""
        for _ in range(RECHECKS):
            if not self._later:
                return
            await self.sleep(RECHECK_WAIT_S)
            before, self._later = self._later, {}
            keys = list(before)
            for at in range(0, len(keys), _LOOK_UP_ROWS):
                begun = monotonic()
                await self._look_again(keys[at : at + _LOOK_UP_ROWS], before)
                await self._step(monotonic() - begun)
        if self._later:
            async with self.open_sides() as sides:
                for key in self._later:
                    self._stale(sides, key, f"still in flight after {RECHECKS} looks")

    async def _look_again(self, keys: list[bytes], before: Mapping[bytes, int]) -> None:
        async with self.open_sides() as sides:
            flying = {*await sides[0].in_flight(keys), *await sides[1].in_flight(keys)}
            rest = [key for key in keys if key not in flying]
            for key in flying:
                self._put_off(sides, key, _UNKNOWN)
            live, shadow = await sides[0].look_up(rest), await sides[1].look_up(rest)
            self.report.rows_compared += len(live)
            self._pairs(sides, unequal(live, shadow), before)


def same(live: Chunk, shadow: Chunk, method: str) -> bool:
    """Whether two chunks are equal: by their sums, or byte for byte with the method full."""
    if live.rows != shadow.rows or len(live.data) != len(shadow.data):
        return False
    if method == "full":
        return live.data == shadow.data
    return chunk_hash(live.data) == chunk_hash(shadow.data)


def in_flight(sides: Sides, pair: Pair) -> bool:
    """Whether a difference may be a write that one side has and the other has not yet."""
    if sides[0].snapshot and sides[1].snapshot:
        return False
    return pair.live is None or pair.shadow is None or pair.live.lsn != pair.shadow.lsn
