"""Frames of rows: many columns, mixed formats, no columns, foreign Arrow types, faults."""

from __future__ import annotations

import datetime as dt
import decimal
import struct

import pyarrow as pa
import pytest

import core.encoding.rows as rows_module
from core.encoding import (
    CopyCsvDecoder,
    copy_text_rows,
    decode_copy_csv,
    encode_copy_rows,
    encode_data_rows,
    from_text_carrier,
)
from core.encoding.arrays import parse_array_text
from core.errors import (
    BadCopyFormat,
    DatatypeMismatch,
    DatetimeFieldOverflow,
    FeatureNotSupported,
    InternalError,
    NumericValueOutOfRange,
)
from core.types import opaque_type, type_by_name
from tests.unit.core.encoding.oracle import copy_rows, data_rows

NAMES = ("int4", "text", "bool", "text", "int8", "xml")
FIELDS = [type_by_name(name) for name in NAMES]
COLUMNS = (
    pa.array([1, 2, 3], pa.int32()),
    pa.array(["a", None, ""], pa.string()),
    pa.array([True, False, True], pa.bool_()),
    pa.array(["same", "size", "here"], pa.string()),
    pa.array([None, -1, None], pa.int64()),
    pa.array(["<a/>", "", None], pa.string()),
)
BATCH = pa.RecordBatch.from_arrays(list(COLUMNS), names=[f"c{k}" for k in range(len(COLUMNS))])
TEXT = [
    [b"1", b"2", b"3"],
    [b"a", None, b""],
    [b"t", b"f", b"t"],
    [b"same", b"size", b"here"],
    [None, b"-1", None],
    [b"<a/>", b"", None],
]
BINARY = [
    [struct.pack(">i", n) for n in (1, 2, 3)],
    TEXT[1],
    [b"\1", b"\0", b"\1"],
    TEXT[3],
    [None, struct.pack(">q", -1), None],
    TEXT[5],
]


@pytest.mark.parametrize("mask", range(64))
def test_mixed_formats(mask: int) -> None:
    formats = [mask >> k & 1 for k in range(6)]
    expected = data_rows([BINARY[k] if f else TEXT[k] for k, f in enumerate(formats)])
    assert bytes(encode_data_rows(BATCH, FIELDS, formats)) == expected
    reordered = BATCH.select([5, 4, 3, 2, 1, 0])
    expected = data_rows([BINARY[k] if formats[k] else TEXT[k] for k in range(5, -1, -1)])
    assert bytes(encode_data_rows(reordered, FIELDS[::-1], formats[::-1])) == expected


def test_slices_and_copy() -> None:
    assert bytes(encode_copy_rows(BATCH, FIELDS)) == copy_rows(BINARY)
    for start in range(3):
        part = [column[start:] for column in TEXT]
        assert bytes(encode_data_rows(BATCH.slice(start), FIELDS, [0] * 6)) == data_rows(part)


def test_no_columns() -> None:
    batch = pa.table({"a": [1, 2, 3]}).select([]).to_batches()[0]
    assert batch.num_rows == 3
    assert bytes(encode_data_rows(batch, [], [])) == b"D\0\0\0\6\0\0" * 3
    assert bytes(encode_copy_rows(batch, [])) == b"\0\0" * 3
    assert bytes(copy_text_rows(batch, [])) == b"\n\n\n"
    decoder = decode_copy_csv([])
    assert [b.num_rows for b in decoder.feed(b"\n\n") + decoder.finish()] == [2]


def test_many_columns() -> None:
    count = 1600
    batch = pa.RecordBatch.from_arrays([COLUMNS[1]] * count, names=[str(k) for k in range(count)])
    fields = [type_by_name("text")] * count
    assert bytes(encode_data_rows(batch, fields, [0] * count)) == data_rows([TEXT[1]] * count)


def test_large_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bytes(encode_data_rows(BATCH, FIELDS, [0] * 6))
    monkeypatch.setattr(rows_module, "ENCODE_BYTES_MAX", 1)
    assert bytes(encode_data_rows(BATCH, FIELDS, [0] * 6)) == whole


