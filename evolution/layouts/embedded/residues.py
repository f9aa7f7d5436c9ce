"""Rows that a layout cannot show as they are: their old value is kept as residue."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from evolution.layouts.base import Discrepancy
from evolution.layouts.embedded import refusals
from evolution.layouts.embedded.feeds import Feed
from evolution.layouts.embedded.tables import ROW, read_table


async def blocking(
    db: asyncpg.Connection, feed: Feed, ids: Sequence[int], limit: int
) -> tuple[int, list[Discrepancy]]:
    """How many rows of the shadow have residue of the columns `ids`, or are not in it at all, and
    the first of them.
    """
    count = await refusals.count(db, feed)
    found = await refusals.refused(db, feed, limit)
    shadow = await read_table(db, feed.shadow)
    if not ids or all(c.name != "_r" for c in shadow.columns):
        return count, found
    marked = f"{ROW}._r && ARRAY[{', '.join(str(i) for i in ids)}]"
    count += await db.fetchval(f"SELECT count(*) FROM {shadow.qualified} {ROW} WHERE {marked}")
    rows = await db.fetch(
        f"SELECT {shadow.key_texts(ROW)} AS key, {ROW}._r AS marks FROM {shadow.qualified} {ROW} "
        f"WHERE {marked} ORDER BY {shadow.key_list(ROW)} LIMIT {max(limit - len(found), 0)}"
    )
    found += [
        Discrepancy(
            "PRECISION_LOSS",
            "the layout cannot show the value as it is; it is kept beside the row",
            refusals.record_id(row["key"]),
            feed.table_id,
            column=", ".join(f"c{i}" for i in row["marks"] if i in ids),
            severity="warning",
        )
        for row in rows
    ]
    return count, found
