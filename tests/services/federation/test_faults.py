"""Stores that stall, break off, are away or refuse the login: an error that names the instance,
never a short answer, nothing that hangs, and no harm to the other tables (R0.5, issue 4.9).
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, eventually, running
from tests.services.conftest import PROPERTY
from tests.services.cutting_proxy import CuttingProxy, Fault
from tests.services.federation.data import TableData
from tests.services.federation.loading import (
    LOADERS,
    cassandra_session,
    mongodb_client,
    run,
)
from tests.services.federation.placing import (
    NAMESPACE,
    POSTGRES,
    SECANTUS,
    SINGLE,
    create_server_text,
    create_table_text,
)
from tests.services.servers.fleet import Fleet
from tests.services.servers.postgres import start_postgres
from tests.services.servers.process import RunningServer, free_port

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
ROWS = 20_000
LONG = TableData(
    "long",
    {"id": "bigint", "name": "text"},
    tuple((n, f"{n:>60}") for n in range(ROWS)),
)
QUERIES = [
    "SELECT count(*) FROM (SELECT * FROM long OFFSET 0) x",
    "SELECT * FROM long",
    "SELECT name FROM long ORDER BY name",
    "SELECT count(*) FROM long l LEFT JOIN near n ON n.name = l.name",
]


@pytest.fixture(scope="module", params=SINGLE)
def store(request: pytest.FixtureRequest, servers: Fleet) -> RunningServer:
    """One store after the other, with a long table."""
    server = servers.get(request.param)
    LOADERS[server.kind](server, NAMESPACE, [LONG])
    return server


@pytest.fixture
def link(store: RunningServer) -> Iterator[CuttingProxy]:
    """The way to the store."""
    with CuttingProxy(store.host, store.port) as proxy:
        yield proxy


@pytest.fixture
def client(
    morphgres: ServerProcess,
    store: RunningServer,
    link: CuttingProxy,
    record_property: Callable[[str, object], None],
) -> Iterator[Connection]:
    """A session with the table `long` in the server `far` behind the link, and a table `near`."""
    record_property(PROPERTY, store.label)
    empty_catalog(morphgres)
    with morphgres.connect() as connection:
        run(connection, create_server_text("far", store, host=link.host, port=str(link.port)))
        run(connection, create_table_text(LONG, "far", store.kind))
        run(connection, "CREATE TABLE near (id int PRIMARY KEY, name text)")
        run(connection, "INSERT INTO near VALUES (1, 'one')")
        yield connection


def answered(client: Connection, query: str) -> int:
    """How many rows the query has, 0 while the store cannot be reached."""
    try:
        return len(client.execute(query.encode()).fetchall())
    except psycopg.OperationalError:
        return 0


def others_work(client: Connection) -> None:
    assert client.execute("SELECT name FROM near").fetchall() == [("one",)]


@pytest.mark.parametrize("query", QUERIES)
def test_a_cut_connection_is_an_error(  # PEERS 3.1
    client: Connection, link: CuttingProxy, query: str
) -> None:
    link.arm(Fault(after=None))
    whole = client.execute(query.encode()).fetchall()
    assert len(whole) in (1, ROWS)
    counted = link.counted
    assert counted > 100_000
    for part in range(1, 6):
        link.arm(
            Fault(action="cut" if part % 2 else "reset", after=counted * part // 6, times=None)
        )
        with pytest.raises(psycopg.Error) as caught:
            client.execute(query.encode())
        assert (caught.value.sqlstate or "").startswith("08"), str(caught.value)
        assert '"far"' in str(caught.value)
        link.disarm()
        others_work(client)
    eventually(lambda: answered(client, query) == len(whole), timeout_s=30)


def test_a_server_that_is_away(client: Connection, link: CuttingProxy) -> None:
    link.go_down()
    began = time.monotonic()
    with pytest.raises(psycopg.Error) as caught:
        client.execute("SELECT count(*) FROM long")
    assert (caught.value.sqlstate or "").startswith("08"), str(caught.value)
    assert '"far"' in str(caught.value)
    assert time.monotonic() - began < 20
    others_work(client)
    with pytest.raises(psycopg.Error) as caught:
        client.execute("INSERT INTO long VALUES (-1)")
    assert (caught.value.sqlstate or "").startswith("08"), str(caught.value)
    shown = "SELECT health FROM morph.instances WHERE instance_id = 'far'"
    eventually(lambda: client.execute(shown).fetchall() != [("ok",)], timeout_s=30)
    link.come_back()

    eventually(lambda: answered(client, "TABLE long") == ROWS, timeout_s=30)
    eventually(lambda: client.execute(shown).fetchall() == [("ok",)], timeout_s=60)


def test_cancel_ends_a_scan_that_stalls(client: Connection, link: CuttingProxy) -> None:
    client.execute("SELECT count(*) FROM long WHERE id < 10")
    link.arm(Fault(action="stall", after=20_000, times=None))
    began = time.monotonic()

    def cancel() -> None:
        link.wait_fired()
        client.cancel_safe()

    killer = threading.Thread(target=cancel)
    killer.start()
    with pytest.raises(errors.QueryCanceled, match="due to user request"):
        client.execute("SELECT * FROM long")
    killer.join()
    assert time.monotonic() - began < 10
    link.disarm()
    others_work(client)
    assert client.execute("SELECT count(*) FROM long").fetchall() == [(ROWS,)]


def test_statement_timeout_ends_a_scan_that_stalls(client: Connection, link: CuttingProxy) -> None:
    client.execute("SELECT count(*) FROM long WHERE id < 10")
    run(client, "SET statement_timeout = '700ms'")
    link.arm(Fault(action="stall", after=20_000, times=None))
    for query in QUERIES[1:]:
        began = time.monotonic()
        with pytest.raises(errors.QueryCanceled, match="due to statement timeout"):
            client.execute(query.encode())
        assert time.monotonic() - began < 6, query
    link.disarm()
    run(client, "RESET statement_timeout")
    others_work(client)
    assert client.execute("SELECT count(*) FROM long").fetchall() == [(ROWS,)]


def test_a_prepared_read_that_stalls(
    client: Connection, link: CuttingProxy, morphgres: ServerProcess
) -> None:
    """Bind, Describe, Execute and Sync in one batch: proxy/alone.py."""
    query = "SELECT id, name FROM long WHERE id >= %s"

    def read(connection: Connection) -> int:
        return len(connection.execute(query, [0], prepare=True).fetchall())

    with morphgres.connect(options="-c statement_timeout=1500ms") as hasty:
        for connection in (client, hasty):
            for _ in range(3):
                eventually(lambda c=connection: _rows_in_time(read, c) == ROWS, timeout_s=120)
        for _ in range(2):  # the second time the limit is known
            link.arm(Fault(action="stall", after=20_000, times=None))
            began = time.monotonic()
            with pytest.raises(errors.QueryCanceled, match="due to statement timeout"):
                read(hasty)
            assert time.monotonic() - began < 20
            link.disarm()
            others_work(hasty)
    link.arm(Fault(action="stall", after=20_000, times=None))

    def cancel() -> None:
        link.wait_fired()
        client.cancel_safe()

    killer = threading.Thread(target=cancel)
    killer.start()
    with pytest.raises(errors.QueryCanceled, match="due to user request"):
        read(client)
    killer.join()
    link.disarm()
    others_work(client)
    assert read(client) == ROWS


def _rows_in_time(read: Callable[[Connection], int], connection: Connection) -> int:
    """How many rows a read has, 0 when it took too long."""
    try:
        return read(connection)
    except errors.QueryCanceled:
        return 0


def test_a_client_that_goes_ends_the_scan(
    client: Connection, link: CuttingProxy, morphgres: ServerProcess
) -> None:
    link.arm(Fault(action="stall", after=20_000, times=1))
    other = morphgres.connect()
    other.pgconn.send_query(b"SELECT * FROM long")
    link.wait_fired()
    other.pgconn.finish()
    link.disarm()
    assert client.execute("SELECT count(*) FROM long").fetchall() == [(ROWS,)]


def test_a_table_that_vanished(client: Connection, store: RunningServer) -> None:
    assert client.execute("SELECT count(*) FROM long").fetchall() == [(ROWS,)]
    try:
        if store.kind == "mongodb":
            with mongodb_client(store) as documents:
                documents[NAMESPACE].drop_collection("long")
        elif store.kind == "cassandra":
            with cassandra_session(store) as session:
                session.execute(f"DROP TABLE {NAMESPACE}.long")
        else:
            with psycopg.connect(store.uri, autocommit=True) as direct:
                run(direct, f"DROP TABLE {NAMESPACE}.long")
        for query in ("SELECT count(*) FROM long", "SELECT * FROM long WHERE id = 1", "TABLE long"):
            with pytest.raises(errors.UndefinedTable, match="long"):
                client.execute(query.encode())
        others_work(client)
    finally:
        LOADERS[store.kind](store, NAMESPACE, [LONG])


def test_an_early_end_reads_no_more_than_needed(client: Connection, link: CuttingProxy) -> None:
    link.arm(Fault(after=None))
    client.execute("SELECT * FROM long").fetchall()
    whole = link.counted
    link.arm(Fault(after=None))
    assert len(client.execute("SELECT * FROM long LIMIT 10").fetchall()) == 10
    assert link.counted < whole / 4


def test_what_is_away_at_start_does_not_keep_others_back(  # R0.5
    open_directory: Path, servers: Fleet
) -> None:
    server = servers.get(POSTGRES)
    LOADERS["postgres"](server, NAMESPACE, [LONG])
    config = (
        '[stores]\nconnect_timeout = "500ms"\n'
        '[[instance]]\nname = "gone"\nkind = "mongodb"\nhost = "127.0.0.1"\ndatabase = "d"\n'
        f"port = {free_port()}\n"
        f'[[instance]]\nname = "lost"\nkind = "cassandra"\nhost = "127.0.0.1"\n'
        f"port = {free_port()}\n"
        f'[[instance]]\nname = "there"\nkind = "postgres"\nhost = "{server.host}"\n'
        f'port = {server.port}\nuser = "postgres"\ndatabase = "postgres"\n'
    )
    with running(open_directory / "away", config) as process, process.connect() as client:
        run(client, create_table_text(LONG, "there", "postgres"))
        assert client.execute("SELECT count(*) FROM long").fetchall() == [(ROWS,)]

        def health() -> dict[str, str]:
            return dict(
                client.execute("SELECT instance_id, health FROM morph.instances").fetchall()
            )

        eventually(lambda: all(health().values()), timeout_s=30)
        found = health()
        assert found["there"] == "ok"
        assert found["gone"] != "ok"
        assert found["lost"] != "ok"
        run(client, create_table_text(LONG, "gone", "mongodb", "nowhere"))
        with pytest.raises(psycopg.OperationalError, match='"gone"') as caught:
            client.execute("SELECT * FROM nowhere")
        assert (caught.value.sqlstate or "").startswith("08")


def test_wrong_credentials(morphgres: ServerProcess) -> None:  # issue 4, bad input
    with tempfile.TemporaryDirectory(prefix="morph-auth-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        server = start_postgres(
            Path(name) / "pg", access="host all postgres 127.0.0.1/32 trust\n"
            "host all all 127.0.0.1/32 scram-sha-256"
        )  # fmt: skip
        try:
            with psycopg.connect(server.uri, autocommit=True) as direct:
                run(direct, "CREATE ROLE app LOGIN PASSWORD 'right'")
            empty_catalog(morphgres)
            with morphgres.connect() as client:
                run(client, create_server_text("locked", server, user="app"))
                run(client, create_table_text(LONG, "locked", "postgres"))
                with pytest.raises(psycopg.Error, match='"locked"') as caught:
                    client.execute("SELECT * FROM long")
                assert (caught.value.sqlstate or "").startswith("28"), str(caught.value)
        finally:
            server.stop()


@pytest.mark.parametrize("name", [SECANTUS])
def test_a_document_that_is_nearly_too_large(
    morphgres: ServerProcess, servers: Fleet, name: str
) -> None:  # issue 4, bad input
    server = servers.get(name)
    with mongodb_client(server) as documents:
        collection = documents[NAMESPACE]["large"]
        collection.drop()
        collection.insert_one({"_id": 1, "name": "x" * 15_000_000})
    empty_catalog(morphgres)
    table = TableData("large", {"id": "bigint", "name": "text"}, ())
    with morphgres.connect() as client:
        run(client, create_server_text("s", server))
        run(client, create_table_text(table, "s", "mongodb"))
        assert client.execute("SELECT length(name) FROM large").fetchall() == [(15_000_000,)]
        with pytest.raises(psycopg.Error) as caught:
            client.execute("UPDATE large SET name = name || name")
        assert caught.value.sqlstate not in ("XX000", None), str(caught.value)
        assert client.execute("SELECT length(name) FROM large").fetchall() == [(15_000_000,)]
