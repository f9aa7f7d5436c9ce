"""Reads and writes of documents through a real client: transactions, errors, names, concurrency."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.integration.server_process import ServerProcess
from tests.integration.shop import rolled_back, shop_server

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def shop(open_directory: Path) -> Iterator[ServerProcess]:
    """A server with the shop sample."""
    directory = open_directory / "documents"
    directory.mkdir(mode=0o755)
    with shop_server(directory) as process:
        yield process


@pytest.fixture
def client(shop: ServerProcess) -> Iterator[Connection]:
    """A session whose writes are undone."""
    with rolled_back(shop) as connection:
        yield connection


def one(connection: Connection, text: str, parameters: Any = None) -> Any:
    """The only value of the only row."""
    row = connection.execute(text, parameters).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


# ---------------------------------------------------------------------- reads and writes


def test_fields_are_written_and_read(client: Connection) -> None:  # R0.3
    text = """UPDATE customers SET name = name || '!', "address.city" = %s, balance = balance + 1
        WHERE _id = %s RETURNING name LIKE '%%!', "address.city", address ->> 'city',
        new.balance - old.balance, _doc #>> '{address,city}'"""
    assert one(client, text, ("Roma", 1)) == (True, "Roma", "Roma", 1, "Roma")


def test_inserted_documents_have_their_fields_only(client: Connection) -> None:  # R0.3
    text = """INSERT INTO customers (_id, name, "address.city")
        VALUES (-1, %s, NULL), (-2, 'b', 'x') ON CONFLICT (_id) DO NOTHING RETURNING _doc"""
    rows = client.execute(text, ("a",)).fetchall()
    assert rows == [
        ({"_id": -1, "name": "a"},),
        ({"_id": -2, "name": "b", "address": {"city": "x"}},),
    ]


def test_a_query_with_a_star_is_inserted(client: Connection) -> None:  # R0.3
    client.execute("CREATE TEMP TABLE copied AS SELECT * FROM customers WHERE _id <= 3")
    client.execute("UPDATE copied SET _id = -_id")
    assert client.execute("INSERT INTO customers SELECT * FROM copied").rowcount == 3
    assert client.execute("INSERT INTO customers TABLE copied ON CONFLICT DO NOTHING").rowcount == 0
    text = """SELECT count(*) FROM customers a JOIN customers b ON a._id = -b._id
        WHERE a._doc - '_id' = b._doc - '_id' AND a._id > 0"""
    assert one(client, text) == 3


def test_elements_are_assigned(client: Connection) -> None:  # R0.3
    text = """UPDATE orders SET items[0]['qty'] = '9', tags[1] = %s WHERE _id = 2
        RETURNING items[0]['qty'], tags[1]"""
    assert one(client, text, ("first",)) == (9, "first")
    assert one(client, "SELECT qty FROM orders_items WHERE orders__id = 2 AND ordinality = 1") == 9


def test_a_whole_document_is_written(client: Connection) -> None:  # R0.3
    patch = '{"extra": [1], "created_at": {"$date": "2020-02-29T12:00:00Z"}}'
    text = (
        "UPDATE orders SET _doc = _doc || %s::jsonb WHERE _id = 1 RETURNING created_at::text, _doc"
    )
    created, document = one(client, text, (patch,))
    assert created == "2020-02-29 12:00:00+00"
    assert document["extra"] == [1]
    assert document["_id"] == 1
    assert one(client, "SELECT _doc FROM orders WHERE _doc @> '{\"extra\": [1]}'") == document


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE customers SET address = '{\"city\": 5}' WHERE _id = 1",
        "UPDATE customers SET _doc = _doc || '{\"name\": 5}' WHERE _id = 1",
        'INSERT INTO customers (_doc) VALUES (\'{"_id": -1, "balance": "much"}\')',
        'UPDATE orders SET items = \'[{"qty": "many"}]\' WHERE _id = 1',
    ],
)
def test_misfits_are_refused(client: Connection, text: str) -> None:  # R0.3, DESIGN 7.8
    with pytest.raises(errors.InvalidTextRepresentation) as raised:
        client.execute(text)
    assert raised.value.diag.message_hint is not None
    assert "morphgres load" in raised.value.diag.message_hint


