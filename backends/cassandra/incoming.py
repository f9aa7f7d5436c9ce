"""Columns of the private PostgreSQL → plain values that CQL stores (the way in; see scalars.py).

Nothing is rounded or cut: an instant with microseconds, a time of 24:00:00, an infinite date or a
numeric NaN is an error with PostgreSQL's SQLSTATE. (A timestamp column is described as
timestamp(3), so PostgreSQL itself rounds what a statement computes.)
"""

from __future__ import annotations

import ipaddress
import json
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from backends.cassandra.decoding import natural_type
from backends.cassandra.shapes import Shape
from core.encoding.family import encode_whole, from_text_carrier, is_text, to_text_carrier
from core.errors import DatetimeFieldOverflow, InvalidParameterValue, NumericValueOutOfRange
from core.types import PgType

_INTEGERS: Final = frozenset(("tinyint", "smallint", "int", "bigint", "counter"))
_INTERVAL: Final = struct.Struct(">qii")
_TIMEUUID_VERSION: Final = 1


def plain_values(column: pa.Array, pg: PgType, shape: Shape) -> list[Any]:
    """One plain value for each of the column's, None for NULL."""
    if shape.scalar is not None:
        return _scalars(column, pg, shape.name)
    if shape.is_array:
        return _arrays(column, pg, shape)
    if shape.name == "custom":
        return list(from_text_carrier(column, pg).to_pylist())
    texts = to_text_carrier(column, pg).to_pylist()
    return [None if text is None else from_json_text(text, shape) for text in texts]


def _scalars(column: pa.Array, pg: PgType, name: str) -> list[Any]:
    reader = _READERS.get(name)
    if reader is not None:
        return reader(column, pg)
    if name in _INTEGERS:
        return [None if each is None else int(each) for each in _texts(column, pg)]
    return list(_carried(column, pg, name).to_pylist())


def _texts(column: pa.Array, pg: PgType) -> list[str | None]:
    texts: list[str | None] = to_text_carrier(column, pg).to_pylist()
    return texts


def _carried(column: pa.Array, pg: PgType, name: str) -> pa.Array:
    """The Arrow carrier; what only the text carrier holds has no place in Cassandra."""
    carried = from_text_carrier(column, pg)
    if is_text(carried.type) and not pg.text_only:
        wrong = next((each for each in carried.to_pylist() if each is not None), "")
        raise DatetimeFieldOverflow(f'"{wrong}" is out of range for type {name} of Cassandra')
    return carried


def _numbers(column: pa.Array, pg: PgType) -> list[Any]:
    values = []
    for text in _texts(column, pg):
        number = None if text is None else Decimal(text)
        if number is not None and not number.is_finite():
            raise NumericValueOutOfRange(f"Cassandra cannot store the numeric {text}")
        values.append(number)
    return values


def _whole_numbers(column: pa.Array, pg: PgType) -> list[Any]:
    values = _numbers(column, pg)
    for number in values:
        if number is not None and number != number.to_integral_value():
            raise NumericValueOutOfRange(f"a varint of Cassandra cannot hold {number}")
    return values


