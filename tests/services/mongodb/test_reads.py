"""Descriptions, child tables and odd documents (issue 4.1, R1.8, PEERS.md section 3)."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from pymongo.errors import OperationFailure

from backends.base import Description, Misfit, OrderKey, SampleSpec, ScanAsk, Scope
from backends.mongodb.backend import MongoBackend
from backends.mongodb.query import MongoQuery
from backends.stores import StoreOptions
from catalog.model import Table
from core import expr as ir
from core.errors import ConnectionFailure
from engine.exactness import judge_for
from tests.services.mongodb.scanning import Store, open_store, scan_rows
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services

DATABASE = "morph_reads"
WHEN = dt.datetime(2024, 2, 29, 12, 30)  # noqa: DTZ001


@pytest_asyncio.fixture
async def store(mongodb: RunningServer) -> AsyncIterator[Store]:
    """An empty database."""
    async with open_store(mongodb, DATABASE) as store:
        yield store


async def _describe(store: Store, name: str = "t") -> tuple[Table, Description]:
    found = await store.backend.describe((DATABASE, name), Scope())
    table = Table(
        1, name, "foreign", found.columns, native=(DATABASE, name), key=found.key, has_doc=True
    )
    return table, found


def _types(table: Table) -> dict[str, str]:
    return {column.name: column.type for column in table.columns}


async def _all(store: Store, table: Table, *names: str, **ask: Any) -> list[tuple[Any, ...]]:
    columns = [column for column in table.columns if column.name in names]
    misfits: list[Misfit] = []
    ask = {"judge": judge_for("mongodb"), **ask}
    plan = store.backend.plan_scan(table, ScanAsk(1, tuple(c.id for c in columns), **ask))
    rows = await scan_rows(
        store.backend, plan, Scope(misfits=misfits.append), text=[c.type for c in columns]
    )
    return rows


def _equal(table: Table, name: str, text: str) -> ir.Expr:
    column = table.column(name)
    assert column is not None
    return ir.Compare("=", ir.ColumnRef(column.id, column.type), ir.Literal(column.type, text))


# docs/types.md: the mapping
async def test_types(store: Store) -> None:
    document: dict[str, Any] = {
        "_id": ObjectId(),
        "int": 1,
        "long": Int64(1),
        "double": 1.5,
        "decimal": Decimal128("1.5"),
        "text": "x",
        "flag": True,
        "at": WHEN,
        "uuid": Binary(b"u" * 16, 4),
        "bytes": b"x",
        "doc": {"a": {"b": 1}},
        "texts": ["x"],
        "docs": [{"sku": "x"}],
        "nothing": None,
        "mixed": 1,
        "numbers": 1,
        "wide": 1,
    }
    other = {**document, "_id": ObjectId(), "mixed": "x", "numbers": 2.5, "wide": Decimal128("2.5")}
    await store.db.t.insert_many([document, other])
    table, found = await _describe(store)
    assert _types(table) == {
        "_id": "text",
        "int": "bigint",
        "long": "bigint",
        "double": "double precision",
        "decimal": "numeric",
        "text": "text",
        "flag": "boolean",
        "at": "timestamp(3) with time zone",
        "uuid": "uuid",
        "bytes": "bytea",
        "doc": "jsonb",
        "doc.a": "jsonb",
        "doc.a.b": "bigint",
        "texts": "text[]",
        "docs": "jsonb",
        "nothing": "jsonb",
        "mixed": "jsonb",
        "numbers": "double precision",
        "wide": "numeric",
    }
    assert found.has_doc
    assert [(suffix, path) for suffix, _, path in found.children] == [("docs", ("docs",))]
    assert found.comment is not None
    assert "mixed" in found.comment
    assert found.observed is not None
    assert found.observed.rows == found.observed.rows_total == 2


# PEERS 3.8: a field that the first document lacks is a column
async def test_fields_of_any_document_are_columns(store: Store) -> None:
    await store.db.t.insert_many([*({"a": n} for n in range(500)), {"late": "x"}])
    table, _ = await _describe(store)
    assert _types(table)["late"] == "text"
    assert ("x",) in await _all(store, table, "late")


# More documents than the sample: all of them where it is asked for
async def test_samples(store: Store) -> None:
    await store.db.t.insert_many({"a": n} for n in range(300))
    for parts, complete in (({"sample_rows": "50"}, False), ({"describe": "full"}, True)):
        parts = {**parts, "sample_rows": "50"}
        options = StoreOptions(dsn=store.server.uri, parts=parts)
        backend = MongoBackend("shop", options)
        found = await backend.describe((DATABASE, "t"), Scope())
        assert found.observed is not None
        assert found.observed.rows == (300 if complete else 50)
        assert found.observed.rows_total == 300
        assert {column.name for column in found.columns} == {"_id", "a"}
        await backend.close()
    table, _ = await _describe(store)
    observed = await store.backend.observe(table, SampleSpec(20))
    assert (observed.rows, observed.rows_total) == (20, 300)
    assert (await store.backend.statistics(table, Scope())).rows == 300


# PEERS 3.7: one odd document, and the others are read
async def test_odd_documents_do_not_fail_a_query(store: Store) -> None:
    await store.db.t.insert_many({"_id": n, "qty": n, "tags": ["x"]} for n in range(5))
    table, _ = await _describe(store)
    odd: list[dict[str, Any]] = [
        {"_id": "text", "qty": "5", "tags": "x"},
        {"_id": ObjectId(), "qty": 2.5, "tags": {"a": 1}},
        {"_id": 7, "qty": Int64(2**40), "tags": [5]},
        {"_id": 8, "qty": [1], "tags": None},
    ]
    await store.db.t.insert_many(odd)
    rows = await _all(store, table, "_id", "qty", "tags")
    assert len(rows) == 9
    assert [row for row in rows if row[0] == "7"] == [("7", str(2**40), None)]
    assert sorted(row[1] or "" for row in rows) == [
        "",
        "",
        "",
        "0",
        "1",
        "1099511627776",
        "2",
        "3",
        "4",
    ]


# Misfits are told, with an example
async def test_misfits_are_events(store: Store) -> None:
    await store.db.t.insert_many([{"_id": 1, "qty": 1}, {"_id": 2, "qty": 2}])
    table, _ = await _describe(store)
    await store.db.t.insert_many([{"_id": 3, "qty": 2.5}, {"_id": 4, "qty": "x"}])
    misfits: list[Misfit] = []
    qty = table.column("qty")
    assert qty is not None
    plan = store.backend.plan_scan(table, ScanAsk(1, (qty.id,)))
    await scan_rows(store.backend, plan, Scope(misfits=misfits.append))
    told = {(event.store_type, event.count, event.example) for event in misfits}
    assert told == {("double", 1, "2.5"), ("string", 1, "'x'")}


# PEERS 3.3: a key's literal finds its document, whatever the key's BSON type
async def test_keys_of_all_types(store: Store) -> None:
    keys: list[Any] = [ObjectId(), 5, "text", Binary(b"k" * 16, 4)]
    for number, key in enumerate(keys):
        name = f"t{number}"
        await store.db[name].insert_many([{"_id": key, "n": 1}])
        table, _ = await _describe(store, name)
        [(text, _)] = await _all(store, table, "_id", "n")
        assert await _all(store, table, "n", predicate=_equal(table, "_id", text)) == [("1",)]
        assert await _all(store, table, "n", predicate=_equal(table, "n", "2")) == []


# PEERS 3.3, 3.5: the index of the key and of a field is used
async def test_indexes_are_used(store: Store) -> None:
    await store.db.t.insert_many({"_id": n, "qty": n, "name": f"n{n}"} for n in range(200))
    await store.db.t.create_index("qty")
    await store.db.t.create_index("name")
    table, _ = await _describe(store)
    for name, text in (("_id", "7"), ("qty", "7"), ("name", "n7")):
        predicate = _equal(table, name, text)
        ask = ScanAsk(1, (1,), predicate, judge=judge_for("mongodb"))
        plan = store.backend.plan_scan(table, ask)
        assert isinstance(plan.native, MongoQuery)
        [command] = plan.native.commands(wide_dates=False, bits=True)
        explain = {"explain": command, "verbosity": "executionStats"}
        if store.server.product == "mongo-java-server":
            with pytest.raises(OperationFailure):  # it cannot explain
                await store.db.command(explain)
            continue
        explained = await store.db.command(explain)
        assert explained["executionStats"]["totalDocsExamined"] <= 1, plan.native


# PEERS 3.9: arrays of documents are read, and are tables of their own
async def test_child_tables(store: Store) -> None:
    await store.db.t.insert_many(
        [
            {
                "_id": 1,
                "name": "a",
                "lines": [{"sku": "x", "n": 1}, {"sku": "y", "deep": {"z": 5}}],
            },
            {"_id": 2, "name": "b", "lines": []},
            {"_id": 3, "name": "c"},
            {"_id": 4, "name": "d", "lines": [{"sku": "x", "n": 2}]},
        ]
    )
    table, found = await _describe(store)
    [(suffix, described, path)] = found.children
    assert suffix == "lines"
    child = Table(
        2,
        "t_lines",
        "foreign",
        described.columns,
        native=table.native,
        parent_path=path,
        parent_id=1,
    )
    names = [column.name for column in child.columns]
    assert names == ["t__id", "ordinality", "sku", "deep", "deep.z", "n"]
    await store.db.t.insert_many(
        [{"_id": 5, "lines": "none"}, {"_id": 6, "lines": [7, None, [{"sku": "no"}], {"sku": 5}]}]
    )
    if store.server.product == "mongo-java-server":
        with pytest.raises(ConnectionFailure):  # it breaks off at elements that are no documents
            await _all(store, child, *names)
        return
    rows = await _all(store, child, *names)
    assert sorted(rows, key=str) == sorted(
        [
            ("1", "1", "x", None, None, "1"),
            ("1", "2", "y", '{"z": 5}', "5", None),
            ("4", "1", "x", None, None, "2"),
            ("6", "1", None, None, None, None),
            ("6", "2", None, None, None, None),
            ("6", "3", None, None, None, None),
            ("6", "4", None, None, None, None),
        ],
        key=str,
    )
    assert await _all(store, child, "t__id", predicate=_equal(child, "sku", "x")) == [
        ("1",),
        ("4",),
    ]
    assert await _all(store, child, "sku", predicate=_equal(child, "t__id", "4")) == [("x",)]
    assert len(await _all(store, child)) == 7
    assert len(await _all(store, child, limit=2)) == 2


# A top-N by the key, where keys are ObjectIds and strings: PostgreSQL's order of the texts
async def test_the_order_of_mixed_keys(store: Store) -> None:
    keys: list[Any] = [ObjectId(f"{n:024x}") for n in range(0, 2**24, 2**20)]
    await store.db.t.insert_many({"_id": key} for key in keys)
    table, _ = await _describe(store)
    await store.db.t.insert_many({"_id": key} for key in ("", "0000", "zz", "00000000000000000050"))
    texts = sorted([*map(str, keys), "", "0000", "zz", "00000000000000000050"])
    for descending in (False, True):
        for limit in (1, 5, 100):
            order = (OrderKey(1, descending),)
            plan = store.backend.plan_scan(
                table, ScanAsk(1, (1,), None, limit, order, judge_for("mongodb"))
            )
            assert plan.order_exact
            found = [row[0] for row in await scan_rows(store.backend, plan)]
            assert found == sorted(texts, reverse=descending)[:limit]


# Fields with names that no dotted path can hold are read all the same
async def test_odd_names(store: Store) -> None:
    document = {"_id": 1, "a.b": 5, "c": {"d.e": "x", "f": 7}}
    await store.db.command({"insert": "t", "documents": [document]})
    table, _ = await _describe(store)
    rows = await _all(store, table, "a~1b", "c.d~1e", "c.f")
    assert rows == [("5", "x", "7")]


async def test_lists_tables(store: Store) -> None:
    await store.db.one.insert_one({})
    await store.db.two.insert_one({})
    found = await store.backend.list_tables(DATABASE, Scope())
    assert [(each.native, each.kind) for each in found] == [
        ((DATABASE, "one"), "collection"),
        ((DATABASE, "two"), "collection"),
    ]