@pytest.mark.parametrize(
    ("sql", "column", "text"),
    [
        ("int8", pa.array([1], pa.int32()), b"1"),
        ("int2", pa.array([1], pa.int64()), b"1"),
        ("text", pa.array(["a"], pa.large_string()), b"a"),
        ("text", pa.array(["a"], pa.string_view()), b"a"),
        ("text", pa.array(["a"]).dictionary_encode(), b"a"),
        ("text", pa.array([b"a"], pa.binary()), b"a"),
        ("numeric", pa.array([7], pa.int64()), b"7"),
        ("numeric", pa.array([decimal.Decimal("1.50")], pa.decimal128(5, 2)), b"1.50"),
        ("numeric(5,2)", pa.array([decimal.Decimal("1.5")], pa.decimal128(5, 1)), b"1.50"),
        ("numeric(5,2)", pa.array([decimal.Decimal("1.5")], pa.decimal256(5, 1)), b"1.50"),
        ("numeric(5,2)", pa.array([decimal.Decimal("1.5")], pa.decimal64(5, 1)), b"1.50"),
        ("uuid", pa.array([bytes(16)], pa.uuid()), b"00000000-0000-0000-0000-000000000000"),
        ("timestamptz", pa.array([0], pa.timestamp("s", "UTC")), b"1970-01-01 00:00:00+00"),
        (
            "timestamptz",
            pa.array([5], pa.timestamp("us", "Asia/Tokyo")),
            b"1970-01-01 00:00:00.000005+00",
        ),
        ("bytea", pa.array([b"a"], pa.large_binary()), b"\\x61"),
        ("int4[]", pa.array([[1, 2]], pa.list_(pa.int64(), 2)), b"{1,2}"),
        ("int4[]", pa.array([[1, None]], pa.large_list(pa.int32())), b"{1,NULL}"),
        ("text", pa.nulls(1), None),
        ("int4", pa.nulls(1), None),
        ("float8", pa.array([1.5], pa.float32()), b"1.5"),
    ],
)
def test_other_arrow_types(sql: str, column: pa.Array, text: bytes | None) -> None:
    pg = type_by_name(sql)
    batch = pa.record_batch([column], names=["x"])
    assert bytes(encode_data_rows(batch, [pg], [0])) == data_rows([[text]])
    as_text = pa.array([None if text is None else text.decode()], pa.string())
    again = pa.record_batch([as_text], names=["x"])
    assert bytes(encode_data_rows(batch, [pg], [1])) == bytes(encode_data_rows(again, [pg], [1]))


@pytest.mark.parametrize(
    ("sql", "column", "error"),
    [
        ("int2", pa.array([40000], pa.int64()), NumericValueOutOfRange),
        ("int4", pa.array([1.5]), DatatypeMismatch),
        ("text", pa.array([1.5]), DatatypeMismatch),
        ("numeric", pa.array([1.5]), DatatypeMismatch),
        ("numeric(5,1)", pa.array([decimal.Decimal("1.55")]), DatatypeMismatch),
        ("date", pa.array([dt.time(1)]), DatatypeMismatch),
        ("timestamp", pa.array([1], pa.timestamp("ns")), DatatypeMismatch),
        ("timestamp", pa.array([-(2**63)], pa.timestamp("us")), DatetimeFieldOverflow),
        ("date", pa.array([-(2**31)], pa.int32()).cast(pa.date32()), DatetimeFieldOverflow),
    ],
)
def test_values_that_do_not_fit_are_refused(
    sql: str, column: pa.Array, error: type[Exception]
) -> None:
    batch = pa.record_batch([column], names=["x"])
    for code in (0, 1):
        with pytest.raises(error):
            encode_data_rows(batch, [type_by_name(sql)], [code])


