"""bool: t and f, one byte 1 and 0."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import fixed_binary, fixed_values
from core.encoding.family import Family
from core.types import PgType

_LETTERS = bytes([ord("f"), ord("t")]) + bytes(254)


def _binary(column: pa.Array, _pg: PgType) -> pa.Array:
    return fixed_binary(fixed_values(column.cast(pa.uint8()), 1).tobytes(), 1, column)


def _text(column: pa.Array, _pg: PgType) -> pa.Array:
    flags = fixed_values(column.cast(pa.uint8()), 1).tobytes()
    return fixed_binary(flags.translate(_LETTERS), 1, column)


def _parse(column: pa.Array, _pg: PgType) -> pa.Array:
    return pc.equal(column, "t")


def _text_binary(column: pa.Array, pg: PgType) -> pa.Array:
    return _binary(_parse(column, pg), pg)


BOOLEAN = Family(text=_text, binary=_binary, parse=_parse, text_binary=_text_binary)
