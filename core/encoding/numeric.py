"""numeric: decimal text, and ndigits, weight, sign, dscale with digits to base 10000.

Three column-wise ways to the binary form: small decimals (unscaled value in 18 digits) by integer
arithmetic on int64; everything else from the text, whose digits are padded to groups of four around
the point, so that all groups of the column are parsed in one call.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import (
    big_endian,
    dense,
    fixed_binary,
    fixed_values,
    int16,
    int32,
    int64,
    interleaved,
    joined,
    offsets_of,
    running_ends,
    swapped,
    value_bytes,
    var_binary,
    with_nulls_of,
    zero_strings,
)
from core.encoding.family import Family
from core.errors import DatatypeMismatch
from core.types import PgType

_BASE: Final = 10_000
_GROUP: Final = 4
_HEAD: Final = 8
_INT64_DIGITS: Final = 18
_PLAIN_SCALE_MAX: Final = 6
_NEGATIVE: Final = 0x4000
# ndigits, weight, sign, dscale of the values without digits, as numeric_send writes them.
_SPECIALS: Final = {
    "NaN": bytes.fromhex("00000000c0000000"),
    "Infinity": bytes.fromhex("00000000d0000020"),
    "-Infinity": bytes.fromhex("00000000f0000020"),
}
# The empty text stands where nulls were.
_SPECIAL_TEXTS = pa.array(["", *_SPECIALS], pa.string())
_SPECIAL_FORMS = pa.array([bytes(_HEAD), *_SPECIALS.values()], pa.binary())
_PADDINGS = zero_strings(_GROUP - 1)


def _declared(column: pa.Array, pg: PgType) -> pa.Array:
    """The column with the declared precision and scale, if there are any."""
    kind, wanted = column.type, pg.arrow
    if not pa.types.is_decimal(wanted):
        return column
    if kind.scale == wanted.scale and kind.precision <= wanted.precision:
        return column
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid as problem:
        raise DatatypeMismatch(
            f"cannot carry type {pg.sql} as Arrow type {kind}", detail=f"Arrow says: {problem}."
        ) from problem


def _unscaled(column: pa.Array) -> pa.Array:
    """The same integers without a scale."""
    kind = column.type
    wide = pa.decimal128 if pa.types.is_decimal128(kind) else pa.decimal256
    return pa.Array.from_buffers(wide(kind.precision, 0), len(column), column.buffers())


def _text(column: pa.Array, pg: PgType) -> pa.Array:
    column = _declared(_wide(column), pg)
    scale = column.type.scale
    if 0 <= scale <= _PLAIN_SCALE_MAX:
        return column.cast(pa.string())
    # Arrow writes small values of larger scales with an exponent.
    integers = _unscaled(column).cast(pa.string())
    if scale < 0:
        zeros = pc.if_else(pc.equal(integers, "0"), "", "0" * -scale)
        return joined(integers, zeros)
    sign = pc.if_else(pc.starts_with(integers, "-"), "-", "")
    digits = pc.ascii_lpad(pc.ascii_ltrim(integers, "-"), scale + 1, "0")
    whole = pc.utf8_slice_codeunits(digits, 0, -scale)
    return joined(sign, whole, ".", pc.utf8_slice_codeunits(digits, -scale))


def _wide(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_decimal128(kind) or pa.types.is_decimal256(kind):
        return column
    return column.cast(pa.decimal128(kind.precision, kind.scale))


def _binary(column: pa.Array, pg: PgType) -> pa.Array:
    column = _declared(_wide(column), pg)
    scale = column.type.scale
    padding = -scale % _GROUP
    if scale >= 0 and column.type.precision + padding <= _INT64_DIGITS:
        return _small_binary(column, scale, padding)
    return _text_binary(_text(column, pg), pg)


def _low_words(column: pa.Array) -> pa.Array:
    """The unscaled values of a decimal128 column as int64; the caller knows that they fit."""
    width = column.type.byte_width
    words = memoryview(fixed_values(column, width)).cast("q")[:: width // 8].tobytes()
    return pa.Array.from_buffers(pa.int64(), len(column), [None, pa.py_buffer(words)])


def _small_binary(column: pa.Array, scale: int, padding: int) -> pa.Array:
    rows = len(column)
    values = _low_words(pc.fill_null(column, 0) if column.null_count else column)
    left = pc.multiply(pc.abs(values), int64(10**padding))
    whole_groups = -(-max(column.type.precision - scale, 1) // _GROUP)
    count = whole_groups + (scale + padding) // _GROUP
    groups: list[pa.Array] = []
    base = int64(_BASE)
    for _ in range(count - 1):
        quotient = pc.divide(left, base)
        groups.insert(0, pc.subtract(left, pc.multiply(quotient, base)))
        left = quotient
    groups.insert(0, left)
    keep, used, first = _significant(groups)
    weight = pc.subtract(int16(whole_groups - 1), first)
    weight = pc.if_else(pc.equal(used, int16(0)), int16(0), weight)
    sign = pc.if_else(pc.less(values, int64(0)), int16(_NEGATIVE), int16(0))
    head = [(fixed_values(part, 2).tobytes(), 2) for part in (used, weight, sign)]
    digits = [(fixed_values(g.cast(pa.int16()), 2).tobytes(), 2) for g in groups]
    records = interleaved([*head, (scale.to_bytes(2, "little"), 2), *digits], rows)
    flags = interleaved([(b"\1" * 4, 4), *((fixed_values(k, 1).tobytes(), 1) for k in keep)], rows)
    flat = pa.Array.from_buffers(pa.int16(), rows * (4 + count), [None, pa.py_buffer(records)])
    mask = pa.Array.from_buffers(pa.uint8(), len(flat), [None, pa.py_buffer(flags)])
    data = big_endian(flat.filter(mask.cast(pa.bool_())), 2)
    lengths = pc.multiply(pc.add(used.cast(pa.int64()), int64(4)), int64(2))
    return var_binary(data, running_ends(lengths), column)


def _significant(groups: list[pa.Array]) -> tuple[list[pa.Array], pa.Array, pa.Array]:
    """Per group the uint8 flag "between the first and last non-zero", their number, the first."""
    some = [pc.not_equal(g, int64(0)) for g in groups]
    after = list(some)
    for k in range(len(groups) - 2, -1, -1):
        after[k] = pc.or_(some[k], after[k + 1])
    before = list(some)
    for k in range(1, len(groups)):
        before[k] = pc.or_(some[k], before[k - 1])
    keep = [pc.and_(a, b).cast(pa.uint8()) for a, b in zip(after, before, strict=True)]
    used = keep[0]
    for flag in keep[1:]:
        used = pc.add(used, flag)
    leading = pc.invert(before[0]).cast(pa.uint8())
    for flag in before[1:]:
        leading = pc.add(leading, pc.invert(flag).cast(pa.uint8()))
    return keep, used.cast(pa.int16()), leading.cast(pa.int16())


def _text_binary(column: pa.Array, _pg: PgType) -> pa.Array:
    full = dense(column)
    which = pc.index_in(full, _SPECIAL_TEXTS)
    if which.null_count == len(which):
        return with_nulls_of(column, _digits_binary(full))
    plain = pc.if_else(which.is_null(), full, pa.scalar("0", pa.string()))
    encoded = pc.coalesce(_SPECIAL_FORMS.take(which), _digits_binary(plain))
    return with_nulls_of(column, encoded)


def _digits_binary(text: pa.Array) -> pa.Array:
    """The binary form of plain decimal texts without nulls."""
    if len(text) == 0:
        return pa.array([], pa.binary())
    unsigned = pc.ascii_ltrim(text, "-")
    negative = pc.not_equal(pc.binary_length(unsigned), pc.binary_length(text))
    whole, fraction = _halves(unsigned)
    dscale = pc.binary_length(fraction).cast(pa.int16())
    whole = pc.ascii_ltrim(whole, "0")
    left = _PADDINGS.take(pc.bit_wise_and(pc.negate(pc.binary_length(whole)), int32(3)))
    right = _PADDINGS.take(pc.bit_wise_and(pc.negate(pc.binary_length(fraction)), int32(3)))
    padded = joined(left, whole, fraction, right)
    if pc.any(pc.ends_with(padded, "0000")).as_py():
        padded = pc.replace_substring_regex(padded, "(0000)+$", "")
    whole_groups = pc.divide(pc.add(pc.binary_length(whole), int32(3)), int32(4))
    weight = pc.subtract(whole_groups, int32(1))
    if pc.any(pc.starts_with(padded, "0000")).as_py():
        stripped = pc.replace_substring_regex(padded, "^(0000)+", "")
        lost = pc.subtract(pc.binary_length(padded), pc.binary_length(stripped))
        weight = pc.subtract(weight, pc.divide(lost, int32(4)))
        padded = stripped
    used = pc.divide(pc.binary_length(padded), int32(4))
    zero = pc.equal(used, int32(0))
    weight = pc.if_else(zero, int32(0), weight)
    sign = pc.if_else(pc.and_not(negative, zero), int32(_NEGATIVE), int32(0))
    parts = (used, weight, sign, dscale)
    head = [(big_endian(part.cast(pa.int16()), 2), 2) for part in parts]
    return joined(fixed_binary(interleaved(head, len(text)), _HEAD, text), _groups(padded))


def _halves(unsigned: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The digits before and after the point."""
    point = pc.match_substring(unsigned, ".")
    if pc.any(point).as_py() is not True:
        return unsigned, pc.if_else(point, unsigned, "")
    if not pc.all(point).as_py():
        unsigned = joined(unsigned, pc.if_else(point, "", "."))
    halves = pc.split_pattern(unsigned, ".")
    return pc.list_element(halves, 0), pc.list_element(halves, 1)


def _groups(padded: pa.Array) -> pa.Array:
    """Texts of whole groups of four digits as big-endian int16 digits."""
    data = value_bytes(padded).tobytes()
    groups = pa.Array.from_buffers(
        pa.binary(_GROUP), len(data) // _GROUP, [None, pa.py_buffer(data)]
    )
    numbers = groups.cast(pa.binary()).cast(pa.string()).cast(pa.int16())
    starts = offsets_of(padded)
    ends = pc.divide(pc.subtract(starts, starts[0]), int32(2))
    return var_binary(swapped(fixed_values(numbers, 2), 2), ends, padded)


def _parse(column: pa.Array, pg: PgType) -> pa.Array | None:
    if pg.text_only:
        return column
    try:
        return column.cast(pg.arrow)
    except pa.ArrowInvalid:
        return None  # NaN or infinity


NUMERIC = Family(
    text=_text,
    binary=_binary,
    parse=_parse,
    text_binary=_text_binary,
    carries=pa.types.is_decimal,
)
