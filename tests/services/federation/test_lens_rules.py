"""What holds for a column of a foreign table in another form, in every kind of store: nothing is
rounded silently and nothing is kept in the store's rows, what was not changed stays as it is to the
digit, and the ways into and out of a statement (COPY, prepared, cursors, transactions) all go
through it (R4.2, R1.8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess
from tests.services.conftest import PROPERTY
from tests.services.federation.items import ITEMS, make_items
from tests.services.federation.loading import cassandra_session, mongodb_client, run
from tests.services.federation.placing import NAMESPACE, SINGLE, create_server_text
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
SPLIT = (
    "CALL morph.split_column('items', 'name', "
    "'{\"kind\": \"split_part(name, '' '', 1)\", "
    "\"number\": \"split_part(name, '' '', 2)::int\"}', 'kind || '' '' || number')"
)
VERSIONS = (
    "ALTER TABLE items ALTER COLUMN price TYPE double precision, ALTER COLUMN qty TYPE smallint",
    SPLIT,
    "ALTER TABLE items RENAME COLUMN price TO cost",
    "ALTER TABLE items ALTER COLUMN cost TYPE numeric(6,1)",
    "ALTER TABLE items ALTER COLUMN city SET DEFAULT 'Bern', ALTER COLUMN at SET NOT NULL",
    "ALTER TABLE items DROP COLUMN kind, DROP COLUMN cost",
)
"""v2 to v7."""


@pytest.fixture(scope="module", params=SINGLE)
def store(
    request: pytest.FixtureRequest, morphgres: ServerProcess, servers: Fleet
) -> RunningServer:
    """One store after the other, with all versions of items."""
    empty_catalog(morphgres)
    server = servers.get(request.param)
    with morphgres.connect() as client:
        run(client, create_server_text("s", server))
        make_items(client, server, "s")
        run(client, "SET morph.ddl_mode = virtual")
        for text in VERSIONS:
            run(client, text)
    return server


@pytest.fixture
def client(
    morphgres: ServerProcess,
    store: RunningServer,
    record_property: Callable[[str, object], None],
) -> Iterator[Connection]:
    """A session in the second version; the rows are as they were made."""
    record_property(PROPERTY, store.label)
    with morphgres.connect() as connection:
        make_items(connection, store, "s")
        run(connection, "SET search_path = v2")
        yield connection


def rows(client: Connection, text: str) -> list[tuple[Any, ...]]:
    """What a statement answers."""
    return client.execute(text.encode()).fetchall()


def refused(client: Connection, text: str) -> psycopg.DataError:
    """The error of class 22 that a statement ends with."""
    with pytest.raises(psycopg.DataError) as caught:
        run(client, text)
    return caught.value


OLD = "SELECT * FROM v1.items ORDER BY id"


# ------------------------------------------------------------------ nothing is rounded (rule 9)


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE items SET price = 0.1::real WHERE id = 3",
        "UPDATE items SET price = 7, qty = qty + 1 WHERE id = 2; "
        "UPDATE items SET price = 0.1::real WHERE id = 3",
        "INSERT INTO items (id, price) VALUES (20, 1.5), (21, 0.1::real)",
        "INSERT INTO items (id, price) VALUES (3, 0.1::real) ON CONFLICT (id) DO UPDATE "
        "SET price = excluded.price",
        "MERGE INTO items t USING (SELECT 3 AS id) s ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET price = 0.1::real",
        "MERGE INTO items t USING (SELECT 33 AS id) s ON t.id = s.id "
        "WHEN NOT MATCHED THEN INSERT (id, price) VALUES (33, 0.1::real)",
        "UPDATE items SET price = 0.1::real RETURNING *",
    ],
)
def test_a_value_that_would_come_back_as_another_is_refused(client: Connection, text: str) -> None:
    run(client, "SET morph.store_writes = at_commit")
    before = rows(client, OLD)
    error = refused(client, text)
    assert error.sqlstate == "22000"
    assert error.diag.message_primary == 'the store cannot keep the value of column "price"'
    assert error.diag.message_detail == (
        'Foreign table "items" has it as numeric in its store: '
        "0.10000000149011612 would come back as 0.100000001490116."
    )
    assert "Promote this version" in (error.diag.message_hint or "")
    assert rows(client, OLD) == before


def test_a_part_that_is_not_kept_is_refused(client: Connection) -> None:
    before = rows(client, OLD)
    error = refused(client, "UPDATE v3.items SET kind = 'a b' WHERE id = 3")
    assert error.diag.message_primary == 'the store cannot keep the value of column "kind"'
    assert rows(client, OLD) == before


def test_what_a_row_shows_already_changes_nothing(client: Connection) -> None:  # GetPut
    run(client, "INSERT INTO v1.items (id, name, price, qty) VALUES (80, 'item 80', 1.2500, 1)")
    digits = "SELECT id, price::text, qty, name FROM v1.items ORDER BY id"
    before = rows(client, digits)
    assert (80, "1.2500", 1, "item 80") in before
    for text in (
        "UPDATE items SET price = price, qty = qty",
        "UPDATE items SET price = 1.25 WHERE id = 80",
        "UPDATE v3.items SET kind = kind, number = number + 0, qty = qty",
        "UPDATE v5.items SET cost = cost",
    ):
        run(client, text)
        assert rows(client, digits) == before, text


def test_values_that_the_new_form_has_none_for(client: Connection) -> None:
    run(client, "UPDATE v1.items SET qty = 70000 WHERE id IN (1, 2, 3)")
    assert refused(client, "SELECT qty FROM items WHERE id = 1").sqlstate == "22003"
    assert rows(client, "SELECT id, price FROM items WHERE id = 1") == [(1, 1.25)]
    run(client, "UPDATE items SET name = 'still', price = 2 WHERE id = 1")
    run(client, "UPDATE items SET qty = 7 WHERE id = 2")
    run(client, "UPDATE items SET qty = NULL WHERE id = 3")
    run(client, "DELETE FROM items WHERE id = 4")
    assert rows(client, "SELECT id, name, qty FROM v1.items WHERE id < 5 ORDER BY id") == [
        (1, "still", 70000),
        (2, "item 2", 7),
        (3, "item 3", None),
    ]
    run(client, "UPDATE items SET qty = 5")  # of all rows, one of which shows nothing
    assert rows(client, "SELECT DISTINCT qty FROM v1.items") == [(5,)]


# ------------------------------------------------------------------ ways in and out


def test_copy(client: Connection) -> None:
    with client.cursor() as cursor:
        with cursor.copy("COPY items (id, price, qty) FROM STDIN") as copy:
            for number in range(3):
                copy.write_row((20 + number, number / 4, number))
        with cursor.copy("COPY items FROM STDIN (FORMAT csv)") as copy:
            copy.write("30,thirty,3,2.5,Rome,2024-01-01 00:00+00,{a}\n")
        with cursor.copy("COPY (SELECT id, price, qty FROM items WHERE id > 19) TO STDOUT") as out:
            found = sorted(out.rows())
    assert found == [("20", "0", "0"), ("21", "0.25", "1"), ("22", "0.5", "2"), ("30", "2.5", "3")]
    old = rows(client, "SELECT price::text, qty FROM v1.items WHERE id > 19 ORDER BY id")
    assert old == [("0", 0), ("0.25", 1), ("0.5", 2), ("2.5", 3)]
    with (
        pytest.raises(psycopg.DataError, match="cannot keep"),
        client.cursor() as cursor,
        cursor.copy("COPY items (id, price) FROM STDIN") as copy,
    ):
        copy.write_row((40, "0.10000000149011612"))
    assert rows(client, "SELECT count(*) FROM items WHERE id > 39") == [(0,)]


def test_parameters_and_prepared_statements(client: Connection) -> None:
    with client.cursor(binary=True) as cursor:
        insert = "INSERT INTO items (id, price, qty) VALUES (%s, %s, %s)"
        cursor.executemany(insert, [(50 + n, n / 2, n) for n in range(4)])
        for _ in range(7):  # psycopg prepares it on the way
            cursor.execute("SELECT id, price FROM items WHERE id = %s AND qty = %s", [51, 1])
            assert cursor.fetchall() == [(51, 0.5)]
            cursor.execute("SELECT city, name FROM items WHERE id = %s", [3])
            assert cursor.fetchall() == [("Rome", "item 3")]
    run(client, "PREPARE up (float8, bigint) AS UPDATE items SET price = price + $1 WHERE id = $2")
    run(client, "EXECUTE up (0.25, 51)")
    run(client, "PREPARE one AS SELECT price FROM items WHERE id = $1")
    assert rows(client, "SELECT price FROM items WHERE id = 51") == [(0.75,)]
    assert client.execute("EXECUTE one (51)").fetchall() == [(0.75,)]


def test_cursors_and_derived_tables(client: Connection) -> None:
    with client.transaction():
        run(client, "DECLARE c CURSOR FOR SELECT id, price FROM items ORDER BY price DESC")
        assert client.execute("FETCH 2 FROM c").fetchall() == [(10, 12.5), (9, 11.25)]
    run(client, "CREATE TEMP TABLE kept AS SELECT id, price, qty FROM items WHERE price > 10")
    assert rows(client, "SELECT pg_typeof(price)::text, max(qty) FROM kept GROUP BY 1") == [
        ("double precision", 2)
    ]


def test_transactions(client: Connection) -> None:
    run(client, "SET morph.store_writes = at_commit")
    before = rows(client, OLD)
    run(client, "BEGIN")
    run(client, "UPDATE items SET price = 100, qty = 9 WHERE id = 1")
    run(client, "INSERT INTO items (id, price) VALUES (60, 0.5)")
    run(client, "DELETE FROM items WHERE id = 2")
    seen = "SELECT id, price, qty FROM items WHERE id IN (1, 2, 60) ORDER BY id"
    assert rows(client, seen) == [(1, 100.0, 9), (60, 0.5, None)]
    old = seen.replace("FROM items", "FROM v1.items")
    assert rows(client, old) == [(1, 100, 9), (60, 0.5, None)]
    run(client, "UPDATE v1.items SET qty = 11 WHERE id = 1")
    assert rows(client, "SELECT qty FROM items WHERE id = 1") == [(11,)]
    run(client, "ROLLBACK")
    assert rows(client, OLD) == before
    with client.transaction():
        run(client, "UPDATE items SET price = 100 WHERE id = 1")
        run(client, "UPDATE v3.items SET number = 100 WHERE id = 1")
    assert rows(client, "SELECT price, name FROM v1.items WHERE id = 1") == [(100, "item 100")]


def test_explain_says_why(client: Connection) -> None:
    def explained(text: str) -> str:
        found = client.execute(sql.SQL("EXPLAIN (VERBOSE) {}").format(sql.SQL(text))).fetchall()
        return "\n".join(line for (line,) in found)

    rows(client, "SELECT name FROM items WHERE id = 4")  # Cassandra's table is known from now on
    text = explained("SELECT name FROM items WHERE price > 3 AND id = 4")
    assert 'Pushed: ("id" = 4)' in text, text
    assert "Reason: price has another form in the store" in text
    assert "tier 2" in text
    assert "tier 2" in explained("SELECT price FROM items WHERE id = 4")
    alone = explained("SELECT name, city FROM items WHERE id = 4")
    assert "tier 1 (answered by the store)" in alone
    assert "another form" not in alone


def test_whole_documents(client: Connection, store: RunningServer) -> None:
    if store.kind != "mongodb":
        with pytest.raises(psycopg.errors.UndefinedColumn):
            run(client, "SELECT _doc FROM items")
        return
    shown = "SELECT _doc->>'price', _doc->>'name' FROM {} WHERE _doc->>'_id' = '2'"
    assert rows(client, shown.format("v1.items")) == [("2.50", "item 2")]
    assert rows(client, shown.format("items")) == [("2.5", "item 2")]
    third = "SELECT _doc->>'kind', _doc->>'number', _doc->'name' FROM v3.items WHERE id = 2"
    assert rows(client, third) == [("item", "2", None)]
    run(client, "UPDATE items SET name = _doc->>'price' WHERE id = 2")
    assert rows(client, "SELECT name FROM items WHERE id = 2") == [("2.5",)]
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="_doc"):
        run(client, "INSERT INTO items (id, _doc) VALUES (50, '{\"a\": 1}')")


# ------------------------------------------------------------------ later versions


def test_split_columns(client: Connection) -> None:
    run(client, "SET search_path = v3")
    assert rows(client, "SELECT kind, number FROM items WHERE number = 2") == [("item", 2)]
    run(client, "UPDATE items SET number = number * 10 WHERE id = 2")
    run(client, "INSERT INTO items (id, kind, number) VALUES (40, 'thing', 4)")
    old = rows(client, "SELECT name FROM v1.items WHERE id IN (2, 40) ORDER BY id")
    assert old == [("item 20",), ("thing 4",)]


def test_a_part_that_is_dropped_keeps_its_value(client: Connection) -> None:
    run(client, "SET search_path = v7")
    run(client, "UPDATE items SET number = 77 WHERE id = 2")
    assert rows(client, "SELECT name FROM v1.items WHERE id = 2") == [("item 77",)]
    run(client, "INSERT INTO items (id, at) VALUES (41, '2024-01-01')")
    assert rows(client, "SELECT name, price FROM v1.items WHERE id = 41") == [(None, None)]
    # The other part of the name is not there to be given.
    refused(client, "INSERT INTO items (id, number, at) VALUES (42, 5, '2024-01-01')")


def test_a_form_over_a_form(client: Connection) -> None:
    run(client, "SET search_path = v5")
    assert rows(client, "SELECT cost::text FROM items WHERE id = 1") == [("1.3",)]
    assert rows(client, "UPDATE items SET cost = cost + 1 WHERE id < 3 RETURNING cost::text") in (
        [("2.3",), ("3.5",)],
        [("3.5",), ("2.3",)],
    )
    old = rows(client, "SELECT price::text FROM v1.items WHERE id < 3 ORDER BY id")
    assert old == [("2.3",), ("3.5",)]
    assert rows(client, "SELECT cost FROM v4.items WHERE id = 1") == [(2.3,)]


def test_defaults_and_not_null(client: Connection) -> None:
    run(client, "SET search_path = v6")
    run(client, "INSERT INTO items (id, at) VALUES (42, '2024-01-01')")
    assert rows(client, "SELECT city FROM v1.items WHERE id = 42") == [("Bern",)]
    with pytest.raises(psycopg.errors.NotNullViolation):
        run(client, "INSERT INTO items (id) VALUES (43)")


REFUSED = {
    "ALTER TABLE items ALTER COLUMN id TYPE text": "0A000",  # its key
    "ALTER TABLE items ALTER COLUMN number TYPE text USING random()::text": "42P17",
    "ALTER TABLE items ALTER COLUMN tags TYPE int USING cardinality(tags)": "0A000",
    "ALTER TABLE items ALTER COLUMN at TYPE int": "42804",
    "ALTER TABLE items ADD COLUMN name text": "0A000",  # number shows a part of it
    "ALTER TABLE items ALTER COLUMN nowhere TYPE int": "42703",
    "SET morph.ddl_mode = direct; ALTER TABLE items ALTER COLUMN tags TYPE text": "0A000",
}


@pytest.mark.parametrize("text", list(REFUSED))
def test_refused_changes(client: Connection, text: str) -> None:
    run(client, "SET search_path = public")
    versions = rows(client, "SELECT count(*) FROM morph.versions")
    with pytest.raises(psycopg.Error) as caught:
        run(client, text)
    assert caught.value.sqlstate == REFUSED[text], caught.value
    run(client, "RESET morph.ddl_mode")
    assert rows(client, "SELECT count(*) FROM morph.versions") == versions


def test_views(client: Connection) -> None:
    run(client, "SET search_path = v7")
    run(client, "CREATE VIEW dear AS SELECT id, qty, number FROM items WHERE number > 8")
    try:
        assert rows(client, "SELECT * FROM dear ORDER BY id") == [(9, 1, 9), (10, 2, 10)]
    finally:
        run(client, "DROP VIEW dear")


def test_promotion_and_back(client: Connection) -> None:
    """Of versions that are lenses only the pointer moves."""
    run(client, "SET search_path = public")
    run(client, "CALL morph.promote(2)")
    try:
        run(client, "UPDATE items SET price = 8.5, qty = 3 WHERE id = 2")
        assert rows(client, "SELECT pg_typeof(price)::text, price FROM items WHERE id = 2") == [
            ("double precision", 8.5)
        ]
    finally:
        run(client, "CALL morph.rollback(2)")
    shown = rows(client, "SELECT pg_typeof(price)::text, price, qty FROM items WHERE id = 2")
    assert shown == [("numeric", 8.5, 3)]


def test_returning_what_the_store_made_of_it(client: Connection, store: RunningServer) -> None:
    if store.kind != "postgres":
        inserted = rows(client, "INSERT INTO items (id, qty) VALUES (70, 2) RETURNING qty, price")
        assert inserted == [(2, None)]
        return
    with psycopg.connect(store.uri, autocommit=True) as own:
        own.execute(
            sql.SQL(
                "CREATE OR REPLACE FUNCTION {0}.doubled() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN NEW.qty := NEW.qty * 2; RETURN NEW; END $$; "
                "CREATE TRIGGER doubled BEFORE INSERT OR UPDATE ON {0}.items FOR EACH ROW "
                "EXECUTE FUNCTION {0}.doubled()"
            ).format(sql.Identifier(NAMESPACE))
        )
    insert = "INSERT INTO items (id, qty) VALUES (70, 2), (71, 3) RETURNING id, qty, price"
    assert sorted(rows(client, insert)) == [(70, 4, None), (71, 6, None)]
    update = "UPDATE items SET qty = qty + 1 WHERE id > 69 RETURNING id, qty"
    assert sorted(rows(client, update)) == [(70, 10), (71, 14)]
    merge = (
        "MERGE INTO items t USING (VALUES (70), (72)) s(id) ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET qty = 1 WHEN NOT MATCHED THEN INSERT (id, qty) "
        "VALUES (s.id, 5) RETURNING t.id, t.qty"
    )
    assert sorted(rows(client, merge)) == [(70, 2), (72, 10)]


def stored_columns(store: RunningServer) -> set[str]:
    """What the store itself has in the first row, beside its key and what lies deeper."""
    if store.kind == "mongodb":
        with mongodb_client(store) as documents:
            found = documents[NAMESPACE]["items"].find_one({"_id": 1}) or {}
        return {*found} - {"_id", "address"}
    if store.kind == "cassandra":
        with cassandra_session(store) as session:
            names = session.execute(f"SELECT * FROM {NAMESPACE}.items LIMIT 1").column_names
        return {*names} - {"id", "city"}
    with psycopg.connect(store.uri) as own:
        table = sql.Identifier(NAMESPACE, "items")
        description = own.execute(sql.SQL("SELECT * FROM {}").format(table)).description or ()
    return {column.name for column in description} - {"id", "city"}


def test_nothing_of_ours_is_in_the_rows(client: Connection, store: RunningServer) -> None:
    run(client, "UPDATE items SET price = 3, qty = 4 WHERE id = 1")
    assert stored_columns(store) == {*ITEMS.columns} - {"id", "city"}
