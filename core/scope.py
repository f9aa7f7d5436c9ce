"""The scope of one statement: until when it may run, whether it was cancelled, what it may hold.

Every await that leaves the process stands in `async with scope.timeout()`; loops that do not await
call `scope.check()` now and then. Expiry and cancellation both arrive as QueryCanceled (57014) with
PostgreSQL's texts, so the session treats them as any other error of the statement.

    scope = Scope(clock, deadline=clock.monotonic() + 30, memory=Budget(memory_max))
    async with scope.timeout():
        rows = await backend.fetch()
    scope.memory.take(len(rows))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from core.clock import Clock
from core.errors import MorphError, OutOfMemory, QueryCanceled

USER_REQUEST = "canceling statement due to user request"
STATEMENT_TIMEOUT = "canceling statement due to statement timeout"


class Budget:
    """Bytes that a statement may hold at once; `limit` 0 = without limit."""

    __slots__ = ("limit", "peak", "setting", "used")

    def __init__(self, limit: int = 0, *, setting: str = "merge.memory_max") -> None:
        self.limit = limit
        self.setting = setting
        self.used = 0
        self.peak = 0

    def take(self, size: int) -> None:
        """Count bytes in; above the limit nothing is counted and OutOfMemory (53200) raised."""
        assert size >= 0, "give back with give()"
        wanted = self.used + size
        if self.limit and wanted > self.limit:
            raise OutOfMemory(
                f"statement needs more than {self.limit} bytes of memory",
                hint=f'Raise the setting "{self.setting}" or make the statement return less.',
            )
        self.used = wanted
        self.peak = max(self.peak, wanted)

    def give(self, size: int) -> None:
        """Count bytes out again."""
        assert 0 <= size <= self.used, "more given back than taken"
        self.used -= size


class Scope:
    """Deadline, cancel flag and budget of one statement; see the module."""

    __slots__ = ("_calls", "_cause", "_timers", "clock", "deadline", "memory")

    def __init__(
        self,
        clock: Clock,
        *,
        deadline: float | None = None,
        memory: Budget | None = None,
    ) -> None:
        self.clock = clock
        self.deadline = deadline
        self.memory = memory or Budget()
        self._cause: MorphError | None = None
        self._timers: set[asyncio.Timeout] = set()
        self._calls: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cause is not None

    def remaining(self) -> float | None:
        """Seconds left, at least 0; None without deadline."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - self.clock.monotonic())

    def check(self) -> None:
        """Raise what ended the statement, if anything did."""
        if self._cause is not None:
            raise self._cause
        if self.deadline is not None and self.clock.monotonic() >= self.deadline:
            raise QueryCanceled(STATEMENT_TIMEOUT)

    def cancel(self, cause: MorphError | None = None) -> None:
        """End the statement now; the first cause counts. May be called from any task of the loop.

        Whatever waits in `timeout()` is interrupted, and the calls of `on_cancel` are made.
        """
        if self._cause is not None:
            return
        self._cause = cause or QueryCanceled(USER_REQUEST)
        for timer in tuple(self._timers):
            if not timer.expired():
                timer.reschedule(asyncio.get_running_loop().time())
        calls, self._calls = self._calls, []
        for call in calls:
            call()

    def on_cancel(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` made at cancellation, at once if that was before; returns how to undo it."""
        if self._cause is not None:
            call()
            return lambda: None
        self._calls.append(call)

        def undo() -> None:
            if call in self._calls:
                self._calls.remove(call)

        return undo

    def timeout(self) -> ScopeTimeout:
        """An `async with` block that ends with QueryCanceled at the deadline or at `cancel`."""
        return ScopeTimeout(self)

    def _ended(self) -> MorphError:
        return self._cause or QueryCanceled(STATEMENT_TIMEOUT)


class ScopeTimeout:
    """The block of `Scope.timeout`; one use."""

    __slots__ = ("_scope", "_timer")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._timer = scope.clock.timeout_at(scope.deadline)

    async def __aenter__(self) -> Scope:
        self._scope.check()
        await self._timer.__aenter__()
        self._scope._timers.add(self._timer)
        return self._scope

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scope._timers.discard(self._timer)
        try:
            await self._timer.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise self._scope._ended() from None
