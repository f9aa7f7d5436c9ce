"""What a PostgreSQL store says of its tables: pg_catalog asked, and its answers as descriptions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from backends.base import Description, NativeTable, ObservedField, ObservedTable, TableStatistics
from backends.postgres.pushdown import relation_sql
from backends.postgres.types import StoreType, model_type
from catalog.model import Column, Native
from core.errors import UndefinedSchema, UndefinedTable

_KINDS: Final[Mapping[str, str]] = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}
LIST: Final = """
SELECT c.relname::text, c.relkind::text FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
    AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relname"""
SCHEMA: Final = "SELECT true FROM pg_namespace WHERE nspname = $1"
RELATION: Final = """
SELECT c.oid::int8, obj_description(c.oid, 'pg_class'), (
  SELECT k.indkey::text || '/' || k.indnkeyatts FROM pg_index k
  WHERE k.indrelid = c.oid AND k.indisunique AND k.indisvalid AND k.indpred IS NULL
    AND k.indexprs IS NULL
    AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
      AND a.attnum = ANY (k.indkey::int2[]) AND NOT a.attnotnull)
  ORDER BY k.indisprimary DESC, k.indnkeyatts, k.indexrelid LIMIT 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"""
COLUMNS: Final = """
WITH RECURSIVE base (attnum, typid, typmod) AS (
  SELECT a.attnum, a.atttypid, a.atttypmod FROM pg_attribute a
  WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attnum, t.typbasetype, t.typtypmod FROM base b JOIN pg_type t ON t.oid = b.typid
  WHERE t.typtype = 'd')
SELECT a.attnum, a.attname::text, format_type(b.typid, b.typmod), a.attnotnull,
  a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid),
  col_description(a.attrelid, a.attnum),
  CASE WHEN a.attcollation = 0 THEN '' WHEN NOT co.collisdeterministic THEN 'other'
    ELSE CASE co.collprovider
      WHEN 'd' THEN CASE coalesce(to_jsonb(dc) ->> 'datlocprovider', 'c')
        WHEN 'c' THEN CASE WHEN dc.datcollate IN ('C', 'POSIX') THEN 'C' ELSE '' END
        WHEN 'b' THEN 'C' ELSE '' END
      WHEN 'c' THEN CASE WHEN co.collcollate IN ('C', 'POSIX') THEN 'C' ELSE 'other' END
      WHEN 'b' THEN 'C' ELSE 'other' END
    END
FROM pg_attribute a JOIN base b USING (attnum) JOIN pg_type t ON t.oid = b.typid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation co ON co.oid = a.attcollation
JOIN pg_database dc ON dc.datname = current_database()
WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND t.typtype <> 'd' ORDER BY a.attnum"""
_PLAIN_DEFAULT: Final = re.compile(
    r"""-?\d+(\.\d+)? | true | false | '(?:[^'\\]|'')*'(::[a-z ]+(\(\d+(,\d+)?\))?)?
    | CURRENT_(DATE|TIMESTAMP|TIME) | LOCAL(TIME|TIMESTAMP) | now\(\) | gen_random_uuid\(\)
    | \('now'::text\)::[a-z ]+""",
    re.VERBOSE,
)
"""Defaults that mean the same here: constants, the time, random UUIDs."""


async def list_tables(
    connection: asyncpg.Connection, namespace: str, instance: str
) -> tuple[NativeTable, ...]:
    """The tables of a schema, without partitions and what belongs to extensions."""
    if not await connection.fetchval(SCHEMA, namespace):
        raise UndefinedSchema(f'schema "{namespace}" of server "{instance}" does not exist')
    rows = await connection.fetch(LIST, namespace)
    return tuple(NativeTable((namespace, name), _KINDS[kind]) for name, kind in rows)


async def describe(
    connection: asyncpg.Connection, native: tuple[str, ...], instance: str
) -> Description:
    """A table's columns, types and key. UndefinedTable (42P01) when it is not there."""
    found = await connection.fetchrow(RELATION, *native) if len(native) == 2 else None
    if found is None:
        name = ".".join(native)
        raise UndefinedTable(f'relation "{name}" of server "{instance}" does not exist')
    oid, comment, key = found
    rows = await connection.fetch(COLUMNS, oid)
    columns = tuple(_column(tuple(row)) for row in rows)
    there = {column.id for column in columns}
    listed, _, count = (key or "/0").partition("/")
    numbers = tuple(map(int, listed.split()))[: int(count)]  # without INCLUDE columns
    return Description(columns, numbers if set(numbers) <= there else (), comment)


def _column(row: tuple[Any, ...]) -> Column:
    number, name, sql, not_null, identity, generated, default, comment, collation = row
    kept = default if not generated and default and _PLAIN_DEFAULT.fullmatch(default) else None
    # What the store fills in itself is not asked of the statement.
    filled = bool(identity or generated or (default and not kept))
    return Column(
        number,
        name,
        model_type(sql),
        Native((name,), str(StoreType(sql, collation, filled))),
        not_null=not_null and not filled,
        default=kept,
        comment=comment,
    )


async def statistics(connection: asyncpg.Connection, native: tuple[str, ...]) -> TableStatistics:
    """What the server's own planner expects of a full scan."""
    explained = await connection.fetchval(
        f"EXPLAIN (FORMAT JSON) SELECT * FROM {relation_sql(native)}"
    )
    plan = json.loads(explained)[0]["Plan"]
    return TableStatistics(int(plan["Plan Rows"]), max(int(plan["Plan Width"]), 1))


async def observe(
    connection: asyncpg.Connection, native: tuple[str, ...], instance: str
) -> ObservedTable:
    """The declared columns: a table of PostgreSQL has no other fields."""
    described = await describe(connection, native, instance)
    rows = (await statistics(connection, native)).rows
    fields = tuple(
        ObservedField((column.name,), rows, {column.source.store_type: rows})
        for column in described.columns
        if isinstance(column.source, Native)
    )
    return ObservedTable(rows, rows, fields)
