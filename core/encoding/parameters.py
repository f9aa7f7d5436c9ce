"""Parameters of a statement as PostgreSQL would print them, for the types that need no PostgreSQL.

A value in another spelling than PostgreSQL's own (' 07' for 7) or of another type is left to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BOOLEANS: Final[Mapping[bytes, str]] = {
    b"t": "true", b"true": "true", b"\x01": "true",
    b"f": "false", b"false": "false", b"\x00": "false",
}  # fmt: skip


def _integer(raw: bytes, bits: int) -> str | None:
    if _INTEGER.fullmatch(raw) is None or not -(1 << bits) <= int(raw) < 1 << bits:
        return None
    return raw.decode()


def _binary_integer(raw: bytes, width: int) -> str | None:
    return str(int.from_bytes(raw, signed=True)) if len(raw) == width else None


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


_PRINTERS: Final[Mapping[tuple[str, int], Callable[[bytes], str | None]]] = {
    ("text", 0): _text,
    ("text", 1): _text,
    ("character varying", 0): _text,
    ("character varying", 1): _text,
    ("smallint", 0): lambda raw: _integer(raw, 15),
    ("integer", 0): lambda raw: _integer(raw, 31),
    ("bigint", 0): lambda raw: _integer(raw, 63),
    ("smallint", 1): lambda raw: _binary_integer(raw, 2),
    ("integer", 1): lambda raw: _binary_integer(raw, 4),
    ("bigint", 1): lambda raw: _binary_integer(raw, 8),
    ("boolean", 0): _BOOLEANS.get,
    ("boolean", 1): _BOOLEANS.get,
    ("uuid", 0): lambda raw: raw.decode() if _UUID.fullmatch(raw) else None,
    ("uuid", 1): lambda raw: str(UUID(bytes=raw)) if len(raw) == 16 else None,
}


def parameter_text(type_name: str, form: int, raw: bytes) -> str | None:
    """The text of a value (UTF-8 client) in text (0) or binary (1) form; None: ask PostgreSQL.

    >>> parameter_text("integer", 1, b"\\0\\0\\0\\7"), parameter_text("integer", 0, b" 07")
    ('7', None)
    """
    printer = _PRINTERS.get((type_name, form))
    return None if printer is None else printer(raw)
