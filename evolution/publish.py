"""Makes snapshots real: shapes, version views and catalog rows, in the DDL's own transaction.

Two ways: a *new version* builds everything for its number; *publishing in place* adds or removes
single objects in versions that exist, for what affects nobody (CREATE TABLE, INDEX, VIEW, loading).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from catalog import shapes
from catalog.model import CatalogSnapshot, Table, Version
from catalog.sqltext import (
    PUBLIC,
    STORE_SCHEMA,
    quote_ident,
    shape_schema,
    view_schema,
    whole_schema,
)
from catalog.store import change_statement, state_statements, version_statement
from evolution.dependents import dependent_views
from evolution.seeds.expand import seed_sql
from evolution.seeds.shape import shape_seed_sql
from evolution.transaction import Transaction
from rewrite.bodies import rewrite_text
from rewrite.namespaces import Namespaces

FIRST_VERSION = 1


@dataclass(frozen=True, slots=True)
class Operation:
    """What is recorded of one operation of a change."""

    kind: str
    relation: str
    ddl: str
    origin: str = "ddl"
    actor: str = "morph"


def rewrite_view(snapshot: CatalogSnapshot, version: Version, query: str) -> str:
    namespaces = Namespaces(
        replace(snapshot, versions={**snapshot.versions, version.number: version}),
        (shape_schema(version.number),),
    )
    return rewrite_text(query, namespaces)


def _views(snapshot: CatalogSnapshot, version: Version) -> list[str]:
    return shapes.view_statements(
        version, seed_sql, lambda v, query: rewrite_view(snapshot, v, query)
    )


async def first_version(tx: Transaction, snapshot: CatalogSnapshot) -> CatalogSnapshot:
    """Version 1, empty, when there is none yet."""
    if snapshot.versions:
        return snapshot
    version = Version(FIRST_VERSION, 0, ())
    fresh = CatalogSnapshot(
        snapshot.epoch + 1, FIRST_VERSION, FIRST_VERSION, {FIRST_VERSION: version}, snapshot.next_id
    )
    await tx.apply(
        [
            *shapes.shape_statements(version, shape_seed_sql),
            *_views(fresh, version),
            version_statement(version),
            *state_statements(fresh),
        ]
    )
    return fresh


async def add_version(
    tx: Transaction,
    snapshot: CatalogSnapshot,
    version: Version,
    operations: Sequence[Operation],
    *,
    next_id: int,
    store_statements: Sequence[str] = (),
    last_statements: Sequence[str] = (),
) -> CatalogSnapshot:
    """A new version at the head, or the same number again (a transaction of DDL is one change).
    `last_statements` come when its row is there.
    """
    previous = snapshot.versions.get(version.number)
    fresh = replace(
        snapshot,
        epoch=snapshot.epoch + 1,
        head=version.number,
        versions={**snapshot.versions, version.number: version},
        next_id=next_id,
    )
    if previous is None:
        before: list[str] = []
        after = [*shapes.shape_statements(version, shape_seed_sql), *_views(fresh, version)]
    else:
        before, after = _remade(fresh, previous, version)
    statements = [*before, *store_statements, *after]
    statements += [version_statement(version), *last_statements]
    statements += [_record(version.number, op, "virtual") for op in operations]
    statements += state_statements(fresh)
    await tx.apply(statements)
    return fresh


def _remade(snapshot: CatalogSnapshot, old: Version, new: Version) -> tuple[list[str], list[str]]:
    """What to run before and after the store changes so that the objects of `old` become those of
    `new`, the same version after one more statement. Only what looks different is made again: a
    script of many statements in one transaction would run out of locks.
    """
    looks = {t.id: _look(snapshot, old, t) for t in old.tables}
    now = {t.id: _look(snapshot, new, t) for t in new.tables}
    changed = {i for i in {*looks, *now} if looks.get(i) != now.get(i)}
    stores = {
        f"{STORE_SCHEMA}.{quote_ident(t.store)} "
        for version in (old, new)
        for t in version.tables
        if t.id in changed and t.store
    }
    changed |= {i for i, look in now.items() for s in stores if any(s in text for text in look)}
    for version in (old, new):
        changed |= {v.id for v in dependent_views(snapshot, version, changed)}
    before = drop_table_statements(snapshot, old, [t for t in old.tables if t.id in changed])
    after = table_statements(snapshot, new, [t for t in new.tables if t.id in changed])
    after += _lost_keys(new, changed, shape_schema(new.number))
    if new.number == snapshot.current:
        after += _lost_keys(new, changed, PUBLIC)
    return before, after


def _look(snapshot: CatalogSnapshot, version: Version, table: Table) -> tuple[str, ...]:
    """All that is made for a table, as text."""
    fresh = replace(snapshot, current=0, versions={**snapshot.versions, version.number: version})
    return tuple(table_statements(fresh, version, [table]))


def _record(change_id: int, operation: Operation, state: str) -> str:
    return change_statement(
        change_id,
        operation.kind,
        operation.relation,
        operation.ddl,
        origin=operation.origin,
        actor=operation.actor,
        state=state,
    )


async def publish_in_place(
    tx: Transaction,
    snapshot: CatalogSnapshot,
    versions: Mapping[int, Version],
    statements: Iterable[str],
    operations: Sequence[Operation],
    *,
    next_id: int,
) -> CatalogSnapshot:
    """Replace the models of `versions` after running `statements`; recorded under the head."""
    fresh = replace(
        snapshot,
        epoch=snapshot.epoch + 1,
        versions={**snapshot.versions, **versions},
        next_id=next_id,
    )
    await tx.apply(
        [
            *statements,
            *(version_statement(v) for v in versions.values()),
            *(_record(fresh.head, op, "published") for op in operations),
            *state_statements(fresh),
        ]
    )
    return fresh


def table_statements(
    snapshot: CatalogSnapshot, version: Version, tables: Sequence[Table]
) -> list[str]:
    """Shapes and version views for tables that are new in an existing version (which has them
    already in its model); in `public` too when the version is the current one.
    """
    statements = shapes.shape_statements(version, shape_seed_sql, only=tables)
    if version.number == snapshot.current:
        statements += shapes.shape_statements(version, shape_seed_sql, public=True, only=tables)
    return statements + shapes.view_statements(
        version, seed_sql, lambda v, query: rewrite_view(snapshot, v, query), only=tables
    )


def drop_table_statements(
    snapshot: CatalogSnapshot, version: Version, tables: Sequence[Table]
) -> list[str]:
    """The opposite of `table_statements`."""
    statements = []
    number = version.number
    schemas = [whole_schema(number), view_schema(number), shape_schema(number)]
    if number == snapshot.current:
        schemas.append(PUBLIC)
    for table in reversed(tables):
        for schema in schemas:
            shape = schema in (PUBLIC, shape_schema(number))
            if table.kind == "foreign" and schema == whole_schema(number):
                base = shapes.foreign_base(version, table)
                statements.append(f"DROP TABLE IF EXISTS {base} CASCADE")
            kind = shapes.relation_kind(table) if shape else "VIEW"
            statements.append(
                f"DROP {kind} IF EXISTS {quote_ident(schema)}.{quote_ident(table.name)} CASCADE"
            )
    return statements


def rebuild_view_statements(snapshot: CatalogSnapshot, version: Version) -> list[str]:
    """Drop and make again the version views of a version (its model changed under them)."""
    return [*shapes.drop_view_statements(version), *_views(snapshot, version)]


def public_statements(snapshot: CatalogSnapshot, old: Version | None, new: Version) -> list[str]:
    """Let `public` show `new` instead of `old`; relations that look the same are left alone."""
    if old is None:
        return shapes.shape_statements(new, shape_seed_sql, public=True)
    looks = {t.id: (t.name, _public_shape(old, t)) for t in old.tables}
    changed = {t.id for t in new.tables if looks.get(t.id) != (t.name, _public_shape(new, t))}
    changed |= set(looks) - {t.id for t in new.tables}
    for version in (old, new):
        changed |= {v.id for v in dependent_views(snapshot, version, changed)}
    gone = [t for t in old.tables if t.id in changed]
    made = [t for t in new.tables if t.id in changed]
    statements = shapes.drop_shape_statements(replace(old, tables=tuple(gone)), public=True)
    statements += shapes.shape_statements(new, shape_seed_sql, public=True, only=made)
    return statements + _lost_keys(new, changed, PUBLIC)


def _public_shape(version: Version, table: Table) -> list[str]:
    return shapes.shape_statements(version, shape_seed_sql, public=True, only=[table])


def _lost_keys(version: Version, changed: set[int], schema: str) -> list[str]:
    """Foreign keys of shapes that stayed to shapes that were made again."""
    lost = []
    for table in version.tables:
        keys = tuple(c for c in table.constraints if c.references in changed)
        if keys and table.id not in changed:
            lost.append(replace(table, constraints=keys))
    if not lost:
        return []
    return [
        f"SET LOCAL search_path = {quote_ident(schema)}, pg_temp",
        *shapes.shape_foreign_keys(schema, lost),
        "SET LOCAL search_path = pg_catalog, pg_temp",
    ]
