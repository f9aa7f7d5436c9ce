"""The fast reader gives what the driver's decoder gives, or nothing (R0.5)."""

from __future__ import annotations

from typing import Any

import bson
import pyarrow as pa
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.mongodb.columnar import FAILURES_MAX, SHAPES_MAX, ColumnarReader, KnownShapes
from backends.mongodb.decode import ColumnSpec, MisfitCounter, decode_batch
from backends.mongodb.reply import batch_span, cursor_id, is_empty
from backends.mongodb.rows import documents_of
from backends.mongodb.shape import NoShape, Pattern, joined, shape_of
from core.encoding import to_text_carrier
from core.errors import StoreError
from core.types import type_by_name
from tests.unit.backends.mongodb.bson_values import (
    KEYS,
    SCALARS,
    TEXTS,
    TYPED,
    VALUES,
    rows_alike,
)


def reply_of(documents: list[dict[str, Any]], cursor: int = 0) -> bytes:
    """What a server answers to a find."""
    inner = {"firstBatch": documents, "id": Int64(cursor), "ns": "db.t"}
    return bson.encode({"cursor": inner, "ok": 1.0})


def decoded(reply: bytes, specs: list[ColumnSpec]) -> tuple[pa.RecordBatch, MisfitCounter]:
    """The batch by way of the driver's decoder."""
    misfits = MisfitCounter()
    return decode_batch(documents_of(reply), specs, misfits), misfits


def same(one: pa.RecordBatch, other: pa.RecordBatch, specs: list[ColumnSpec]) -> bool:
    """Whether both say the same in PostgreSQL's text."""
    for spec, left, right in zip(specs, one.columns, other.columns, strict=True):
        pg = type_by_name(spec.sql_type)
        if to_text_carrier(left, pg).to_pylist() != to_text_carrier(right, pg).to_pylist():
            return False
    return one.num_rows == other.num_rows


NAMES = list(TYPED)
SPECS = [ColumnSpec(n, (f"f{n}",), name) for n, name in enumerate(NAMES)]
ALIKE = rows_alike([TYPED[name] for name in NAMES])


@settings(max_examples=150, deadline=None)
@given(st.lists(ALIKE, min_size=1, max_size=30))
def test_documents_that_are_alike(rows: list[dict[str, Any]]) -> None:
    reply = reply_of(rows)
    wanted, misfits = decoded(reply, SPECS)
    found = ColumnarReader(SPECS).batch(reply)
    if found is not None:
        assert same(found, wanted, SPECS)
        assert misfits.events() == []


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), min_size=1, max_size=6))
def test_any_documents(rows: list[dict[str, Any]]) -> None:
    specs = [
        ColumnSpec(n, (key,), name) for n, (key, name) in enumerate(zip("abc", NAMES, strict=False))
    ]
    reply = reply_of(rows)
    wanted, misfits = decoded(reply, specs)
    found = ColumnarReader(specs).batch(reply)
    if found is not None:
        assert same(found, wanted, specs)
        assert misfits.events() == []


# Sub-documents are jsonb by columns, as one by one
@settings(max_examples=75, deadline=None)
@given(st.data())
def test_sub_documents_that_are_alike(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from([*TYPED.values(), TEXTS]), max_size=4))
    names = data.draw(st.lists(KEYS, min_size=len(kinds), max_size=len(kinds), unique=True))
    inner = st.fixed_dictionaries(dict(zip(names, kinds, strict=True)))
    deep = st.fixed_dictionaries({"x": inner, "n": st.none(), "bb": TYPED["bigint"]})
    document = data.draw(st.sampled_from([inner, deep]))
    kept = st.one_of(document, document, st.none()) if data.draw(st.booleans()) else document
    field = st.fixed_dictionaries({"a": TYPED["bigint"]}, optional={"d": kept})
    whole = st.fixed_dictionaries({"a": TYPED["bigint"], "d": document})
    rows = data.draw(st.lists(st.one_of(whole, field), min_size=1, max_size=20))
    specs = [ColumnSpec(1, ("a",), "bigint"), ColumnSpec(2, ("d",), "jsonb")]
    reply = reply_of(rows)
    wanted, misfits = decoded(reply, specs)
    found = ColumnarReader(specs).batch(reply)
    if found is not None:
        assert same(found, wanted, specs)
        assert misfits.events() == []


def test_the_fast_way_is_taken_for_sub_documents() -> None:
    rows: list[dict[str, Any]] = [
        {"a": n, "d": {"zip": f"{n}", "city": 'a "b"', "in": {"f": n / 2, "t": True, "z": None}}}
        for n in range(40)
    ]
    specs = [ColumnSpec(1, ("a",), "bigint"), ColumnSpec(2, ("d",), "jsonb")]
    reader = ColumnarReader(specs)
    found = reader.batch(reply_of(rows))
    assert found is not None
    assert found.column(1)[3].as_py() == (
        '{"in": {"f": 1.5, "t": true, "z": null}, "zip": "3", "city": "a \\"b\\""}'
    )
    found = reader.batch(reply_of([{"a": 1}, *rows, {"a": 2, "d": None}]))
    assert found is not None
    assert [found.column(1)[n].is_valid for n in (0, 1, 40, 41)] == [False, True, True, False]


