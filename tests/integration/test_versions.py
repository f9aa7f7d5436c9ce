"""Versions side by side: DDL, promotion and rollback while clients go on (DESIGN 7, 9)."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.pq import DiagnosticField

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def shared(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "versions") as process:
        yield process


@pytest.fixture
def server(shared: ServerProcess) -> ServerProcess:
    """A server with version 1 only, and one table."""
    empty_catalog(shared)
    with shared.connect() as client:
        client.execute("CREATE TABLE customers (id int PRIMARY KEY, name text, phone text, n int)")
        client.execute("INSERT INTO customers VALUES (1, 'Ann', '11', 5), (2, 'Bob', '22', 6)")
    return shared


def rows(client: Connection, text: str) -> list[Any]:
    return client.execute(text).fetchall()


def notices(client: Connection) -> list[str]:
    heard: list[str] = []
    client.add_notice_handler(
        lambda d: heard.append(f"{d.severity}: {d.message_primary} {d.message_hint or ''}".strip())
    )
    return heard


def three_versions(client: Connection) -> None:
    client.execute(
        "ALTER TABLE customers ADD COLUMN score int GENERATED ALWAYS AS (id * 10 + n) VIRTUAL"
    )
    client.execute("ALTER TABLE customers RENAME COLUMN name TO full_name")
    client.execute("ALTER TABLE customers DROP COLUMN phone")


def test_a_virtual_column_is_there_at_once(server: ServerProcess) -> None:  # R1.2 R3.1
    with server.connect() as client, server.connect(options="-csearch_path=v2") as pinned:
        three_versions(client)
        assert rows(client, "SELECT * FROM customers WHERE id = 1") == [(1, "Ann", "11", 5)]
        assert rows(pinned, "SELECT id, score FROM customers ORDER BY id") == [(1, 15), (2, 26)]
        client.execute("SET search_path = v4")
        assert rows(client, "SELECT * FROM customers WHERE id = 2") == [(2, "Bob", 6, 26)]
        wanted = "SELECT id FROM customers WHERE score > 20 GROUP BY id, score ORDER BY score"
        assert rows(client, wanted) == [(2,)]


def test_a_role_keeps_a_version(server: ServerProcess) -> None:  # R1.5
    with server.connect() as client:
        three_versions(client)
        client.execute("ALTER ROLE morph SET search_path = v2")
        try:
            with server.connect() as late:
                assert rows(late, "SELECT score FROM customers WHERE id = 1") == [(15,)]
        finally:
            client.execute("ALTER ROLE morph RESET search_path")


@pytest.mark.parametrize("order", list(itertools.permutations((1, 3, 4))))
def test_writes_of_every_version_are_seen_by_all(
    server: ServerProcess, order: tuple[int, ...]
) -> None:  # R1.5
    with server.connect() as client:
        three_versions(client)
        name = {1: "name", 2: "name", 3: "full_name", 4: "full_name"}
        for step, number in enumerate(order):
            table, column, key = f"v{number}.customers", name[number], 10 + step
            client.execute(f"INSERT INTO {table} (id, {column}, n) VALUES ({key}, 'new', 1)")
            client.execute(
                f"INSERT INTO {table} AS c (id, {column}) VALUES ({key}, 'again') "
                f"ON CONFLICT (id) DO UPDATE SET {column} = EXCLUDED.{column} || c.n"
            )
            client.execute(f"UPDATE {table} SET n = n + 1 WHERE id = {key}")
            client.execute(f"DELETE FROM {table} WHERE id = {2 if step == 1 else 99}")
        expected = [(1, "Ann", 5)] + [(10 + s, "again1", 2) for s in range(3)]
        for number in (1, 2, 3, 4):
            query = f"SELECT id, {name[number]}, n FROM v{number}.customers ORDER BY id"
            assert rows(client, query) == expected
        # v4 does not show phone: what v1 wrote stays, what v4 inserted has none
        assert rows(client, "SELECT phone FROM v1.customers WHERE id = 1") == [("11",)]


def test_old_names_are_explained_and_deprecated(server: ServerProcess) -> None:  # R1.4
    with server.connect() as client:
        three_versions(client)
        with pytest.raises(errors.UndefinedColumn) as caught:
            client.execute("SELECT name FROM v4.customers")
        hint = 'Column "name" was renamed to "full_name" in version 3.'
        assert caught.value.diag.message_hint == hint
        assert caught.value.diag.statement_position == "8"
        with pytest.raises(errors.UndefinedColumn) as caught:
            client.execute("UPDATE v4.customers SET phone = '1'")
        assert caught.value.diag.message_hint == 'Column "phone" was dropped in version 4.'
        with pytest.raises(errors.UndefinedColumn) as caught:
            client.execute("SELECT score FROM customers")
        assert (
            caught.value.diag.message_hint == 'Column "score" is in version 2; this is version 1.'
        )
        client.execute("CALL morph.promote(4)")
        heard = notices(client)
        client.execute("SELECT name FROM v1.customers")
        client.execute("SELECT n FROM v1.customers")
        assert heard == [
            "WARNING: version 1 is deprecated Version 4 has superseded it.",
            'WARNING: column "name" of table "customers" is deprecated '
            'Use "full_name", its name in version 4.',
        ]


def test_table_names_are_explained(server: ServerProcess) -> None:  # R1.4
    with server.connect() as client:
        client.execute("ALTER TABLE customers RENAME TO people")
        with pytest.raises(errors.UndefinedTable) as caught:
            client.execute("SELECT * FROM v2.customers")
        hint = 'Table "customers" was renamed to "people" in version 2.'
        assert caught.value.diag.message_hint == hint
        assert rows(client, "SELECT count(*) FROM v2.people") == [(2,)]
        assert rows(client, "SELECT count(*) FROM customers") == [(2,)]


def test_promote_and_rollback_lose_nothing(server: ServerProcess) -> None:  # R1.5 invariant 3
    with server.connect() as client, server.connect() as follower:
        three_versions(client)
        client.execute("CALL morph.promote(4)")
        client.execute("CALL morph.promote(4)")  # idempotent
        follower.execute("INSERT INTO customers (id, full_name) VALUES (3, 'Cid')")
        client.execute("CALL morph.rollback(4)")
        client.execute("CALL morph.rollback(2)")
        assert rows(follower, "SELECT id, name, phone FROM customers ORDER BY id") == [
            (1, "Ann", "11"),
            (2, "Bob", "22"),
            (3, "Cid", None),
        ]
        state = "SELECT version, current, head, state FROM morph.versions ORDER BY 1"
        assert rows(client, state) == [
            (1, True, True, "current"),
            *((n, False, False, "rolled back") for n in (2, 3, 4)),
        ]
        client.execute("CALL morph.promote(4)")
        # DDL goes on from what is promoted again, not from where the rollback led
        client.execute("ALTER TABLE customers RENAME COLUMN n TO amount")
        assert rows(client, "SELECT parent FROM morph.versions WHERE version = 5") == [(4,)]


def test_promotion_is_transactional(server: ServerProcess) -> None:  # R1.5
    with server.connect() as client, server.connect() as other:
        three_versions(client)
        client.execute("BEGIN")
        client.execute("CALL morph.promote(3)")
        assert rows(client, "SELECT full_name FROM customers WHERE id = 1") == [("Ann",)]
        assert rows(other, "SELECT name FROM customers WHERE id = 1") == [("Ann",)]
        client.execute("ROLLBACK")
        assert rows(client, "SELECT name FROM customers WHERE id = 1") == [("Ann",)]


@pytest.mark.parametrize(
    ("call", "state", "words"),
    [
        ("morph.promote(9)", "42704", "version 9 does not exist"),
        ("morph.rollback(4)", "55000", "version 4 is not promoted"),
        ("morph.rollback(1)", "55000", "no version before version 1"),
        ("morph.promote('x')", "22023", "takes the number of a version"),
        ("morph.promote(1, 2)", "22023", "takes lazy as true or false"),
        ("morph.promote()", "42883", "takes change and lazy"),
        ("morph.rollback(1, accept => true, why => 1)", "42883", "takes change and accept"),
        ("morph.hold(1 + 1)", "0A000", "takes a constant"),
        ("morph.hold(1, 2)", "42883", "takes the number of a version"),
        ("morph.hold(1)", "42704", "change 1 has no data work"),
        ("morph.nope(1)", "42883", "procedure morph.nope does not exist"),
    ],
)
def test_clear_errors(server: ServerProcess, call: str, state: str, words: str) -> None:  # R1.5
    with server.connect() as client:
        three_versions(client)
        with pytest.raises(psycopg.Error, match=words) as caught:
            client.execute(f"CALL {call}")
        assert caught.value.sqlstate == state
        assert rows(client, "SELECT count(*) FROM morph.versions WHERE current") == [(1,)]


def test_one_transaction_sees_one_version(server: ServerProcess) -> None:  # invariant 5
    with server.connect() as client, server.connect(autocommit=False) as inside:
        three_versions(client)
        assert rows(inside, "SELECT name FROM customers WHERE id = 1") == [("Ann",)]
        client.execute("CALL morph.promote(4)")
        assert rows(inside, "SELECT name, phone FROM customers WHERE id = 2") == [("Bob", "22")]
        inside.commit()
        assert rows(inside, "SELECT full_name FROM customers WHERE id = 2") == [("Bob",)]


@pytest.mark.parametrize(
    "statement", ["ALTER TABLE customers ADD COLUMN late int", "CALL morph.promote(3)"]
)
def test_ddl_after_a_promotion_of_others(server: ServerProcess, statement: str) -> None:
    """Invariant 4: public does not become another version in the middle of a transaction."""
    with server.connect() as client, server.connect() as other:
        client.execute("ALTER TABLE customers RENAME COLUMN name TO full_name")
        client.execute("ALTER TABLE customers DROP COLUMN phone")
        client.execute("BEGIN")
        assert rows(client, "SELECT name FROM customers WHERE id = 1") == [("Ann",)]
        other.execute("CREATE TABLE harmless (a int)")
        client.execute("CREATE TABLE fine (a int)")
        client.execute("ROLLBACK")
        client.execute("BEGIN")
        assert rows(client, "SELECT name FROM customers WHERE id = 1") == [("Ann",)]
        other.execute("CALL morph.promote(2)")
        assert rows(client, "SELECT name FROM customers WHERE id = 1") == [("Ann",)]
        with pytest.raises(errors.SerializationFailure, match="concurrent promotion"):
            client.execute(statement)
        with pytest.raises(errors.InFailedSqlTransaction):
            client.execute("SELECT 1")
        client.execute("ROLLBACK")
        client.execute(statement)  # tried again
        assert rows(client, "SELECT full_name FROM customers WHERE id = 1") == [("Ann",)]


def test_prepared_statements_over_a_promotion(server: ServerProcess) -> None:  # R1.5
    def ask(client: Connection, text: str) -> Any:
        return client.execute(text, prepare=True).fetchall()

    with server.connect() as client, server.connect() as other:
        three_versions(other)
        same, star = "SELECT n FROM customers WHERE id = 1", "SELECT * FROM customers"
        assert ask(client, same) == [(5,)]
        assert len(ask(client, star)) == 2
        other.execute("CALL morph.promote(4)")
        assert ask(client, same) == [(5,)]
        with pytest.raises(errors.FeatureNotSupported, match="cached plan must not change"):
            ask(client, star)


def test_a_transaction_of_ddl_is_one_change(server: ServerProcess) -> None:  # R1.5
    with server.connect(autocommit=False) as client:
        client.execute("ALTER TABLE customers RENAME COLUMN name TO full_name")
        client.execute("SAVEPOINT here")
        client.execute("ALTER TABLE customers DROP COLUMN n")
        client.execute("ROLLBACK TO here")
        client.execute("ALTER TABLE customers ADD COLUMN city text DEFAULT 'Rome'")
        client.commit()
        kinds = "SELECT version, kind FROM morph.changes WHERE version > 1 ORDER BY seq"
        assert rows(client, kinds) == [(2, "rename column"), (2, "add column")]
        assert rows(client, "SELECT * FROM v2.customers WHERE id = 1") == [
            (1, "Ann", "11", 5, "Rome")
        ]
        client.execute("SAVEPOINT s")
        client.execute("ALTER TABLE customers DROP COLUMN city")
        client.execute("ROLLBACK TO s")
        client.execute("ALTER TABLE customers DROP COLUMN phone")
        client.rollback()
        assert rows(client, "SELECT max(version) FROM morph.versions") == [(2,)]


def test_two_sessions_of_ddl_are_serialised(server: ServerProcess) -> None:  # R1.5
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            with server.connect() as client:
                for number in range(8):
                    client.execute(f"ALTER TABLE customers ADD COLUMN {name}{number} int")
        except Exception as error:  # noqa: BLE001 (told by the test)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with server.connect() as client:
        found = rows(client, "SELECT * FROM v17.customers LIMIT 0")
        assert found == []
        columns = "SELECT count(*) FROM morph.columns WHERE version = 17"
        assert rows(client, columns) == [(20,)]


def test_readers_and_writers_go_on_during_ddl(server: ServerProcess) -> None:  # R1.5
    failures: list[BaseException] = []
    stop = threading.Event()
    counts = [0, 0]

    def work(slot: int, texts: tuple[str, ...]) -> None:
        try:
            with server.connect() as client:
                while not stop.is_set():
                    for text in texts:
                        client.execute(text)
                    counts[slot] += 1
        except Exception as error:  # noqa: BLE001 (told by the test)
            failures.append(error)

    readers = ("SELECT id, n FROM customers WHERE id = 1", "SELECT * FROM v1.customers")
    writers = ("UPDATE customers SET n = n + 1 WHERE id = 2", "UPDATE v1.customers SET n = n + 1")
    threads = [
        threading.Thread(target=work, args=(slot, texts))
        for slot, texts in enumerate((readers, writers))
    ]
    for thread in threads:
        thread.start()
    with server.connect() as client:
        for number in range(2, 12):
            client.execute(f"ALTER TABLE customers ADD COLUMN x{number} text")
            client.execute(f"CALL morph.promote({number})")
        client.execute("CREATE INDEX ON customers (n)")
        client.execute("CALL morph.rollback(5)")
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert min(counts) > 0
    with server.connect() as client:
        assert rows(client, "SELECT n FROM customers WHERE id = 2") == [(6 + 2 * counts[1],)]


def test_the_table_oid_is_that_of_the_namespace(server: ServerProcess) -> None:  # R0.2
    with server.connect() as client:
        three_versions(client)
        for path in ("public", "v2", "v4"):
            client.execute(f"SET search_path = {path}")
            cursor = client.execute("SELECT id FROM customers")
            assert cursor.pgresult is not None
            (oid,) = rows(client, "SELECT 'customers'::regclass::oid")[0]
            assert cursor.pgresult.ftable(0) == oid


def test_fifty_tables_take_no_second(server: ServerProcess) -> None:  # R1.5
    with server.connect() as client:
        client.execute(
            ";".join(f"CREATE TABLE t{n} (id int PRIMARY KEY, a text, b int)" for n in range(50))
        )
        client.execute("SET statement_timeout = '15s'")  # bounds a blow-up
        client.execute("ALTER TABLE t7 RENAME COLUMN a TO c")
        client.execute("CALL morph.promote(2)")


@pytest.mark.parametrize("way", ["text", "pipeline"])
def test_a_version_chosen_within_a_batch(server: ServerProcess, way: str) -> None:  # R1.5
    """PostgreSQL reports search_path with ReadyForQuery; what stands before follows it, too."""
    new, old = (
        "SELECT full_name FROM customers WHERE id = 1",
        "SELECT name FROM customers WHERE id = 1",
    )

    def ask(client: Connection, *texts: str) -> list[str]:
        if way == "text":
            client.pgconn.send_query("; ".join(texts).encode())
            found = []
            while (result := client.pgconn.get_result()) is not None:
                found.append(result)
            failed = [r.error_field(DiagnosticField.SQLSTATE) for r in found if r.error_message]
            if failed:
                return [(failed[0] or b"").decode()]
            return [(r.get_value(0, 0) or b"").decode() for r in found if r.ntuples]
        try:
            with client.pipeline():
                cursors = [client.execute(text) for text in texts]
        except errors.Error as error:
            return [error.sqlstate or ""]
        return [cursor.fetchall()[0][0] for cursor in cursors if cursor.description]

    with server.connect(autocommit=True) as client:
        three_versions(client)
        assert ask(client, old, "SET search_path = v4", new) == ["Ann", "Ann"]
        assert ask(client, new) == ["Ann"]
        assert ask(client, "RESET search_path", old) == ["Ann"]
        assert ask(client, old) == ["Ann"]
        assert ask(client, "SELECT set_config('search_path', 'v4', false)", new) == ["v4", "Ann"]
        assert ask(client, "SET search_path = v1", "SELECT 1/0", old) == ["22012"]
        assert ask(client, new) == ["Ann"]  # what failed has set nothing
        assert ask(client, "BEGIN", "SET LOCAL search_path = v1", old) == ["Ann"]
        assert ask(client, old) == ["Ann"]
        assert ask(client, "COMMIT") == []
        assert ask(client, new) == ["Ann"]
        if way == "text":
            local = ("BEGIN", "SET LOCAL search_path = v1", old, "COMMIT", new)
            assert ask(client, *local) == ["Ann", "Ann"]
            assert ask(client, "SET LOCAL search_path = v1", old) == ["Ann"]
            assert ask(client, new) == ["Ann"]
            assert ask(client, "SET SCHEMA 'v1'", old, "DISCARD ALL") == ["25001"]
