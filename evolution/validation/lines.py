"""Rows as lines of COPY text: the form in which sides are read, hashed and cut.

One line a row: the fields of the key, the LSN, the other values, with tabs between them. A field is
the value as PostgreSQL's output function prints it under fixed settings (UTC, ISO dates, shortest
floats, hexadecimal bytea) and numeric without trailing zeros, so each value has one text; NULL is
`\\N`. A newline or tab inside a value is escaped by COPY: cutting lines and fields is a plain split
of bytes, for which no value is touched in Python.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from evolution.layouts.base import Row

NULL: Final = b"\\N"
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_UNESCAPED: Final = re.compile(rb"[\\\b\f\n\r\t\v]")
_LETTERS: Final = {
    b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
}  # fmt: skip
_TO_LETTERS: Final = {value: b"\\" + letter for letter, value in _LETTERS.items()}
_TO_LETTERS[b"\\"] = b"\\\\"


def unescape(field: bytes) -> bytes | None:
    """The value of a field, None for NULL."""
    if b"\\" not in field:
        return field
    if field == NULL:
        return None
    return _ESCAPED.sub(lambda found: _LETTERS.get(found[1], found[1]), field)


def escape(value: bytes | None) -> bytes:
    """The opposite of `unescape`."""
    if value is None:
        return NULL
    return _UNESCAPED.sub(lambda found: _TO_LETTERS[found[0]], value)


def key_bytes(values: Sequence[str]) -> bytes:
    """The key of a row from the texts of its columns."""
    return b"\t".join(escape(value.encode()) for value in values)


def key_values(key: bytes) -> list[str]:
    """The opposite of `key_bytes`."""
    return [(unescape(field) or b"").decode() for field in key.split(b"\t")]


def key_text(key: bytes) -> str:
    """The key for people: `7`, `(7, eu)`."""
    values = key_values(key)
    return values[0] if len(values) == 1 else f"({', '.join(values)})"


def cut_lines(data: bytes) -> list[bytes]:
    """The lines without their newlines."""
    lines = data.split(b"\n")
    lines.pop()
    return lines


def cut_row(line: bytes, key_fields: int) -> Row:
    """The row of a line whose first `key_fields` fields are the key."""
    if key_fields == 1:
        key, lsn, data = line.split(b"\t", 2)
        return Row(key, int(lsn), data)
    *keys, lsn, data = line.split(b"\t", key_fields + 1)
    return Row(b"\t".join(keys), int(lsn), data)


def last_key(data: bytes, key_fields: int) -> bytes | None:
    """The key of the last line, None when there is no line."""
    if not data:
        return None
    start = data.rfind(b"\n", 0, len(data) - 1) + 1
    return b"\t".join(data[start:-1].split(b"\t", key_fields)[:key_fields])
