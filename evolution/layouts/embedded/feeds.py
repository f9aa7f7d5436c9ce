"""What is known of each layout that is fed: the rows of `morph_log.shadows`.

A row is read and written in the transactions of the steps: it says how far the very rows are that
the transaction sees. Whoever works on it holds its row lock, so two owners cannot work at once; a
lower epoch than the row has seen is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import asyncpg

from catalog.sqltext import quote_literal
from core.errors import SerializationFailure, UndefinedObject
from evolution.layouts.base import Direction, ShadowTable, ShadowWork
from evolution.layouts.revision import bump

_FIELDS: Final = (
    "change_id, table_id, direction, live, shadow, columns::text AS columns, epoch, start_lsn, "
    "applied_lsn, checkpoint::text AS checkpoint, bound, cursor, copied, finished, chunk_rows, "
    "total, rows, bytes, applied, looked::text AS looked"
)


@dataclass(slots=True)
class Feed:
    """One layout that is fed from another. `columns` are the expressions over a row of the live
    layout (alias t) for the shadow's columns; those that are not named are taken as they are.
    `looked` is the snapshot up to which the rows were compared, None before the first validation.
    """

    change_id: int
    table_id: int
    direction: Direction
    live: str
    shadow: str
    columns: dict[str, str]
    epoch: int
    start_lsn: int
    applied_lsn: int
    checkpoint: str | None
    bound: list[str] | None
    cursor: list[str] | None
    copied: bool
    finished: bool
    chunk_rows: int
    total: int
    rows: int
    bytes: int
    applied: int
    looked: str | None = None

    @property
    def where(self) -> str:
        """The condition of its row."""
        return f"change_id = {self.change_id} AND table_id = {self.table_id}"

    @property
    def checkpoint_sql(self) -> str:
        """The snapshot up to which the log is in the shadow, for SQL."""
        assert self.checkpoint is not None, "the bounds are not frozen yet"
        return f"{quote_literal(self.checkpoint)}::pg_snapshot"


def _feed(row: asyncpg.Record) -> Feed:
    values = dict(row)
    return Feed(**{**values, "columns": json.loads(values["columns"])})


async def find(
    db: asyncpg.Connection, work: ShadowWork, table: ShadowTable, *, lock: bool = False
) -> Feed | None:
    """The feed of a table of a change, None before `begin`. With `lock` it is held to the end of
    the transaction.

    Raises SerializationFailure (40001) when a newer owner works on it.
    """
    row = await db.fetchrow(
        f"SELECT {_FIELDS} FROM morph_log.shadows WHERE change_id = $1 AND table_id = $2"
        + (" FOR UPDATE" if lock else ""),
        work.change_id,
        table.table_id,
    )
    if row is None:
        return None
    feed = _feed(row)
    if feed.epoch > work.epoch:
        raise SerializationFailure(
            f"change {work.change_id} has a newer owner",
            detail=f"Its epoch is {feed.epoch}, this one's {work.epoch}.",
        )
    feed.epoch = work.epoch
    return feed


async def take(db: asyncpg.Connection, work: ShadowWork) -> list[tuple[ShadowTable, Feed]]:
    """The feeds of all tables of a change, held.

    Raises UndefinedObject (42704) when there is none: it was never begun, or is discarded.
    """
    found = []
    for table in sorted(work.tables, key=lambda each: each.table_id):
        feed = await find(db, work, table, lock=True)
        if feed is None:
            raise UndefinedObject(f'change {work.change_id} has no shadow of table "{table.name}"')
        found.append((table, feed))
    return found


async def of_table(db: asyncpg.Connection, table_id: int) -> list[Feed]:
    """All feeds from the log of a table."""
    rows = await db.fetch(
        f"SELECT {_FIELDS} FROM morph_log.shadows WHERE table_id = $1 ORDER BY change_id", table_id
    )
    return [_feed(row) for row in rows]


async def source_snapshot(db: asyncpg.Connection, feed: Feed) -> str:
    """Up to which snapshot the feed's live layout has the log, for SQL: "" when it is the layout
    that serves. After several promotions an old layout is fed from the next one, which is fed too.
    """
    checkpoint = await db.fetchval(
        "SELECT checkpoint::text FROM morph_log.shadows WHERE table_id = $1 AND shadow = $2",
        feed.table_id,
        feed.live,
    )
    return f"{quote_literal(checkpoint)}::pg_snapshot" if checkpoint else ""


async def add(db: asyncpg.Connection, feed: Feed) -> None:
    """Write a new row."""
    await db.execute(
        "INSERT INTO morph_log.shadows (change_id, table_id, direction, live, shadow, columns, "
        "epoch) VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7)",
        feed.change_id,
        feed.table_id,
        feed.direction,
        feed.live,
        feed.shadow,
        json.dumps(feed.columns),
        feed.epoch,
    )
    await bump(db)


async def save(db: asyncpg.Connection, feed: Feed) -> None:
    """Write the row as it is now."""
    await db.execute(
        "UPDATE morph_log.shadows SET direction = $1, live = $2, shadow = $3, "
        "columns = $4::text::jsonb, epoch = $5, start_lsn = $6, applied_lsn = $7, "
        "checkpoint = $8::text::pg_snapshot, bound = $9, cursor = $10, copied = $11, "
        "finished = $12, chunk_rows = $13, total = $14, rows = $15, bytes = $16, applied = $17 "
        f"WHERE {feed.where}",
        feed.direction,
        feed.live,
        feed.shadow,
        json.dumps(feed.columns),
        feed.epoch,
        feed.start_lsn,
        feed.applied_lsn,
        feed.checkpoint,
        feed.bound,
        feed.cursor,
        feed.copied,
        feed.finished,
        feed.chunk_rows,
        feed.total,
        feed.rows,
        feed.bytes,
        feed.applied,
    )


async def mark_looked(db: asyncpg.Connection, feed: Feed, snapshot: str) -> None:
    """Everything in a snapshot was compared, or is about to be."""
    await db.execute(
        f"UPDATE morph_log.shadows SET looked = $1::text::pg_snapshot WHERE {feed.where}", snapshot
    )
    feed.looked = snapshot


async def remove(db: asyncpg.Connection, feed: Feed) -> None:
    """Forget a feed and the rows that it refused."""
    await db.execute(f"DELETE FROM morph_log.refused WHERE {feed.where}")
    await db.execute(f"DELETE FROM morph_log.shadows WHERE {feed.where}")
    await bump(db)
