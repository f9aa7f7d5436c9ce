"""Raw batches as Arrow columns without a Python object per document: the fast way of a scan.

It takes columns whose values need no look one by one: numbers, texts, instants and the like, in
documents of one shape (shape.py). Anything else, a value that does not fit its column among it,
raises NoShape, and the batch is decoded by the driver (rows.py), which counts it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from bson.decimal128 import Decimal128

from backends.mongodb.columnar_json import json_texts, leaf_at
from backends.mongodb.decode import ColumnSpec
from backends.mongodb.documents import decimal_text
from backends.mongodb.reply import INT32 as INT32_LE
from backends.mongodb.reply import batch_span
from backends.mongodb.shape import (
    BINARY,
    BOOLEAN,
    DATE,
    DECIMAL,
    DOCUMENT,
    DOUBLE,
    INT32,
    INT64,
    NULL,
    OBJECT_ID,
    STRING,
    Leaf,
    Matched,
    NoShape,
    Pattern,
    Value,
    joined,
    shape_of,
)
from backends.mongodb.types import INSTANT_MS_MIN, MongoType, shows_object_ids, type_row
from core.types import type_by_name

LOOKS_MAX: Final = 32
"""Documents of a batch that may change its shape; with more, a document at a time is quicker."""
SHAPES_MAX: Final = 256
"""Shapes that are remembered."""
FAILURES_MAX: Final = 3
"""Batches in a row without shape, after which a scan does not look for one any more."""
_INSTANT_MS_MAX: Final = (2**63 - 1) // 1_000
_OID_HEX: Final = 24
_BIAS: Final = 6_176  # of a Decimal128's exponent
_COEFFICIENT_BITS: Final = 49
_SCALE_MAX: Final = 38


Known = tuple[list[Leaf], Pattern]
"""A shape and its pattern."""


class KnownShapes:
    """Shapes that earlier scans found, by what was asked for: most have not changed since, and
    finding one takes as long as reading a batch.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[object, Known] = OrderedDict()

    def get(self, asked: object) -> Known | None:
        """What is known for the same question, or None."""
        found = self._found.get(asked)
        if found is not None:
            self._found.move_to_end(asked)
        return found

    def put(self, asked: object, known: Known) -> None:
        """Remember; those that were not asked for longest are forgotten."""
        self._found[asked] = known
        self._found.move_to_end(asked)
        if len(self._found) > SHAPES_MAX:
            self._found.popitem(last=False)


