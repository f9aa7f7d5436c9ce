"""R0.6, R4.5: queries on both layouts of a change of MongoDB's tables (V6; issue 5, 5)."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import asyncpg
import psycopg
import pytest
from bson.decimal128 import Decimal128

from config.settings import Settings
from evolution.changes.controller import ConnectionCatalog
from evolution.changes.records import load_record
from evolution.validation.localise import unequal
from proxy.commands.own_layouts import OwnLayouts
from tests.integration.server_process import eventually
from tests.services.changes.conftest import CHANGE, ROWS, Prices

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
FOUND = (
    "SELECT record_id, type, severity FROM morph.discrepancies WHERE report_id = "
    "(SELECT max(report_id) FROM morph.validation_reports WHERE method = 'query') ORDER BY seq"
)
LAST = (
    "SELECT state, verdict, rows_compared, message FROM morph.validation_reports "
    "WHERE method = 'query' ORDER BY report_id DESC LIMIT 1"
)


def asked(*queries: str) -> str:
    texts = ", ".join("'" + query.replace("'", "''") + "'" for query in queries)
    return f"CALL morph.validate(2, 'query', ARRAY[{texts}])"


def shadow_of(prices: Prices) -> Any:
    """The other collection."""
    names = prices.documents.list_collection_names()
    [name] = [each for each in names if each.startswith("morph_t")]
    return prices.documents[name]


GIVEN = {
    "SELECT count(*), sum(total::numeric) FROM price": None,
    "SELECT total, name FROM price WHERE id < 40 ORDER BY id": None,
    "SELECT p.*, q.total FROM price p JOIN v1.price q USING (id) WHERE id < 50": None,
    "SELECT name FROM price WHERE total > 3 AND total < 9 ORDER BY id DESC LIMIT 7": None,
    "SELECT p.total, h.x FROM price p JOIN here h ON h.id = p.id ORDER BY 1, 2": None,
    "SELECT id FROM price LIMIT 3": None,
    "SELECT sum(total) FROM price": None,
    "SELECT random() FROM price": "NONDETERMINISTIC",
    "SELECT 1 / (id - 7) FROM price": None,
    "SELECT nothing FROM price": None,
    "WITH one AS (SELECT * FROM price WHERE id = 1) SELECT * FROM one": None,
    "SELECT 1 FROM price": None,
}


# Equal layouts give equal answers in both versions; what chance decides is said to be so
def test_given_queries_have_the_same_answers(prices: Prices) -> None:
    prices.run("CREATE TABLE here (id int PRIMARY KEY, x int)")
    prices.run("INSERT INTO here SELECT n, n FROM generate_series(1, 20) n")
    prices.change()
    prices.reaches("ready")
    prices.run("DELETE FROM price WHERE id = 3", "INSERT INTO price VALUES (1001, 'new', 1.239)")
    prices.run(asked(*GIVEN))
    expected = [
        (f"query {number}", category, "info")
        for number, category in enumerate(GIVEN.values(), 1)
        if category
        for _ in (1, 2)
    ]
    assert prices.rows(FOUND) == expected
    ((state, verdict, compared, message),) = prices.rows(LAST)
    assert (state, verdict) == ("done", "equal")
    assert compared > 2 * ROWS
    assert message.startswith("24 answers (4 of them errors), median time of")


# A document that was changed behind is found in both versions and both directions
def test_another_value_is_found_in_both_directions(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    point, most = "SELECT total FROM price WHERE id = 5", "SELECT total FROM price ORDER BY id"
    shadow = shadow_of(prices)
    shadow.update_one({"_id": 5}, {"$set": {"total": Decimal128("9.99")}})
    prices.run(asked(point, most, "SELECT total FROM price WHERE id = 6"))
    assert prices.rows(FOUND) == [
        (query, "VALUE_MISMATCH", "critical") for query in ("query 1", "query 2") for _ in (1, 2)
    ]
    shadow.update_one({"_id": 5}, {"$set": {"total": Decimal128("0.63")}})
    shadow.delete_one({"_id": 6})
    prices.run(asked("SELECT count(*) FROM price", point))
    assert prices.rows(FOUND) == [("query 1", "VALUE_MISMATCH", "critical")] * 2
    prices.run("UPDATE price SET name = 'again' WHERE id = 6", "CALL morph.promote(2)")
    prices.run(asked(point, most))
    assert prices.rows(FOUND) == []
    prices.documents.price.update_one({"_id": 5}, {"$set": {"total": 9.5}})
    prices.run(asked(point, most))
    assert {row[:2] for row in prices.rows(FOUND)} == {
        ("query 1", "VALUE_MISMATCH"), ("query 2", "VALUE_MISMATCH"),
    }  # fmt: skip


# What was logged is replayed; what cannot be compared is left out, or refused when it is given
def test_logged_statements_and_what_is_refused(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    prices.rows("SELECT max(total) FROM price WHERE id > 4")
    prices.run("CALL morph.validate(2, method => 'query')")
    assert prices.rows(LAST)[0][1] == "equal"
    shadow_of(prices).update_one({"_id": 300}, {"$set": {"total": Decimal128("9999.99")}})
    prices.run("CALL morph.validate(2, method => 'query')")
    logged = prices.rows("SELECT fingerprint FROM morph.statements WHERE query ~ '^SELECT max'")
    assert {row[0] for row in logged} <= {row[0] for row in prices.rows(FOUND)}
    for query in ("SELECT 1", "DELETE FROM price"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="query 1 is no SELECT"):
            prices.run(asked(query))
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="whole documents") as refused:
        prices.run(asked("SELECT _doc FROM price"))
    assert refused.value.diag.message_hint == "Use full, checksum or sample for it."


# Equal content under writes has no difference, and a defect is found all the same (no false alarm)
def test_what_is_being_written_is_no_difference(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    stop = threading.Event()
    faults: list[BaseException] = []

    def write() -> None:
        try:
            with prices.morphgres.connect() as writer:
                number = 0
                while not stop.is_set():
                    number += 1
                    row = number % 100 + 1
                    writer.execute(f"UPDATE price SET total = {number}.25 WHERE id = {row}")
                    writer.execute(f"INSERT INTO price VALUES ({5000 + number}, 'w', {number})")
                    writer.execute(f"DELETE FROM price WHERE id = {4990 + number}")
        except BaseException as error:  # noqa: BLE001 (told below)
            faults.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    queries = (
        "SELECT count(*), sum(total::numeric) FROM price",
        "SELECT id, total FROM price ORDER BY id",
        "SELECT total FROM price WHERE id = 50",
    )
    try:
        for _ in range(5):
            prices.run(asked(*queries))
            assert prices.rows(FOUND) == []
        shadow_of(prices).update_one({"_id": 400}, {"$set": {"total": Decimal128("1.11")}})
        prices.run(asked(*queries))
        found = {row[:2] for row in prices.rows(FOUND)}
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert faults == []
    assert found == {("query 1", "VALUE_MISMATCH"), ("query 2", "VALUE_MISMATCH")}


async def _read_around_a_write(prices: Prices) -> dict[bytes, tuple[int, int]]:
    """Both sides' positions of the rows that differ, when row 5 is written between the reads."""
    socket = str(prices.morphgres.socket_directory)

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(
            host=socket, port=5432, user="morph_root", database="morph", timeout=60,
            statement_cache_size=0,
        )  # fmt: skip

    control = await connect()
    own = OwnLayouts(connect, Settings())
    try:
        async with ConnectionCatalog(control).transaction() as tx:
            work = (await load_record(tx, CHANGE)).work()
        [log] = [n for n in prices.documents.list_collection_names() if n.startswith("morph_log")]
        async with own.layouts.sides(work, work.tables[0]) as (live, shadow):
            before = await live.chunk(None, None, 0)
            prices.run("UPDATE price SET total = 77.5 WHERE id = 5")
            eventually(
                lambda: prices.documents[log].count_documents({}) == 0,
                timeout_s=60,
                what="the write is brought in, and gone from the log",
            )
            after = await shadow.chunk(None, None, 0)
            return {
                pair.key: (pair.live.lsn, pair.shadow.lsn)
                for pair in unequal(before.split(), after.split())
                if pair.live is not None and pair.shadow is not None
            }
    finally:
        await own.close()
        await control.close(timeout=30)


# Whoever compares, in whatever process: a write between its two reads is no difference
def test_a_write_between_two_reads_is_in_flight_for_every_process(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    found = asyncio.run(_read_around_a_write(prices))
    [(live, shadow)] = found.values()
    assert live != shadow
