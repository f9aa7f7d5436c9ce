"""How a column is read: SQL over the row of the store's table (or of a parent and its element).

A clean document column uses the plain extraction, the one a PostgreSQL user would write (and which
an expression index matches). A column for which a misfit was recorded uses a guarded form that
gives NULL for what does not fit: the event was recorded when the value was written (DESIGN 7.8).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from catalog.model import (
    Column,
    DocPath,
    Element,
    Lens,
    Lensed,
    Ordinality,
    ParentKey,
    Seed,
    Stored,
    Table,
)
from catalog.sqltext import quote_ident, quote_literal, text_array

ROW = "t"
ELEMENT = "e"
RAW_DOC = "_store_doc"
RAW_WROTE: Final = "_store_wrote"
"""`_w` in the whole view: what a write says of the lensed columns that it assigns."""
MARKS: Final = "_r"
"""The column of a store table with the ids of the columns whose residue counts in this row."""
_PLACEHOLDER: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
_PAIRS_MAX = 50
"""A function takes 100 arguments."""

_INT_RANGES = {
    "smallint": ("-32768", "32767"),
    "integer": ("-2147483648", "2147483647"),
    "bigint": ("-9223372036854775808", "9223372036854775807"),
}


def json_at(base: str, path: tuple[str, ...]) -> str:
    """The jsonb value at a path below `base`."""
    return base + "".join(f"->{quote_literal(key)}" for key in path)


def text_at(base: str, path: tuple[str, ...]) -> str:
    """The text of the value at a path below `base`; the whole of `base` for ()."""
    if not path:
        return f"{base} #>> '{{}}'"
    return json_at(base, path[:-1]) + f"->>{quote_literal(path[-1])}"


def _array(base: str, path: tuple[str, ...], element_type: str) -> str:
    value = json_at(base, path)
    if element_type == "text":
        elements = f"SELECT pg_catalog.jsonb_array_elements_text({value})"
    elif element_type == "jsonb":
        elements = f"SELECT pg_catalog.jsonb_array_elements({value})"
    else:
        elements = (
            f"SELECT (x #>> '{{}}')::{element_type} FROM pg_catalog.jsonb_array_elements({value}) x"
        )
    return f"CASE WHEN pg_catalog.jsonb_typeof({value}) = 'array' THEN ARRAY({elements}) END"


def _extended(base: str, path: tuple[str, ...], sql_type: str) -> str:
    """Types JSON has no form for, kept as Extended JSON inside the document."""
    key = {"timestamp with time zone": "$date", "bytea": "$binary", "uuid": "$uuid"}[sql_type]
    inner = text_at(base, (*path, key))
    if sql_type == "bytea":
        return f"pg_catalog.decode({text_at(base, (*path, '$binary', 'base64'))}, 'base64')"
    return f"({inner})::{sql_type}"


def extract(base: str, path: tuple[str, ...], sql_type: str, *, clean: bool) -> str:
    """The typed value at a path of a jsonb expression."""
    value = json_at(base, path)
    text = text_at(base, path)
    if sql_type == "jsonb":
        return f"NULLIF({value}, 'null'::jsonb)"
    if sql_type.endswith("[]"):
        return _array(base, path, sql_type[:-2])
    if sql_type in ("timestamp with time zone", "bytea", "uuid"):
        return _extended(base, path, sql_type)
    if sql_type == "text":
        if clean:
            return f"({text})"
        return f"CASE WHEN pg_catalog.jsonb_typeof({value}) = 'string' THEN {text} END"
    if clean:
        return f"({text})::{sql_type}"
    return _guarded(value, text, sql_type)


def _guarded(value: str, text: str, sql_type: str) -> str:
    if sql_type == "boolean":
        return f"CASE WHEN pg_catalog.jsonb_typeof({value}) = 'boolean' THEN ({text})::boolean END"
    condition = f"pg_catalog.jsonb_typeof({value}) = 'number'"
    if sql_type in _INT_RANGES:
        low, high = _INT_RANGES[sql_type]
        number = f"({text})::numeric"
        return (
            f"CASE WHEN {condition} THEN CASE WHEN {number} BETWEEN {low} AND {high} "
            f"AND pg_catalog.trunc({number}) = {number} THEN ({number})::{sql_type} END END"
        )
    # NaN and the infinities stand as strings in a document, as to_jsonb() writes them.
    condition += f" OR {text} IN ('NaN', 'Infinity', '-Infinity')"
    return f"CASE WHEN {condition} THEN ({text})::{sql_type} END"


def fill(expression: str, values: Sequence[str]) -> str:
    """An expression of a lens with `"$1"`, `"$2"` … replaced by SQL expressions."""

    def put(match: re.Match[str]) -> str:
        text = match.group()
        return f"({values[int(text[2:-1]) - 1]})" if text.startswith('"$') else text

    return _PLACEHOLDER.sub(put, expression)


def part_condition(table: Table, *, row: str = f"{ROW}.") -> str:
    """What holds for the rows of the store that a table shows, "" for all of them."""
    part = table.part
    if part is None or not part.condition:
        return ""
    return fill(part.condition, [f"{row}{quote_ident(name)}" for name in part.columns])


def read_column(
    table: Table, column: Column, parent: Table | None = None, *, row: str = f"{ROW}."
) -> str:
    """SQL that reads the column; aliases: t = the store's row, e = the array element.

    `row` is what stands before the store's columns: "t.", "NEW.", or "" for none. Seeds are not
    read here: their expression is over other columns, see `shapes.seed_sql`.
    """
    source = column.source
    if isinstance(source, Stored):
        plain = f"{row}{quote_ident(source.column)}"
        return f"{plain}::{column.type}" if source.converts(column.type) else plain
    if isinstance(source, Lensed):
        lens = table.lens(source.lens)
        value = read_over(table.lenses, lens, column.id, row=row)
        converts = lens.over[lens.over_column(column.id)].type != column.type and not source.plain
        return f"({value})::{column.type}" if converts else value
    if isinstance(source, DocPath):
        return extract(f"{row}_doc", source.path, column.type, clean=source.clean)
    if isinstance(source, Element):
        return extract(f"{ELEMENT}.value", source.path, column.type, clean=source.clean)
    if isinstance(source, Ordinality):
        return f"{ELEMENT}.ordinality"
    if isinstance(source, ParentKey):
        assert parent is not None
        key = parent.column_by_id(source.column_id)
        assert key is not None
        return read_column(parent, key, row=row)
    assert not isinstance(source, Seed), "a seed is read by shapes.seed_sql"
    raise AssertionError(table.name)


def read_under(lenses: Sequence[Lens], lens: Lens, position: int, *, row: str = f"{ROW}.") -> str:
    """SQL that reads an under column of a lens; `lenses` has the lenses below it."""
    column = lens.under[position]
    source = column.source
    if isinstance(source, Lensed):
        below = next(each for each in lenses if each.id == source.lens)
        return read_over(lenses, below, column.id, row=row)
    if isinstance(source, Stored):
        return f"{row}{quote_ident(source.column)}"
    assert isinstance(source, DocPath)
    return extract(f"{row}_doc", source.path, column.type, clean=source.clean)


def read_over(lenses: Sequence[Lens], lens: Lens, column_id: int, *, row: str = f"{ROW}.") -> str:
    """SQL of an over column: the residue where the row is marked, else `up` of what is below.

    The mark and not COALESCE decides, because NULL is a value that a residue may have.
    """
    position = lens.over_column(column_id)
    below = [read_under(lenses, lens, n, row=row) for n in range(len(lens.under))]
    kept = f"{row}{quote_ident(residue(lens, position))}"
    other = fill(lens.up[position], below)
    value = f"CASE WHEN {column_id} = ANY({row}{MARKS}) THEN {kept} ELSE {other} END"
    sql_type = lens.over[position].type
    # The type's length is said, because CASE forgets it when one of its arms has none.
    return f"({value})::{sql_type}" if "(" in sql_type else value


def written_raw(column: Column) -> bool:
    """True when writes to the column are in the form for lensed columns."""
    source = column.source
    return isinstance(source, Lensed) or (isinstance(source, Stored) and source.raw)


def raw_residue(column: Column) -> str:
    """The name by which the whole view shows what writes to a lensed column assign, its residue;
    or the column itself where it is the store's own at the time.
    """
    return f"_store_c{column.id}"


def residue(lens: Lens, position: int) -> str:
    """The store's column that keeps what the lens cannot give back of an over column."""
    source = lens.over[position].source
    assert isinstance(source, Stored)
    return source.column


