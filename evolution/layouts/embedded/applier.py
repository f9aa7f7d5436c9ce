"""The applier: brings what the log says into a shadow, from the live rows as they are.

One REPEATABLE READ transaction: its snapshot S and the checkpoint C of the last one bound the
records that are new. The rows of their keys are removed from the shadow and made again from the
live rows as of S; a key that is gone stays removed. Then C := S, in the same transaction: exactly
once, whatever dies. Removing first lets unique values change hands within a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg

from evolution.layouts.embedded.feeds import Feed, save, source_snapshot
from evolution.layouts.embedded.log import TRUNCATE, log_name, new_keys, new_records
from evolution.layouts.embedded.refusals import Copy, copy_rows, forget, forget_all
from evolution.layouts.embedded.tables import ROW, StoreTable, read_table

PLAN = (
    # Every access is by key or by the end of the log; statistics of a table that is being filled
    # must not talk the planner into reading all of it.
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; "
    "SET LOCAL enable_mergejoin = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off; "
    # What the shadow cannot hold must show at its row, not at COMMIT.
    "SET CONSTRAINTS ALL IMMEDIATE"
)


def in_reach(feed: Feed, table: StoreTable) -> str:
    """The condition that a live row belongs into the shadow by now: the backfill brings the others
    up to the bound; beyond it there were none at the start.
    """
    if feed.copied:
        return "true"
    key = table.key_tuple(ROW)
    assert feed.bound is not None
    beyond = f"{key} > {table.key_values(feed.bound)}"
    if feed.cursor is None:
        return beyond
    return f"({key} <= {table.key_values(feed.cursor)} OR {beyond})"


BATCH_RECORDS: Final = 50_000
"""A step brings in about so many records at most, so that it ends in time after a long pause."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What a step brought in; `all` says that nothing of what was there is left."""

    records: int
    all: bool


async def apply_log(
    db: asyncpg.Connection,
    feed: Feed,
    live: StoreTable,
    shadow: StoreTable,
    limit: int = 0,
) -> Applied:
    """Bring in what is new in the log, with `limit` not much more than so many records. The
    transaction's snapshot is the checkpoint then.

    A part of the log goes up to a transaction that, with all before it, has ended. Its rows are
    those of now all the same: what came later is brought in again. So a part may find a unique
    value taken whose owner of now comes with a later one; what it refuses for that comes in then.
    """
    checkpoint, source = feed.checkpoint_sql, await source_snapshot(db, feed)
    part = "" if source or not limit else await _part(db, feed, limit)
    source = part or source
    now = source or "pg_current_snapshot()"
    row = await db.fetchrow(
        "SELECT coalesce(sum(l.rows), 0)::bigint AS records, "
        f"coalesce(bool_or(l.op = '{TRUNCATE}'), false) AS emptied, "
        "coalesce(max(l.lsn + 2 * (l.rows - 1)), 0) AS lsn, "
        f"({now})::text AS now FROM {log_name(feed.table_id)} l "
        f"WHERE {new_records(checkpoint, source)}"
    )
    records: int = row["records"]
    if records:
        await _bring(db, feed, live, shadow, checkpoint, source, emptied=row["emptied"])
    feed.checkpoint = row["now"]
    feed.applied += records
    feed.applied_lsn = max(feed.applied_lsn, row["lsn"])
    return Applied(records, not part)


async def _part(db: asyncpg.Connection, feed: Feed, limit: int) -> str:
    """The snapshot of all transactions up to the one that has the record after `limit` new ones;
    "" when there are not so many, or when an open transaction is older.
    """
    end: str | None = await db.fetchval(
        "SELECT greatest(b.xid, (b.first::text::bigint + 1)::text::xid8)::text FROM ("
        f"SELECT c.xid, pg_snapshot_xmin({feed.checkpoint_sql}) AS first FROM ("
        "SELECT l.xid, sum(l.rows) OVER (ORDER BY l.xid ROWS UNBOUNDED PRECEDING) AS records "
        f"FROM {log_name(feed.table_id)} l WHERE {new_records(feed.checkpoint_sql, '')}) c "
        f"WHERE c.records > {limit} ORDER BY c.xid LIMIT 1) b "
        "WHERE greatest(b.xid, (b.first::text::bigint + 1)::text::xid8) "
        "<= pg_snapshot_xmin(pg_current_snapshot())"
    )
    return f"'{end}:{end}:'::pg_snapshot" if end else ""


async def _bring(
    db: asyncpg.Connection,
    feed: Feed,
    live: StoreTable,
    shadow: StoreTable,
    checkpoint: str,
    source: str,
    *,
    emptied: bool,
) -> None:
    keys = new_keys(live, feed.table_id, checkpoint, source)
    if emptied:
        # All rows of now were written after the TRUNCATE: nobody could write during it.
        await db.execute(f"DELETE FROM {shadow.qualified}")
        await forget_all(db, feed)
    else:
        await db.execute(
            f"DELETE FROM {shadow.qualified} s USING ({keys}) k WHERE {live.same_key('s', 'k')}"
        )
        await forget(db, feed, live, keys)
    origin = f"{live.qualified} {ROW} JOIN ({keys}) k ON {live.same_key(ROW, 'k')}"
    await copy_rows(db, Copy(feed, live, shadow, origin, in_reach(feed, live)))


async def applied(db: asyncpg.Connection, feed: Feed, before: str | None, records: int) -> None:
    """Write the feed's row, unless nothing happened at all."""
    if records or before is None or await _moved(db, before, feed.checkpoint or before):
        await save(db, feed)


async def _moved(db: asyncpg.Connection, before: str, now: str) -> bool:
    """True when the old checkpoint keeps much of the log, or the search in it long."""
    found: bool = await db.fetchval(
        "SELECT pg_snapshot_xmin($2::text::pg_snapshot)::text::bigint "
        "> pg_snapshot_xmin($1::text::pg_snapshot)::text::bigint + 1000",
        before,
        now,
    )
    return found


async def repair_rows(db: asyncpg.Connection, feed: Feed, keys: list[list[str]]) -> int:
    """Make the rows with these keys again from the live ones, as of the checkpoint's successor; how
    many changed.
    """
    live, shadow = await read_table(db, feed.live), await read_table(db, feed.shadow)
    before = feed.checkpoint
    await apply_log(db, feed, live, shadow)
    if not keys:
        return 0
    members = ", ".join(live.key_values(key) for key in keys)
    of_shadow = f"{live.key_tuple('s')} IN ({members})"
    rows = (
        f"SELECT {shadow.key_texts('s')} AS key, s::text AS row FROM {shadow.qualified} s "
        f"WHERE {of_shadow}"
    )
    old = {tuple(r["key"]): r["row"] for r in await db.fetch(rows)}
    await db.execute(f"DELETE FROM {shadow.qualified} s WHERE {of_shadow}")
    await forget(
        db,
        feed,
        live,
        f"SELECT {live.key_list()} FROM (VALUES {members}) v ({live.key_list()})",
    )
    condition = f"{live.key_tuple(ROW)} IN ({members}) AND {in_reach(feed, live)}"
    await copy_rows(db, Copy(feed, live, shadow, f"{live.qualified} {ROW}", condition))
    new = {tuple(r["key"]): r["row"] for r in await db.fetch(rows)}
    await applied(db, feed, before, 1)
    return sum(old.get(key) != new.get(key) for key in {*old, *new})
