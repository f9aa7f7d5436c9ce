"""The fence: who writes a table with a log holds a shared advisory lock in the private PostgreSQL
until its store has answered (proxy/logged_writes.py); a cut-over holds it alone.

Writers queue behind it and nobody fails. It belongs to a connection, so it dies with its owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from evolution.layouts.embedded.sessions import LockNotAvailable, Sessions, tree_error

LOCK_CLASS: Final = 0x6D6F7270  # "morp"
CLOSE_S: Final = 5.0


def shared_lock(table_id: int) -> str:
    """The statement by which a writer holds a table until its transaction ends."""
    return f"SELECT pg_catalog.pg_advisory_xact_lock_shared({LOCK_CLASS}, {table_id})"


@asynccontextmanager
async def held(
    sessions: Sessions, table_ids: Sequence[int], hold_s: float, clock: Callable[[], float]
) -> AsyncIterator[float]:
    """Nobody writes these tables inside the block; gives when the first one may have waited.

    Raises LockNotAvailable (55P03) when that takes longer than `hold_s`.
    """
    try:
        connection = await sessions.open()
    except (asyncpg.PostgresError, OSError) as error:
        raise tree_error(error) from error
    try:
        begun = clock()
        await _lock(connection, table_ids, hold_s, clock)
        yield begun
        await connection.close(timeout=CLOSE_S)
    finally:
        if not connection.is_closed():
            connection.terminate()


async def _lock(
    connection: asyncpg.Connection,
    table_ids: Sequence[int],
    hold_s: float,
    clock: Callable[[], float],
) -> None:
    until = clock() + hold_s
    try:
        for table_id in sorted(table_ids):
            left = max(round((until - clock()) * 1000), 1)
            async with asyncio.timeout(hold_s + CLOSE_S):
                await connection.execute(f"SET lock_timeout = {left}")
                await connection.execute(
                    f"SELECT pg_catalog.pg_advisory_lock({LOCK_CLASS}, {table_id})"
                )
    except asyncpg.PostgresError as error:
        raise tree_error(error) from error
    except TimeoutError:
        raise LockNotAvailable("the fence was not given in time") from None
