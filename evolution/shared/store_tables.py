"""The layouts of a table in the store: the one that serves and those that are fed from it. What is
loosened has to be loosened in all of them, or rows could not come into the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalog.sqltext import STORE_SCHEMA, quote_ident, quote_literal
from evolution.layouts.embedded.shadow import parked
from evolution.shared.record import read_json
from evolution.transaction import Transaction


async def _layouts(tx: Transaction, table_id: int, column: str = "") -> Sequence[str]:
    """The store's tables for a table, those that have the column if one is given."""
    query = (
        "SELECT json_agg(c.relname) FROM pg_class c "
        f"WHERE c.relnamespace = '{STORE_SCHEMA}'::regnamespace AND c.relkind = 'r' "
        f"AND c.relname ~ '^t{table_id}(s[0-9]+)*$'"
    )
    if column:
        query += (
            " AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid "
            f"AND a.attname = {quote_literal(column)} AND NOT a.attisdropped)"
        )
    return await read_json(tx, query) or ()


async def drop_constraint(tx: Transaction, table_id: int, name: str) -> list[str]:
    """Statements that drop a constraint, by its name in the store, from all layouts."""
    return [
        f"ALTER TABLE {STORE_SCHEMA}.{quote_ident(layout)} DROP CONSTRAINT IF EXISTS "
        f"{quote_ident(each)}"
        for layout in await _layouts(tx, table_id)
        for each in (name, parked(layout, name))
    ]


async def drop_not_null(tx: Transaction, table_id: int, column: str) -> list[str]:
    """Statements that let a column of the store be NULL in all layouts."""
    return [
        f"ALTER TABLE {STORE_SCHEMA}.{quote_ident(layout)} ALTER COLUMN {quote_ident(column)} "
        "DROP NOT NULL"
        for layout in await _layouts(tx, table_id, column)
    ]


async def has_constraint(tx: Transaction, store: str, name: str) -> bool:
    """Whether a table of the store has a constraint: a layout that takes over brings its own."""
    query = (
        "SELECT count(*) FROM pg_constraint WHERE conname = "
        f"{quote_literal(name)} AND conrelid = {quote_literal(store)}::regclass"
    )
    return bool(await read_json(tx, query))
