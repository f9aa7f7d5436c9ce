"""What others answer wrongly (PEERS, section 3), each with its number there. Numbers 1 (a dead
cursor gives a short table) and 6 (ROLLBACK keeps rows, a given key is replaced) are in
test_faults.py, test_transactions.py and test_writes.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from bson import Binary, Decimal128, Int64, ObjectId

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess
from tests.services.conftest import PROPERTY
from tests.services.federation.loading import mongodb_client, run
from tests.services.federation.placing import create_server_text
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
DATABASE = "wrong_answers"
IDS = [ObjectId(f"6650f0a1b2c3d4e5f6a7b8{n:02x}") for n in range(40)]


def _documents() -> dict[str, list[dict[str, Any]]]:
    people: list[dict[str, Any]] = [
        {"_id": IDS[n], "name": f"p{n}", "age": n, "tags": ["a", "b"], "lines": [{"sku": n}]}
        for n in range(40)
    ]
    people[7]["name"] = None
    del people[8]["name"]
    mixed: list[dict[str, Any]] = [{"_id": n, "a": n} for n in range(5)]
    mixed += [{"_id": 5, "a": "3"}, {"_id": 6, "a": 2.5}, {"_id": 7}, {"_id": 8, "a": None}]
    odd: list[dict[str, Any]] = [{"_id": ObjectId(), "n": n, "list": [n]} for n in range(3)]
    odd += [
        {"_id": 4711, "n": Int64(2**40), "list": 5},
        {"_id": "text", "n": 2**31, "list": None, "late": "seen late"},
    ]
    exact: list[dict[str, Any]] = [
        {"_id": 1, "d": Decimal128("0.1"), "n": Int64(2**53 + 1), "f": 0.1},
        {"_id": 2, "d": Decimal128("0.10"), "n": Int64(2**53), "f": float(2**53)},
        {"_id": 3, "d": Decimal128("1E+3"), "n": Int64(-(2**63)), "f": -0.0},
    ]
    blobs: list[dict[str, Any]] = [{"_id": 1, "b": Binary(b"\0\xff")}]
    return {"people": people, "mixed": mixed, "odd": odd, "exact": exact, "blobs": blobs}


@pytest.fixture(scope="module")
def server(mongodb: RunningServer, morphgres: ServerProcess) -> RunningServer:
    """The collections, imported."""
    with mongodb_client(mongodb) as client:
        client.drop_database(DATABASE)
        for name, documents in _documents().items():
            client[DATABASE][name].insert_many(documents)
    empty_catalog(morphgres)
    with morphgres.connect() as session:
        run(session, create_server_text("m", mongodb, database=DATABASE))
        run(session, f"IMPORT FOREIGN SCHEMA {DATABASE} FROM SERVER m INTO public")
    return mongodb


@pytest.fixture
def client(
    server: RunningServer, morphgres: ServerProcess, record_property: Any
) -> Iterator[Connection]:
    record_property(PROPERTY, server.label)
    with morphgres.connect() as connection:
        yield connection


def rows(client: Connection, text: str) -> list[tuple[Any, ...]]:
    return client.execute(text.encode()).fetchall()


def plan(client: Connection, text: str) -> str:
    return "\n".join(row[0] for row in rows(client, f"EXPLAIN (VERBOSE) {text}"))


def test_2_aggregates_over_no_rows_are_one_row(client: Connection) -> None:
    text = "SELECT count(*), count(age), sum(age), max(age), avg(age) FROM people WHERE age > 999"
    assert rows(client, text) == [(0, 0, None, None, None)]
    assert rows(client, "SELECT age, count(*) FROM people WHERE age > 999 GROUP BY age") == []


def test_3_a_key_as_text_is_found_by_its_index(client: Connection) -> None:
    text = f"SELECT name FROM people WHERE _id = '{IDS[3]}'"
    assert rows(client, text) == [("p3",)]
    assert str(IDS[3]) in plan(client, text)
    assert rows(client, "SELECT name FROM people WHERE _id = 'no key at all'") == []


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("age IN (3, 5, 77)", 2),
        ("age = ANY ('{3,5,77}')", 2),
        ("name LIKE 'p1%'", 11),
        ("name IS NULL", 2),
        ("name IS NOT NULL", 38),
    ],
)
def test_4_conditions_go_to_the_store(client: Connection, condition: str, count: int) -> None:
    text = f"SELECT _id FROM people WHERE {condition}"
    assert len(rows(client, text)) == count
    shown = plan(client, text)
    assert "Pushed: nothing" not in shown
    assert "find({}," not in shown


def test_5_a_comparison_stays_within_its_type(client: Connection) -> None:
    kind = rows(
        client,
        "SELECT data_type FROM information_schema.columns WHERE table_schema = 'public' "
        "AND table_name = 'mixed' AND column_name = 'a'",
    )
    assert kind == [("jsonb",)]  # a type in which no value is lost
    found = rows(client, "SELECT a FROM mixed WHERE a IS NOT NULL")
    assert sorted(json.dumps(a) for (a,) in found) == ['"3"', "0", "1", "2", "2.5", "3", "4"]
    run(
        client,
        "CREATE FOREIGN TABLE IF NOT EXISTS narrow (_id bigint, a bigint) SERVER m "
        "OPTIONS (collection 'mixed', key '_id')",
    )
    assert sorted(rows(client, "SELECT _id FROM narrow WHERE a > 1")) == [(2,), (3,), (4,)]
    assert rows(client, "SELECT count(*) FROM narrow WHERE NOT a > 1") == [(2,)]


def test_7_one_odd_document_fails_nothing(client: Connection) -> None:
    assert rows(client, "SELECT count(*), max(n) FROM odd") == [(5, 2**40)]
    assert len(rows(client, "SELECT * FROM odd")) == 5
    assert rows(client, "SELECT n FROM odd WHERE n > 2147483647 ORDER BY n") == [
        (2**31,),
        (2**40,),
    ]
    assert rows(client, "SELECT count(*) FROM odd WHERE _id IS NOT NULL") == [(5,)]


def test_8_a_field_of_a_later_document_is_there(client: Connection) -> None:
    assert rows(client, "SELECT late FROM odd WHERE late IS NOT NULL") == [("seen late",)]


def test_9_an_array_of_objects(client: Connection) -> None:
    assert len(rows(client, "SELECT * FROM people LIMIT 2")) == 2
    assert rows(client, "SELECT count(*), sum(sku) FROM people_lines") == [(40, 780)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT count(*) FROM people WHERE name <> 'p1'", [(37,)]),
        ("SELECT count(*) FROM people WHERE NOT (name = 'p1')", [(37,)]),
        ("SELECT count(*) FROM people WHERE name IS DISTINCT FROM 'p1'", [(39,)]),
        ("SELECT name FROM people ORDER BY name DESC LIMIT 2", [(None,), (None,)]),
        ("SELECT name FROM people ORDER BY name DESC NULLS LAST LIMIT 1", [("p9",)]),
        ("SELECT name FROM people ORDER BY name NULLS FIRST LIMIT 1", [(None,)]),
        ("SELECT name FROM people ORDER BY name LIMIT 1", [("p0",)]),
        ("SELECT count(*) FROM people WHERE name LIKE 'P%'", [(0,)]),
        ("SELECT count(*) FROM people WHERE name LIKE '__'", [(8,)]),
        ("SELECT count(*) FROM people WHERE name LIKE 'p.'", [(0,)]),
        ("SELECT sum(age / 2) FROM people", [(380,)]),
        ("SELECT _id FROM exact WHERE d = 0.1 ORDER BY _id", [(1,), (2,)]),
        ("SELECT d::text FROM exact ORDER BY _id", [("0.1",), ("0.10",), ("1000",)]),
        ("SELECT _id FROM exact WHERE n = 9007199254740993", [(1,)]),
        ("SELECT _id FROM exact WHERE n > 9007199254740992", [(1,)]),
        ("SELECT sum(n) FROM exact", [(9007199254740993 + 9007199254740992 - 2**63,)]),
        ("SELECT _id FROM exact WHERE f = 0", [(3,)]),
        ("SELECT _id FROM exact WHERE d = f::numeric ORDER BY 1", [(1,)]),
        ("SELECT b = '\\x00ff' FROM blobs", [(True,)]),
    ],
)
def test_10_traps_of_meaning(
    client: Connection, text: str, expected: list[tuple[Any, ...]]
) -> None:
    for mode in ("on", "off"):
        run(client, f"SET morph.pushdown = {mode}")
        assert rows(client, text) == expected, mode