# The fast way is really taken where it can be
def test_the_fast_way_is_taken() -> None:
    rows: list[dict[str, Any]] = [
        {"_id": ObjectId(), "n": 5, "s": "é", "d": {"x": 1.5, "y": {"z": True}}},
        {"_id": ObjectId(), "s": "", "d": {"x": 2.5, "y": {"z": False}}},
        {
            "_id": ObjectId(),
            "n": Int64(2**40),
            "s": None,
            "d": {"x": None},
            "p": Decimal128("1.50"),
        },
        {"_id": ObjectId(), "n": None, "s": "x" * 300, "p": Decimal128("2.50")},
    ]
    specs = [
        ColumnSpec(1, ("_id",), "text", "objectId"),
        ColumnSpec(2, ("n",), "bigint"),
        ColumnSpec(3, ("s",), "text", "string"),
        ColumnSpec(4, ("d", "x"), "double precision"),
        ColumnSpec(5, ("d", "y", "z"), "boolean"),
        ColumnSpec(6, ("p",), "numeric"),
        ColumnSpec(7, ("nowhere",), "text"),
    ]
    reader = ColumnarReader(specs)
    for _ in range(2):
        reply = reply_of(rows * 40)
        found = reader.batch(reply)
        assert found is not None
        assert found.equals(decoded(reply, specs)[0])


# PEERS 3: a text with a zero byte in it that looks like the next field is no other value
def test_a_text_that_imitates_a_field() -> None:
    fake = "x\0\x10n\0\x01\0\0\0"
    specs = [ColumnSpec(1, ("s",), "text"), ColumnSpec(2, ("n",), "bigint")]
    rows = [{"s": "x", "n": 5}, {"s": fake, "n": 7}, {"s": fake[:6], "n": 8}]
    reader = ColumnarReader(specs)
    assert reader.batch(reply_of(rows[:1] * 3)) is not None
    assert reader.batch(reply_of(rows)) is None
    batch, misfits = decoded(reply_of(rows), specs)
    assert batch.to_pydict() == {"c1": ["x", None, None], "c2": [5, 7, 8]}
    assert [(event.store_type, event.count) for event in misfits.events()] == [("string", 2)]


# A value that does not fit goes the way that counts it
@pytest.mark.parametrize(
    ("value", "sql_type"),
    [
        (2.5, "bigint"),
        (2**40, "integer"),
        (Int64(2**53 + 1), "double precision"),
        ("5", "bigint"),
        (5, "text"),
        ([5], "bigint"),
        ({"a": 5}, "bigint"),
    ],
)
def test_misfits_are_not_read_fast(value: Any, sql_type: str) -> None:
    specs = [ColumnSpec(1, ("v",), sql_type)]
    reply = reply_of([{"v": value}, {"v": None}])
    assert ColumnarReader(specs).batch(reply) is None
    batch, misfits = decoded(reply, specs)
    assert batch.column(0).null_count == 2
    assert [event.count for event in misfits.events()] == [1]


def test_a_scan_gives_up_on_documents_without_shape() -> None:
    reader = ColumnarReader([ColumnSpec(1, ("v",), "bigint")])
    for _ in range(FAILURES_MAX):
        assert reader.batch(reply_of([{"v": [1]}])) is None
    assert reader.batch(reply_of([{"v": 1}])) is None


def test_fields_in_another_order_have_no_shape() -> None:
    one, other = bson.encode({"a": 1, "b": 2}), bson.encode({"b": 1, "a": 2})
    with pytest.raises(NoShape):
        joined(shape_of(one, 0), shape_of(other, 0))


# A batch that is not matched to its last byte is not read
@settings(max_examples=60, deadline=None)
@given(st.lists(SCALARS, min_size=1, max_size=4), st.data())
def test_a_part_of_a_batch_is_no_match(row: list[Any], data: st.DataObject) -> None:
    documents = [{str(n): value for n, value in enumerate(row)}] * 3
    reply = reply_of([*documents, {"other": 1}])
    start, end = batch_span(reply)
    try:
        pattern = Pattern(shape_of(reply, start + 4 + 3))
    except NoShape:
        return
    cut = data.draw(st.integers(start + 5, end - 2))
    assert pattern.match(reply, start + 4, end - 1) is None
    matched = pattern.match(reply, start + 4, cut)
    assert matched is None or matched.rows <= 3


def test_replies() -> None:
    assert cursor_id(reply_of([{"a": 1}], 2**40)) == 2**40
    assert is_empty(reply_of([]))
    assert not is_empty(reply_of([{"a": 1}]))
    for broken in (b"", b"\x05\0\0\0\0", reply_of([{"a": 1}])[:30], bson.encode({"ok": 1.0})):
        with pytest.raises(StoreError):
            cursor_id(broken)


# What an earlier scan found is used again, and found anew where documents changed
def test_shapes_are_remembered_by_scan() -> None:
    shapes = KnownShapes()
    specs = [ColumnSpec(1, ("a",), "bigint"), ColumnSpec(2, ("b",), "text")]
    rows: list[dict[str, Any]] = [{"a": n, "b": f"x{n}"} for n in range(20)]
    for asked in ("one", "other"):
        assert shapes.get((asked, tuple(specs))) is None
        found = ColumnarReader(specs, shapes, asked).batch(reply_of(rows))
        assert found is not None
        assert found.num_rows == 20
        assert shapes.get((asked, tuple(specs))) is not None
    changed = [{"b": f"y{n}", "c": n / 2} for n in range(20)]
    found = ColumnarReader(specs, shapes, "one").batch(reply_of(changed))
    if found is not None:
        assert same(found, decoded(reply_of(changed), specs)[0], specs)
    again = ColumnarReader(specs, shapes, "one").batch(reply_of(rows))
    assert again is not None
    assert same(again, decoded(reply_of(rows), specs)[0], specs)


def test_few_shapes_are_remembered() -> None:
    shapes = KnownShapes()
    specs = [ColumnSpec(1, ("a",), "bigint")]
    for n in range(SHAPES_MAX + 5):
        ColumnarReader(specs, shapes, n).batch(reply_of([{"a": 1}]))
    assert shapes.get((0, tuple(specs))) is None
    assert shapes.get((SHAPES_MAX + 4, tuple(specs))) is not None
