"""Statements over documents against the same statements over plain tables, on PostgreSQL 18.

`statements/*.sql` hold what must be the same to the client: rows, names, SQLSTATE, command tag, and
the tables afterwards. What is not the same is listed here, each with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from private_pg.cluster import Cluster
from tests.property.document_cluster import document_databases
from tests.property.document_database import Rewritten

DIRECTORY = Path(__file__).parent / "statements"


@pytest.fixture(scope="module")
def databases(pg18_cluster: Cluster) -> Iterator[Rewritten]:
    """Documents and plain tables side by side."""
    with document_databases(pg18_cluster) as found:
        yield found


def _statements(name: str) -> list[str]:
    text = (DIRECTORY / f"{name}.sql").read_text("utf-8")
    return [s.removesuffix(";") for s in text.strip().split("\n\n")]


@pytest.mark.parametrize("text", _statements("reads"))
def test_reads_are_those_of_a_plain_table(databases: Rewritten, text: str) -> None:
    # R0.3
    databases.compare(text)


@pytest.mark.parametrize("text", _statements("writes"))
def test_writes_are_those_of_a_plain_table(databases: Rewritten, text: str) -> None:
    # R0.3
    databases.compare(text)


@pytest.mark.parametrize(
    ("sqlstate", "text"),
    [
        ("0A000", "SELECT id FROM orders TABLESAMPLE SYSTEM (100)"),
        ("42703", "SELECT ctid, xmin FROM customers"),
        ("0A000", "INSERT INTO orders (id, tags) VALUES (10, ARRAY[['a'], ['b']])"),
        ("0A000", "UPDATE orders SET tags = '[2:3]={a,b}'"),
        ("55000", "INSERT INTO orders_items VALUES (1, 2)"),
        ("55000", "DELETE FROM orders_items"),
        ("55000", "UPDATE orders_items SET sku = 'x'"),
        ("0A000", "UPDATE busy SET qty = 3"),
        ("42939", "SELECT * FROM morph_v1.orders"),
        ("42939", "SELECT * FROM morph_store.t1"),
        ("22003", "UPDATE orders SET amount = 3000000000"),  # integer in the store
    ],
)
def test_what_differs_is_an_error(databases: Rewritten, sqlstate: str, text: str) -> None:
    # R0.3
    with databases.undone():
        assert databases.rewritten(text).error == sqlstate


_FITS = [
    '{"address": {"city": "A", "zip": 5}, "extra": {"any": 1}}',
    '{"address": null, "level": null, "visits": null}',
    '{"scores": [1, null], "rate": "NaN", "visits": [{"spent": 5}]}',
    '{"born": {"$date": "2020-01-01T00:00:00Z"}, "rate": 1e-5}',
    '{"a.b": 1, "Straße \\"x\\" ~": {"": []}, "big": 12345678901234567890.12345}',
]
_MISFITS = [
    '{"address": 5}',
    '{"address": [1]}',
    '{"address": {"zip": 1.5}}',
    '{"address": {"zip": "5"}}',
    '{"address": {"zip": 1e30}}',
    '{"address": {"city": true}}',
    '{"scores": [1.5]}',
    '{"scores": 5}',
    '{"rate": "x"}',
    '{"rate": 1e400}',
    '{"born": "2020-01-01"}',
    '{"born": {"$date": "soon"}}',
    '{"level": "8"}',
    '{"visits": [{"spent": "x"}]}',
    '{"visits": [7]}',
    '{"visits": {"spent": 1}}',
    "[1]",
]


@pytest.mark.parametrize("document", _FITS)
def test_a_document_that_fits_comes_back_as_it_was(databases: Rewritten, document: str) -> None:
    # R0.3, DESIGN 7.8
    with databases.undone():
        body = f"('{document}'::jsonb || '{{\"id\": 1}}')"
        assert databases.rewritten(f"INSERT INTO people (_doc) SELECT {body}").error == ""
        query = f"SELECT jsonb_strip_nulls(_doc) @> jsonb_strip_nulls({body}) FROM people"
        assert databases.rewritten(query).rows == ((True,),)
        for text in ("UPDATE people SET _doc = _doc", "UPDATE people SET _doc = _doc || '{}'"):
            assert databases.rewritten(text).error == ""
        assert databases.rewritten(query).rows == ((True,),)
        assert databases.rewritten("SELECT * FROM people, people_visits").error == ""


@pytest.mark.parametrize("document", _MISFITS)
def test_a_document_that_no_column_could_read_is_refused(
    databases: Rewritten, document: str
) -> None:
    # R0.3, DESIGN 7.8: no value turns silently into NULL, no later read fails
    with databases.undone():
        assert databases.rewritten("INSERT INTO people (id) VALUES (1)").error == ""
        for text in (
            f"INSERT INTO people (_doc) VALUES ('{document}')",
            f"UPDATE people SET _doc = '{document}'",
            "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) "
            f"DO UPDATE SET _doc = '{document}'",
        ):
            result = databases.rewritten(text)
            assert result.error == "22P02", result


def test_a_wider_column_cannot_bring_a_misfit_in(databases: Rewritten) -> None:
    # R0.3, DESIGN 7.8
    with databases.undone():
        assert databases.rewritten("INSERT INTO people (id) VALUES (1)").error == ""
        for text in (
            'UPDATE people SET address = \'{"zip": "x"}\'',
            "UPDATE people SET address['zip'] = '\"x\"'",
            'UPDATE people SET visits = \'[{"spent": "x"}]\'',
            "UPDATE people SET (address, level) = (SELECT '{\"city\": 1}'::jsonb, 3)",
            "INSERT INTO people (id, visits) VALUES (2, '[1]')",
        ):
            assert databases.rewritten(text).error == "22P02", text


def test_the_inner_field_holds_when_both_are_assigned(databases: Rewritten) -> None:
    # R0.3
    with databases.undone():
        text = (
            'INSERT INTO people ("address.city", address) '
            'VALUES (\'B\', \'{"city": "A", "zip": 3}\') RETURNING address'
        )
        assert databases.rewritten(text).rows == (({"city": "B", "zip": 3},),)


def test_defaults_are_the_versions_own(databases: Rewritten) -> None:
    # R0.3
    with databases.undone():
        for text in (
            "INSERT INTO people (id) VALUES (1) RETURNING level",
            "INSERT INTO people (id, level) VALUES (2, DEFAULT) RETURNING level",
            "INSERT INTO people (_doc) VALUES ('{\"id\": 3}') RETURNING level",
            "UPDATE people SET level = DEFAULT WHERE id = 1 RETURNING level",
            "INSERT INTO people DEFAULT VALUES RETURNING level",
        ):
            result = databases.rewritten(text)
            assert result.error == "23505" or result.rows == ((7,),), (text, result)


_BLOCK = """DO $$
DECLARE r orders%ROWTYPE; n bigint := (SELECT count(*) FROM orders); found text := '';
  c CURSOR (k bigint) FOR SELECT status FROM orders WHERE id = k;
