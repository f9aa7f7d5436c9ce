"""Rows of plain values are encoded to the bytes that the column encoder makes (R6.1)."""

from __future__ import annotations

import math
import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.encoding.plain_rows import encode_plain_rows, plain_cells, split_rows
from core.encoding.rows import encode_data_rows
from core.types import type_by_name

VALUES: dict[str, list[Any]] = {
    "smallint": [0, None, -(2**15), 2**15 - 1],
    "integer": [0, None, -(2**31), 2**31 - 1],
    "bigint": [0, None, -(2**63), 2**63 - 1],
    "boolean": [True, None, False],
    "text": ["é", None, "", "日本語"],
    "character varying": ["x", None],
    "uuid": [bytes(range(16)), None],
    "double precision": [
        1.5, None, -0.0, 0.0, 1e15, 1e14, 999_999_999_999_999.9, 1e-4, 9.9e-5, -2.0, 5e-324,
        1e300, math.inf, -math.inf, math.nan, 0.1, 1e22, 123456789.125,
    ],
    "timestamp with time zone": [0, None, 946_684_800_000_000, -1, -210_866_803_200_000_000],
}  # fmt: skip


def both(name: str, form: int, values: list[Any]) -> tuple[list[bytes], list[bytes]]:
    """The messages by values and by columns; no plain ones are two empty lists."""
    field = type_by_name(name)
    cells = plain_cells((field, field), (form, form))
    if cells is None:
        return [], []
    column = pa.array(values, field.arrow)
    batch = pa.RecordBatch.from_arrays([column, column], ["a", "b"])
    expected = split_rows(bytes(encode_data_rows(batch, [field, field], [form, form])))
    return encode_plain_rows([(value, value) for value in values], cells), expected


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("name", list(VALUES))
def test_same_bytes(name: str, form: int) -> None:
    found, expected = both(name, form, VALUES[name])
    assert found == expected
    assert bool(found) == ((name, form) != ("timestamp with time zone", 0))


@given(st.integers(0, 2**64 - 1))
def test_every_double(bits: int) -> None:
    [value] = struct.unpack(">d", bits.to_bytes(8))
    found, expected = both("double precision", 0, [value])
    assert found == expected


@pytest.mark.parametrize("name", ["numeric", "jsonb", "integer[]", "date", "bytea", "bpchar"])
def test_types_without_plain_values(name: str) -> None:
    assert plain_cells((type_by_name("bigint"), type_by_name(name)), (0, 0)) is None
