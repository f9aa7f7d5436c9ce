"""bytea: `\\x` and lower-case hexadecimal digits, or the bytes themselves.

The whole data buffer is converted in one call; only the offsets double or halve.
"""

from __future__ import annotations

import binascii

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import dense, int32, offsets_of, value_bytes, var_binary
from core.encoding.family import Affixed, Family, all_true, same_text
from core.types import PgType


def hexadecimal(column: pa.Array) -> pa.Array:
    """A binary column (offset 0) as lower-case hexadecimal text, in a binary column."""
    full = dense(column)
    starts = offsets_of(full)
    ends = pc.multiply(pc.subtract(starts, starts[0]), int32(2))
    return var_binary(binascii.hexlify(value_bytes(full)), ends, column)


def unhexadecimal(column: pa.Array) -> pa.Array:
    """Hexadecimal text (string or binary column) as a binary column."""
    full = dense(column)
    starts = offsets_of(full)
    ends = pc.divide(pc.subtract(starts, starts[0]), int32(2))
    return var_binary(binascii.unhexlify(value_bytes(full)), ends, column)


def _text(column: pa.Array, _pg: PgType) -> Affixed:
    return Affixed(hexadecimal(column), prefix=b"\\x")


def _parse(column: pa.Array, _pg: PgType) -> pa.Array | None:
    if not all_true(pc.starts_with(column, "\\x")):
        return None  # bytea_output = escape
    # Not binary_slice: pyarrow 26 fails on a column with short values.
    return unhexadecimal(pc.replace_substring(column, "\\x", "", max_replacements=1))


def _text_binary(column: pa.Array, pg: PgType) -> pa.Array:
    parsed = _parse(column, pg)
    assert parsed is not None, "the text carrier of bytea is the hex form"
    return parsed


BYTEA = Family(text=_text, binary=same_text, parse=_parse, text_binary=_text_binary)
