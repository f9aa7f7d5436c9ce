"""Building blocks of document writes: `put` calls around values that stay in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalog.model import Column, DocPath, Stored, Table
from catalog.sqltext import quote_ident, quote_literal, text_array
from core.errors import FeatureNotSupported
from rewrite.context import direct
from rewrite.edits import Span
from rewrite.tree import Node, ast

Parts = tuple[str | Span, ...]

_EXTENDED = ("timestamp with time zone", "uuid", "bytea")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A column gets a value; `value` is None for DEFAULT."""

    column: Column
    value: Parts | None


def as_json(column: Column, value: Parts) -> Parts:
    """The value as jsonb, NULL for NULL, cast to the column's type first."""
    function = "pg_catalog.to_jsonb"
    if column.type in _EXTENDED:
        function = "morph_catalog.extended_json"
    return (f"{function}(CAST((", *value, f") AS {column.type}))")


def put_chain(base: Parts, assignments: Sequence[Assignment]) -> Parts:
    """`base` with every document field of the assignments put into it."""
    result = base
    for item in assignments:
        source = item.column.source
        assert isinstance(source, DocPath)
        value: Parts
        if item.value is not None:
            value = as_json(item.column, item.value)
        elif item.column.default is not None:
            value = as_json(item.column, (item.column.default,))
        else:
            value = ("NULL::jsonb",)
        if len(source.path) == 1:
            head, key = "morph_catalog.put(", quote_literal(source.path[0])
        else:
            head, key = "morph_catalog.put_path(", text_array(source.path)
        result = (head, *result, f", {key}, ", *value, ")")
    return result


def stored_assignment(column: Column, value: Parts | None) -> Parts:
    """`c5 = value` for a column whose store type differs from its version's type."""
    assert isinstance(column.source, Stored)
    name = quote_ident(column.source.column)
    if value is None:
        return (f"{name} = DEFAULT",)
    return (
        f"{name} = CAST(CAST((",
        *value,
        f") AS {column.type}) AS {column.source.type})",
    )


def column_of(table: Table, target: Node) -> Column | None:
    """The column that a SET item names; `address.city` without quotes is a dotted path."""
    column = table.column(target.name)
    if not target.indirection:
        return column
    names = [i.sval for i in target.indirection if isinstance(i, ast.String)]
    if len(names) == len(target.indirection):
        dotted = table.column(".".join([target.name, *names]))
        if dotted is not None:
            return dotted
    if column is None or direct(column):
        return None
    raise FeatureNotSupported(
        f'cannot assign to an element of the document column "{target.name}"',
        hint="Assign the whole column, for example with jsonb_set.",
    )
