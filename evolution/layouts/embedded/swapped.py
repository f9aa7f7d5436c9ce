"""The catalog after a cut-over: every version's table over the other layout, and its views.

A view keeps its name and columns, so what stands on it stays: CREATE OR REPLACE VIEW.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from catalog import shapes
from catalog.lenses import swap
from catalog.model import CatalogSnapshot, Lens, Table, Version
from catalog.sqltext import quote_ident, view_schema, whole_schema
from catalog.store import state_statements, version_statement
from evolution.dependents import with_children
from evolution.layouts.base import ShadowTable
from evolution.seeds.expand import seed_sql

_CREATE = "CREATE VIEW "


def swapped_versions(
    snapshot: CatalogSnapshot,
    tables: Sequence[ShadowTable],
    promoted: Mapping[int, tuple[Lens, ...]],
) -> CatalogSnapshot:
    """All versions over the shadows, at the next epoch. `promoted` are by table id."""
    versions = dict(snapshot.versions)
    for table in tables:
        for number, version in versions.items():
            shown = version.table_by_id(table.table_id)
            if shown is not None:
                moved = swap(shown, promoted[table.table_id]) if promoted[table.table_id] else shown
                versions[number] = version.with_table(replace(moved, store=table.shadow))
    return replace(snapshot, epoch=snapshot.epoch + 1, versions=versions)


def shown_tables(version: Version, ids: set[int]) -> list[Table]:
    """The tables of a version that read these store tables: themselves and arrays in them."""
    family = with_children(version, ids)
    return [t for t in version.tables if t.id in family and t.kind in ("table", "child")]


def view_names(snapshot: CatalogSnapshot, ids: set[int]) -> list[str]:
    """All version views over these tables, for SQL: those that are read before those that are only
    written, as most transactions go.
    """
    return [
        f"{quote_ident(schema(version.number))}.{quote_ident(table.name)}"
        for schema in (view_schema, whole_schema)
        for version in snapshot.versions.values()
        for table in shown_tables(version, ids)
    ]


def _defaults_dropped(version: Version, table: Table) -> list[str]:
    """A default of a column that is computed now would make it one that is assigned."""
    actions = ", ".join(f"ALTER COLUMN {quote_ident(c.name)} DROP DEFAULT" for c in table.columns)
    if not actions or table.kind != "table":
        return []
    return [
        f"ALTER TABLE {quote_ident(schema)}.{quote_ident(table.name)} {actions}"
        for schema in (view_schema(version.number), whole_schema(version.number))
    ]


def _no_query(version: Version, query: str) -> str:
    raise AssertionError(f"no view of a client is made here: {version.number} {query}")


def view_statements(fresh: CatalogSnapshot, ids: set[int]) -> list[str]:
    """Put the views of all versions over the layouts that `fresh` says."""
    statements: list[str] = []
    for version in fresh.versions.values():
        tables = shown_tables(version, ids)
        for table in tables:
            statements += _defaults_dropped(version, table)
        for statement in shapes.view_statements(version, seed_sql, _no_query, only=tables):
            if statement.startswith(_CREATE):
                statement = f"CREATE OR REPLACE VIEW {statement[len(_CREATE) :]}"
            statements.append(statement)
    return statements


def catalog_statements(fresh: CatalogSnapshot, ids: set[int]) -> list[str]:
    """Write the versions that changed, and the epoch."""
    changed = [v for v in fresh.versions.values() if any(v.table_by_id(i) for i in ids)]
    return [*(version_statement(v) for v in changed), *state_statements(fresh)]
