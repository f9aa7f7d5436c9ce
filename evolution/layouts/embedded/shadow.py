"""Making a shadow: the log and its capture, the empty table, what its columns are.

A shadow has the physical columns of the live layout. Where lenses change roles, what was computed
is stored and what was stored becomes residue (catalog/lenses.py says by which expressions).
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import xxhash

from catalog.lenses import layout_statements, lenses_of, mirror, shadow_columns, with_below
from catalog.model import CatalogSnapshot, DocPath, Lens, Stored
from catalog.readers import residue
from catalog.sqltext import quote_ident
from catalog.store import load_snapshot
from core.errors import FeatureNotSupported, UndefinedObject
from evolution.layouts.base import ShadowTable, ShadowWork
from evolution.layouts.embedded import capture, feeds, log
from evolution.layouts.embedded.feeds import Feed
from evolution.layouts.embedded.tables import (
    ROW,
    PhysicalColumn,
    StoreTable,
    exists,
    qualified,
    read_table,
)

LOCK_WAIT_MS = 100
"""How long the capture may wait for writers of now, with new ones waiting behind it."""


def promoted_lenses(snapshot: CatalogSnapshot, table: ShadowTable) -> tuple[Lens, ...]:
    """The lenses whose sides change roles, in order, with those that they lie over.

    Raises UndefinedObject (42704) when the catalog does not have them.
    """
    if not table.lenses:
        return ()
    known = lenses_of(snapshot.versions.values(), table.table_id)
    missing = set(table.lenses) - {lens.id for lens in known}
    if missing:
        raise UndefinedObject(f'table "{table.name}" has no lens {min(missing)}')
    return with_below(known, table.lenses)


def expressions(snapshot: CatalogSnapshot, table: ShadowTable, live: StoreTable) -> dict[str, str]:
    """The columns of the shadow that are not those of the live layout, over a row of it."""
    promoted = promoted_lenses(snapshot, table)
    if not promoted:
        return {}
    key = {c.id for c in live.key}
    for lens in promoted:
        for column in (*lens.under, *lens.over):
            if column.id in key:
                raise FeatureNotSupported(
                    f'column "{column.name}" of table "{table.name}" is part of the primary key, '
                    "whose type a shadow cannot change",
                    hint="Use SET morph.ddl_mode = direct.",
                )
    known = lenses_of(snapshot.versions.values(), table.table_id)
    physical = [*live.names, *(n for n in _kept(promoted) if n not in live.names)]
    columns = dict(shadow_columns(known, promoted, physical, row=f"{ROW}."))
    return {n: e for n, e in columns.items() if e not in (f"{ROW}.{n}", f'{ROW}."{n}"')}


def _kept(promoted: Sequence[Lens]) -> list[str]:
    """The columns that keep what the new layout cannot give back; a field of documents gets one."""
    mirrored = [mirror(lens) for lens in promoted]
    return [residue(lens, n) for lens in mirrored for n in range(len(lens.over))]


def from_documents(promoted: Sequence[Lens]) -> bool:
    """True when a lens takes fields out of the documents. The way back does not put them there
    again, but into a column: the old table has to be filled anew.
    """
    return any(isinstance(c.source, DocPath) for lens in promoted for c in lens.under)


def _create_statements(
    live: StoreTable, shadow: str, key_name: str, residue: Sequence[str]
) -> list[str]:
    name = qualified(shadow)
    key = ", ".join(c.quoted for c in live.key)
    statements = [
        f"CREATE TABLE {name} (LIKE {live.qualified} INCLUDING DEFAULTS INCLUDING IDENTITY "
        "INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING STATISTICS)",
        f"ALTER TABLE {name} ADD CONSTRAINT {quote_ident(key_name)} PRIMARY KEY ({key})",
        f"GRANT SELECT ON {name} TO morph_client",
    ]
    loose = [f"ALTER COLUMN {c} DROP NOT NULL" for c in residue]
    if loose:
        statements.append(f"ALTER TABLE {name} {', '.join(loose)}")
    return statements


def parked(table: str, name: str) -> str:
    """Under what name an index or constraint of a layout that does not serve stands."""
    return f"{table}~{xxhash.xxh3_64_hexdigest(name.encode())}"


async def _key_name(db: asyncpg.Connection, live: StoreTable) -> str:
    name: str = await db.fetchval(
        "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype = 'p'",
        live.qualified,
    )
    return name


def _residue(lenses: Sequence[Lens], live: StoreTable) -> list[str]:
    """Columns that only keep what the new layout cannot give back: they have to take NULL."""
    kept = {c.source.column for lens in lenses for c in lens.under if isinstance(c.source, Stored)}
    return [c.quoted for c in live.columns if c.name in kept and c.not_null]


async def make(db: asyncpg.Connection, work: ShadowWork, table: ShadowTable) -> None:
    """Log, capture and empty shadow of one table, unless they are there. The connection is in a
    transaction, in which the capture comes last: it holds writers back until the end.
    """
    if await feeds.find(db, work, table, lock=True) is not None:
        return
    live = await read_table(db, table.live, table.name)
    snapshot = await load_snapshot(db)
    columns = expressions(snapshot, table, live)
    if await exists(db, table.shadow):
        await db.execute(f"DROP TABLE {qualified(table.shadow)}")
    lenses = promoted_lenses(snapshot, table)
    key_name = parked(table.shadow, await _key_name(db, live))
    for statement in _create_statements(live, table.shadow, key_name, _residue(lenses, live)):
        await db.execute(statement)
    if lenses:
        for statement in layout_statements(table.shadow, [mirror(lens) for lens in lenses]):
            await db.execute(statement)
    for statement in capture.guard_statements(qualified(table.shadow)):
        await db.execute(statement)
    await feeds.add(
        db,
        Feed(
            work.change_id, table.table_id, work.direction, table.live, table.shadow, columns,
            work.epoch, 0, 0, None, None, None, False, False, 500, 0, 0, 0, 0,
        ),
    )  # fmt: skip
    await start_capture(db, live, table.table_id, snapshot.epoch)


async def start_capture(
    db: asyncpg.Connection, live: StoreTable, table_id: int, epoch: int
) -> None:
    """Let writes on the layout that serves come into the log of the table."""
    statements = [
        *log.create_statements(table_id, live.key),
        *capture.function_statements(live, table_id, epoch),
    ]
    for statement in statements:
        await db.execute(statement)
    if await db.fetchval(capture.ATTACHED, live.qualified):
        return
    for statement in capture.attach_statements(live.qualified, table_id):
        await db.execute(statement)
    await log.wind_clock(db, table_id)


async def stop_capture(db: asyncpg.Connection, table_id: int, live: str) -> None:
    """Remove capture and log of a table that nothing is fed from any more."""
    for statement in capture.detach_statements(qualified(live)):
        await db.execute(statement)
    await log.remember_clock(db, table_id)
    for statement in (*capture.drop_statements(table_id), *log.drop_statements(table_id)):
        await db.execute(statement)


def added_columns(live: StoreTable, shadow: StoreTable) -> list[PhysicalColumn]:
    """Columns that the live layout got, or whose type became wider, since the shadow was made."""
    known = {c.name: c.type for c in shadow.columns}
    return [c for c in live.columns if known.get(c.name) != c.type]


async def follow_columns(db: asyncpg.Connection, feed: Feed, epoch: int) -> None:
    """Give the shadow the columns that the live layout has got.

    Rows that the live layout filled by itself (a default that is no constant) are in no log: then
    the backfill begins again.
    """
    live, shadow = await read_table(db, feed.live), await read_table(db, feed.shadow)
    known = {c.name for c in shadow.columns}
    again = False
    for column in added_columns(live, shadow):
        if column.name in known:
            await db.execute(
                f"ALTER TABLE {shadow.qualified} ALTER COLUMN {column.quoted} TYPE {column.type}"
            )
            continue
        again |= await _add_column(db, live, shadow, column)
    if await db.fetchval(capture.ATTACHED, live.qualified):
        for statement in capture.function_statements(live, feed.table_id, epoch):
            await db.execute(statement)
    if again:
        await db.execute(f"TRUNCATE {shadow.qualified}")
        feed.checkpoint = feed.cursor = None
        feed.copied = False
        feed.rows = 0
        await db.execute(f"DELETE FROM morph_log.refused WHERE {feed.where}")
    await feeds.save(db, feed)


async def _add_column(
    db: asyncpg.Connection, live: StoreTable, shadow: StoreTable, column: PhysicalColumn
) -> bool:
    """Add one; True when the values of the rows of now are not known from the definition."""
    row = await db.fetchrow(
        "SELECT pg_get_expr(d.adbin, d.adrelid) AS text, a.attmissingval::text AS missing, "
        "a.attcollation <> t.typcollation AS collates, a.attcollation::regcollation::text AS coll "
        "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
        "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        "WHERE a.attrelid = to_regclass($1) AND a.attname = $2",
        live.qualified,
        column.name,
    )
    text = f"ADD COLUMN {column.quoted} {column.type}"
    if row["collates"]:
        text += f" COLLATE {row['coll']}"
    if column.identity:
        text += f" GENERATED {'ALWAYS' if column.identity == 'a' else 'BY DEFAULT'} AS IDENTITY"
    elif column.generated:
        text += f" GENERATED ALWAYS AS ({row['text']}) STORED"
    elif row["text"] is not None:
        text += f" DEFAULT {row['text']}"
    if column.not_null:
        text += " NOT NULL"
    await db.execute(f"ALTER TABLE {shadow.qualified} {text}")
    if column.generated or (row["text"] is None and not column.identity):
        return False
    same: bool = await db.fetchval(
        "SELECT attmissingval::text = $3 FROM pg_attribute "
        "WHERE attrelid = to_regclass($1) AND attname = $2",
        shadow.qualified,
        column.name,
        row["missing"],
    )
    return not same
