"""R0.6: reads of clients are compared with the shadow of a table of MongoDB (V1; issue 5, 5).

The server has two workers: each compares the reads of its own sessions, and all are asked.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest
from bson.decimal128 import Decimal128

from tests.integration.changes.conftest import QUICK
from tests.integration.server_process import ServerProcess, eventually, running
from tests.services.changes.conftest import ROWS, Prices
from tests.services.changes.test_query_validation import shadow_of

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
INLINE = (
    f"{QUICK}[server]\nworkers = 2\n[validation]\ninline_share_bp = 10000\n"
    'inline_bytes = "256KB"\ninline_timeout = "30s"\ninline_waiting = 500\n'
)
CLIENTS = 4
ONE = "SELECT name FROM price WHERE id = 1"
WAIT_S = 90.0


@pytest.fixture(scope="module")
def morphgres() -> Iterator[ServerProcess]:
    """A server that compares every read."""
    with tempfile.TemporaryDirectory(prefix="morph-inline-", dir="/tmp") as name:
        Path(name).chmod(0o755)  # the private PostgreSQL runs as another user
        with running(Path(name) / "inline", INLINE) as process:
            yield process


def told(prices: Prices) -> str:
    """What CALL morph.validate(2, 'inline') says."""
    notices: list[str] = []

    def keep(diagnostic: psycopg.errors.Diagnostic) -> None:
        notices.append(f"{diagnostic.severity} {diagnostic.message_primary}")

    prices.client.add_notice_handler(keep)
    prices.run("CALL morph.validate(2, 'inline')")
    prices.client.remove_notice_handler(keep)
    return notices[-1]


def compared(prices: Prices) -> int:
    """Rows that reads compared until now."""
    query = "SELECT coalesce(sum(rows_compared), 0) FROM morph.validation_reports"
    return int(prices.rows(f"{query} WHERE method = 'inline'")[0][0])


def known(prices: Prices, read: Callable[[], object], reads: int = 1) -> None:
    """Until `read`, which asks for one row so often, is compared: workers learn of a change a
    moment later.
    """

    def looks() -> bool:
        before = compared(prices)
        read()
        told(prices)
        return compared(prices) - before == reads

    eventually(looks, timeout_s=WAIT_S, what="reads that are compared")


# The reads of all workers are compared, in both protocols, however the store answers them
def test_reads_of_all_workers_are_compared(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    clients = [prices.morphgres.connect() for _ in range(CLIENTS)]
    try:
        known(prices, lambda: [c.execute(ONE).fetchall() for c in clients], CLIENTS)
        before = compared(prices)
        for client in clients:
            client.execute("SELECT * FROM price").fetchall()
            client.execute("SELECT name FROM v2.price WHERE total > 2 AND id < 20").fetchall()
            client.execute("SELECT total FROM v2.price WHERE id = %s", (3,)).fetchall()
        assert told(prices).endswith("no differences")
        assert compared(prices) - before == CLIENTS * (ROWS + 3 + 1)
        assert told(prices).endswith("no reads were compared yet")
        shadow_of(prices).update_one({"_id": 7}, {"$set": {"total": Decimal128("7.77")}})
        for client in clients:
            client.execute("SELECT total FROM price WHERE id = 7").fetchall()
            client.execute("SELECT total FROM price WHERE id = 8").fetchall()
        assert told(prices).startswith("WARNING")
    finally:
        for client in clients:
            client.close()
    query = "SELECT type, message FROM morph.discrepancies"
    found = prices.rows(query)
    assert len(found) == CLIENTS
    assert {row[0] for row in found} == {"VALUE_MISMATCH"}
    assert all(row[1].endswith("SELECT total FROM price WHERE id = 7") for row in found)


async def _by_prepared(prices: Prices) -> list[str]:
    """What is said of reads by prepared statements, before and after a defect."""
    connection = await asyncpg.connect(
        host=prices.morphgres.host,
        port=prices.morphgres.port,
        user="morph",
        database="morph",
        timeout=60,
    )
    try:
        prepared = await connection.prepare("SELECT name, total FROM v2.price WHERE id = $1")
        async with asyncio.timeout(WAIT_S):
            while not compared(prices):  # its worker learns of the change a moment later
                await prepared.fetch(1)
                told(prices)
        before, said = compared(prices), []
        for number in (10, 20, 15, 15):
            assert len(await prepared.fetch(number)) == 1
        said.append(told(prices))
        assert compared(prices) - before == 4
        shadow_of(prices).update_one({"_id": 15}, {"$set": {"total": Decimal128("7.77")}})
        for number in (10, 15, 15):
            await prepared.fetch(number)
        said.append(told(prices))
    finally:
        await connection.close(timeout=30)
    return said


# Binary parameters and results, and batches that the store answers alone
def test_prepared_statements_are_compared_with_their_parameters(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    equal, different = asyncio.run(_by_prepared(prices))
    assert equal.endswith("no differences")
    assert "2 VALUE_MISMATCH" in different


# Equal content under writes has no difference, on both sides of the cut-over
def test_writes_make_no_difference(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    with prices.morphgres.connect() as client:
        client.prepare_threshold = None  # the cut-over changes the type of a column
        known(prices, lambda: client.execute(ONE).fetchall())
        before = compared(prices)
        stop = threading.Event()
        faults: list[BaseException] = []

        def write() -> None:
            try:
                with prices.morphgres.connect() as writer:
                    number = 0
                    while not stop.is_set():
                        number += 1
                        row = number % 50 + 1
                        writer.execute(f"UPDATE price SET total = {number}.25 WHERE id = {row}")
                        writer.execute(f"INSERT INTO price VALUES ({5000 + number}, 'w', 1)")
                        writer.execute(f"DELETE FROM price WHERE id = {4990 + number}")
            except BaseException as error:  # noqa: BLE001 (told below)
                faults.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(4):
                client.execute("SELECT * FROM price ORDER BY id").fetchall()
                client.execute("SELECT count(*), sum(total::numeric) FROM price").fetchall()
            assert told(prices).endswith("no differences")
            prices.run("CALL morph.promote(2)")
            for _ in range(4):
                client.execute("SELECT * FROM price ORDER BY id").fetchall()
            assert told(prices).endswith("no differences")
            assert compared(prices) - before > 4 * ROWS
            prices.documents.price.update_one({"_id": 300}, {"$set": {"total": 1.5}})
            damaged = "SELECT total FROM price WHERE id = 300"

            def found() -> bool:
                client.execute(damaged).fetchall()
                return "VALUE_MISMATCH" in told(prices)

            eventually(found, timeout_s=WAIT_S, what="the document that was changed")
        finally:
            stop.set()
            thread.join(60)
    assert not thread.is_alive()
    assert faults == []
    messages = [row[0] for row in prices.rows("SELECT message FROM morph.discrepancies")]
    assert all(message.endswith(damaged) for message in messages)
