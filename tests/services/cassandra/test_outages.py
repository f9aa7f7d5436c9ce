"""A connection that breaks while the node is up costs no statement that can be sent again, and only
the one that cannot (issue 4 point 9, R1.9).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pyarrow as pa
import pytest
import pytest_asyncio

from backends.base import RowChanges, ScanPlan, Scope
from backends.cassandra import link
from backends.cassandra.backend import CassandraBackend
from backends.cassandra.scanning import requests_of
from backends.stores import StoreOptions
from catalog.model import Table
from core.errors import ConnectionFailure, StatementCompletionUnknown
from tests.services.cassandra.stores import Store, batch_of, native_of, open_store, read
from tests.services.cutting_proxy import CuttingProxy, Fault
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

ROWS = 1_500
PAGE_ROWS = 100
VALUE = 0x5A5A5A
KEYSPACE = "morph_outages"


@pytest_asyncio.fixture(scope="module")
async def store(cassandra: RunningServer) -> AsyncIterator[Store]:
    async with open_store(cassandra, KEYSPACE) as opened:
        await opened.table("things", "p int, c int, PRIMARY KEY (p, c)")
        for start in range(0, ROWS, 100):
            rows = "".join(
                f"INSERT INTO {KEYSPACE}.things (p, c) VALUES (0, {c});"
                for c in range(start, start + 100)
            )
            await opened.cql(f"BEGIN UNLOGGED BATCH {rows} APPLY BATCH")
        yield opened


@pytest.fixture
def proxy(cassandra: RunningServer) -> CuttingProxy:
    """In front of the node; not started."""
    return CuttingProxy(cassandra.host, cassandra.port)


def _behind(proxy: CuttingProxy, **parts: str) -> CassandraBackend:
    address = {"host": proxy.host, "port": str(proxy.port), "page_rows": str(PAGE_ROWS), **parts}
    return CassandraBackend("ring", StoreOptions(parts=address, connect_timeout=10.0))


def _soon() -> Scope:
    return Scope(deadline=asyncio.get_running_loop().time() + 60.0)


def _row(table: Table, number: int) -> RowChanges:
    return RowChanges(inserted=batch_of(table, {"id": [number], "v": [VALUE]}))


def _sent_row(number: int) -> bytes:
    """The bytes of that row in a request: other requests are under way, too."""
    return b"".join((4).to_bytes(4) + each.to_bytes(4) for each in (number, VALUE))


async def _sent_query(backend: CassandraBackend, plan: ScanPlan) -> bytes:
    """The bytes of a scan's query in a request: its number in the server."""
    [[text, _], *_] = requests_of(native_of(plan), 1)
    statement = await backend._link.prepare(text, _soon().deadline)
    return bytes(statement.prepared.query_id)


# R1.9: connections that broke while nobody used them cost no statement
async def test_idle_connections_break(store: Store, proxy: CuttingProxy, own_name: str) -> None:
    table = await store.table(own_name, "id int PRIMARY KEY, v int")
    with proxy:
        backend = _behind(proxy)
        plan = store.plan(store.tables["things"], ("c",), None)
        assert len(await read(backend, plan, _soon())) == ROWS
        await backend.apply(table, _row(table, 0), _soon())
        for number in range(1, 4):
            proxy.go_down()
            proxy.come_back()
            assert len(await read(backend, plan, _soon())) == ROWS
            proxy.go_down()
            proxy.come_back()
            # A conditional write, too: it did not leave.
            await backend.apply(table, _row(table, number), _soon())
        await backend.close()
    assert sorted(await store.rows(f"SELECT id FROM {own_name}")) == [(n,) for n in range(4)]


# R1.9: a read that has brought nothing is sent again by a new connection, at any byte
@pytest.mark.parametrize("action", ["cut", "reset"])
async def test_first_answer_is_cut(store: Store, proxy: CuttingProxy, action: str) -> None:
    with proxy:
        backend = _behind(proxy, scan_ranges="1")
        plan = store.plan(store.tables["things"], ("c",), None, limit=50)
        assert len(await read(backend, plan, _soon())) == 50
        query = await _sent_query(backend, plan)
        for after in (0, 1, 50, 200):
            proxy.arm(Fault(action, after=after, trigger=query))  # type: ignore[arg-type]
            assert len(await read(backend, plan, _soon())) == 50
            proxy.wait_fired()
        await backend.close()


