"""CALL morph.split_column and morph.merge_columns: lenses over several columns (EVOLUTION 2)."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.integration.changed_tables import Connection, looking, rows
from tests.integration.server_process import ServerProcess

SPLIT = (
    "CALL morph.split_column('people', 'name', "
    """'{"first": "split_part(name, '' '', 1)", """
    """"last": "nullif(split_part(name, '' '', 2), '''')"}', """
    "'first || coalesce('' '' || last, '''')')"
)
MERGE = (
    "CALL morph.merge_columns('people', 'place', 'city || '':'' || age', "
    """'{"city": "split_part(place, '':'', 1)", "age": "split_part(place, '':'', 2)::int"}')"""
)


@pytest.fixture
def client(changed: ServerProcess) -> Iterator[Connection]:
    """A session on version 1 with one table; changes are only looked at."""
    with looking(
        changed,
        "CREATE TABLE people (id int PRIMARY KEY, name text, age int, city text)",
        "INSERT INTO people VALUES (1, 'Ada King', 36, 'x'), (2, 'Plato', 80, NULL), "
        "(3, NULL, NULL, NULL)",
    ) as connection:
        yield connection


def test_a_column_is_split_and_each_version_writes_its_form(client: Connection) -> None:  # R4.1
    client.execute(SPLIT)
    shown = "SELECT id, first, last FROM v2.people ORDER BY id"
    assert rows(client, shown) == [(1, "Ada", "King"), (2, "Plato", None), (3, None, None)]
    client.execute("UPDATE v2.people SET last = 'Lovelace' WHERE id = 1")
    client.execute("UPDATE v2.people SET first = 'Aristo cles' WHERE id = 2")
    client.execute("INSERT INTO v2.people (id, last, first) VALUES (4, 'Bee', 'Ann')")
    old = "SELECT id, name FROM v1.people ORDER BY id"
    assert rows(client, old) == [(1, "Ada Lovelace"), (2, "Aristo cles"), (3, None), (4, "Ann Bee")]
    assert rows(client, shown)[1] == (2, "Aristo cles", None)
    client.execute("UPDATE v1.people SET name = 'Jo Joe' WHERE id = 2")
    assert rows(client, shown)[1] == (2, "Jo", "Joe")


def test_columns_are_merged_over_columns_that_were_split(client: Connection) -> None:  # R4.1
    client.execute(SPLIT)
    client.execute(MERGE)
    client.execute("UPDATE v3.people SET place = 'Rome:7', last = 'Z' WHERE id = 1")
    client.execute("UPDATE v3.people SET place = 'nowhere' WHERE id = 2")
    assert rows(client, "SELECT * FROM v3.people ORDER BY id") == [
        (1, "Ada", "Z", "Rome:7"), (2, "Plato", None, "nowhere"), (3, None, None, None),
    ]  # fmt: skip
    assert rows(client, "SELECT * FROM v1.people ORDER BY id") == [
        (1, "Ada Z", 7, "Rome"), (2, "Plato", None, "nowhere"), (3, None, None, None),
    ]  # fmt: skip
    before = [rows(client, f"SELECT * FROM v{n}.people ORDER BY id") for n in (1, 2, 3)]
    client.execute("UPDATE v3.people SET place = place, first = first, last = last")
    client.execute("UPDATE v2.people SET first = first, age = age, city = city")
    client.execute("UPDATE v1.people SET name = name, age = age, city = city")
    assert before == [rows(client, f"SELECT * FROM v{n}.people ORDER BY id") for n in (1, 2, 3)]


@pytest.mark.parametrize("mode", ["direct", "auto"])
def test_both_are_carried_out(client: Connection, mode: str) -> None:  # R4.1 R4.2
    """At once, and beside the clients."""
    client.execute(f"SET morph.ddl_mode = {mode}")
    for number, call in enumerate((SPLIT, MERGE), 2):
        client.execute(call)
        if mode == "auto":
            client.execute(f"CALL morph.promote({number})")
    client.execute("UPDATE people SET place = 'Rome:7', last = 'Z' WHERE id = 1")
    client.execute("UPDATE v1.people SET name = 'Jo Joe', age = 5, city = 'y' WHERE id = 2")
    assert rows(client, "SELECT id, first, last, place FROM people ORDER BY id") == [
        (1, "Ada", "Z", "Rome:7"), (2, "Jo", "Joe", "y:5"), (3, None, None, None),
    ]  # fmt: skip
    assert rows(client, "SELECT * FROM v1.people ORDER BY id") == [
        (1, "Ada Z", 7, "Rome"), (2, "Jo Joe", 5, "y"), (3, None, None, None),
    ]  # fmt: skip


REFUSED = [
    ("split_column('people', 'nosuch', '{\"a\": \"1\", \"b\": \"2\"}', 'a')", "42703", "nosuch"),
    ("split_column('gone', 'name', '{\"a\": \"1\", \"b\": \"2\"}', 'a')", "42P01", "gone"),
    ("split_column('people', 'id', '{\"a\": \"id\", \"b\": \"id\"}', 'a')", "0A000", "pkey"),
    ("split_column('people', 'name', '{\"age\": \"1\", \"b\": \"2\"}', 'b::text')", "42701", "age"),
    ("split_column('people', 'name', '{\"a\": \"nil\", \"b\": \"2\"}', 'b::text')", "42703", "nil"),
    ("split_column('people', 'name', '{\"a\": \"now()\", \"b\": \"2\"}', 'b')", "42P17", "immut"),
    ("split_column('people', 'name', '{\"a\": \"1\", \"b\": \"2\"}', 'c')", "22023", "not exist"),
    ("split_column('people', 'name', '[]', 'c')", "22023", "JSON object"),
    ("split_column('people', 'name')", "42883", "takes the texts"),
    ("merge_columns('people', 'x', 'name', '{\"name\": \"x\", \"id\": \"1\"}')", "0A000", "pkey"),
    ("merge_columns('people', 'age', 'name || city', '{\"name\": \"age\", \"city\": \"age\"}')",
     "42701", "age"),
]  # fmt: skip


def test_refused_calls_change_nothing(client: Connection) -> None:  # R4.2
    client.execute("CREATE VIEW names AS SELECT name FROM people")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="depend"):
        client.execute(SPLIT)
    client.execute("DROP VIEW names")
    seen = rows(client, "SELECT max(version) FROM morph.versions")
    for call, state, words in REFUSED:
        with pytest.raises(psycopg.Error, match=words) as caught:
            client.execute(f"CALL morph.{call}")
        assert caught.value.sqlstate == state, call
        assert "morph_" not in str(caught.value), call
    assert rows(client, "SELECT max(version) FROM morph.versions") == seen
