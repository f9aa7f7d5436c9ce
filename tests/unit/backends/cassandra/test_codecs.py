"""Codecs of CQL's types: what is packed reads back, in one row and in many (R1.8)."""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import struct
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from cassandra import cqltypes
from cassandra.util import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.cassandra import calendar
from backends.cassandra.conditions import _successor
from backends.cassandra.decoding import FEW_ROWS, natural_type, rows_to_batch
from backends.cassandra.incoming import plain_values
from backends.cassandra.pages import Page
from backends.cassandra.pushdown import NativeScan
from backends.cassandra.scalars import digits_agree, pack_varint
from backends.cassandra.shapes import Shape, finish, pack, shape_of
from backends.cassandra.types import TYPES, parse_type, postgres_type
from core.encoding import to_text_carrier
from core.errors import ConnectionFailure, InvalidParameterValue

DRIVER_TYPES = {
    "ascii": cqltypes.AsciiType,
    "text": cqltypes.UTF8Type,
    "varchar": cqltypes.VarcharType,
    "boolean": cqltypes.BooleanType,
    "tinyint": cqltypes.ByteType,
    "smallint": cqltypes.ShortType,
    "int": cqltypes.Int32Type,
    "bigint": cqltypes.LongType,
    "counter": cqltypes.CounterColumnType,
    "varint": cqltypes.IntegerType,
    "decimal": cqltypes.DecimalType,
    "float": cqltypes.FloatType,
    "double": cqltypes.DoubleType,
    "timestamp": cqltypes.DateType,
    "date": cqltypes.SimpleDateType,
    "time": cqltypes.TimeType,
    "uuid": cqltypes.UUIDType,
    "timeuuid": cqltypes.TimeUUIDType,
    "inet": cqltypes.InetAddressType,
    "blob": cqltypes.BytesType,
    "duration": cqltypes.DurationType,
}
"""CQL type → the driver's class, as result metadata has it."""

_text = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
_days = st.integers(calendar.DAYS_MIN, calendar.DAYS_MAX)
_whole = {"tinyint": 7, "smallint": 15, "int": 31, "bigint": 63, "counter": 63}
_same_sign = st.tuples(
    st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10**15).map(lambda n: n * 1000)
)
PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "ascii": st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=20),
    "text": _text,
    "varchar": _text,
    "boolean": st.booleans(),
    **{name: st.integers(-(2**bits), 2**bits - 1) for name, bits in _whole.items()},
    "varint": st.integers(-(10**60), 10**60).map(Decimal),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False, places=9),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "timestamp": st.integers(calendar.INSTANT_MIN, calendar.ARROW_INSTANT_MAX),
    "date": _days,
    "time": st.integers(0, 86_399_999_999).map(lambda micros: micros * 1000),
    "uuid": st.binary(min_size=16, max_size=16),
    "timeuuid": st.uuids(version=1).map(lambda each: each.bytes),
    "inet": st.ip_addresses().map(str),
    "blob": st.binary(max_size=20),
    "duration": st.one_of(_same_sign, _same_sign.map(lambda t: (-t[0], -t[1], -t[2]))),
}
"""Plain values as scalars.py says, all of which PostgreSQL can hold."""


def _page(driver_type: Any, values: Sequence[bytes | None]) -> Page:
    """A page of one column, as a node sends it."""
    body = struct.pack(">i", len(values))
    for value in values:
        body += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return Page(body, ("v",), (driver_type,), 5, None)


def _native(shape: Shape) -> NativeScan:
    kind = natural_type(shape).sql
    return NativeScan("full", "", selected=("v",), types=(kind,), columns=(1,), shown=1)


def _column(driver_type: Any, values: Sequence[bytes | None]) -> pa.Array:
    page = _page(driver_type, values)
    batch = rows_to_batch(_native(page.layout.shapes[0]), page.layout, page.rows(), None)
    assert batch.num_rows == len(values)
    return batch.column(0)


def test_every_type_is_here() -> None:
    assert set(DRIVER_TYPES) == set(PLAIN) == {each.name for each in TYPES}


