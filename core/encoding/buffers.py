"""Arrow buffers as plain bytes: the primitives the column encoders are made of.

Everything here works on whole columns: slices with a step, bytes.translate, array.byteswap and
pyarrow.compute all loop in C. Arrays given to these functions have offset 0 (see `rebased`).
numpy is not a dependency.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_ZERO: Final = pa.array([0], pa.int32())
EMPTY: Final = pa.scalar(b"", pa.binary())
_INT_CODES: Final = {1: "b", 2: "h", 4: "i", 8: "q"}


# Numbers given to kernels are scalars with a type: a bare Python number makes pyarrow try to import
# dateutil, 50 us a call, and promotes int32 columns to int64.


def int64(number: int) -> pa.Scalar:
    """A bigint constant for a kernel."""
    return pa.scalar(number, pa.int64())


def int32(number: int) -> pa.Scalar:
    """An integer constant for a kernel."""
    return pa.scalar(number, pa.int32())


def int16(number: int) -> pa.Scalar:
    """A smallint constant for a kernel."""
    return pa.scalar(number, pa.int16())


def rebased(column: pa.Array) -> pa.Array:
    """The same values at offset 0, so that buffers can be read from their start."""
    if column.offset == 0:
        return column
    return pa.concat_arrays([column, column.slice(0, 0)])


def fixed_values(column: pa.Array, width: int) -> memoryview:
    """The bytes of a fixed-width column, nulls included (their bytes mean nothing)."""
    return memoryview(column.buffers()[1])[: len(column) * width]


def swapped(values: memoryview, width: int) -> bytes:
    """Little-endian integers of this width as big-endian ones."""
    if width == 1:
        return values.tobytes()
    numbers = array.array(_INT_CODES[width])
    numbers.frombytes(values)
    numbers.byteswap()
    return numbers.tobytes()


def big_endian(numbers: pa.Array, width: int) -> bytes:
    """An integer or float column as big-endian bytes."""
    return swapped(fixed_values(rebased(numbers), width), width)


def fixed_binary(data: bytes | bytearray, width: int, like: pa.Array) -> pa.Array:
    """A fixed-size binary column over `data`, null where `like` is."""
    column = pa.Array.from_buffers(pa.binary(width), len(like), [None, pa.py_buffer(data)])
    return with_nulls_of(like, column)


def with_nulls_of(like: pa.Array, column: pa.Array) -> pa.Array:
    """`column`, null where `like` is null."""
    if like.null_count == 0:
        return column
    return pc.if_else(like.is_valid(), column, pa.scalar(None, column.type))


def var_binary(data: bytes | pa.Buffer, ends: pa.Array, like: pa.Array) -> pa.Array:
    """A binary column over `data` whose len(like)+1 offsets are `ends`, null where `like` is."""
    offsets = rebased(ends.cast(pa.int32())).buffers()[1]
    column = pa.Array.from_buffers(
        pa.binary(),
        len(like),
        [None, offsets, data if isinstance(data, pa.Buffer) else pa.py_buffer(data)],
    )
    return with_nulls_of(like, column)


def offsets_of(column: pa.Array) -> pa.Array:
    """The len+1 offsets of a string, binary or list column at offset 0."""
    rows = len(column)
    if rows == 0:
        return _ZERO
    return pa.Array.from_buffers(pa.int32(), rows + 1, [None, column.buffers()[1]])


def value_bytes(column: pa.Array) -> memoryview:
    """All values of a string or binary column (offset 0) one behind the other."""
    buffer = column.buffers()[2]
    offsets = offsets_of(column)
    if buffer is None:
        return memoryview(b"")
    return memoryview(buffer)[offsets[0].as_py() : offsets[-1].as_py()]


def dense(column: pa.Array) -> pa.Array:
    """A string or binary column at offset 0, nulls replaced by empty values of no extent."""
    column = rebased(column)
    return (
        column
        if column.null_count == 0
        else pc.fill_null(column, pa.scalar(b"", pa.binary()).cast(column.type))
    )


def joined(*parts: pa.Array | bytes | str) -> pa.Array:
    """The parts of each row one behind the other; null if any part is null."""
    text = all(
        isinstance(p, str) or (isinstance(p, pa.Array) and pa.types.is_string(p.type))
        for p in parts
    )
    kind = pa.string() if text else pa.binary()
    inputs = [p.cast(kind) if isinstance(p, pa.Array) else pa.scalar(p, kind) for p in parts]
    return pc.binary_join_element_wise(*inputs, pa.scalar("" if text else b"", kind))


def interleaved(parts: Sequence[tuple[bytes | bytearray, int]], rows: int) -> bytearray:
    """Records of fixed width: each part is (bytes, width) with one value a row, or a constant.

    A part whose bytes are exactly one value wide is the same in each row.
    """
    width = sum(w for _, w in parts)
    record = b"".join(data if len(data) == w else bytes(w) for data, w in parts)
    out = bytearray(record * rows)
    at = 0
    for data, w in parts:
        if len(data) != w:
            for k in range(w):
                out[at + k :: width] = data[k::w]
        at += w
    return out


def floor_divide(numbers: pa.Array, by: int) -> pa.Array:
    """Integer division that rounds towards minus infinity (Arrow's rounds towards zero)."""
    divisor = pa.scalar(by, numbers.type)
    quotient = pc.divide(numbers, divisor)
    short = pc.less(numbers, pc.multiply(quotient, divisor))
    return pc.subtract(quotient, short.cast(quotient.type))


def running_ends(lengths: pa.Array) -> pa.Array:
    """Offsets from lengths without nulls: 0 and the running sum."""
    return pa.concat_arrays([_ZERO.cast(lengths.type), pc.cumulative_sum(lengths)])


def zero_strings(count: int) -> pa.Array:
    """'', '0', '00', … with up to `count` zeros: a table to take paddings from."""
    return pa.array(["0" * k for k in range(count + 1)], pa.string())
