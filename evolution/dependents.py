"""What reads a table: client views, foreign keys, virtual columns."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.model import CatalogSnapshot, Column, Seed, Table, Version
from catalog.sqltext import shape_schema
from core.errors import MorphError
from evolution.seeds.validate import dependencies
from rewrite.namespaces import Namespaces
from rewrite.parsing import parse_statements
from rewrite.scope import find_relations


def read_by_view(snapshot: CatalogSnapshot, version: Version, view: Table) -> set[int]:
    """Ids of the tables and views that a view names."""
    versions = {**snapshot.versions, version.number: version}
    fresh = CatalogSnapshot(snapshot.epoch, snapshot.current, snapshot.head, versions)
    namespaces = Namespaces(fresh, (shape_schema(version.number),))
    statement = parse_statements(view.definition)[0].stmt
    return {ref.resolved.table.id for ref in find_relations(statement, namespaces)}


def dependent_views(
    snapshot: CatalogSnapshot, version: Version, ids: set[int], *, transitive: bool = True
) -> list[Table]:
    """The views of a version that read one of the tables, in an order in which they can be made."""
    reads = {v.id: read_by_view(snapshot, version, v) for v in version.tables if v.kind == "view"}
    wanted = set(ids)
    found: list[Table] = []
    while True:
        more = [
            v
            for v in version.tables
            if v.id in reads and v.id not in wanted and reads[v.id] & wanted
        ]
        if not more:
            return _ordered(found, reads)
        found += more
        if not transitive:
            return found
        wanted |= {v.id for v in more}


def _ordered(views: list[Table], reads: dict[int, set[int]]) -> list[Table]:
    left = list(views)
    made: list[Table] = []
    while left:
        names = {v.id for v in left}
        ready = [v for v in left if not (reads[v.id] & (names - {v.id}))]
        made += ready or left
        left = [v for v in left if v not in made]
    return made


def linked_tables(version: Version, ids: set[int]) -> set[int]:
    """Tables that reference one of these, or are referenced, by a foreign key."""
    linked = set()
    for table in version.tables:
        for constraint in table.constraints:
            if constraint.references in ids:
                linked.add(table.id)
            if table.id in ids and constraint.references:
                linked.add(constraint.references)
    return linked - ids


def has_parts(versions: Iterable[Version], table: Table) -> bool:
    """True when tables of any version share the rows of this one, which was split."""
    if table.part is not None:
        return True
    parts = (t.part for version in versions for t in version.tables)
    return any(part is not None and part.of == table.id for part in parts)


def with_children(version: Version, ids: set[int]) -> set[int]:
    """The tables and the child tables that lie in their documents."""
    return ids | {t.id for t in version.tables if t.parent_id in ids}


def seeds(version: Version) -> list[tuple[Table, Column]]:
    """All virtual columns of a version."""
    return [(t, c) for t in version.tables for c in t.columns if isinstance(c.source, Seed)]


def seed_reads(version: Version, table: Table, column: Column) -> tuple[int, ...] | None:
    """Ids of the columns that a virtual column reads in this version; None when some are gone."""
    assert isinstance(column.source, Seed)
    try:
        return dependencies(column.source.expression, version, table).columns
    except MorphError:
        return None
