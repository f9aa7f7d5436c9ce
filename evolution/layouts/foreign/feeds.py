"""What is known of each layout in another store: the rows of `morph_log.foreign_feeds`.

Unlike in the embedded store a row is not written together with what it tells of. So it never says
more than was done: a cursor is moved after its chunk was put, and a chunk that is put again is
harmless. Positions are drawn here, under the owner's epoch: see backends/change_store.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from backends.change_store import Key, LogPlace
from core.errors import ObjectNotInPrerequisiteState, SerializationFailure, UndefinedObject
from evolution.layouts.base import Direction, ShadowTable, ShadowWork
from evolution.layouts.revision import bump

RECENT_KEYS: Final = 100
_NOW_US: Final = "(extract(epoch FROM clock_timestamp()) * 500000)::bigint * 2"
_FIELDS: Final = (
    "change_id, table_id, direction, instance, live::text AS live, shadow::text AS shadow, epoch, "
    "lsn, start_lsn, applied_lsn, frozen, bound, cursor, copied, chunk_rows, total, rows, bytes, "
    "applied, recent::text AS recent, tail, "
    "extract(epoch FROM clock_timestamp() - claimed_at)::float8 AS owned_s"
)


@dataclass(slots=True)
class ForeignFeed:
    """One layout that is fed from another; `owned_s` is how long its owner of now has it."""

    change_id: int
    table_id: int
    direction: Direction
    instance: str
    live: tuple[str, ...]
    shadow: tuple[str, ...]
    epoch: int
    lsn: int
    start_lsn: int
    applied_lsn: int
    frozen: bool
    bound: str | None
    cursor: str | None
    copied: bool
    chunk_rows: int
    total: int
    rows: int
    bytes: int
    applied: int
    recent: list[Key]
    tail: str | None
    owned_s: float

    @property
    def where(self) -> str:
        """The condition of its row."""
        return f"change_id = {self.change_id} AND table_id = {self.table_id}"

    @property
    def place(self) -> LogPlace:
        """Where its log is."""
        return LogPlace(self.live[0], self.table_id)


def native_text(native: Sequence[str]) -> str:
    """A native name as `ShadowTable.live` and `shadow` have it."""
    return json.dumps(list(native), ensure_ascii=False)


def native_of(text: str) -> tuple[str, ...]:
    """The opposite of `native_text`."""
    return tuple(json.loads(text))


def _feed(row: asyncpg.Record) -> ForeignFeed:
    values = dict(row)
    values |= {name: native_of(values[name]) for name in ("live", "shadow")}
    values["recent"] = [tuple(key) for key in json.loads(values["recent"])]
    return ForeignFeed(**values)


def _owned(row: asyncpg.Record, work: ShadowWork) -> ForeignFeed:
    feed = _feed(row)
    if feed.epoch > work.epoch:
        raise SerializationFailure(
            f"change {work.change_id} has a newer owner",
            detail=f"Its epoch is {feed.epoch}, this one's {work.epoch}.",
        )
    return feed


async def find(db: asyncpg.Connection, work: ShadowWork, table: ShadowTable) -> ForeignFeed | None:
    """The feed of a table of a change, None before `begin`.

    Raises SerializationFailure (40001) when a newer owner works on it.
    """
    row = await db.fetchrow(
        f"SELECT {_FIELDS} FROM morph_log.foreign_feeds WHERE change_id = $1 AND table_id = $2",
        work.change_id,
        table.table_id,
    )
    return None if row is None else _owned(row, work)


async def take(
    db: asyncpg.Connection, work: ShadowWork, table: ShadowTable, *, lock: bool = False
) -> ForeignFeed:
    """The same; UndefinedObject (42704) when there is none. With `lock` it is held to the end of
    the transaction.
    """
    if lock:
        await db.execute(
            "SELECT FROM morph_log.foreign_feeds WHERE change_id = $1 AND table_id = $2 FOR UPDATE",
            work.change_id,
            table.table_id,
        )
    feed = await find(db, work, table)
    if feed is None:
        raise UndefinedObject(f'change {work.change_id} has no shadow of table "{table.name}"')
    return feed


async def draw(
    db: asyncpg.Connection, work: ShadowWork, table: ShadowTable, mine: int = 0
) -> ForeignFeed:
    """A new position (`lsn`), above all that were drawn for the table before. `mine` is the epoch
    under which the caller drew the last one: a fence has another one, and is the same owner's.

    Raises SerializationFailure (40001) when a newer owner works on it.
    """
    row = await db.fetchrow(
        f"UPDATE morph_log.foreign_feeds SET lsn = greatest(lsn + 2, {_NOW_US}), "
        "claimed_at = CASE WHEN epoch IN ($3, $4) THEN claimed_at ELSE clock_timestamp() END, "
        "epoch = greatest(epoch, $3) WHERE change_id = $1 AND table_id = $2 "
        f"RETURNING {_FIELDS}",
        work.change_id,
        table.table_id,
        work.epoch,
        mine,
    )
    if row is None:
        raise UndefinedObject(f'change {work.change_id} has no shadow of table "{table.name}"')
    return _owned(row, work)


async def add(
    db: asyncpg.Connection,
    work: ShadowWork,
    table: ShadowTable,
    instance: str,
    live: Sequence[str],
    shadow: Sequence[str],
) -> None:
    """Write a new row, and that the table has a log from now on.

    Raises ObjectNotInPrerequisiteState (55000) while another change feeds a layout of the table.
    """
    other = await db.fetchval(
        "SELECT change_id FROM morph_log.foreign_feeds WHERE table_id = $1", table.table_id
    )
    if other is not None:
        raise ObjectNotInPrerequisiteState(
            f'change {other} keeps two layouts of foreign table "{table.name}"',
            hint=f"CALL morph.contract({other}) gives up its rollback.",
        )
    await db.execute(
        "INSERT INTO morph_log.foreign_feeds (change_id, table_id, direction, instance, live, "
        "shadow, epoch, lsn) VALUES ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb, $7, "
        f"greatest({_NOW_US}, coalesce((SELECT last_lsn + 2 FROM morph_log.positions "
        "WHERE table_id = $2), 0)))",
        work.change_id,
        table.table_id,
        work.direction,
        instance,
        native_text(live),
        native_text(shadow),
        work.epoch,
    )
    await bump(db)


async def save(db: asyncpg.Connection, feed: ForeignFeed) -> None:
    """Write where it is; SerializationFailure (40001) when a newer owner has it by now."""
    done = await db.execute(
        "UPDATE morph_log.foreign_feeds SET start_lsn = $1, applied_lsn = $2, frozen = $3, "
        "bound = $4, cursor = $5, copied = $6, chunk_rows = $7, total = $8, rows = $9, bytes = $10,"
        f" applied = $11, recent = $12::text::jsonb, tail = $13 WHERE {feed.where} AND epoch = $14",
        feed.start_lsn,
        feed.applied_lsn,
        feed.frozen,
        feed.bound,
        feed.cursor,
        feed.copied,
        feed.chunk_rows,
        feed.total,
        feed.rows,
        feed.bytes,
        feed.applied,
        json.dumps(feed.recent[-RECENT_KEYS:]),
        feed.tail,
        feed.epoch,
    )
    if done != "UPDATE 1":
        raise SerializationFailure(f"change {feed.change_id} has a newer owner")


async def turn(db: asyncpg.Connection, feed: ForeignFeed, tail: str | None) -> None:
    """From COMMIT on the layouts have changed their roles; `tail` is of the one that serves."""
    await db.execute(
        "UPDATE morph_log.foreign_feeds SET live = shadow, shadow = live, start_lsn = lsn, "
        "tail = $1, direction = CASE direction WHEN 'forward' THEN 'back' ELSE 'forward' END "
        f"WHERE {feed.where}",
        tail,
    )
    await bump(db)


async def remove(db: asyncpg.Connection, work: ShadowWork, table: ShadowTable) -> None:
    """Forget a feed: the table has no log from COMMIT on."""
    feed = await find(db, work, table)
    if feed is None:
        return
    await db.execute(
        "INSERT INTO morph_log.positions VALUES ($1, $2) ON CONFLICT (table_id) DO UPDATE "
        "SET last_lsn = greatest(positions.last_lsn, EXCLUDED.last_lsn)",
        feed.table_id,
        feed.lsn,
    )
    await db.execute(f"DELETE FROM morph_log.refused WHERE {feed.where}")
    await db.execute("DELETE FROM morph_log.brought WHERE table_id = $1", feed.table_id)
    await db.execute(f"DELETE FROM morph_log.foreign_feeds WHERE {feed.where}")
    await bump(db)
