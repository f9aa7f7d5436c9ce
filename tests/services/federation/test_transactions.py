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


@only(WITH)
def test_savepoints(client: Connection, store: RunningServer) -> None:
    run(client, "BEGIN")
    run(client, "SAVEPOINT before")
    run(client, "INSERT INTO items (id) VALUES (80)")
    run(client, "RELEASE SAVEPOINT before")
    run(client, "COMMIT")
    assert 80 in stored_ids(store)
    run(client, "BEGIN")
    run(client, "SAVEPOINT before")
    run(client, "INSERT INTO items (id) VALUES (81)")
    with pytest.raises(errors.FeatureNotSupported) as caught:  # it could not undo the row
        run(client, "ROLLBACK TO SAVEPOINT before")
    assert '"s"' in str(caught.value)
    assert caught.value.diag.message_hint == "ROLLBACK the whole transaction."
    run(client, "COMMIT")
    assert 81 not in stored_ids(store)


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
