"""Looks at the rows that were written since the validation (EVOLUTION 6, steps 1 and 4).

The log is kept from the moment a validation begins. Now and then, and before each cut-over, the
rows whose records the shadow has are compared, and the log up to there may go. So what is left for
the last look inside of a cut-over, while writers wait, is what came in these milliseconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import asyncpg

from catalog.sqltext import quote_literal
from evolution.layouts.base import Discrepancy, ShadowTable, ShadowWork, Verify
from evolution.layouts.embedded import feeds
from evolution.layouts.embedded.compare import sides_of
from evolution.layouts.embedded.feeds import Feed
from evolution.layouts.embedded.log import last_keys, new_keys
from evolution.layouts.embedded.tables import StoreTable, read_table
from evolution.validation.embedded.side import read_together
from evolution.validation.lines import key_bytes

LOOK_RECORDS: Final = 10_000
"""So many records that are not looked at yet call for a look."""
PART_KEYS: Final = 10_000
"""A look goes on in parts of so many rows, however large a transaction was."""
FENCE_KEYS: Final = 2_000
"""So many rows are compared at most while writers wait."""
Connect = Callable[[], Awaitable[asyncpg.Connection]]


def looked_sql(feed: Feed) -> str:
    """Up to which snapshot the rows were compared, for SQL."""
    assert feed.looked is not None, "the first validation has begun"
    return f"{quote_literal(feed.looked)}::pg_snapshot"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a look is: all records up to the snapshot `until`, their keys after `after`."""

    until: str
    after: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """What a part of a look found. `place` is where the next part begins, None at the end of what
    was there; `snapshot` is up to where everything was compared by now, "" for no further.
    """

    found: list[Discrepancy]
    place: Place | None = None
    snapshot: str = ""


async def look(
    connect: Connect, work: ShadowWork, table: ShadowTable, verify: Verify, place: Place | None
) -> Looked:
    """Compare the next rows that were written since the last look and are in the shadow."""
    async with read_together(connect) as db:
        feed = await feeds.find(db, work, table)
        if feed is None or not (feed.looked and feed.checkpoint and feed.copied):
            return Looked([])
        here = place or Place(feed.checkpoint)
        live = await read_table(db, feed.live)
        until = f"{quote_literal(here.until)}::pg_snapshot"
        query = new_keys(live, feed.table_id, looked_sql(feed), until)
        after = f"WHERE {live.key_tuple('q')} > {live.key_values(here.after)}" if here.after else ""
        rows = await db.fetch(
            f"SELECT {live.key_texts('q')} FROM ({query}) q {after} "
            f"ORDER BY {live.key_list('q')} LIMIT {PART_KEYS}"
        )
        keys = [key_bytes(row[0]) for row in rows]
        found = list(await verify(table, await sides_of(db, feed), keys)) if keys else []
    if len(rows) == PART_KEYS:
        return Looked(found, Place(here.until, rows[-1][0]))
    return Looked(found, None, here.until)


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