# PEERS.md: never after the first row; and the next statement finds a new connection at once
async def test_later_answer_is_cut(store: Store, proxy: CuttingProxy) -> None:
    with proxy:
        backend = _behind(proxy, scan_ranges="1")
        plan = store.plan(store.tables["things"], ("c",), None)
        query = await _sent_query(backend, plan)
        for _ in range(3):
            async with aclosing(backend.scan(plan, _soon())) as batches:
                first: pa.RecordBatch = await anext(batches)
                assert 0 < first.num_rows < ROWS
                proxy.arm(Fault("cut", after=0, trigger=query))
                with pytest.raises(ConnectionFailure):
                    [batch async for batch in batches]
                proxy.wait_fired()
            assert len(await read(backend, plan, _soon())) == ROWS
        await backend.close()


# R0.4: a conditional write whose answer is cut is 40003, the next one is done
async def test_conditional_write_is_cut(store: Store, proxy: CuttingProxy, own_name: str) -> None:
    table = await store.table(own_name, "id int PRIMARY KEY, v int")
    with proxy:
        backend = _behind(proxy)
        await backend.apply(table, _row(table, 0), _soon())
        for number in (1, 3, 5):
            proxy.arm(Fault("cut", after=0, trigger=_sent_row(number)))
            with pytest.raises(StatementCompletionUnknown):
                await backend.apply(table, _row(table, number), _soon())
            assert proxy.fired == 1
            await backend.apply(table, _row(table, number + 1), _soon())
        await backend.close()
    assert {(2,), (4,), (6,)} <= set(await store.rows(f"SELECT id FROM {own_name}"))


# R0.4: a write that sets values by key is done again, and done when the answer says so
async def test_idempotent_write_is_cut(store: Store, proxy: CuttingProxy, own_name: str) -> None:
    table = await store.table(own_name, "id int PRIMARY KEY, v int", insert_mode="upsert")
    with proxy:
        backend = _behind(proxy)
        await backend.apply(table, _row(table, 0), _soon())
        for number in range(1, 4):
            proxy.arm(Fault("cut", after=0, trigger=_sent_row(number)))
            await backend.apply(table, _row(table, number), _soon())
            assert proxy.fired == 1
        # Where no node comes back nobody knows whether the first try was done.
        proxy.arm(Fault("stall", after=0, trigger=_sent_row(9)))
        writing = asyncio.create_task(backend.apply(table, _row(table, 9), _soon()))
        await asyncio.to_thread(proxy.wait_fired)
        proxy.go_down()
        with pytest.raises(StatementCompletionUnknown):
            await writing
        # One that does not leave at all was not done, and that is known.
        with pytest.raises(ConnectionFailure) as refused:
            await backend.apply(table, _row(table, 10), _soon())
        assert refused.value.sqlstate == "08006"
        proxy.come_back()
        await backend.close()
    found = set(await store.rows(f"SELECT id FROM {own_name}"))
    assert {(n,) for n in range(4)} <= found
    assert (10,) not in found


# R1.9: a node that says nothing any more is given up long before a statement's deadline
async def test_silent_node_is_given_up(
    store: Store, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "HEARTBEAT_SECONDS", 2)
    with proxy:
        backend = _behind(proxy)
        plan = store.plan(store.tables["things"], ("c",), None)
        assert len(await read(backend, plan, _soon())) == ROWS
        proxy.arm(Fault("stall", after=0, times=None))
        clock = asyncio.get_running_loop().time
        deadline = clock() + 300.0
        with pytest.raises(ConnectionFailure):
            await read(backend, plan, Scope(deadline=deadline))
        assert clock() < deadline - 200.0
        proxy.disarm()
        for _ in range(300):
            try:
                assert len(await read(backend, plan, _soon())) == ROWS
                break
            except ConnectionFailure:
                await asyncio.sleep(0.2)
        else:
            pytest.fail("the node is not used again")
        await backend.close()
