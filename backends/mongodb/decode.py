"""Decoded BSON values as Arrow columns: exact, or NULL and counted.

A column is judged by the set of its values' Python types: in the ordinary case that is all that is
done per value in Python, and Arrow makes the column. Only where other types meet is each value
looked at. pyarrow itself is no judge: it makes 2 of 2.5 in an integer column.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from backends.base import Misfit
from backends.mongodb.documents import (
    NUL,
    NotJson,
    decimal_text,
    double_text,
    json_text,
    milliseconds,
)
from backends.mongodb.printed_json import printed_json
from backends.mongodb.types import (
    DOUBLE_EXACT_MAX,
    INSTANT_MS_MAX,
    INSTANT_MS_MIN,
    MongoType,
    shown_as,
    shows_object_ids,
    type_row,
)
from core.types import PgType, numeric_precision_scale, type_by_name

EXAMPLE_LENGTH_MAX: Final = 80
_VARHDRSZ: Final = 4
_INSTANT_US_MAX: Final = 2**63 - 1
_UUID_SUBTYPES: Final = (3, 4)
_EXACT: Final = Context(prec=7_000)  # Decimal128 reaches from 1e-6176 to 1e6144


class _DoesNotFit(Exception):
    """The value is not one that the column's type shows."""


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """A column of a scan: where its value lies in an answered document, and its type.

    `path` () is the whole document.
    """

    column_id: int
    path: tuple[str, ...]
    sql_type: str
    store_type: str = ""