def field_of(column: Column) -> str:
    """The top-level key under which a physical column appears in the document."""
    source = column.source
    return source.field or column.name if isinstance(source, Stored | Lensed) else column.name


def as_field(value: str, sql_type: str) -> str:
    """A value as it stands in the document: the form that `extract` reads."""
    if sql_type in ("timestamp with time zone", "bytea", "uuid"):
        return f"morph_catalog.extended_json({value})"
    return value


def _hidden(table: Table) -> list[str]:
    """Fields of the stored document that lensed columns show in another form."""
    fields = set()
    pending = [c.source for c in table.columns if isinstance(c.source, Lensed)]
    while pending:
        lens = table.lens(pending.pop().lens)
        for column in lens.under:
            if isinstance(column.source, DocPath):
                fields.add(column.source.path[0])
            elif isinstance(column.source, Lensed):
                pending.append(column.source)
    return sorted(fields)


def whole_document(table: Table) -> str:
    """The document as clients see it: the stored rest plus the fields kept in physical columns."""
    physical = [c for c in table.columns if isinstance(c.source, Stored | Lensed)]
    hidden = tuple(_hidden(table))
    stored = f"({ROW}._doc - {text_array(hidden)})" if hidden else f"{ROW}._doc"
    if not physical:
        return stored
    objects = []
    for first in range(0, len(physical), _PAIRS_MAX):
        part = physical[first : first + _PAIRS_MAX]
        pairs = ", ".join(
            f"{quote_literal(field_of(c))}, {as_field(read_column(table, c), c.type)}" for c in part
        )
        objects.append(f"pg_catalog.jsonb_build_object({pairs})")
    return f"{stored} || pg_catalog.jsonb_strip_nulls({' || '.join(objects)})"
