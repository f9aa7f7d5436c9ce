"""Numbers are judged from their text."""

from __future__ import annotations

from decimal import Decimal

import pytest

from catalog.inference.kinds import (
    Kind,
    exact_number,
    float_or_decimal,
    int_kind,
    integer_or_decimal,
    number_text,
)


# R1.3: 1.0 is a double, and a literal that a double would change is a decimal.
@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("1.0", 1.0),
        ("0.1", 0.1),
        ("1e3", 1000.0),
        ("5e-324", 5e-324),
        ("3.141592653589793", 3.141592653589793),
        ("3.14159265358979323846", Decimal("3.14159265358979323846")),
        ("1e400", Decimal("1e400")),
        ("1e-400", Decimal("1e-400")),
        ("0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        ("0e200000", 0.0),
    ],
)
def test_float_or_decimal(literal: str, value: float | Decimal) -> None:
    found = float_or_decimal(literal)
    assert type(found) is type(value)
    assert found == value


# R0.4: what jsonb refuses is known before it is sent (limits measured on PostgreSQL 18).
@pytest.mark.parametrize(
    "literal", ["1e131072", "1e-16384", "0e-20000", "1.5e-16383", "0e99999999999", "1e" + "9" * 30]
)
def test_beyond_numeric(literal: str) -> None:
    with pytest.raises(ValueError, match="range of type numeric"):
        float_or_decimal(literal)


# R0.4
@pytest.mark.parametrize("literal", ["1e131071", "1e-16383", "1.5e-16382"])
def test_ends_of_numeric(literal: str) -> None:
    assert exact_number(literal) == Decimal(literal)


# R0.4: Python refuses to convert more than 4,300 digits, PostgreSQL does not.
def test_very_long_integers() -> None:
    assert integer_or_decimal("7" * 5_000) == Decimal("7" * 5_000)
    assert integer_or_decimal("-12") == -12
    with pytest.raises(ValueError, match="numeric"):
        integer_or_decimal("1" * 131_073)


# R1.3
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (2**53, Kind.INT),
        (-(2**53), Kind.INT),
        (2**53 + 1, Kind.LONG),
        (2**63 - 1, Kind.LONG),
        (-(2**63), Kind.LONG),
        (2**63, Kind.BIGINT),
        (-(2**63) - 1, Kind.BIGINT),
    ],
)
def test_int_kind(number: int, kind: Kind) -> None:
    assert int_kind(number) is kind


def test_number_text_keeps_the_scale() -> None:
    assert number_text(Decimal("12.30")) == "12.30"
    assert number_text(Decimal("1E+3")) == "1000"
