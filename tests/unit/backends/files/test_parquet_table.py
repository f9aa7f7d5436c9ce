"""Parquet: nested, exact, and the values that other systems do not have."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backends.files.parquet_table import column_values
from backends.files.records import ReadOptions
from catalog.inference.kinds import Kind, Typed
from core.errors import BadCopyFormat
from tests.unit.backends.files.reading import read


def pg(values: list[Any]) -> list[Any]:
    return [value.pg if isinstance(value, Typed) else value for value in values]


# R0.4: each Arrow type by its exact value (R6.4: docs/types.md)
@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1, None], pa.int8()), [1, None]),
        (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
        (pa.array([1.5, float("nan"), float("-inf"), -0.0]), [1.5, "NaN", "-Infinity", "-0"]),
        (pa.array([0.1], pa.float32()), [0.10000000149011612]),
        (pa.array([True, None]), [True, None]),
        (pa.array(["x", ""]).dictionary_encode(), ["x", ""]),
        (pa.array([Decimal("1.10")], pa.decimal128(10, 2)), [Decimal("1.10")]),
        (pa.array([b"\x00\xff"]), ["\\x00ff"]),
        (pa.array([b"ab"], pa.binary(2)), ["\\x6162"]),
        (pa.array([date(2024, 2, 29)]), ["2024-02-29"]),
        (pa.array([0], pa.int64()).cast(pa.timestamp("ms")), ["1970-01-01 00:00:00"]),
        (pa.array([1_500_000], pa.timestamp("us", "UTC")), ["1970-01-01 00:00:01.5+00"]),
        (pa.array([-62198755200000], pa.timestamp("ms", "UTC")), ["0002-01-01 00:00:00+00 BC"]),
        (pa.array([2_000], pa.timestamp("ns")), ["1970-01-01 00:00:00.000002"]),
        (pa.array([1_000_000_001], pa.timestamp("ns")), ["1970-01-01 00:00:01.000000001"]),
        (pa.array([2**62], pa.timestamp("s")), [2**62 * 1_000_000]),
        (pa.array([time(1, 2, 3, 4)]), ["01:02:03.000004"]),
        (pa.array([timedelta(seconds=1)]), ["1000000 microseconds"]),
        (pa.array([None, None], pa.null()), [None, None]),
    ],
)
def test_leaves(array: Any, expected: list[Any]) -> None:
    assert pg(column_values(array)) == expected


def test_kinds_of_instants() -> None:
    (zoned,) = column_values(pa.array([0], pa.timestamp("us", "Europe/Berlin")))
    assert zoned == Typed(
        Kind.TIMESTAMPTZ, "1970-01-01 00:00:00+00", '{"$date":"1970-01-01T00:00:00Z"}'
    )
    (plain,) = column_values(pa.array([0], pa.timestamp("us")))
    assert plain == Typed(Kind.TIMESTAMP, "1970-01-01 00:00:00", '"1970-01-01T00:00:00"')


# R0.4: nested types, sliced and with nulls
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.list_(pa.int64()), [[1, 2], None, [], [None, 3]]),
        (pa.large_list(pa.string()), [["x"], None, []]),
        (pa.struct([("a", pa.int64()), ("b", pa.string())]), [{"a": 1, "b": None}, None]),
        (pa.list_(pa.struct([("a", pa.list_(pa.int64()))])), [[{"a": [1]}, None], None, []]),
        (pa.list_(pa.int64(), 2), [[1, 2], [3, 4]]),
    ],
)
def test_nested(kind: Any, values: list[Any]) -> None:
    array = pa.array(values, kind)
    assert column_values(array) == values
    assert column_values(array.slice(1)) == values[1:]


def test_maps() -> None:
    texts = pa.array([[("x", 1), ("y", None)], None, []], pa.map_(pa.string(), pa.int64()))
    assert column_values(texts) == [{"x": 1, "y": None}, None, {}]
    numbers = pa.array([[(1, "a")]], pa.map_(pa.int64(), pa.string()))
    assert column_values(numbers) == [[{"key": 1, "value": "a"}]]


def test_uuids() -> None:
    one = uuid.UUID("0f3a1c2e-0000-4000-8000-00000000000a")
    storage = pa.array([one.bytes, None], pa.binary(16))
    array = pa.ExtensionArray.from_storage(pa.uuid(), storage)
    assert pg(column_values(array)) == [str(one), None]


# R0.4
def test_file(tmp_path: Path) -> None:
    moment = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    rows = [
        {"_id": 1, "at": moment, "total": Decimal("12.30"), "tags": ["a"], "o": {"n": 1.0}},
        {"_id": 2, "at": None, "total": None, "tags": None, "o": None},
        {"_id": 3, "at": moment, "total": Decimal(1), "tags": ["nul\0"], "o": None},
    ]
    path = tmp_path / "rows.bin"
    pq.write_table(pa.Table.from_pylist(rows), path)
    documents, rejects = read(path)
    assert [(d.ordinal, d.line_number, d.text) for d in documents] == [
        (
            1,
            1,
            '{"_id":1,"at":{"$date":"2023-12-31T23:00:00Z"},"total":12.30,"tags":["a"],'
            '"o":{"n":1.0}}',
        ),
        (2, 2, '{"_id":2,"at":null,"total":null,"tags":null,"o":null}'),
    ]
    assert [(r.line_number, r.reason) for r in rejects] == [
        (3, "the character U+0000 cannot be stored in jsonb")
    ]


# R6.3
def test_limits(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": ["x" * 50, "y"], "b": [None, [[1]]]}), path)
    options = ReadOptions(line_bytes_max=40, depth_max=2)
    assert [r.reason for r in read(path, None, options)[1]] == [
        "longer than 40 bytes",
        "nested deeper than 2 levels",
    ]


def test_damaged_and_streamed_files(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(BadCopyFormat, match="not a readable Parquet file"):
        read(path)
    with pytest.raises(BadCopyFormat, match="needs a plain file"):
        read(b"PAR1", "parquet")
    twice = pa.table([[1], [2]], names=["a", "a"])
    pq.write_table(twice, path)
    with pytest.raises(BadCopyFormat, match="same name"):
        read(path)
