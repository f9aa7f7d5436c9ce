"""Instants and dates as PostgreSQL's input text, over its whole range (4714 BC to 294276).

Python's datetime ends at year 9999 and knows no BC, so days are turned into dates by integer
arithmetic (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
"""

from __future__ import annotations

from typing import Final

MICROSECONDS: Final = 1_000_000
DAY_US: Final = 86_400 * MICROSECONDS
# Manual table 8.9: timestamps from 4714-11-24 BC up to the end of 294276, in microseconds.
TIMESTAMP_US_MIN: Final = -210_866_803_200 * MICROSECONDS
TIMESTAMP_US_MAX: Final = 9_224_318_016_000 * MICROSECONDS - 1
DATE_DAYS_MIN: Final = -2_440_588
DATE_DAYS_MAX: Final = 2_145_042_905  # 5874897-12-31


def timestamp_text(us: int, zone: str = "") -> str | None:
    """Microseconds since 1970 as a timestamp; None outside of PostgreSQL's range.

    `zone` is `+00` for timestamptz. No trailing zeros in the fraction: PostgreSQL's own output.
    """
    if not TIMESTAMP_US_MIN <= us <= TIMESTAMP_US_MAX:
        return None
    days, rest = divmod(us, DAY_US)
    date, era = _civil(days)
    return f"{date} {time_text(rest)}{zone}{era}"


def date_text(days: int) -> str | None:
    """Days since 1970 as a date; None outside of PostgreSQL's range."""
    if not DATE_DAYS_MIN <= days <= DATE_DAYS_MAX:
        return None
    date, era = _civil(days)
    return date + era


def time_text(us: int) -> str:
    """Microseconds since midnight as a time."""
    seconds, fraction = divmod(us, MICROSECONDS)
    minutes, second = divmod(seconds, 60)
    text = f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text


def _civil(days: int) -> tuple[str, str]:
    """A day as year-month-day and its era mark."""
    era, of_era = divmod(days + 719_468, 146_097)
    year_of_era = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    if year > 0:
        return f"{year:04d}-{month:02d}-{day:02d}", ""
    return f"{1 - year:04d}-{month:02d}-{day:02d}", " BC"