class MisfitCounter:
    """Misfits of one scan by column and BSON type; `events` are told once, at the scan's end."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], list[Any]] = {}

    def add(self, column_id: int, value: object) -> None:
        """Count one value."""
        key = (column_id, bson_name(value))
        found = self._seen.get(key)
        if found is None:
            self._seen[key] = [1, repr(value)[:EXAMPLE_LENGTH_MAX]]
        else:
            found[0] += 1

    def events(self) -> list[Misfit]:
        """One event for each column and BSON type."""
        return [
            Misfit(column_id, name, count, example)
            for (column_id, name), (count, example) in self._seen.items()
        ]


_BSON_NAMES: Final[dict[type, str]] = {
    bool: "bool",
    int: "int",
    Int64: "long",
    float: "double",
    Decimal128: "decimal",
    str: "string",
    ObjectId: "objectId",
    dt.datetime: "date",
    DatetimeMS: "date",
    bytes: "binData",
    Binary: "binData",
    dict: "object",
    list: "array",
}


def bson_name(value: object) -> str:
    """MongoDB's alias of a value's BSON type."""
    return _BSON_NAMES.get(type(value), type(value).__name__.lower())


# One value. A reader gives what Arrow takes for the type, and raises _DoesNotFit.


def _integer(value: Any, row: MongoType) -> int:
    kind = type(value)
    if kind is float and value.is_integer():
        value = int(value)
    elif kind not in (int, Int64):
        raise _DoesNotFit
    if not row.low <= value <= row.high:
        raise _DoesNotFit
    return int(value)


def _float(value: Any) -> float:
    kind = type(value)
    if kind is float:
        return float(value)
    if kind in (int, Int64) and -DOUBLE_EXACT_MAX <= value <= DOUBLE_EXACT_MAX:
        return float(value)
    raise _DoesNotFit


def _numeric(value: Any) -> str:
    kind = type(value)
    if kind is Decimal128:
        return decimal_text(value)
    if kind is float:
        return double_text(value)
    if kind in (int, Int64):
        return str(int(value))
    raise _DoesNotFit


def _text(value: Any) -> str:
    return str(value) if type(value) is ObjectId else _string(value)


def _string(value: Any) -> str:
    if type(value) is not str or NUL in value:
        raise _DoesNotFit
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _DoesNotFit from error
    return str(value)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise _DoesNotFit
    return value


def _instant(value: Any) -> int:
    """Microseconds since 1970."""
    if type(value) not in (dt.datetime, DatetimeMS):
        raise _DoesNotFit
    ms = milliseconds(value)
    if not INSTANT_MS_MIN <= ms <= INSTANT_MS_MAX:
        raise _DoesNotFit
    return ms * 1_000


def _uuid(value: Any) -> bytes:
    if type(value) is not Binary or value.subtype not in _UUID_SUBTYPES or len(value) != 16:
        raise _DoesNotFit
    return bytes(value)


def _bytea(value: Any) -> bytes:
    if type(value) not in (bytes, Binary):
        raise _DoesNotFit
    return bytes(value)


def _json(value: Any) -> str:
    try:
        return json_text(value)
    except NotJson as error:
        raise _DoesNotFit from error


def _jsonb(value: Any) -> str:
    try:
        return printed_json(value)
    except NotJson as error:
        raise _DoesNotFit from error


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "float": _float,
    "numeric": _numeric,
    "text": _text,
    "boolean": _boolean,
    "instant": _instant,
    "uuid": _uuid,
    "bytea": _bytea,
    "json": _json,
}

Reader = Callable[[Any], Any]


def reader_of(pg: PgType, store_type: str = "") -> Reader | None:
    """Reads one value of a type, its modifier included; None for a type no BSON value fits."""
    if pg.element is not None:
        element = reader_of(pg.element)
        return None if element is None else _list_reader(element)
    row = shown_as(pg.sql)
    if row is None:
        return None
    if row.family == "integer":
        return lambda value: _integer(value, row)
    reader = _jsonb if pg.typname == "jsonb" else _READERS[row.family]
    if row.family == "text" and not shows_object_ids(store_type):
        reader = _string
    return _modified(pg, reader) if pg.typmod >= 0 else reader


def _list_reader(element: Reader) -> Reader:
    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise _DoesNotFit
        return [None if each is None else element(each) for each in value]

    return read


def _modified(pg: PgType, reader: Reader) -> Reader:
    """A value must fit the modifier as it is: nothing is cut or rounded."""
    if pg.typname == "numeric":
        declared = numeric_precision_scale(pg.typmod)
        assert declared is not None
        return lambda value: _scaled(reader(value), *declared)
    if pg.typname in ("varchar", "bpchar"):
        length, padded = pg.typmod - _VARHDRSZ, pg.typname == "bpchar"
        return lambda value: _of_length(reader(value), length, padded)
    if pg.typname == "timestamptz":
        unit = 10 ** (6 - pg.typmod)
        return lambda value: _of_unit(reader(value), unit)
    return reader


def _scaled(text: str, precision: int, scale: int) -> str:
    number = Decimal(text)
    if number.is_nan():
        return text
    if not number.is_finite() or abs(number) >= Decimal(10) ** (precision - scale):
        raise _DoesNotFit
    digits = number.as_tuple().exponent
    assert isinstance(digits, int)
    if -digits > scale and _EXACT.remainder(number, Decimal(10) ** -scale):
        raise _DoesNotFit
    return format(number, f".{max(scale, 0)}f")


def _of_length(text: str, length: int, padded: bool) -> str:
    if len(text) > length:
        raise _DoesNotFit
    return text.ljust(length) if padded else text


def _of_unit(microseconds: int, unit: int) -> int:
    if microseconds % unit:
        raise _DoesNotFit
    return microseconds


# Whole columns.

_FEW: Final = 64
_NULLS: Final = frozenset((type(None),))
_NONE: Final[frozenset[type]] = frozenset()
_INTS: Final = frozenset((int, Int64))
_PLAIN: Final[dict[str, frozenset[type]]] = {
    "integer": _INTS,
    "float": _INTS | {float},
    "text": frozenset((str,)),
    "boolean": frozenset((bool,)),
    "instant": frozenset((dt.datetime,)),
    "bytea": frozenset((bytes,)),
}
"""Types of values that Arrow itself takes exactly, or refuses."""


def decode_column(values: Sequence[Any], spec: ColumnSpec, misfits: MisfitCounter) -> pa.Array:
    """The column of these values, None for missing ones, in a carrier of its type."""
    layout = _layout(spec.sql_type)
    if layout.family:
        kinds = set(map(type, values)) - _NULLS
        if kinds <= layout.plain:
            made = _plain_column(values, layout.pg.arrow, text=layout.family == "text")
            if made is not None:
                return made
        if layout.family == "text" and kinds == {ObjectId} and shows_object_ids(spec.store_type):
            return pa.array([None if v is None else v.binary.hex() for v in values], pa.string())
    return _read_column(values, layout.pg, spec, misfits)


class _Layout(NamedTuple):
    """What is known of a type; `family` is "" where each value has to be looked at."""

    pg: PgType
    family: str
    plain: frozenset[type]


@lru_cache(maxsize=1024)
def _layout(sql_type: str) -> _Layout:
    pg = type_by_name(sql_type)
    row = shown_as(pg.sql)
    if row is None or not (pg.typmod < 0 or type_row(pg.sql) is not None):
        return _Layout(pg, "", frozenset())
    return _Layout(pg, row.family, _PLAIN.get(row.family, _NONE))


def _plain_column(values: Sequence[Any], arrow: pa.DataType, *, text: bool) -> pa.Array | None:
    try:
        made = pa.array(values, arrow)
    except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
        return None
    return None if text and _has_nul(values, made) else made


def _has_nul(values: Sequence[Any], made: pa.Array) -> bool:
    if len(values) < _FEW:
        return any(value is not None and NUL in value for value in values)
    return bool(pc.any(pc.match_substring(made, NUL)).as_py())


def _read_column(
    values: Iterable[Any], pg: PgType, spec: ColumnSpec, misfits: MisfitCounter
) -> pa.Array:
    reader = reader_of(pg, spec.store_type)
    read: list[Any] = []
    for value in values:
        if value is None:
            read.append(None)
            continue
        try:
            if reader is None:
                raise _DoesNotFit
            read.append(reader(value))
        except _DoesNotFit:
            misfits.add(spec.column_id, value)
            read.append(None)
    return _carried(read, pg)


def _carried(read: list[Any], pg: PgType) -> pa.Array:
    """The Arrow carrier; for instants after 294247, which Arrow lacks, the text carrier."""
    if pg.typname == "timestamptz":
        if all(each is None or each <= _INSTANT_US_MAX for each in read):
            return pa.array(read, pa.int64()).cast(pg.arrow)
        return pa.array([None if us is None else instant_text(us) for us in read], pa.string())
    element = pg.element
    if element is None:
        return pa.array(read, pa.string() if pg.typname == "numeric" else pg.arrow)
    if element.typname == "timestamptz":
        texts = [
            each and [None if us is None else instant_text(us) for us in each] for each in read
        ]
        return pa.array(texts, pa.list_(pa.string()))
    inner = pa.string() if element.typname == "numeric" else element.arrow
    return pa.array(read, pa.list_(inner))


def instant_text(microseconds: int) -> str:
    """An instant as PostgreSQL prints it in UTC, over its whole range."""
    days, rest = divmod(microseconds, 86_400_000_000)
    # Python's calendar repeats every 400 years, and its years end at 9999.
    cycles, day = divmod(days, 146_097)
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(days=day, microseconds=rest)  # noqa: DTZ001
    year = moment.year + 400 * cycles
    era = "" if year > 0 else " BC"
    clock = moment.strftime("%H:%M:%S") + f".{moment.microsecond:06d}"
    shown = year if year > 0 else 1 - year
    return f"{shown:04d}-{moment:%m-%d} {clock.rstrip('0').rstrip('.')}+00{era}"


def values_at(documents: Sequence[Any], path: tuple[str, ...]) -> list[Any]:
    """The value of each document at a path, None where there is none. Arrays are not entered."""
    if not path:
        return list(documents)
    head, rest = path[0], path[1:]
    values = [document.get(head) for document in documents]
    for key in rest:
        values = [value.get(key) if type(value) is dict else None for value in values]
    return values


def decode_batch(
    documents: Sequence[Any], specs: Sequence[ColumnSpec], misfits: MisfitCounter
) -> pa.RecordBatch:
    """The batch of some decoded documents; the fields are called `c<id>`."""
    if not specs:
        return rows_without_columns(len(documents))
    columns = [decode_column(values_at(documents, s.path), s, misfits) for s in specs]
    return pa.RecordBatch.from_arrays(columns, [f"c{spec.column_id}" for spec in specs])


def rows_without_columns(rows: int) -> pa.RecordBatch:
    """A batch that has rows and no columns."""
    return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
