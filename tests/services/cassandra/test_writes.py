"""Writes mean what SQL says, by lightweight transactions (R1.8, issue 4 points 2 and 10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backends.base import RowChanges, Scope
from backends.cassandra.writes import BATCH_ROWS
from core.errors import (
    FeatureNotSupported,
    NotNullViolation,
    QueryCanceled,
    SerializationFailure,
    UndefinedTable,
    UniqueViolation,
    WrongObjectType,
)
from tests.services.cassandra.stores import Store, batch_of, open_store
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services

THINGS = "p int, c int, a text, n bigint, tags set<text>, m map<text, int>, s text static, " + (
    "PRIMARY KEY (p, c)"
)


@pytest_asyncio.fixture(scope="module")
async def store(cassandra: RunningServer) -> AsyncIterator[Store]:
    async with open_store(cassandra, "morph_writes") as opened:
        yield opened


async def _stored(store: Store, name: str, columns: str = "p, c, a, n") -> list[tuple[object, ...]]:
    return sorted(await store.rows(f"SELECT {columns} FROM {name}"))


# R1.8: INSERT writes whole rows and says how many; NULLs are not stored as tombstones
async def test_insert(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    result = await store.write(
        table, inserted={"p": [1, 1, 2], "c": [1, 2, 1], "a": ["x", None, "z"], "n": [None, 5, 6]}
    )
    assert result.rows == 3
    assert await _stored(store, own_name) == [(1, 1, "x", None), (1, 2, None, 5), (2, 1, "z", 6)]


# R1.8: a key that exists is 23505, and nothing of the statement was written
@pytest.mark.parametrize("rows", [[(1, 1)], [(1, 5), (1, 1)], [(7, 1), (8, 1), (1, 1)]])
async def test_duplicate_key(store: Store, own_name: str, rows: list[tuple[int, int]]) -> None:
    table = await store.table(own_name, THINGS)
    await store.cql(f"INSERT INTO {own_name} (p, c, a) VALUES (1, 1, 'old')")
    partitions, clusters = zip(*rows, strict=True)
    with pytest.raises(UniqueViolation) as caught:
        await store.write(table, inserted={"p": partitions, "c": clusters, "n": [0] * len(rows)})
    assert caught.value.sqlstate == "23505"
    assert caught.value.primary == (
        f'duplicate key value violates unique constraint "{own_name}_pkey"'
    )
    assert caught.value.detail == "Key (p, c)=(1, 1) already exists."
    assert await _stored(store, own_name) == [(1, 1, "old", None)]


# R1.8: two rows of one statement with one key are 23505 before anything is written
async def test_twins(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    with pytest.raises(UniqueViolation):
        await store.write(table, inserted={"p": [1, 3, 3], "c": [1, 1, 1]})
    assert await _stored(store, own_name) == []


@pytest.mark.parametrize("column", ["p", "c"])
async def test_null_in_key(store: Store, own_name: str, column: str) -> None:
    table = await store.table(own_name, THINGS)
    rows = {"p": [1], "c": [1], column: [None]}
    with pytest.raises(NotNullViolation) as caught:
        await store.write(table, inserted=rows)
    assert f'null value in column "{column}"' in caught.value.primary
    with pytest.raises(NotNullViolation):
        await store.write(table, inserted={"a": ["x"]})


# R1.8: insert_mode=upsert is CQL's own INSERT, of the instance or of the table
async def test_upsert(store: Store, own_name: str) -> None:
    await store.table(own_name, THINGS)
    table = await store.table(own_name, insert_mode="upsert")
    await store.cql(f"INSERT INTO {own_name} (p, c, a, n) VALUES (1, 1, 'old', 1)")
    result = await store.write(
        table, inserted={"p": [1, 1, 2], "c": [1, 2, 1], "a": ["new", "x", "y"], "n": [None, 2, 3]}
    )
    assert result.rows == 3
    assert await _stored(store, own_name) == [
        (1, 1, "new", None),
        (1, 2, "x", 2),
        (2, 1, "y", 3),
    ]


# R1.8: UPDATE of columns, to NULL and collections too
async def test_update(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    await store.cql(
        f"INSERT INTO {own_name} (p, c, a, n, tags, m) VALUES (1, 1, 'x', 1, {{'t'}}, {{'k': 1}})",
        f"INSERT INTO {own_name} (p, c, a, n) VALUES (2, 1, 'y', 2)",
    )
    changed = {"a": ["x2", None], "tags": [["u", "v"], None], "m": ['{"k": 2}', None]}
    read = {"a": ["x", "y"], "tags": [["t"], None], "m": ['{"k": 1}', None]}
    keys = {"p": [1, 2], "c": [1, 1]}
    result = await store.write(table, updated={**keys, **changed}, before={**keys, **read})
    assert result.rows == 2
    assert await _stored(store, own_name, "p, a, n, tags, m") == [
        (1, "x2", 1, {"u", "v"}, {"k": 2}),
        (2, None, 2, None, None),
    ]


# R1.8: a row that is not as it was read is 40001 and not overwritten
@pytest.mark.parametrize(("before", "stays"), [("other", "x"), (None, "x")])
async def test_update_conflict(store: Store, own_name: str, before: str | None, stays: str) -> None:
    table = await store.table(own_name, THINGS)
    await store.cql(f"INSERT INTO {own_name} (p, c, a) VALUES (1, 1, 'x')")
    keys = {"p": [1], "c": [1]}
    with pytest.raises(SerializationFailure) as caught:
        await store.write(table, updated={**keys, "a": ["mine"]}, before={**keys, "a": [before]})
    assert caught.value.primary == "could not serialize access due to concurrent update"
    assert "(p, c)=(1, 1)" in caught.value.detail
    assert await _stored(store, own_name) == [(1, 1, stays, None)]


# R1.8: a row that was deleted meanwhile is not made again by an update
async def test_update_of_a_row_that_is_gone(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    with pytest.raises(SerializationFailure):
        await store.write(table, updated={"p": [1], "c": [1], "a": ["mine"]})
    assert await _stored(store, own_name) == []


# Issue 4.10: rows of one partition are changed together or not at all
async def test_one_partition_is_atomic(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    for number in range(5):
        await store.cql(f"INSERT INTO {own_name} (p, c, n) VALUES (1, {number}, {number})")
    keys = {"p": [1] * 5, "c": list(range(5))}
    with pytest.raises(SerializationFailure):
        await store.write(
            table,
            updated={**keys, "n": [10] * 5},
            before={**keys, "n": [0, 1, 2, 3, 99]},
        )
    assert [row[3] for row in await _stored(store, own_name)] == [0, 1, 2, 3, 4]


# Issue 4.10: over several partitions the error says what stayed
async def test_what_stayed_is_said(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    for number in range(40):
        await store.cql(f"INSERT INTO {own_name} (p, c, n) VALUES ({number}, 1, 0)")
    keys = {"p": list(range(40)), "c": [1] * 40}
    with pytest.raises(SerializationFailure) as caught:
        await store.write(
            table,
            updated={**keys, "n": [1] * 40},
            before={**keys, "n": [0] * 39 + [5]},
        )
    stayed = sum(row[3] == 1 for row in await _stored(store, own_name))
    assert f"{stayed} rows of the statement were written before and stay." in caught.value.detail
    assert stayed >= 1


# R1.8: more rows of a partition than one batch takes
async def test_many_rows_of_one_partition(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    count = 2 * BATCH_ROWS + 7
    keys = {"p": [1] * count, "c": list(range(count))}
    result = await store.write(table, inserted={**keys, "n": keys["c"]})
    assert result.rows == count
    result = await store.write(
        table, updated={**keys, "n": [-1] * count}, before={**keys, "n": keys["c"]}
    )
    assert result.rows == count
    assert {row[3] for row in await _stored(store, own_name)} == {-1}
    result = await store.write(table, deleted={**keys, "n": [-1] * count})
    assert result.rows == count
    assert await _stored(store, own_name) == []


# R1.8: a static column belongs to the partition
async def test_static_columns(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    count = BATCH_ROWS + 3
    keys = {"p": [1] * count, "c": list(range(count))}
    await store.write(table, inserted={**keys, "s": ["one"] * count})
    assert set(await _stored(store, own_name, "s")) == {("one",)}
    result = await store.write(
        table,
        updated={**keys, "s": ["two"] * count, "n": [4] * count},
        before={**keys, "s": ["one"] * count, "n": [None] * count},
    )
    assert result.rows == count
    assert set(await _stored(store, own_name, "s, n")) == {("two", 4)}
    with pytest.raises(SerializationFailure):
        await store.write(
            table, updated={"p": [1], "c": [1], "s": ["x"]}, before={"p": [1], "c": [1], "s": ["?"]}
        )
    with pytest.raises(FeatureNotSupported):
        await store.write(table, updated={"p": [1, 1], "c": [1, 2], "s": ["x", "y"]})
    with pytest.raises(FeatureNotSupported):
        await store.write(table, deleted={"p": [1], "c": [None]})
    assert set(await _stored(store, own_name, "s, n")) == {("two", 4)}


# R1.8: DELETE of rows as they were read
async def test_delete(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    for number in range(3):
        await store.cql(f"INSERT INTO {own_name} (p, c, a) VALUES (1, {number}, 'x')")
    result = await store.write(table, deleted={"p": [1], "c": [0]})
    assert result.rows == 1
    result = await store.write(table, deleted={"p": [1], "c": [1], "a": ["x"]})
    assert result.rows == 1
    with pytest.raises(SerializationFailure):
        await store.write(table, deleted={"p": [1], "c": [2], "a": ["changed"]})
    with pytest.raises(SerializationFailure):
        await store.write(table, deleted={"p": [1], "c": [0]})
    assert await _stored(store, own_name) == [(1, 2, "x", None)]


# R1.8: two writers at once: one wins, the other is told
async def test_concurrent_writers(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    await store.cql(f"INSERT INTO {own_name} (p, c, n) VALUES (1, 1, 0)")

    async def add(number: int) -> bool:
        keys = {"p": [1], "c": [1]}
        try:
            await store.write(table, updated={**keys, "n": [number]}, before={**keys, "n": [0]})
        except SerializationFailure:
            return False
        return True

    won = await asyncio.gather(*(add(number) for number in range(1, 6)))
    assert sum(won) == 1
    assert await _stored(store, own_name) == [(1, 1, None, won.index(True) + 1)]


# R1.8: counters take differences; an absolute value, INSERT and DELETE are refused
async def test_counters(store: Store, own_name: str) -> None:
    table = await store.table(own_name, "p int PRIMARY KEY, hits counter, misses counter")
    before = {"p": [1, 2], "hits": [None, None]}
    result = await store.write(table, updated={"p": [1, 2], "hits": [3, -2]}, before=before)
    assert result.rows == 2
    await store.write(table, updated={"p": [1], "hits": [10]}, before={"p": [1], "hits": [3]})
    assert sorted(await store.scan(table, ("p", "hits", "misses"))) == [
        (1, 10, None),
        (2, -2, None),
    ]
    for changes in (
        {"updated": {"p": [1], "hits": [5]}},
        {"updated": {"p": [1], "hits": [5]}, "before": {"p": [1]}},
        {"inserted": {"p": [9], "hits": [5]}},
        {"deleted": {"p": [1]}},
    ):
        with pytest.raises(FeatureNotSupported):
            await store.write(table, **changes)  # type: ignore[arg-type]
    assert len(await store.scan(table, ("p",))) == 2


# R1.8: one statement deletes, updates and inserts (MERGE)
async def test_all_kinds_at_once(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    await store.cql(
        f"INSERT INTO {own_name} (p, c, a) VALUES (1, 1, 'x')",
        f"INSERT INTO {own_name} (p, c, a) VALUES (2, 1, 'y')",
    )
    result = await store.write(
        table,
        deleted={"p": [1], "c": [1]},
        updated={"p": [2], "c": [1], "a": ["z"]},
        before={"p": [2], "c": [1], "a": ["y"]},
        inserted={"p": [1, 3], "c": [1, 1], "a": ["new", "newer"]},
    )
    assert result.rows == 4
    assert await _stored(store, own_name, "p, a") == [(1, "new"), (2, "z"), (3, "newer")]


# R1.8: a materialized view is Cassandra's to write
async def test_view_is_read_only(store: Store, own_name: str) -> None:
    await store.table(own_name, THINGS)
    await store.cql(
        f"CREATE MATERIALIZED VIEW {own_name}_v AS SELECT p, c, a FROM {own_name} "
        "WHERE p IS NOT NULL AND c IS NOT NULL AND a IS NOT NULL PRIMARY KEY (a, p, c)"
    )
    view = await store.table(f"{own_name}_v")
    with pytest.raises(WrongObjectType):
        await store.write(view, inserted={"p": [1], "c": [1], "a": ["x"]})
    listed = await store.backend.list_tables(store.keyspace, Scope())
    kinds = {each.native[1]: each.kind for each in listed}
    assert kinds[own_name] == "table"
    assert kinds[f"{own_name}_v"] == "materialized view"


# R1.8: floats are keys too, and names need quotes
async def test_odd_names_and_float_keys(store: Store, own_name: str) -> None:
    table = await store.table(own_name, '"The Key" double PRIMARY KEY, "select" text, " IF " int')
    await store.write(
        table, inserted={"The Key": [0.5, -0.0], "select": ["a", "b"], " IF ": [1, 2]}
    )
    with pytest.raises(UniqueViolation):
        await store.write(table, inserted={"The Key": [0.5, 7.0], "select": ["c", "d"]})
    await store.write(
        table,
        updated={"The Key": [0.5], " IF ": [5]},
        before={"The Key": [0.5], " IF ": [1]},
    )
    assert sorted(await store.scan(table, ("select", " IF "))) == [("a", 5), ("b", 2)]


# R0.4: a deadline that is over writes nothing; a table that is gone is 42P01
async def test_deadline_and_vanished_table(store: Store, own_name: str) -> None:
    table = await store.table(own_name, THINGS)
    changes = RowChanges(inserted=batch_of(table, {"p": [1], "c": [1]}))
    over = Scope(deadline=asyncio.get_running_loop().time() - 1)
    with pytest.raises(QueryCanceled):
        await store.backend.apply(table, changes, over)
    assert await _stored(store, own_name) == []
    await store.cql(f"DROP TABLE {own_name}")
    with pytest.raises(UndefinedTable):
        await store.backend.apply(table, changes, Scope())


# R0.4: there are no transactions, and it says so
async def test_no_transactions(store: Store) -> None:
    assert not store.backend.capabilities.transactions
    with pytest.raises(FeatureNotSupported):
        await store.backend.begin(Scope(), isolation="serializable", read_only=False)
