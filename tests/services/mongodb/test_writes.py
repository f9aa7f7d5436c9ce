"""Writes of collections: what arrives, conflicts, transactions, and what never changes silently
(issue 4 points 1 and 10, PEERS.md section 3 number 6).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
import pytest_asyncio
from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from backends.base import RowChanges, ScanAsk, Scope
from catalog.model import Table
from core.errors import (
    DatetimeFieldOverflow,
    FeatureNotSupported,
    NumericValueOutOfRange,
    SerializationFailure,
    UniqueViolation,
)
from core.types import type_by_name
from engine.federate import scanned_table
from tests.services.mongodb.scanning import Store, open_store, scan_rows
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services

FIRST, SECOND = ObjectId("6650f0a1b2c3d4e5f6a7b801"), ObjectId("6650f0a1b2c3d4e5f6a7b802")
MOMENT = dt.datetime(2024, 2, 29, 12, 30, 0, 123000)  # noqa: DTZ001


def _documents() -> list[dict[str, Any]]:
    return [
        {
            "_id": FIRST,
            "name": "a",
            "qty": 5,
            "big": Int64(5),
            "ratio": 0.5,
            "price": Decimal128("1.50"),
            "paid": True,
            "at": MOMENT,
            "ref": Binary(bytes(range(16)), 4),
            "blob": b"\x00\x01",
            "tags": ["x", "y"],
            "addr": {"zip": Int64(7), "city": "B", "owner": SECOND},
        },
        {"_id": SECOND, "name": "b", "qty": 6, "unknown": {"to": ["the", "table"]}},
    ]


@pytest_asyncio.fixture
async def store(mongodb: RunningServer) -> AsyncIterator[Store]:
    """A database with two documents in `t`."""
    async with open_store(mongodb, "morph_writes") as store:
        await store.db.t.insert_many(_documents())
        yield store


async def _table(store: Store) -> Table:
    native = (store.database, "t")
    found = await store.backend.describe(native, Scope())
    table = Table(
        1, "t", "foreign", found.columns, native=native, key=found.key, has_doc=found.has_doc
    )
    return scanned_table(table)


def _batch(table: Table, rows: list[dict[str, str | None]]) -> pa.RecordBatch:
    """Rows by column names, as text; all columns of the first row."""
    names = list(rows[0])
    columns = [table.column(name) for name in names]
    assert all(columns)
    arrays = [pa.array([row[name] for row in rows], pa.string()) for name in names]
    return pa.RecordBatch.from_arrays(arrays, [f"c{column.id}" for column in columns if column])


async def _read(store: Store, table: Table, *names: str) -> dict[str, dict[str, str | None]]:
    """The columns of all rows as text, by key."""
    columns = [table.column(name) for name in ("_id", *names)]
    ids = tuple(column.id for column in columns if column)
    plan = store.backend.plan_scan(table, ScanAsk(1, ids))
    rows = await scan_rows(store.backend, plan, text=[c.type for c in columns if c])
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}


async def _update(
    store: Store,
    table: Table,
    key: ObjectId,
    scope: Scope | None = None,
    **values: str | None,
) -> int:
    before = (await _read(store, table, *values))[str(key)]
    changes = RowChanges(
        updated=_batch(table, [{"_id": str(key), **values}]),
        before=_batch(table, [{"_id": str(key), **before}]),
    )
    return (await store.backend.apply(table, changes, scope or Scope())).rows


# Every type goes in as it comes out, to the BSON type
async def test_inserted_rows_are_the_documents(store: Store) -> None:
    table = await _table(store)
    names = [column.name for column in table.columns if column.name != "_doc"]
    wanted = _documents()[0]
    row = (await _read(store, table, *names[1:]))[str(FIRST)]
    new = ObjectId()
    changes = RowChanges(inserted=_batch(table, [{"_id": str(new), **row}]))
    assert (await store.backend.apply(table, changes, Scope())).rows == 1
    found = await store.db.t.find_one({"_id": new})
    assert found == {**wanted, "_id": new}
    kinds = {key: type(value) for key, value in found.items()}
    assert kinds == {key: type(value) for key, value in wanted.items()}


# PEERS 3.6: a given _id is kept; NULL is a missing field
async def test_given_keys_are_kept_and_null_is_missing(store: Store) -> None:
    table = await _table(store)
    new = ObjectId()
    row: dict[str, str | None] = {"_id": str(new), "name": None, "addr.city": "C"}
    await store.backend.apply(table, RowChanges(inserted=_batch(table, [row])), Scope())
    assert await store.db.t.find_one({"_id": new}) == {"_id": new, "addr": {"city": "C"}}


async def test_a_key_that_exists_is_23505_and_nothing_stays(store: Store) -> None:
    table = await _table(store)
    rows: list[dict[str, str | None]] = [
        {"_id": str(ObjectId()), "name": "new"},
        {"_id": str(FIRST), "name": "again"},
    ]
    with pytest.raises(UniqueViolation) as error:
        await store.backend.apply(table, RowChanges(inserted=_batch(table, rows)), Scope())
    assert error.value.primary == 'duplicate key value violates unique constraint "t_pkey"'
    assert error.value.detail == f"Key (_id)=({FIRST}) already exists."
    assert await store.db.t.count_documents({}) == 2


# Also rows whose `_id` is no column of the table are taken back after an error
async def test_rows_without_a_column_for_id_are_taken_back(store: Store) -> None:
    await store.db.t.create_index("name", unique=True)
    described = await _table(store)
    kept = tuple(column for column in described.columns if column.name in ("name", "qty"))
    table = replace(described, columns=kept, key=(kept[0].id,))
    rows: list[dict[str, str | None]] = [{"name": "new"}, {"name": "a"}]
    with pytest.raises(UniqueViolation) as error:
        await store.backend.apply(table, RowChanges(inserted=_batch(table, rows)), Scope())
    assert "stay" not in error.value.detail
    assert sorted([each["name"] async for each in store.db.t.find()]) == ["a", "b"]


async def test_an_update_sets_and_removes_fields(store: Store) -> None:
    table = await _table(store)
    assert await _update(store, table, FIRST, name="z", qty=None, **{"addr.city": "C"}) == 1
    found = await store.db.t.find_one({"_id": FIRST})
    wanted = _documents()[0]
    del wanted["qty"]
    wanted["name"] = "z"
    wanted["addr"]["city"] = "C"
    assert found == wanted
    assert await store.db.t.find_one({"_id": SECOND}) == _documents()[1]


# Parts of a document that did not change keep the types that jsonb does not show
async def test_unchanged_parts_of_jsonb_keep_their_types(store: Store) -> None:
    table = await _table(store)
    new = f'{{"zip": 7, "city": "C", "owner": "{SECOND}", "more": [1, 2.5, 9007199254740993]}}'
    await _update(store, table, FIRST, addr=new)
    found = (await store.db.t.find_one({"_id": FIRST}))["addr"]
    more = [1, 2.5, Int64(2**53 + 1)]
    assert found == {"zip": Int64(7), "city": "C", "owner": SECOND, "more": more}
    assert type(found["zip"]) is Int64
    assert list(found) == ["zip", "city", "owner", "more"]


async def test_the_whole_document_can_be_written(store: Store) -> None:
    table = await _table(store)
    new = f'{{"_id": "{SECOND}", "qty": 6, "name": "c", "unknown": {{"to": ["the"]}}}}'
    await _update(store, table, SECOND, _doc=new)
    wanted = {"_id": SECOND, "name": "c", "qty": 6, "unknown": {"to": ["the"]}}
    assert await store.db.t.find_one({"_id": SECOND}) == wanted


# Issue 4.10: a row that is no longer as it was read
async def test_an_update_of_a_changed_row_is_40001(store: Store) -> None:
    table = await _table(store)
    changes = RowChanges(
        updated=_batch(table, [{"_id": str(FIRST), "qty": "9"}]),
        before=_batch(table, [{"_id": str(FIRST), "qty": "4"}]),
    )
    with pytest.raises(SerializationFailure):
        await store.backend.apply(table, changes, Scope())
    assert (await store.db.t.find_one({"_id": FIRST}))["qty"] == 5


async def test_a_vanished_row_is_40001(store: Store) -> None:
    table = await _table(store)
    row: dict[str, str | None] = {"_id": str(ObjectId()), "qty": "4"}
    with pytest.raises(SerializationFailure):
        await store.backend.apply(table, RowChanges(deleted=_batch(table, [row])), Scope())


async def test_a_delete(store: Store) -> None:
    table = await _table(store)
    names = [column.name for column in table.columns][1:]
    row = (await _read(store, table, *names))[str(FIRST)]
    batch = _batch(table, [{"_id": str(FIRST), **row}])
    assert (await store.backend.apply(table, RowChanges(deleted=batch), Scope())).rows == 1
    assert [each["_id"] async for each in store.db.t.find()] == [SECOND]


# All of a statement or nothing; a server without transactions says what stayed
async def test_a_conflict_in_the_middle(store: Store) -> None:
    table = await _table(store)
    await store.db.t.insert_many({"_id": ObjectId(), "qty": n} for n in range(20))
    rows = await _read(store, table, "qty")
    keys = list(rows)
    before = [{"_id": key, "qty": rows[key]["qty"]} for key in keys]
    before[-1] = {**before[-1], "qty": "77"}
    changes = RowChanges(
        inserted=_batch(table, [{"_id": str(ObjectId()), "qty": "1"}]),
        updated=_batch(table, [{"_id": key, "qty": "100"} for key in keys]),
        before=_batch(table, before),
    )
    with pytest.raises(SerializationFailure):
        await store.backend.apply(table, changes, Scope())
    assert await store.db.t.count_documents({"qty": 100}) == 0
    assert await store.db.t.count_documents({}) == 22


# Nothing is rounded on its way in
@pytest.mark.parametrize(
    ("column", "value", "error"),
    [
        ("price", "1" * 35, NumericValueOutOfRange),
        ("at", "2024-01-01 00:00:00.123456+00", DatetimeFieldOverflow),
        ("addr", '{"n": 123456789012345678901234567890.123456789}', NumericValueOutOfRange),
    ],
)
async def test_what_bson_does_not_hold(
    store: Store, column: str, value: str, error: type[Exception]
) -> None:
    table = await _table(store)
    if column == "at":  # as a client may declare it; inference says timestamp(3)
        at = table.column("at")
        assert at is not None
        plain = type_by_name("timestamptz").sql
        table = table.with_column(type(at)(at.id, at.name, plain, at.source))
    with pytest.raises(error):
        await _update(store, table, FIRST, **{column: value})
    assert await store.db.t.find_one({"_id": FIRST}) == _documents()[0]


def _transactional(mongodb: RunningServer) -> bool:
    return mongodb.product != "mongo-java-server"


async def test_begin_says_whether_there_are_transactions(
    store: Store, mongodb: RunningServer
) -> None:
    scope = Scope()
    info = await store.backend.server(scope)
    assert info.features["transactions"] == _transactional(mongodb)
    if not _transactional(mongodb):
        with pytest.raises(FeatureNotSupported):
            await store.backend.begin(scope, isolation="read committed", read_only=False)
        return
    with pytest.raises(FeatureNotSupported):
        await store.backend.begin(scope, isolation="serializable", read_only=False)


# PEERS 3.6: ROLLBACK undoes, and nobody else saw it; COMMIT keeps
async def test_rollback_and_commit(store: Store, mongodb: RunningServer) -> None:
    if not _transactional(mongodb):
        await test_begin_says_whether_there_are_transactions(store, mongodb)
        return
    table = await _table(store)
    for end in ("rollback", "commit"):
        transaction = await store.backend.begin(
            Scope(), isolation="repeatable read", read_only=False
        )
        scope = Scope(transaction=transaction)
        await _update(store, table, FIRST, scope, name=f"in {end}")
        ids = tuple(c.id for c in table.columns if c.name == "name")
        plan = store.backend.plan_scan(table, ScanAsk(1, ids))
        assert (f"in {end}",) in await scan_rows(store.backend, plan, scope)
        assert (f"in {end}",) not in await scan_rows(store.backend, plan)
        await getattr(transaction, end)(None)
        inside = (f"in {end}",) in await scan_rows(store.backend, plan)
        assert inside == (end == "commit")


# Issue 4.10: snapshot reads; of two writers the second one fails with 40001
async def test_snapshot_and_write_conflict(store: Store, mongodb: RunningServer) -> None:
    if not _transactional(mongodb):
        await test_begin_says_whether_there_are_transactions(store, mongodb)
        return
    table = await _table(store)
    transaction = await store.backend.begin(Scope(), isolation="repeatable read", read_only=False)
    scope = Scope(transaction=transaction)
    ids = tuple(c.id for c in table.columns if c.name == "qty")
    plan = store.backend.plan_scan(table, ScanAsk(1, ids))
    first = await scan_rows(store.backend, plan, scope)
    await store.db.t.update_one({"_id": FIRST}, {"$set": {"qty": 500}})
    assert await scan_rows(store.backend, plan, scope) == first
    changes = RowChanges(
        updated=_batch(table, [{"_id": str(FIRST), "qty": "9"}]),
        before=_batch(table, [{"_id": str(FIRST), "qty": "5"}]),
    )
    with pytest.raises(SerializationFailure):
        await store.backend.apply(table, changes, scope)
    await transaction.rollback(None)
    assert (await store.db.t.find_one({"_id": FIRST}))["qty"] == 500
