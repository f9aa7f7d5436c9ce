"""What the drivers do when a real store's answer is cut: whole or an error, never short (R0.5).

The backends build on that. The cuts are spread over the whole answer, of a length counted first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from cassandra import DriverException
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.policies import FallthroughRetryPolicy, RoundRobinPolicy
from cassandra.query import SimpleStatement, tuple_factory
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import ConnectionFailure, PyMongoError

from backends.cassandra.stream_end import PromptConnection
from tests.services.cutting_proxy import CuttingProxy, Fault
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(1200)]

ROWS = 2_000
PAGE = 300
CUTS = 8
TEXT = "x" * 40
TIMEOUT_S = 60.0
PROMPT_S = 20.0
PROMPT_CPU_S = 5.0


def _cuts(whole: int) -> list[int]:
    """Places in an answer of `whole` bytes: its first and last byte, and some between."""
    assert whole > 10 * CUTS
    return [0, 1, *(whole * step // CUTS for step in range(1, CUTS)), whole - 1]


@pytest.fixture
def documents(mongodb: RunningServer, own_name: str) -> Iterator[str]:
    """The name of a database with ROWS documents in `things`."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongodb.uri)
    with client:
        rows: list[dict[str, Any]] = [{"_id": n, "text": TEXT} for n in range(ROWS)]
        client[own_name]["things"].insert_many(rows)
        yield own_name
        client.drop_database(own_name)


async def _documents(proxy: CuttingProxy, database: str) -> tuple[list[int], int]:
    """The ids that are found, and the bytes that they took; the client's good-bye comes behind."""
    uri = f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true&retryReads=false"
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        uri, socketTimeoutMS=int(TIMEOUT_S * 1_000)
    )
    async with client:
        cursor = client[database]["things"].find(batch_size=PAGE).sort("_id")
        return [row["_id"] async for row in cursor], proxy.counted


@pytest.mark.parametrize("action", ["cut", "reset"])
async def test_mongodb(mongodb: RunningServer, documents: str, action: Any) -> None:
    with CuttingProxy(mongodb.host, mongodb.port) as proxy:
        proxy.arm(Fault(after=None, trigger=b"batchSize"))
        found, whole = await _documents(proxy, documents)
        assert found == list(range(ROWS))
        for after in _cuts(whole):
            proxy.arm(Fault(action, after=after, trigger=b"batchSize"))
            with pytest.raises(ConnectionFailure):
                await _documents(proxy, documents)
            assert proxy.fired == 1


# a stalled store does not hold a query for ever
async def test_mongodb_stall_ends_by_the_deadline(mongodb: RunningServer, documents: str) -> None:
    with CuttingProxy(mongodb.host, mongodb.port) as proxy:
        proxy.arm(Fault("stall", after=100, trigger=b"getMore"))
        uri = f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true&timeoutMS=500"
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
        async with client:
            with pytest.raises(PyMongoError) as caught:
                await client[documents]["things"].find(batch_size=PAGE).to_list()
        assert caught.value.timeout
        assert proxy.fired == 1


async def test_postgres(postgres_store: RunningServer) -> None:
    query = f"SELECT n, repeat('x', 40) FROM generate_series(0, {ROWS - 1}) AS n"
    with CuttingProxy(postgres_store.host, postgres_store.port) as proxy:
        proxy.arm(Fault(after=None, trigger=query.encode()))
        assert await _rows(proxy, query) == list(range(ROWS))
        for after in _cuts(proxy.counted):
            proxy.arm(Fault(after=after, trigger=query.encode()))
            with pytest.raises((OSError, asyncpg.PostgresConnectionError)):
                await _rows(proxy, query)
            assert proxy.fired == 1


async def _rows(proxy: CuttingProxy, query: str) -> list[int]:
    connection = await asyncpg.connect(
        host=proxy.host, port=proxy.port, user="postgres", database="postgres", timeout=TIMEOUT_S
    )
    try:
        return [row[0] for row in await connection.fetch(query, timeout=TIMEOUT_S)]
    finally:
        connection.terminate()


@pytest.fixture
def table(cassandra: RunningServer, own_name: str) -> Iterator[str]:
    """The name of a table with ROWS rows, in a keyspace of its own."""
    with _cluster(cassandra.host, cassandra.port) as cluster, cluster.connect() as session:
        session.execute(
            f"CREATE KEYSPACE {own_name} WITH replication = "
            "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
        session.execute(f"CREATE TABLE {own_name}.t (p int, n int, t text, PRIMARY KEY (p, n))")
        insert = session.prepare(f"INSERT INTO {own_name}.t (p, n, t) VALUES (0, ?, ?)")
        for future in [session.execute_async(insert, (n, TEXT)) for n in range(ROWS)]:
            future.result()
        yield f"{own_name}.t"
        session.execute(f"DROP KEYSPACE {own_name}")


def _cluster(host: str, port: int) -> Cluster:
    profile = ExecutionProfile(
        row_factory=tuple_factory,
        load_balancing_policy=RoundRobinPolicy(),
        retry_policy=FallthroughRetryPolicy(),
        request_timeout=TIMEOUT_S,
    )
    cluster = Cluster(
        [host],
        port=port,
        protocol_version=5,
        connect_timeout=30,
        control_connection_timeout=30,
        compression=False,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    cluster.connection_class = PromptConnection
    return cluster


def _page_through(proxy: CuttingProxy, query: str) -> list[int]:
    with _cluster(proxy.host, proxy.port) as cluster, cluster.connect() as session:
        return [row[0] for row in session.execute(SimpleStatement(query, fetch_size=PAGE))]


@pytest.mark.parametrize("action", ["cut", "reset"])
def test_cassandra(cassandra: RunningServer, table: str, action: Any) -> None:
    query = f"SELECT n, t FROM {table} WHERE p = 0"
    with CuttingProxy(cassandra.host, cassandra.port) as proxy:
        proxy.arm(Fault(after=None, trigger=query.encode()))
        assert _page_through(proxy, query) == list(range(ROWS))
        for after in _cuts(proxy.counted):
            proxy.arm(Fault(action, after=after, trigger=query.encode()))
            started = time.monotonic(), time.process_time()
            with pytest.raises((ConnectionException, DriverException, NoHostAvailable)):
                _page_through(proxy, query)
            assert proxy.fired == 1
            # the driver's own connection class would wait for its heartbeat, and spin
            assert time.monotonic() - started[0] < PROMPT_S
            assert time.process_time() - started[1] < PROMPT_CPU_S
