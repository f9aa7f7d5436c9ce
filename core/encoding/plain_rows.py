"""DataRow messages of rows that are Python values: the same bytes as `encode_data_rows` gives for
the Arrow columns of these values, without Arrow.

The plain value of a type: int for the integers, float for double precision, str without U+0000 for
text and character varying, bool, the 16 bytes of a uuid, and microseconds since 1970 (int) for an
instant; None is NULL. Other types have none, and modifiers are what the value fits already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final
from uuid import UUID

import pyarrow as pa

from core.encoding.family import encode_whole
from core.types import PgType, type_by_name

Cell = Callable[[Any], bytes]
"""A plain value that is not None → the field's length and bytes as a DataRow has them."""

_HEAD: Final = Struct(">cIH")
_HEAD_BYTES: Final = 7
_LENGTH: Final = Struct(">i")
_NULL: Final = b"\xff\xff\xff\xff"
_FIXED_FROM, _FIXED_BELOW = 1e-4, 1e15
"""Doubles that PostgreSQL and Python print without an exponent."""
_SINCE_2000_US: Final = 946_684_800_000_000


def _counted(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _integer(value: int) -> bytes:
    return _counted(b"%d" % value)


def _text(value: str) -> bytes:
    return _counted(value.encode())


def _double(value: float) -> bytes:
    size = math.fabs(value)
    if _FIXED_FROM <= size < _FIXED_BELOW or (value == 0 and math.copysign(1, value) > 0):
        return _counted(repr(value).removesuffix(".0").encode())
    found = encode_whole(pa.array([value], pa.float64()), type_by_name("double precision"), False)
    return _counted(found[0].as_py())


def _packed(form: str) -> Cell:
    pack = Struct(form).pack
    size = Struct(form).size - 4
    return lambda value: pack(size, value)


def _instant(value: int) -> bytes:
    return _INSTANT.pack(8, value - _SINCE_2000_US)


_INSTANT: Final = Struct(">iq")
_TRUE, _FALSE = _counted(b"t"), _counted(b"f")
_CELLS: Final[Mapping[tuple[str, int], Cell]] = {
    ("smallint", 0): _integer,
    ("integer", 0): _integer,
    ("bigint", 0): _integer,
    ("smallint", 1): _packed(">ih"),
    ("integer", 1): _packed(">ii"),
    ("bigint", 1): _packed(">iq"),
    ("double precision", 0): _double,
    ("double precision", 1): _packed(">id"),
    ("text", 0): _text,
    ("text", 1): _text,
    ("character varying", 0): _text,
    ("character varying", 1): _text,
    ("boolean", 0): lambda value: _TRUE if value else _FALSE,
    ("boolean", 1): _packed(">i?"),
    ("uuid", 0): lambda value: _counted(str(UUID(bytes=value)).encode()),
    ("uuid", 1): _counted,
    ("timestamp with time zone", 1): _instant,
}


@lru_cache(maxsize=1024)
def plain_cells(fields: tuple[PgType, ...], formats: tuple[int, ...]) -> tuple[Cell, ...] | None:
    """What writes each column, or None when a column's type has no plain values."""
    found = []
    for field, form in zip(fields, formats, strict=True):
        cell = None if field.element is not None else _CELLS.get((field.name, form))
        if cell is None:
            return None
        found.append(cell)
    return tuple(found)


def encode_plain_rows(rows: Iterable[Sequence[Any]], cells: Sequence[Cell]) -> list[bytes]:
    """Each row as a DataRow message."""
    messages = []
    count = len(cells)
    for row in rows:
        body = b"".join(
            [
                _NULL if value is None else cell(value)
                for cell, value in zip(cells, row, strict=True)
            ]
        )
        messages.append(_HEAD.pack(b"D", _HEAD_BYTES - 1 + len(body), count) + body)
    return messages


def split_rows(data: bytes) -> list[bytes]:
    """DataRow messages that come as one, apart."""
    found = []
    at = 0
    while at < len(data):
        end = at + 1 + int.from_bytes(data[at + 1 : at + 5])
        found.append(data[at:end])
        at = end
    return found
