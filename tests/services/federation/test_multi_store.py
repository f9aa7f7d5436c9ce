"""Transactions over several stores with morph.multi_store_commit = sequential: one after the other,
and the truth about what was committed when one of them fails or its answer is cut off (issue 4.10).
"""

from __future__ import annotations

import threading
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
from tests.services.federation.loading import LOADERS, run
from tests.services.federation.placing import (
    CASSANDRA,
    MONGOJAVA,
    NAMESPACE,
    POSTGRES,
    SECANTUS,
    create_server_text,
    create_table_text,
)
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer
from tests.services.servers.secantus import start_secantus

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
COLUMNS = {"id": "bigint", "n": "bigint"}
PLACES = {"ledger": POSTGRES, "bank": POSTGRES, "orders": SECANTUS, "visits": CASSANDRA,
          "clicks": MONGOJAVA}  # fmt: skip
TABLES = {name: TableData(name, COLUMNS, ((1, 10), (2, 20))) for name in PLACES}
HERE = "the embedded store"


@pytest.fixture(scope="module")
def link(servers: Fleet) -> Iterator[CuttingProxy]:
    """The way to the bank."""
    server = servers.get(POSTGRES)
    with CuttingProxy(server.host, server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stores(
    morphgres: ServerProcess, servers: Fleet, link: CuttingProxy
) -> dict[str, RunningServer]:
    """A server and a table in it of the same name for each, and the embedded table `here`."""
    empty_catalog(morphgres)
    found = {name: servers.get(place) for name, place in PLACES.items()}
    with morphgres.connect() as client:
        for name, server in found.items():
            LOADERS[server.kind](server, NAMESPACE, [TABLES[name]])
            way = {"host": link.host, "port": str(link.port)} if name == "bank" else {}
            run(client, create_server_text(name, server, **way))
            run(client, create_table_text(TABLES[name], name, server.kind))
        run(client, "CREATE TABLE here (id int PRIMARY KEY, n int)")
        run(client, "CREATE TABLE parent (id int PRIMARY KEY)")
        run(
            client,
            "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent "
            "DEFERRABLE INITIALLY DEFERRED)",
        )
    return found


@pytest.fixture
def client(
    morphgres: ServerProcess,
    stores: dict[str, RunningServer],
    record_property: Callable[[str, object], None],
) -> Iterator[Connection]:
    """A session; the rows are as they were made, and sequential commits are on."""
    for server in stores.values():
        record_property(PROPERTY, server.label)
    for name, server in stores.items():
        LOADERS[server.kind](server, NAMESPACE, [TABLES[name]])
    with morphgres.connect() as connection:
        run(connection, "DELETE FROM here")
        run(connection, "SET morph.multi_store_commit = sequential")
        run(connection, "SET morph.store_writes = at_commit")
        yield connection


def total(client: Connection, name: str) -> int:
    return int(client.execute(f"SELECT coalesce(sum(n), 0) FROM {name}".encode()).fetchall()[0][0])


def totals(client: Connection, *names: str) -> dict[str, int]:
    return {name: total(client, name) for name in names}


def add_to(client: Connection, *names: str) -> None:
    """One more in the first row of each."""
    run(client, "BEGIN")
    for name in names:
        if name == "here":
            run(client, "INSERT INTO here VALUES (1, 1)")
        else:
            run(client, f"UPDATE {name} SET n = n + 1 WHERE id = 1")


def refused(client: Connection, text: str = "COMMIT") -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        run(client, text)
    assert client.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    return caught.value


def test_all_of_them(client: Connection) -> None:
    names = (*PLACES, "here")
    add_to(client, *names)
    assert totals(client, *names) == {**dict.fromkeys(PLACES, 31), "here": 1}  # it sees its own
    run(client, "ROLLBACK")
    assert totals(client, *names) == {**dict.fromkeys(PLACES, 30), "here": 0}
    add_to(client, *names)
    assert client.execute("COMMIT").statusmessage == "COMMIT"
    assert totals(client, *names) == {**dict.fromkeys(PLACES, 31), "here": 1}


def test_several_statements_of_one_message(client: Connection) -> None:
    both = "DELETE FROM ledger WHERE id = 1; INSERT INTO here VALUES (5, 5); DELETE FROM orders"
    with pytest.raises(errors.DivisionByZero):
        run(client, f"{both}; SELECT 1 / 0")
    assert totals(client, "ledger", "orders", "here") == {"ledger": 30, "orders": 30, "here": 0}
    run(client, both)
    assert totals(client, "ledger", "orders", "here") == {"ledger": 20, "orders": 0, "here": 5}


def test_the_default_refuses(client: Connection) -> None:
    run(client, "RESET morph.multi_store_commit")
    for first, second in (("ledger", "orders"), ("here", "ledger"), ("ledger", "here")):
        add_to(client, first)
        with pytest.raises(errors.FeatureNotSupported, match="two stores") as caught:
            add_to_second(client, second)
        assert "morph.multi_store_commit" in (caught.value.diag.message_hint or "")
        run(client, "ROLLBACK")
    assert totals(client, "ledger", "orders", "here") == {"ledger": 30, "orders": 30, "here": 0}


def add_to_second(client: Connection, name: str) -> None:
    text = "INSERT INTO here VALUES (1, 1)" if name == "here" else f"DELETE FROM {name}"
    run(client, text)


def test_the_setting_of_the_file(
    morphgres: ServerProcess, stores: dict[str, RunningServer]
) -> None:
    with morphgres.connect() as other:
        found = other.execute("SHOW morph.multi_store_commit").fetchall()
        found += other.execute("SHOW morph.store_writes").fetchall()
    assert found == [("refuse",), ("refuse",)]


@pytest.mark.parametrize("after", [0, 5])
def test_an_answer_that_is_cut_off(  # 08007
    client: Connection, link: CuttingProxy, after: int
) -> None:
    add_to(client, "ledger", "bank", "orders", "here")
    link.arm(Fault(action="cut", after=after, trigger=b"COMMIT"))
    error = refused(client)
    link.disarm()
    assert error.sqlstate == "08007"
    detail = error.diag.message_detail or ""
    assert detail.startswith(
        'Committed: server "ledger". Not known: server "bank". '
        f'Not committed: server "orders", {HERE}.'
    ), detail
    found = totals(client, "ledger", "orders", "here")
    assert found == {"ledger": 31, "orders": 30, "here": 0}  # as the error says
    assert total(client, "bank") in (30, 31)


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_a_commit_that_is_canceled(client: Connection, link: CuttingProxy, how: str) -> None:
    add_to(client, "ledger", "bank", "orders", "here")
    link.arm(Fault(action="stall", trigger=b"COMMIT", after=0))
    if how == "timeout":
        run(client, "SET statement_timeout = '6s'")
        error = refused(client)
    else:

        def cancel() -> None:
            link.wait_fired()
            client.cancel_safe()

        canceler = threading.Thread(target=cancel)
        canceler.start()
        error = refused(client)
        canceler.join()
    link.disarm()
    assert error.sqlstate == "08007"
    assert (error.diag.message_detail or "").startswith(
        'Committed: server "ledger". Not known: server "bank". '
        f'Not committed: server "orders", {HERE}.'
    )
    run(client, "RESET statement_timeout")
    found = totals(client, "ledger", "orders", "here")
    assert found == {"ledger": 31, "orders": 30, "here": 0}


def test_a_store_that_goes_before_the_first_commit(client: Connection, link: CuttingProxy) -> None:
    add_to(client, "bank", "ledger", "here")
    link.go_down()
    error = refused(client)
    link.come_back()
    assert (error.sqlstate or "").startswith("08")
    assert '"bank"' in str(error)

    def back() -> bool:
        try:
            return totals(client, "ledger", "bank", "here") == {
                "ledger": 30, "bank": 30, "here": 0,
            }  # fmt: skip
        except psycopg.OperationalError:
            return False

    eventually(back, what="nothing was committed, and the bank is back")


def test_a_store_that_refuses_its_commit(  # 40003
    client: Connection, stores: dict[str, RunningServer]
) -> None:
    with psycopg.connect(stores["bank"].uri, autocommit=True) as remote:
        run(
            remote,
            f"ALTER TABLE {NAMESPACE}.bank ADD CONSTRAINT few UNIQUE (n) DEFERRABLE INITIALLY "
            "DEFERRED",
        )
    run(client, "BEGIN")
    run(client, "UPDATE ledger SET n = 20 WHERE id = 1")
    run(client, "UPDATE bank SET n = 20 WHERE id = 1")  # refused at its COMMIT only
    run(client, "DELETE FROM orders")
    error = refused(client)
    assert error.sqlstate == "40003"
    detail = error.diag.message_detail or ""
    assert detail.startswith(
        'Committed: server "ledger". Not committed: server "bank", server "orders".'
    ), detail
    assert '"few"' in detail
    assert totals(client, "ledger", "bank", "orders") == {"ledger": 40, "bank": 30, "orders": 30}
    run(client, "BEGIN")
    run(client, "UPDATE bank SET n = 20 WHERE id = 1")
    run(client, "DELETE FROM orders")
    assert refused(client).sqlstate == "23505"  # the first one: everything is undone
    assert totals(client, "bank", "orders") == {"bank": 30, "orders": 30}


def test_waiting_writes_go_first(client: Connection, stores: dict[str, RunningServer]) -> None:
    run(client, "BEGIN")
    run(client, "DELETE FROM ledger")
    run(client, "INSERT INTO visits VALUES (2, 5)")  # a key that Cassandra has
    run(client, "INSERT INTO here VALUES (1, 1)")
    assert refused(client).sqlstate == "23505"
    assert totals(client, "ledger", "visits", "here") == {"ledger": 30, "visits": 30, "here": 0}
    run(client, "BEGIN")
    run(client, "INSERT INTO clicks VALUES (3, 5)")
    run(client, "INSERT INTO visits VALUES (2, 5)")
    run(client, "DELETE FROM ledger")
    error = refused(client)
    assert error.sqlstate == "40003"
    assert (error.diag.message_detail or "").startswith(
        'Committed: server "clicks". Not committed: server "visits", server "ledger".'
    )
    assert totals(client, "ledger", "visits", "clicks") == {
        "ledger": 30, "visits": 30, "clicks": 35,
    }  # fmt: skip


def test_a_waiting_write_whose_answer_is_cut_off(  # 08007
    client: Connection, stores: dict[str, RunningServer]
) -> None:
    server = stores["clicks"]
    with CuttingProxy(server.host, server.port) as way:
        run(client, f"ALTER SERVER clicks OPTIONS (SET host '{way.host}', SET port '{way.port}')")
        try:
            assert total(client, "clicks") == 30
            run(client, "BEGIN")
            run(client, "DELETE FROM ledger")
            run(client, "INSERT INTO clicks VALUES (7, 7)")
            way.arm(Fault(action="cut", after=0, trigger=b"insert"))
            error = refused(client)
            way.disarm()
        finally:
            at = f"SET host '{server.host}', SET port '{server.port}'"
            run(client, f"ALTER SERVER clicks OPTIONS ({at})")
    assert error.sqlstate == "08007"
    assert (error.diag.message_detail or "").startswith(
        'Not known: server "clicks". Not committed: server "ledger".'
    ), error.diag.message_detail
    assert totals(client, "ledger") == {"ledger": 30}
    assert total(client, "clicks") in (30, 37)


def test_deferred_constraints_are_asked_before(client: Connection) -> None:
    run(client, "BEGIN")
    run(client, "DELETE FROM ledger")
    run(client, "INSERT INTO child VALUES (1, 99)")  # refused at COMMIT only
    assert refused(client).sqlstate == "23503"
    assert totals(client, "ledger") == {"ledger": 30}
    assert client.execute("SELECT count(*) FROM child").fetchall() == [(0,)]
    both = "DELETE FROM ledger; INSERT INTO child VALUES (1, 99)"
    assert refused(client, both).sqlstate == "23503"
    assert totals(client, "ledger") == {"ledger": 30}


def test_savepoints_of_several_stores(client: Connection) -> None:
    run(client, "BEGIN")
    run(client, "DELETE FROM ledger WHERE id = 1")
    run(client, "DELETE FROM visits WHERE id = 1")
    run(client, "SAVEPOINT a")
    run(client, "DELETE FROM ledger")
    run(client, "DELETE FROM visits")
    run(client, "DELETE FROM clicks")
    run(client, "INSERT INTO here VALUES (1, 1)")
    run(client, "ROLLBACK TO SAVEPOINT a")
    run(client, "DELETE FROM orders WHERE id = 1")
    run(client, "COMMIT")
    assert totals(client, "ledger", "visits", "clicks", "orders", "here") == {
        "ledger": 20, "visits": 20, "clicks": 30, "orders": 20, "here": 0,
    }  # fmt: skip


def test_a_read_in_each_store_is_a_snapshot(
    client: Connection, stores: dict[str, RunningServer]
) -> None:
    run(client, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert totals(client, "ledger", "orders") == {"ledger": 30, "orders": 30}
    with psycopg.connect(stores["ledger"].uri, autocommit=True) as remote:
        run(remote, f"UPDATE {NAMESPACE}.ledger SET n = 0")
    assert totals(client, "ledger", "orders") == {"ledger": 30, "orders": 30}
    run(client, "DELETE FROM orders")  # one store only is written to
    run(client, "COMMIT")
    assert totals(client, "ledger", "orders") == {"ledger": 0, "orders": 0}


def test_copy_inside_a_transaction(client: Connection) -> None:
    run(client, "BEGIN")
    for name in ("ledger", "visits"):
        with client.cursor().copy(f"COPY {name} FROM STDIN".encode()) as copy:
            for n in range(100, 200):
                copy.write_row((n, 1))
    assert totals(client, "ledger", "visits") == {"ledger": 130, "visits": 130}
    run(client, "ROLLBACK")
    assert totals(client, "ledger", "visits") == {"ledger": 30, "visits": 30}


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_the_extended_protocol(client: Connection, end: str) -> None:
    with client.pipeline():
        client.execute("BEGIN")
        client.execute("UPDATE ledger SET n = n + %s WHERE id = 1", [1])
        client.execute("SAVEPOINT a")
        client.execute("DELETE FROM visits")
        client.execute("ROLLBACK TO SAVEPOINT a")
        client.execute("INSERT INTO visits VALUES (%s, %s)", [3, 1])
        client.execute(end.encode())
    expected = 31 if end == "COMMIT" else 30
    assert totals(client, "ledger", "visits") == {"ledger": expected, "visits": expected}


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[RunningServer]:
    """A MongoDB of one's own: it keeps the locks of a transaction whose client died."""
    server = start_secantus(tmp_path)
    try:
        yield server
    finally:
        server.stop()


def test_a_killed_server_leaves_nothing(  # Issue 4.10
    open_directory: Path, stores: dict[str, RunningServer], documents: RunningServer
) -> None:
    names = ("ledger", "orders", "visits")
    stores = {**stores, "orders": documents}
    for name in names:
        LOADERS[stores[name].kind](stores[name], NAMESPACE, [TABLES[name]])
    with running(open_directory / "killed") as server:
        other = server.connect()
        for name in names:
            run(other, create_server_text(name, stores[name]))
            run(other, create_table_text(TABLES[name], name, stores[name].kind))
        run(other, "SET morph.multi_store_commit = sequential")
        run(other, "SET morph.store_writes = at_commit")
        add_to(other, *names)
        assert totals(other, *names) == dict.fromkeys(names, 31)
        server.kill()
        other.close()
        server.start()
        with server.connect() as again:
            assert totals(again, *names) == dict.fromkeys(names, 30)

            def free() -> bool:  # MongoDB itself aborts what a dead client left, after a minute
                try:
                    for name in ("ledger", "visits"):
                        run(again, f"UPDATE {name} SET n = n + 1 WHERE id = 1")
                except (errors.SerializationFailure, errors.LockNotAvailable):
                    return False
                return True

            eventually(free, timeout_s=60, what="the rows are free again")
