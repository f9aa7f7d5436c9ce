# ruff: noqa: DTZ001 (BSON's instants are decoded without zone)
"""BSON values as PostgreSQL's and back: exact or not at all (R1.3, docs/types.md)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import bson
import pyarrow as pa
import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.mongodb.client import CODEC
from backends.mongodb.decode import ColumnSpec, MisfitCounter, decode_column, instant_text
from backends.mongodb.documents import NotJson, json_text
from backends.mongodb.encode import encode, from_json, merged, parse_json
from backends.mongodb.types import TYPES
from core.encoding import to_text_carrier
from core.types import type_by_name
from tests.unit.backends.mongodb.bson_values import TYPED, VALUES


def stored(value: Any) -> Any:
    """The value as a scan decodes it from BSON."""
    return bson.decode(bson.encode({"v": value}), CODEC)["v"]


def column(values: list[Any], sql_type: str, store_type: str = "") -> tuple[pa.Array, int]:
    """The column, and how many values did not fit."""
    misfits = MisfitCounter()
    spec = ColumnSpec(1, ("v",), sql_type, store_type)
    made = decode_column([stored(value) for value in values], spec, misfits)
    return made, sum(event.count for event in misfits.events())


def texts(values: list[Any], sql_type: str, store_type: str = "") -> list[str | None]:
    """The column as PostgreSQL's text."""
    made, _ = column(values, sql_type, store_type)
    shown: list[str | None] = to_text_carrier(made, type_by_name(sql_type)).to_pylist()
    return shown


# What is shown of a value goes in as a value that shows the same
@pytest.mark.parametrize("sql_type", list(TYPED))
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_values_go_in_as_they_came_out(sql_type: str, data: st.DataObject) -> None:
    value = data.draw(TYPED[sql_type])
    [text] = texts([value], sql_type)
    if text is None:
        return
    back = stored(encode(text, type_by_name(sql_type)))
    assert texts([back], sql_type) == [text]


# jsonb and back: no field lost, no number changed
@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_json_and_back(value: Any) -> None:
    try:
        text = json_text(stored(value))
    except NotJson:
        return
    assert parse_json(json_text(stored(from_json(parse_json(text))))) == parse_json(text)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_did_not_change_is_kept(value: Any) -> None:
    old = stored({"v": value, "w": Int64(1)})
    try:
        new = parse_json(json_text(old))
    except NotJson:
        return
    assert bson.encode({"v": merged(new, old)}) == bson.encode({"v": old})


MISFITS: dict[str, list[Any]] = {
    "smallint": [2**15, 0.5, "1", True, Decimal128("1")],
    "integer": [2**31, 2.5, [1], {"a": 1}],
    "bigint": [2.5, 2.0**63, float("nan"), "5", b"", dt.datetime(2024, 1, 1)],
    "double precision": [Int64(2**53 + 1), Decimal128("0.5"), "0.5"],
    "numeric": ["1", True, ObjectId()],
    "numeric(5,2)": [1.005, 1000, Decimal128("Infinity")],
    "text": ["a\0b", 5, [], b"x"],
    "character varying(3)": ["abcd", ObjectId()],
    "boolean": [0, 1, "true"],
    "timestamp with time zone": [DatetimeMS(2**62), DatetimeMS(-(2**62)), Timestamp(1, 1), 5],
    "uuid": [Binary(b"x" * 16, 0), Binary(b"x" * 15, 4), "0" * 32],
    "bytea": ["x", 5],
    "text[]": ["a", [5], [["a"]]],
    "bigint[]": [[2.5], [[1]]],
    "date": [dt.datetime(2024, 1, 1), "2024-01-01"],
    "inet": ["127.0.0.1"],
    "jsonb": ["a\0b", ["a\0"]],
}


# PEERS 3.7, 3.8: never an error for the whole query, never another value: NULL and an event
@pytest.mark.parametrize("sql_type", list(MISFITS))
def test_misfits_are_null_and_counted(sql_type: str) -> None:
    values = MISFITS[sql_type]
    made, count = column([*values, None], sql_type)
    assert made.null_count == len(values) + 1
    assert count == len(values)


