"""The real servers: each answers through the driver that Morphgres ships (R0.4)."""

from __future__ import annotations

import datetime as dt
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import RoundRobinPolicy
from cassandra.query import tuple_factory
from pymongo import AsyncMongoClient

from tests.integration.server_process import eventually_gone
from tests.services.servers import outside, registry
from tests.services.servers.cassandra import start_cassandra
from tests.services.servers.fleet import Fleet
from tests.services.servers.mongodb_probe import build_info
from tests.services.servers.process import RunningServer, ServerFailed, free_port
from tests.services.servers.secantus import start_secantus

pytestmark = [pytest.mark.services, pytest.mark.timeout(1200)]

NOON = dt.datetime(2026, 2, 28, 12, 0, 0, 123_000, tzinfo=dt.UTC)
ROOT = Path(__file__).parents[2]


# R0.4
async def test_mongodb_document_round_trip(mongodb: RunningServer, own_name: str) -> None:
    document: dict[str, Any] = {
        "_id": ObjectId(),
        "text": "Grüße \N{SNOWMAN}",
        "int": 7,
        "long": Int64(2**62),
        "double": 0.1,
        "decimal": Decimal128("1.10"),
        "when": NOON,
        "bytes": b"\x00\xff",
        "uuid": Binary.from_uuid(uuid.UUID(int=5)),
        "nested": {"list": [1, None, {"deep": True}]},
    }
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongodb.uri, tz_aware=True)
    async with client:
        things = client[own_name]["things"]
        await things.insert_one(dict(document))
        assert await things.find({"nested.list": None, "int": {"$gt": 6}}).to_list() == [document]
        assert await things.find({"int": {"$gt": 7}}).to_list() == []
        await client.drop_database(own_name)
        assert own_name not in await client.list_database_names()


# R0.4
def test_cassandra_row_round_trip(cassandra: RunningServer, own_name: str) -> None:
    row = (
        uuid.UUID(int=9), 3, 2**62, 0.25, Decimal("1.10"), "Grüße", NOON.replace(tzinfo=None),
        b"\x00\xff", True, ["b", "a"], {"k": 1}, 2**200,
    )  # fmt: skip
    profile = ExecutionProfile(row_factory=tuple_factory, load_balancing_policy=RoundRobinPolicy())
    cluster = Cluster(
        [cassandra.host],
        port=cassandra.port,
        protocol_version=5,
        connect_timeout=30,
        control_connection_timeout=30,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    assert cluster.connection_class is LibevConnection  # the wheel has the extension
    with cluster, cluster.connect() as session:
        said = session.execute("SELECT release_version FROM system.local").one()
        assert said == (cassandra.version,)
        session.execute(
            f"CREATE KEYSPACE {own_name} WITH replication = "
            "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
        session.execute(
            f"CREATE TABLE {own_name}.things (id uuid, n int, l bigint, d double, a decimal, "
            "t text, w timestamp, b blob, f boolean, s list<text>, m map<text, int>, v varint, "
            "PRIMARY KEY (id, n))"
        )
        marks = ", ".join("?" * len(row))
        names = "id, n, l, d, a, t, w, b, f, s, m, v"
        insert = session.prepare(f"INSERT INTO {own_name}.things ({names}) VALUES ({marks})")
        session.execute(insert, row)
        select = session.prepare(f"SELECT {names} FROM {own_name}.things WHERE id = ? AND n > ?")
        assert list(session.execute(select, (row[0], 2))) == [row]
        assert list(session.execute(select, (row[0], 3))) == []
        session.execute(f"DROP KEYSPACE {own_name}")


# R0.4
async def test_postgres_row_round_trip(postgres_store: RunningServer, own_name: str) -> None:
    row = (1, "Grüße", Decimal("1.10"), NOON, [1, None], b"\x00\xff")
    connection = await asyncpg.connect(postgres_store.uri)
    try:
        said = await connection.fetchval("SHOW server_version")
        assert said.split()[0] == postgres_store.version
        assert await connection.fetchval("SHOW wal_level") == "logical"
        await connection.execute(
            f"CREATE SCHEMA {own_name} CREATE TABLE things "
            "(id int, t text, n numeric, w timestamptz, a int[], b bytea)"
        )
        await connection.execute(
            f"INSERT INTO {own_name}.things VALUES ($1, $2, $3, $4, $5, $6)", *row
        )
        found = await connection.fetch(f"SELECT * FROM {own_name}.things WHERE n = 1.1")
        assert [tuple(one) for one in found] == [row]
        await connection.execute(f"DROP SCHEMA {own_name} CASCADE")
    finally:
        await connection.close()


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match=r"(?s)ended with status 2.*--no-such-option"):
        start_secantus(tmp_path, "--no-such-option")


async def test_documents_survive_a_kill(tmp_path: Path) -> None:
    document: dict[str, Any] = {"_id": 1}
    first = start_secantus(tmp_path, "--sync-on-commit")
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(first.uri)
    async with client:
        await client["d"]["things"].insert_one(document)
        assert first.process is not None
        first.process.kill()
    assert build_info(first.uri) is None
    second = start_secantus(tmp_path, "--sync-on-commit")
    try:
        client = AsyncMongoClient(second.uri)
        async with client:
            assert await client["d"]["things"].find().to_list() == [document]
    finally:
        second.stop()


def test_rows_survive_a_kill(tmp_path: Path) -> None:
    first = start_cassandra(tmp_path, durable=True)
    assert first.process is not None
    with (
        Cluster(
            [first.host], port=first.port, connect_timeout=30, control_connection_timeout=30
        ) as cluster,
        cluster.connect() as session,
    ):
        session.execute(
            "CREATE KEYSPACE k WITH replication = "
            "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
        session.execute("CREATE TABLE k.t (a int PRIMARY KEY)")
        session.execute("INSERT INTO k.t (a) VALUES (1)")
        first.process.kill()
    second = start_cassandra(tmp_path, durable=True)
    try:
        with (
            Cluster(
                [second.host], port=second.port, connect_timeout=30, control_connection_timeout=30
            ) as cluster,
            cluster.connect() as session,
        ):
            assert list(session.execute("SELECT a FROM k.t")) == [(1,)]
    finally:
        second.stop()


def test_a_server_of_somebody_else(
    servers: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = servers.get(registry.names("mongodb")[0])
    monkeypatch.setenv(outside.VARIABLE, ours.uri)
    theirs = outside.reach_mongodb(tmp_path)
    assert (theirs.port, theirs.uri, theirs.pid) == (ours.port, ours.uri, None)
    theirs.stop()
    assert build_info(ours.uri) is not None
    monkeypatch.setenv(outside.VARIABLE, f"mongodb://127.0.0.1:{free_port()}")
    with pytest.raises(ServerFailed, match=outside.VARIABLE):
        outside.reach_mongodb(tmp_path)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that another user can reach: PostgreSQL does not run as root."""
    with tempfile.TemporaryDirectory(prefix="morph-open-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_killed_test_run_leaves_no_server(open_path: Path) -> None:
    script = """
        import sys
        import time
        from pathlib import Path
        from tests.services.servers.postgres import start_postgres
        server = start_postgres(Path(sys.argv[1]))
        print(server.pid, server.port, flush=True)
        time.sleep(600)
    """
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(open_path / "pg")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    with run:
        pid, port = map(int, run.stdout.readline().split())
        socket.create_connection(("127.0.0.1", port), 5).close()
        run.send_signal(signal.SIGKILL)
    assert eventually_gone({pid}) == set()
