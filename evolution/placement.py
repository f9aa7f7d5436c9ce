"""CALL morph.materialize(table, column) and morph.dematerialize(table, column): a field of the
documents becomes a physical column of the store's table, or goes back, in one transaction.

Where a value lies is a decision apart from its name and type (DESIGN 1), so no reader notices: the
version views of all versions are rebuilt over the new place. What does not fit the column's type
stays in the document, where it was recorded as a misfit; an explicit JSON null stays there too.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.model import CatalogSnapshot, Column, DocPath, Source, Stored, Table, Version
from catalog.readers import ROW, read_column
from catalog.sqltext import STORE_SCHEMA, quote_ident, quote_literal
from core.errors import FeatureNotSupported, ObjectNotInPrerequisiteState, UndefinedColumn
from evolution.publish import Operation, publish_in_place, rebuild_view_statements
from evolution.transaction import Transaction

# JSON holds these exactly, so a physical column of them can go back into the document.
JSON_TYPES = ("text", "bigint", "numeric", "double precision", "boolean", "jsonb")


def _column(table: Table, name: str) -> Column:
    column = table.column(name)
    if column is None:
        raise UndefinedColumn(f'column "{name}" of relation "{table.name}" does not exist')
    return column


def _require_no_lens(snapshot: CatalogSnapshot, table: Table, column: Column) -> None:
    """A value that a version shows in another form stays where its lens expects it."""
    for version in snapshot.versions.values():
        shown = version.table_by_id(table.id)
        for lens in shown.lenses if shown else ():
            if column.id in {c.id for c in (*lens.under, *lens.over)}:
                raise ObjectNotInPrerequisiteState(
                    f'version {version.number} shows the values of column "{column.name}" '
                    "in another form",
                    hint="Move it before it is converted, or when that version is gone.",
                )


def _require_no_index(table: Table, column: Column) -> None:
    for index in table.indexes:
        if column.name in index.definition:
            raise ObjectNotInPrerequisiteState(
                f'column "{column.name}" is used by index "{index.name}"',
                hint="Drop the index, move the column, make the index again.",
            )


def _require_nothing_below(
    snapshot: CatalogSnapshot, table: Table, column: Column, path: tuple[str, ...]
) -> None:
    """A sub-document or array whose parts are columns or a child table stays whole."""
    for version in snapshot.versions.values():
        shown = version.table_by_id(table.id)
        columns = shown.columns if shown else ()
        below = [c.source.path for c in columns if isinstance(c.source, DocPath)]
        arrays = [t.parent_path for t in version.tables if t.parent_id == table.id]
        nested = any(len(p) > len(path) and p[: len(path)] == path for p in (*below, *arrays))
        if nested or path in arrays:
            raise FeatureNotSupported(
                f'column "{column.name}" has parts that are columns or a child table of their own',
                hint="It stays in the document with them.",
            )


async def materialize(
    tx: Transaction, snapshot: CatalogSnapshot, table: Table, name: str, actor: str
) -> CatalogSnapshot:
    """Move a top-level field of the documents into a physical column."""
    column = _column(table, name)
    source = column.source
    if not isinstance(source, DocPath) or len(source.path) != 1:
        raise FeatureNotSupported(
            f'column "{name}" is not a top-level field of the documents',
            hint="Nested fields stay with their sub-document; virtual columns stay computed.",
        )
    _require_no_index(table, column)
    _require_no_lens(snapshot, table, column)
    _require_nothing_below(snapshot, table, column, source.path)
    store = f"{STORE_SCHEMA}.{quote_ident(table.store)}"
    physical = f"c{column.id}"
    key = quote_literal(source.path[0])
    value = read_column(table, column)
    statements = [
        f"ALTER TABLE {store} ADD COLUMN IF NOT EXISTS {quote_ident(physical)} {column.type}",
        f"UPDATE {store} {ROW} SET {quote_ident(physical)} = {value}, "
        f"_doc = {ROW}._doc - {key} WHERE ({value}) IS NOT NULL",
    ]
    target = Stored(physical, column.type, field=source.path[0])
    return await _move(tx, snapshot, table, column, target, statements, "materialize", actor)


async def dematerialize(
    tx: Transaction, snapshot: CatalogSnapshot, table: Table, name: str, actor: str
) -> CatalogSnapshot:
    """Move a physical column into the documents."""
    column = _column(table, name)
    source = column.source
    if not isinstance(source, Stored) or not table.has_doc:
        raise FeatureNotSupported(f'column "{name}" is not a physical column of documents')
    if source.type not in JSON_TYPES or column.default is not None or column.not_null:
        raise FeatureNotSupported(
            f'column "{name}" of type {source.type} cannot lie in a document',
            detail="Documents hold types that JSON has, without default or NOT NULL.",
        )
    if any(column.id in c.columns for c in table.constraints):
        raise ObjectNotInPrerequisiteState(f'column "{name}" is used by a constraint')
    _require_no_index(table, column)
    _require_no_lens(snapshot, table, column)
    store = f"{STORE_SCHEMA}.{quote_ident(table.store)}"
    key = source.field or column.name
    physical = quote_ident(source.column)
    statements = [
        f"UPDATE {store} {ROW} SET _doc = morph_catalog.put({ROW}._doc, {quote_literal(key)}, "
        f"to_jsonb({ROW}.{physical})), {physical} = NULL WHERE {ROW}.{physical} IS NOT NULL",
    ]
    target = DocPath((key,))
    return await _move(tx, snapshot, table, column, target, statements, "dematerialize", actor)


async def _move(
    tx: Transaction,
    snapshot: CatalogSnapshot,
    table: Table,
    column: Column,
    target: Source,
    statements: list[str],
    kind: str,
    actor: str,
) -> CatalogSnapshot:
    versions: dict[int, Version] = {}
    for number, version in snapshot.versions.items():
        shown = version.table_by_id(table.id)
        same = shown.column_by_id(column.id) if shown else None
        if shown is None or same is None:
            continue
        versions[number] = version.with_table(shown.with_column(replace(same, source=target)))
    moved = replace(snapshot, versions={**snapshot.versions, **versions})
    rebuilt = [s for v in versions.values() for s in rebuild_view_statements(moved, v)]
    store = f"{STORE_SCHEMA}.{quote_ident(table.store)}"
    operation = Operation(
        kind,
        table.name,
        f"CALL morph.{kind}('{table.name}', '{column.name}')",
        origin="operator",
        actor=actor,
    )
    return await publish_in_place(
        tx,
        snapshot,
        versions,
        [f"LOCK TABLE {store} IN ACCESS EXCLUSIVE MODE", *statements, *rebuilt],
        [operation],
        next_id=snapshot.next_id,
    )