def test_opaque_types_are_text_only() -> None:
    mood = opaque_type(16384, "mood")
    batch = pa.record_batch([pa.array(["happy"])], names=["x"])
    assert bytes(encode_data_rows(batch, [mood], [0])) == data_rows([[b"happy"]])
    with pytest.raises(FeatureNotSupported, match="no binary output function available"):
        encode_data_rows(batch, [mood], [1])


def test_counts_must_agree() -> None:
    with pytest.raises(InternalError):
        encode_data_rows(BATCH, FIELDS[1:], [0] * 6)


def fed(decoder: CopyCsvDecoder, data: bytes, step: int) -> list[pa.RecordBatch]:
    batches = []
    for at in range(0, len(data), step):
        batches += decoder.feed(data[at : at + step])
    return batches + decoder.finish()


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize("block_bytes", [1, 10, 1 << 20])
def test_csv_may_be_cut_anywhere(step: int, block_bytes: int) -> None:
    data = b'1,"a\nb"\n2,\n,""\n3,"say ""\n"""\n4,"\\."\n'
    fields = [type_by_name("int4"), type_by_name("text")]
    batches = fed(decode_copy_csv(fields, block_bytes=block_bytes), data, step)
    table = pa.Table.from_batches(batches)
    assert table.column(0).to_pylist() == [1, 2, None, 3, 4]
    assert table.column(1).to_pylist() == ["a\nb", None, "", 'say "\n"', "\\."]
    assert len(batches) == 1 or block_bytes < len(data)


def test_csv_faults() -> None:
    for data in (b"1", b'"a\n', b'1\n"'):
        decoder = decode_copy_csv([type_by_name("text")])
        assert decoder.feed(data) == []
        with pytest.raises(BadCopyFormat):
            decoder.finish()


def test_csv_carriers() -> None:
    fields = [type_by_name("date")]
    data = b"2024-01-02\ninfinity\n"
    [auto] = fed(decode_copy_csv(fields), data, 99)
    assert auto.column(0).to_pylist() == ["2024-01-02", "infinity"]
    assert [b.column(0).type for b in fed(decode_copy_csv(fields, block_bytes=1), data, 11)] == [
        pa.date32(),
        pa.string(),
    ]
    [text] = fed(decode_copy_csv(fields, "text"), b"2024-01-02\n", 99)
    assert text.column(0).type.equals(pa.string())
    with pytest.raises(DatatypeMismatch):
        fed(decode_copy_csv(fields, "arrow"), data, 99)
    [arrow] = fed(decode_copy_csv(fields, "arrow"), b"2024-01-02\n", 99)
    assert arrow.column(0).type.equals(pa.date32())


def test_array_texts() -> None:
    parsed = parse_array_text('[2:3][-1:0]={{1,NULL},{"a\\"b","NULL"}}')
    assert parsed.bounds == ((2, 2), (-1, 2))
    assert parsed.elements == ("1", None, 'a"b', "NULL")
    assert parse_array_text("{}").bounds == ()
    for malformed in ("{1,2", "", "x", "{1}}", '{"a', "{a\\", "[1:2][1:2]={1}"):
        with pytest.raises(BadCopyFormat):
            parse_array_text(malformed)


def test_array_texts_of_clients() -> None:
    parsed = parse_array_text(' { a b ,\tnull, "null" , \\n\\,x\\ , NuLLs } ')
    assert parsed.elements == ("a b", None, "null", "n,x ", "NuLLs")
    assert parse_array_text("{ { 1 , 2 } , { 3 , 4 } }").bounds == ((1, 2), (1, 2))
    assert parse_array_text(" { } ").bounds == ()


def test_lists_of_text_carry_any_element() -> None:
    pg = type_by_name("timestamptz[]")
    lists = pa.array([["infinity", None], []], pa.list_(pa.string()))
    texts = pa.array(["{infinity,NULL}", "{}"], pa.string())
    assert from_text_carrier(texts, pg).equals(texts)
    for code in (0, 1):
        encoded = [
            bytes(encode_data_rows(pa.record_batch([c], names=["x"]), [pg], [code]))
            for c in (lists, texts)
        ]
        assert encoded[0] == encoded[1] != b""
