"""Judges rows that are not the same: reports what is wrong, puts off what is in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from core.clock import Clock
from evolution.layouts.base import Sides
from evolution.validation.categories import SeverityPolicy
from evolution.validation.localise import Comparison, Pair, differences, unequal
from evolution.validation.pace import pause
from evolution.validation.report import Report

RECHECKS: Final = 3
RECHECK_WAIT_S: Final = 0.2
SAVE_S: Final = 1.0
LOOK_UP_ROWS: Final = 5_000
_PAIRS_A_TURN: Final = 200
_LATER_MAX: Final = 100_000
_UNKNOWN: Final = -1

OpenSides = Callable[[], AbstractAsyncContextManager[Sides]]
Saved = Callable[[Report], Awaitable[None]]


class Judge:
    """Fills a report with what is wrong with pairs of rows.

    A row is in flight when its key is in the log and not applied, or the sides have it at different
    LSNs. It is looked at again at the end, at most three times, then it is STALE.
    """

    def __init__(
        self,
        open_sides: OpenSides,
        report: Report,
        saved: Saved,
        policy: SeverityPolicy,
        clock: Clock,
    ) -> None:
        self._open_sides = open_sides
        self._report = report
        self._saved = saved
        self._clock = clock
        self.comparison = Comparison(report.table_id, policy)
        self._save_at = 0.0
        self.different = 0
        """Rows with something wrong."""

    async def pairs(self, sides: Sides, pairs: Iterable[Pair], before: Mapping[bytes, int]) -> None:
        """Report pairs at rest and put off those in flight. A row that one side does not have is at
        rest when its LSN is the one of `before`, at the last look.
        """
        for number, pair in enumerate(pairs, 1):
            if number % _PAIRS_A_TURN == 0:
                await asyncio.sleep(0)  # clients are served in the same process
            one_sided = pair.live is None or pair.shadow is None
            if not in_flight(sides, pair) or (one_sided and before.get(pair.key) == pair.lsn):
                found = list(differences(sides, pair, self.comparison))
                self._report.findings.extend(found)
                self.different += bool(found)
            else:
                self._put_off(sides, pair.key, pair.lsn)

    def put_off(self, sides: Sides, keys: Iterable[bytes]) -> None:
        """Look at these rows again at the end."""
        for key in keys:
            self._put_off(sides, key, _UNKNOWN)

    async def step(self, seconds: float) -> None:
        """Write down how far the run is, if that is not done already in this second."""
        self._report.seconds += seconds
        now = self._clock.monotonic()
        if now >= self._save_at:
            await self._saved(self._report)
            self._save_at = now + SAVE_S

    async def look_at(
        self, sides: Sides, keys: Sequence[bytes], before: Mapping[bytes, int]
    ) -> int:
        """Compare the rows with these keys; how many there are."""
        flying = {*await sides[0].in_flight(keys), *await sides[1].in_flight(keys)}
        self.put_off(sides, flying)
        rest = [key for key in keys if key not in flying]
        live, shadow = await sides[0].look_up(rest), await sides[1].look_up(rest)
        self._report.rows_compared += len(live)
        self._report.bytes_read += sum(len(row.key) + len(row.data) for row in (*live, *shadow))
        await self.pairs(sides, unequal(live, shadow), before)
        return len(live)

    async def look_again(self) -> None:
        """The rows that were in flight, until they are at rest on both sides."""
        waiting = self._report.in_flight
        for look in range(RECHECKS):
            if not waiting:
                return
            await pause(self._clock, RECHECK_WAIT_S * 2**look)
            before = dict(waiting)
            last = before if look == RECHECKS - 1 else {}
            keys = list(before)
            for at in range(0, len(keys), LOOK_UP_ROWS):
                begun = self._clock.monotonic()
                part = keys[at : at + LOOK_UP_ROWS]
                for key in part:
                    del waiting[key]
                async with self._open_sides() as sides:
                    await self.look_at(sides, part, last)
                await self.step(self._clock.monotonic() - begun)
        if waiting:
            async with self._open_sides() as sides:
                for key in waiting:
                    self._stale(sides, key, f"still in flight after {RECHECKS} looks")

    def _put_off(self, sides: Sides, key: bytes, lsn: int) -> None:
        if len(self._report.in_flight) < _LATER_MAX:
            self._report.in_flight[key] = lsn
        else:
            self._stale(sides, key, "in flight, and too many others are")

    def _stale(self, sides: Sides, key: bytes, message: str) -> None:
        self._report.findings.add(self.comparison.found("STALE", message, sides[0], key))


def in_flight(sides: Sides, pair: Pair) -> bool:
    """Whether a difference may be a write that one side has and the other has not yet."""
    if sides[0].snapshot and sides[1].snapshot:
        return False
    return pair.live is None or pair.shadow is None or pair.live.lsn != pair.shadow.lsn
