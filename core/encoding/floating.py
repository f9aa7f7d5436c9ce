"""float4 and float8: shortest text as PostgreSQL spells it, big-endian IEEE 754.

Arrow prints the shortest digits too, but differs in three ways, each repaired only for the rows it
touches: where exponents begin (PostgreSQL: below 1e-4, from 1e15 for float8 and from 1e6 for
float4; Arrow: below 1e-6 and from 1e10), how they are written (at least two digits), and values
from 2^53 (float4: 2^24) on whose shortest text lies exactly half way between two floats: Arrow
takes it, since the even neighbour wins when it is read back; PostgreSQL does not (d2s.c,
acceptBounds false). The last repair is a loop in Python over the rows in that range.
"""

from __future__ import annotations

import math
import struct
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import big_endian, fixed_binary
from core.encoding.family import Family, all_true
from core.types import PgType

_FLOAT4_OID: Final = 700
# (first value with an exponent in PostgreSQL, first integer with gaps, no half-way texts above)
_FLOAT8: Final = (1e15, 2.0**53, 1e41)
_FLOAT4: Final = (1e6, 2.0**24, 1e21)
_ARROW_EXPONENT_FROM: Final = 1e10
_EXPONENT_BELOW: Final = 1e-4


def _text(column: pa.Array, pg: PgType) -> pa.Array:
    text = column.cast(pa.string())
    single = pg.oid == _FLOAT4_OID
    limit = min(_FLOAT4[0] if single else _FLOAT8[0], _ARROW_EXPONENT_FROM)
    size = pc.abs(column)
    plain = pc.and_(
        pc.greater_equal(size, pa.scalar(_EXPONENT_BELOW, pa.float64())),
        pc.less(size, pa.scalar(limit, pa.float64())),
    )
    plain = pc.or_(plain, pc.equal(size, pa.scalar(0.0, pa.float64())))
    if all_true(plain):
        return text
    special = pc.fill_null(pc.invert(plain), False)
    values = column.filter(special)
    repaired = _repaired_text(values, text.filter(special), _FLOAT4 if single else _FLOAT8)
    return pc.replace_with_mask(text, special, repaired)


def _repaired_text(
    values: pa.Array, text: pa.Array, bounds: tuple[float, float, float]
) -> pa.Array:
    size = pc.abs(values)
    text = _named(values, text)
    text = _small_exponents(text)
    if bounds is _FLOAT4:
        text = _large_exponents(size, text)
    else:
        text = _without_exponents(values, size, text, bounds[0])
    half_way = pc.and_(pc.greater_equal(size, bounds[1]), pc.less(size, bounds[2]))
    half_way = pc.fill_null(half_way, False)
    if pc.any(half_way).as_py():
        pairs = zip(
            values.filter(half_way).to_pylist(), text.filter(half_way).to_pylist(), strict=True
        )
        strict = [_strict_text(value, shown, bounds is _FLOAT4) for value, shown in pairs]
        text = pc.replace_with_mask(text, half_way, pa.array(strict, pa.string()))
    return text


def _named(values: pa.Array, text: pa.Array) -> pa.Array:
    if pc.all(pc.is_finite(values)).as_py() is not False:
        return text
    text = pc.if_else(pc.is_nan(values), "NaN", text)
    names = pc.if_else(pc.greater(values, 0.0), "Infinity", "-Infinity")
    return pc.if_else(pc.is_inf(values), names, text)


def _small_exponents(text: pa.Array) -> pa.Array:
    """0.00001234 to 1.234e-05, and 1e-7 to 1e-07."""
    text = pc.replace_substring_regex(text, r"^(-?)0\.0000([1-9])(\d+)$", r"\1\2.\3e-05")
    text = pc.replace_substring_regex(text, r"^(-?)0\.0000([1-9])$", r"\1\2e-05")
    text = pc.replace_substring_regex(text, r"^(-?)0\.00000([1-9])(\d+)$", r"\1\2.\3e-06")
    text = pc.replace_substring_regex(text, r"^(-?)0\.00000([1-9])$", r"\1\2e-06")
    return pc.replace_substring_regex(text, r"e([-+])(\d)$", r"e\10\2")


def _large_exponents(size: pa.Array, text: pa.Array) -> pa.Array:
    """float4 from 1e6 on: 1234567 to 1.234567e+06."""
    if pc.any(pc.and_(pc.greater_equal(size, _FLOAT4[0]), pc.is_finite(size))).as_py() is not True:
        return text
    for zeros in range(6, 10):
        text = pc.replace_substring_regex(
            text, rf"^(-?\d)(\d{{{zeros}}})(?:\.(\d+))?$", rf"\1.\2\3e+0{zeros}"
        )
    return pc.replace_substring_regex(text, r"\.?0*e\+", "e+")


def _without_exponents(values: pa.Array, size: pa.Array, text: pa.Array, limit: float) -> pa.Array:
    """float8 from 1e10 to below 1e15: 1.5e+10 to 15000000000."""
    large = pc.and_(pc.greater_equal(size, _ARROW_EXPONENT_FROM), pc.less(size, limit))
    whole = pc.and_(large, pc.equal(size, pc.floor(size)))
    if pc.any(large).as_py() is not True:
        return text
    integers = pc.if_else(whole, values, 0.0).cast(pa.int64()).cast(pa.string())
    text = pc.if_else(pc.fill_null(whole, False), integers, text)
    for digits in range(10, 15):
        text = pc.replace_substring_regex(
            text, rf"^(-?\d)\.(\d{{{digits}}})(\d+)e\+{digits}$", r"\1\2.\3"
        )
    return text


def _strict_text(value: float, shown: str, single: bool) -> str:
    """The shortest text that is nearer to `value` than to its neighbours, not half way."""
    exact = int(value)
    step = _step(value, single)
    if 2 * abs(_integer(shown) - exact) < step:
        return shown
    for digits in range(sum(c.isdigit() for c in shown.partition("e")[0]), 17):
        candidate = f"{value:.{digits}e}"
        if 2 * abs(_integer(candidate) - exact) < step:
            mantissa, _, exponent = candidate.partition("e")
            return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"
    return f"{value:.16e}"


def _integer(text: str) -> int:
    """The exact integer that a text with an exponent stands for."""
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    shift = int(exponent or 0) - len(fraction)
    digits, power = int(whole + fraction), int("1" + "0" * abs(shift))
    return digits * power if shift >= 0 else digits // power


def _step(value: float, single: bool) -> int:
    """The distance to the next float away from zero."""
    if not single:
        return int(math.ulp(value))
    bits: int = struct.unpack(">I", struct.pack(">f", abs(value)))[0]
    step: int = 1 << ((bits >> 23) - 127 - 23)
    return step


def _binary(column: pa.Array, pg: PgType) -> pa.Array:
    return fixed_binary(big_endian(column, pg.typlen), pg.typlen, column)


def _parse(column: pa.Array, pg: PgType) -> pa.Array:
    return column.cast(pg.arrow)


def _text_binary(column: pa.Array, pg: PgType) -> pa.Array:
    return _binary(_parse(column, pg), pg)


FLOATING = Family(text=_text, binary=_binary, parse=_parse, text_binary=_text_binary)
