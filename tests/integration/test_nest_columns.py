"""CALL morph.nest_columns and morph.unnest_column: one document or its fields (EVOLUTION 2)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.integration.changed_tables import Connection, looking, rows
from tests.integration.server_process import ServerProcess

NEST = "CALL morph.nest_columns('orders', column_name => 'address', columns => '{street,city}')"
UNNEST = "CALL morph.unnest_column('places', 'address', '{street,geo.lat}')"
TYPED = (
    "CALL morph.unnest_column('places', 'address', "
    """'{"street": "text", "number": "integer", "geo.lat": "numeric(6,2)"}')"""
)


@pytest.fixture
def client(changed: ServerProcess) -> Iterator[Connection]:
    """A session on version 1 with two tables; changes are only looked at."""
    with looking(
        changed,
        "CREATE TABLE orders (id int PRIMARY KEY, street text, city text, n int)",
        "INSERT INTO orders VALUES (1, 'Ring 1', 'Wien', 5), (2, NULL, 'Graz', 6), "
        "(3, NULL, NULL, 7)",
        "CREATE TABLE places (id int PRIMARY KEY, address jsonb)",
        """INSERT INTO places VALUES (1, '{"street": "Ring 1", "geo": {"lat": 48.20, """
        """"lon": 16.37}, "zip": "1010"}'), (2, '{"street": 5, "number": 7.0}'), (3, NULL), """
        """(4, '{}'), (5, '"Ring 5"'), (6, '{"geo": {"lat": "north"}, "number": 12}')""",
    ) as connection:
        yield connection


def every(client: Connection, table: str, *versions: int) -> list[list[Any]]:
    return [rows(client, f"SELECT * FROM v{n}.{table} ORDER BY id") for n in versions]


def test_columns_are_nested_and_each_version_writes_its_form(client: Connection) -> None:  # R4.1
    client.execute(NEST)
    shown = "SELECT id, n, address FROM v2.orders ORDER BY id"
    assert rows(client, shown) == [
        (1, 5, {"street": "Ring 1", "city": "Wien"}), (2, 6, {"city": "Graz"}), (3, 7, None),
    ]  # fmt: skip
    client.execute("""UPDATE v2.orders SET address = address || '{"city": "Linz"}' WHERE id = 1""")
    client.execute("""INSERT INTO v2.orders VALUES (4, 8, '{"street": "Weg 4", "zip": "4020"}')""")
    assert rows(client, "SELECT id, street, city FROM v1.orders ORDER BY id") == [
        (1, "Ring 1", "Linz"), (2, None, "Graz"), (3, None, None), (4, "Weg 4", None),
    ]  # fmt: skip
    client.execute("UPDATE v1.orders SET street = 'Platz 2' WHERE id = 2")
    client.execute("UPDATE v1.orders SET city = 'Wels' WHERE id = 4")
    assert rows(client, shown)[1:] == [
        (2, 6, {"street": "Platz 2", "city": "Graz"}), (3, 7, None),
        (4, 8, {"street": "Weg 4", "city": "Wels", "zip": "4020"}),
    ]  # fmt: skip


def test_what_no_column_can_hold_stays_in_the_document(client: Connection) -> None:  # R4.1
    client.execute(NEST)
    documents: list[object] = [
        {"city": ["x"], "street": 5},
        {"city": None},
        {},
        [1],
        "text",
        None,
        {"k": {}, "street": "a"},
    ]
    for number, document in enumerate(documents, 10):
        client.execute(
            "INSERT INTO v2.orders (id, address) VALUES (%s, %s)", [number, json.dumps(document)]
        )
    shown = "SELECT address::text FROM v2.orders WHERE id >= 10 ORDER BY id"
    assert rows(client, shown) == [(json.dumps(d),) for d in documents]
    assert rows(client, "SELECT street, city FROM v1.orders WHERE id >= 10 ORDER BY id") == [
        *[(None, None)] * 6, ("a", None),
    ]  # fmt: skip
    client.execute("UPDATE v1.orders SET n = 1, street = street WHERE id >= 10")
    assert rows(client, shown) == [(json.dumps(d),) for d in documents]
    client.execute("UPDATE v1.orders SET city = 'Wien' WHERE id = 16")
    assert rows(client, "SELECT address FROM v2.orders WHERE id = 16") == [
        ({"street": "a", "city": "Wien", "k": {}},)
    ]


