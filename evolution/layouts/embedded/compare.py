"""Both layouts of a table for the validator: as the applier should make it, and as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from catalog.model import CatalogSnapshot
from catalog.store import load_snapshot
from evolution.layouts.base import ShadowTable, ShadowWork, SideColumn, Sides
from evolution.layouts.embedded import feeds
from evolution.layouts.embedded.applier import in_reach
from evolution.layouts.embedded.feeds import Feed, source_snapshot
from evolution.layouts.embedded.log import TRUNCATE, log_name, new_keys, new_records
from evolution.layouts.embedded.refusals import not_refused
from evolution.layouts.embedded.tables import ROW, PhysicalColumn, StoreTable, read_table
from evolution.validation.embedded.select import SideSelect, SqlColumn
from evolution.validation.embedded.side import EmbeddedSide, read_inside, read_together

_TRANSIENT = ("_w",)


def _names(labels: dict[str, str], column: PhysicalColumn) -> SideColumn:
    return SideColumn(column.id, labels.get(column.name, column.name), column.type)


def selects(
    feed: Feed,
    live: StoreTable,
    shadow: StoreTable,
    *,
    reach: tuple[str, str],
    pending: str,
    labels: dict[str, str],
) -> tuple[SideSelect, SideSelect]:
    """How the two sides are read: the live rows through the expressions that fill the shadow."""
    compared = [c for c in shadow.columns if c.name not in _TRANSIENT]
    position = f'{ROW}."_l"' if any(c.name == "_l" for c in shadow.columns) else "0"
    keys = {c.name for c in live.key}

    def through_up(column: PhysicalColumn) -> SqlColumn:
        expression = feed.columns.get(column.name)
        plain = f"{ROW}.{column.quoted}"
        sql = f"({expression})::{column.type}" if expression is not None else plain
        return SqlColumn(_names(labels, column), sql)

    def stored(column: PhysicalColumn) -> SqlColumn:
        return SqlColumn(_names(labels, column), f"{ROW}.{column.quoted}")

    left = tuple(through_up(c) for c in compared)
    right = tuple(stored(c) for c in compared)
    order = [c.name for c in live.key]
    by_name = {c.name: n for n, c in enumerate(compared) if c.name in keys}
    return (
        SideSelect(
            f"{live.qualified} {ROW}", tuple(left[by_name[n]] for n in order), left,
            position, reach[0], pending,
        ),
        SideSelect(
            f"{shadow.qualified} {ROW}", tuple(right[by_name[n]] for n in order), right,
            position, reach[1], pending,
        ),
    )  # fmt: skip


def _labels(snapshot: CatalogSnapshot, table_id: int) -> dict[str, str]:
    """Names for people: those of the newest version that shows the column."""
    return {
        f"c{column.id}": column.name
        for _, version in sorted(snapshot.versions.items())
        if (shown := version.table_by_id(table_id)) is not None
        for column in shown.columns
    }


def in_flight(feed: Feed, live: StoreTable, shadow: StoreTable, source: str) -> str:
    """A query of the keys that the log still has for the shadow: all of them after a TRUNCATE."""
    new = new_records(feed.checkpoint_sql, source)
    return (
        f"{new_keys(live, feed.table_id, feed.checkpoint_sql, source)} UNION ALL "
        f"SELECT {live.key_list('s')} FROM {shadow.qualified} s WHERE EXISTS "
        f"(SELECT FROM {log_name(feed.table_id)} l WHERE l.op = '{TRUNCATE}' AND {new})"
    )


@asynccontextmanager
async def inside(
    db: asyncpg.Connection,
    feed: Feed,
    live: StoreTable,
    shadow: StoreTable,
    snapshot: CatalogSnapshot,
) -> AsyncIterator[Sides]:
    """Both sides in the transaction of a cut-over: nobody writes, nothing is pending."""
    labels = _labels(snapshot, feed.table_id)
    left, right = selects(feed, live, shadow, reach=("", ""), pending="", labels=labels)
    async with read_inside(db) as connection:
        yield EmbeddedSide(connection, left), EmbeddedSide(connection, right)


@asynccontextmanager
async def together(
    connect: Callable[[], Awaitable[asyncpg.Connection]], work: ShadowWork, table: ShadowTable
) -> AsyncIterator[Sides]:
    """Both sides as of one moment, without the keys that the log still has for the shadow."""
    async with read_together(connect) as db:
        feed = await feeds.find(db, work, table)
        assert feed is not None, "the shadow was begun"
        yield await sides_of(db, feed)


async def sides_of(db: asyncpg.Connection, feed: Feed) -> Sides:
    """The same in a transaction of `read_together`."""
    live, shadow = await read_table(db, feed.live), await read_table(db, feed.shadow)
    reach = in_reach(feed, live)
    source = await source_snapshot(db, feed)
    pending = in_flight(feed, live, shadow, source)
    conditions = ("" if feed.copied else reach, await not_refused(db, feed, live))
    left, right = selects(
        feed, live, shadow,
        reach=(" AND ".join(filter(None, conditions)), ""),
        pending=pending,
        labels=_labels(await load_snapshot(db), feed.table_id),
    )  # fmt: skip
    return EmbeddedSide(db, left), EmbeddedSide(db, right)
