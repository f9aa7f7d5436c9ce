"""LIMIT over a join within one server: the rows with a partner are found by $lookup, for every kind
of key that BSON has, exactly as PostgreSQL joins them (issue 4.1, R0.5).
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bson import Binary, Decimal128, Int64, ObjectId
from pymongo import MongoClient

from backends.base import Partner, ScanAsk, Scope
from catalog.model import Column, Native, Table
from engine.exactness import judge_for
from tests.services.clients import Shop
from tests.services.mongodb.scanning import Store, open_store, scan_rows
from tests.services.servers.process import RunningServer
from tests.services.servers.secantus import start_secantus

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
HEX = "6650f0a1b2c3d4e5f6a7b8{:02x}".format
KEYS: tuple[Any, ...] = (
    *(5, Int64(6), 7.0, 8.5, Decimal128("9"), Int64(2**53 + 1), 2.0**53, -1, 0),
    *(ObjectId(HEX(1)), HEX(2), HEX(3).upper(), "a", "", "nul\0", "5"),
    *(None, True, {"k": 1}, Binary(bytes(16), 4)),
)
VALUES: tuple[Any, ...] = (
    *(5, 5.0, Int64(5), Decimal128("5"), [5], 6, 7, 7.0, 8.5, 9, Decimal128("9")),
    *(Int64(2**53 + 1), Int64(2**53), 2.0**53, -1, -0.0, 0, 1, 2.5),
    *(ObjectId(HEX(1)), HEX(1), HEX(1).upper(), ObjectId(HEX(2)), HEX(2), HEX(2).upper()),
    *(ObjectId(HEX(3)), HEX(3), HEX(3).upper(), "a", "A", "", "nul\0", "5", "zz"),
    *(None, True, {"k": 1}, Binary(bytes(16), 4), Binary(bytes(16), 3), ["a"], [ObjectId(HEX(1))]),
)
TYPES = ("bigint", "int", "text", "varchar(30)", "numeric", "double precision", "boolean")


@pytest.fixture
def joined(shop: Shop) -> Shop:
    """A collection with every kind of value in `ref`, and one with every kind of `_id`."""
    shop.documents.people.insert_many({"_id": key, "name": repr(key)} for key in KEYS)
    shop.documents.orders.insert_many(
        [
            *({"_id": n, "ref": value, "sub": {"ref": value}} for n, value in enumerate(VALUES)),
            {"_id": 900},
            {"_id": 901, "sub": [{"ref": 5}, {"ref": "a"}]},
        ]
    )
    return shop


def make_tables(shop: Shop, kind: str, suffix: str = "") -> None:
    """Foreign tables of both collections, with this type for the key and what refers to it."""
    shop.run(
        f"CREATE FOREIGN TABLE people{suffix} (id {kind} OPTIONS (path '_id'), name text) "
        "SERVER s OPTIONS (collection 'people', key 'id')",
        f"CREATE FOREIGN TABLE orders{suffix} (id bigint OPTIONS (path '_id'), ref {kind}, "
        f"inner_ref {kind} OPTIONS (path 'sub.ref')) "
        "SERVER s OPTIONS (collection 'orders', key 'id')",
    )


STATEMENTS = (
    "SELECT o.id, p.name FROM orders o JOIN people p ON o.ref = p.id ORDER BY o.id LIMIT 4",
    "SELECT o.id, p.name FROM orders o JOIN people p ON o.ref = p.id ORDER BY o.id DESC LIMIT 50",
    "SELECT o.*, p.* FROM people p, orders o WHERE o.inner_ref = p.id ORDER BY o.id LIMIT 7 "
    "OFFSET 1",
    "SELECT o.id, p.id FROM orders o JOIN people p ON p.id = o.ref AND o.id > 5 ORDER BY o.id "
    "LIMIT 3",
    "SELECT o.id FROM orders o JOIN people p ON p.id = o.ref WHERE o.ref IS NOT NULL ORDER BY o.id "
    "LIMIT 5",
    "SELECT o.id, p.name FROM orders o LEFT JOIN people p ON o.ref = p.id ORDER BY o.id LIMIT 30",
    "SELECT o.id, p.name FROM people p RIGHT JOIN orders o ON o.ref = p.id ORDER BY o.id DESC "
    "LIMIT 5",
    "SELECT o.id, p.name FROM orders o LEFT JOIN people p ON o.inner_ref = p.id AND p.name <> '5' "
    "WHERE o.id < 25 ORDER BY o.id LIMIT 9",
)


@pytest.mark.parametrize("kind", TYPES)
def test_rows_with_a_partner(joined: Shop, kind: str) -> None:
    make_tables(joined, kind)
    for text in STATEMENTS:
        joined.run("SET morph.pushdown = off")
        expected = joined.rows(text)
        joined.run("SET morph.pushdown = on")
        assert joined.rows(text) == expected, text
        assert joined.rows(text.split(" ORDER BY ", maxsplit=1)[0] + " LIMIT 0") == []


def native(shop: Shop, text: str) -> str:
    """What EXPLAIN says."""
    return "\n".join(line for (line,) in shop.rows(f"EXPLAIN (VERBOSE) {text}"))


def test_explain_shows_the_lookup(joined: Shop, mongodb: RunningServer) -> None:
    make_tables(joined, "bigint")

    def on(suffix: str) -> str:
        tables = f"orders{suffix} o JOIN people{suffix} p"
        return f"SELECT o.id FROM {tables} ON o.ref = p.id ORDER BY o.id LIMIT 3"

    told = native(joined, on(""))
    looked = (
        '{"$lookup": {"from": "people", "localField": "ref", "foreignField": "_id", '
        '"as": "morph~l"}}'
    )
    assert looked in told
    assert '{"$limit": 3}' in told
    assert 'Semi-Join: "id" = ANY (keys of "o")' in told
    make_tables(joined, "text", "_text")
    told = native(joined, on("_text"))
    if mongodb.product == "SecantusDB":
        assert '"localField": "morph~w"' in told  # an ObjectId as text, and the other way round
    else:
        assert "Reason: partners by ObjectId or text: the server cannot convert one" in told
    make_tables(joined, "numeric", "_numeric")
    assert "Reason: partners by a key of another type" in native(joined, on("_numeric"))


# In a transaction partners that it made itself count, and those that it deleted do not
def test_partners_of_the_own_transaction(joined: Shop, mongodb: RunningServer) -> None:
    text = "SELECT o.id, p.name FROM orders o JOIN people p ON o.ref = p.id ORDER BY o.id LIMIT 3"
    make_tables(joined, "bigint")
    before = joined.rows(text)
    assert before[0] == (0, "5")
    joined.run("BEGIN", "SELECT 1 FROM people")
    if mongodb.product == "SecantusDB":
        joined.run("DELETE FROM people WHERE id = 5", "INSERT INTO people VALUES (1, 'made')")
        joined.run("SET morph.pushdown = off")
        expected = joined.rows(text)
        joined.run("SET morph.pushdown = on")
        assert joined.rows(text) == expected
        assert expected != before
    joined.run("ROLLBACK")
    assert joined.rows(text) == before


ORDERS = Table(
    1,
    "orders",
    "foreign",
    (Column(1, "id", "bigint", Native(("_id",))), Column(2, "ref", "bigint", Native(("ref",)))),
    native=("looking", "orders"),
    key=(1,),
)
PEOPLE = Table(
    2, "people", "foreign", (Column(3, "id", "bigint", Native(("_id",))),),
    native=("looking", "people"), key=(3,),
)  # fmt: skip


@pytest_asyncio.fixture
async def failing() -> AsyncIterator[Store]:
    """A server that can be told to fail."""
    with tempfile.TemporaryDirectory(prefix="morph-looking-") as home:
        server = start_secantus(Path(home), "--enable-test-commands")
        try:
            async with open_store(server, "looking") as store:
                await store.db.people.insert_many([{"_id": 1}, {"_id": 2}])
                await store.db.orders.insert_many([{"_id": n, "ref": n % 4} for n in range(9)])
                yield store
        finally:
            server.stop()


# A server that turns out not to look up is asked for all rows, and not again
async def test_a_server_that_fails_to_look_up(
    failing: Store, record_property: Callable[[str, object], None]
) -> None:
    record_property("server", failing.server.label)
    backend = failing.backend
    await backend.server(Scope())
    ask = ScanAsk(1, (1, 2), limit=2, judge=judge_for("mongodb"), partner=Partner(2, PEOPLE, 3))
    plan = backend.plan_scan(ORDERS, ask)
    assert plan.limit_exact
    assert [row[0] for row in await scan_rows(backend, plan)] == [1, 2]
    point = {"failCommands": ["aggregate"], "errorCode": 40324}
    command = {"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": point}
    with MongoClient[dict[str, Any]](failing.server.uri) as client:
        client.admin.command(command)
    found = await scan_rows(backend, plan)
    assert sorted(row[0] for row in found) == list(range(9))
    again = backend.plan_scan(ORDERS, ask)
    assert not again.limit_exact
    assert "$lookup" not in str(again.native)
