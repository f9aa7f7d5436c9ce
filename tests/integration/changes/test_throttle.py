"""The copying of a shadow waits for its clients, and says so (EVOLUTION 4, issue 5 point 4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.changes import ChangesSettings
from config.settings import Settings
from evolution.changes.controller import ConnectionCatalog
from evolution.changes.throttle import SEEN_MIN, WAITS
from proxy.worker import Worker
from tests.integration.changes.conftest import QUICK
from tests.integration.changes.prices import change_type, in_state, make_prices, reaches, rows
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, eventually, running

LOCK = 20261122
PROBE = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK}"
SETTINGS = f"""{QUICK}throttle_active = 2
throttle_latency = "1h"
throttle_lag = "1h"
throttle_probe = "{PROBE}"
"""
WAIT_S = 60


@pytest.fixture(scope="module")
def slowed(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "throttled", SETTINGS) as process:
        yield process


@pytest.fixture
def server(slowed: ServerProcess) -> ServerProcess:
    empty_catalog(slowed)
    return slowed


def waits(client: psycopg.Connection[Any], why: str) -> None:
    """Wait until the change says that it copies nothing for this reason."""
    query = "SELECT state, reason FROM morph.progress"

    def told() -> bool:
        found = rows(client, query)
        return bool(found) and found[0][0] == "backfilling" and why in (found[0][1] or "")

    eventually(told, timeout_s=WAIT_S, what=why)


def test_a_probe_of_the_operators_own(server: ServerProcess) -> None:
    with server.connect() as client, server.connect() as other:
        make_prices(client)
        other.execute(f"SELECT pg_advisory_lock({LOCK})")
        change_type(client)
        waits(client, "the probe says 1 (changes.throttle_probe)")
        assert rows(client, "SELECT rows FROM morph.progress") == [(0,)]
        client.execute("UPDATE price SET x = 7 WHERE id = 1")  # the log is brought in all the same
        pending = "SELECT pending FROM morph.progress"
        eventually(lambda: rows(client, pending) == [(0,)], timeout_s=WAIT_S)
        assert in_state(client, "backfilling")
        other.execute(f"SELECT pg_advisory_unlock({LOCK})")
        reaches(client, "ready")
        assert rows(client, "SELECT reason FROM morph.progress") == [(None,)]


def test_many_statements_at_once(server: ServerProcess) -> None:
    """Three statements run while a lock is not given. The table has more than one chunk: the first
    may be copied before anybody looks.
    """
    with server.connect() as client, server.connect() as holder:
        make_prices(client, 100_000)
        holder.execute("SELECT pg_advisory_lock(1)")
        with_lock = [threading.Thread(target=_take_lock, args=(server,)) for _ in range(3)]
        for thread in with_lock:
            thread.start()
        try:
            active = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            eventually(lambda: rows(client, active) == [(3,)], timeout_s=WAIT_S)
            change_type(client)
            waits(client, "statements of clients run at once (changes.throttle_active)")
        finally:
            holder.execute("SELECT pg_advisory_unlock(1)")
            for thread in with_lock:
                thread.join(WAIT_S)
        reaches(client, "ready")


def _take_lock(server: ServerProcess) -> None:
    with server.connect() as client:
        client.execute("SELECT pg_advisory_lock_shared(1)")


async def test_the_driver_knows_how_long_statements_of_its_worker_take(
    server: ServerProcess,
) -> None:
    settings = replace(Settings(), changes=ChangesSettings(throttle_latency=0.01))
    worker = Worker(settings, socket_directory=str(server.socket_directory), number=7)
    connection = await worker.changes.connect()
    try:
        catalog = ConnectionCatalog(connection)
        throttle = worker.changes._driver(catalog)._throttle
        assert await throttle.why(catalog, 0.0) == ""
        for _ in range(SEEN_MIN):
            worker.metrics.statement_seconds.cell("1").observe(0.2)
        why = await throttle.why(catalog, 0.0)
        assert why == f"{WAITS}statements of clients take 0.25 s (changes.throttle_latency)"
    finally:
        await connection.close()
        await worker.close(0)
