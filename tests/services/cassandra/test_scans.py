"""Scans of Cassandra: whole, in order, bounded, ended in time (R0.4, R0.5, issue 4 points 2, 9)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from backends.base import NativeTable, OrderKey, Scope, judge_nothing
from backends.cassandra.link import Link
from backends.cassandra.scanning import requests_of, token_ranges
from catalog.model import Table
from core import expr as ir
from core.errors import (
    DatetimeFieldOverflow,
    QueryCanceled,
    StoreError,
    UndefinedSchema,
    UndefinedTable,
)
from core.expr import Expr
from tests.services.cassandra.stores import (
    REPLICATION,
    Store,
    column_id,
    make,
    native_of,
    open_store,
    read,
)
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services

PARTITIONS = 60
PER_PARTITION = 70
ROWS = PARTITIONS * PER_PARTITION


@pytest_asyncio.fixture(scope="module")
async def store(cassandra: RunningServer) -> AsyncIterator[Store]:
    async with open_store(cassandra, "morph_scans", page_rows="50") as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def grid(store: Store) -> Table:
    """p × c with a value and a text, in more pages than fit into the queues."""
    table = await store.table(
        "grid",
        "p int, c int, v double, t text, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC",
    )
    for p in range(PARTITIONS):
        rows = "".join(
            f"INSERT INTO morph_scans.grid (p, c, v, t) VALUES ({p}, {c}, {c}.5, 'text {p} {c}');"
            for c in range(PER_PARTITION)
        )
        await store.cql(f"BEGIN UNLOGGED BATCH {rows} APPLY BATCH")
    return table


def _is(table: Table, name: str, op: str, value: int) -> Expr:
    column = ir.ColumnRef(column_id(table, name), "integer")
    return ir.Compare(op, column, ir.Literal("integer", str(value)))


def _among(table: Table, name: str, values: range) -> Expr:
    column = ir.ColumnRef(column_id(table, name), "integer")
    return ir.In(column, tuple(ir.Literal("integer", str(value)) for value in values))


# Issue 4.9: a full scan is whole: every row once, whatever the page and the part of the ring
async def test_full_scan(store: Store, grid: Table) -> None:
    rows = await store.scan(grid, ("p", "c", "v", "t"))
    assert sorted(rows) == [
        (p, c, c + 0.5, f"text {p} {c}") for p in range(PARTITIONS) for c in range(PER_PARTITION)
    ]


@pytest.mark.parametrize("ranges", ["1", "3", "16"])
async def test_parts_of_the_ring(cassandra: RunningServer, grid: Table, ranges: str) -> None:
    backend = make(cassandra, scan_ranges=ranges, page_rows="33")
    try:
        await backend.describe(grid.native, Scope())
        store = Store(backend, None, "morph_scans", cassandra)  # type: ignore[arg-type]
        assert len(set(await store.scan(grid, ("p", "c")))) == ROWS
    finally:
        await backend.close()


# R0.5: the parts are the ring, without gap and overlap
def test_token_ranges() -> None:
    for parts in (1, 2, 3, 7, 64, 1000):
        ranges = token_ranges(parts)
        assert len(ranges) == parts
        assert ranges[0][0] == -(2**63)
        assert ranges[-1][1] == 2**63 - 1
        assert all(low < high for low, high in ranges)
        assert all(one[1] == other[0] for one, other in itertools.pairwise(ranges))


# Issue 4: a scan without columns has as many rows
async def test_no_columns(store: Store, grid: Table) -> None:
    assert await store.scan(grid, ()) == [()] * ROWS
    assert await store.scan(grid, (), _is(grid, "p", "=", 3)) == [()] * PER_PARTITION
    assert await store.scan(grid, (), None, limit=77) == [()] * 77


@pytest.mark.parametrize("limit", [0, 1, 49, 50, 51, 333, ROWS, ROWS + 5])
async def test_limit(store: Store, grid: Table, limit: int) -> None:
    rows = await store.scan(grid, ("p", "c"), limit=limit)
    assert len(rows) == len(set(rows)) == min(limit, ROWS)
    rows = await store.scan(grid, ("p", "c"), _among(grid, "p", range(5, 9)), limit=limit)
    assert len(rows) == len(set(rows)) == min(limit, 4 * PER_PARTITION)
    assert {row[0] for row in rows} <= set(range(5, 9))


# R0.5: thousands of keys in one scan, each row once; keys that are not there are no rows
async def test_many_keys(store: Store, grid: Table) -> None:
    where = _among(grid, "p", range(-3000, 3000))
    plan = store.plan(grid, ("p", "c"), where)
    assert len(native_of(plan).binds) == 6000
    assert len(set(await read(store.backend, plan))) == ROWS


# R0.5: clustering columns: ranges, IN, and the order both ways over several pages
@pytest.mark.parametrize("descending", [False, True])
async def test_one_partition(store: Store, grid: Table, descending: bool) -> None:
    order = (OrderKey(column_id(grid, "c"), descending, descending),)
    where = ir.And((_is(grid, "p", "=", 7), _is(grid, "c", ">=", 5), _is(grid, "c", "<", 66)))
    wanted = sorted(range(5, 66), reverse=descending)
    plan = store.plan(grid, ("c",), where, order=order)
    assert plan.order_exact
    assert [row[0] for row in await read(store.backend, plan)] == wanted
    plan = store.plan(grid, ("c",), where, order=order, limit=55)
    assert [row[0] for row in await read(store.backend, plan)] == wanted[:55]
    where = ir.And((_is(grid, "p", "=", 7), _among(grid, "c", range(60, 90))))
    plan = store.plan(grid, ("c",), where, order=order)
    assert [row[0] for row in await read(store.backend, plan)] == sorted(
        range(60, 70), reverse=descending
    )


# R0.5: pushed or not, the rows are the same
@pytest.mark.parametrize(
    ("p", "c"), [(range(1), None), (range(3, 9), (10, 20)), (range(-5, 0), None)]
)
async def test_pushdown_on_and_off(
    store: Store, grid: Table, p: range, c: tuple[int, int] | None
) -> None:
    parts = [_among(grid, "p", p) if p else _is(grid, "p", "=", -1)]
    if c:
        parts += [_is(grid, "c", ">", c[0]), _is(grid, "c", "<=", c[1])]
    where = ir.join_and(parts)
    pushed = await store.scan(grid, ("p", "c"), where)
    plan = store.plan(grid, ("p", "c"), where, judge=judge_nothing)
    assert plan.taken is None
    everything = await read(store.backend, plan)
    names = (column_id(grid, "p"), column_id(grid, "c"))
    kept = [
        r
        for r in everything
        if where is None or ir.evaluate(where, dict(zip(names, r, strict=True)))
    ]
    assert sorted(pushed) == sorted(kept)


# R0.5: an instance that has not seen the table yet reads no more than it must, and answers right
async def test_first_scan_of_an_instance(cassandra: RunningServer, grid: Table) -> None:
    backend = make(cassandra)
    try:
        store = Store(backend, None, "morph_scans", cassandra)  # type: ignore[arg-type]
        plan = store.plan(grid, ("p", "c"), _is(grid, "p", "=", 7), limit=5)
        assert plan.residual is not None
        assert not plan.limit_exact
        rows = await read(backend, plan)
        assert sorted(rows) == [(7, c) for c in range(PER_PARTITION)]
        plan = store.plan(grid, ("p", "c"), _is(grid, "p", "=", 7), limit=5)
        assert plan.limit_exact
    finally:
        await backend.close()


# Issue 4: static columns: a partition without rows is a row without clustering values
async def test_static_rows(store: Store, own_name: str) -> None:
    table = await store.table(own_name, "p int, c int, s text static, v int, PRIMARY KEY (p, c)")
    await store.cql(
        f"INSERT INTO {own_name} (p, s) VALUES (1, 'alone')",
        f"INSERT INTO {own_name} (p, c, s) VALUES (2, 1, 'both')",
        f"INSERT INTO {own_name} (p, c) VALUES (2, 2)",
        f"INSERT INTO {own_name} (p, c) VALUES (3, 1)",
    )
    described = {column.name: column.not_null for column in table.columns}
    assert described == {"p": True, "c": False, "s": False, "v": False}
    for columns, wanted in (
        (("p", "c", "s"), [(1, None, "alone"), (2, 1, "both"), (2, 2, "both"), (3, 1, None)]),
        (("p",), [(1,), (2,), (2,), (3,)]),
        (("v",), [(None,)] * 4),
        (("c",), [(None,), (1,), (1,), (2,)]),
        (("s",), [("alone",), ("both",), ("both",), (None,)]),
        (("p", "s"), [(1, "alone"), (2, "both"), (2, "both"), (3, None)]),
        ((), [()] * 4),
    ):
        rows = await store.scan(table, columns)
        assert sorted(rows, key=str) == sorted(wanted, key=str), columns
    assert await store.scan(table, ("s",), _is(table, "p", "=", 1)) == [("alone",)]
    both = ir.And((_is(table, "p", "=", 1), _is(table, "c", ">", -5)))
    assert await store.scan(table, ("s",), both) == []


# Issue 4: indexes that are being built are not used: an index answers all or is not asked
async def test_index_is_used_when_it_is_built(store: Store, own_name: str) -> None:
    table = await store.table(own_name, "id int PRIMARY KEY, a int, b text")
    for number in range(50):
        await store.cql(f"INSERT INTO {own_name} (id, a, b) VALUES ({number}, {number % 5}, 'x')")
    where = ir.And((_is(table, "a", "=", 3), _is(table, "id", ">", -1)))
    assert native_of(store.plan(table, ("id",), where)).access == "full"
    await store.cql(f"CREATE INDEX {own_name}_a ON {own_name} (a) USING 'sai'")
    used = False
    for _ in range(100):
        plan = store.plan(table, ("id",), _is(table, "a", "=", 3))
        used = native_of(plan).access == "index"
        rows = {row[0] for row in await read(store.backend, plan)}
        assert rows >= set(range(3, 50, 5)), "an index that is not ready was asked"
        if used:
            assert rows == set(range(3, 50, 5))
            break
        await asyncio.sleep(0.1)
        await store.backend.describe(table.native, Scope())
    assert used
    both = ir.And((_is(table, "a", "=", 3), _is(table, "id", "=", 8)))
    assert await read(store.backend, store.plan(table, ("id",), both)) == [(8,)]


# Issue 4: ALLOW FILTERING is asked for, and then said; without it the condition is left
async def test_allow_filtering(store: Store, own_name: str) -> None:
    await store.table(own_name, "p int, c int, a int, PRIMARY KEY (p, c)")
    for number in range(30):
        await store.cql(
            f"INSERT INTO {own_name} (p, c, a) VALUES ({number % 3}, {number}, {number})"
        )
    plain = store.tables[own_name]
    plan = store.plan(plain, ("a",), _is(plain, "a", ">", 20))
    assert plan.residual is not None
    assert plan.notices == ()
    asked = await store.table(own_name, allow_filtering="true")
    plan = store.plan(asked, ("a",), _is(asked, "a", ">", 20))
    assert plan.residual is None
    assert plan.notices == (
        f"Cassandra reads every row of morph_scans.{own_name} to filter them (ALLOW FILTERING)",
    )
    assert {row[0] for row in await read(store.backend, plan)} == set(range(21, 30))
    both = ir.And((_is(asked, "p", "=", 1), _is(asked, "a", "<=", 10)))
    plan = store.plan(asked, ("a",), both)
    assert "the rows of the partition" in plan.notices[0]
    assert {row[0] for row in await read(store.backend, plan)} == {1, 4, 7, 10}


# R0.5: a value that PostgreSQL cannot hold meets no condition, and has no place in an order
async def test_misfits_in_conditions_and_orders(store: Store, own_name: str) -> None:
    table = await store.table(own_name, "p int, at timestamp, PRIMARY KEY (p, at)")
    for at in (-(2**62), 0, 1000, 2**62):
        await store.cql(f"INSERT INTO {own_name} (p, at) VALUES (1, {at})")
    instant = ir.ColumnRef(column_id(table, "at"), "timestamp with time zone")
    after = ir.Compare(
        ">=", instant, ir.Literal("timestamp with time zone", "1970-01-01 00:00:00+00")
    )
    where = ir.And((_is(table, "p", "=", 1), after))
    assert len(await store.scan(table, ("at",), where)) == 2
    assert len(await store.scan(table, ("at",), where, limit=2)) == 2
    assert len(await store.scan(table, (), where)) == 2
    order = (OrderKey(instant.column_id),)
    plan = store.plan(table, ("p",), _is(table, "p", "=", 1), order=order)
    assert plan.order_exact
    with pytest.raises(DatetimeFieldOverflow):
        await read(store.backend, plan)


# R0.4: who stops reading stops the paging
async def test_closing_stops_paging(
    store: Store, grid: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    run = Link.run

    async def counted(self: Link, *args: Any, **kwargs: Any) -> Any:
        sent.append(args)
        return await run(self, *args, **kwargs)

    monkeypatch.setattr(Link, "run", counted)
    plan = store.plan(grid, ("p", "c", "t"), None)
    async with aclosing(store.backend.scan(plan, Scope())) as batches:
        async for batch in batches:
            assert 0 < batch.num_rows <= 50 * 4 * 2
            break
    at_close = len(sent)
    await asyncio.sleep(0.3)
    assert len(sent) == at_close
    assert at_close < ROWS // 50 // 2
    tasks = [task for task in asyncio.all_tasks() if "scanning" in repr(task.get_coro())]
    assert tasks == []


# R0.4: a consumer that waits does not make the scan read on
async def test_backpressure(store: Store, grid: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = 0
    run = Link.run

    async def counted(self: Link, *args: Any, **kwargs: Any) -> Any:
        nonlocal pages
        pages += 1
        return await run(self, *args, **kwargs)

    monkeypatch.setattr(Link, "run", counted)
    plan = store.plan(grid, ("p", "c", "t"), None)
    async with aclosing(store.backend.scan(plan, Scope())) as batches:
        await anext(batches)
        await asyncio.sleep(0.5)
        # four workers: a page in each, four in the queue, those in the batch
        assert pages <= 4 * 3 + 4


# R0.4: wide rows make small pages
async def test_pages_follow_the_width_of_rows(cassandra: RunningServer, own_name: str) -> None:
    async with open_store(cassandra, "morph_wide") as store:
        table = await store.table(own_name, "id int PRIMARY KEY, body blob")
        insert = await asyncio.to_thread(
            store.session.prepare, f"INSERT INTO {own_name} (id, body) VALUES (?, ?)"
        )
        for number in range(60):
            await asyncio.to_thread(store.session.execute, insert, (number, bytes(100_000)))
        plan = store.plan(table, ("id", "body"), None)
        sizes = []
        rows = 0
        async for batch in store.backend.scan(plan, Scope(bytes_max=1_000_000)):
            sizes.append(batch.nbytes)
            rows += batch.num_rows
        assert rows == 60
        # the first page of each part is a guess, the later ones follow what it weighed
        assert len(sizes) >= 4


# R0.4: deadlines hold: before anything is sent, and between pages
async def test_deadline(store: Store, grid: Table) -> None:
    plan = store.plan(grid, ("p", "c", "t"), None)
    now = asyncio.get_running_loop().time()
    with pytest.raises(QueryCanceled):
        await read(store.backend, plan, Scope(deadline=now - 0.1))
    async with aclosing(store.backend.scan(plan, Scope(deadline=now + 0.3))) as batches:
        await anext(batches)
        await asyncio.sleep(0.5)
        with pytest.raises(QueryCanceled):
            async for _ in batches:
                pass


# R0.4: a table that goes away is 42P01, never an empty answer
async def test_vanished_table(store: Store, own_name: str) -> None:
    table = await store.table(own_name, "id int PRIMARY KEY")
    plan = store.plan(table, ("id",), None)
    await store.cql(f"DROP TABLE {own_name}")
    with pytest.raises(UndefinedTable) as caught:
        await read(store.backend, plan)
    assert '"ring"' in caught.value.primary
    with pytest.raises(UndefinedTable):
        await store.backend.describe(("morph_scans", own_name), Scope())
    with pytest.raises(UndefinedTable):
        await store.backend.describe(("no_such_keyspace", own_name), Scope())
    with pytest.raises(UndefinedSchema):
        await store.backend.list_tables("no_such_keyspace", Scope())


# R0.4: a table that goes away in the middle of a scan is an error, not fewer rows
async def test_table_vanishes_in_the_middle(store: Store, own_name: str) -> None:
    table = await store.table(own_name, "p int, c int, PRIMARY KEY (p, c)")
    rows, each = 16_000, 400
    for start in range(0, rows, each):
        inserts = "".join(
            f"INSERT INTO morph_scans.{own_name} (p, c) VALUES (0, {c});"
            for c in range(start, start + each)
        )
        await store.cql(f"BEGIN UNLOGGED BATCH {inserts} APPLY BATCH")
    plan = store.plan(table, ("p", "c"), None)
    # One partition is read page after page, and few bytes are read ahead: most of it is not.
    async with aclosing(store.backend.scan(plan, Scope(bytes_max=40_000))) as batches:
        first = await anext(batches)
        assert first.num_rows < rows // 2
        await store.cql(f"DROP TABLE {own_name}")
        await asyncio.sleep(0.5)
        # A replica that is just dropping it says only that the read failed.
        with pytest.raises((UndefinedTable, StoreError)):
            [batch async for batch in batches]


# R1.1: tables and descriptions are exact metadata, and schema changes are told
async def test_metadata_and_schema_events(store: Store, own_name: str) -> None:
    heard: list[tuple[str, str, str]] = []
    store.backend.on_schema_change = lambda *event: heard.append(event)
    table = await store.table(own_name, 'a int, "B" text, PRIMARY KEY ("B", a)')
    try:
        assert [column.name for column in table.columns] == ["B", "a"]
        assert table.key == (1, 2)
        listed = await store.backend.list_tables("morph_scans", Scope())
        assert NativeTable(("morph_scans", own_name), "table") in listed
        await store.cql(f"ALTER TABLE {own_name} ADD extra list<int>")
        for _ in range(100):
            if ("morph_scans", own_name, "UPDATED") in heard:
                break
            await asyncio.sleep(0.05)
        assert ("morph_scans", own_name, "CREATED") in heard
        assert ("morph_scans", own_name, "UPDATED") in heard
        described = await store.backend.describe(("morph_scans", own_name), Scope())
        assert [(c.name, c.type) for c in described.columns][-1] == ("extra", "integer[]")
    finally:
        store.backend.on_schema_change = None


# R1.1: an event makes known again what it touches, and leaves the rest as it is
async def test_schema_events_and_plans(store: Store, grid: Table, own_name: str) -> None:
    table = await store.table(own_name, "id int PRIMARY KEY, a int")
    plan = store.plan(table, ("id",), _is(table, "id", "=", 1))
    assert native_of(plan).known
    await store.cql(
        f"CREATE KEYSPACE {own_name}_other WITH replication = {REPLICATION}",
        f"DROP KEYSPACE {own_name}_other",
        f"ALTER TABLE {own_name} ADD b int",
    )
    assert native_of(store.plan(grid, ("p",), None)).known
    for _ in range(100):
        await asyncio.sleep(0.05)
        facts = store.backend._facts.get(("morph_scans", own_name))
        if facts is not None and facts[0].column("b") is not None:
            break
    else:
        raise AssertionError("the table is not known again")
    assert native_of(store.plan(table, ("id",), _is(table, "id", "=", 1))).known


# R1.8: the server says what it is, and an estimate of the rows reads few of them
async def test_server_and_statistics(store: Store, grid: Table) -> None:
    info = await store.backend.server(Scope())
    assert info.product == "Apache Cassandra"
    assert info.version == "5.0.9"
    assert info.features["token_ranges"]
    assert info.features["sai"]
    estimate = await store.backend.statistics(grid, Scope())
    assert ROWS / 3 < estimate.rows < ROWS * 3
    assert 20 < estimate.row_bytes < 200


# R0.5: what the golden file shows is what is sent
def test_requests_of_a_full_scan(store: Store, grid: Table) -> None:
    native = native_of(store.plan(grid, ("p",), None))
    texts = {text for text, _ in requests_of(native, 4)}
    assert texts == {
        'SELECT "p" FROM "morph_scans"."grid" WHERE token("p") > ? AND token("p") <= ?'
    }
    assert requests_of(native, 1) == [('SELECT "p" FROM "morph_scans"."grid"', ())]
