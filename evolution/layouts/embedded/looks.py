"""Looks at the rows that were written since the validation (EVOLUTION 6, steps 1 and 4).

The log is kept from the moment a validation begins. Now and then, and before each cut-over, the
rows whose records the shadow has are compared, and the log up to there may go. So what is left for
the last look inside of a cut-over, while writers wait, is what came in these milliseconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import asyncpg

from catalog.sqltext import quote_literal
from evolution.layouts.base import Discrepancy, ShadowTable, ShadowWork, Verify
from evolution.layouts.embedded import feeds
from evolution.layouts.embedded.applier import part_of
from evolution.layouts.embedded.compare import sides_of
from evolution.layouts.embedded.feeds import Feed
from evolution.layouts.embedded.log import last_keys, new_keys
from evolution.layouts.embedded.tables import StoreTable, read_table
from evolution.validation.embedded.side import read_together
from evolution.validation.lines import key_bytes

LOOK_RECORDS: Final = 10_000
"""So many records that are not looked at yet call for a look."""
PART_RECORDS: Final = 50_000
"""A look is at about so many at most."""
FENCE_KEYS: Final = 2_000
"""So many rows are compared at most while writers wait."""
Connect = Callable[[], Awaitable[asyncpg.Connection]]


def looked_sql(feed: Feed) -> str:
    """Up to which snapshot the rows were compared, for SQL."""
    assert feed.looked is not None, "the first validation has begun"
    return f"{quote_literal(feed.looked)}::pg_snapshot"


async def look(
    connect: Connect, work: ShadowWork, table: ShadowTable, verify: Verify
) -> tuple[list[Discrepancy], str, bool]:
    """Compare what was written since the last look and is in the shadow: what differs, the snapshot
    up to which it was compared ("" for nothing), and whether more is left.
    """
    async with read_together(connect) as db:
        feed = await feeds.find(db, work, table)
        if feed is None or not (feed.looked and feed.checkpoint and feed.copied):
            return [], "", False
        part = await part_of(db, replace(feed, checkpoint=feed.looked), PART_RECORDS)
        if part and await _pending(db, feed, part):
            part = ""  # the shadow does not have all of it yet: up to what it has
        until = part or feed.checkpoint_sql
        live = await read_table(db, feed.live)
        keys = await _keys(db, live, new_keys(live, feed.table_id, looked_sql(feed), until))
        found = list(await verify(table, await sides_of(db, feed), keys)) if keys else []
        snapshot: str = await db.fetchval(f"SELECT ({until})::text")
    return found, snapshot, bool(part)


async def _pending(db: asyncpg.Connection, feed: Feed, part: str) -> bool:
    """Whether records up to a snapshot are not in the shadow."""
    live = await read_table(db, feed.live)
    pending = new_keys(live, feed.table_id, feed.checkpoint_sql, part)
    return bool(await db.fetchval(f"SELECT EXISTS ({pending})"))


async def unlooked(
    db: asyncpg.Connection, feed: Feed, live: StoreTable
) -> tuple[list[bytes], bool]:
    """The keys for the last look, in the transaction of a cut-over that has brought in all of the
    log: the newest, and all that were not looked at; whether these are too many.
    """
    newest = await _keys(db, live, last_keys(live, feed.table_id))
    if feed.looked is None:
        return newest, False
    query = new_keys(live, feed.table_id, looked_sql(feed), "")
    rest = await _keys(db, live, f"{query} LIMIT {FENCE_KEYS + 1}")
    return list(dict.fromkeys([*newest, *rest])), len(rest) > FENCE_KEYS


async def _keys(db: asyncpg.Connection, live: StoreTable, query: str) -> list[bytes]:
    rows = await db.fetch(f"SELECT {live.key_texts('q')} FROM ({query}) q")
    return [key_bytes(row[0]) for row in rows]
