"""uuid: 16 bytes, or 36 characters with hyphens."""

from __future__ import annotations

import binascii

import pyarrow as pa

from core.encoding.buffers import fixed_binary, fixed_values, interleaved
from core.encoding.family import Family
from core.types import PgType

_WIDTH = 16
_TEXT_WIDTH = 36
# Where the 32 hexadecimal digits stand in the text.
_PLACES = tuple(k for k in range(_TEXT_WIDTH) if k not in {8, 13, 18, 23})


def _text(column: pa.Array, _pg: PgType) -> pa.Array:
    digits = binascii.hexlify(fixed_values(column, _WIDTH))
    out = interleaved([(b"-" * _TEXT_WIDTH, _TEXT_WIDTH)], len(column))
    for k, place in enumerate(_PLACES):
        out[place::_TEXT_WIDTH] = digits[k::32]
    return fixed_binary(out, _TEXT_WIDTH, column)


def _binary(column: pa.Array, _pg: PgType) -> pa.Array:
    return column


def _parse(column: pa.Array, _pg: PgType) -> pa.Array:
    full = column.fill_null("0" * _TEXT_WIDTH) if column.null_count else column
    text = fixed_values(full.cast(pa.binary()).cast(pa.binary(_TEXT_WIDTH)), _TEXT_WIDTH).tobytes()
    digits = interleaved([(b"0" * 32, 32)], len(column))
    for k, place in enumerate(_PLACES):
        digits[k::32] = text[place::_TEXT_WIDTH]
    return fixed_binary(binascii.unhexlify(digits), _WIDTH, column)


def _text_binary(column: pa.Array, pg: PgType) -> pa.Array:
    return _parse(column, pg)


UUID = Family(text=_text, binary=_binary, parse=_parse, text_binary=_text_binary)
