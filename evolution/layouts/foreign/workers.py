"""What the workers of the node know of the tables that have a log (the two-epoch rule, I9).

A worker that has not heard of a change would write past its log. So a change goes on only when each
worker has said that it knows, and that its statements from before have ended; one that was started
lately is waited for a moment longer: the one before it may have had a command on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg

from core.errors import SerializationFailure
from evolution.layouts.embedded.sessions import Sessions

_POLL_S: Final = 0.01
_BEHIND: Final = (
    "SELECT n FROM unnest($1::int[]) n LEFT JOIN morph_log.workers w ON w.worker = n "
    "CROSS JOIN morph_log.revision r WHERE w.worker IS NULL OR w.revision < r.revision OR "
    "(w.started_at > r.at - $2 * interval '1 s' "
    "AND w.started_at > clock_timestamp() - $2 * interval '1 s') ORDER BY n LIMIT 1"
)


class KnownWorkers:
    """`numbers` are those of the node's workers."""

    def __init__(
        self, sessions: Sessions, numbers: Sequence[int], clock: Callable[[], float]
    ) -> None:
        self._sessions = sessions
        self._numbers = list(numbers)
        self._clock = clock

    async def wait(self, deadline_s: float, grace_s: float) -> None:
        """Until all know what is in the catalog now, and `grace_s` longer of one that was started
        lately. SerializationFailure (40001) when one does not
        say so in time: it is tried again.
        """
        until = self._clock() + deadline_s
        while True:
            async with self._sessions.step(deadline_s + 1.0, isolation="read_committed") as db:
                behind = await db.fetchval(_BEHIND, self._numbers, grace_s)
            if behind is None:
                return
            if self._clock() >= until:
                raise SerializationFailure(f"worker {behind} has not heard of it yet")
            await asyncio.sleep(_POLL_S)

    async def gone(self, db: asyncpg.Connection, incarnations: Sequence[int]) -> dict[int, float]:
        """Which of these incarnations are no more, and since when at the latest, in seconds: for as
        long as their successors are there.
        """
        if not incarnations:
            return {}
        rows = await db.fetch(
            "SELECT i, extract(epoch FROM clock_timestamp() - max(w.started_at))::float8 AS since "
            "FROM unnest($1::bigint[]) i CROSS JOIN morph_log.workers w "
            "WHERE w.worker = ANY ($2) AND NOT EXISTS "
            "(SELECT FROM morph_log.workers l WHERE l.incarnation = i) GROUP BY i",
            list(incarnations),
            self._numbers,
        )
        return {row["i"]: row["since"] for row in rows}
