"""R4.4, issue 5 (7): a step that is cut off anywhere leaves connections that work."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from evolution.layouts.embedded.sessions import Sessions
from tests.integration.layouts.bed import Bed, connect_root

TURNS = 40
"""Turns of the event loop after which a step is cut off: more than one needs for its end."""


async def one(sessions: Sessions, isolation: str) -> int:
    async with sessions.step(60.0, isolation=isolation) as db:
        return int(await db.fetchval("SELECT 1"))


async def test_a_step_cut_off_anywhere(bed: Bed) -> None:
    sessions = Sessions(lambda: connect_root(bed.server))
    ended = 0
    try:
        await one(sessions, "repeatable_read")
        for turns in range(TURNS):
            cut = asyncio.ensure_future(one(sessions, "repeatable_read"))
            for _ in range(turns):
                await asyncio.sleep(0)
            ended += cut.done()
            cut.cancel()
            with suppress(asyncio.CancelledError):
                await cut
            assert await one(sessions, "read_committed") == 1
            assert await one(sessions, "repeatable_read") == 1
    finally:
        await sessions.close()
    assert 0 <= ended < TURNS
