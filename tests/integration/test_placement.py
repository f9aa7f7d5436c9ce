"""A column moves between document and physical column without a reader noticing (issue point 9)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.server_process import ServerProcess, running

DIGEST = "SELECT md5(string_agg(o::text, ',' ORDER BY _id)) FROM {0} o"
DOCUMENTS = "SELECT md5(string_agg(_doc::text, ',' ORDER BY _id)) FROM {0}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    base = Path(tmp_path_factory.mktemp("placement"))
    for parent in (base, base.parent, base.parent.parent):
        parent.chmod(0o755)
    with running(base / "data", "", "--sample", "shop") as server:
        yield server


def _one(connection: psycopg.Connection[Any], sql: str) -> object:
    row = connection.execute(sql).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("table", "column"),
    [("orders", "status"), ("orders", "tags"), ("orders", "total"), ("events", "value")],
)
def test_no_reader_notices_a_move(shop: ServerProcess, table: str, column: str) -> None:
    # R3.1, DESIGN 1
    with shop.connect() as connection:
        before = [_one(connection, q.format(table)) for q in (DIGEST, DOCUMENTS)]
        connection.execute(f"CALL morph.materialize('{table}', '{column}')")
        assert [_one(connection, q.format(table)) for q in (DIGEST, DOCUMENTS)] == before
        origin = (
            f"SELECT origin FROM morph.columns WHERE table_name = '{table}' AND name = '{column}'"
        )
        assert _one(connection, origin) == "stored"
        connection.execute(f"UPDATE {table} SET {column} = {column} WHERE _id::text LIKE '%7'")
        assert [_one(connection, q.format(table)) for q in (DIGEST, DOCUMENTS)] == before


def test_a_column_goes_back_into_the_document(shop: ServerProcess) -> None:
    with shop.connect() as connection:
        before = [_one(connection, q.format("customers")) for q in (DIGEST, DOCUMENTS)]
        connection.execute("CALL morph.materialize('customers', 'name')")
        connection.execute("CALL morph.dematerialize('customers', 'name')")
        assert [_one(connection, q.format("customers")) for q in (DIGEST, DOCUMENTS)] == before


def test_a_prepared_statement_goes_on_over_a_move(shop: ServerProcess) -> None:
    with shop.connect() as connection, shop.connect() as other:
        query = "SELECT sku FROM products ORDER BY _id LIMIT 1"
        first = connection.execute(query, prepare=True).fetchone()
        other.execute("CALL morph.materialize('products', 'category')")
        assert connection.execute(query, prepare=True).fetchone() == first


@pytest.mark.parametrize(
    ("call", "sqlstate"),
    [
        ("materialize('orders', 'address')", "0A000"),
        ("materialize('orders', 'items')", "0A000"),
        ("materialize('orders', 'address.city')", "0A000"),
        ("materialize('orders', 'nope')", "42703"),
        ("materialize('nope', 'x')", "42P01"),
        ("dematerialize('orders', '_id')", "0A000"),
        ("materialize(1)", "22023"),
    ],
)
def test_what_cannot_move_is_refused_and_stays(
    shop: ServerProcess, call: str, sqlstate: str
) -> None:
    with shop.connect() as connection:
        before = _one(connection, DIGEST.format("orders"))
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(f"CALL morph.{call}")
        assert caught.value.sqlstate == sqlstate
        assert _one(connection, DIGEST.format("orders")) == before


def test_dotted_paths_are_assigned_without_quotes(shop: ServerProcess) -> None:
    # R0.3: SET address.city, INSERT (address.city), and PostgreSQL's words for a wrong one
    with shop.connect() as connection:
        with connection.transaction(force_rollback=True):
            query = "UPDATE orders SET address.city = 'Oslo' WHERE _id = 1 RETURNING address.city"
            assert _one(connection, query) == "Oslo"
            inserted = (
                "INSERT INTO orders (_id, address.city) VALUES (-1, 'Bonn') RETURNING address"
            )
            assert _one(connection, inserted) == {"city": "Bonn"}
        with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
            connection.execute("UPDATE orders SET address.city = nope WHERE _id = 1")
        assert caught.value.diag.statement_position == "34"
