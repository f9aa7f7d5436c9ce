"""What became of a name: the hint of an error about a column or table that this version does not
have, but an older or a newer one has.
"""

from __future__ import annotations

from collections.abc import Iterator

from catalog.model import CatalogSnapshot, Table, Version


def _ancestors(snapshot: CatalogSnapshot, version: Version) -> Iterator[tuple[Version, Version]]:
    """(version, its parent) from newest to oldest."""
    parent = snapshot.versions.get(version.parent)
    while parent is not None:
        yield version, parent
        version, parent = parent, snapshot.versions.get(parent.parent)


def column_hint(snapshot: CatalogSnapshot, version: Version, table: Table, name: str) -> str:
    """What became of a column of this name in the table; "" when it has one or never had."""
    if table.column(name) is not None:
        return ""
    for child, parent in _ancestors(snapshot, version):
        before = parent.table_by_id(table.id)
        column = before.column(name) if before else None
        if column is None:
            continue
        after = child.table_by_id(table.id)
        now = after.column_by_id(column.id) if after else None
        last = table.column_by_id(column.id)
        if now is None or last is None:
            return f'Column "{name}" was dropped in version {_gone(snapshot, version, column.id)}.'
        return f'Column "{name}" was renamed to "{last.name}" in version {child.number}.'
    for newer in sorted(n for n in snapshot.versions if n > version.number):
        found = snapshot.versions[newer].table_by_id(table.id)
        if found is not None and found.column(name) is not None:
            return f'Column "{name}" is in version {newer}; this is version {version.number}.'
    return ""


def _gone(snapshot: CatalogSnapshot, version: Version, column_id: int) -> int:
    for child, parent in _ancestors(snapshot, version):
        if any(t.column_by_id(column_id) for t in parent.tables):
            return child.number
    return version.number


def table_hint(snapshot: CatalogSnapshot, version: Version, name: str) -> str:
    """What became of a table of this name; "" when there never was one."""
    for child, parent in _ancestors(snapshot, version):
        before = parent.table(name)
        if before is None:
            continue
        now = version.table_by_id(before.id)
        if now is None:
            return f'Table "{name}" was dropped in version {child.number}.'
        return f'Table "{name}" was renamed to "{now.name}" in version {child.number}.'
    for newer in sorted(n for n in snapshot.versions if n > version.number):
        if snapshot.versions[newer].table(name) is not None:
            return f'Table "{name}" is in version {newer}; this is version {version.number}.'
    return ""
