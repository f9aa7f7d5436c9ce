"""Instants, days, clock times and durations of CQL in PostgreSQL's words.

CQL counts milliseconds since 1970 (timestamp), days with 1970 at 2**31 (date), nanoseconds of a day
(time), and months, days and nanoseconds (duration). The bounds are PostgreSQL 18's: datatype/
timestamp.h and date.h.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

DATE_ZERO: Final = 1 << 31
MILLISECONDS_PER_DAY: Final = 86_400_000
NANOSECONDS_PER_DAY: Final = 86_400 * 10**9

DAYS_MIN: Final = -2_440_588
DAYS_MAX: Final = 2_145_042_905
INSTANT_MIN: Final = -210_866_803_200_000
INSTANT_MAX: Final = 9_224_318_016_000_000 - 1
"""PostgreSQL's first and last millisecond: 4714-11-24 BC and 294276-12-31."""
ARROW_INSTANT_MAX: Final = (2**63 - 1) // 1000
"""The last millisecond that microseconds since 1970 can say; after it the text carrier."""

_EPOCH: Final = dt.date(1970, 1, 1)
_CYCLE_DAYS: Final = 146_097
"""Days of 400 Gregorian years, after which the calendar repeats."""


def day_text(days: int) -> str:
    """A day since 1970 as PostgreSQL prints a date, of any year."""
    year, rest = _year_and_rest(days)
    return f"{year:04}-{rest}" if year > 0 else f"{1 - year:04}-{rest} BC"


def instant_text(milliseconds: int, separator: str = " ", zone: str = "+00") -> str:
    """A millisecond since 1970 as PostgreSQL prints a timestamptz in UTC, of any year."""
    days, clock = divmod(milliseconds, MILLISECONDS_PER_DAY)
    year, rest = _year_and_rest(days)
    seconds, fraction = divmod(clock, 1000)
    shown = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    shown += f".{fraction:03}".rstrip("0") if fraction else ""
    era = " BC" if year <= 0 else ""
    return f"{year if year > 0 else 1 - year:04}-{rest}{separator}{shown}{zone}{era}"


def _year_and_rest(days: int) -> tuple[int, str]:
    """The astronomical year (0 is 1 BC) and month-day."""
    cycles, inside = divmod(days, _CYCLE_DAYS)
    day = _EPOCH + dt.timedelta(days=inside)
    return day.year + 400 * cycles, f"{day.month:02}-{day.day:02}"


def clock_text(nanoseconds: int) -> str:
    """A time of day with as many digits as it has, up to nine."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    shown = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return shown + (f".{fraction:09}".rstrip("0") if fraction else "")


def interval_text(months: int, days: int, nanoseconds: int) -> str:
    """A duration as PostgreSQL prints an interval (IntervalStyle postgres).

    >>> interval_text(-14, 0, -1_500_000_000)
    '-1 years -2 mons -00:00:01.5'
    """
    parts: list[str] = []
    signs = [months < 0, days < 0]
    years, mons = divmod(abs(months), 12)
    for count, word, negative in (
        (years, "year", signs[0]),
        (mons, "mon", signs[0]),
        (abs(days), "day", signs[1]),
    ):
        if count:
            plural = "" if count == 1 and not negative else "s"
            parts.append(f"{'-' if negative else ''}{count} {word}{plural}")
    if nanoseconds or not parts:
        sign = "-" if nanoseconds < 0 else ""
        parts.append(sign + clock_text(abs(nanoseconds)))
    return " ".join(parts)


_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_TIME: Final = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?")
_INSTANT: Final = re.compile(
    rf"{_DATE.pattern}[ T]{_TIME.pattern}(?:Z|([-+])(\d\d)(?::?(\d\d))?(?::(\d\d))?)"
)


def read_day(text: str) -> int | None:
    """Days since 1970 of an ISO date of the years 1 to 9999; None for another form."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        day = dt.date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None
    return (day - _EPOCH).days


def read_clock(text: str) -> int | None:
    """Nanoseconds of an ISO time below 24:00:00; None for another form."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3])
    if hours > 23 or minutes > 59 or seconds > 59:
        return None
    micros = int((match[4] or "").ljust(6, "0"))
    return ((hours * 60 + minutes) * 60 + seconds) * 10**9 + micros * 1000


def read_instant(text: str) -> int | None:
    """Microseconds since 1970 of an ISO instant with its zone; None for another form."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    days, clock = read_day(text[:10]), read_clock(re.split("[-+Z]", text[11:])[0])
    if days is None or clock is None:
        return None
    east = sum(int(match[8 + i] or 0) * unit for i, unit in enumerate((0, 3600, 60, 1)) if i)
    if match[8] == "-":
        east = -east
    return days * 86_400_000_000 + clock // 1000 - east * 1_000_000
