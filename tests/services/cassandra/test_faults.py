"""Faults of Cassandra: a clear SQL error in time, never fewer rows (issue 4 point 9, R0.4)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backends.base import RowChanges, Scope
from backends.cassandra.backend import CassandraBackend
from backends.stores import StoreOptions
from catalog.model import Table
from core import expr as ir
from core.errors import (
    CannotConnect,
    ConfigurationLimitExceeded,
    ConnectionFailure,
    InsufficientPrivilege,
    InvalidAuthorization,
    MorphError,
    QueryCanceled,
    StatementCompletionUnknown,
    UndefinedTable,
)
from core.expr import Expr
from tests.services.cassandra.stores import Store, batch_of, column_id, make, open_store, read
from tests.services.cutting_proxy import CuttingProxy, Fault
from tests.services.servers.cassandra import start_cassandra
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

ROWS = 1_500
PER_PARTITION = 100
CUTS = 10
PROMPT_SECONDS = 8.0


@pytest_asyncio.fixture(scope="module")
async def store(cassandra: RunningServer) -> AsyncIterator[Store]:
    async with open_store(cassandra, "morph_faults", page_rows="100") as opened:
        table = await opened.table("things", "p int, c int, t text, PRIMARY KEY (p, c)")
        assert table.key
        for p in range(ROWS // PER_PARTITION):
            rows = "".join(
                f"INSERT INTO morph_faults.things (p, c, t) VALUES ({p}, {c}, '{'x' * 40}');"
                for c in range(PER_PARTITION)
            )
            await opened.cql(f"BEGIN UNLOGGED BATCH {rows} APPLY BATCH")
        yield opened


def _behind(proxy: CuttingProxy, **parts: str) -> CassandraBackend:
    address = {"host": proxy.host, "port": str(proxy.port), "page_rows": "100", **parts}
    return CassandraBackend("ring", StoreOptions(parts=address, connect_timeout=3.0))


def _in_time() -> Scope:
    return Scope(deadline=asyncio.get_running_loop().time() + PROMPT_SECONDS)


def _is(table: Table, name: str, value: int) -> Expr:
    column = ir.ColumnRef(column_id(table, name), "integer")
    return ir.Compare("=", column, ir.Literal("integer", str(value)))


# Issue 4.9: an answer that is cut at any byte is an error or is asked for again as a whole, in a
# full scan of parallel parts too
@pytest.mark.parametrize("action", ["cut", "reset"])
async def test_answer_is_cut(store: Store, action: Any) -> None:
    table = store.tables["things"]
    errors: list[str] = []
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        query = b'FROM "morph_faults"."things"'
        proxy.arm(Fault(after=None, trigger=query))
        backend = _behind(proxy)
        plan = store.plan(table, ("p", "c", "t"), None)
        assert len(set(await read(backend, plan, _in_time()))) == ROWS
        whole = proxy.counted
        await backend.close()
        for after in [0, 1, *(whole * step // CUTS for step in range(1, CUTS))]:
            proxy.arm(Fault(action, after=after, trigger=query))
            backend = _behind(proxy)
            started = time.monotonic()
            try:
                rows = await read(backend, plan, _in_time())
            except ConnectionFailure as error:
                errors.append(error.primary)
            else:
                assert len(rows) == len(set(rows)) == ROWS
            assert proxy.fired == 1
            assert time.monotonic() - started < PROMPT_SECONDS
            await backend.close()
    assert errors
    assert all('"ring"' in each for each in errors)


# Issue 4.9: nothing hangs longer than its deadline, and the next statement works again
async def test_stalled_answer_ends_at_the_deadline(store: Store) -> None:
    table = store.tables["things"]
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = _behind(proxy)
        plan = store.plan(table, ("p", "c", "t"), None)
        assert len(await read(backend, plan, _in_time())) == ROWS
        proxy.arm(Fault("stall", after=2_000))
        now = asyncio.get_running_loop().time()
        with pytest.raises(QueryCanceled):
            await read(backend, plan, Scope(deadline=now + 0.5))
        assert asyncio.get_running_loop().time() - now < 3.0
        proxy.disarm()
        assert len(await read(backend, plan, _in_time())) == ROWS
        await backend.close()


# R0.4: a write whose answer does not come is 40003: it may have been done
@pytest.mark.parametrize("action", ["cut", "stall"])
async def test_write_without_an_answer(store: Store, own_name: str, action: Any) -> None:
    table = await store.table(own_name, "id int PRIMARY KEY, v int")
    changes = RowChanges(inserted=batch_of(table, {"id": [1], "v": [5]}))
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = _behind(proxy)
        await backend.describe(table.native, _in_time())
        await backend.apply(
            table, RowChanges(inserted=batch_of(table, {"id": [0], "v": [0]})), _in_time()
        )
        sent_row = b"".join((4).to_bytes(4) + each.to_bytes(4) for each in (1, 5))
        proxy.arm(Fault(action, after=0, trigger=sent_row))
        scope = Scope(deadline=asyncio.get_running_loop().time() + 1.5)
        with pytest.raises(StatementCompletionUnknown) as caught:
            await backend.apply(table, changes, scope)
        assert caught.value.sqlstate == "40003"
        assert '"ring"' in caught.value.primary
        proxy.disarm()
        await backend.close()
    assert (1, 5) in await store.rows(f"SELECT id, v FROM {own_name}")


# R0.4: a node that went down is 08006 at once, and used again when it is back
async def test_node_goes_down_and_comes_back(store: Store) -> None:
    table = store.tables["things"]
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = _behind(proxy)
        plan = store.plan(table, ("p",), None)
        assert len(await read(backend, plan, _in_time())) == ROWS
        proxy.go_down()
        with pytest.raises(ConnectionFailure):
            await read(backend, plan, _in_time())
        with pytest.raises(ConnectionFailure):
            await read(backend, plan, _in_time())
        proxy.come_back()
        for attempt in range(200):
            try:
                assert len(await read(backend, plan, _in_time())) == ROWS
                break
            except ConnectionFailure:
                assert attempt < 199
                await asyncio.sleep(0.1)
        await backend.close()


# R0.4: an instance that does not answer is 08001 in its time, and tried again the next time
async def test_unreachable(cassandra: RunningServer) -> None:
    with CuttingProxy(cassandra.host, cassandra.port) as proxy:
        proxy.go_down()
        backend = _behind(proxy, local_dc="datacenter1")
        with pytest.raises(CannotConnect) as caught:
            await backend.server(_in_time())
        assert caught.value.sqlstate == "08001"
        assert "datacenter" not in caught.value.detail
        assert caught.value.primary == 'Cassandra instance "ring" cannot be reached'
        proxy.come_back()
        assert (await backend.server(_in_time())).product == "Apache Cassandra"
        await backend.close()
        with pytest.raises(ConnectionFailure):
            await backend.server(_in_time())


# R0.4: a server that accepts and says nothing is given up at the deadline
async def test_silent_server() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    backend = CassandraBackend(
        "ring", StoreOptions(parts={"host": "127.0.0.1", "port": str(port)}, connect_timeout=1.0)
    )
    now = asyncio.get_running_loop().time()
    with pytest.raises(QueryCanceled):
        await backend.server(Scope(deadline=now + 0.3))
    assert asyncio.get_running_loop().time() - now < 2.0
    with pytest.raises(CannotConnect):
        await backend.server(Scope(deadline=now + 30.0))
    silent.close()
    await backend.close()


def _drivers() -> int:
    """How many clusters have threads in this process."""
    return sum(each.name == "Task Scheduler" for each in threading.enumerate())


# R1.9: a server that is dropped while its nodes are silent leaves no threads of its driver behind
async def test_given_up_while_it_connects() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    before = _drivers()
    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = str(silent.sockets[0].getsockname()[1])
    backend = CassandraBackend(
        "ring", StoreOptions(parts={"host": "127.0.0.1", "port": port}, connect_timeout=2.0)
    )
    asking = asyncio.create_task(backend.server(Scope()))
    while _drivers() == before:
        await asyncio.sleep(0.01)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(backend.close(), 0.2)
    with pytest.raises(ConnectionFailure):
        await asking
    async with asyncio.timeout(60):
        while _drivers() > before:
            await asyncio.sleep(0.05)
    silent.close()


# R0.4: too few replicas for the consistency level is 08006 and names the level
@pytest.mark.parametrize("level", ["TWO", "THREE"])
async def test_unavailable(store: Store, cassandra: RunningServer, level: str) -> None:
    backend = make(cassandra, consistency=level)
    with pytest.raises(ConnectionFailure) as caught:
        await read(backend, store.plan(store.tables["things"], ("p",), None), _in_time())
    assert f"consistency level {level}" in caught.value.primary
    assert '"ring"' in caught.value.primary
    table = store.tables["things"]
    changes = RowChanges(inserted=batch_of(table, {"p": [-1], "c": [-1]}))
    with pytest.raises(MorphError) as refused:
        await backend.apply(table, changes, _in_time())
    assert refused.value.sqlstate == "08006"
    await backend.close()


@pytest_asyncio.fixture(scope="module")
async def strict_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """A node with logins, a small limit of tombstones and hasty timeouts."""
    home = Path(str(tmp_path_factory.mktemp("strict")))
    server = await asyncio.to_thread(
        lambda: start_cassandra(
            home,
            settings={
                "authenticator": "PasswordAuthenticator",
                "authorizer": "CassandraAuthorizer",
                "tombstone_warn_threshold": 20,
                "tombstone_failure_threshold": 50,
            },
        )
    )
    try:
        yield server
    finally:
        assert server.process is not None
        await asyncio.to_thread(server.process.kill)


async def _as_admin(server: RunningServer) -> CassandraBackend:
    """The role cassandra is made some time after the node is ready."""
    for attempt in range(120):
        backend = make(server, user="cassandra", password="cassandra", consistency="ONE")
        try:
            await backend.server(Scope())
        except MorphError:
            await backend.close()
            assert attempt < 119
            await asyncio.sleep(0.5)
        else:
            return backend
    raise AssertionError


# R0.4: a refused login is 28000; a refused right 42501; tombstones over the limit 53400
async def test_logins_rights_and_tombstones(strict_node: RunningServer) -> None:
    admin = await _as_admin(strict_node)
    for login in (
        {"user": "cassandra", "password": "wrong"},
        {"user": "nobody", "password": "x"},
        {},
    ):
        backend = make(strict_node, **login)
        with pytest.raises(InvalidAuthorization) as caught:
            await backend.server(Scope())
        assert caught.value.sqlstate == "28000"
        assert "wrong" not in str(caught.value.detail)
        await backend.close()

    async def cql(*texts: str) -> None:
        for text in texts:
            await admin._link.query(text, (), None) if text.startswith("SELECT") else await _run(
                admin, text
            )

    await cql(
        "CREATE KEYSPACE own WITH replication = "
        "{'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE own.t (p int, c int, v int, PRIMARY KEY (p, c))",
        "CREATE ROLE reader WITH PASSWORD = 'reader' AND LOGIN = true",
    )
    described = await admin.describe(("own", "t"), Scope())
    table = Table(1, "t", "foreign", described.columns, native=("own", "t"), key=described.key)
    reader = make(strict_node, user="reader", password="reader", consistency="ONE")
    store = Store(admin, None, "own", strict_node)  # type: ignore[arg-type]
    with pytest.raises(InsufficientPrivilege) as refused:
        await read(reader, store.plan(table, ("p",), None))
    assert refused.value.sqlstate == "42501"
    await reader.close()
    for number in range(80):
        await cql(f"INSERT INTO own.t (p, c, v) VALUES (1, {number}, 1)")
        await cql(f"DELETE FROM own.t WHERE p = 1 AND c = {number}")
    with pytest.raises(ConfigurationLimitExceeded) as stones:
        await read(admin, store.plan(table, ("p",), _is(table, "p", 1)))
    assert stones.value.sqlstate == "53400"
    assert "ONE" in stones.value.detail
    await admin.close()


async def _run(backend: CassandraBackend, text: str) -> None:
    """A statement without rows, by the backend's own connection."""
    statement = await backend._link.prepare(text, None)
    await backend._link.run(statement.bind((), idempotent=False), None, writes=True)