def test_a_document_becomes_columns(client: Connection) -> None:  # R4.1
    client.execute(TYPED)
    shown = """SELECT id, street, number, "geo.lat" FROM v2.places ORDER BY id"""
    assert rows(client, shown) == [
        (1, "Ring 1", None, Decimal("48.20")), (2, None, 7, None), (3, None, None, None),
        (4, None, None, None), (5, None, None, None), (6, None, 12, None),
    ]  # fmt: skip
    before = rows(client, "SELECT id, address::text FROM v1.places ORDER BY id")
    client.execute(
        """UPDATE v2.places SET street = street, number = number, "geo.lat" = "geo.lat" """
    )
    assert rows(client, "SELECT id, address::text FROM v1.places ORDER BY id") == before
    client.execute("""UPDATE v2.places SET "geo.lat" = 1.50, number = 3 WHERE id IN (1, 3, 6)""")
    client.execute("UPDATE v2.places SET street = 'new' WHERE id IN (2, 4, 5)")
    client.execute("INSERT INTO v2.places (id, number) VALUES (7, 8), (8, NULL)")
    assert rows(client, "SELECT address FROM v1.places ORDER BY id") == [
        ({"street": "Ring 1", "number": 3, "geo": {"lat": 1.50, "lon": 16.37}, "zip": "1010"},),
        ({"street": "new", "number": 7.0},), ({"number": 3, "geo": {"lat": 1.50}},),
        ({"street": "new"},), ({"street": "new"},), ({"geo": {"lat": 1.50}, "number": 3},),
        ({"number": 8},), (None,),
    ]  # fmt: skip
    client.execute("UPDATE v2.places SET street = NULL WHERE id IN (4, 5)")
    assert rows(client, "SELECT address FROM v1.places WHERE id IN (4, 5) ORDER BY id") == [
        ({},), ("Ring 5",),
    ]  # fmt: skip
    client.execute("""UPDATE v1.places SET address = '{"street": "s", "x": 1}' WHERE id = 2""")
    assert rows(client, shown)[1] == (2, "s", None, None)


@pytest.mark.parametrize("mode", ["direct", "auto"])
def test_both_are_carried_out_and_rolled_back(client: Connection, mode: str) -> None:  # R4.1 R4.2
    client.execute(f"SET morph.ddl_mode = {mode}")
    old = [every(client, table, 1) for table in ("orders", "places")]
    for number, call in enumerate((NEST, TYPED), 2):
        client.execute(call)
        if mode == "auto":
            client.execute(f"CALL morph.promote({number})")
    assert [every(client, table, 1) for table in ("orders", "places")] == old
    client.execute("""UPDATE orders SET address = '{"street": "S", "zip": 1}' WHERE id = 2""")
    client.execute("UPDATE v1.orders SET city = 'Rom' WHERE id = 2")
    client.execute("""UPDATE places SET "geo.lat" = 2 WHERE id IN (1, 3)""")
    client.execute("""UPDATE v1.places SET address = '{"number": "x", "k": 1}' WHERE id = 2""")
    shown = every(client, "orders", 1, 2), every(client, "places", 1, 2, 3)
    assert shown[0][1][1] == (2, 6, {"street": "S", "city": "Rom", "zip": 1})
    assert shown[1][0][1] == (2, {"number": "x", "k": 1})
    assert shown[1][0][0][1]["geo"] == {"lat": 2, "lon": 16.37}
    client.execute("CALL morph.rollback(2)")
    assert (every(client, "orders", 1, 2), every(client, "places", 1, 2, 3)) == shown
    assert rows(client, "SELECT * FROM orders ORDER BY id") == shown[0][0]


def test_every_type_comes_back(client: Connection) -> None:  # R4.1
    types = ["smallint", "bigint", "numeric(8,3)", "real", "double precision", "boolean", "date",
             "timestamp", "timestamptz", "interval", "uuid", "bytea", "varchar(5)", "char(4)",
             "jsonb", "text[]", "int[]", "time", "inet"]  # fmt: skip
    values = ["3", "-9007199254740993", "1.500", "1.1", "1e300", "true", "2026-02-28",
              "2026-02-28 10:00:00.123456", "2026-02-28 10:00:00+02", "1 day 02:03:04",
              "6c2f9c1a-0000-4000-8000-000000000001", "\\x00ff", "abc", "ab", '{"a": null}',
              '{a,NULL,"b c"}', "{1,2}", "10:00:01", "10.0.0.1/8"]  # fmt: skip
    names = [f"x{n}" for n in range(len(types))]
    listed = ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))
    client.execute(f"CREATE TABLE typed (id int PRIMARY KEY, {listed})")
    client.execute(f"INSERT INTO typed VALUES (1{', %s' * len(values)})", values)
    client.execute("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German, DMY'")
    client.execute(f"CALL morph.nest_columns('typed', 'doc', '{{{','.join(names)}}}')")
    client.execute("INSERT INTO v2.typed SELECT 2, doc FROM v2.typed")
    client.execute("SET DateStyle = 'SQL, MDY'; SET IntervalStyle = 'iso_8601'")
    client.execute("INSERT INTO v2.typed SELECT 3, doc FROM v2.typed WHERE id = 2")
    shown = ", ".join(names)
    first, second, third = rows(client, f"SELECT ({shown})::text FROM v1.typed t ORDER BY id")
    assert first == second == third
    ((document,),) = rows(client, "SELECT doc FROM v2.typed WHERE id = 3")
    assert dt.datetime.fromisoformat(document["x8"]).utctimetuple()[:5] == (2026, 2, 28, 8, 0)
    wanted = psycopg.sql.quote(json.dumps(dict(zip(names, types, strict=True))))
    client.execute(f"CALL morph.unnest_column('typed', 'doc', {wanted})")
    assert rows(client, f"SELECT ({shown})::text FROM v3.typed t ORDER BY id") == [first] * 3