class ColumnarReader:
    """The fast reader of one scan; `None` from `batch` means: decode this reply otherwise. `shapes`
    has those of earlier scans, `asked` says which of them were of the same documents.
    """

    def __init__(
        self, specs: Sequence[ColumnSpec], shapes: KnownShapes | None = None, asked: object = None
    ) -> None:
        self._specs = specs
        self._shapes = shapes
        self._asked = (asked, tuple(specs))
        rows = [type_row(spec.sql_type) for spec in specs]
        self._rows = [
            row
            for row in rows
            if row is not None and (row.family in _CONVERTERS or row.name == "jsonb")
        ]
        self._able = len(self._rows) == len(specs) and all(spec.path for spec in specs)
        known = None if shapes is None else shapes.get(self._asked)
        self._shape: list[Leaf] | None = None if known is None else known[0]
        self._pattern: Pattern | None = None if known is None else known[1]
        self._failures = 0

    def batch(self, reply: bytes) -> pa.RecordBatch | None:
        """The rows of a reply that has documents."""
        if not self._able:
            return None
        try:
            made = self._batch(reply, *batch_span(reply))
        except NoShape:
            self._failures += 1
            self._able = self._failures < FAILURES_MAX
            return None
        self._failures = 0
        if self._shapes is not None and self._shape is not None and self._pattern is not None:
            self._shapes.put(self._asked, (self._shape, self._pattern))
        return made

    def _batch(self, reply: bytes, start: int, end: int) -> pa.RecordBatch:
        # Behind the array's length; before the zero byte that ends it.
        start, end = start + 4, end - 1
        if self._pattern is None:  # mostly all documents are like the first
            self._shape = shape_of(reply, reply.index(0, start + 1) + 1)
            self._pattern = Pattern(self._shape)
        matched = self._pattern.match(reply, start, end)
        if matched is None:
            self._learn(reply, start, end)
            assert self._pattern is not None
            matched = self._pattern.match(reply, start, end)
            if matched is None:
                raise NoShape
        columns = [
            self._column(matched, spec, row)
            for spec, row in zip(self._specs, self._rows, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, [f"c{spec.column_id}" for spec in self._specs])

    def _learn(self, reply: bytes, start: int, end: int) -> None:
        """A shape for the documents of this batch and of the ones before. Raises NoShape."""
        shape, pattern, looks = self._shape, self._pattern, 0
        at = start
        while at < end:
            document = reply.index(0, at + 1) + 1
            behind = document + INT32_LE.unpack_from(reply, document)[0]
            if pattern is None or not pattern.fits(reply, at, behind):
                looks += 1
                if looks > LOOKS_MAX:
                    raise NoShape
                found = shape_of(reply, document)
                shape = found if shape is None else joined(shape, found)
                pattern = Pattern(shape)
            at = behind
        self._shape, self._pattern = shape, pattern

    def _column(self, matched: Matched, spec: ColumnSpec, row: MongoType) -> pa.Array:
        assert self._pattern is not None
        if row.family == "json":
            return self._documents(matched, spec)
        arrow = type_by_name(spec.sql_type).arrow
        found: list[pa.Array] = []
        for value in self._pattern.values:
            if value.path == spec.path and value.kind != NULL:
                convert = _CONVERTERS[row.family].get(value.kind)
                if convert is None or (
                    value.kind == OBJECT_ID and not shows_object_ids(spec.store_type)
                ):
                    if any(matched.groups[value.group]):
                        raise NoShape
                    continue
                found.append(_converted(convert, matched, value, arrow))
        if not found:
            return pa.nulls(matched.rows, arrow)
        return found[0] if len(found) == 1 else pc.coalesce(*found)

    def _documents(self, matched: Matched, spec: ColumnSpec) -> pa.Array:
        """A column of sub-documents; of any other values it would have to be one of texts, too."""
        assert self._shape is not None
        assert self._pattern is not None
        leaf = leaf_at(self._shape, spec.path)
        if leaf is None:
            return pa.nulls(matched.rows, pa.string())
        if set(leaf.kinds) - {DOCUMENT, NULL}:
            raise NoShape
        places = {(value.path, value.kind): value for value in self._pattern.values}
        value = places.get((spec.path, DOCUMENT))
        if value is None:  # all of them are null
            return pa.nulls(matched.rows, pa.string())
        group = matched.groups[value.group]
        present = None if value.always else [n for n, each in enumerate(group) if each]

        def scalars(path: tuple[str, ...], kind: int) -> pa.Array:
            found = places[path, kind]
            arrow, convert = _JSON_VALUES[kind]
            data = matched.groups[found.group]
            behind = matched.groups[found.group + 1] if kind == STRING else data
            if present is not None:
                data, behind = [data[n] for n in present], [behind[n] for n in present]
            try:
                return convert(data, behind, arrow)
            except pa.ArrowInvalid as error:
                raise NoShape from error

        rows = matched.rows if present is None else len(present)
        texts = json_texts(leaf, spec.path, rows, scalars)
        return texts if present is None else texts.take(_positions(group))


Convert = Callable[[Sequence[bytes], Sequence[bytes], pa.DataType], pa.Array]
"""(the group, the next one for strings, the column's Arrow type) → a column without nulls"""


def _converted(convert: Convert, matched: Matched, value: Value, arrow: pa.DataType) -> pa.Array:
    group = matched.groups[value.group]
    behind = matched.groups[value.group + 1] if value.kind == STRING else group
    try:
        if value.always:
            return convert(group, behind, arrow)
        present = [n for n, each in enumerate(group) if each]
        dense = convert([group[n] for n in present], [behind[n] for n in present], arrow)
        return dense.take(_positions(group))
    except pa.ArrowInvalid as error:
        raise NoShape from error


def _positions(group: Sequence[bytes]) -> pa.Array:
    """For each row its place among the rows that have the value, or null."""
    places: list[int | None] = []
    at = 0
    for each in group:
        places.append(at if each else None)
        at += bool(each)
    return pa.array(places, pa.int32())


def _fixed(values: Sequence[bytes], kind: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(b"".join(values))])


def _from_int32(values: Sequence[bytes], _: Sequence[bytes], arrow: pa.DataType) -> pa.Array:
    return _fixed(values, pa.int32()).cast(arrow)