# R1.8: what we pack is what the driver packs, so that other clients read the same
@pytest.mark.parametrize("name", sorted(set(DRIVER_TYPES) - {"duration", "inet", "uuid"}))
def test_packed_as_the_driver_packs(name: str) -> None:
    driver_type = DRIVER_TYPES[name]
    shape = shape_of(driver_type)

    @settings(deadline=None)
    @given(PLAIN[name])
    def check(value: Any) -> None:
        packed = pack(shape, value)
        if name == "decimal":
            assert driver_type.deserialize(packed, 5) == value
        elif name in ("timestamp", "date", "time", "timeuuid"):
            assert len(packed) == {"timestamp": 8, "date": 4, "time": 8, "timeuuid": 16}[name]
        else:
            assert packed == driver_type.serialize(int(value) if name == "varint" else value, 5)

    check()


# R1.8: the way out and back in is the identity, for few rows and for many
@pytest.mark.parametrize("name", sorted(DRIVER_TYPES))
def test_round_trip(name: str) -> None:
    driver_type = DRIVER_TYPES[name]
    shape = shape_of(driver_type)
    kind = natural_type(shape)

    @settings(deadline=None)
    @given(st.lists(st.none() | PLAIN[name], min_size=1, max_size=5))
    def check(values: list[Any]) -> None:
        stored = [None if value is None else pack(shape, value) for value in values]
        few = _column(driver_type, stored)
        many = _column(driver_type, [*stored, *[None] * FEW_ROWS])[: len(stored)]
        text = to_text_carrier(few, kind)
        assert text.equals(to_text_carrier(many, kind))
        back = plain_values(few, kind, shape)
        again = [None if value is None else pack(shape, value) for value in back]
        if name == "decimal":
            shown = [None if value is None else Decimal(value) for value in text.to_pylist()]
            assert shown == values
        elif name != "inet":
            assert again == stored
        assert plain_values(text, kind, shape) == back or name in ("float", "double", "duration")
        packed = [None if v is None else pack(shape, v) for v in plain_values(text, kind, shape)]
        assert packed == again

    check()


_element = st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1))


# R1.8: nested values: jsonb out, the same bytes in
@settings(deadline=None)
@given(
    st.lists(
        st.tuples(_text, st.lists(st.integers(0, 100), max_size=3)),
        max_size=3,
        unique_by=lambda t: t[0],
    ),
    _element,
    st.one_of(st.none(), _text),
)
def test_nested_round_trip(pairs: list[Any], number: int | None, text: str | None) -> None:
    inner = cqltypes.ListType.apply_parameters([cqltypes.Int32Type])
    a_map = cqltypes.MapType.apply_parameters([cqltypes.UTF8Type, inner])
    a_tuple = cqltypes.TupleType.apply_parameters([cqltypes.Int32Type, cqltypes.UTF8Type, a_map])
    a_udt = cqltypes.UserType.make_udt_class("k", "udt", ("n", 'odd "name"', "m"), a_tuple.subtypes)
    for driver_type, value in (
        (a_map, pairs),
        (a_tuple, [number, text, pairs]),
        (a_udt, [number, text, pairs]),
    ):
        shape = shape_of(driver_type)
        stored = pack(shape, value)
        column = _column(driver_type, [stored, None])
        back = plain_values(column, natural_type(shape), shape)
        assert back[1] is None
        assert pack(shape, back[0]) == stored


# R1.8: arrays keep NULL, empty and their elements
@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.lists(st.integers(-5, 5), max_size=4)), min_size=1))
def test_arrays(values: list[list[int] | None]) -> None:
    driver_type = cqltypes.ListType.apply_parameters([cqltypes.Int32Type])
    shape = shape_of(driver_type)
    stored = [None if value is None else pack(shape, value) for value in values]
    column = _column(driver_type, stored)
    assert column.to_pylist() == values
    assert plain_values(column, natural_type(shape), shape) == values


# Issue 4.9: a page that is cut short raises, whatever the byte
@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_page_cut_short(seed: int) -> None:
    whole = _page(cqltypes.UTF8Type, [b"abc", None, b"", b"x" * 30]).body
    cut = 4 + seed % (len(whole) - 4)
    page = Page(whole[:cut], ("v",), (cqltypes.UTF8Type,), 5, None)
    with pytest.raises(ConnectionFailure):
        page.rows()


# R1.8: days and instants of any year are PostgreSQL's text
@settings(deadline=None)
@given(st.dates())
def test_calendar_agrees_with_python(day: dt.date) -> None:
    number = (day - dt.date(1970, 1, 1)).days
    assert calendar.day_text(number) == day.isoformat()
    assert calendar.read_day(day.isoformat()) == number
    assert calendar.instant_text(number * 86_400_000 + 1) == f"{day} 00:00:00.001+00"


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_calendar_repeats(milliseconds: int) -> None:
    cycle = 146_097 * 86_400_000
    one, other = (
        calendar.instant_text(each).removesuffix(" BC").partition("-")[2]
        for each in (milliseconds, milliseconds % cycle)
    )
    assert one == other