@pytest.mark.parametrize(
    ("sql_type", "value", "text"),
    [
        ("bigint", 7.0, "7"),
        ("bigint", Int64(2**63 - 1), "9223372036854775807"),
        ("double precision", -0.0, "-0"),
        ("double precision", 5, "5"),
        ("numeric", 0.1, "0.1"),
        ("numeric", 1e22, "10000000000000000000000"),
        ("numeric", Decimal128("1.50"), "1.50"),
        ("numeric", Decimal128("1E+3"), "1000"),
        ("numeric", Decimal128("-0.00"), "0.00"),
        ("numeric", Decimal128("NaN"), "NaN"),
        ("numeric(6,2)", 1.5, "1.50"),
        ("text", ObjectId("6650f0a1b2c3d4e5f6a7b8c9"), "6650f0a1b2c3d4e5f6a7b8c9"),
        ("character varying(3)", "äöü", "äöü"),
        ("timestamp with time zone", dt.datetime(1, 1, 1), "0001-01-01 00:00:00+00"),
        ("timestamp with time zone", DatetimeMS(-210866803200000), "4714-11-24 00:00:00+00 BC"),
        (
            "timestamp with time zone",
            DatetimeMS(9224318015999999),
            "294276-12-31 23:59:59.999+00",
        ),
        ("uuid", Binary(bytes(range(16)), 3), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        ("bytea", Binary(b"\x01\xff", 5), "\\x01ff"),
        ("text[]", ["a", None, ObjectId("6" * 24)], "{a,NULL," + "6" * 24 + "}"),
        ("numeric[]", [1, 0.5, Decimal128("2.50")], "{1,0.5,2.50}"),
        (
            "jsonb",
            {"a": Regex("x", "i")},
            '{"a": {"$regularExpression": {"options": "i", "pattern": "x"}}}',
        ),
        ("jsonb", [MinKey(), MaxKey()], '[{"$minKey": 1}, {"$maxKey": 1}]'),
        ("jsonb", Timestamp(5, 6), '{"$timestamp": {"i": 6, "t": 5}}'),
        ("jsonb", Code("f", {"x": 1}), '{"$code": "f", "$scope": {"x": 1}}'),
        ("jsonb", DBRef("c", 5), '{"$id": 5, "$ref": "c"}'),
        ("jsonb", float("nan"), '{"$numberDouble": "NaN"}'),
        ("jsonb", 2.0, "2.0"),
        ("jsonb", dt.datetime(2024, 1, 2, 3, 4, 5), '{"$date": "2024-01-02T03:04:05Z"}'),
        ("jsonb", dt.datetime(2024, 1, 2, 0, 0, 0, 1000), '{"$date": "2024-01-02T00:00:00.001Z"}'),
        ("jsonb", dt.datetime(1969, 12, 31), '{"$date": {"$numberLong": "-86400000"}}'),
        ("jsonb", Decimal128("1.10"), "1.10"),
    ],
)
def test_values_as_postgresql_prints_them(sql_type: str, value: Any, text: str) -> None:
    assert texts([value], sql_type) == [text]


# A column that was found to hold strings only does not show ObjectIds: its filters rely on that
def test_object_ids_in_a_column_of_strings() -> None:
    assert texts([ObjectId("6" * 24), "a"], "text", "string") == [None, "a"]
    assert texts([ObjectId("6" * 24), "a"], "text", "string|objectId") == ["6" * 24, "a"]


# Invalid UTF-8 of another writer is a misfit, not an error of the scan
def test_invalid_utf8() -> None:
    raw = bson.encode({"v": "ab"}).replace(b"ab", b"\xff\xfe")
    value = bson.decode(raw, CODEC)["v"]
    misfits = MisfitCounter()
    made = decode_column([value, "x"], ColumnSpec(1, ("v",), "text"), misfits)
    assert made.to_pylist() == [None, "x"]
    assert [event.store_type for event in misfits.events()] == ["string"]


# The type table has carriers, and every row can be written
def test_type_table() -> None:
    for row in TYPES:
        assert row.arrow is not None
        assert row.bson


def test_instants_over_the_whole_range() -> None:
    assert instant_text(0) == "1970-01-01 00:00:00+00"
    assert instant_text(-1) == "1969-12-31 23:59:59.999999+00"
    assert instant_text(-62_135_596_800_000_001) == "0001-12-31 23:59:59.999999+00 BC"
