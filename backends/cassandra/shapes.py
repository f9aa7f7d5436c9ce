"""Whole CQL types as result metadata gives them: collections, tuples, user types and vectors.

A Shape is made once for each type of the driver. It says how the parser reads a column cheaply
(`raw`), how a column of raw values becomes Arrow (an array, or jsonb text), and how plain values
become stored bytes. The rules of the mapping are those of `types.py`.

In jsonb: a map is an object, its keys as text; a user type is an object, a tuple an array; blobs,
uuids, addresses, instants, dates, times and durations are strings as PostgreSQL prints them; NaN
and infinity are strings; varint and decimal are numbers with all their digits.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from cassandra import cqltypes
from cassandra.marshal import uvint_pack

from backends.cassandra.scalars import SCALARS, Column, Raw, Scalar, Unfit, column_of_texts
from core.errors import InvalidParameterValue

PROTOCOL: Final = 5
"""Collections inside values are written the same way since protocol 3."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One type: `name` is a scalar's, list, set, vector, map, tuple, udt or custom.

    `fields` are the names of a user type's fields. `raw` is what the parser reads it by.
    """

    name: str
    raw: Any
    args: tuple[Shape, ...] = ()
    fields: tuple[str, ...] = ()
    size: int = 0

    @property
    def scalar(self) -> Scalar | None:
        """The codec of a scalar."""
        return SCALARS.get(self.name)

    @property
    def is_array(self) -> bool:
        """PostgreSQL's array: a list, set or vector of scalars."""
        return self.name in ("list", "set", "vector") and self.args[0].scalar is not None


def shape_of(driver_type: Any) -> Shape:
    """The shape of a type of the driver, as result and bind metadata name it."""
    name = "text" if driver_type.typename == "varchar" else driver_type.typename
    subtypes = tuple(getattr(driver_type, "subtypes", ()) or ())
    if name == "frozen":
        return shape_of(subtypes[0])
    if issubclass(driver_type, cqltypes.VectorType):
        return _vector(driver_type)
    if issubclass(driver_type, cqltypes.UserType):
        fields = tuple(shape_of(each) for each in subtypes)
        return Shape("udt", _tuple_of(fields), fields, tuple(driver_type.fieldnames))
    if name in ("list", "set"):
        element = shape_of(subtypes[0])
        return Shape(name, cqltypes.ListType.apply_parameters([element.raw]), (element,))
    if name == "map":
        key, value = (shape_of(each) for each in subtypes)
        return Shape(name, cqltypes.MapType.apply_parameters([key.raw, value.raw]), (key, value))
    if name == "tuple":
        fields = tuple(shape_of(each) for each in subtypes)
        return Shape(name, _tuple_of(fields), fields)
    scalar = SCALARS.get(name)
    if scalar is None:
        return Shape("custom", cqltypes.BytesType)
    return Shape(name, scalar.raw)


def _tuple_of(fields: Sequence[Shape]) -> Any:
    return cqltypes.TupleType.apply_parameters([each.raw for each in fields])


def _vector(driver_type: Any) -> Shape:
    element = shape_of(driver_type.subtype)
    # Uuids are read as bytes, which have no fixed size; a fixed element must keep its own.
    fixed = driver_type.subtype.serial_size() is not None and element.raw.serial_size() is None
    raw_element = _sized_bytes(driver_type.subtype.serial_size()) if fixed else element.raw
    params = {"vector_size": driver_type.vector_size, "subtype": raw_element}
    raw = type("_RawVector", (cqltypes.VectorType,), params)
    return Shape("vector", raw, (element,), size=driver_type.vector_size)


def _sized_bytes(size: int) -> Any:
    return type("_SizedBytes", (cqltypes.BytesType,), {"serial_size": classmethod(lambda _: size)})


# Out: raw values → Arrow


def finish(shape: Shape, values: Sequence[Raw]) -> Column:
    """A column of raw values as Arrow."""
    if shape.scalar is not None:
        return shape.scalar.column(values)
    if shape.is_array:
        return _array_column(shape, values)
    if shape.name == "custom":
        return Column(pa.array(values, pa.binary()))
    show = json_writer(shape)
    return column_of_texts(values, show)


