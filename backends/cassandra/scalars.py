"""The scalar types of CQL, one codec each: stored bytes ↔ Arrow columns, JSON and stored bytes.

A codec names the driver's type by which the Cython parser reads the column, chosen for cheap raw
values (texts and uuids as bytes, instants as integers), and turns a whole column of raw values into
an Arrow array. Values that PostgreSQL's type cannot hold become NULL and are counted (Column.lost).
The way in takes *plain* values: bool, int, float, Decimal, str, bytes; instants, days and times are
the integers that CQL stores, a duration is (months, days, nanoseconds).
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from cassandra import cqltypes
from cassandra.util import Duration

from backends.cassandra import calendar
from backends.cassandra.digits import decimal_digits

Raw = Any
"""A value as the driver's parser gives it, by the codec's `raw` type."""


def _filled_bytes() -> Any:
    """Bytes of a type that has no empty value: zero bytes, left by old clients, are NULL."""
    made = type("_FilledBytes", (cqltypes.BytesType,), {"empty_binary_ok": False})
    # The parser's fast reader is found by this name; a class made under it would take the
    # driver's own place in its registry of types.
    made.__name__ = "BytesType"
    return made


FILLED_BYTES: Final = _filled_bytes()


class Unfit(Exception):
    """A stored value that PostgreSQL's type cannot hold; the text is the value, for people."""


