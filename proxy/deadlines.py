"""Ends what takes too long: sessions that are idle, statements that no session may run so long.

The private PostgreSQL has no ceiling for statement_timeout: a session can raise its own. So running
statements are looked at now and then; one that made no progress for longer is cancelled.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.errors import IdleSessionTimeout

if TYPE_CHECKING:
    from proxy.worker import Worker

LOOK_MAX_S = 1.0
LOOKS_A_LIMIT = 10


class Deadlines:
    """Of one worker; a limit of 0 is none."""

    def __init__(self, worker: Worker, *, idle_s: float, statement_s: float) -> None:
        self._worker = worker
        self._idle_s = idle_s
        self._statement_s = statement_s
        self._running: dict[int, tuple[int, float]] = {}
        self._busy: dict[int, float] = {}  # when a session was last seen at work

    async def watch(self) -> None:
        """Look at all sessions until cancelled; returns at once without limits."""
        limits = [limit for limit in (self._idle_s, self._statement_s) if limit]
        while limits:
            await asyncio.sleep(min(LOOK_MAX_S, min(limits) / LOOKS_A_LIMIT))
            now = self._worker.clock()
            if self._idle_s:
                self._end_idle(now)
            if self._statement_s:
                self._cancel_long(now)

    def _end_idle(self, now: float) -> None:
        busy = {
            number: self._busy[number] for number in self._worker.sessions if number in self._busy
        }
        for session in list(self._worker.sessions.values()):
            if session.status != ord("I") or not session.relay.idle or session.busy:
                busy[session.id] = now
                continue
            idle_since = max(session.client.idle_since, self._busy.get(session.id, 0.0))
            if now - idle_since > self._idle_s:
                session.client.fatal(
                    IdleSessionTimeout("terminating connection due to idle-session timeout")
                )
        self._busy = busy

    def _cancel_long(self, now: float) -> None:
        before, self._running = self._running, {}
        for session in list(self._worker.sessions.values()):
            if session.relay.idle:
                continue
            known = before.get(session.id)
            if known is None or known[0] != session.progress:
                known = (session.progress, now)
            elif now - known[1] > self._statement_s:
                session.time_out()
            self._running[session.id] = known
