"""Canonical texts of cells, as PostgreSQL 18 prints the values."""

from __future__ import annotations

import pytest

from catalog.inference.csv_text import MASK_TYPES, cell_mask, float8_text

INT8, FLOAT8, NUMERIC = "bigint", "double precision", "numeric"


# R1.3: a cell has a type only if reading it as the type gives back the same text.
@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("0", {INT8, FLOAT8, NUMERIC}),
        ("-1", {INT8, FLOAT8, NUMERIC}),
        ("-0", {FLOAT8}),
        ("-0.0", set()),
        ("007", set()),
        ("+1", set()),
        (" 1", set()),
        ("1_000", set()),
        ("٣", set()),
        ("1.5", {FLOAT8, NUMERIC}),
        ("1.50", {NUMERIC}),
        ("1.", set()),
        (".5", set()),
        ("1e+15", {FLOAT8}),
        ("1e15", set()),
        ("1e-05", {FLOAT8}),
        ("1e+400", set()),
        ("1e+20", {FLOAT8}),
        ("1.66397100553794e+17", set()),  # halfway between two doubles: Ryu prints more digits
        ("123456789012345", {INT8, FLOAT8, NUMERIC}),
        ("1234567890123456", {INT8, NUMERIC}),
        ("9223372036854775807", {INT8, NUMERIC}),
        ("9223372036854775808", {NUMERIC}),
        ("1" * 201, set()),
        ("true", {"boolean"}),
        ("false", {"boolean"}),
        ("t", set()),
        ("True", set()),
        ("2024-02-29", {"date"}),
        ("2023-02-29", set()),
        ("0000-01-01", set()),
        ("2024-1-1", set()),
        ("2024-01-01 00:00:00", {"timestamp without time zone"}),
        ("2024-01-01 00:00:00.10", set()),
        ("2024-01-01 24:00:00", set()),
        ("2024-01-01T00:00:00", set()),
        ("2024-01-01 00:00:00.1+00", {"timestamp with time zone"}),
        ("2024-01-01 00:00:00+02", set()),
        ("", set()),
        ("abc", set()),
    ],
)
def test_cell_mask(text: str, types: set[str]) -> None:
    mask = cell_mask(text)
    assert {pg_type for bit, pg_type in MASK_TYPES if mask & bit} == types


# R1.3: measured on PostgreSQL 18
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1e14, "100000000000000"),
        (1e15, "1e+15"),
        (999999999999999.0, "999999999999999"),
        (1234567890123456.0, "1.234567890123456e+15"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (123456.75, "123456.75"),
        (5e-324, "5e-324"),
        (-1.5e300, "-1.5e+300"),
    ],
)
def test_float8_text(value: float, text: str) -> None:
    assert float8_text(value) == text
