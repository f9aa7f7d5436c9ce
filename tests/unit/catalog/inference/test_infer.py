"""The mapping contract, rule by rule (docs/types.md)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from catalog.inference.infer import InferredTable, KeyCandidate, infer_table
from catalog.inference.kinds import CsvCell, Kind, ObjectId, Typed
from catalog.inference.statistics import InferenceLimits, Observer

DATE = Typed(Kind.TIMESTAMPTZ, "2024-01-01 00:00:00+00", '{"$date":"2024-01-01T00:00:00Z"}')
UUID = Typed(Kind.UUID, "0f3a1c2e-0000-4000-8000-00000000000a", "{}")
NAN = Typed(Kind.FLOAT_SPECIAL, "NaN", '{"$numberDouble":"NaN"}')
NAN_DECIMAL = Typed(Kind.DECIMAL_SPECIAL, "NaN", '{"$numberDecimal":"NaN"}')
REGEX = Typed(Kind.EXTENDED, "", '{"$regularExpression":{"pattern":"a","options":""}}')


def table(*documents: dict[str, Any], name: str = "t", **limits: int) -> InferredTable:
    observer = Observer(InferenceLimits(**limits))
    for ordinal, document in enumerate(documents, 1):
        observer.observe(document, ordinal)
    return infer_table(name, observer.stats)


def kinds_of_events(inferred: InferredTable) -> set[tuple[str, tuple[str, ...]]]:
    return {(event.kind, event.path) for event in inferred.events if event.kind != "key_generated"}


# R0.4, R1.3, R6.4: one type is that type; numbers widen without loss; anything else is jsonb.
@pytest.mark.parametrize(
    ("values", "pg_type", "physical", "event"),
    [
        ([1, -5], "bigint", False, None),
        ([1, None], "bigint", False, None),
        ([2**63 - 1], "bigint", False, None),
        ([1.0, 2.5], "double precision", False, None),
        ([1, 2.5], "double precision", False, None),
        ([2**53, 2.5], "double precision", False, None),
        ([2**53 + 1, 2.5], "numeric", False, "numbers_widened"),
        ([2**63], "numeric", False, None),
        ([1, 2**63], "numeric", False, None),
        ([Decimal("12.30")], "numeric", False, None),
        ([Decimal("12.30"), 1], "numeric", False, "numbers_widened"),
        ([Decimal("12.30"), 0.5], "numeric", False, "numbers_widened"),
        ([NAN, 1.5], "double precision", True, None),
        ([NAN_DECIMAL, Decimal(1)], "numeric", True, "numbers_widened"),
        ([True], "boolean", False, None),
        (["x", ""], "text", False, None),
        ([ObjectId("0" * 24)], "text", False, None),
        ([ObjectId("0" * 24), "x"], "text", False, None),
        ([DATE], "timestamp with time zone", True, None),
        ([UUID, None], "uuid", True, None),
        ([Typed(Kind.BYTES, "\\x00", "{}")], "bytea", True, None),
        ([Typed(Kind.DATE, "2024-01-01", "")], "date", True, None),
        ([REGEX], "jsonb", False, None),
        ([None], "jsonb", False, "unknown_type"),
        ([[]], "jsonb", False, "unknown_type"),
        ([[None], []], "jsonb", False, "unknown_type"),
        ([1, "x"], "jsonb", False, "mixed_types"),
        ([1] * 40 + ["x"], "jsonb", False, "minority_type"),
        ([1, True], "jsonb", False, "mixed_types"),
        (["x", DATE], "jsonb", False, "mixed_types"),
        ([DATE, UUID], "jsonb", False, "mixed_types"),
        ([{"a": 1}, 1], "jsonb", False, "mixed_types"),
        ([{"a": 1}, [1]], "jsonb", False, "mixed_types"),
        ([[1], 1], "jsonb", False, "mixed_types"),
        ([{}], "jsonb", False, None),
        ([["a"], ["b", None], [], None], "text[]", False, None),
        ([[1, 2]], "bigint[]", False, None),
        ([[1, 2.5]], "double precision[]", False, None),
        ([[True]], "boolean[]", False, None),
        ([[2**70]], "numeric[]", False, None),
        ([[2**60, 0.5]], "numeric[]", False, "numbers_widened"),
        ([[DATE]], "timestamp with time zone[]", True, None),
        ([[1, "x"]], "jsonb", False, "mixed_types"),
        ([[1], ["x"]], "jsonb", False, "mixed_types"),
        ([[[1]]], "jsonb", False, None),
        ([[1, [1]]], "jsonb", False, "mixed_types"),
        ([[{"a": 1}, 1]], "jsonb", False, "mixed_types"),
        ([[{"a": 1}, [1]]], "jsonb", False, "mixed_types"),
        ([CsvCell("1"), CsvCell("")], "bigint", False, None),
        ([CsvCell("1"), CsvCell("1.50")], "numeric", False, None),
        ([CsvCell("1"), CsvCell("1e-05")], "double precision", False, None),
        ([CsvCell("1.50"), CsvCell("1e-05")], "text", False, None),
        ([CsvCell("1")] * 30 + [CsvCell("n/a")], "text", False, "cells_kept_text"),
        ([CsvCell("1"), ""], "text", False, None),
        ([CsvCell("2024-01-01")], "date", True, None),
        ([CsvCell("")], "text", False, "unknown_type"),
    ],
)
def test_type_of_values(values: list[Any], pg_type: str, physical: bool, event: str | None) -> None:
    inferred = table(*({"v": value} for value in values))
    column = inferred.column(("v",))
    assert column is not None
    assert (column.pg_type, column.physical) == (pg_type, physical)
    assert kinds_of_events(inferred) == ({(event, ("v",))} if event else set())
    assert column.clean


# R0.4: the one odd value in many is told with its place.
def test_minority_event_says_how_many_and_where_first() -> None:
    inferred = table(*({"v": value} for value in [1] * 99 + ["n/a"]))
    (event,) = (event for event in inferred.events if event.path == ("v",))
    assert event.kind == "minority_type"
    assert event.counts == {"int": 99, "string": 1}
    assert event.firsts == {"int": 1, "string": 100}
    assert event.message == "number 99, string 1: the column is jsonb"


# R0.4: missing is NULL, and so is null; both are counted.
def test_missing_and_nulls() -> None:
    column = table({"a": 1}, {}, {"a": None}).column(("a",))
    assert column is not None
    assert (column.nulls, column.missing, column.first, column.last) == (1, 1, 1, 3)


# R0.4: a sub-document is a jsonb column and dotted columns.
def test_dotted_columns() -> None:
    inferred = table({"_id": 1, "a": {"b": 1, "c": {"d": "x"}}, "e": True}, {"_id": 2, "a": {}})
    assert [(c.name, c.pg_type) for c in inferred.columns] == [
        ("_id", "bigint"),
        ("a", "jsonb"),
        ("a.b", "bigint"),
        ("a.c", "jsonb"),
        ("a.c.d", "text"),
        ("e", "boolean"),
    ]
    inner = inferred.column(("a", "b"))
    assert inner is not None
    assert inner.missing == 1


# R0.4: an array of documents is a jsonb column and a child table.
def test_child_table() -> None:
    inferred = table(
        {"_id": 1, "items": [{"sku": "a", "qty": 1, "at": DATE, "dim": {"w": 1, "x": {"y": 1}}}]},
        {"_id": 2, "items": [{"sku": "b", "tags": ["x"]}, None]},
        {"_id": 3, "items": None, "deep": {"list": [{"ordinality": 1}]}},
        name="orders",
    )
    items, deep = inferred.children
    assert (items.name, items.parent_key, items.ordinality) == (
        "orders_items",
        "orders__id",
        "ordinality",
    )
    assert [(c.name, c.pg_type, c.physical) for c in items.columns] == [
        ("sku", "text", False),
        ("qty", "bigint", False),
        ("at", "timestamp with time zone", True),
        ("dim", "jsonb", False),
        ("dim.w", "bigint", False),
        ("dim.x", "jsonb", False),
        ("tags", "jsonb", False),
    ]
    assert (deep.name, deep.path, deep.ordinality) == (
        "orders_deep.list",
        ("deep", "list"),
        "ordinality~3",
    )
    assert ("too_deep", ("items", "dim", "x")) in kinds_of_events(inferred)


# R0.4: `_id`, else `id`, else a generated key.
def test_keys() -> None:
    generated = KeyCandidate((), "_id", "bigint")
    assert table({"a": 1}).keys == (generated,)
    assert table({"id": 1}).keys == (KeyCandidate(("id",), "id", "bigint"), generated)
    assert table({"id": 1}, {"id": None}).keys == (generated,)
    both = table({"_id": "x", "id": 1}).keys
    assert [key.name for key in both] == ["_id", "id", "_id~3"]
    assert [key.name for key in table({"_id": 1}, {}).keys] == ["_id~3"]
    assert table().keys == (generated,)
    assert any(event.kind == "key_generated" for event in table({"a": 1}).events)


def test_with_key_renames_the_parent_key() -> None:
    inferred = table({"id": 1, "items": [{"a": 1}]}, name="o")
    assert inferred.children[0].parent_key == "o_id"
    changed = inferred.with_key(inferred.keys[-1])
    assert changed.children[0].parent_key == "o__id"
    assert changed.keys == inferred.keys[-1:]


# R6.3: limits, each with an event
def test_limits_have_events() -> None:
    wide = {"m": {str(key): key for key in range(9)}}
    assert ("too_wide", ("m",)) in kinds_of_events(table(wide, width_max=8))
    deep = table({"a": {"b": {"c": 1}}}, depth_max=2)
    assert kinds_of_events(deep) == {("too_deep", ("a", "b"))}
    root = table({"_id": 1, **{f"f{key}": key for key in range(9)}}, fields_max=8)
    assert [column.name for column in root.columns] == ["_id"]
    assert ("too_wide", ()) in kinds_of_events(root)
    cut = table({"k" * 70: 1})
    assert kinds_of_events(cut) == {("name_cut", ("k" * 70,))}
    many = table({"_id": 1, "a": [{"x": 1}], "b": [{"x": 1}]}, children_max=1)
    assert len(many.children) == 1
    assert kinds_of_events(many) == {("too_many_children", ("b",))}
    all_of_it = table({"a": {"b": 1, "c": 2}}, nodes_max=2)
    assert [column.name for column in all_of_it.columns] == ["a"]
    assert kinds_of_events(all_of_it) == {("too_many_paths", ())}
    element = table({"a": [{str(key): key for key in range(9)}]}, width_max=8)
    assert ("too_wide", ("a",)) in kinds_of_events(element)


# R6.3: PostgreSQL ends at 1,600 columns; the key and the frequent fields stay.
def test_too_many_columns() -> None:
    inferred = table({"x": 1, "rare": 1, "_id": 1}, {"x": 1, "_id": 2}, columns_max=2)
    assert [column.name for column in inferred.columns] == ["x", "_id"]
    (event,) = inferred.events
    assert event.kind == "too_wide"
    assert "rare" in event.message


# R0.4: the traps of section 6: keys with dots, with $, that differ in case, that are system names.
def test_odd_keys() -> None:
    inferred = table({"a.b": 1, "a": {"b": 2}, "A": 3, "$money": 4, "": 5, "ctid": 6, "_doc": 7})
    assert [column.name for column in inferred.columns] == [
        "a~1b",
        "a",
        "a.b",
        "A",
        "$money",
        "~2",
        "ctid~3",
        "_doc~3",
    ]


# R0.4: a collection without documents is a table.
def test_no_documents() -> None:
    inferred = table()
    assert (inferred.columns, inferred.children, inferred.documents) == ((), (), 0)