REFUSED = [
    ("nest_columns('orders', 'a', '{street,nosuch}')", "42703", "nosuch"),
    ("nest_columns('gone', 'a', '{street}')", "42P01", "gone"),
    ("nest_columns('orders', 'n', '{street}')", "42701", "already exists"),
    ("nest_columns('orders', 'a', '{id,street}')", "0A000", "pkey"),
    ("nest_columns('orders', 'a', '{street,street}')", "22023", "twice"),
    ("nest_columns('orders', 'a', '{}')", "22023", "array of names"),
    ("nest_columns('orders', 'a', 'street')", "22023", "array of names"),
    ("nest_columns('orders', 'a')", "42883", "takes the texts"),
    ("unnest_column('places', 'nosuch', '{a}')", "42703", "nosuch"),
    ("unnest_column('orders', 'street', '{a}')", "42804", "type text"),
    ("unnest_column('places', 'address', '{id}')", "42701", "already exists"),
    ("unnest_column('places', 'address', '{geo,geo.lat}')", "22023", "inside"),
    ("unnest_column('places', 'address', '{\"a\": \"nosuch\"}')", "42704", "nosuch"),
    ("unnest_column('places', 'address', '{\"a\": \"int, drop column id\"}')", "42601", ""),
    ("unnest_column('places', 'address', '{\"a\": \"int + 1\"}')", "22023", "name of a type"),
    ("unnest_column('places', 'address', '{\"a\": 5}')", "22023", "names and types"),
]  # fmt: skip


def test_refused_calls_change_nothing(client: Connection) -> None:  # R4.2
    before = rows(client, "SELECT count(*) FROM morph.versions")
    for call, code, words in REFUSED:
        with pytest.raises(psycopg.Error) as caught:
            client.execute(f"CALL morph.{call}")
        assert (caught.value.sqlstate, words in str(caught.value)) == (code, True), call
    assert rows(client, "SELECT count(*) FROM morph.versions") == before


def test_a_script_of_changes_is_one_version(client: Connection) -> None:  # R4.1 R1.5
    with client.transaction():
        client.execute("ALTER TABLE orders RENAME COLUMN n TO amount")
        client.execute(NEST)
        client.execute("ALTER TABLE orders ADD COLUMN note text DEFAULT '-'")
    assert rows(client, "SELECT * FROM v2.orders WHERE id = 1") == [
        (1, 5, {"street": "Ring 1", "city": "Wien"}, "-")
    ]
    kinds = (
        "SELECT kind FROM morph.changes WHERE relation = 'orders' AND change_id = 2 ORDER BY kind"
    )
    assert rows(client, kinds) == [("add column",), ("nest columns",), ("rename column",)]
    with client.transaction(force_rollback=True):
        client.execute(UNNEST)
    assert rows(client, "SELECT max(version) FROM morph.versions") == [(2,)]


def test_there_and_back_is_the_same(client: Connection) -> None:  # R4.1
    """What was nested is unnested again: the newest version shows what the oldest does."""
    client.execute(NEST)
    client.execute("CALL morph.unnest_column('orders', 'address', '{street,city}')")
    client.execute("UPDATE v3.orders SET street = 'x' WHERE id = 3")
    client.execute("""UPDATE v2.orders SET address = '{"zip": 1, "city": "y"}' WHERE id = 2""")
    client.execute("UPDATE v3.orders SET city = 'z' WHERE id = 2")
    shown = "SELECT id, street, city, n FROM v{}.orders ORDER BY id"
    assert rows(client, shown.format(1)) == rows(client, shown.format(3)) == [
        (1, "Ring 1", "Wien", 5), (2, None, "z", 6), (3, "x", None, 7),
    ]  # fmt: skip
    assert rows(client, "SELECT address FROM v2.orders WHERE id = 2") == [
        ({"zip": 1, "city": "z"},)
    ]
