"""A scan is whole or an error, ends in time and leaves nothing behind (R0.5, issue 4.9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from backends.base import ScanAsk, ScanPlan, Scope
from backends.mongodb.backend import MongoBackend
from backends.stores import StoreOptions
from catalog.model import Column, Native, Table
from core.errors import (
    CannotConnect,
    ConnectionFailure,
    InvalidAuthorization,
    InvalidParameterValue,
    MorphError,
    QueryCanceled,
    UndefinedSchema,
    UndefinedTable,
)
from tests.services.cutting_proxy import CuttingProxy, Fault
from tests.services.mongodb.scanning import Store, open_store, scan_rows
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

ROWS = 1_000
BATCH = 150
CUTS = 12
DATABASE = "morph_faults"
COLUMNS = (
    Column(1, "_id", "integer", Native(("_id",), "int"), not_null=True),
    Column(2, "text", "text", Native(("text",), "string")),
)
TABLE = Table(1, "things", "foreign", COLUMNS, native=(DATABASE, "things"), key=(1,))


@pytest_asyncio.fixture
async def store(mongodb: RunningServer) -> AsyncIterator[Store]:
    """A database with ROWS documents in `things`."""
    async with open_store(mongodb, DATABASE, batch_rows=BATCH) as store:
        await store.db.things.insert_many({"_id": n, "text": "x" * 40} for n in range(ROWS))
        yield store


def _backend(host: str, port: int, **options: Any) -> MongoBackend:
    dsn = f"mongodb://{host}:{port}/?directConnection=true"
    return MongoBackend("shop", StoreOptions(dsn=dsn, batch_rows=BATCH, **options))


def _plan(backend: MongoBackend) -> ScanPlan:
    return backend.plan_scan(TABLE, ScanAsk(1, (1, 2)))


def _scope(seconds: float = 10.0) -> Scope:
    return Scope(deadline=asyncio.get_running_loop().time() + seconds)


async def _ids(backend: MongoBackend) -> list[int]:
    return [row[0] for row in await scan_rows(backend, _plan(backend), _scope())]


# PEERS 3.1: a connection that is cut at any byte of the answer
@pytest.mark.parametrize("action", ["cut", "reset"])
async def test_a_cut_answer_is_an_error(store: Store, action: Any) -> None:
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = _backend(proxy.host, proxy.port)
        await backend.server(_scope())
        proxy.arm(Fault(after=None, trigger=b"getMore"))
        assert sorted(await _ids(backend)) == list(range(ROWS))
        whole = proxy.counted
        assert whole > 20 * CUTS
        for after in [0, 1, *(whole * n // CUTS for n in range(1, CUTS)), whole - 1]:
            proxy.arm(Fault(action, after=after, trigger=b"getMore"))
            with pytest.raises(ConnectionFailure) as error:
                await _ids(backend)
            assert '"shop"' in error.value.primary
            assert proxy.fired == 1
        await backend.close()


# Issue 4.9: retried only before the first row, and then whole
async def test_a_first_answer_that_fails_is_asked_for_again(store: Store) -> None:
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = _backend(proxy.host, proxy.port)
        await backend.server(_scope())
        proxy.arm(Fault("cut", after=5, trigger=b"things"))
        assert sorted(await _ids(backend)) == list(range(ROWS))
        assert proxy.fired == 1
        proxy.arm(Fault("cut", after=5, trigger=b"things", times=None))
        with pytest.raises(ConnectionFailure):
            await _ids(backend)
        await backend.close()


async def test_a_server_that_dies_and_comes_back(store: Store) -> None:
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = _backend(proxy.host, proxy.port, connect_timeout=0.5)
        assert len(await _ids(backend)) == ROWS
        proxy.go_down()
        with pytest.raises(ConnectionFailure):
            await _ids(backend)
        proxy.come_back()
        assert len(await _ids(backend)) == ROWS
        await backend.close()


# A stalled server does not hold a query beyond its deadline
@pytest.mark.parametrize("trigger", [b"things", b"getMore"])
async def test_the_deadline_ends_a_stall(store: Store, trigger: bytes) -> None:
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = _backend(proxy.host, proxy.port)
        await backend.server(_scope())
        proxy.arm(Fault("stall", after=100, trigger=trigger, times=None))
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(QueryCanceled):
            await scan_rows(backend, _plan(backend), _scope(0.5))
        assert loop.time() - began < 4
        proxy.disarm()
        await backend.close()


async def _open_cursors(store: Store) -> int:
    if store.server.product == "mongo-java-server":
        return 0  # its metrics do not count killed cursors
    status = await store.client.admin.command("serverStatus")
    return int(status["metrics"]["cursor"]["open"]["total"])


# Closing a scan ends its cursor in the server
async def test_a_closed_scan_leaves_no_cursor(store: Store) -> None:
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = _backend(proxy.host, proxy.port)
        before = await _open_cursors(store)
        scan = backend.scan(_plan(backend), _scope())
        first = await anext(scan)
        assert 0 < first.num_rows <= BATCH
        proxy.arm(Fault(after=None, trigger=b"killCursors"))
        await scan.aclose()  # type: ignore[attr-defined]
        assert proxy.counted > 0, "no killCursors was sent and answered"
        assert await _open_cursors(store) == before
        await backend.close()


# Nothing is read ahead of the consumer
async def test_nothing_is_read_ahead(store: Store) -> None:
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = _backend(proxy.host, proxy.port)
        proxy.arm(Fault(after=None, trigger=b"getMore"))
        scan = backend.scan(_plan(backend), _scope())
        await anext(scan)
        await asyncio.sleep(0.2)
        assert proxy.counted == 0
        await anext(scan)
        assert proxy.counted > 0
        await scan.aclose()  # type: ignore[attr-defined]
        await backend.close()


# A cancelled task ends at once, and the next scan works
async def test_cancellation(store: Store) -> None:
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = _backend(proxy.host, proxy.port)
        await backend.server(_scope())
        proxy.arm(Fault("stall", after=100, trigger=b"getMore"))
        task = asyncio.create_task(_ids(backend))
        await asyncio.to_thread(proxy.wait_fired)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        proxy.disarm()
        assert len(await _ids(backend)) == ROWS
        await backend.close()


async def test_a_collection_that_vanishes_meanwhile(store: Store) -> None:
    scan = store.backend.scan(_plan(store.backend), _scope())
    await anext(scan)
    await store.db.things.drop()
    with pytest.raises(MorphError) as error:
        async for _ in scan:
            pass
    assert error.value.sqlstate in ("08006", "42P01", "57014")


# Another collection of the same name has taken its place: not a mixture of both
async def test_a_collection_that_is_exchanged_meanwhile(store: Store) -> None:
    scan = store.backend.scan(_plan(store.backend), _scope())
    await anext(scan)
    await store.db.things.drop()
    await store.db.things.insert_many({"_id": n} for n in range(5_000, 5_200))
    ids: list[int] = []
    try:
        async for batch in scan:
            ids += batch.column(0).to_pylist()
    except MorphError:
        return
    # A server that keeps what a cursor began with gives all of it.
    assert len(ids) == ROWS - BATCH
    assert max(ids) < ROWS


async def test_a_collection_that_is_not_there(store: Store) -> None:
    nowhere = Table(2, "n", "foreign", COLUMNS, native=(DATABASE, "nowhere"), key=(1,))
    for columns in ((1,), ()):
        plan = store.backend.plan_scan(nowhere, ScanAsk(1, columns))
        with pytest.raises(UndefinedTable):
            await scan_rows(store.backend, plan)
    with pytest.raises(UndefinedTable):
        await store.backend.describe(nowhere.native, Scope())
    with pytest.raises(UndefinedSchema):
        await store.backend.list_tables("morph_no_such_database", Scope())


async def test_an_empty_collection_is_empty(store: Store) -> None:
    await store.db.things.delete_many({})
    assert await _ids(store.backend) == []
    found = await store.backend.describe(TABLE.native, Scope())
    assert [column.name for column in found.columns] == ["_id"]


async def test_unreachable() -> None:
    backend = _backend("127.0.0.1", 1, connect_timeout=0.3)
    with pytest.raises(CannotConnect) as error:
        await _ids(backend)
    assert error.value.sqlstate == "08001"
    assert '"shop"' in error.value.primary
    await backend.close()


# No password of a wrong login in any message
async def test_a_wrong_login(mongodb: RunningServer) -> None:
    parts = {
        "host": mongodb.host,
        "port": str(mongodb.port),
        "user": "nobody",
        "password": "s3cret",
        "directconnection": "true",
    }
    backend = MongoBackend("shop", StoreOptions(parts=parts, connect_timeout=2))
    with pytest.raises(InvalidAuthorization) as error:
        await _ids(backend)
    assert (error.value.sqlstate, error.value.severity) == ("28000", "ERROR")
    assert "s3cret" not in repr(error.value) + error.value.detail
    await backend.close()


async def test_an_unknown_option() -> None:
    backend = MongoBackend("shop", StoreOptions(parts={"colour": "red"}))
    with pytest.raises(InvalidParameterValue):
        await backend.server(Scope())


# A read preference that leaves the driver a choice: all batches come from the server that began
async def test_read_preference_and_concern(store: Store) -> None:
    parts = {"host": store.server.host, "port": str(store.server.port)}
    parts |= {"readpreference": "secondaryPreferred", "readconcernlevel": "local"}
    if store.server.product != "mongo-java-server":
        hello = await store.client.admin.command("hello")
        parts["replicaset"] = hello["setName"]
    backend = MongoBackend("shop", StoreOptions(parts=parts, batch_rows=BATCH))
    assert sorted(await _ids(backend)) == list(range(ROWS))
    scan = backend.scan(_plan(backend), _scope())
    assert (await anext(scan)).num_rows == BATCH
    await scan.aclose()  # type: ignore[attr-defined]
    await store.db.things.delete_many({})
    assert await _ids(backend) == []
    await backend.close()


# Rows of more than a reply of 16 MB, and documents of several MB
async def test_large_documents(store: Store) -> None:
    await store.db.things.drop()
    large = "y" * 3_000_000
    await store.db.things.insert_many({"_id": n, "text": large} for n in range(8))
    rows = await scan_rows(store.backend, _plan(store.backend), _scope(60))
    assert sorted(row[0] for row in rows) == list(range(8))
    assert {row[1] for row in rows} == {large}