@dataclass(frozen=True, slots=True)
class Column:
    """A finished column; `lost` counts values that are NULL because they did not fit."""

    values: pa.Array
    lost: int = 0
    example: str = ""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One type. `text` is PostgreSQL's text of a raw value, `json` its JSON text (both may raise
    Unfit), `pack` the stored bytes of a plain value. `single` is a raw value as pyarrow takes it
    for the Arrow carrier, None where it is the raw value itself (it may raise Unfit).
    """

    raw: Any
    column: Callable[[Sequence[Raw]], Column]
    text: Callable[[Raw], str]
    json: Callable[[Raw], str]
    pack: Callable[[Any], bytes]
    single: Callable[[Raw], Any] | None = None


def _simple(kind: pa.DataType) -> Callable[[Sequence[Raw]], Column]:
    def column(values: Sequence[Raw]) -> Column:
        return Column(pa.array(values, kind))

    return column


def column_of_texts(values: Sequence[Raw], text: Callable[[Raw], str]) -> Column:
    """A text carrier made value by value; what raises Unfit is NULL and counted."""
    shown: list[str | None] = []
    lost, example = 0, ""
    for value in values:
        try:
            shown.append(None if value is None else text(value))
        except Unfit as unfit:
            shown.append(None)
            lost, example = lost + 1, example or str(unfit)
    return Column(pa.array(shown, pa.string()), lost, example)


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _quoted(text: Callable[[Raw], str]) -> Callable[[Raw], str]:
    return lambda value: _json_text(text(value))


# Texts


def _read_text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise Unfit(repr(raw[:40])) from error
    if "\0" in text:
        raise Unfit(repr(text[:40]))
    return text


def _text_column(values: Sequence[Raw]) -> Column:
    stored = pa.array(values, pa.binary())
    data = stored.buffers()[2]
    if data is not None and b"\0" in data.to_pybytes():
        return column_of_texts(values, _read_text)
    try:
        return Column(stored.cast(pa.string()))
    except pa.ArrowInvalid:
        return column_of_texts(values, _read_text)


def _pack_ascii(text: str) -> bytes:
    return text.encode("ascii")


# Numbers


def _pack_float(form: str) -> Callable[[float], bytes]:
    return struct.Struct(form).pack


def _float_text(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _float_json(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'"{_float_text(value)}"'


def _single_text(value: float) -> str:
    """The shortest decimal that is this 4-byte number."""
    if not math.isfinite(value):
        return _float_text(value)
    return next(
        shown
        for shown in (f"{value:.{digits}g}" for digits in range(6, 10))
        if digits_agree(shown, value)
    )


def digits_agree(shown: str, value: float) -> bool:
    """Whether the text reads back as the same 4-byte number."""
    try:
        return bool(struct.pack(">f", float(shown)) == struct.pack(">f", value))
    except OverflowError:
        return False


def _single_json(value: float) -> str:
    return _single_text(value) if math.isfinite(value) else f'"{_float_text(value)}"'


_DIGITS_BEFORE: Final = 131_072
_DIGITS_AFTER: Final = 16_383


def _decimal_text(raw: bytes) -> str:
    if len(raw) < 5:
        raise Unfit(raw.hex())
    scale = int.from_bytes(raw[:4], "big", signed=True)
    unscaled = int.from_bytes(raw[4:], "big", signed=True)
    return _numeric_text(unscaled, scale)


def _numeric_text(unscaled: int, scale: int) -> str:
    if scale > _DIGITS_AFTER or -scale > _DIGITS_BEFORE or unscaled.bit_length() > 600_000:
        raise Unfit(f"{unscaled.bit_length()} bits with scale {scale}")
    if scale == 0 and unscaled.bit_length() < 10_000:
        return str(unscaled)
    sign = "-" if unscaled < 0 else ""
    digits = decimal_digits(abs(unscaled))
    if scale < 0:
        digits = digits + "0" * -scale if unscaled else "0"
    elif scale:
        digits = digits.rjust(scale + 1, "0")
        digits = f"{digits[:-scale]}.{digits[-scale:]}"
    if len(digits.partition(".")[0]) > _DIGITS_BEFORE:
        raise Unfit(f"{len(digits)} digits")
    return sign + digits


def _varint_text(raw: bytes) -> str:
    return _numeric_text(int.from_bytes(raw, "big", signed=True), 0)


def pack_varint(value: int) -> bytes:
    """The shortest two's complement, as Java's BigInteger writes it."""
    return value.to_bytes((value + (value < 0)).bit_length() // 8 + 1, "big", signed=True)


def _pack_decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int), "NaN and infinity are refused before"
    unscaled = int(Decimal((sign, digits, 0)))
    return struct.pack(">i", -exponent) + pack_varint(unscaled)


def _pack_integer_decimal(value: Decimal | int) -> bytes:
    return pack_varint(int(value))


# Bytes, uuids, addresses


def _hex_text(raw: bytes) -> str:
    return "\\x" + raw.hex()


def _uuid_text(raw: bytes) -> str:
    return str(UUID(bytes=raw))


def _inet_text(raw: bytes) -> str:
    return _address_text(ipaddress.ip_address(raw))


def _address_text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As PostgreSQL prints a host: IPv4 inside IPv6 with dots."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    words = address.packed
    if words[:12] == bytes(12) and words[12:14] != b"\0\0":
        return f"::{ipaddress.IPv4Address(words[12:])}"
    if words[:10] == bytes(10) and words[10:12] == b"\xff\xff":
        return f"::ffff:{ipaddress.IPv4Address(words[12:])}"
    return str(address)


def _pack_inet(text: str) -> bytes:
    return ipaddress.ip_address(text.split("/", maxsplit=1)[0]).packed


def _inet_column(values: Sequence[Raw]) -> Column:
    return column_of_texts(values, _inet_text)


# Instants, days, times, durations


def _instant_column(values: Sequence[Raw]) -> Column:
    stored = pa.array(values, pa.int64())
    bounds = pc.min_max(stored).as_py()
    low, high = bounds["min"], bounds["max"]
    if low is None or (low >= calendar.INSTANT_MIN and high <= calendar.ARROW_INSTANT_MAX):
        micros = pc.multiply(stored, pa.scalar(1000, pa.int64()))
        return Column(micros.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC")))
    return column_of_texts(values, _instant_text)


def _instant_text(milliseconds: int) -> str:
    if not calendar.INSTANT_MIN <= milliseconds <= calendar.INSTANT_MAX:
        raise Unfit(calendar.instant_text(milliseconds))
    return calendar.instant_text(milliseconds)


def _single_instant(milliseconds: int) -> int:
    if not calendar.INSTANT_MIN <= milliseconds <= calendar.ARROW_INSTANT_MAX:
        raise Unfit(calendar.instant_text(milliseconds))
    return milliseconds * 1000


def _instant_json(milliseconds: int) -> str:
    return _json_text(calendar.instant_text(milliseconds, "T", "+00:00"))


def _days(raw: int) -> int:
    """Days since 1970 of the stored number, which the parser read as a signed one."""
    return (raw & 0xFFFFFFFF) - calendar.DATE_ZERO


def _day_column(values: Sequence[Raw]) -> Column:
    stored = pa.array(values, pa.int32())
    days = pc.bit_wise_xor(stored, pa.scalar(-(2**31), pa.int32()))
    low, high = pa.scalar(calendar.DAYS_MIN, pa.int32()), pa.scalar(calendar.DAYS_MAX, pa.int32())
    fit = pc.and_(pc.greater_equal(days, low), pc.less_equal(days, high))
    lost = pc.sum(pc.invert(fit)).as_py() or 0
    if not lost:
        return Column(days.cast(pa.date32()))
    first = days.filter(pc.invert(fit))[0].as_py()
    kept = pc.if_else(fit, days, pa.scalar(None, pa.int32()))
    return Column(kept.cast(pa.date32()), lost, calendar.day_text(first))


def _day_text(raw: int) -> str:
    days = _days(raw)
    if not calendar.DAYS_MIN <= days <= calendar.DAYS_MAX:
        raise Unfit(calendar.day_text(days))
    return calendar.day_text(days)


def _clock_column(values: Sequence[Raw]) -> Column:
    stored = pa.array(values, pa.int64())
    micros = pc.divide(stored, pa.scalar(1000, pa.int64()))
    fit = pc.equal(pc.multiply(micros, pa.scalar(1000, pa.int64())), stored)
    lost = pc.sum(pc.invert(fit)).as_py() or 0
    if not lost:
        return Column(micros.cast(pa.time64("us")))
    first = stored.filter(pc.invert(fit))[0].as_py()
    kept = pc.if_else(fit, micros, pa.scalar(None, pa.int64()))
    return Column(kept.cast(pa.time64("us")), lost, calendar.clock_text(first))


def _clock_text(nanoseconds: int) -> str:
    if nanoseconds % 1000:
        raise Unfit(calendar.clock_text(nanoseconds))
    return calendar.clock_text(nanoseconds)


def _single_day(raw: int) -> int:
    days = _days(raw)
    if not calendar.DAYS_MIN <= days <= calendar.DAYS_MAX:
        raise Unfit(calendar.day_text(days))
    return days


def _single_clock(nanoseconds: int) -> int:
    if nanoseconds % 1000:
        raise Unfit(calendar.clock_text(nanoseconds))
    return nanoseconds // 1000


def _duration_text(value: Any) -> str:
    shown = calendar.interval_text(value.months, value.days, value.nanoseconds)
    if value.nanoseconds % 1000:
        raise Unfit(shown)
    return shown


def _duration_json(value: Any) -> str:
    return _json_text(calendar.interval_text(value.months, value.days, value.nanoseconds))


def _pack_duration(value: tuple[int, int, int]) -> bytes:
    packed: bytes = cqltypes.DurationType.serialize(Duration(*value), 5)
    return packed


def _pack_day(days: int) -> bytes:
    return struct.pack(">I", days + calendar.DATE_ZERO)


_I16, _I32, _I64 = (struct.Struct(form).pack for form in (">h", ">i", ">q"))


def _integer(raw: Any, kind: pa.DataType, pack: Callable[[int], bytes]) -> Scalar:
    return Scalar(raw, _simple(kind), str, str, pack)


_TEXT: Final = Scalar(
    cqltypes.BytesType,
    _text_column,
    _read_text,
    _quoted(_read_text),
    lambda text: text.encode(),
    _read_text,
)
_UUID: Final = Scalar(FILLED_BYTES, _simple(pa.binary(16)), _uuid_text, _quoted(_uuid_text), bytes)

SCALARS: Final[dict[str, Scalar]] = {
    "ascii": Scalar(
        cqltypes.BytesType,
        _text_column,
        _read_text,
        _quoted(_read_text),
        _pack_ascii,
        _read_text,
    ),
    "text": _TEXT,
    "varchar": _TEXT,
    "boolean": Scalar(
        cqltypes.BooleanType,
        _simple(pa.bool_()),
        lambda value: "true" if value else "false",
        lambda value: "true" if value else "false",
        lambda value: b"\1" if value else b"\0",
    ),
    "tinyint": _integer(cqltypes.ByteType, pa.int16(), struct.Struct(">b").pack),
    "smallint": _integer(cqltypes.ShortType, pa.int16(), _I16),
    "int": _integer(cqltypes.Int32Type, pa.int32(), _I32),
    "bigint": _integer(cqltypes.LongType, pa.int64(), _I64),
    "counter": _integer(cqltypes.LongType, pa.int64(), _I64),
    "varint": Scalar(
        FILLED_BYTES,
        lambda values: column_of_texts(values, _varint_text),
        _varint_text,
        _varint_text,
        _pack_integer_decimal,
        _varint_text,
    ),
    "decimal": Scalar(
        FILLED_BYTES,
        lambda values: column_of_texts(values, _decimal_text),
        _decimal_text,
        _decimal_text,
        _pack_decimal,
        _decimal_text,
    ),
    "float": Scalar(
        cqltypes.FloatType, _simple(pa.float32()), _single_text, _single_json, _pack_float(">f")
    ),
    "double": Scalar(
        cqltypes.DoubleType, _simple(pa.float64()), _float_text, _float_json, _pack_float(">d")
    ),
    "timestamp": Scalar(
        cqltypes.LongType, _instant_column, _instant_text, _instant_json, _I64, _single_instant
    ),
    "date": Scalar(
        cqltypes.Int32Type,
        _day_column,
        _day_text,
        lambda raw: _json_text(calendar.day_text(_days(raw))),
        _pack_day,
        _single_day,
    ),
    "time": Scalar(
        cqltypes.LongType,
        _clock_column,
        _clock_text,
        lambda raw: _json_text(calendar.clock_text(raw)),
        _I64,
        _single_clock,
    ),
    "uuid": _UUID,
    "timeuuid": _UUID,
    "inet": Scalar(
        FILLED_BYTES,
        _inet_column,
        _inet_text,
        _quoted(_inet_text),
        _pack_inet,
        _inet_text,
    ),
    "blob": Scalar(cqltypes.BytesType, _simple(pa.binary()), _hex_text, _quoted(_hex_text), bytes),
    "duration": Scalar(
        cqltypes.DurationType,
        lambda values: column_of_texts(values, _duration_text),
        _duration_text,
        _duration_json,
        _pack_duration,
        _duration_text,
    ),
}
"""Every scalar of `types.TYPES`."""

UUID_TEXT: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