# ---------------------------------------------------------------------- errors are PostgreSQL's


@pytest.mark.parametrize(
    ("sqlstate", "at", "text"),
    [
        ("42703", "nosuch", "UPDATE customers SET nosuch = 1"),
        ("42804", "5", "UPDATE customers SET name = 'x', newsletter = 5"),
        ("22P02", "'x'", "UPDATE customers SET referred_by = 'x'"),
        ("42601", "", "UPDATE customers SET name = 'x', name = 'y'"),
        ("42703", "nosuch", "SELECT nosuch FROM customers"),
        ("42703", "nosuch", "UPDATE customers SET name = 'x' WHERE _id = 1 AND nosuch = 1"),
        ("23505", "", "INSERT INTO customers (_id) VALUES (1)"),
        ("55000", "", "UPDATE orders_items SET qty = 1"),
        ("0A000", "customers", "SELECT * FROM customers TABLESAMPLE SYSTEM (1)"),
        ("42501", "", "DO $$ BEGIN EXECUTE 'SELECT 1 FROM customers'; END $$"),
        ("42939", "", "SELECT * FROM morph_v1.customers"),
    ],
)
def test_errors_are_those_of_the_clients_text(
    client: Connection, sqlstate: str, at: str, text: str
) -> None:  # R0.1
    with pytest.raises(psycopg.Error) as raised:
        client.execute(text)
    diag = raised.value.diag
    assert diag.sqlstate == sqlstate
    if at:
        assert text[int(diag.statement_position or 0) - 1 :].startswith(at)
    words = f"{diag.message_primary} {diag.message_detail}"
    assert "_store_doc" not in words
    assert "morph_w" not in words


def test_where_current_of_is_not_supported(client: Connection) -> None:  # R0.3
    client.execute("DECLARE c CURSOR FOR SELECT * FROM customers FOR UPDATE")
    client.execute("FETCH c")
    with pytest.raises(errors.FeatureNotSupported):
        client.execute("UPDATE customers SET name = 'x' WHERE CURRENT OF c")


# ---------------------------------------------------------------------- names


def test_temporary_relations_hide_the_stores(client: Connection) -> None:  # R0.3
    client.execute("CREATE TEMP TABLE orders (a int)")
    client.execute("INSERT INTO orders VALUES (7)")
    assert one(client, "SELECT a FROM orders") == 7
    assert one(client, "SELECT count(*) > 1000 FROM public.orders") is True
    client.execute("UPDATE public.orders SET note = 'x' WHERE _id = 1")
    client.execute("DROP TABLE orders")
    assert one(client, "SELECT note FROM orders WHERE _id = 1") == "x"
    client.execute("CREATE TEMP VIEW customers AS SELECT 1 AS x")
    assert one(client, "SELECT x FROM customers") == 1


def test_a_path_of_several_versions(client: Connection) -> None:  # R0.3
    client.execute("SET LOCAL search_path = pg_temp, v1, public")
    assert one(client, "SELECT count(*) FROM customers WHERE _id = 1") == 1
    client.execute("SET LOCAL search_path = nosuch")
    with pytest.raises(errors.UndefinedTable):
        client.execute("SELECT 1 FROM customers")


def test_prepared_statements_follow_the_path(shop: ServerProcess) -> None:  # R0.1
    with shop.connect(prepare_threshold=0) as connection:
        for path in ("public", "v1", "v1, public"):
            connection.execute(f"SET search_path = {path}")
            for _ in range(3):
                assert one(connection, "SELECT _id FROM customers WHERE _id = %s", (5,)) == 5


def test_literals_and_comments_stay(client: Connection) -> None:  # R0.3
    text = """SELECT 'orders', $q$FROM orders$q$, E'\\'orders' /* orders */
        FROM orders -- orders
        LIMIT 1"""
    assert one(client, text) == ("orders", "FROM orders", "'orders")


