"""Documents on their way into the store: the staging table, its rows as binary COPY, and the SQL
that moves them from there.

A staged row holds the document as jsonb and, in `phys`, what JSON has no form for: the top-level
fields of such values as PostgreSQL's input text. Inside of sub-documents such values are written in
the one form that `catalog/readers.py` reads (`{"$date": "…"}`, `{"$uuid": "…"}`, the text "NaN").

The binary format is that of COPY (PostgreSQL manual, COPY, "Binary Format").
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Final

from backends.embedded.layout import physical, store_table
from backends.files.json_text import to_json
from backends.files.records import RawDocument
from catalog.inference.kinds import Kind, Typed, number_text
from catalog.model import Column, Table
from catalog.sqltext import quote_ident, quote_literal, text_array

STAGING: Final = "pg_temp.morph_load"
STAGING_COLUMNS: Final = ("ordinal", "source", "line", "doc", "phys")

_ROW: Final = struct.Struct(">hiqiiiqib")
_LENGTH: Final = struct.Struct(">ib")
_NO_PHYS: Final = struct.pack(">i", -1)
PAIRS_MAX: Final = 40  # of one jsonb_build_object; PostgreSQL allows 100 arguments
_JSONB_VERSION: Final = 1
_NUMBERS: Final = frozenset({Kind.FLOAT_SPECIAL, Kind.DECIMAL_SPECIAL})


def staging_statements(role: str) -> list[str]:
    """Make the staging table, for `role` to read; it ends with the transaction."""
    return [
        f"CREATE TEMP TABLE {STAGING.removeprefix('pg_temp.')} (ordinal bigint, source int, "
        "line bigint, doc jsonb, phys jsonb) ON COMMIT DROP",
        # Rows live here for a moment only: compressing long documents would be work twice.
        f"ALTER TABLE {STAGING} ALTER doc SET STORAGE EXTERNAL",
        f"GRANT SELECT, UPDATE, DELETE ON {STAGING} TO {role}",
    ]


def encode_rows(
    documents: Iterable[RawDocument],
    source: int,
    *,
    foreign: bool,
    readable: bool = False,
    line_offset: int = 0,
) -> bytes:
    """Documents as rows of a binary COPY into the staging table.

    `foreign` says that the texts do not show by `"$` which of them hold special values. `readable`:
    top-level values will be read from the document too, so they get the readers' form as well.
    `line_offset` is added to line numbers.
    """
    parts: list[bytes] = []
    for ordinal, line, text, value in documents:
        special = None
        if foreign or '"$' in text:
            text, special = _specials(text, value, foreign=foreign, readable=readable)
        data = text.encode()
        parts.append(
            _ROW.pack(
                5, 8, ordinal, 4, source, 8, line + line_offset, len(data) + 1, _JSONB_VERSION
            )
        )
        parts.append(data)
        if special is None:
            parts.append(_NO_PHYS)
        else:
            data = special.encode()
            parts.append(_LENGTH.pack(len(data) + 1, _JSONB_VERSION))
            parts.append(data)
    return b"".join(parts)


def _specials(
    text: str, value: dict[str, Any], *, foreign: bool, readable: bool
) -> tuple[str, str | None]:
    """The text as the store keeps it, and the JSON of the top-level special values."""
    fields: list[str] = []
    found = 0
    for key, item in value.items():
        kind = type(item)
        if kind is Typed:
            found += 1
            if item.pg:
                fields.append(f"{encode_basestring(key)}:{encode_basestring(item.pg)}")
        elif kind is list and item and any(type(x) is Typed for x in item):
            fields.append(f"{encode_basestring(key)}:{_texts(item)}")
    if foreign or readable or text.count('"$') > found:
        nested = {k: v for k, v in value.items() if readable or type(v) in (dict, list)}
        if any(map(_unreadable, nested.values())):
            text = _readable_document(value, nested)
    return text, f"{{{','.join(fields)}}}" if fields else None


def _texts(items: list[Any]) -> str:
    """An array of special values (plain numbers may be among them) as an array of texts."""
    texts = []
    for item in items:
        if item is None:
            texts.append("null")
        elif type(item) is Typed:
            texts.append(encode_basestring(item.pg))
        elif type(item) is Decimal:
            texts.append(f'"{number_text(item)}"')
        else:
            texts.append(f'"{item!r}"' if type(item) in (int, float) else "null")
    return f"[{','.join(texts)}]"


def _unreadable(value: Any) -> bool:
    """True if a special value is somewhere inside in a form that no reader knows."""
    if type(value) is Typed:
        return _reading_form(value) is not None
    if type(value) is dict:
        return any(map(_unreadable, value.values()))
    return type(value) is list and any(map(_unreadable, value))


def _reading_form(value: Typed) -> str | None:
    """The JSON text that readers know, None if the value has it already."""
    kind, pg, json = value
    if kind is Kind.TIMESTAMPTZ and not json.startswith('{"$date":"'):
        return f'{{"$date":"{_iso(pg)}"}}'
    if kind is Kind.UUID and not json.startswith('{"$uuid"'):
        return f'{{"$uuid":"{pg}"}}'
    if kind is Kind.BYTES and not json.startswith('{"$binary":{"base64"'):
        encoded = base64.b64encode(bytes.fromhex(pg.removeprefix("\\x"))).decode()
        return f'{{"$binary":{{"base64":"{encoded}","subType":"00"}}}}'
    return f'"{pg}"' if kind in _NUMBERS else None


def _iso(pg: str) -> str:
    """An instant of PostgreSQL's form in UTC as Extended JSON has it, if it can have it."""
    if pg[4] == "-" and pg.endswith("+00"):
        return f"{pg[:10]}T{pg[11:-3]}Z"
    return pg


