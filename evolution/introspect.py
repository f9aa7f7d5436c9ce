"""What PostgreSQL made of a client's DDL: the columns and constraints of a scratch table."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.sqltext import quote_literal
from evolution.transaction import Transaction

SCRATCH = "morph_scratch"


@dataclass(frozen=True, slots=True)
class ScratchColumn:
    """A column as the catalog describes it; `generated` is "", "s" or "v"."""

    number: int
    name: str
    type: str
    not_null: bool
    identity: str
    generated: str
    default: str | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class ScratchConstraint:
    """A constraint; `columns` are attribute numbers."""

    name: str
    kind: str
    columns: tuple[int, ...]
    definition: str
    expression: str | None
    references: str
    foreign_columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScratchTable:
    """A scratch relation."""

    name: str
    columns: tuple[ScratchColumn, ...]
    constraints: tuple[ScratchConstraint, ...]
    filenode: str
    comment: str | None


_COLUMNS = """
SELECT a.attnum::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull::text,
  a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid),
  col_description(a.attrelid, a.attnum)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""

_CONSTRAINTS = """
SELECT conname::text, contype::text, array_to_string(conkey, ','), pg_get_constraintdef(oid),
  pg_get_expr(conbin, conrelid),
  coalesce((SELECT relname::text FROM pg_class WHERE oid = confrelid), ''),
  coalesce(array_to_string(confkey, ','), '')
FROM pg_constraint WHERE conrelid = {oid} AND contype IN ('p', 'u', 'c', 'f', 'x') ORDER BY oid"""

_TABLE = """
SELECT c.oid::text, c.relname::text, coalesce(pg_relation_filenode(c.oid), 0)::text,
  obj_description(c.oid, 'pg_class')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = {schema} AND c.relkind IN ('r', 'v', 'p') ORDER BY c.oid"""


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(n) for n in (text or "").split(",") if n)


async def read_scratch(tx: Transaction, schema: str = SCRATCH) -> ScratchTable | None:
    """The (only) relation in the scratch schema, None when it is empty."""
    tables = await tx.fetch(_TABLE.format(schema=quote_literal(schema)))
    if not tables:
        return None
    oid, name, filenode, comment = tables[-1]
    columns = [
        ScratchColumn(
            int(r[0] or 0),
            r[1] or "",
            r[2] or "",
            r[3] in ("t", "true", "True"),
            r[4] or "",
            r[5] or "",
            r[6],
            r[7],
        )
        for r in await tx.fetch(_COLUMNS.format(oid=oid))
    ]
    constraints = [
        ScratchConstraint(
            r[0] or "", r[1] or "", _numbers(r[2]), r[3] or "", r[4], r[5] or "", _numbers(r[6])
        )
        for r in await tx.fetch(_CONSTRAINTS.format(oid=oid))
    ]
    return ScratchTable(name or "", tuple(columns), tuple(constraints), filenode or "", comment)
