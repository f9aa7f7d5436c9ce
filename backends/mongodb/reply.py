"""Raw replies of find, aggregate and getMore: the cursor's id, and where the documents lie.

Only the few elements of the reply and of its cursor are looked at, never the documents.
BSON specification 1.1 (bsonspec.org).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from core.errors import StoreError

INT32: Final = struct.Struct("<i")
INT64: Final = struct.Struct("<q")
_FIXED: Final = {
    0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16,
    0x7F: 0, 0xFF: 0,
}  # fmt: skip
_COUNTED: Final = {0x02: 4, 0x0D: 4, 0x0E: 4, 0x03: 0, 0x04: 0, 0x05: 5, 0x0F: 0}
"""Types that begin with a length, and how many bytes it does not count."""
_DOCUMENT: Final = 0x03
_ARRAY: Final = 0x04
_INT64: Final = 0x12
_EMPTY_BYTES: Final = 5
_INT32: Final = 0x10


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a document: its type, name, and where its value lies."""

    kind: int
    name: bytes
    start: int
    end: int


def elements(raw: bytes, start: int) -> Iterator[Element]:
    """The elements of the document that starts there. Raises StoreError for what is no BSON."""
    try:
        end = start + INT32.unpack_from(raw, start)[0] - 1
        at = start + 4
        while at < end:
            kind = raw[at]
            zero = raw.index(0, at + 1)
            name, value = raw[at + 1 : zero], zero + 1
            at = value + _size(raw, kind, value)
            yield Element(kind, name, value, at)
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise StoreError("a reply is not valid BSON") from error


def _size(raw: bytes, kind: int, value: int) -> int:
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return fixed
    if kind == 0x0B:  # a regular expression: two strings that end with zero
        second = raw.index(0, value) + 1
        return raw.index(0, second) + 1 - value
    if kind == 0x0C:  # a DBPointer
        return 4 + int(INT32.unpack_from(raw, value)[0]) + 12
    return int(INT32.unpack_from(raw, value)[0]) + _COUNTED[kind]


def _cursor(raw: bytes) -> Iterator[Element]:
    for element in elements(raw, 0):
        if element.name == b"cursor" and element.kind == _DOCUMENT:
            return elements(raw, element.start)
    raise StoreError("a reply has no cursor")


def cursor_id(raw: bytes) -> int:
    """The cursor's id; 0 when the reply was its last."""
    for element in _cursor(raw):
        if element.name == b"id":
            reader = INT64 if element.kind == _INT64 else INT32
            return int(reader.unpack_from(raw, element.start)[0])
    raise StoreError("a reply has a cursor without id")


def batch_span(raw: bytes) -> tuple[int, int]:
    """Where the array of the batch's documents lies."""
    for element in _cursor(raw):
        if element.name in (b"firstBatch", b"nextBatch") and element.kind == _ARRAY:
            return element.start, element.end
    raise StoreError("a reply has a cursor without batch")


def is_empty(raw: bytes) -> bool:
    """Whether the batch has no documents."""
    start, end = batch_span(raw)
    return end - start == _EMPTY_BYTES
