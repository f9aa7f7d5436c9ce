"""interval: text of IntervalStyle postgres; int64 microseconds, int32 days, int32 months.

Text carrier only: Arrow's month_day_nano counts nanoseconds and so holds less than PostgreSQL.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import big_endian, fixed_binary, interleaved
from core.encoding.date import with_infinity
from core.encoding.family import Family
from core.encoding.time import MICROSECONDS_PER_SECOND, fraction, integers, total_seconds
from core.types import PgType

_WIDTH: Final = 16
_PARTS: Final = (
    r"^(?:(?P<years>[-+]?\d+) years? ?)?(?:(?P<months>[-+]?\d+) mons? ?)?"
    r"(?:(?P<days>[-+]?\d+) days? ?)?"
    r"(?:(?P<sign>[-+])?(?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d)(?:\.(?P<f>\d+))?)?$"
)
_INT32: Final = (-(2**31), 2**31 - 1)
_INT64: Final = (-(2**63), 2**63 - 1)


def _text_binary(column: pa.Array, _pg: PgType) -> pa.Array:
    parts = pc.extract_regex(column, _PARTS)

    def part(name: str) -> pa.Array:
        return pc.struct_field(parts, name)

    def signed(name: str) -> pa.Array:
        return integers(pc.ascii_ltrim(part(name), "+"))

    months = pc.add(pc.multiply(signed("years"), 12), signed("months"))
    seconds = total_seconds(*(integers(part(k)) for k in ("h", "m", "s")))
    negative = pc.equal(part("sign"), "-")
    # The sign goes first: the minimum has no positive counterpart.
    unit = pc.if_else(negative, -1, 1)
    clock = pc.multiply(pc.multiply(seconds, unit), MICROSECONDS_PER_SECOND)
    clock = pc.add(clock, pc.multiply(fraction(part("f")), unit))
    days = with_infinity(column, signed("days"), _INT32).cast(pa.int32())
    months = with_infinity(column, months, _INT32).cast(pa.int32())
    clock = with_infinity(column, clock, _INT64)
    fields = [(big_endian(clock, 8), 8), (big_endian(days, 4), 4), (big_endian(months, 4), 4)]
    return fixed_binary(interleaved(fields, len(column)), _WIDTH, column)


INTERVAL = Family(text_binary=_text_binary)
