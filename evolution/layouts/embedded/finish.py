"""The end of the copy: indexes, keys and checks of the shadow. What stands against one is reported
with the keys of its rows, never removed.

Foreign keys are not made here: a client that deletes a row of another table would be checked
against a shadow that is behind. They are made by the cut-over.
"""

from __future__ import annotations

import asyncpg

from catalog.sqltext import STORE_SCHEMA, quote_ident, quote_literal
from catalog.store import load_snapshot
from evolution.layouts.base import Discrepancy, ShadowTable, ShadowWork
from evolution.layouts.embedded.feeds import Feed
from evolution.layouts.embedded.objects import (
    StoreObject,
    not_null,
    read_objects,
    unique_as_plain,
    wanted,
)
from evolution.layouts.embedded.refusals import record_id
from evolution.layouts.embedded.shadow import parked
from evolution.layouts.embedded.tables import ROW, StoreTable, read_table

REPORTED_MAX = 100
"""How many rows are named that stand against one constraint."""


async def missing_objects(
    db: asyncpg.Connection, work: ShadowWork, table: ShadowTable, feed: Feed
) -> list[StoreObject]:
    """What the shadow does not have yet."""
    have = {each.name for each in await read_objects(db, feed.shadow)}
    of_live = await read_objects(db, feed.live)
    snapshot = await load_snapshot(db)
    changed = frozenset(feed.columns) - {"_r", "_w", "_l"}
    needed = wanted(snapshot, work, table, of_live, changed)
    return [each for each in needed if parked(feed.shadow, each.name) not in have]


async def make_object(
    db: asyncpg.Connection, feed: Feed, found: StoreObject, shadow: StoreTable
) -> list[Discrepancy]:
    """Make one; what stands against it, if it cannot be made."""
    try:
        async with db.transaction():
            await db.execute(found.create(feed.shadow, parked(feed.shadow, found.name)))
    except asyncpg.UniqueViolationError:
        return await _duplicates(db, feed, found, shadow)
    except asyncpg.CheckViolationError:
        return await _violations(db, feed, found, shadow)
    return []


async def make_not_null(
    db: asyncpg.Connection, work: ShadowWork, table: ShadowTable, feed: Feed
) -> list[Discrepancy]:
    """NOT NULL of the columns that the layout has for its version."""
    shadow = await read_table(db, feed.shadow)
    loose = {c.name for c in shadow.columns if not c.not_null}
    found = []
    for name in not_null(await load_snapshot(db), work, table):
        if name not in loose:
            continue
        column = quote_ident(name)
        found += await _rows(db, feed, shadow, f"{ROW}.{column} IS NULL", f"{name} is NULL")
        if not found:
            await db.execute(f"ALTER TABLE {shadow.qualified} ALTER COLUMN {column} SET NOT NULL")
    return found


async def _rows(
    db: asyncpg.Connection, feed: Feed, shadow: StoreTable, condition: str, message: str
) -> list[Discrepancy]:
    rows = await db.fetch(
        f"SELECT {shadow.key_texts(ROW)} FROM {shadow.qualified} {ROW} WHERE {condition} "
        f"ORDER BY {shadow.key_list(ROW)} LIMIT {REPORTED_MAX}"
    )
    return [
        Discrepancy("CONSTRAINT_VIOLATION", message, record_id(row[0]), feed.table_id)
        for row in rows
    ]


async def _violations(
    db: asyncpg.Connection, feed: Feed, found: StoreObject, shadow: StoreTable
) -> list[Discrepancy]:
    expression = found.text.removeprefix("CHECK ").removesuffix(" NOT VALID")
    return await _rows(
        db, feed, shadow, f"NOT {expression.removesuffix(' NO INHERIT')}",
        f'the row violates check constraint "{found.name}"',
    )  # fmt: skip


async def _duplicates(
    db: asyncpg.Connection, feed: Feed, found: StoreObject, shadow: StoreTable
) -> list[Discrepancy]:
    """The rows that share a value. The expressions of the index are read from one without
    uniqueness, which PostgreSQL makes and which is undone.
    """
    name = parked(feed.shadow, found.name)
    try:
        async with db.transaction():
            await db.execute(unique_as_plain(found).create(feed.shadow, name))
            row = await db.fetchrow(
                "SELECT ARRAY(SELECT pg_get_indexdef(x.indexrelid, n, true) "
                "FROM generate_series(1, x.indnkeyatts) n) AS parts, "
                "coalesce(pg_get_expr(x.indpred, x.indrelid), 'true') AS predicate "
                "FROM pg_index x WHERE x.indexrelid = to_regclass($1)",
                f"{STORE_SCHEMA}.{quote_ident(name)}",
            )
            raise _Undo
    except _Undo:
        pass
    parts: list[str] = row["parts"]
    values = ", ".join(f"({part}) AS v{n}" for n, part in enumerate(parts))
    names = ", ".join(f"v{n}" for n in range(len(parts)))
    present = " AND ".join(f"v{n} IS NOT NULL" for n in range(len(parts)))
    rows = await db.fetch(
        f"SELECT key FROM (SELECT {shadow.key_texts(ROW)} AS key, {values} "
        f"FROM {shadow.qualified} {ROW} WHERE {row['predicate']}) q "
        f"WHERE {present} AND ({names}) IN (SELECT {names} FROM (SELECT {values} "
        f"FROM {shadow.qualified} {ROW} WHERE {row['predicate']}) p "
        f"GROUP BY {names} HAVING count(*) > 1) ORDER BY {names}, key LIMIT {REPORTED_MAX}"
    )
    message = f"rows share a value that {quote_literal(found.name)} says is unique"
    return [
        Discrepancy("CONSTRAINT_VIOLATION", message, record_id(r[0]), feed.table_id) for r in rows
    ]


class _Undo(Exception):
    """Leaves a savepoint without what was made in it."""