def _instants(column: pa.Array, pg: PgType) -> list[Any]:
    micros = _carried(column, pg, "timestamp").cast(pa.int64()).to_pylist()
    if any(each is not None and each % 1000 for each in micros):
        raise DatetimeFieldOverflow(
            "a timestamp of Cassandra has no microseconds",
            hint="Round it to milliseconds: declare the column as timestamp(3) with time zone.",
        )
    return [None if each is None else each // 1000 for each in micros]


def _days(column: pa.Array, pg: PgType) -> list[Any]:
    return list(_carried(column, pg, "date").cast(pa.int32()).to_pylist())


def _clocks(column: pa.Array, pg: PgType) -> list[Any]:
    micros = _carried(column, pg, "time").cast(pa.int64()).to_pylist()
    return [None if each is None else each * 1000 for each in micros]


def _durations(column: pa.Array, pg: PgType) -> list[Any]:
    values: list[Any] = []
    for packed in encode_whole(column, pg, binary=True).to_pylist():
        if packed is None:
            values.append(None)
            continue
        micros, days, months = _INTERVAL.unpack(packed)
        signs = {each > 0 for each in (micros, days, months) if each}
        if len(signs) > 1 or abs(micros) > (2**63 - 1) // 1000:
            raise DatetimeFieldOverflow(
                "a duration of Cassandra cannot hold this interval",
                detail="Its months, days and time have one sign, and it counts nanoseconds.",
            )
        values.append((months, days, micros * 1000))
    return values


def _addresses(column: pa.Array, pg: PgType) -> list[Any]:
    values = _texts(column, pg)
    for text in values:
        if text is not None and "/" in text:
            interface = ipaddress.ip_interface(text)
            if interface.network.prefixlen != interface.max_prefixlen:
                raise InvalidParameterValue(f"an inet of Cassandra is a host, not {text}")
    return list(values)


def _time_uuids(column: pa.Array, pg: PgType) -> list[Any]:
    values = from_text_carrier(column, pg).to_pylist()
    if any(each is not None and each[6] >> 4 != _TIMEUUID_VERSION for each in values):
        raise InvalidParameterValue("a timeuuid of Cassandra is a uuid of version 1")
    return list(values)


_READERS: Final[dict[str, Callable[[pa.Array, PgType], list[Any]]]] = {
    "ascii": _texts,
    "text": _texts,
    "varchar": _texts,
    "varint": _whole_numbers,
    "decimal": _numbers,
    "timestamp": _instants,
    "date": _days,
    "time": _clocks,
    "duration": _durations,
    "inet": _addresses,
    "timeuuid": _time_uuids,
}


def _arrays(column: pa.Array, pg: PgType, shape: Shape) -> list[Any]:
    carried = from_text_carrier(column, pg)
    if is_text(carried.type):
        raise InvalidParameterValue("a collection of Cassandra is an array of one dimension from 1")
    element = pg.element
    assert element is not None, pg.sql
    lengths = pc.list_value_length(carried).to_pylist()
    flat = plain_values(carried.flatten(), element, shape.args[0])
    values: list[Any] = []
    at = 0
    for length in lengths:
        values.append(None if length is None else flat[at : at + length])
        at += length or 0
    return values


# jsonb


def from_json_text(text: str, shape: Shape) -> Any:
    """The plain value of a jsonb text for a map, tuple, user type or nested collection."""
    return _from_json(json.loads(text, parse_float=_Number, parse_int=_Number), shape)


class _Number(str):
    """A number of JSON by its digits."""

    __slots__ = ()


def _from_json(value: Any, shape: Shape) -> Any:
    if value is None:
        return None
    if shape.scalar is not None:
        return _scalar_from_json(value, shape)
    if shape.name == "custom":
        return bytes.fromhex(_expect(value, str, shape)[2:])
    if shape.name in ("list", "set", "vector"):
        return [_from_json(each, shape.args[0]) for each in _expect(value, list, shape)]
    if shape.name == "map":
        key, item = shape.args
        pairs = _expect(value, dict, shape).items()
        return [(_key_from_json(k, key), _from_json(v, item)) for k, v in pairs]
    if shape.name == "tuple":
        elements: Sequence[Any] = _expect(value, list, shape)
        if len(elements) > len(shape.args):
            raise InvalidParameterValue(f"a tuple of {len(shape.args)} has {len(elements)} values")
        fields = [*elements, *[None] * (len(shape.args) - len(elements))]
        return [_from_json(each, field) for each, field in zip(fields, shape.args, strict=True)]
    unknown = set(_expect(value, dict, shape)) - set(shape.fields)
    if unknown:
        raise InvalidParameterValue(f'the user type has no field "{min(unknown)}"')
    return [
        _from_json(value.get(name), field)
        for name, field in zip(shape.fields, shape.args, strict=True)
    ]


_WORDS: Final[dict[type, str]] = {list: "array", dict: "object", str: "string"}


def _expect(value: Any, kind: type, shape: Shape) -> Any:
    if not isinstance(value, kind) or isinstance(value, _Number):
        raise InvalidParameterValue(f"a {shape.name} of Cassandra is a JSON {_WORDS[kind]}")
    return value


def _scalar_from_json(value: Any, shape: Shape) -> Any:
    if isinstance(value, list | dict):
        raise InvalidParameterValue(f"a {shape.name} of Cassandra is no JSON array or object")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if shape.name == "blob" and not text.startswith("\\x"):
        raise InvalidParameterValue("a blob in JSON is written in hexadecimal, with \\x in front")
    try:
        return plain_values(pa.array([text], pa.string()), natural_type(shape), shape)[0]
    except (pa.ArrowInvalid, ValueError, ArithmeticError) as error:
        raise InvalidParameterValue(f'"{text}" is no {shape.name} of Cassandra') from error


def _key_from_json(key: str, shape: Shape) -> Any:
    if shape.scalar is not None:
        return _scalar_from_json(key, shape)
    return from_json_text(key, shape)