def test_many_statements_and_long_lists(client: Connection) -> None:  # R0.1
    cursor = client.execute(
        "UPDATE orders SET note = 'm' WHERE _id = 1; "
        "SELECT note FROM orders WHERE _id = 1; SELECT 2"
    )
    results = []
    while True:
        results.append(cursor.fetchall() if cursor.description else cursor.rowcount)
        if not cursor.nextset():
            break
    assert results == [1, [("m",)], [(2,)]]
    numbers = ", ".join(map(str, range(1, 20_001)))
    assert one(client, f"SELECT count(*) FROM orders WHERE _id IN ({numbers})") == 20_000


# ---------------------------------------------------------------------- concurrency


def test_no_update_of_a_field_is_lost(shop: ServerProcess) -> None:  # DESIGN 7.1
    rounds = 40
    with shop.connect() as connection:
        connection.execute("INSERT INTO customers (_id, balance) VALUES (-100, 0)")
    faults: list[BaseException] = []

    def work(field: str) -> None:
        try:
            with shop.connect() as connection:
                for _ in range(rounds):
                    connection.execute(
                        f"UPDATE customers SET {field} = coalesce({field}, 0) + 1, "
                        "balance = balance + 1 WHERE _id = -100"
                    )
        except BaseException as fault:  # noqa: BLE001 (told by the main thread)
            faults.append(fault)

    threads = [threading.Thread(target=work, args=("referred_by",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    with shop.connect() as connection:
        text = "DELETE FROM customers WHERE _id = -100 RETURNING balance, referred_by"
        assert one(connection, text) == (3 * rounds, 3 * rounds)


def test_a_waiting_update_sees_the_committed_row(shop: ServerProcess) -> None:  # DESIGN 7.1
    with shop.connect() as first, shop.connect() as second:
        first.execute("INSERT INTO customers (_id, balance) VALUES (-101, 1)")
        first.execute("BEGIN")
        first.execute("UPDATE customers SET balance = 10 WHERE _id = -101")
        done: list[Any] = []

        def wait() -> None:
            text = """UPDATE customers SET (balance, name) = (SELECT customers.balance * 2, 'w')
                WHERE _id = -101 AND balance < 100 RETURNING balance"""
            done.append(one(second, text))

        thread = threading.Thread(target=wait)
        thread.start()
        first.execute("COMMIT")
        thread.join()
        assert done == [20]
        first.execute("DELETE FROM customers WHERE _id = -101")


# ---------------------------------------------------------------------- other paths


def fetched(connection: Connection, text: str) -> list[Any]:
    """All rows."""
    return connection.execute(text).fetchall()


def test_paths_are_columns_or_one_column(client: Connection) -> None:  # R4.1
    """What lies in the store's documents gets another path; whatever is beside it stays."""
    client.execute("SET morph.ddl_mode = virtual")
    client.execute("INSERT INTO customers (_id, _doc) VALUES (-1, %s)", [json.dumps(
        {"_id": -1, "address": {"city": "Wien", "floor": {"door": 7}}}
    )])  # fmt: skip
    client.execute(
        """CALL morph.unnest_column('customers', 'address', """
        """'{"town": "text", "city": "text", "floor.door": "integer"}')"""
    )
    shown = """SELECT city, "floor.door", town FROM v{}.customers WHERE _id = -1"""
    number = fetched(client, "SELECT max(version) FROM morph.versions")[0][0]
    assert fetched(client, shown.format(number)) == [("Wien", 7, None)]
    client.execute(
        f"""UPDATE v{number}.customers SET "floor.door" = 8, town = 'W' WHERE _id = -1"""
    )
    one = "SELECT address FROM v{}.customers WHERE _id = -1"
    changed = {"city": "Wien", "town": "W", "floor": {"door": 8}}
    assert fetched(client, one.format(1)) == [(changed,)]
    client.execute("""UPDATE v1.customers SET address = '{"town": 5}' WHERE _id = -1""")
    assert fetched(client, shown.format(number)) == [(None, None, None)]
    client.execute(f"UPDATE v{number}.customers SET city = 'X' WHERE _id = -1")
    assert fetched(client, one.format(1)) == [({"city": "X", "town": 5},)]
    client.execute("CALL morph.nest_columns('customers', 'home', '{town,city,floor.door}')")
    client.execute(f"SET search_path = v{number}")
    assert fetched(client, "SELECT home FROM customers WHERE _id = -1") == [
        ({"city": "X", "town": 5},)
    ]