def _array_column(shape: Shape, values: Sequence[Raw]) -> Column:
    element = shape.args[0].scalar
    assert element is not None
    offsets, flat, at = [0], [], 0
    for value in values:
        if value is not None:
            flat.extend(value)
            at = len(flat)
        offsets.append(at)
    column = element.column(flat)
    if column.lost:
        return _without_lost(shape, values, column)
    nulls = pa.array([value is None for value in values], pa.bool_())
    ends = pa.array(offsets, pa.int32())
    return Column(pa.ListArray.from_arrays(ends, column.values, mask=nulls))


def _without_lost(shape: Shape, values: Sequence[Raw], column: Column) -> Column:
    """The same with NULL for each array in which an element was lost."""
    valid, at, lost = column.values.is_valid().to_pylist(), 0, 0
    kept: list[Raw] = []
    for value in values:
        if value is None:
            kept.append(None)
            continue
        fits = all(valid[at + i] or value[i] is None for i in range(len(value)))
        at += len(value)
        lost += not fits
        kept.append(value if fits else None)
    return Column(_array_column(shape, kept).values, lost, column.example)


def json_writer(shape: Shape) -> Callable[[Raw], str]:
    """The function from a raw value (not None) to its JSON text; it raises Unfit."""
    if shape.scalar is not None:
        return shape.scalar.json
    if shape.name == "custom":
        return lambda raw: f'"\\\\x{raw.hex()}"'
    parts = [json_writer(each) for each in shape.args]
    if shape.name in ("list", "set", "vector"):
        return lambda raw: f"[{', '.join(_shown(parts[0], each) for each in raw)}]"
    if shape.name == "map":
        key = _key_writer(shape.args[0])
        return lambda raw: _object((key(k), _shown(parts[1], v)) for k, v in raw.items())
    if shape.name == "tuple":
        return lambda raw: f"[{', '.join(map(_shown, parts, raw))}]"
    names = [json.dumps(name, ensure_ascii=False) for name in shape.fields]
    return lambda raw: _object(zip(names, map(_shown, parts, raw), strict=True))


def _object(pairs: Any) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"


def _shown(write: Callable[[Raw], str], value: Raw) -> str:
    return "null" if value is None else write(value)


def _key_writer(shape: Shape) -> Callable[[Raw], str]:
    """A key of an object: the string itself, or the JSON text of another value in a string."""
    write = json_writer(shape)

    def key(raw: Raw) -> str:
        shown = write(raw)
        return shown if shown.startswith('"') else json.dumps(shown, ensure_ascii=False)

    return key


# In: plain values → stored bytes


def pack(shape: Shape, value: Any) -> bytes:
    """The stored bytes of a plain value: scalars as `scalars.py` says, list for list, set and
    vector, list of pairs for a map, list with None for a tuple or user type.
    """
    if shape.scalar is not None:
        return shape.scalar.pack(value)
    if shape.name == "custom":
        return bytes(value)
    if shape.name in ("list", "set"):
        return _counted(len(value), (pack(shape.args[0], _present(each)) for each in value))
    if shape.name == "map":
        key, item = shape.args
        flat = (part for k, v in value for part in (pack(key, k), pack(item, _present(v))))
        return _counted(len(value), flat)
    if shape.name == "vector":
        return _pack_vector(shape, value)
    parts = (
        b"\xff\xff\xff\xff" if each is None else _sized(pack(field, each))
        for field, each in zip(shape.args, value, strict=False)
    )
    return b"".join(parts)


def _present(value: Any) -> Any:
    if value is None:
        raise InvalidParameterValue("a collection of Cassandra cannot have NULL in it")
    return value


def _sized(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _counted(count: int, parts: Any) -> bytes:
    return struct.pack(">i", count) + b"".join(_sized(part) for part in parts)


def _pack_vector(shape: Shape, value: Sequence[Any]) -> bytes:
    if len(value) != shape.size:
        raise InvalidParameterValue(
            f"a vector of {shape.size} dimensions cannot hold {len(value)} elements"
        )
    parts = [pack(shape.args[0], _present(each)) for each in value]
    if shape.raw.subtype.serial_size() is not None:
        return b"".join(parts)
    return b"".join(uvint_pack(len(part)) + part for part in parts)


__all__ = ["Column", "Shape", "Unfit", "finish", "json_writer", "pack", "shape_of"]
