"""Waiting for stores on behalf of a statement: a cancel request and statement_timeout end it.

The work runs in the script's own task. Only what takes longer than WATCH_AFTER_S is measured
against the session's statement_timeout, which only the backend knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from core.errors import MorphError, QueryCanceled

if TYPE_CHECKING:
    from proxy.session import Session

WATCH_AFTER_S: Final = 0.05
_QUERY: Final = (
    "SELECT setting FROM pg_catalog.pg_settings "
    "WHERE name OPERATOR(pg_catalog.=) 'statement_timeout'"
)
_T = TypeVar("_T")


async def bounded(session: Session, work: Coroutine[Any, Any, _T], *, alone: bool = False) -> _T:
    """The result of work that waits for stores only; QueryCanceled (57014) when it is ended.

    `alone`: the backend has no part in the statement, and is left without a transaction.
    """
    watch = _Watch(session, alone)
    session.on_cancel = watch.cancel
    try:
        result = await work
    except asyncio.CancelledError:
        fault = watch.fault
        if fault is None:  # the session ends
            watch.give_up()
            raise
        await watch.end()
        raise fault from None
    except BaseException:
        await watch.end()
        raise
    await watch.end()
    return result


class _Watch:
    """Who may end the work of the task that makes it; `fault` is why it did."""

    def __init__(self, session: Session, alone: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.fault: Exception | None = None
        self._session = session
        self._alone = alone
        self._task = task
        self._ended = False
        self._asking: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._timer = self._loop.call_later(WATCH_AFTER_S, self._ask)

    def cancel(self) -> None:
        """A cancel request."""
        self._stop(QueryCanceled("canceling statement due to user request"))

    def _stop(self, fault: Exception) -> None:
        if self.fault is None and not self._ended:
            self.fault = fault
            self._task.cancel()

    def _ask(self) -> None:
        session = self._session
        backend = session.relay.backend
        if self._alone and backend is not None and not session.pinned:
            # Nothing was set since its login.
            known = backend.statement_timeout
            if known is not None:
                self._bound(known)
                return
        asking = session.worker.spawn(self._measure(), name=f"statement-timeout-{session.id}")
        self._asking = asking

    async def _measure(self) -> None:
        session = self._session
        scripts = session.worker.scripts
        limit = 0.0
        try:
            try:
                sink = await scripts.fetch(session, _QUERY)
                limit = int(sink.rows()[0][0] or b"0") / 1000
            finally:
                if self._alone:
                    session.relay.skip = False
                    kept = session.pause()
                    await scripts.sync(session)
                    session.resume(*kept)
        except MorphError as error:
            self._stop(error)
            return
        backend = session.relay.backend
        if self._alone and backend is not None and not session.pinned:
            backend.statement_timeout = limit
        if not self._ended:
            self._bound(limit)

    def _bound(self, limit: float) -> None:
        """The session's statement_timeout is so many seconds, 0 for none."""
        if limit:
            rest = max(limit - (self._loop.time() - self._since), 0)
            late = QueryCanceled("canceling statement due to statement timeout")
            self._timer = self._loop.call_later(rest, self._stop, late)

    async def end(self) -> None:
        """The work has ended; afterwards nothing of this is on its way to the backend."""
        self._ended = True
        self._session.on_cancel = None
        self._timer.cancel()
        if self.fault is not None:
            self._task.uncancel()
        if self._asking is not None and not self._asking.done():
            await asyncio.wait([self._asking])

    def give_up(self) -> None:
        """The session ends, and its backend with it."""
        self._ended = True
        self._session.on_cancel = None
        self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
