"""Time as a parameter: the system's clock, and a virtual one for tests and simulation.

The only module that may ask the machine for the time (tests/meta checks it). Deadlines are points
of `monotonic()`. Timers of asyncio with equal deadlines do not fire in the order they were set; the
virtual clock's do, so a simulated run depends on its seed alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

SETTLE_TURNS = 20
VIRTUAL_START = datetime(2000, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What everything that waits or stamps gets as a parameter."""

    def monotonic(self) -> float:
        """Seconds from an unknown start; never goes back."""
        ...

    def now(self) -> datetime:
        """The time of day, in UTC."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Wait until `monotonic()` has reached the deadline."""
        ...

    def timeout_at(self, deadline: float | None) -> asyncio.Timeout:
        """An `async with` block that ends with TimeoutError at the deadline; None = never."""
        ...


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)  # no frame of ours: it is asked thrice a statement

    def now(self) -> datetime:
        """See Clock."""
        return datetime.now(UTC)

    async def sleep_until(self, deadline: float) -> None:
        """See Clock."""
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))

    def timeout_at(self, deadline: float | None) -> asyncio.Timeout:
        """See Clock."""
        if deadline is None:
            return asyncio.timeout(None)
        # the loop may count from another start than time.monotonic()
        return asyncio.timeout(deadline - time.monotonic())


class VirtualClock:
    """A clock that stands still until `advance` moves it."""

    def __init__(self, start: float = 0.0) -> None:
        self._start = start
        self._time = start
        self._order = 0
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []

    def monotonic(self) -> float:
        """See Clock."""
        return self._time

    def now(self) -> datetime:
        """See Clock."""
        return VIRTUAL_START + timedelta(seconds=self._time - self._start)

    async def sleep_until(self, deadline: float) -> None:
        """See Clock; sleepers with one deadline wake in the order in which they went to sleep."""
        if deadline <= self._time:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        self._call_at(deadline, wake)
        await woken

    def timeout_at(self, deadline: float | None) -> asyncio.Timeout:
        """See Clock."""
        if deadline is not None and deadline <= self._time:
            return asyncio.timeout(0)
        timeout = asyncio.timeout(None)

        def expire() -> None:
            # RuntimeError: the block was left before its deadline
            with contextlib.suppress(RuntimeError):
                timeout.reschedule(asyncio.get_running_loop().time())

        if deadline is not None:
            self._call_at(deadline, expire)
        return timeout

    async def advance(self, seconds: float) -> None:
        """Move on, waking each sleeper at its own time and letting it run before the next."""
        assert seconds >= 0, "time does not go back"
        target = self._time + seconds
        await settle()
        while self._waiting and self._waiting[0][0] <= target:
            self._time, _, call = heapq.heappop(self._waiting)
            call()
            await settle()
        self._time = target

    def _call_at(self, deadline: float, call: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._waiting, (deadline, self._order, call))


async def settle() -> None:
    """Let every task that can run do so, a few steps deep."""
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)
