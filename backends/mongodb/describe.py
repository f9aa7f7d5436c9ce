"""What a collection looks like as a table: inference over its documents (docs/types.md).

Pure: decoded documents in, a Description out. The walk hands inference its own carriers and counts
beside it which BSON types each path had, for `Native.store_type`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from backends.base import Description, ObservedField, ObservedTable
from backends.mongodb.decode import bson_name, instant_text
from backends.mongodb.documents import NotJson, decimal_text, double_text, json_text, milliseconds
from backends.mongodb.types import INSTANT_MS_MAX, INSTANT_MS_MIN
from catalog.inference.infer import InferredChild, InferredColumn, infer_table
from catalog.inference.kinds import Kind, Typed
from catalog.inference.kinds import ObjectId as ObjectIdText
from catalog.inference.statistics import Observer
from catalog.model import Column, Native, Ordinality, ParentKey

Path = tuple[str, ...]
KEY: Final = "_id"
MILLISECONDS: Final = "timestamp(3) with time zone"
"""BSON's dates have milliseconds; PostgreSQL then rounds what is assigned, by its own rule."""
NEW_OBJECT_ID: Final = (
    "(pg_catalog.lpad(pg_catalog.to_hex((pg_catalog.floor(EXTRACT(epoch FROM "
    "pg_catalog.clock_timestamp())))::bigint), 8, '0'::text) OPERATOR(pg_catalog.||) "
    "pg_catalog.substr(pg_catalog.replace((pg_catalog.gen_random_uuid())::text, '-'::text, "
    "''::text), 1, 16))"
)
"""The default of a key of ObjectIds: four bytes of the clock and eight random ones, in hex."""
_OBJECT_ID: Final = "objectId"
_DEPTH_MAX: Final = 5
ELEMENT: Final = "[]"
"""Stands for the elements of an array in the paths of `SampleReader.types`."""


class SampleReader:
    """Counts documents, one after the other."""

    def __init__(self) -> None:
        self.observer = Observer()
        self.types: dict[Path, Counter[str]] = {}
        self._count = 0

    def add(self, document: Mapping[str, Any]) -> None:
        """Count one document."""
        self.observer.observe(self._fields(document, ()), self._count)
        self._count += 1

    @property
    def documents(self) -> int:
        """How many were counted."""
        return self._count

    def _fields(self, document: Mapping[str, Any], path: Path) -> dict[str, Any]:
        return {key: self._value(value, (*path, key)) for key, value in document.items()}

    def _value(self, value: Any, path: Path) -> Any:
        if isinstance(value, DBRef):
            value = dict(value.as_doc())
        if len(path) <= _DEPTH_MAX + 2 and value is not None:
            self.types.setdefault(path, Counter())[bson_name(value)] += 1
        if isinstance(value, Mapping):
            return self._fields(value, path)
        if isinstance(value, list):
            return [self._value(each, (*path, ELEMENT)) for each in value]
        return carrier(value)

    def store_type(self, path: Path) -> str:
        """The BSON types of a path, the most frequent first."""
        return "|".join(name for name, _ in self.types.get(path, Counter()).most_common())


def carrier(value: Any) -> Any:
    """A scalar as inference takes it."""
    kind = type(value)
    if kind in (type(None), bool, str, int):
        return value
    if kind is Int64:
        return int(value)
    if kind is ObjectId:
        return ObjectIdText(value)
    if kind is float:
        if math.isfinite(value) and (value or math.copysign(1, value) > 0):
            return value
        return Typed(Kind.FLOAT_SPECIAL, double_text(value), _json(value))
    if kind is Decimal128:
        text = decimal_text(value)
        if text[-1].isdigit():
            return Decimal(text)
        return Typed(Kind.DECIMAL_SPECIAL, text, _json(value))
    return _typed(value)


def _typed(value: Any) -> Typed:
    if isinstance(value, dt.datetime | DatetimeMS):
        ms = milliseconds(value)
        if INSTANT_MS_MIN <= ms <= INSTANT_MS_MAX:
            return Typed(Kind.TIMESTAMPTZ, instant_text(ms * 1_000), _json(value))
    elif isinstance(value, Binary) and value.subtype in (3, 4) and len(value) == 16:
        return Typed(Kind.UUID, value.hex(), _json(value))
    elif isinstance(value, bytes):
        return Typed(Kind.BYTES, f"\\x{value.hex()}", _json(value))
    return Typed(Kind.EXTENDED, "", _json(value))


def _json(value: Any) -> str:
    try:
        return json_text(value)
    except NotJson:
        return "null"


def describe(name: str, reader: SampleReader, rows_total: int, *, complete: bool) -> Description:
    """The table of the documents counted so far; `complete` says that they are all."""
    inferred = infer_table(name, reader.observer.stats)
    columns = [
        _column(number, item, (), reader, clean=complete)
        for number, item in enumerate(inferred.columns, 1)
    ]
    if not columns:
        source = Native((KEY,), _OBJECT_ID)
        columns = [Column(1, KEY, "text", source, not_null=True, default=NEW_OBJECT_ID)]
    key = next(c.id for c in columns if isinstance(c.source, Native) and c.source.path == (KEY,))
    children = tuple(
        (
            child.name.removeprefix(f"{inferred.name}_"),
            _child(child, columns[key - 1], reader),
            child.path,
        )
        for child in inferred.children
    )
    comment = "; ".join(f"{e.column or name}: {e.message}" for e in inferred.events) or None
    observed = ObservedTable(reader.documents, rows_total, _observed(reader))
    return Description(tuple(columns), (key,), comment, children, observed, has_doc=True)


def _column(
    number: int, item: InferredColumn, base: Path, reader: SampleReader, *, clean: bool
) -> Column:
    store_type = reader.store_type((*base, *item.path))
    source = Native(item.path, store_type, clean)
    pg_type = MILLISECONDS if item.pg_type == "timestamp with time zone" else item.pg_type
    if base or item.path != (KEY,):
        return Column(number, item.name, pg_type, source)
    default = NEW_OBJECT_ID if store_type == _OBJECT_ID else None
    return Column(number, item.name, pg_type, source, not_null=True, default=default)


def _child(child: InferredChild, key: Column, reader: SampleReader) -> Description:
    base = (*child.path, ELEMENT)
    columns = [
        Column(1, child.parent_key, key.type, ParentKey(key.id), not_null=True),
        Column(2, child.ordinality, "bigint", Ordinality(), not_null=True),
    ]
    for number, item in enumerate(child.columns, 3):
        columns.append(_column(number, item, base, reader, clean=False))
    return Description(tuple(columns), (1, 2))


def _observed(reader: SampleReader) -> tuple[ObservedField, ...]:
    return tuple(
        ObservedField(path, sum(types.values()), dict(types))
        for path, types in sorted(reader.types.items())
        if ELEMENT not in path
    )