# Issue 4.9: a node that is killed in the middle of a scan ends it with an error
async def test_node_is_killed(tmp_path: Path) -> None:
    server = await asyncio.to_thread(start_cassandra, tmp_path)
    assert server.process is not None
    try:
        async with open_store(server, "morph_killed", page_rows="20") as store:
            table = await store.table("things", "p int, c int, PRIMARY KEY (p, c)")
            for p in range(20):
                rows = "".join(
                    f"INSERT INTO morph_killed.things (p, c) VALUES ({p}, {c});" for c in range(60)
                )
                await store.cql(f"BEGIN UNLOGGED BATCH {rows} APPLY BATCH")
            plan = store.plan(table, ("p", "c"), None)
            async with aclosing(store.backend.scan(plan, _in_time())) as batches:
                first = await anext(batches)
                assert first.num_rows < 1200
                await asyncio.to_thread(server.process.kill)
                with pytest.raises(ConnectionFailure):
                    [batch async for batch in batches]
            raise _Done
    except _Done:
        pass
    finally:
        await asyncio.to_thread(server.process.kill)


class _Done(Exception):
    """Leaves open_store, which cannot drop its keyspace any more."""


# R0.4: the keyspace of the options is that of bare names, and may be missing
async def test_keyspace_of_the_options(cassandra: RunningServer, store: Store) -> None:
    backend = make(cassandra, keyspace="morph_faults")
    assert (await backend.describe(("things",), _in_time())).key == (1, 2)
    await backend.close()
    backend = make(cassandra, keyspace="no_such_keyspace")
    with pytest.raises(UndefinedTable):
        await backend.describe(("things",), _in_time())
    with pytest.raises(UndefinedTable):
        await backend.describe(("a", "b", "c"), _in_time())
    await backend.close()
