"""Building blocks of document writes: `put` calls around values that stay in place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from catalog.model import Column, DocPath, Lensed, Stored, Table
from catalog.readers import raw_residue, written_raw
from catalog.sqltext import quote_ident, quote_literal, text_array
from core.errors import FeatureNotSupported
from rewrite.edits import Span
from rewrite.tree import OPEN_BRACKET, Node, Tokens, ast

Parts = tuple[str | Span, ...]

_LOOSE: Final = {
    "character varying": "character varying",
    "character": "pg_catalog.bpchar",
    "bit": "bit varying",
    "bit varying": "bit varying",
}
EXTENDED = ("timestamp with time zone", "uuid", "bytea")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A column gets a value; `value` is None for DEFAULT. `typed`: the value is already of the
    column's type.
    """

    column: Column
    value: Parts | None
    typed: bool = False


def as_json(column: Column, value: Parts, *, typed: bool = False) -> Parts:
    """The value as jsonb, NULL for NULL, cast to the column's type first."""
    function = "pg_catalog.to_jsonb"
    if column.type in EXTENDED:
        function = "morph_catalog.extended_json"
    elif column.type.endswith("[]"):
        function = "morph_catalog.array_json"
    if typed:
        return (f"{function}(", *value, ")")
    return (f"{function}(CAST((", *value, f") AS {column.type}))")


def doc_path(column: Column) -> tuple[str, ...]:
    """The path of a document column."""
    assert isinstance(column.source, DocPath)
    return column.source.path


def put_chain(base: Parts, assignments: Sequence[Assignment]) -> Parts:
    """`base` with every document field of the assignments put into it.

    Outer fields come before the fields inside them (`address` before `address.city`), so that what
    is said of the inner field holds.
    """
    result = base
    for item in sorted(assignments, key=lambda a: len(doc_path(a.column))):
        path = doc_path(item.column)
        value: Parts
        if item.value is not None:
            value = as_json(item.column, item.value, typed=item.typed)
        elif item.column.default is not None:
            value = as_json(item.column, (item.column.default,))
        else:
            value = ("NULL::jsonb",)
        if len(path) == 1:
            head, key = "morph_catalog.put(", quote_literal(path[0])
        else:
            head, key = "morph_catalog.put_path(", text_array(path)
        result = (head, *result, f", {key}, ", *value, ")")
    return result


def as_stored(column: Column, value: Parts | None) -> Parts:
    """The value of a column whose store type differs from its version's type."""
    assert isinstance(column.source, Stored)
    if value is None and column.default is None:
        return ("DEFAULT",) if column.identity else ("NULL",)
    if value is None:
        value = (column.default or "NULL",)
    return ("CAST(CAST((", *value, f") AS {column.type}) AS {column.source.type})")


def as_raw(table: Table, column: Column, value: Parts | None) -> Parts:
    """The value of a column that the whole view shows under its raw name."""
    source = column.source
    if isinstance(source, Lensed):
        lens = table.lens(source.lens)
        shown = lens.over[lens.over_column(column.id)].type
        return _assigned(column, shown, source.plain, value)
    if isinstance(source, Stored) and source.raw:
        return _assigned(column, source.type, source.plain, value)
    return as_stored(column, value)


def _assigned(column: Column, stored: str, plain: bool, value: Parts | None) -> Parts:
    """The value as the column's type without its length, which the assignment checks: an explicit
    cast would cut it silently. An older version may have another type than what is assigned.
    """
    if value is None:
        value = (column.default or "NULL",)
    if stored == column.type or plain:
        return ("CAST((", *value, f") AS {_loose(column.type)})")
    return ("CAST(CAST((", *value, f") AS {column.type}) AS {stored})")


def _loose(sql_type: str) -> str:
    for exact, loose in _LOOSE.items():
        if sql_type.startswith(f"{exact}(") and sql_type.endswith(")"):
            return loose
    return sql_type


