"""The type table of the embedded store: PostgreSQL's types as documents and Arrow carry them.

A document is jsonb, so a value lies in it as one of JSON's forms, or as Extended JSON for the types
JSON has no form for (`catalog/readers.py` reads them back). Arrow carries exactly what it can hold
exactly: numeric, dates and times go as PostgreSQL's text (unbounded scale, infinity, years beyond
Arrow's range). A type that is not listed is carried as text and never compared in a scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

from core.expr import base_type

JsonForm = Literal["boolean", "number", "string", "extended", "any"]


@dataclass(frozen=True, slots=True)
class EmbeddedType:
    """One type: `name` as format_type() prints it, `internal` as pg_catalog names it."""

    name: str
    internal: str
    json: JsonForm
    arrow: pa.DataType


TYPES: Final[tuple[EmbeddedType, ...]] = (
    EmbeddedType("boolean", "bool", "boolean", pa.bool_()),
    EmbeddedType("smallint", "int2", "number", pa.int16()),
    EmbeddedType("integer", "int4", "number", pa.int32()),
    EmbeddedType("bigint", "int8", "number", pa.int64()),
    EmbeddedType("numeric", "numeric", "number", pa.string()),
    EmbeddedType("real", "float4", "number", pa.float32()),
    EmbeddedType("double precision", "float8", "number", pa.float64()),
    EmbeddedType("text", "text", "string", pa.string()),
    EmbeddedType("character varying", "varchar", "string", pa.string()),
    EmbeddedType("bpchar", "bpchar", "string", pa.string()),
    EmbeddedType("date", "date", "string", pa.string()),
    EmbeddedType("timestamp without time zone", "timestamp", "string", pa.string()),
    EmbeddedType("timestamp with time zone", "timestamptz", "extended", pa.string()),
    EmbeddedType("time without time zone", "time", "string", pa.string()),
    EmbeddedType("time with time zone", "timetz", "string", pa.string()),
    EmbeddedType("interval", "interval", "string", pa.string()),
    EmbeddedType("uuid", "uuid", "extended", pa.string()),
    EmbeddedType("bytea", "bytea", "extended", pa.binary()),
    EmbeddedType("jsonb", "jsonb", "any", pa.string()),
)

_BY_NAME: Final = {each.name: each for each in TYPES}


def type_row(type_name: str) -> EmbeddedType | None:
    """The row of a type, modifiers left out; None for a type that is not listed."""
    return _BY_NAME.get(base_type(type_name))


def type_sql(type_name: str) -> str | None:
    """The type as SQL that means the same under every search_path; None when not listed.

    >>> type_sql("numeric(10,2)")
    'pg_catalog.numeric(10,2)'
    """
    dimensions = "[]" if type_name.endswith("[]") else ""
    element = type_name.removesuffix("[]")
    row = type_row(element)
    if row is None:
        return None
    start = element.find("(")
    modifier = "" if start < 0 else element[start : element.index(")") + 1]
    if element.startswith("interval") and element != "interval":
        return None
    internal = "bpchar" if row.name == "bpchar" else row.internal
    if element == "character":
        modifier = "(1)"
    return f"pg_catalog.{internal}{modifier}{dimensions}"
