"""Version views over the other layout of a change, for one transaction that is rolled back.

A statement that is answered from the shadow reads the views of its version as a cut-over would make
them. They are made under numbers that no version has, inside of the transaction of whoever reads,
and go with it: nobody else sees them, nothing is left behind, and no lock is held but a reader's.

What the log still has for the shadow is read from the live rows through the change's expressions
(EVOLUTION 4, overlay), so the answer is the one of this moment whatever is being written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from catalog import shapes
from catalog.model import CatalogSnapshot, Table, Version
from catalog.sqltext import STORE_SCHEMA, quote_ident, view_schema, whole_schema
from catalog.store import load_snapshot
from core.errors import ObjectNotInPrerequisiteState
from evolution.dependents import dependent_views, read_by_view, with_children
from evolution.layouts.base import ShadowTable, ShadowWork
from evolution.layouts.embedded import feeds
from evolution.layouts.embedded.compare import in_flight
from evolution.layouts.embedded.feeds import Feed, source_snapshot
from evolution.layouts.embedded.shadow import promoted_lenses
from evolution.layouts.embedded.swapped import swapped_versions
from evolution.layouts.embedded.tables import ROW, StoreTable, qualified, read_table
from evolution.publish import rewrite_view
from evolution.seeds.expand import seed_sql
from evolution.validation.replay import Layout

FIRST_NUMBER: Final = 900_000_000
"""No version has a number as large."""
_NUMBERS: Final = 99_999_999


@dataclass(frozen=True, slots=True)
class StandIns:
    """What names mean (`snapshot`) once the statements have been run as morph_owner."""

    snapshot: CatalogSnapshot
    statements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Stores:
    """Views that stand for the layouts of tables, by the name of the live one."""

    tables: tuple[ShadowTable, ...]
    statements: tuple[str, ...]


def shown_by(snapshot: CatalogSnapshot, version: Version, ids: set[int]) -> set[int]:
    """Ids of all tables of a version that show rows of these store tables: themselves, arrays of
    their documents, and the client's views over them.
    """
    family = with_children(version, ids)
    return family | {view.id for view in dependent_views(snapshot, version, family)}


async def stand_ins(
    db: asyncpg.Connection,
    work: ShadowWork,
    uses: Mapping[int, Iterable[Table]],
    pid: int,
) -> dict[Layout, StandIns]:
    """What each layout is read through, as of the snapshot of `db`'s transaction.

    `uses` are the tables that are read, by version; `pid` is the backend that will run the
    statements. Raises ObjectNotInPrerequisiteState (55000) for a shadow that is not complete.
    """
    snapshot = await load_snapshot(db)
    wanted = {number: _closed(snapshot, number, tables) for number, tables in uses.items()}
    lenses = {table.table_id: promoted_lenses(snapshot, table) for table in work.tables}
    shadows = await _shadow_stores(db, work, pid)
    shuffled = await _shuffled_stores(db, work, pid)
    swapped = swapped_versions(snapshot, shadows.tables, lenses)
    moved = swapped_versions(snapshot, shuffled.tables, {t.table_id: () for t in work.tables})
    first = FIRST_NUMBER + pid * 16 % _NUMBERS
    return {
        "live": StandIns(snapshot),
        "shadow": _made(swapped, wanted, first, shadows.statements),
        "shuffled": _made(moved, wanted, first + len(wanted), shuffled.statements),
    }


def _closed(snapshot: CatalogSnapshot, number: int, tables: Iterable[Table]) -> set[int]:
    """The tables and what the views among them read."""
    version = snapshot.version(number)
    found: set[int] = set()
    waiting = [table.id for table in tables]
    while waiting:
        table = version.table_by_id(waiting.pop())
        if table is None or table.id in found:
            continue
        found.add(table.id)
        if table.kind == "view":
            waiting += read_by_view(snapshot, version, table)
    return found


def _made(
    snapshot: CatalogSnapshot,
    wanted: Mapping[int, set[int]],
    first: int,
    stores: Sequence[str],
) -> StandIns:
    """Views under fresh numbers, and a snapshot in which the versions have these numbers."""
    versions = dict(snapshot.versions)
    for place, number in enumerate(sorted(wanted)):
        versions[number] = replace(versions[number], number=first + place)
    fresh = replace(snapshot, versions=versions)
    statements = list(stores)
    for number, ids in sorted(wanted.items()):
        version = versions[number]
        for schema in (view_schema(version.number), whole_schema(version.number)):
            name = quote_ident(schema)
            statements.append(f"CREATE SCHEMA {name}")
            statements.append(f"GRANT USAGE ON SCHEMA {name} TO {shapes.CLIENT_ROLE}")
        statements += shapes.view_statements(
            version,
            seed_sql,
            lambda v, query: rewrite_view(fresh, v, query),
            only=[t for t in version.tables if t.id in ids],
        )
    return StandIns(fresh, tuple(statements))


async def _shadow_stores(db: asyncpg.Connection, work: ShadowWork, pid: int) -> _Stores:
    tables, statements = [], []
    for table in work.tables:
        feed = await feeds.find(db, work, table)
        if feed is None or not feed.copied:
            raise ObjectNotInPrerequisiteState(
                f'the shadow of table "{table.name}" is not complete',
                hint="Its progress is in morph.progress.",
            )
        live, shadow = await read_table(db, feed.live), await read_table(db, feed.shadow)
        pending = in_flight(feed, live, shadow, await source_snapshot(db, feed))
        if await db.fetchval(f"SELECT EXISTS ({pending})"):
            name = f"{feed.shadow}~{pid}"
            rows = _overlay(feed, live, shadow, pending)
            statements.append(f"CREATE VIEW {qualified(name)} AS {rows}")
            tables.append(replace(table, shadow=name))
        else:
            tables.append(table)
    return _Stores(tuple(tables), tuple(statements))


def _overlay(feed: Feed, live: StoreTable, shadow: StoreTable, pending: str) -> str:
    """The shadow's rows, but those in flight as they will be."""
    names = [c.quoted for c in shadow.columns]
    made = [
        f"({feed.columns[c.name]})::{c.type}" if c.name in feed.columns else f"{ROW}.{c.quoted}"
        for c in shadow.columns
    ]
    keys = f"SELECT * FROM ({pending}) p"
    return (
        f"SELECT {', '.join(f'{ROW}.{name}' for name in names)} FROM {shadow.qualified} {ROW} "
        f"WHERE {live.key_tuple(ROW)} NOT IN ({keys}) UNION ALL "
        f"SELECT {', '.join(f'{sql} AS {name}' for sql, name in zip(made, names, strict=True))} "
        f"FROM {live.qualified} {ROW} WHERE {live.key_tuple(ROW)} IN ({keys})"
    )


async def _shuffled_stores(db: asyncpg.Connection, work: ShadowWork, pid: int) -> _Stores:
    tables, statements = [], []
    for table in work.tables:
        name = f"{table.live}~{pid}"
        columns = ", ".join(f"{ROW}.{c.quoted}" for c in (await read_table(db, table.live)).columns)
        statements.append(
            f"CREATE VIEW {quote_ident(STORE_SCHEMA)}.{quote_ident(name)} AS SELECT {columns} "
            f"FROM {qualified(table.live)} {ROW} ORDER BY {ROW}.ctid DESC"
        )
        tables.append(replace(table, shadow=name, lenses=()))
    return _Stores(tuple(tables), tuple(statements))
