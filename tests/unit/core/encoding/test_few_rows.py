"""A few rows are encoded to the bytes that the column encoder makes (R6.1)."""

from __future__ import annotations

import pyarrow as pa
import pytest

from core.encoding.few_rows import ROWS_MAX, encode_few_rows
from core.encoding.rows import encode_data_rows
from core.types import type_by_name

COLUMNS = [
    (pa.array([1, None, -(2**63)], pa.int64()), "bigint"),
    (pa.array([1, None, -1], pa.int32()), "integer"),
    (pa.array([1, None, 2**31 - 1], pa.int32()), "bigint"),
    (pa.array([True, None, False]), "boolean"),
    (pa.array(["é", None, ""]), "text"),
    (pa.array(["1.50", None, "NaN"]), "numeric"),
    (pa.array([1.5, None, -0.0]), "double precision"),
    (pa.array(["2024-01-01 00:00:00+00", None, "infinity"]), "timestamp with time zone"),
    (pa.array([[1, None], None, []], pa.list_(pa.int32())), "integer[]"),
    (pa.array([b"\x00", None, b""], pa.binary()), "bytea"),
    (pa.array(["{}", None, "[1]"]), "jsonb"),
]


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize(("column", "name"), COLUMNS, ids=[name for _, name in COLUMNS])
def test_same_bytes(column: pa.Array, name: str, form: int) -> None:
    batch = pa.RecordBatch.from_arrays([column, column], ["a", "b"])
    fields = [type_by_name(name)] * 2
    expected = bytes(encode_data_rows(batch, fields, [form, 0]))
    assert encode_few_rows(batch, fields, [form, 0]) == expected


def test_many_rows() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(range(ROWS_MAX + 1), pa.int64())], ["a"])
    fields = [type_by_name("bigint")]
    assert encode_few_rows(batch, fields, [0]) == bytes(encode_data_rows(batch, fields, [0]))
