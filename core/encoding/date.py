"""date: ISO text with BC and infinity; int32 days since 2000-01-01.

Also the calendar that timestamp shares. Arrow reads and prints the years 1 to 9999; other years are
moved by whole 400-year cycles (146,097 days) into its range and moved back in the text.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import big_endian, fixed_binary, floor_divide, int32, joined
from core.encoding.family import Family
from core.errors import DatetimeFieldOverflow
from core.types import PgType

PG_EPOCH_DAYS: Final = 10_957
_CYCLE_DAYS: Final = 146_097
_CYCLE_YEARS: Final = 400
_BASE_CYCLE: Final = 5
_FIRST_DAY: Final = -719_162  # 0001-01-01
_LAST_DAY: Final = 2_932_896  # 9999-12-31
# PostgreSQL: 4714-11-24 BC to before 5874898-01-01, relative to 1970.
_PG_FIRST_DAY: Final = -2_451_545 + PG_EPOCH_DAYS
_PG_LAST_DAY: Final = 2_145_031_948 + PG_EPOCH_DAYS
_INFINITY: Final = 2**31 - 1
_MINUS_INFINITY: Final = -(2**31)
_PARTS: Final = r"^(?P<year>\d+)(?P<rest>-\d\d-\d\d)(?P<era> BC)?$"


def in_text_range(numbers: pa.Array, per_day: int = 1) -> bool:
    """Whether Arrow prints all these days (or units of which a day has `per_day`) as PostgreSQL."""
    bounds = pc.min_max(numbers).as_py()
    return bounds["min"] is None or bool(
        bounds["min"] >= _FIRST_DAY * per_day and bounds["max"] < (_LAST_DAY + 1) * per_day
    )


def day_texts(days: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Days since 1970 (int64) as ISO text of any year, and the suffix ' BC' or ''."""
    cycle = floor_divide(pc.add(days, 719_468), _CYCLE_DAYS)
    moved = pc.subtract(days, pc.multiply(pc.subtract(cycle, _BASE_CYCLE), _CYCLE_DAYS))
    text = moved.cast(pa.int32()).cast(pa.date32()).cast(pa.string())
    years = pc.utf8_slice_codeunits(text, 0, 4).cast(pa.int64())
    year = pc.add(years, pc.multiply(pc.subtract(cycle, _BASE_CYCLE), _CYCLE_YEARS))
    before = pc.less_equal(year, 0)
    shown = pc.if_else(before, pc.subtract(1, year), year).cast(pa.string())
    full = joined(pc.ascii_lpad(shown, 4, "0"), pc.utf8_slice_codeunits(text, 4))
    return full, pc.if_else(before, " BC", "")


def days_of(year: pa.Array, rest: pa.Array, before: pa.Array) -> pa.Array:
    """Days since 1970 (int64) of year texts, '-MM-DD' texts and flags for BC."""
    years = year.cast(pa.int64())
    years = pc.if_else(before, pc.subtract(1, years), years)
    cycle = floor_divide(years, _CYCLE_YEARS)
    moved = pc.subtract(years, pc.multiply(pc.subtract(cycle, _BASE_CYCLE), _CYCLE_YEARS))
    days = joined(moved.cast(pa.string()), rest).cast(pa.date32()).cast(pa.int32())
    shift = pc.multiply(pc.subtract(cycle, _BASE_CYCLE), _CYCLE_DAYS)
    return pc.add(days.cast(pa.int64()), shift)


def check_bounds(numbers: pa.Array, first: int, last: int, what: str) -> None:
    """Refuse values that Arrow can hold and PostgreSQL cannot."""
    bounds = pc.min_max(numbers).as_py()
    if bounds["min"] is not None and not first <= bounds["min"] <= bounds["max"] <= last:
        raise DatetimeFieldOverflow(f"{what} out of range")


def with_infinity(text: pa.Array, numbers: pa.Array, bounds: tuple[int, int]) -> pa.Array:
    """`numbers` with the two bounds where the text says -infinity and infinity."""
    low, high = (pa.scalar(b, numbers.type) for b in bounds)
    numbers = pc.if_else(pc.equal(text, "infinity"), high, numbers)
    return pc.if_else(pc.equal(text, "-infinity"), low, numbers)


def _text(column: pa.Array, _pg: PgType) -> pa.Array:
    days = column.cast(pa.int32())
    if in_text_range(days):
        return column.cast(pa.string())
    check_bounds(days, _PG_FIRST_DAY, _PG_LAST_DAY, "date")
    text, era = day_texts(days.cast(pa.int64()))
    return joined(text, era)


def _send(days: pa.Array, like: pa.Array) -> pa.Array:
    return fixed_binary(big_endian(days, 4), 4, like)


def _binary(column: pa.Array, _pg: PgType) -> pa.Array:
    days = column.cast(pa.int32())
    check_bounds(days, _PG_FIRST_DAY, _PG_LAST_DAY, "date")
    return _send(pc.subtract(days, int32(PG_EPOCH_DAYS)), column)


def _parse(column: pa.Array, _pg: PgType) -> pa.Array | None:
    try:
        return column.cast(pa.date32())
    except pa.ArrowInvalid:
        days = _all_days(column)
        infinite = pc.ends_with(column, "infinity")
        return None if pc.any(infinite).as_py() else days.cast(pa.int32()).cast(pa.date32())


def _all_days(column: pa.Array) -> pa.Array:
    parts = pc.extract_regex(column, _PARTS)
    year, rest, era = (pc.struct_field(parts, k) for k in ("year", "rest", "era"))
    return days_of(year, rest, pc.equal(era, " BC"))


def _text_binary(column: pa.Array, pg: PgType) -> pa.Array:
    try:
        return _binary(column.cast(pa.date32()), pg)
    except pa.ArrowInvalid:
        days = pc.subtract(_all_days(column), PG_EPOCH_DAYS)
        days = with_infinity(column, days, (_MINUS_INFINITY, _INFINITY))
        return _send(days.cast(pa.int32()), column)


DATE = Family(text=_text, binary=_binary, parse=_parse, text_binary=_text_binary)