def _readable_document(value: dict[str, Any], nested: dict[str, Any]) -> str:
    """The document's text with every nested special value in its readable form."""
    return to_json({**value, **{key: _readable(item) for key, item in nested.items()}})


def _readable(value: Any) -> Any:
    if type(value) is Typed:
        json = _reading_form(value)
        return value if json is None else Typed(value.kind, value.pg, json)
    if type(value) is dict:
        return {key: _readable(item) for key, item in value.items()}
    return [_readable(item) for item in value] if type(value) is list else value


def staged_value(key: str, pg_type: str) -> str:
    """The typed value of a top-level field of a staged row (alias s)."""
    name = quote_literal(key)
    if pg_type == "jsonb":
        return f"NULLIF(s.doc->{name}, 'null'::jsonb)"
    if pg_type.endswith("[]"):
        value = f"coalesce(s.phys->{name}, s.doc->{name})"
        elements = (
            f"SELECT x::{pg_type.removesuffix('[]')} "
            f"FROM pg_catalog.jsonb_array_elements_text({value}) x"
        )
        return f"CASE WHEN pg_catalog.jsonb_typeof({value}) = 'array' THEN ARRAY({elements}) END"
    return f"coalesce(s.phys->>{name}, s.doc->>{name})::{pg_type}"


def staged_columns(table: Table) -> Sequence[tuple[Column, str, str]]:
    """Of every column that staged rows fill: the column, its store column, and the document's key.

    A generated key is not among them.
    """
    return [(c, s.column, s.field) for c, s in physical(table) if s.field]


def fields_expression(fields: Mapping[str, str]) -> str:
    """` || …` that sets fields of a document to SQL values."""
    parts = []
    items = sorted(fields.items())
    for start in range(0, len(items), PAIRS_MAX):
        pairs = ", ".join(
            f"{quote_literal(key)}, {sql}" for key, sql in items[start : start + PAIRS_MAX]
        )
        parts.append(f" || pg_catalog.jsonb_build_object({pairs})")
    return "".join(parts)


def cell_fields(cells: Mapping[str, str]) -> dict[str, str]:
    """CSV fields, given with the types that their cells are text of, as JSON values."""
    return {key: staged_value(key, pg_type) for key, pg_type in cells.items()}


def readable_field(key: str, pg_type: str) -> str:
    """A special value (all of the column are) in the form that readers of documents know."""
    text = f"s.phys->>{quote_literal(key)}"
    plain = f"s.doc->{quote_literal(key)}"
    form = {
        "timestamp with time zone": f"pg_catalog.jsonb_build_object('$date', {text})",
        "uuid": f"pg_catalog.jsonb_build_object('$uuid', {text})",
        "bytea": (
            "pg_catalog.jsonb_build_object('$binary', pg_catalog.jsonb_build_object('base64', "
            f"pg_catalog.encode(({text})::bytea, 'base64'), 'subType', '00'))"
        ),
    }.get(pg_type, f"pg_catalog.to_jsonb({text})")
    return f"CASE WHEN {text} IS NULL THEN {plain} ELSE {form} END"


def fill_statement(
    table: Table, nullable: frozenset[str] = frozenset(), fields: Mapping[str, str] | None = None
) -> str:
    """Move all staged rows into the new store table. `nullable` fields keep their JSON nulls in the
    document, `fields` are to be set to SQL values there.
    """
    filled = staged_columns(table)
    names = [quote_ident(store) for _, store, _ in filled]
    values = [staged_value(key, column.type) for column, _, key in filled]
    rest = "s.doc"
    if filled:
        rest = f"s.doc - {text_array(tuple(key for _, _, key in filled))}"
    for key in sorted(nullable):
        name = quote_literal(key)
        rest += (
            f" || CASE WHEN s.doc->{name} = 'null'::jsonb "
            f"THEN pg_catalog.jsonb_build_object({name}, NULL) ELSE '{{}}'::jsonb END"
        )
    physical_keys = {key for _, _, key in filled}
    rest += fields_expression({k: v for k, v in (fields or {}).items() if k not in physical_keys})
    return (
        f"INSERT INTO {store_table(table)} ({', '.join([*names, '_doc'])}) "
        f"SELECT {', '.join([*values, rest])} FROM {STAGING} s"
    )


def cells_statement(cells: Mapping[str, str]) -> str:
    """Make JSON values of the cells of new columns, in the staging table."""
    return f"UPDATE {STAGING} s SET doc = s.doc{fields_expression(cell_fields(cells))}"
