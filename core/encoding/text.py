"""text, varchar, bpchar, name, json, xml, unknown: the bytes themselves; jsonb with its version.

xml and unknown are not compared with a server: the private PostgreSQL is built without libxml.
"""

from __future__ import annotations

import re

import pyarrow as pa

from core.encoding.family import Affixed, Family, by_distinct, same_text
from core.types import PgType

TEXT = Family(text_binary=same_text)

_JSONB_VERSION = b"\x01"


def _jsonb_binary(column: pa.Array, _pg: PgType) -> Affixed:
    return Affixed(column, prefix=_JSONB_VERSION)


JSONB = Family(text_binary=_jsonb_binary)

_OCTAL = re.compile(r"\\([0-7]{3})")


def _char_byte(text: str) -> bytes:
    """The byte of "char": the empty text is zero, bytes from 128 are printed in octal."""
    octal = _OCTAL.fullmatch(text)
    return bytes([int(octal[1], 8)]) if octal else text.encode() or b"\0"


def _char_binary(column: pa.Array, _pg: PgType) -> pa.Array:
    return by_distinct(column, _char_byte)


CHAR = Family(text_binary=_char_binary)
