"""Documents that SQL writes must fit the columns that read them (DESIGN 7.8).

A field assigned by its own column always fits: it was cast to the column's type. A value of a wider
column may hold anything in the narrower ones' places: `address` in the place of `address.city`,
`_doc` in every place, an array in the places of its child table. Such a write is checked by
`morph_catalog.fits`, which raises 22P02 and names path and type; nothing turns silently into NULL.

The function looks at every rule of every row. Where the values are columns of a query, what is
plainly right is told by `jsonb_typeof` alone, and only the other rows go to the function.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from catalog.model import DocPath, Element, Lensed, Stored, Table, Version
from catalog.readers import field_of
from catalog.sqltext import quote_literal
from rewrite.puts import Parts

Path = tuple[str, ...]

_PLAIN: Final[Mapping[str, str]] = {"text": "string", "boolean": "boolean"}
"""Types of columns that read every JSON value of a type, and the name of that type."""
_TESTS_MAX: Final = 100


def _below(path: Path, above: Path, *, strictly: bool) -> bool:
    return path[: len(above)] == above and (not strictly or len(path) > len(above))


def _covered(path: Path, assigned: Sequence[Path], *, strictly: bool) -> bool:
    return any(_below(path, a, strictly=strictly) for a in assigned)


def _own_columns(table: Table, assigned: Sequence[Path]) -> Iterable[dict[str, object]]:
    for column in table.columns:
        if isinstance(column.source, DocPath):
            path: Path = column.source.path
        elif isinstance(column.source, Stored | Lensed) and () in assigned:
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


def fitting(
    version: Version,
    table: Table,
    assigned: Sequence[Path],
    document: Parts,
    values: Mapping[Path, Parts] | None = None,
) -> Parts:
    """The document, checked in the places that the assigned paths cover; () is `_doc` itself.

    `values` are the jsonb values of all the assigned paths where they may be asked several times:
    then the document's text stands twice, and one of the two is evaluated.
    """
    columns = list(_own_columns(table, assigned))
    children = list(_children(version, table, assigned))
    if not columns and not children:
        return document
    rules = json.dumps({"columns": columns, "children": children}, ensure_ascii=False)
    checked: Parts = ("morph_catalog.fits(", *document, f", {quote_literal(rules)}::jsonb)")
    tests = _plain_tests(columns, children, values) if values else None
    if tests is None:
        return checked
    return ("CASE WHEN ", *tests, " THEN ", *document, " ELSE ", *checked, " END")


def _plain_tests(
    columns: Iterable[Mapping[str, Any]],
    children: Iterable[Mapping[str, Any]],
    values: Mapping[Path, Parts],
) -> Parts | None:
    """True for values that surely fit: each place has the plain type of its column, or nothing,
    and what is around it is an object, or nothing. None where that cannot be told so.
    """
    wanted: dict[tuple[Path, Path], str] = {}
    for place, kind in [
        *((tuple(rule["path"]), _PLAIN.get(rule["type"], "")) for rule in columns),
        *((tuple(rule["path"]), "") for rule in children),
    ]:
        for owner in values:
            if place[: len(owner)] != owner:
                continue
            for length in range(len(owner), len(place)):
                wanted.setdefault((owner, place[len(owner) : length]), "object")
            wanted[(owner, place[len(owner) :])] = kind
    if not wanted or len(wanted) > _TESTS_MAX:
        return None
    tests: Parts = ()
    for (owner, inner), kind in wanted.items():
        kinds = ", ".join(quote_literal(each) for each in ("null", kind) if each)
        steps = "".join(f" OPERATOR(pg_catalog.->) {quote_literal(key)}" for key in inner)
        head = " AND " if tests else ""
        tests += (f"{head}coalesce(pg_catalog.jsonb_typeof(", *values[owner])
        tests += (f"{steps}), 'null') IN ({kinds})",)
    return tests
