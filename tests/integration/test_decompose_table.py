"""CALL morph.decompose_table and morph.join_tables: columns as a table of their own."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.integration.changed_tables import Connection, looking, rows
from tests.integration.server_process import ServerProcess

DECOMPOSE = "CALL morph.decompose_table('customers', 'addresses', '{street,city}')"
JOIN = "CALL morph.join_tables('customers', 'addresses', 'customers')"


@pytest.fixture
def client(changed: ServerProcess) -> Iterator[Connection]:
    """A session on version 1 with one table; changes are only looked at."""
    with looking(
        changed,
        "CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL, street text, "
        "city text CHECK (city <> ''), code text UNIQUE)",
        "CREATE INDEX by_city ON customers (city)",
        "INSERT INTO customers (name, street, city) VALUES ('Ann', 'Ring 1', 'Wien'), "
        "('Bob', NULL, NULL), ('Cid', NULL, 'Graz')",
    ) as connection:
        yield connection


def whole(client: Connection) -> list[Any]:
    return rows(client, "SELECT id, name, street, city FROM v1.customers ORDER BY id")


def apart(client: Connection) -> tuple[list[Any], list[Any]]:
    left = rows(client, "SELECT id, name FROM v2.customers ORDER BY id")
    return left, rows(client, "SELECT id, street, city FROM v2.addresses ORDER BY id")


def test_both_tables_and_the_whole_are_written(client: Connection) -> None:  # R4.1
    client.execute(DECOMPOSE)
    assert apart(client) == (
        [(1, "Ann"), (2, "Bob"), (3, "Cid")], [(1, "Ring 1", "Wien"), (3, None, "Graz")],
    )  # fmt: skip
    with client.transaction():
        client.execute("INSERT INTO v2.customers (name) VALUES ('Dan')")
        client.execute("INSERT INTO v2.addresses VALUES (4, 'Weg 4', 'Linz'), (2, 'Gasse 2', NULL)")
    client.execute("UPDATE v2.addresses SET city = city || '!' WHERE id IN (1, 3)")
    gone = client.execute("DELETE FROM v2.addresses WHERE id = 3 RETURNING id, city")
    assert (gone.rowcount, gone.fetchall()) == (1, [(3, "Graz!")])
    client.execute("UPDATE v2.customers SET name = 'Anna' WHERE id = 1")
    client.execute("DELETE FROM v2.customers WHERE id = 4")
    assert whole(client) == [
        (1, "Anna", "Ring 1", "Wien!"), (2, "Bob", "Gasse 2", None), (3, "Cid", None, None),
    ]  # fmt: skip
    client.execute("INSERT INTO v1.customers (id, name, city) VALUES (9, 'Eve', 'Rom')")
    client.execute("UPDATE v1.customers SET street = NULL WHERE id = 2")
    assert apart(client) == (
        [(1, "Anna"), (2, "Bob"), (3, "Cid"), (9, "Eve")],
        [(1, "Ring 1", "Wien!"), (9, None, "Rom")],
    )


def test_statements_say_what_they_did(client: Connection) -> None:  # R4.1
    client.execute(DECOMPOSE)
    made = client.execute(
        "INSERT INTO v2.addresses SELECT id, 'S', NULL FROM v2.customers WHERE name = 'Bob' "
        "RETURNING id, street"
    )
    assert (made.rowcount, made.fetchall()) == (1, [(2, "S")])
    assert client.execute("DELETE FROM v2.addresses WHERE street = 'nowhere'").rowcount == 0
    assert client.execute("DELETE FROM v2.addresses").rowcount == 3
    with client.cursor() as cursor, cursor.copy("COPY v2.addresses (id, city) FROM STDIN") as copy:
        copy.write("1\tRom\n2\tBonn\n")
    assert apart(client)[1] == [(1, None, "Rom"), (2, None, "Bonn")]
    joined = "SELECT name, city FROM v2.customers JOIN v2.addresses USING (id) ORDER BY id"
    for pushdown in ("on", "scan", "off"):
        client.execute(f"SET morph.pushdown = {pushdown}")
        assert rows(client, joined) == [("Ann", "Rom"), ("Bob", "Bonn")]


REFUSED_WRITES = [
    ("INSERT INTO v2.addresses VALUES (1, 'x', 'y')", errors.UniqueViolation,
     'duplicate key value violates unique constraint "addresses_pkey"',
     "Key (id)=(1) already exists."),
    ("INSERT INTO v2.addresses VALUES (9, 'x', 'y')", errors.ForeignKeyViolation,
     'insert or update on table "addresses" violates foreign key constraint "addresses_id_fkey"',
     'Key (id)=(9) is not present in table "customers".'),
    ("INSERT INTO v2.addresses (city) VALUES ('y')", errors.NotNullViolation,
     'null value in column "id" of relation "addresses" violates not-null constraint', None),
    ("INSERT INTO v2.addresses VALUES (2, NULL, NULL)", errors.WithCheckOptionViolation,
     'new row violates check option for view "addresses"', None),
    ("UPDATE v2.addresses SET city = NULL, street = NULL WHERE id = 1",
     errors.WithCheckOptionViolation, 'new row violates check option for view "addresses"', None),
    ("UPDATE v2.addresses SET id = 7 WHERE id = 1", errors.FeatureNotSupported,
     'cannot update column "id" of view "addresses"', "View columns"),
    ("INSERT INTO v2.addresses VALUES (2, 'x', '')", errors.CheckViolation, "customers_city_check",
     None),
    ("INSERT INTO v2.addresses VALUES (2, 'x') ON CONFLICT DO NOTHING", errors.FeatureNotSupported,
     "ON CONFLICT is not supported", None),
    ("MERGE INTO v2.addresses a USING (VALUES (1)) s(id) ON a.id = s.id WHEN MATCHED AND "
     "s.id = 2 THEN DELETE WHEN MATCHED THEN UPDATE SET city = 'x'",
     errors.FeatureNotSupported, "cannot merge into view", None),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "kind", "message", "detail"), REFUSED_WRITES)
def test_what_cannot_be_shown_by_older_versions_is_refused(
    client: Connection, statement: str, kind: type[psycopg.Error], message: str, detail: str | None
) -> None:  # R4.1
    client.execute(DECOMPOSE)
    before = whole(client)
    with pytest.raises(kind) as caught:
        client.execute(statement)
    told = caught.value.diag
    assert message in str(told.message_primary)
    assert detail is None or str(told.message_detail).startswith(detail)
    assert "morph_" not in str(told.context or "")
    assert whole(client) == before


def test_a_row_that_somebody_changed_is_not_deleted(
    client: Connection, changed: ServerProcess
) -> None:  # R4.1
    client.execute(DECOMPOSE)
    with changed.connect() as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert len(rows(other, "SELECT * FROM v2.addresses")) == 2
        client.execute("UPDATE v1.customers SET city = 'Rom' WHERE id = 1")
        with pytest.raises(errors.SerializationFailure):
            other.execute("DELETE FROM v2.addresses WHERE id = 1")
        other.execute("ROLLBACK")
    assert whole(client)[0] == (1, "Ann", "Ring 1", "Rom")


def test_a_row_is_found_by_its_key(client: Connection) -> None:  # R4.1
    client.execute(DECOMPOSE)
    client.execute("SET enable_seqscan = off")
    for table in ("addresses", "customers"):
        plan = rows(client, f"EXPLAIN SELECT * FROM v2.{table} WHERE id = 3")
        assert any("Index Cond: (id = 3)" in line for (line,) in plan), plan


def test_the_catalog_shows_two_tables(client: Connection) -> None:  # R4.1
    client.execute(DECOMPOSE)
    asked = (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'v2'::regnamespace AND contype <> 'n' ORDER BY 1, 2"
    )
    assert rows(client, asked) == [
        ("v2.addresses", "addresses_id_fkey",
         "FOREIGN KEY (id) REFERENCES v2.customers(id) ON UPDATE CASCADE ON DELETE CASCADE"),
        ("v2.addresses", "addresses_pkey", "PRIMARY KEY (id)"),
        ("v2.addresses", "customers_city_check", "CHECK ((city <> ''::text))"),
        ("v2.customers", "customers_code_key", "UNIQUE (code)"),
        ("v2.customers", "customers_pkey", "PRIMARY KEY (id)"),
    ]  # fmt: skip
    indexes = "SELECT tablename, indexname FROM pg_indexes WHERE schemaname = 'v2' ORDER BY 1, 2"
    assert rows(client, indexes) == [
        ("addresses", "addresses_by_city"), ("addresses", "addresses_pkey"),
        ("customers", "customers_code_key"), ("customers", "customers_pkey"),
    ]  # fmt: skip
    parts = "SELECT version, table_name, part_of, condition FROM morph.table_parts"
    assert rows(client, parts) == [
        (2, "addresses", "customers", '"street" IS NOT NULL OR "city" IS NOT NULL')
    ]


@pytest.mark.parametrize("mode", ["direct", "auto", "shadow"])
def test_promoted_rolled_back_and_joined_again(client: Connection, mode: str) -> None:
    # R4.1 R4.2
    shape = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = " \
        "'public.customers'::regclass ORDER BY 1"  # fmt: skip
    before = rows(client, shape)
    client.execute(f"SET morph.ddl_mode = {mode}")
    client.execute(DECOMPOSE)
    if mode != "direct":
        client.execute("CALL morph.promote(2)")
    client.execute("INSERT INTO addresses VALUES (2, 'Gasse 2')")
    with pytest.raises(errors.UndefinedColumn):
        client.execute("SELECT city FROM customers")
    client.execute("CALL morph.rollback(2)")
    assert rows(client, "SELECT street FROM customers WHERE id = 2") == [("Gasse 2",)]
    assert rows(client, shape) == before
    client.execute("CALL morph.promote(2)")
    client.execute(JOIN)
    if mode != "direct":
        client.execute("CALL morph.promote(3)")
    assert rows(client, "SELECT id, name, street, city FROM customers ORDER BY id") == whole(client)
    assert rows(client, shape) == before
    kinds = rows(client, "SELECT kind FROM morph.changes WHERE change_id > 1 ORDER BY change_id")
    assert kinds == [("decompose table",), ("join tables",)]


def test_both_are_changed_like_tables(client: Connection) -> None:  # R4.1
    client.execute(DECOMPOSE)
    with client.transaction():
        client.execute("ALTER TABLE v2.addresses RENAME COLUMN city TO town")
        client.execute("ALTER TABLE v2.addresses ADD COLUMN land text")
        client.execute("ALTER TABLE v2.customers RENAME TO people")
        client.execute("ALTER TABLE v2.customers ADD COLUMN note text DEFAULT '-'")
    client.execute("INSERT INTO v3.addresses VALUES (2, 'Gasse 2', 'Bonn', 'de')")
    assert rows(client, "SELECT * FROM v3.addresses WHERE id = 2") == [(2, "Gasse 2", "Bonn", "de")]
    with pytest.raises(errors.ForeignKeyViolation, match="addresses"):
        client.execute("INSERT INTO v3.addresses VALUES (8, 'x', 'y', 'z')")
    client.execute("ALTER TABLE v3.addresses DROP COLUMN street")
    assert client.execute("DELETE FROM v4.addresses WHERE id = 2").rowcount == 1
    assert rows(client, "SELECT * FROM v4.addresses ORDER BY id") == [
        (1, "Wien", None), (3, "Graz", None),
    ]  # fmt: skip
    client.execute("SET search_path = v4")
    client.execute("CALL morph.join_tables('people', 'addresses', 'customers')")
    assert rows(client, "SELECT id, name, town, land, note FROM v5.customers ORDER BY id") == [
        (1, "Ann", "Wien", None, "-"), (2, "Bob", None, None, "-"), (3, "Cid", "Graz", None, "-"),
    ]  # fmt: skip


def test_a_key_of_two_columns_keeps_its_types(client: Connection) -> None:  # R4.1
    client.execute(
        "CREATE TABLE seats (hall varchar(7), seat numeric(6,2), price numeric(8,2), note text, "
        "PRIMARY KEY (hall, seat))"
    )
    client.execute("INSERT INTO seats VALUES ('big', 1.50, 9.99, NULL)")
    client.execute("CALL morph.decompose_table('seats', 'notes', '{note}')")
    client.execute("INSERT INTO v2.notes VALUES ('big', 1.50, 'broken')")
    answer = client.execute("SELECT * FROM v2.notes")
    assert answer.fetchall() == [("big", Decimal("1.50"), "broken")]
    assert answer.description is not None
    types = [(c.name, c.display_size, c.precision, c.scale) for c in answer.description]
    assert types == [("hall", 7, None, None), ("seat", None, 6, 2), ("note", None, None, None)]
    with pytest.raises(errors.ForeignKeyViolation) as caught:
        client.execute("INSERT INTO v2.notes VALUES ('big', 2, 'x')")
    detail = str(caught.value.diag.message_detail)
    assert detail == 'Key (hall, seat)=(big, 2.00) is not present in table "seats".'


REFUSED = [
    ("CALL morph.decompose_table('gone', 'a', '{street}')", "42P01", "gone"),
    ("CALL morph.decompose_table('customers', 'a', '{nosuch}')", "42703", "nosuch"),
    ("CALL morph.decompose_table('customers', 'taken', '{street}')", "42P07", "taken"),
    ("CALL morph.decompose_table('customers', 'customers', '{street}')", "42P07", "customers"),
    ("CALL morph.decompose_table('customers', 'a', '{name}')", "0A000", "NOT NULL"),
    ("CALL morph.decompose_table('customers', 'a', '{id}')", "0A000", "NOT NULL"),
    ("CALL morph.decompose_table('taken', 'a', '{b}')", "0A000", "no primary key"),
    ("CALL morph.decompose_table('mixed', 'a', '{b}')", "0A000", "both tables"),
    ("CALL morph.decompose_table('mixed', 'a', '{b,c}')", "22023", "but the key"),
    ("CALL morph.decompose_table('customers', 'a', '{}')", "22023", "array of names"),
    ("CALL morph.join_tables('customers', 'taken', 'x')", "0A000", "not split off"),
]
APART = [
    ("ALTER TABLE addresses ADD CHECK (street <> '')", "0A000", "decomposed"),
    ("ALTER TABLE customers ALTER COLUMN code TYPE varchar(5)", "0A000", "share"),
    ("ALTER TABLE customers ALTER COLUMN id TYPE bigint", "0A000", "same key"),
    ("CALL morph.decompose_table('customers', 'a', '{code}')", "0A000", "split off"),
    ("CALL morph.split_table('customers', 'a', 'id > 1')", "0A000", "split off"),
    ("CALL morph.merge_tables('addresses', 'customers', 'x')", "0A000", "not parts"),
    ("DROP TABLE customers CASCADE", "2BP01", "depend"),
    ("ALTER TABLE customers DROP CONSTRAINT customers_pkey", "2BP01", "depend"),
    ("TRUNCATE customers", "0A000", "referenced in a foreign key"),
    ("TRUNCATE addresses", "0A000", "Use DELETE"),
    ("CREATE TABLE y (id int REFERENCES addresses)", "0A000", "split"),
]


def test_refused_statements_change_nothing(client: Connection) -> None:  # R4.2
    client.execute("CREATE TABLE taken (b int)")
    client.execute("CREATE TABLE mixed (a int PRIMARY KEY, b int, c int, CHECK (b < c))")
    for sets in (REFUSED, APART):
        if sets is APART:
            client.execute(DECOMPOSE)
            client.execute("SET search_path = v2")
        before = rows(client, "SELECT count(*) FROM morph.versions")
        for statement, code, words in sets:
            with pytest.raises(psycopg.Error) as caught:
                client.execute(statement)
            told = f"{caught.value} {caught.value.diag.message_hint}"
            assert (code, words in told) == (caught.value.sqlstate, True), (statement, told)
        assert rows(client, "SELECT count(*) FROM morph.versions") == before
    client.execute("DROP TABLE customers, addresses")
