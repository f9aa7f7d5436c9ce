"""Rows that a shadow cannot hold: found by halving, written down, left out.

`INSERT … SELECT` into the shadow fails as a whole when `up` fails on one row (22P02, 22003 …) or a
constraint of the new layout does. Then the rows of the batch are halved, in savepoints, until each
one that fails stands alone. What is refused is kept with its key until the row changes or goes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from config.validation import Category
from evolution.layouts.base import Discrepancy
from evolution.layouts.embedded.feeds import Feed
from evolution.layouts.embedded.tables import ROW, StoreTable

_ROW_FAULTS: Final = ("22", "23", "2F", "38", "39", "P0", "0A", "54")
"""Classes of SQLSTATE that say something about a row, not about the server."""
_CONSTRAINT: Final = "23"


@dataclass(frozen=True, slots=True)
class Copy:
    """Rows on their way into the shadow: `origin` is what stands after FROM, with the live row as
    t; `condition` says which.
    """

    feed: Feed
    live: StoreTable
    shadow: StoreTable
    origin: str
    condition: str

    def insert(self, more: str = "") -> str:
        """The statement that copies them, or those for which `more` holds too."""
        written = [c for c in self.shadow.columns if not c.generated]
        names = ", ".join(c.quoted for c in written)
        values = ", ".join(self.feed.columns.get(c.name, f"{ROW}.{c.quoted}") for c in written)
        return (
            f"INSERT INTO {self.shadow.qualified} AS s ({names}) OVERRIDING SYSTEM VALUE "
            f"SELECT {values} FROM {self.origin} WHERE {self.condition}{more}"
        )


async def copy_rows(db: asyncpg.Connection, copy: Copy) -> int:
    """Copy the rows; those that the shadow cannot hold are refused. How many were copied."""
    try:
        async with db.transaction():
            return _count(await db.execute(copy.insert()))
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "")[:2] not in _ROW_FAULTS:
            raise
    keys: list[list[str]] = [
        row[0]
        for row in await db.fetch(
            f"SELECT {copy.live.key_texts(ROW)} FROM {copy.origin} WHERE {copy.condition} "
            f"ORDER BY {copy.live.key_list(ROW)}"
        )
    ]
    middle = (len(keys) + 1) // 2
    return await _halve(db, copy, keys[:middle]) + await _halve(db, copy, keys[middle:])


async def _halve(db: asyncpg.Connection, copy: Copy, keys: list[list[str]]) -> int:
    if not keys:
        return 0
    key = copy.live.key_tuple(ROW)
    between = (
        f" AND {key} >= {copy.live.key_values(keys[0])} "
        f"AND {key} <= {copy.live.key_values(keys[-1])}"
    )
    try:
        async with db.transaction():
            return _count(await db.execute(copy.insert(between)))
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "")[:2] not in _ROW_FAULTS:
            raise
        if len(keys) == 1:
            await _refuse(db, copy.feed, keys[0], error)
            return 0
    middle = len(keys) // 2
    return await _halve(db, copy, keys[:middle]) + await _halve(db, copy, keys[middle:])


def _count(tag: str) -> int:
    return int(tag.rsplit(" ", 1)[1])


async def _refuse(
    db: asyncpg.Connection, feed: Feed, key: list[str], error: asyncpg.PostgresError
) -> None:
    await db.execute(
        "INSERT INTO morph_log.refused AS r (change_id, table_id, key, sqlstate, message) "
        "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (change_id, table_id, key) "
        "DO UPDATE SET sqlstate = excluded.sqlstate, message = excluded.message, at = excluded.at",
        feed.change_id,
        feed.table_id,
        key,
        error.sqlstate,
        str(error.args[0]) if error.args else "",
    )


async def forget(db: asyncpg.Connection, feed: Feed, table: StoreTable, keys: str) -> None:
    """Rows that changed or went are judged anew; `keys` is a query of their keys."""
    if await db.fetchval(f"SELECT EXISTS (SELECT FROM morph_log.refused WHERE {feed.where})"):
        await db.execute(
            f"DELETE FROM morph_log.refused r USING ({keys}) k "
            f"WHERE r.change_id = {feed.change_id} AND r.table_id = {feed.table_id} "
            f"AND r.key = {table.key_texts('k')}"
        )


async def forget_all(db: asyncpg.Connection, feed: Feed) -> None:
    """The shadow is empty again."""
    await db.execute(f"DELETE FROM morph_log.refused WHERE {feed.where}")


async def count(db: asyncpg.Connection, feed: Feed) -> int:
    """How many rows are left out."""
    found: int = await db.fetchval(f"SELECT count(*) FROM morph_log.refused WHERE {feed.where}")
    return found


async def refused(db: asyncpg.Connection, feed: Feed, limit: int) -> list[Discrepancy]:
    """The first rows that are left out."""
    rows = await db.fetch(
        f"SELECT key, sqlstate, message FROM morph_log.refused WHERE {feed.where} "
        f"ORDER BY at, key LIMIT {int(limit)}"
    )
    return [discrepancy(feed.table_id, r["key"], r["sqlstate"], r["message"]) for r in rows]


async def left_out(
    db: asyncpg.Connection, feed: Feed, limit: int, allowed: int
) -> list[Discrepancy]:
    """The same; no more than `allowed` are no reason to give the shadow up."""
    found = await refused(db, feed, limit)
    if not found or await count(db, feed) > allowed:
        return found
    return [replace(each, severity="warning") for each in found]


async def not_refused(db: asyncpg.Connection, feed: Feed, table: StoreTable) -> str:
    """The condition that a live row is not left out, "" when none is."""
    if not await count(db, feed):
        return ""
    return (
        f"NOT EXISTS (SELECT FROM morph_log.refused r WHERE r.change_id = {feed.change_id} "
        f"AND r.table_id = {feed.table_id} AND r.key = {table.key_texts(ROW)})"
    )


def discrepancy(table_id: int, key: list[str], sqlstate: str, message: str) -> Discrepancy:
    """What is said of a row that a shadow cannot hold."""
    kind: Category = (
        "CONSTRAINT_VIOLATION" if sqlstate.startswith(_CONSTRAINT) else "COERCION_ERROR"
    )
    return Discrepancy(kind, f"{message} ({sqlstate})", record_id(key), table_id)


def record_id(key: list[str]) -> str:
    """A key for people: `7`, `(7, eu)`."""
    return key[0] if len(key) == 1 else f"({', '.join(key)})"
