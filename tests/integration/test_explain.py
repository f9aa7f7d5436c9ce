"""EXPLAIN over store tables: PostgreSQL's plan in the client's names, and our part."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import psycopg
import pytest
from psycopg import errors

from tests.integration.server_process import ServerProcess
from tests.integration.shop import rolled_back
from tests.integration.wire import SYNC, WireClient, bind, describe, execute, kinds, parse

GOLDEN = Path(__file__).parent.parent / "golden" / "explain"
Connection = psycopg.Connection[Any]


@pytest.fixture
def client(shop: ServerProcess) -> Iterator[Connection]:
    with rolled_back(shop) as connection:
        yield connection


def lines(connection: Connection, sql: str, **options: Any) -> list[str]:
    return [str(r[0]) for r in connection.execute(sql, **options).fetchall()]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.sql")), ids=lambda p: p.stem)
def test_text_is_as_agreed(client: Connection, path: Path) -> None:
    # R6.2; the golden files are written anew with MORPHGRES_GOLDEN=write
    client.execute("SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off")
    found = "\n".join(lines(client, path.read_text().strip())) + "\n"
    expected = path.with_suffix(".txt")
    if os.environ.get("MORPHGRES_GOLDEN") == "write":
        expected.write_text(found)
    assert found == expected.read_text()


@pytest.mark.parametrize("prepare", [False, True])
def test_without_verbose_there_is_one_line(client: Connection, prepare: bool) -> None:
    found = lines(client, "EXPLAIN SELECT * FROM orders WHERE _id = 5", prepare=prepare)
    assert "on orders t" in found[0]
    assert found[-1] == "Morphgres: tier 1 (answered by the store)"


def test_json(client: Connection) -> None:
    sql = "EXPLAIN (FORMAT json, ANALYZE, VERBOSE, BUFFERS) SELECT status FROM v1.orders LIMIT 1"
    [(document,)] = client.execute(sql).fetchall()
    [top] = document
    assert top["Plan"]["Plans"][0]["Relation Name"] == "orders"
    assert top["Plan"]["Plans"][0]["Schema"] == "v1"
    assert top["Morphgres"]["Tier"] == 1
    assert top["Morphgres"]["Tables"] == [
        {"Name": "orders", "Namespace": "v1", "Version": 1, "Instance": "local",
         "Kind": "embedded"}
    ]  # fmt: skip
    assert "morph_store" not in json.dumps(top)


def test_xml_and_yaml(client: Connection) -> None:
    text = "\n".join(lines(client, "EXPLAIN (FORMAT xml, VERBOSE) SELECT '<&>' FROM orders"))
    space = "{http://www.postgresql.org/2009/explain}"
    found = ET.fromstring(text).find(f"{space}Query/{space}Morphgres/{space}Native")
    assert found is not None
    assert found.text == "SELECT '<&>' FROM \"morph_v1\".orders"
    [yaml] = lines(client, "EXPLAIN (FORMAT yaml) SELECT 1 FROM orders")
    assert yaml.endswith('  Morphgres: \n    Tier: 1\n    Tier Name: "answered by the store"')


def test_analyze_runs_the_statement(client: Connection) -> None:
    sql = "UPDATE orders SET status = 'gone', total = 7 WHERE _id = 3"
    found = lines(client, f"EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) {sql}")
    assert found[0] == "Update on orders t (actual rows=0.00 loops=1)"
    assert client.execute("SELECT status FROM orders WHERE _id = 3").fetchall() == [("gone",)]


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("EXPLAIN SELECT nope FROM orders", "nope"),
        ("EXPLAIN INSERT INTO orders (_id, total) VALUES (1, 'x')", "'x'"),
        ("EXPLAIN UPDATE orders SET nope = 1", "nope"),
        ("EXPLAIN (FORMAT odd) SELECT 1 FROM orders", "FORMAT"),
    ],
)
def test_errors_point_into_the_clients_text(client: Connection, sql: str, word: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        client.execute(sql)
    assert caught.value.diag.statement_position == str(sql.index(word) + 1)


def test_string_constants_stay(client: Connection) -> None:
    found = lines(client, "EXPLAIN SELECT 1 FROM orders WHERE status = 'on t34 of c35'")
    assert any("'on t34 of c35'" in line for line in found)


def test_execute_with_a_limit_gives_all_rows(shop: ServerProcess) -> None:
    with WireClient(shop.host, shop.port) as raw:
        raw.log_in()
        raw.send(parse("EXPLAIN SELECT * FROM orders WHERE _id = $1"), bind((b"5",)))
        raw.send(describe("P"), execute(limit=1), SYNC)
        answers = raw.read_until()
        assert kinds(answers).replace("D", "") == "12TCZ"
        assert answers[-3].values == [b"Morphgres: tier 1 (answered by the store)"]


def test_a_failed_explain_leaves_the_session_well(shop: ServerProcess) -> None:
    with shop.connect() as connection:
        with pytest.raises(errors.DivisionByZero):
            connection.execute("EXPLAIN ANALYZE SELECT 1 / (_id - _id) FROM orders")
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
