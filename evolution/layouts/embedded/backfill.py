"""The backfill: copies the rows up to the bound that was frozen at the start, in key order.

A chunk is copied in the transaction of an applier's step, after it and in its snapshot, so at every
commit the shadow has exactly the live rows up to the cursor as of the checkpoint, and those beyond
the bound: nothing is overwritten by an older image and nothing that was deleted comes back. Rows
that are inserted beyond the bound come by the log, so it ends under any load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import asyncpg

from evolution.layouts.base import Pace
from evolution.layouts.embedded.feeds import Feed
from evolution.layouts.embedded.refusals import Copy, copy_rows
from evolution.layouts.embedded.tables import ROW, StoreTable

CHUNK_ROWS: Final = (20, 100_000)
"""The least and the most rows of a chunk."""
_WEIGHT: Final = 0.5
_GROWTH: Final = 4.0


@dataclass(frozen=True, slots=True)
class Copied:
    """What one chunk did."""

    rows: int
    seconds: float


async def freeze(db: asyncpg.Connection, feed: Feed, live: StoreTable) -> None:
    """The bound is the greatest key of now; an empty table needs no backfill."""
    descending = ", ".join(f"{ROW}.{c.quoted} DESC" for c in live.key)
    feed.checkpoint = await db.fetchval("SELECT pg_current_snapshot()::text")
    feed.bound = await db.fetchval(
        f"SELECT {live.key_texts(ROW)} FROM {live.qualified} {ROW} ORDER BY {descending} LIMIT 1"
    )
    feed.copied = feed.bound is None
    feed.cursor = None
    feed.total = await db.fetchval(
        "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass($1)",
        live.qualified,
    )
    if not feed.total and not feed.copied:
        feed.total = await db.fetchval(f"SELECT count(*) FROM {live.qualified}")


async def copy_chunk(
    db: asyncpg.Connection,
    feed: Feed,
    live: StoreTable,
    shadow: StoreTable,
    pace: Pace,
    clock: Callable[[], float],
) -> Copied:
    """Copy the next rows and move the cursor behind them."""
    begun = clock()
    assert feed.bound is not None
    key = live.key_tuple(ROW)
    after = f"{key} > {live.key_values(feed.cursor)} AND " if feed.cursor is not None else ""
    reach = f"{after}{key} <= {live.key_values(feed.bound)}"
    order = live.key_list(ROW)
    limit = min(feed.chunk_rows, max(int(pace.rows_per_s), 1) if pace.rows_per_s else CHUNK_ROWS[1])
    last: list[str] | None = await db.fetchval(
        f"SELECT {live.key_texts(ROW)} FROM {live.qualified} {ROW} WHERE {reach} "
        f"ORDER BY {order} OFFSET {limit - 1} LIMIT 1"
    )
    end = last if last is not None else feed.bound
    condition = f"{after}{key} <= {live.key_values(end)}"
    rows = await copy_rows(db, Copy(feed, live, shadow, f"{live.qualified} {ROW}", condition))
    feed.cursor = end
    feed.copied = last is None or last == feed.bound
    feed.rows += rows
    seconds = clock() - begun
    feed.chunk_rows = next_chunk(feed.chunk_rows, rows, seconds, pace.chunk_s)
    return Copied(rows, seconds)


def next_chunk(rows_now: int, rows: int, seconds: float, target_s: float) -> int:
    """How many rows the next chunk has, so that it takes about `target_s`: a weighted mean of the
    size of now and what the speed just seen would give.
    """
    if rows <= 0 or seconds <= 0:
        return rows_now
    wanted = min(rows / seconds * target_s, rows_now * _GROWTH)
    mean = rows_now * (1 - _WEIGHT) + wanted * _WEIGHT
    return max(CHUNK_ROWS[0], min(CHUNK_ROWS[1], round(mean)))