def _from_int64(values: Sequence[bytes], _: Sequence[bytes], arrow: pa.DataType) -> pa.Array:
    return _fixed(values, pa.int64()).cast(arrow)


def _from_double(values: Sequence[bytes], _: Sequence[bytes], arrow: pa.DataType) -> pa.Array:
    del arrow
    return _fixed(values, pa.float64())


def _from_boolean(values: Sequence[bytes], _: Sequence[bytes], arrow: pa.DataType) -> pa.Array:
    return _fixed(values, pa.uint8()).cast(arrow)


def _from_date(values: Sequence[bytes], _: Sequence[bytes], arrow: pa.DataType) -> pa.Array:
    milliseconds = _fixed(values, pa.int64())
    ends = pc.min_max(milliseconds)
    if values and not (
        ends["min"].as_py() >= INSTANT_MS_MIN and ends["max"].as_py() <= _INSTANT_MS_MAX
    ):
        raise NoShape
    return pc.multiply(milliseconds, 1_000).cast(arrow)


def _from_string(lengths: Sequence[bytes], texts: Sequence[bytes], arrow: pa.DataType) -> pa.Array:
    rows = len(texts)
    declared = pc.subtract(_fixed(lengths, pa.int32()), pa.scalar(1, pa.int32()))
    found = pa.array(map(len, texts), pa.int32())
    if not declared.equals(found):
        raise NoShape  # a text with U+0000 in it
    ends = pc.cumulative_sum(found)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    data = pa.py_buffer(b"".join(texts))
    made = pa.Array.from_buffers(arrow, rows, [None, offsets.buffers()[1], data])
    made.validate(full=True)  # UTF-8
    return made


def _from_object_id(values: Sequence[bytes], _: Sequence[bytes], arrow: pa.DataType) -> pa.Array:
    rows = len(values)
    offsets = pa.array(range(0, _OID_HEX * (rows + 1), _OID_HEX), pa.int32())
    data = pa.py_buffer(b"".join(values).hex().encode())
    return pa.Array.from_buffers(arrow, rows, [None, offsets.buffers()[1], data])


def _from_decimal(values: Sequence[bytes], _: Sequence[bytes], arrow: pa.DataType) -> pa.Array:
    """Decimals of one sign, scale and below 2^64 are the common case: prices."""
    highs = {value[8:] for value in values}
    if len(highs) == 1:
        high = int.from_bytes(highs.pop(), "little")
        scale = _BIAS - (high >> _COEFFICIENT_BITS)
        if not high & ((1 << _COEFFICIENT_BITS) - 1) and 0 <= scale <= _SCALE_MAX:
            zeros = bytes(8)
            data = b"".join([part for value in values for part in (value[:8], zeros)])
            kind = pa.decimal128(38, scale)
            made = pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])
            return _plain_decimals(made, scale)
    return pa.array([decimal_text(Decimal128.from_bid(value)) for value in values], arrow)


def _plain_decimals(values: pa.Array, scale: int) -> pa.Array:
    """As text without exponent: Arrow writes 0E-8, and 1E-7, for small ones."""
    texts = values.cast(pa.string())
    if scale > 6 and pc.any(pc.match_substring(texts, "E")).as_py():
        raise NoShape
    return texts


def _from_uuid(values: Sequence[bytes], _: Sequence[bytes], arrow: pa.DataType) -> pa.Array:
    return _fixed(values, arrow)


_CONVERTERS: Final[dict[str, dict[int, Convert]]] = {
    "integer": {INT32: _from_int32, INT64: _from_int64},
    "float": {DOUBLE: _from_double, INT32: _from_int32, INT64: _from_int64},
    "numeric": {DECIMAL: _from_decimal, INT32: _from_int32, INT64: _from_int64},
    "text": {STRING: _from_string, OBJECT_ID: _from_object_id},
    "boolean": {BOOLEAN: _from_boolean},
    "instant": {DATE: _from_date},
    "uuid": {BINARY: _from_uuid},
}
_JSON_VALUES: Final[dict[int, tuple[pa.DataType, Convert]]] = {
    STRING: (pa.string(), _from_string),
    OBJECT_ID: (pa.string(), _from_object_id),
    INT32: (pa.int64(), _from_int32),
    INT64: (pa.int64(), _from_int64),
    DOUBLE: (pa.float64(), _from_double),
    BOOLEAN: (pa.bool_(), _from_boolean),
}
"""How the fields of sub-documents are read."""