def wrote(columns: Iterable[Column]) -> str:
    """What `_w` is when these columns are assigned; "" when none is written in the raw form."""
    ids = sorted({c.id for c in columns if written_raw(c)})
    return f"'{{{','.join(map(str, ids))}}}'::pg_catalog.int4[]" if ids else ""


def column_of(table: Table, target: Node) -> Column | None:
    """The column that a SET item names; `address.city` without quotes is a dotted path."""
    column = table.column(target.name)
    names = dotted_names(target)
    if column is None or names:
        dotted = table.column(".".join([target.name, *names]))
        if dotted is not None:
            return dotted
    return column


def dotted_names(target: Node) -> list[str]:
    """The names behind the first one in a SET item or column list, [] when there are others."""
    indirection = target.indirection or ()
    names = [i.sval for i in indirection if isinstance(i, ast.String)]
    return names if len(names) == len(indirection) else []


def has_subscripts(target: Node) -> bool:
    """True for `tags[1]` and `meta['a']`."""
    return any(isinstance(i, ast.A_Indices) for i in target.indirection or ())


def subscripted(tokens: Tokens, target: Node, column: Column, base: Parts, value: Parts) -> Parts:
    """The column's whole new value when one element of it is assigned, as PostgreSQL does it."""
    inner = _subscripts(tokens, target)
    indices = target.indirection
    if column.type == "jsonb":
        keys: list[str | Span] = []
        for span in inner:
            keys += [", " if keys else "", "CAST((", span, ") AS text)"]
        return (
            "morph_catalog.assign_key(",
            *base,
            ", CAST((",
            *value,
            ") AS jsonb), ",
            *_is_index(indices[0].uidx, inner[0]),
            ", ARRAY[",
            *keys,
            "])",
        )
    index = indices[0]
    if not column.type.endswith("[]") or len(indices) > 1 or not isinstance(index, ast.A_Indices):
        raise FeatureNotSupported(
            f'cannot assign to this element of the document column "{column.name}"',
            hint="Assign the whole column.",
        )
    if not index.is_slice:
        cast = (") AS ", column.type[:-2], "), ")
        return ("morph_catalog.assign_element(", *base, ", CAST((", *value, *cast, inner[0], ")")
    if index.lidx is None or index.uidx is None:
        raise FeatureNotSupported(
            f'a slice of the document column "{column.name}" needs both bounds',
            hint="Write both bounds of the slice.",
        )
    low, high = _bounds(tokens, inner[0])
    cast = (") AS ", column.type, "), ")
    return ("morph_catalog.assign_slice(", *base, ", CAST((", *value, *cast, low, ", ", high, ")")


def _is_index(node: Node, span: Span) -> Parts:
    if isinstance(node, ast.A_Const):
        return ("true" if isinstance(node.val, ast.Integer) else "false",)
    return ("morph_catalog.is_index(", span, ")")


def _subscripts(tokens: Tokens, target: Node) -> list[Span]:
    index = tokens.index_at(target.location) + 1
    found = []
    while tokens.name(index) == OPEN_BRACKET:
        close = tokens.matching_close(index)
        found.append(Span(tokens.items[index + 1].start, tokens.items[close - 1].end))
        index = close + 1
    if len(found) != len(target.indirection):
        raise FeatureNotSupported(
            f'cannot assign to a field of an element of "{target.name}"',
            hint="Assign the whole column.",
        )
    return found


def _bounds(tokens: Tokens, span: Span) -> tuple[Span, Span]:
    index = tokens.find_top(tokens.index_at(span.start), frozenset({"ASCII_58"}), span.end)
    return (
        Span(span.start, tokens.items[index - 1].end),
        Span(tokens.items[index + 1].start, span.end),
    )


def raw_name(column: Column) -> str:
    """The name by which the whole view shows a stored or lensed column for writing."""
    if written_raw(column):
        return quote_ident(raw_residue(column))
    assert isinstance(column.source, Stored)
    return quote_ident(column.source.column if column.source.converts(column.type) else column.name)
