"""Transactions tell the truth (R1.8, issue 4.10): real where the store has them, else refused and
nothing is written; never a ROLLBACK that keeps rows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, eventually
from tests.services.conftest import PROPERTY
from tests.services.federation.items import ITEMS, change_qty, make_items, stored_ids
from tests.services.federation.loading import run
from tests.services.federation.placing import (
    CASSANDRA,
    MONGOJAVA,
    POSTGRES,
    SECANTUS,
    create_server_text,
)
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
WITH = (SECANTUS, POSTGRES)
WITHOUT = (MONGOJAVA, CASSANDRA)
COUNT = "SELECT count(*) FROM items"
ALL = len(ITEMS.rows)


@pytest.fixture(scope="module", params=[*WITH, *WITHOUT])
def store(
    request: pytest.FixtureRequest, morphgres: ServerProcess, servers: Fleet
) -> RunningServer:
    """One store after the other: the server s, and a table here of the embedded store."""
    empty_catalog(morphgres)
    server = servers.get(request.param)
    with morphgres.connect() as client:
        run(client, create_server_text("s", server))
        run(client, "CREATE TABLE here (id int PRIMARY KEY)")
    return server


@pytest.fixture
def client(
    morphgres: ServerProcess,
    store: RunningServer,
    record_property: Callable[[str, object], None],
) -> Iterator[Connection]:
    """A session; items and here are as they were made."""
    record_property(PROPERTY, store.label)
    with morphgres.connect() as connection:
        make_items(connection, store, "s")
        run(connection, "DELETE FROM here")
        yield connection


def only(stores: tuple[str, ...]) -> pytest.MarkDecorator:
    """The test is about these stores."""
    return pytest.mark.parametrize("store", stores, indirect=True)


def counted(client: Connection) -> int:
    return int(client.execute(COUNT).fetchall()[0][0])


@only(WITH)
def test_rollback_undoes_and_commit_keeps(  # PEERS 3.6
    client: Connection, store: RunningServer
) -> None:
    run(client, "BEGIN")
    run(client, "INSERT INTO items (id, name) VALUES (50, 'fifty')")
    run(client, "UPDATE items SET qty = 1000 WHERE id = 1")
    run(client, "DELETE FROM items WHERE id = 2")
    assert counted(client) == ALL
    assert client.execute("SELECT id, qty FROM items WHERE id IN (1, 2, 50)").fetchall() in (
        [(1, 1000), (50, None)],
        [(50, None), (1, 1000)],
    )
    assert stored_ids(store) == list(range(1, ALL + 1))  # others see nothing of it
    run(client, "ROLLBACK")
    assert stored_ids(store) == list(range(1, ALL + 1))
    assert client.execute("SELECT qty FROM items WHERE id = 1").fetchall() == [(1,)]
    run(client, "BEGIN; DELETE FROM items WHERE id > 3; COMMIT")
    assert stored_ids(store) == [1, 2, 3]


@only(WITH)
def test_an_error_ends_the_transaction(client: Connection, store: RunningServer) -> None:
    run(client, "BEGIN")
    run(client, "DELETE FROM items WHERE id = 1")
    with pytest.raises(errors.UniqueViolation):
        run(client, "INSERT INTO items (id) VALUES (2)")
    with pytest.raises(errors.InFailedSqlTransaction):
        run(client, "SELECT 1")
    assert client.execute("COMMIT").statusmessage == "ROLLBACK"
    assert stored_ids(store) == list(range(1, ALL + 1))
    run(client, "BEGIN")
    run(client, "DELETE FROM items WHERE id = 1")
    with pytest.raises(errors.DivisionByZero):
        run(client, "SELECT 1 / 0")
    run(client, "COMMIT")
    assert stored_ids(store) == list(range(1, ALL + 1))


@only(WITH)
def test_several_statements_of_one_message_are_one_transaction(
    client: Connection, store: RunningServer
) -> None:
    with pytest.raises(errors.DivisionByZero):
        run(client, "INSERT INTO items (id) VALUES (60); SELECT 1 / 0")
    assert 60 not in stored_ids(store)
    run(client, "INSERT INTO items (id) VALUES (60); DELETE FROM items WHERE id = 1")
    assert stored_ids(store) == [*range(2, ALL + 1), 60]


@only(WITH)
def test_a_client_that_goes_leaves_nothing(
    client: Connection, store: RunningServer, morphgres: ServerProcess
) -> None:
    other = morphgres.connect()
    run(other, "BEGIN")
    run(other, "DELETE FROM items WHERE id < 5")
    other.close()
    run(client, "INSERT INTO items (id) VALUES (70)")
    assert stored_ids(store) == [*range(1, ALL + 1), 70]

    def free() -> bool:  # and no lock is kept
        try:
            run(client, "UPDATE items SET qty = 0 WHERE id = 1")
        except (errors.SerializationFailure, errors.LockNotAvailable):
            return False
        return True

    eventually(free, what="the row is free again")


@only(WITH)
def test_repeatable_read_is_a_snapshot(client: Connection, store: RunningServer) -> None:
    run(client, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    query = "SELECT qty FROM items WHERE id = 3"
    assert client.execute(query).fetchall() == [(3,)]
    change_qty(store, 3, 333)
    assert client.execute(query).fetchall() == [(3,)]
    with pytest.raises(errors.SerializationFailure):
        run(client, "UPDATE items SET qty = qty + 1 WHERE id = 3")
    run(client, "ROLLBACK")
    assert client.execute(query).fetchall() == [(333,)]


@only(WITHOUT)
def test_repeatable_read_where_the_store_has_no_snapshots(
    client: Connection, store: RunningServer
) -> None:
    run(client, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    query = "SELECT qty FROM items WHERE id = 3"
    assert client.execute(query).fetchall() == [(3,)]
    change_qty(store, 3, 333)
    assert client.execute(query).fetchall() == [(333,)]  # it reads as it comes
    run(client, "COMMIT")


@only(WITH)
def test_savepoints(client: Connection, store: RunningServer) -> None:
    run(client, "BEGIN")
    run(client, "SAVEPOINT before")
    run(client, "INSERT INTO items (id) VALUES (80)")
    run(client, "RELEASE SAVEPOINT before")
    run(client, "COMMIT")
    assert 80 in stored_ids(store)


@only((SECANTUS,))
def test_a_savepoint_that_the_store_does_not_have(client: Connection, store: RunningServer) -> None:
    run(client, "BEGIN")
    run(client, "INSERT INTO items (id) VALUES (80)")
    run(client, "SAVEPOINT before")
    run(client, "SAVEPOINT later")
    run(client, "ROLLBACK TO SAVEPOINT before")  # nothing was written since
    run(client, "INSERT INTO items (id) VALUES (81)")
    with pytest.raises(errors.FeatureNotSupported) as caught:  # it could not undo the row
        run(client, "ROLLBACK TO SAVEPOINT before")
    assert '"s"' in str(caught.value)
    assert caught.value.diag.message_hint == "ROLLBACK the whole transaction."
    assert client.execute("COMMIT").statusmessage == "ROLLBACK"
    assert stored_ids(store) == list(range(1, ALL + 1))


@only((POSTGRES,))
def test_rollback_to_a_savepoint(client: Connection, store: RunningServer) -> None:
    run(client, "BEGIN")
    run(client, "SAVEPOINT a")  # older than what the transaction does in the store
    run(client, "INSERT INTO items (id) VALUES (80)")
    run(client, "SAVEPOINT b")
    run(client, "UPDATE items SET qty = 500 WHERE id IN (1, 80)")
    run(client, "SAVEPOINT b")
    run(client, "DELETE FROM items WHERE id < 5")
    with pytest.raises(errors.UniqueViolation):
        run(client, "INSERT INTO items (id) VALUES (80)")
    run(client, "ROLLBACK TO SAVEPOINT b")
    query = "SELECT id, qty FROM items WHERE id IN (1, 80) ORDER BY id"
    assert client.execute(query).fetchall() == [(1, 500), (80, 500)]
    run(client, "RELEASE SAVEPOINT b")
    run(client, "ROLLBACK TO SAVEPOINT b")  # the older one of the name
    assert client.execute(query).fetchall() == [(1, 1), (80, None)]
    run(client, "ROLLBACK TO a; DELETE FROM items WHERE id = 9; SAVEPOINT c")
    run(client, "DELETE FROM items; ROLLBACK TO c; RELEASE a")
    with pytest.raises(errors.InvalidSavepointSpecification):
        run(client, "ROLLBACK TO SAVEPOINT c")
    run(client, "ROLLBACK")
    assert stored_ids(store) == list(range(1, ALL + 1))
    run(client, "BEGIN; SAVEPOINT a; DELETE FROM items WHERE id = 1; ROLLBACK TO a; COMMIT")
    assert stored_ids(store) == list(range(1, ALL + 1))
    run(client, "BEGIN; SAVEPOINT a; DELETE FROM items; ROLLBACK TO a")
    run(client, "DELETE FROM items WHERE id = 2")
    run(client, "COMMIT AND CHAIN")
    run(client, "DELETE FROM items WHERE id = 3")
    run(client, "ROLLBACK")
    assert stored_ids(store) == [1, *range(3, ALL + 1)]


@only((POSTGRES,))
def test_what_was_rolled_back_to_a_savepoint_is_no_write(
    client: Connection, store: RunningServer
) -> None:
    run(client, "BEGIN")
    run(client, "SAVEPOINT a")
    run(client, "DELETE FROM items")
    run(client, "ROLLBACK TO SAVEPOINT a")
    run(client, "INSERT INTO here VALUES (7)")  # the only store that the transaction writes to
    run(client, "COMMIT")
    assert client.execute("SELECT id FROM here").fetchall() == [(7,)]
    assert stored_ids(store) == list(range(1, ALL + 1))


@only(WITHOUT)
def test_writes_wait_for_commit(client: Connection, store: RunningServer) -> None:  # Issue 4.10
    run(client, "SET morph.store_writes = at_commit")
    run(client, "BEGIN")
    run(client, "INSERT INTO items (id, name, qty) VALUES (50, 'fifty', 5), (51, 'gone', 6)")
    run(client, "UPDATE items SET qty = 1000, city = 'Bern' WHERE id IN (1, 50)")
    run(client, "DELETE FROM items WHERE id IN (2, 51)")
    run(client, "UPDATE items SET qty = qty + 1 WHERE qty = 1000")
    assert stored_ids(store) == list(range(1, ALL + 1))  # nobody else sees anything of it
    assert counted(client) == ALL
    seen = "SELECT id, qty, city FROM items WHERE id IN (1, 2, 50, 51) ORDER BY id"
    expected = [(1, 1001, "Bern"), (50, 1001, "Bern")]
    assert client.execute(seen).fetchall() == expected
    assert client.execute("SELECT id FROM items WHERE id = 2").fetchall() == []
    assert client.execute("SELECT name FROM items WHERE id = 50").fetchall() == [("fifty",)]
    grouped = "SELECT city, count(*) FROM items WHERE city = 'Bern' GROUP BY city"
    assert client.execute(grouped).fetchall() == [("Bern", 2)]
    joined = "SELECT a.id FROM items a JOIN items b ON b.id = a.id WHERE b.qty = 1001 ORDER BY 1"
    assert client.execute(joined).fetchall() == [(1,), (50,)]
    assert client.execute("SELECT id FROM items ORDER BY id DESC LIMIT 1").fetchall() == [(50,)]
    with pytest.raises(errors.UniqueViolation):
        run(client, "INSERT INTO items (id) VALUES (50)")
    run(client, "ROLLBACK")
    assert stored_ids(store) == list(range(1, ALL + 1))
    run(client, "BEGIN")
    run(client, "INSERT INTO items (id, qty) VALUES (50, 1)")
    run(client, "UPDATE items SET qty = qty + 1 WHERE id = 50")
    run(client, "UPDATE items SET qty = 77 WHERE id = 3")
    run(client, "DELETE FROM items WHERE id IN (3, 4)")
    run(client, "INSERT INTO items (id, qty) VALUES (4, 44)")
    upsert = "INSERT INTO items (id, qty) VALUES (50, 3), (60, 6) ON CONFLICT (id) DO UPDATE "
    run(client, upsert + "SET qty = items.qty + excluded.qty")
    run(client, "COMMIT")
    assert stored_ids(store) == [1, 2, *range(4, ALL + 1), 50, 60]
    found = client.execute("SELECT id, qty FROM items WHERE id IN (4, 50, 60) ORDER BY id")
    assert found.fetchall() == [(4, 44), (50, 5), (60, 6)]


@only(WITHOUT)
def test_waiting_writes_go_back_to_a_savepoint(client: Connection, store: RunningServer) -> None:
    run(client, "SET morph.store_writes = at_commit")
    run(client, "BEGIN")
    run(client, "SAVEPOINT a")
    run(client, "INSERT INTO items (id) VALUES (50)")
    run(client, "SAVEPOINT b")
    run(client, "DELETE FROM items")
    assert counted(client) == 0
    with pytest.raises(errors.DivisionByZero):
        run(client, "SELECT 1 / 0")
    run(client, "ROLLBACK TO SAVEPOINT b")
    assert counted(client) == ALL + 1
    run(client, "DELETE FROM items WHERE id = 1")
    run(client, "COMMIT")
    assert stored_ids(store) == [*range(2, ALL + 1), 50]
    run(client, "BEGIN; SAVEPOINT a; DELETE FROM items; ROLLBACK TO SAVEPOINT a; COMMIT")
    assert stored_ids(store) == [*range(2, ALL + 1), 50]


@only(WITHOUT)
def test_a_waiting_write_that_lost(client: Connection, store: RunningServer) -> None:  # 40001
    run(client, "SET morph.store_writes = at_commit")
    run(client, "BEGIN")
    run(client, "UPDATE items SET qty = qty + 1 WHERE id = 3")
    change_qty(store, 3, 333)
    with pytest.raises(errors.SerializationFailure):
        run(client, "COMMIT")
    assert client.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert client.execute("SELECT qty FROM items WHERE id = 3").fetchall() == [(333,)]
    run(client, "BEGIN")
    run(client, "INSERT INTO items (id) VALUES (90)")
    run(client, "INSERT INTO items (id) VALUES (5)")  # it is there; the store says so at COMMIT
    with pytest.raises(psycopg.Error) as caught:
        run(client, "COMMIT")
    assert caught.value.sqlstate == "40003"
    assert '1 rows stay in server "s"' in (caught.value.diag.message_detail or "")
    assert stored_ids(store) == [*range(1, ALL + 1), 90]  # as the error says


@only(WITHOUT)
def test_what_cannot_wait_says_so(client: Connection, store: RunningServer) -> None:
    run(client, "SET morph.store_writes = sometimes")
    run(client, "BEGIN")
    with pytest.raises(errors.InvalidParameterValue, match=r"morph\.store_writes"):
        run(client, "DELETE FROM items")
    run(client, "ROLLBACK")
    run(client, "BEGIN; SET LOCAL morph.store_writes = at_commit")
    run(client, "DELETE FROM items WHERE id = 1")
    with pytest.raises(errors.FeatureNotSupported, match="two stores"):
        run(client, "INSERT INTO here VALUES (1)")
    run(client, "ROLLBACK")
    assert stored_ids(store) == list(range(1, ALL + 1))


@only(WITH)
def test_two_writers_of_one_row(
    client: Connection, store: RunningServer, morphgres: ServerProcess
) -> None:  # 40001
    with morphgres.connect() as other:
        run(client, "BEGIN")
        run(client, "UPDATE items SET qty = 1 WHERE id = 5")
        found: list[psycopg.Error] = []

        def second() -> None:
            try:
                run(other, "UPDATE items SET qty = 2 WHERE id = 5")
            except psycopg.Error as error:
                found.append(error)

        writer = threading.Thread(target=second)
        writer.start()
        time.sleep(0.5)
        run(client, "COMMIT")
        writer.join()
    assert [error.sqlstate for error in found] == ["40001"]
    assert client.execute("SELECT qty FROM items WHERE id = 5").fetchall() == [(1,)]


@only(WITHOUT)
@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO items (id) VALUES (50)",
        "UPDATE items SET qty = 0",
        "DELETE FROM items",
        "MERGE INTO items t USING (SELECT 1 AS id) s ON t.id = s.id WHEN MATCHED THEN DELETE",
    ],
)
def test_a_store_without_transactions_refuses(  # PEERS 3.6
    client: Connection, store: RunningServer, text: str
) -> None:
    run(client, "BEGIN")
    assert counted(client) == ALL  # reading is no matter
    with pytest.raises(errors.FeatureNotSupported, match='"s" has no transactions') as caught:
        run(client, text)
    assert caught.value.diag.message_hint
    assert client.execute("COMMIT").statusmessage == "ROLLBACK"
    with pytest.raises(errors.FeatureNotSupported):
        run(client, f"SELECT 1; {text}")
    assert stored_ids(store) == list(range(1, ALL + 1))
    run(client, text)
    assert client.execute("SELECT count(*), sum(qty) FROM items").fetchall() != [(ALL, 11)]


def test_two_stores_in_one_transaction_are_refused(
    client: Connection, store: RunningServer, morphgres: ServerProcess
) -> None:
    run(client, "BEGIN")
    run(client, "INSERT INTO here VALUES (1)")
    with pytest.raises(errors.FeatureNotSupported, match=r"two stores|no transactions") as caught:
        run(client, "DELETE FROM items")
    assert caught.value.diag.message_hint
    run(client, "ROLLBACK")
    with pytest.raises(errors.FeatureNotSupported):
        run(client, "INSERT INTO here VALUES (2); DELETE FROM items")
    with pytest.raises(errors.FeatureNotSupported):
        run(client, "DELETE FROM items; INSERT INTO here VALUES (2)")
    assert client.execute("SELECT count(*) FROM here").fetchall() == [(0,)]
    assert stored_ids(store) == list(range(1, ALL + 1))


@only(WITH)
def test_the_other_order_is_refused_too(client: Connection, store: RunningServer) -> None:
    run(client, "BEGIN")
    run(client, "DELETE FROM items WHERE id = 1")
    with pytest.raises(errors.FeatureNotSupported, match="two stores"):
        run(client, "INSERT INTO here VALUES (3)")
    run(client, "COMMIT")
    assert client.execute("SELECT count(*) FROM here").fetchall() == [(0,)]
    assert stored_ids(store) == list(range(1, ALL + 1))


def test_reading_stores_while_writing_here(client: Connection, store: RunningServer) -> None:
    run(client, "BEGIN")
    run(client, "INSERT INTO here SELECT id FROM items WHERE id < 4")
    run(client, "ROLLBACK")
    assert client.execute("SELECT count(*) FROM here").fetchall() == [(0,)]
    run(client, "INSERT INTO here SELECT id FROM items WHERE id < 4")
    found = client.execute("SELECT h.id FROM here h JOIN items i USING (id) ORDER BY 1").fetchall()
    assert found == [(1,), (2,), (3,)]


def test_a_read_only_transaction_writes_nothing(client: Connection, store: RunningServer) -> None:
    run(client, "BEGIN READ ONLY")
    assert counted(client) == ALL
    with pytest.raises(psycopg.Error) as caught:
        run(client, "INSERT INTO items (id) VALUES (50)")
    assert caught.value.sqlstate in ("25006", "0A000")
    run(client, "ROLLBACK")
    assert stored_ids(store) == list(range(1, ALL + 1))


@only(WITH)
def test_an_open_cursor_over_a_store(client: Connection, store: RunningServer) -> None:
    run(client, "BEGIN")
    run(client, "DECLARE c CURSOR FOR SELECT id FROM items ORDER BY id")
    assert client.execute("FETCH 2 FROM c").fetchall() == [(1,), (2,)]
    run(client, "DELETE FROM items")
    assert client.execute("FETCH 1 FROM c").fetchall() == [(3,)]  # it is insensitive
    run(client, "ROLLBACK")
    assert stored_ids(store) == list(range(1, ALL + 1))
