"""time and timetz: ISO text; int64 microseconds, and for timetz the int32 zone in seconds west."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import big_endian, fixed_binary, int64, interleaved
from core.encoding.family import Family
from core.types import PgType

MICROSECONDS_PER_SECOND: Final = 1_000_000
MICROSECONDS_PER_DAY: Final = 86_400 * MICROSECONDS_PER_SECOND
_ZONE: Final = r"^(?P<time>[0-9:.]+)(?P<sign>[-+])(?P<h>\d+)(?::(?P<m>\d\d))?(?::(?P<s>\d\d))?$"


def without_zeros(text: pa.Array) -> pa.Array:
    """Texts with six fractional digits, trailing zeros and a bare point dropped."""
    return pc.ascii_rtrim(pc.ascii_rtrim(text, "0"), ".")


def clock_text(microseconds: pa.Array) -> pa.Array:
    """Microseconds of a day (int64) as HH:MM:SS[.ffffff]."""
    return without_zeros(microseconds.cast(pa.time64("us")).cast(pa.string()))


def integers(text: pa.Array) -> pa.Array:
    """Digit texts as int64; the empty text is 0."""
    return pc.if_else(pc.equal(text, ""), "0", text).cast(pa.int64())


def fraction(text: pa.Array) -> pa.Array:
    """Fractional digits as microseconds."""
    return pc.ascii_rpad(text, 6, "0").cast(pa.int64())


def clock_microseconds(text: pa.Array) -> pa.Array:
    """HH:MM:SS[.ffffff] (24:00:00 included) as microseconds."""
    hours = pc.utf8_slice_codeunits(text, 0, 2).cast(pa.int64())
    minutes = pc.utf8_slice_codeunits(text, 3, 5).cast(pa.int64())
    seconds = pc.utf8_slice_codeunits(text, 6, 8).cast(pa.int64())
    total = total_seconds(hours, minutes, seconds)
    return pc.add(
        pc.multiply(total, int64(MICROSECONDS_PER_SECOND)),
        fraction(pc.utf8_slice_codeunits(text, 9)),
    )


def total_seconds(hours: pa.Array, minutes: pa.Array, seconds: pa.Array) -> pa.Array:
    """Hours, minutes and seconds as seconds."""
    sixty = int64(60)
    return pc.add(pc.multiply(pc.add(pc.multiply(hours, sixty), minutes), sixty), seconds)


def zone_seconds(parts: pa.Array) -> pa.Array:
    """Seconds east of UTC from a struct of the texts sign, h, m, s."""
    fields = (integers(pc.struct_field(parts, k)) for k in ("h", "m", "s"))
    east = total_seconds(*fields)
    return pc.if_else(pc.equal(pc.struct_field(parts, "sign"), "-"), pc.negate(east), east)


def _text(column: pa.Array, _pg: PgType) -> pa.Array:
    return without_zeros(column.cast(pa.string()))


def _binary(column: pa.Array, _pg: PgType) -> pa.Array:
    return fixed_binary(big_endian(column, 8), 8, column)


def _parse(column: pa.Array, _pg: PgType) -> pa.Array | None:
    microseconds = clock_microseconds(column)
    if pc.any(pc.greater_equal(microseconds, int64(MICROSECONDS_PER_DAY))).as_py():
        return None  # 24:00:00
    return microseconds.cast(pa.time64("us"))


def _text_binary(column: pa.Array, _pg: PgType) -> pa.Array:
    return fixed_binary(big_endian(clock_microseconds(column), 8), 8, column)


TIME = Family(text=_text, binary=_binary, parse=_parse, text_binary=_text_binary)


def _timetz_binary(column: pa.Array, _pg: PgType) -> pa.Array:
    parts = pc.extract_regex(column, _ZONE)
    microseconds = clock_microseconds(pc.struct_field(parts, "time"))
    west = pc.negate(zone_seconds(parts)).cast(pa.int32())
    records = interleaved([(big_endian(microseconds, 8), 8), (big_endian(west, 4), 4)], len(column))
    return fixed_binary(records, 12, column)


TIMETZ = Family(text_binary=_timetz_binary)
