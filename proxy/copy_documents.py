"""The INSERT that makes documents of staged COPY rows in one expression a row (pure).

It gives the documents that the rewriter's chain of `put` calls gives for the same columns, three
times as fast: `JSON_OBJECT(… ABSENT ON NULL)` leaves missing what is NULL, and evaluates each value
once. A listed column that lies inside another listed one (`address`, `address.city`) replaces that
field of it. Where the order of the list matters, `insert_documents` gives None: then the general
rewriting is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from catalog.model import Column, DocPath, Stored, Table
from catalog.readers import RAW_DOC
from catalog.sqltext import quote_ident, quote_literal, text_array, whole_schema
from rewrite.context import direct
from rewrite.puts import as_json

_EMPTY = "'{}'::jsonb"


@dataclass(slots=True)
class _Node:
    """A place in the document: the value of its own column, and the places below it."""

    value: str = ""
    children: dict[str, _Node] = field(default_factory=dict)


def insert_documents(
    version: int, table: Table, columns: Sequence[Column], source: str
) -> str | None:
    """INSERT of `columns` of the relation `source` (quoted) into the version's whole view; None
    when it is not for this module.
    """
    if not table.has_doc or any(not isinstance(c.source, Stored | DocPath) for c in columns):
        return None
    root = _Node()
    names: list[str] = []
    values: list[str] = []
    for column in columns:
        name = quote_ident(column.name)
        if isinstance(column.source, DocPath):
            if not _place(root, column.source.path, "".join(map(str, as_json(column, (name,))))):
                return None
        elif isinstance(column.source, Stored):
            names.append(name if direct(column) else quote_ident(column.source.column))
            values.append(
                name
                if direct(column)
                else f"CAST(CAST({name} AS {column.type}) AS {column.source.type})"
            )
    override = " OVERRIDING SYSTEM VALUE" if any(c.identity for c in columns) else ""
    target = f"{quote_ident(whole_schema(version))}.{quote_ident(table.name)}"
    document = _object(root.children, "", ())
    return (
        f"INSERT INTO {target} ({', '.join([*names, RAW_DOC])}){override} "
        f"SELECT {', '.join([*values, document])} FROM {source}"
    )


def _place(root: _Node, path: tuple[str, ...], value: str) -> bool:
    """Puts a column's value into the tree; False when it comes after a column inside of it."""
    node = root
    for key in path:
        node = node.children.setdefault(key, _Node())
    if node.value or node.children:
        return False
    node.value = value
    return True


def _object(children: dict[str, _Node], base: str, path: tuple[str, ...]) -> str:
    """An object of the children, over what `base` holds besides them."""
    if not children:
        return base or _EMPTY
    pairs = ", ".join(
        f"{quote_literal(key)}: {_value(child, base, (*path, key))}"
        for key, child in children.items()
    )
    made = f"JSON_OBJECT({pairs} ABSENT ON NULL RETURNING jsonb)"
    if not base:
        return made
    return f"({base} OPERATOR(pg_catalog.-) {text_array(tuple(children))}) || {made}"


def _value(node: _Node, base: str, path: tuple[str, ...]) -> str:
    """The jsonb value of a place, NULL when it is missing; `base` is the object around it."""
    if not node.children:
        return node.value
    own = node.value or (base and f"({base} -> {quote_literal(path[-1])})")
    made = f"NULLIF({_object(node.children, '', path)}, {_EMPTY})"
    if not own:
        return made
    # put_path refuses to go into what is no object, with its own error.
    refused = (
        f"morph_catalog.put_path(jsonb_build_object({quote_literal(path[-1])}, {own}), "
        f"{text_array((path[-1], next(iter(node.children))))}, NULL)"
    )
    return (
        f"CASE WHEN NULLIF({own}, 'null'::jsonb) IS NULL THEN {made} "
        f"WHEN pg_catalog.jsonb_typeof({own}) = 'object' "
        f"THEN {_object(node.children, own, path)} ELSE {refused} END"
    )
