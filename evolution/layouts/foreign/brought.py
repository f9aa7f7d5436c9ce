"""Which rows were brought in lately: `morph_log.brought`.

Who reads two layouts one after the other must not take a write between the reads for a difference.
The log has what is not brought in yet; this has what was brought in and is gone from it, for every
worker and process. It is written before a row is put, under the position at which it is put.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import asyncpg

from backends.change_store import Key
from core.errors import SerializationFailure
from evolution.layouts.foreign.feeds import ForeignFeed

KEPT_US: Final = 600_000_000
"""So long back it is known; nobody reads two layouts for longer."""


async def note(db: asyncpg.Connection, feed: ForeignFeed, keys: Sequence[Key]) -> None:
    """These keys are about to be put at the feed's position, in the transaction that drew it."""
    await db.execute(
        "WITH old AS (DELETE FROM morph_log.brought WHERE table_id = $1 AND lsn < $4) "
        "INSERT INTO morph_log.brought VALUES ($1, $2, $3::text::jsonb)",
        feed.table_id,
        feed.lsn,
        json.dumps([list(key) for key in keys]),
        feed.lsn - KEPT_US,
    )


async def since(db: asyncpg.Connection, feed: ForeignFeed) -> set[Key]:
    """The keys that were brought in since the feed was read.

    Raises SerializationFailure (40001) when that is so long ago that nobody knows any more.
    """
    oldest = await db.fetchval(
        "SELECT lsn FROM morph_log.foreign_feeds WHERE table_id = $1", feed.table_id
    )
    if oldest is None or oldest - feed.lsn > KEPT_US:
        raise SerializationFailure("two layouts were read for too long to be compared")
    rows = await db.fetch(
        "SELECT keys::text FROM morph_log.brought WHERE table_id = $1 AND lsn > $2",
        feed.table_id,
        feed.lsn,
    )
    return {tuple(key) for row in rows for key in json.loads(row[0])}