BEGIN
  -- SELECT count(*) FROM orders
  n := n + count(*) FROM customers;
  FOR r IN SELECT * FROM orders ORDER BY id LOOP
    found := found || r.id || ' FROM orders ';
  END LOOP;
  SELECT name INTO STRICT found FROM customers WHERE id = 1;
  IF EXISTS (SELECT FROM orders WHERE qty > 2) THEN
    UPDATE orders SET qty = n WHERE id = 1 RETURNING * INTO r;
    INSERT INTO customers (id, name) VALUES (n + 100, found || r.qty) RETURNING id INTO n;
  END IF;
  OPEN c(2); FETCH c INTO found; CLOSE c;
  WHILE n > (SELECT max(id) FROM customers) LOOP EXIT; END LOOP;
  DELETE FROM orders WHERE status = found;
  PERFORM id FROM orders;
END $$"""


def test_static_sql_in_a_block_is_rewritten(databases: Rewritten) -> None:
    # R0.3
    databases.compare(_BLOCK)


def test_dynamic_sql_in_a_block_is_refused(databases: Rewritten) -> None:
    # R0.3, DESIGN 4: never silently empty
    with databases.undone():
        text = "DO $$ BEGIN EXECUTE 'SELECT count(*) FROM orders'; END $$"
        assert databases.rewritten(text).error == "42501"


@pytest.mark.parametrize(
    "definition",
    [
        "LANGUAGE sql AS 'SELECT sum(qty) FROM orders'",
        "LANGUAGE sql RETURN (SELECT sum(qty) FROM orders)",
        "LANGUAGE sql BEGIN ATOMIC SELECT sum(qty) FROM orders; END",
        "LANGUAGE plpgsql AS $f$ BEGIN RETURN sum(qty) FROM orders; END $f$",
    ],
)
def test_functions_read_the_version_they_were_made_in(
    databases: Rewritten, definition: str
) -> None:
    # R0.3
    with databases.undone():
        made = databases.rewritten(
            f"CREATE FUNCTION pg_temp.total() RETURNS numeric STABLE {definition}"
        )
        assert made.error == "", made
        result = databases.rewritten("SELECT pg_temp.total() = sum(qty) FROM orders")
        assert result.rows == ((True,),), result