@settings(deadline=None)
@given(st.datetimes(timezones=st.timezones()))
def test_instants_read(moment: dt.datetime) -> None:
    offset = moment.utcoffset() or dt.timedelta()
    if offset.total_seconds() % 60 or not 1 < moment.year < 9999:
        return
    expected = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    assert calendar.read_instant(moment.isoformat(" ")) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("2024-01-01", "2024-01-01 00:00:00", "tomorrow", "2024-02-30 00:00:00Z", "infinity", ""),
        *("2024-01-01 24:00:00Z", "2024-01-01 00:00:60Z", "12024-01-01 00:00:00Z"),
    ],
)
def test_other_forms_of_instants_are_left(text: str) -> None:
    assert calendar.read_instant(text) is None


@settings(deadline=None)
@given(st.integers(-(2**200), 2**200))
def test_varint_is_shortest(value: int) -> None:
    assert pack_varint(value) == cqltypes.IntegerType.serialize(value, 5)


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_single_text_is_shortest_that_reads_back(value: float) -> None:
    shape = shape_of(cqltypes.FloatType)
    assert shape.scalar is not None
    assert digits_agree(shape.scalar.text(value), value)


# R0.5: nothing lies between the texts with a prefix and the bound after them
@settings(deadline=None)
@given(_text.filter(bool), _text)
def test_successor(prefix: str, rest: str) -> None:
    after = _successor(prefix)
    if after is None:
        assert set(prefix) == {"\U0010ffff"}
        return
    assert (prefix + rest).encode() < after.encode()
    assert prefix.encode() < after.encode()
    assert not after.startswith(prefix)


@settings(deadline=None)
@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-(10**15), 10**15))
def test_intervals_are_postgresqls_text(months: int, days: int, micros: int) -> None:
    signs = {number > 0 for number in (months, days, micros) if number}
    if len(signs) > 1:
        return
    shape = shape_of(cqltypes.DurationType)
    stored = cqltypes.DurationType.serialize(Duration(months, days, micros * 1000), 5)
    column = _column(cqltypes.DurationType, [stored])
    assert plain_values(column, natural_type(shape), shape) == [(months, days, micros * 1000)]


@settings(deadline=None)
@given(st.ip_addresses())
def test_addresses(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    shape = shape_of(cqltypes.InetAddressType)
    column = _column(cqltypes.InetAddressType, [address.packed])
    assert ipaddress.ip_address(column[0].as_py()) == address
    assert pack(shape, column[0].as_py()) == address.packed


def test_nan_keeps_being_nan() -> None:
    for driver_type, form in ((cqltypes.DoubleType, ">d"), (cqltypes.FloatType, ">f")):
        column = _column(driver_type, [struct.pack(form, math.nan)])
        assert math.isnan(column[0].as_py())


# R1.8: the texts of system_schema
@pytest.mark.parametrize(
    ("text", "postgres"),
    [
        ("int", "integer"),
        ("frozen<list<int>>", "integer[]"),
        ("list<frozen<address>>", "jsonb"),
        ('frozen<"Odd, <Type>">', "jsonb"),
        ("map<text, frozen<list<int>>>", "jsonb"),
        ("vector<float, 128>", "real[]"),
        ("frozen<tuple<int>>", "jsonb"),
        ("set<timestamp>", "timestamp(3) with time zone[]"),
        ("'org.apache.cassandra.db.marshal.LexicalUUIDType'", "bytea"),
        ("address", "jsonb"),
    ],
)
def test_type_texts(text: str, postgres: str) -> None:
    assert postgres_type(text) == postgres


@pytest.mark.parametrize("text", ["", "list<", "list<int", "list<int>>", "map<a,>", "a b", "#"])
def test_bad_type_texts(text: str) -> None:
    with pytest.raises(InvalidParameterValue):
        parse_type(text)


def test_unknown_driver_type_is_its_bytes() -> None:
    unknown = cqltypes.lookup_casstype("org.example.Odd")
    shape = shape_of(unknown)
    assert natural_type(shape).name == "bytea"
    assert finish(shape, [b"ab", None]).values.to_pylist() == [b"ab", None]
