"""INSERT, UPDATE, DELETE, MERGE and COPY into foreign tables leave in the store, and answer, what
PostgreSQL leaves and answers (R0.4, R1.8); a row that somebody else changed is never overwritten.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess
from tests.services.conftest import PROPERTY
from tests.services.federation.items import (
    ITEMS,
    change_qty,
    make_items,
    stored_ids,
)
from tests.services.federation.judging import Judge, Outcome, outcome
from tests.services.federation.loading import fill_table, run
from tests.services.federation.placing import SINGLE, create_server_text
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
ROWS = "SELECT * FROM items ORDER BY id"

SCRIPTS: dict[str, tuple[str, ...]] = {
    "insert": ("INSERT INTO items (id, name, tags) VALUES (20, 'new', '{x,\"y z\"}')",),
    "insert-several": ("INSERT INTO items VALUES (21, 'a'), (22, NULL), (23, '', 0, 1.50)",),
    "insert-returning": (
        "INSERT INTO items (id, qty) VALUES (20, 1), (21, 2) RETURNING *",
        "INSERT INTO items AS i (id, price) VALUES (22, 9.90) RETURNING i.id + 1 AS next, price",
    ),
    "insert-select": ("INSERT INTO items SELECT id + 100, upper(name) FROM items WHERE id < 4",),
    "insert-cte": (
        "WITH fresh AS (SELECT g, 'n' || g AS n FROM generate_series(30, 33) g) "
        "INSERT INTO items (id, name) SELECT * FROM fresh RETURNING id",
    ),
    "insert-in-cte": (
        "WITH made AS (INSERT INTO items (id, qty) VALUES (40, 4) RETURNING *) "
        "SELECT id, qty * 2 FROM made",
    ),
    "insert-nothing": ("INSERT INTO items SELECT * FROM items WHERE false",),
    "insert-defaults-refused": ("INSERT INTO items DEFAULT VALUES",),
    "insert-duplicate": ("INSERT INTO items (id) VALUES (50), (3), (51)",),
    "insert-duplicate-itself": ("INSERT INTO items (id) VALUES (50), (50)",),
    "insert-wrong-type": ("INSERT INTO items (id, qty) VALUES (50, 'many')",),
    "insert-null-key": ("INSERT INTO items (name) VALUES ('x')",),
    "conflict-nothing": (
        "INSERT INTO items (id, name) VALUES (3, 'no'), (60, 'yes') ON CONFLICT DO NOTHING "
        "RETURNING id",
        "INSERT INTO items (id) VALUES (3) ON CONFLICT (id) DO NOTHING",
    ),
    "conflict-update": (
        "INSERT INTO items (id, name, qty) VALUES (3, 'up', 9), (60, 'in', 9) ON CONFLICT (id) "
        "DO UPDATE SET name = excluded.name, qty = items.qty + excluded.qty "
        "RETURNING id, name, qty",
        "INSERT INTO items (id, qty) VALUES (1, 5), (2, 5) ON CONFLICT (id) DO UPDATE "
        "SET qty = excluded.qty WHERE items.id = 2 RETURNING *",
    ),
    "conflict-selected": (
        "INSERT INTO items (id, name) SELECT id, 'k' FROM items WHERE id < 3 ON CONFLICT (id) "
        "DO UPDATE SET name = excluded.name || items.qty RETURNING id, name",
        "INSERT INTO items (id, name) VALUES (3, 'v') ON CONFLICT (id) DO UPDATE "
        "SET name = (SELECT max(i.name) FROM items i WHERE i.id > 4) RETURNING id, name",
        "INSERT INTO items (id, qty) SELECT i.id, 1 FROM items i WHERE i.id < 5 ON CONFLICT (id) "
        "DO UPDATE SET qty = (SELECT count(*) FROM items j)",
    ),
    "conflict-twice": (
        "INSERT INTO items (id, qty) VALUES (3, 1), (3, 2) ON CONFLICT (id) DO UPDATE SET qty = 0",
    ),
    "update": ("UPDATE items SET name = 'x' WHERE id = 4",),
    "update-all": ("UPDATE items SET qty = coalesce(qty, 0) + 1",),
    "update-returning": (
        "UPDATE items SET price = price * 2, name = NULL WHERE id < 3 RETURNING id, price, name",
        "UPDATE items i SET (qty, city) = (id, 'Bern') WHERE i.city IS NULL RETURNING i.*",
        "UPDATE items SET qty = 1 WHERE id = 1 RETURNING old.qty, new.qty",
    ),
    "update-nested": ("UPDATE items SET city = 'Paris' WHERE city = 'Rome'", "TABLE items"),
    "update-to-null": ("UPDATE items SET city = NULL, qty = NULL, tags = NULL, price = NULL",),
    "update-nothing": ("UPDATE items SET qty = 1 WHERE id > 1000",),
    "update-same": ("UPDATE items SET qty = qty RETURNING id",),
    "update-from": (
        "UPDATE items SET qty = v.n FROM (VALUES (1, 100), (2, 200)) v(i, n) WHERE items.id = v.i",
        "UPDATE items a SET name = b.name FROM items b WHERE b.id = a.id + 1 RETURNING a.id",
    ),
    "update-subquery": (
        "UPDATE items SET price = (SELECT max(price) FROM items) WHERE id IN "
        "(SELECT id FROM items ORDER BY id DESC LIMIT 2)",
    ),
    "update-division": ("UPDATE items SET qty = 10 / (id - 5)",),
    "update-array": (
        "UPDATE items SET tags = tags || 'c' WHERE tags IS NOT NULL",
        "UPDATE items SET tags[1] = 'z' WHERE id = 2",
    ),
    "delete": ("DELETE FROM items WHERE id = 2",),
    "delete-all": ("DELETE FROM items",),
    "delete-returning": ("DELETE FROM items WHERE city = 'Oslo' RETURNING *",),
    "delete-using": ("DELETE FROM items USING (VALUES (1), (3)) v(i) WHERE id = i RETURNING i",),
    "delete-null": ("DELETE FROM items WHERE qty IS NULL OR qty > 2 RETURNING id",),
    "merge": (
        "MERGE INTO items t USING (VALUES (1, 'one'), (2, NULL), (70, 'new')) s(id, name) "
        "ON t.id = s.id WHEN MATCHED AND s.name IS NULL THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET name = s.name "
        "WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name) "
        "RETURNING merge_action(), t.id",
    ),
    "merge-by-source": (
        "MERGE INTO items t USING (SELECT 1 AS id) s ON t.id = s.id "
        "WHEN NOT MATCHED BY SOURCE AND t.id > 8 THEN DELETE WHEN MATCHED THEN DO NOTHING",
    ),
}


@pytest.fixture(scope="module", params=SINGLE)
def store(
    request: pytest.FixtureRequest, morphgres: ServerProcess, servers: Fleet
) -> RunningServer:
    """One store after the other, on an empty catalog with the server s."""
    empty_catalog(morphgres)
    server = servers.get(request.param)
    with morphgres.connect() as client:
        run(client, create_server_text("s", server))
    return server


@pytest.fixture
def client(
    morphgres: ServerProcess,
    store: RunningServer,
    record_property: Callable[[str, object], None],
) -> Iterator[Connection]:
    """A session; items are as they were made."""
    record_property(PROPERTY, store.label)
    with morphgres.connect() as connection:
        make_items(connection, store, "s")
        yield connection


@pytest.fixture(scope="module")
def written(judge: Judge) -> Callable[[tuple[str, ...]], list[Outcome]]:
    """What PostgreSQL says to a script and to ROWS behind it."""
    fill_table(judge.connection, ITEMS, "items")

    def answer(script: tuple[str, ...]) -> list[Outcome]:
        fill_table(judge.connection, ITEMS, "items")
        return [outcome(judge.connection, text) for text in (*script, ROWS)]

    return answer


@pytest.mark.parametrize("mode", ["on", "off"])
@pytest.mark.parametrize("name", list(SCRIPTS))
def test_writes_as_postgresql(
    client: Connection,
    store: RunningServer,
    written: Callable[[tuple[str, ...]], list[Outcome]],
    name: str,
    mode: str,
) -> None:
    run(client, f"SET morph.pushdown = {mode}")
    script = SCRIPTS[name]
    found = [outcome(client, text) for text in (*script, ROWS)]
    expected = written(script)
    for text, ours, theirs in zip((*script, ROWS), found, expected, strict=True):
        if text != ROWS:
            ours, theirs = ours.sorted(), theirs.sorted()
        assert ours == theirs, text
    assert stored_ids(store) == [int(row[0] or 0) for row in expected[-1].rows]


def test_parameters_of_writes(client: Connection) -> None:  # R1.8
    insert = "INSERT INTO items (id, name, price, at) VALUES (%s, %s, %s, %s) RETURNING id"
    with client.cursor(binary=True) as cursor:
        cursor.executemany(insert, [(80 + n, f"p{n}", n, "2024-01-01") for n in range(5)])
    update = "UPDATE items SET price = price + %s WHERE id = ANY (%s) RETURNING price"
    assert client.execute(update, [1, [81, 82, 999]]).fetchall() == [(2,), (3,)]
    gone = client.execute("DELETE FROM items WHERE name LIKE %s", ["p%"]).rowcount
    assert gone == 5


def test_a_given_key_is_kept(client: Connection, store: RunningServer) -> None:  # PEERS 3.6
    client.execute("INSERT INTO items (id, name) VALUES (4242, 'mine')")
    assert 4242 in stored_ids(store)


def test_a_failed_insert_leaves_nothing_or_says_so(  # R1.8
    client: Connection, store: RunningServer
) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        client.execute("INSERT INTO items (id) VALUES (90), (91), (3), (92)")
    left = set(stored_ids(store)) & {90, 91, 92}
    assert not left or "stay" in (caught.value.diag.message_detail or ""), (
        left,
        caught.value.diag.message_detail,
    )


def test_copy_in(client: Connection, store: RunningServer) -> None:  # R0.1 R1.8
    with client.cursor().copy("COPY items (id, name, qty) FROM STDIN") as copy:
        for n in range(100, 350):
            copy.write_row((n, f"copied {n}", None if n % 2 else n))
    assert len(stored_ids(store)) == 260
    found = client.execute("SELECT count(*), count(qty), max(name) FROM items WHERE id >= 100")
    assert found.fetchone() == (250, 125, "copied 349")
    with (
        pytest.raises(psycopg.errors.UniqueViolation),
        client.cursor().copy("COPY items (id) FROM STDIN") as copy,
    ):
        copy.write_row((3,))
    with (
        pytest.raises(psycopg.errors.InvalidTextRepresentation),
        client.cursor().copy("COPY items (id) FROM STDIN") as copy,
    ):
        copy.write("1000\nmany\n")
    assert 1000 not in stored_ids(store)


@pytest.mark.parametrize("change", ["UPDATE items SET qty = qty + 1", "DELETE FROM items"])
def test_a_row_that_changed_meanwhile_is_not_overwritten(  # R1.8: 40001
    client: Connection, store: RunningServer, change: str
) -> None:
    errors: list[psycopg.Error] = []

    def write() -> None:
        try:
            run(client, f"{change} WHERE id = 7 AND pg_sleep(2) IS NOT NULL")
        except psycopg.Error as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(1)  # the row is read, the statement sleeps
    change_qty(store, 7, 700)
    writer.join()
    assert [error.sqlstate for error in errors] == ["40001"]
    assert client.execute("SELECT qty FROM items WHERE id = 7").fetchall() == [(700,)]
    run(client, f"{change} WHERE id = 7")  # once more, and nobody is in the way
    assert client.execute("SELECT qty FROM items WHERE id = 7").fetchall() in ([(701,)], [])


def test_a_key_is_changed_where_the_store_can(  # R1.8
    client: Connection, store: RunningServer
) -> None:
    text = "UPDATE items SET id = 1000, qty = 9 WHERE id = 1 RETURNING id, name, qty"
    if store.kind == "postgres":
        assert client.execute(text).fetchall() == [(1000, "item 1", 9)]
        with pytest.raises(psycopg.errors.UniqueViolation):
            client.execute("UPDATE items SET id = 3 WHERE id = 2")
        assert stored_ids(store) == [*range(2, 11), 1000]
        return
    with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
        client.execute(text)
    assert caught.value.diag.message_primary == (
        'key column "id" of foreign table "items" cannot be changed'
    )
    assert caught.value.diag.message_hint == "Delete the row and insert another one."
    assert stored_ids(store) == list(range(1, 11))


def test_what_cannot_be_written_says_why(client: Connection) -> None:  # R1.8
    refused = {
        "SELECT * FROM items FOR UPDATE": "cannot be locked",
        "TRUNCATE items": "",
    }
    for text, words in refused.items():
        with pytest.raises(psycopg.Error) as caught:
            run(client, text)
        assert caught.value.sqlstate in ("0A000", "42809"), (text, str(caught.value))
        assert words in str(caught.value)
    assert len(client.execute("TABLE items").fetchall()) == len(ITEMS.rows)
