"""R0.6, R4.5, DESIGN 7.6: reads of clients are answered from the shadow, too (V1)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.integration.changes.conftest import QUICK
from tests.integration.changes.prices import change_type, make_prices, reaches, rows
from tests.integration.changes.test_replays import damage
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, eventually, running

INLINE = (
    f'{QUICK}[validation]\ninline_share_bp = 10000\ninline_bytes = "64KB"\n'
    'inline_timeout = "20s"\ninline_waiting = 200\n'
)
LAST = (
    "SELECT state, verdict, rows_compared, discrepancies FROM morph.validation_reports "
    "WHERE method = 'inline' ORDER BY report_id DESC LIMIT 1"
)
WAIT_S = 60.0


@pytest.fixture(scope="module")
def comparing(open_directory: Path) -> Iterator[ServerProcess]:
    """A server that compares every read."""
    with running(open_directory / "inline", INLINE) as process:
        yield process


@pytest.fixture
def server(comparing: ServerProcess) -> ServerProcess:
    """The same without any table."""
    empty_catalog(comparing)
    return comparing


def ready(client: psycopg.Connection[Any]) -> None:
    make_prices(client)
    change_type(client)
    reaches(client, "ready")


def told(client: psycopg.Connection[Any]) -> str:
    """What CALL morph.validate(2, 'inline') says."""
    notices: list[str] = []
    handler = lambda n: notices.append(f"{n.severity} {n.message_primary}")  # noqa: E731
    client.add_notice_handler(handler)
    client.execute("CALL morph.validate(2, 'inline')")
    client.remove_notice_handler(handler)
    return notices[-1]


def compares(client: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    """Read until a report has a read of it: the worker learns of a change a moment later."""

    def reported() -> tuple[Any, ...] | None:
        client.execute(query)
        if "no reads" in told(client):
            return None
        return rows(client, LAST)[0]

    found = eventually(reported, timeout_s=WAIT_S, what="a read that is compared")
    assert found is not None
    return found


@pytest.mark.timeout(300)
def test_reads_are_compared_and_equal(server: ServerProcess) -> None:
    with server.connect() as client:
        ready(client)
        state, verdict, compared, found = compares(client, "SELECT * FROM price")
        assert (state, verdict, found) == ("done", "equal", 0)
        assert compared % 500 == 0
        assert compared > 0
        assert told(client).endswith("no reads were compared yet")


@pytest.mark.timeout(300)
def test_another_value_in_the_shadow_is_found(server: ServerProcess) -> None:
    with server.connect() as client:
        ready(client)
        compares(client, "SELECT count(*) FROM price")
        damage(server, "UPDATE {0} SET {1} = 7 WHERE {1} = 1.5")
        client.execute("SELECT x FROM price WHERE id = 15")
        client.execute("SELECT x FROM price WHERE id = 16")
        assert "1 VALUE_MISMATCH" in told(client)
        query = (
            "SELECT type, severity, message FROM morph.discrepancies WHERE report_id = "
            "(SELECT max(report_id) FROM morph.validation_reports WHERE method = 'inline')"
        )
        ((category, severity, message),) = rows(client, query)
        assert (category, severity) == ("VALUE_MISMATCH", "critical")
        assert message.endswith("SELECT x FROM price WHERE id = 15")


async def _by_prepared(server: ServerProcess) -> None:
    connection = await asyncpg.connect(
        host=server.host, port=server.port, user="morph", database="morph", timeout=60
    )
    try:
        prepared = await connection.prepare("SELECT id, x FROM price WHERE id >= $1 AND id < $2")
        for number in (10, 20, 15):
            assert len(await prepared.fetch(number, number + 5)) == 5
    finally:
        await connection.close(timeout=5)


@pytest.mark.timeout(300)
def test_prepared_statements_are_compared_with_their_parameters(server: ServerProcess) -> None:
    """Binary parameters and results: the bytes are those that the client sent and got."""
    with server.connect() as client:
        ready(client)
        compares(client, "SELECT count(*) FROM price")
        asyncio.run(_by_prepared(server))
        assert told(client).endswith("no differences")
        assert rows(client, LAST)[0][2] == 15
        damage(server, "UPDATE {0} SET {1} = 7 WHERE {1} = 1.5")
        asyncio.run(_by_prepared(server))
        assert "1 VALUE_MISMATCH" in told(client)
        client.execute("SELECT x FROM price WHERE id = %s", (15,))  # in one piece with its Parse
        assert "1 VALUE_MISMATCH" in told(client)


@pytest.mark.timeout(300)
def test_writes_make_no_difference(server: ServerProcess) -> None:
    with server.connect() as client:
        ready(client)
        client.execute("CALL morph.promote(2)")
        compares(client, "SELECT count(*) FROM price")
        stop = threading.Event()

        def write() -> None:
            with server.connect() as writer:
                number = 0
                while not stop.is_set():
                    number += 1
                    writer.execute(f"UPDATE price SET x = {number} WHERE id = {number % 50 + 1}")
                    writer.execute(f"DELETE FROM price WHERE id = {500 - number % 200}")

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(60):
                client.execute("SELECT * FROM price ORDER BY id")
        finally:
            stop.set()
            thread.join(60)
        assert not thread.is_alive()
        assert told(client).endswith("no differences")
        ((_, verdict, compared, found),) = rows(client, LAST)
        assert (verdict, found) == ("equal", 0)
        assert compared > 0


@pytest.mark.timeout(300)
def test_a_shadow_that_cannot_be_read_is_nobodys_trouble(server: ServerProcess) -> None:
    """Invariant 6: the live answer neither fails nor waits."""
    with server.connect() as client, server.root() as root:
        ready(client)
        compares(client, "SELECT count(*) FROM price")
        query = "SELECT relname FROM pg_class WHERE relname ~ '^t[0-9]+s2$'"
        ((shadow,),) = root.execute(query).fetchall()
        with root.transaction():
            root.execute(f"LOCK TABLE morph_store.{shadow} IN ACCESS EXCLUSIVE MODE")
            for number in range(1, 50):
                found = rows(client, f"SELECT x FROM price WHERE id = {number}")
                assert found == [(number * 10,)]
        large = rows(client, "SELECT repeat('x', 1000) FROM price")
        assert len(large) == 500
        assert told(client).endswith("no differences")
