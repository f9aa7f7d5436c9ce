"""What a table of the store really has: its physical columns and its key, read from PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from catalog.sqltext import STORE_SCHEMA, quote_ident, quote_literal
from core.errors import ObjectNotInPrerequisiteState, UndefinedTable

ROW = "t"
"""The alias of a row of the live table in the expressions of a layout."""

_COLUMNS = """
WITH RECURSIVE base(attnum, oid) AS (
  SELECT a.attnum, a.atttypid FROM pg_catalog.pg_attribute a
  WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attnum, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.oid
  WHERE t.typtype = 'd'
)
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, format_type(t.oid, -1) AS base,
  t.oid < 16384 AS builtin, a.attnotnull AS not_null, a.attidentity::text AS identity,
  a.attgenerated <> '' AS generated,
  array_position(i.indkey::int2[], a.attnum) AS place
FROM pg_catalog.pg_attribute a
JOIN base b ON b.attnum = a.attnum
JOIN pg_catalog.pg_type t ON t.oid = b.oid AND t.typtype <> 'd'
LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = to_regclass($1)
ORDER BY a.attnum
"""


@dataclass(frozen=True, slots=True)
class PhysicalColumn:
    """A column of a store table. `base` is its type without domains; `builtin` says that this is a
    type of PostgreSQL itself, so that converting a value runs nobody else's code.
    """

    name: str
    type: str
    base: str
    builtin: bool
    not_null: bool
    identity: str
    generated: bool

    @property
    def quoted(self) -> str:
        """The name for SQL."""
        return quote_ident(self.name)

    @property
    def id(self) -> int:
        """The column's id in the catalog; 0 for `_doc` and the columns that lenses keep."""
        digits = self.name[1:]
        return int(digits) if self.name[:1] == "c" and digits.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class StoreTable:
    """A store table with its columns in their order and the columns of its primary key."""

    name: str
    columns: tuple[PhysicalColumn, ...]
    key: tuple[PhysicalColumn, ...]

    @property
    def qualified(self) -> str:
        """The name for SQL."""
        return qualified(self.name)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [c.name for c in self.columns]

    def key_list(self, row: str = "") -> str:
        """The key's columns for SQL, of the row `row`: `t."c1", t."c2"`."""
        prefix = f"{row}." if row else ""
        return ", ".join(f"{prefix}{c.quoted}" for c in self.key)

    def key_tuple(self, row: str = "") -> str:
        """The same in parentheses: with one column a plain comparison, with more of rows."""
        return f"({self.key_list(row)})"

    def key_values(self, values: list[str]) -> str:
        """A key that was kept as texts, for SQL."""
        texts = (f"{quote_literal(v)}::{c.base}" for c, v in zip(self.key, values, strict=True))
        return f"({', '.join(texts)})"

    def key_texts(self, row: str) -> str:
        """The key as text[], in the form that `key_values` reads: output functions, no casts."""
        return "ARRAY[" + ", ".join(f"format('%s', {row}.{c.quoted})" for c in self.key) + "]"

    def same_key(self, left: str, right: str) -> str:
        """The condition that two rows have the same key."""
        return " AND ".join(f"{left}.{c.quoted} = {right}.{c.quoted}" for c in self.key)


def qualified(name: str) -> str:
    """A name in the store's schema."""
    return f"{STORE_SCHEMA}.{quote_ident(name)}"


async def exists(db: asyncpg.Connection, name: str) -> bool:
    """True when the store has a table of this name."""
    return bool(await db.fetchval("SELECT to_regclass($1) IS NOT NULL", qualified(name)))


async def read_table(db: asyncpg.Connection, name: str, shown: str = "") -> StoreTable:
    """The table as it is now, in the snapshot of the connection.

    Raises UndefinedTable (42P01), and ObjectNotInPrerequisiteState (55000) when it has no key;
    `shown` is its name for people.
    """
    rows = await db.fetch(_COLUMNS, qualified(name))
    if not rows:
        raise UndefinedTable(f'relation "{name}" does not exist in the store')
    columns = tuple(
        PhysicalColumn(
            r["attname"],
            r["type"],
            r["base"],
            r["builtin"],
            r["not_null"],
            r["identity"],
            r["generated"],
        )
        for r in rows
    )
    places = sorted(
        (r["place"], c) for r, c in zip(rows, columns, strict=True) if r["place"] is not None
    )
    if not places:
        raise ObjectNotInPrerequisiteState(
            f'table "{shown or name}" has no primary key, so it cannot have a shadow',
            hint="Rows are told apart by their key: add one with ALTER TABLE ... ADD PRIMARY KEY, "
            "or use SET morph.ddl_mode = direct.",
        )
    return StoreTable(name, columns, tuple(c for _, c in places))
