"""timestamp and timestamptz: ISO text (timestamptz in UTC, +00), int64 microseconds since 2000.

The text carrier of timestamptz may have any numeric zone; the text format passes it on as it is.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import big_endian, fixed_binary, floor_divide, int64, joined
from core.encoding.date import check_bounds, day_texts, days_of, in_text_range, with_infinity
from core.encoding.family import Affixed, Family
from core.encoding.time import (
    MICROSECONDS_PER_DAY,
    MICROSECONDS_PER_SECOND,
    clock_microseconds,
    clock_text,
    without_zeros,
    zone_seconds,
)
from core.types import PgType

_PG_EPOCH: Final = 946_684_800 * MICROSECONDS_PER_SECOND
# 4714-11-24 BC, relative to 1970; Arrow's last microsecond lies before PostgreSQL's.
_FIRST: Final = -210_866_803_200 * MICROSECONDS_PER_SECOND
_INFINITY: Final = 2**63 - 1
_MINUS_INFINITY: Final = -(2**63)
_UTC: Final = b"+00"
_PARTS: Final = (
    r"^(?P<year>\d+)(?P<rest>-\d\d-\d\d) (?P<time>[0-9:.]+)"
    r"(?:(?P<sign>[-+])(?P<h>\d\d)(?::(?P<m>\d\d))?(?::(?P<s>\d\d))?)?(?P<era> BC)?$"
)


def _text(column: pa.Array, pg: PgType) -> pa.Array | Affixed:
    numbers = column.cast(pa.int64())
    zone = _UTC if pg.typname == "timestamptz" else b""
    if in_text_range(numbers, MICROSECONDS_PER_DAY):
        text = without_zeros(numbers.cast(pa.timestamp("us")).cast(pa.string()))
        return Affixed(text, suffix=zone) if zone else text
    check_bounds(numbers, _FIRST, _INFINITY, "timestamp")
    days = floor_divide(numbers, MICROSECONDS_PER_DAY)
    clock = clock_text(pc.subtract(numbers, pc.multiply(days, MICROSECONDS_PER_DAY)))
    text, era = day_texts(days)
    return joined(text, b" ", clock, zone, era)


def _send(microseconds: pa.Array, like: pa.Array) -> pa.Array:
    return fixed_binary(big_endian(microseconds, 8), 8, like)


def _binary(column: pa.Array, _pg: PgType) -> pa.Array:
    numbers = column.cast(pa.int64())
    check_bounds(numbers, _FIRST, _INFINITY, "timestamp")
    return _send(pc.subtract(numbers, int64(_PG_EPOCH)), column)


def _parse(column: pa.Array, pg: PgType) -> pa.Array | None:
    try:
        return column.cast(pg.arrow)
    except pa.ArrowInvalid:
        if pc.any(pc.ends_with(column, "infinity")).as_py():
            return None
    try:
        return pc.add_checked(_since_2000(column), _PG_EPOCH).cast(pg.arrow)
    except pa.ArrowInvalid:
        return None  # after 294247-01-10


def _since_2000(column: pa.Array) -> pa.Array:
    """Microseconds since 2000 of finite texts; null for infinity."""
    parts = pc.extract_regex(column, _PARTS)
    year, rest, time, era = (pc.struct_field(parts, k) for k in ("year", "rest", "time", "era"))
    days = pc.subtract(days_of(year, rest, pc.equal(era, " BC")), _PG_EPOCH // MICROSECONDS_PER_DAY)
    east = pc.multiply(zone_seconds(parts), MICROSECONDS_PER_SECOND)
    clock = pc.subtract(clock_microseconds(time), east)
    return pc.add(pc.multiply(days, MICROSECONDS_PER_DAY), clock)


def _text_binary(column: pa.Array, pg: PgType) -> pa.Array:
    try:
        return _binary(column.cast(pg.arrow), pg)
    except pa.ArrowInvalid:
        bounds = (_MINUS_INFINITY, _INFINITY)
        return _send(with_infinity(column, _since_2000(column), bounds), column)


TIMESTAMP = Family(text=_text, binary=_binary, parse=_parse, text_binary=_text_binary)
