"""Indexes and constraints of a layout, and under which name they stand.

The catalog knows an index or constraint by its name in the store, whichever layout serves, and
clients read it in errors. So the layout that serves has the names, and the objects of the other one
are parked under names that follow from them; a cut-over renames both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import asyncpg

from catalog.lenses import swap
from catalog.model import CatalogSnapshot, Constraint, Index, Stored, Table, Version
from catalog.sqltext import STORE_SCHEMA, quote_ident
from evolution.indexes import store_statement
from evolution.layouts.base import ShadowTable, ShadowWork
from evolution.layouts.embedded.shadow import promoted_lenses
from evolution.layouts.embedded.tables import qualified
from evolution.seeds.expressions import substitute

Kind = Literal["p", "u", "c", "i"]
_INDEXES: Final = """
SELECT i.relname AS name, pg_get_indexdef(x.indexrelid) AS text,
  coalesce(k.contype::text, 'i') AS kind, pg_get_constraintdef(k.oid) AS clause,
  x.indisunique AS is_unique,
  ARRAY(SELECT a.attname::text FROM pg_depend d JOIN pg_attribute a
    ON a.attrelid = x.indrelid AND a.attnum = d.refobjsubid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = x.indrelid AND d.refobjsubid > 0
      AND ((d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid)
        OR (d.classid = 'pg_constraint'::regclass AND d.objid = k.oid))) AS columns
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid
  AND k.contype IN ('p', 'u')
WHERE x.indrelid = to_regclass($1)
UNION ALL
SELECT k.conname, NULL, 'c', pg_get_constraintdef(k.oid), false,
  ARRAY(SELECT a.attname::text FROM pg_attribute a
    WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))
FROM pg_constraint k WHERE k.conrelid = to_regclass($1) AND k.contype = 'c'
ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class StoreObject:
    """An index (kind i), a constraint with one (p, u) or a check (c). `text` makes it: a whole
    CREATE INDEX for an index, what stands after ADD CONSTRAINT name for the others.
    """

    name: str
    kind: Kind
    text: str
    unique: bool
    columns: frozenset[str]

    def create(self, table: str, name: str) -> str:
        """The statement that makes it on another table (name in the store) under another name."""
        if self.kind != "i":
            return f"ALTER TABLE {qualified(table)} ADD CONSTRAINT {quote_ident(name)} {self.text}"
        rest = self.text[self.text.index(" USING ") :]
        unique = "UNIQUE " if self.unique else ""
        return f"CREATE {unique}INDEX {quote_ident(name)} ON {qualified(table)}{rest}"

    def rename(self, table: str, old: str, new: str) -> str:
        """The statement that renames it."""
        if self.kind == "i":
            return f"ALTER INDEX {STORE_SCHEMA}.{quote_ident(old)} RENAME TO {quote_ident(new)}"
        return (
            f"ALTER TABLE {qualified(table)} RENAME CONSTRAINT {quote_ident(old)} "
            f"TO {quote_ident(new)}"
        )


async def read_objects(db: asyncpg.Connection, table: str) -> list[StoreObject]:
    """The indexes, keys and checks of a store table, but not its foreign keys."""
    return [
        StoreObject(
            r["name"], r["kind"], r["clause"] or r["text"], r["is_unique"], frozenset(r["columns"])
        )
        for r in await db.fetch(_INDEXES, qualified(table))
    ]


def wanted(
    snapshot: CatalogSnapshot,
    work: ShadowWork,
    table: ShadowTable,
    of_live: Iterable[StoreObject],
    changed: frozenset[str],
) -> list[StoreObject]:
    """What the shadow needs: the live layout's own, but for those over columns that change roles;
    for these, what the version that gets the layout says of them.
    """
    kept = [each for each in of_live if each.kind == "p" or not each.columns & changed]
    version = snapshot.versions.get(work.version if work.direction == "forward" else work.parent)
    shown = version.table_by_id(table.table_id) if version else None
    promoted = promoted_lenses(snapshot, table)
    if version is None or shown is None or not promoted:
        return kept
    swapped = swap(shown, promoted)
    known = {each.name for each in kept}
    made = [_constraint(swapped, c) for c in swapped.constraints if c.store_name not in known]
    made += [_index(version, swapped, i) for i in swapped.indexes if i.store_name not in known]
    return [*kept, *(each for each in made if each is not None)]


def _stored(table: Table, ids: Sequence[int]) -> list[str] | None:
    """The columns in the store, None when one of them is computed in this layout too."""
    columns = [table.column_by_id(each) for each in ids]
    names = [
        c.source.column
        for c in columns
        if c is not None and isinstance(c.source, Stored) and not c.source.converts(c.type)
    ]
    return names if len(names) == len(ids) else None


def _constraint(table: Table, constraint: Constraint) -> StoreObject | None:
    names = _stored(table, constraint.columns)
    if names is None or constraint.kind == "f":
        return None
    listed = ", ".join(quote_ident(n) for n in names)
    if constraint.kind in ("p", "u"):
        head, rest = constraint.definition.split("(", 1)
        text = f"{head}({listed}){rest.split(')', 1)[1]}"
    else:
        shown = {
            c.name: quote_ident(c.source.column)
            for c in table.columns
            if isinstance(c.source, Stored)
        }
        expression = constraint.definition.removeprefix("CHECK ")
        expression = expression.removesuffix(" NOT VALID").removesuffix(" NO INHERIT")
        text = f"CHECK {substitute(expression, shown)}"
    return StoreObject(
        constraint.store_name, constraint.kind, text, constraint.kind != "c", frozenset(names)
    )


def _index(version: Version, table: Table, index: Index) -> StoreObject | None:
    text = store_statement(version.with_table(table), table, index, qualified(table.store))
    return StoreObject(index.store_name, "i", text, index.unique, frozenset())


def not_null(snapshot: CatalogSnapshot, work: ShadowWork, table: ShadowTable) -> list[str]:
    """Columns of the shadow that must not be NULL, as the version that gets the layout says."""
    version = snapshot.versions.get(work.version if work.direction == "forward" else work.parent)
    shown = version.table_by_id(table.table_id) if version else None
    promoted = promoted_lenses(snapshot, table)
    if shown is None or not promoted:
        return []
    over = {c.id for lens in promoted for c in lens.over}
    swapped = swap(shown, promoted)
    return [
        c.source.column
        for c in swapped.columns
        if c.id in over and c.not_null and isinstance(c.source, Stored)
    ]


def unique_as_plain(found: StoreObject) -> StoreObject:
    """The index of a unique object without its uniqueness, to look for what stands against it."""
    if found.kind == "i":
        return replace(found, unique=False)
    columns = found.text[found.text.index("(") :].split(")")[0] + ")"
    return replace(found, kind="i", unique=False, text=f" USING btree {columns}")
