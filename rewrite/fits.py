"""Documents that SQL writes must fit the columns that read them (DESIGN 7.8).

A field assigned by its own column always fits: it was cast to the column's type. A value of a wider
column may hold anything in the narrower ones' places: `address` in the place of `address.city`,
`_doc` in every place, an array in the places of its child table. Such a write is checked by
`morph_catalog.fits`, which raises 22P02 and names path and type; nothing turns silently into NULL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from catalog.model import DocPath, Element, Stored, Table, Version
from catalog.readers import field_of
from catalog.sqltext import quote_literal
from rewrite.puts import Parts

Path = tuple[str, ...]


def _below(path: Path, above: Path, *, strictly: bool) -> bool:
    return path[: len(above)] == above and (not strictly or len(path) > len(above))


def _covered(path: Path, assigned: Sequence[Path], *, strictly: bool) -> bool:
    return any(_below(path, a, strictly=strictly) for a in assigned)


def _own_columns(table: Table, assigned: Sequence[Path]) -> Iterable[dict[str, object]]:
    for column in table.columns:
        if isinstance(column.source, DocPath):
            path: Path = column.source.path
        elif isinstance(column.source, Stored) and () in assigned:
            path = (field_of(column),)
        else:
            continue
        if _covered(path, assigned, strictly=True) and column.type != "jsonb":
            yield {"name": column.name, "path": path, "type": column.type}


def _children(
    version: Version, table: Table, assigned: Sequence[Path]
) -> Iterable[dict[str, object]]:
    for child in version.tables:
        if child.kind != "child" or child.parent_id != table.id:
            continue
        if not _covered(child.parent_path, assigned, strictly=False):
            continue
        columns = [
            {"name": f"{child.name}.{c.name}", "path": c.source.path, "type": c.type}
            for c in child.columns
            if isinstance(c.source, Element) and c.type != "jsonb"
        ]
        if columns:
            yield {"path": child.parent_path, "columns": columns}


def fitting(version: Version, table: Table, assigned: Sequence[Path], document: Parts) -> Parts:
    """The document, checked in the places that the assigned paths cover; () is `_doc` itself."""
    columns = list(_own_columns(table, assigned))
    children = list(_children(version, table, assigned))
    if not columns and not children:
        return document
    rules = json.dumps({"columns": columns, "children": children}, ensure_ascii=False)
    return ("morph_catalog.fits(", *document, f", {quote_literal(rules)}::jsonb)")
