"""bit and varbit: text of 0 and 1; int32 bit count, then the bits, padded with zeros at the end."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import (
    big_endian,
    dense,
    fixed_binary,
    int32,
    joined,
    offsets_of,
    value_bytes,
    var_binary,
    with_nulls_of,
    zero_strings,
)
from core.encoding.family import Family
from core.types import PgType

_PADDINGS = zero_strings(7)


def _text_binary(column: pa.Array, _pg: PgType) -> pa.Array:
    full = dense(column)
    count = pc.binary_length(full)
    padding = _PADDINGS.take(pc.bit_wise_and(pc.negate(count), int32(7)))
    padded = joined(full, padding)
    digits = value_bytes(padded).tobytes()
    # int() with base 2 is linear, so one call converts the whole column.
    packed = int(digits, 2).to_bytes(len(digits) // 8, "big") if digits else b""
    data = var_binary(packed, pc.divide(offsets_of(padded), int32(8)), full)
    head = fixed_binary(big_endian(count, 4), 4, full)
    return with_nulls_of(column, joined(head, data))


BITS = Family(text_binary=_text_binary)
