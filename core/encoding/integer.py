"""int2, int4, int8, oid: decimal text and big-endian two's complement."""

from __future__ import annotations

import pyarrow as pa

from core.encoding.buffers import big_endian, fixed_binary
from core.encoding.family import Family
from core.types import PgType


def _text(column: pa.Array, _pg: PgType) -> pa.Array:
    return column.cast(pa.string())


def _binary(column: pa.Array, pg: PgType) -> pa.Array:
    return fixed_binary(big_endian(column, pg.typlen), pg.typlen, column)


def _parse(column: pa.Array, pg: PgType) -> pa.Array:
    return column.cast(pg.arrow)


def _text_binary(column: pa.Array, pg: PgType) -> pa.Array:
    return _binary(_parse(column, pg), pg)


INTEGER = Family(text=_text, binary=_binary, parse=_parse, text_binary=_text_binary)
