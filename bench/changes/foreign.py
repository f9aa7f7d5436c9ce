"""Cut-overs of a table in another store: `CALL morph.promote` and back, under writers.

Unlike the case of the embedded store this one goes through the controller: the last look inside of
the fence is the real one, and a statement's wait is all that its client waited. How long clients
were held is what the server's own log says.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from cassandra.cluster import Cluster
from pymongo import MongoClient

from bench.changes.bed import PAUSE_S, SETTLE_S, Options, p99, writing
from bench.results import Figures
from tests.integration.server_process import ServerProcess, eventually
from tests.services.servers import cassandra, secantus
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer

NAMESPACE: Final = "bench_changes"
CHANGE: Final = 2
READY_S: Final = 120.0
SHARE: Final = 0.6
"""Of a case's time for its flips; the rest is for the start, and for what is under way."""
ROWS_PART: Final = 100
_WAITED: Final = re.compile(r"changes\.(flipped|not_flipped).*?waited_s\W+([\d.]+)")


@dataclass(frozen=True, slots=True)
class _Store:
    """How a kind of store gets the table `orders`."""

    server: str
    options: str
    key: str
    fill: Callable[[RunningServer, int], None]


def _documents(server: RunningServer, rows: int) -> None:
    with MongoClient[dict[str, Any]](server.uri) as client:
        client.drop_database(NAMESPACE)
        client[NAMESPACE].orders.insert_many(
            {"_id": n, "x": n, "note": f"note {n}"} for n in range(1, rows + 1)
        )


def _table(server: RunningServer, rows: int) -> None:
    cluster = Cluster([server.host], port=server.port, protocol_version=5, connect_timeout=30)
    try:
        session = cluster.connect()
        for text in (
            f"DROP KEYSPACE IF EXISTS {NAMESPACE}",
            f"CREATE KEYSPACE {NAMESPACE} WITH replication = "
            "{'class': 'SimpleStrategy', 'replication_factor': 1}",
            f"CREATE TABLE {NAMESPACE}.orders (id bigint PRIMARY KEY, x int, note text)",
        ):
            session.execute(text, timeout=60)
        insert = session.prepare(f"INSERT INTO {NAMESPACE}.orders (id, x, note) VALUES (?, ?, ?)")
        for first in range(1, rows + 1, ROWS_PART):
            part = range(first, min(first + ROWS_PART, rows + 1))
            for answer in [session.execute_async(insert, (n, n, f"note {n}")) for n in part]:
                answer.result()
    finally:
        cluster.shutdown()


STORES: Final[Mapping[str, _Store]] = {
    "mongodb": _Store(
        f"{secantus.PRODUCT}-{secantus.VERSION}",
        f"database '{NAMESPACE}', \"directConnection\" 'true'",
        "_id",
        _documents,
    ),
    "cassandra": _Store(
        f"{cassandra.PRODUCT}-{cassandra.VERSION}",
        f"keyspace '{NAMESPACE}'",
        "id",
        _table,
    ),
}


def fence_of(kind: str) -> Callable[[ServerProcess, Options, Figures], Awaitable[None]]:
    """The case of one kind of store: cut-overs there and back at each rate of writes."""

    async def case(server: ServerProcess, options: Options, figures: Figures) -> None:
        store = STORES[kind]
        fleet = Fleet(server.data.with_name(server.data.name + "-stores"), {store.server})
        try:
            running = await asyncio.to_thread(fleet.get, store.server)
            await asyncio.to_thread(store.fill, running, options.foreign_rows)
            with server.connect() as client:
                await asyncio.to_thread(_begun, client, running, store)
                for rate in options.foreign_rates:
                    await _flips(client, server, options, rate, store.key, figures)
        finally:
            await asyncio.to_thread(fleet.stop)

    return case


def _begun(client: psycopg.Connection[Any], running: RunningServer, store: _Store) -> None:
    """The table, and a change of it that is ready."""
    for text in (
        f"CREATE SERVER s FOREIGN DATA WRAPPER {running.kind} "
        f"OPTIONS (host '{running.host}', port '{running.port}', {store.options})",
        f"IMPORT FOREIGN SCHEMA {NAMESPACE} FROM SERVER s INTO public",
        "SET morph.back = 'x::bigint'",
        "ALTER TABLE orders ALTER COLUMN x TYPE numeric",
    ):
        client.execute(text.encode())
    eventually(lambda: _state(client) == "ready", timeout_s=READY_S, what="the change is ready")


def _state(client: psycopg.Connection[Any]) -> str:
    found = client.execute(f"SELECT state FROM morph.changes WHERE change_id = {CHANGE}")
    row = found.fetchone()
    return str(row[0]) if row is not None else ""


async def _flips(
    client: psycopg.Connection[Any],
    server: ServerProcess,
    options: Options,
    rate: int,
    key: str,
    figures: Figures,
) -> None:
    before, loads, spans = len(_held(server)), [], []
    rows = options.foreign_rows
    async with writing(server, rate, rows, options.deadline_s, key=key) as writers:
        await asyncio.sleep(SETTLE_S)
        until = time.monotonic() + options.deadline_s * SHARE / len(options.foreign_rates)
        for turn in range(options.foreign_flips):
            begun = time.monotonic()
            name = "rollback" if turn % 2 else "promote"
            left = f"SET statement_timeout = {max(round(1000 * (until - begun)), 1)}"
            try:
                await asyncio.to_thread(client.execute, left.encode())
                await asyncio.to_thread(client.execute, f"CALL morph.{name}({CHANGE})".encode())
            except psycopg.errors.QueryCanceled as error:
                figures.missing(f"{rate}/s, more than {turn} flips", "", str(error)[:100])
                break
            spans.append((begun, time.monotonic()))
            loads.append(os.getloadavg()[0])
            await asyncio.sleep(PAUSE_S)
    tries = _held(server)[before:]
    held = [1000 * seconds for done, seconds in tries if done]
    if not spans or not held:
        return
    waits = [1000 * writers.longest(begun, ended) for begun, ended in spans]
    usual = sorted(s for _, s in writers.latencies)
    load = f"load {min(loads):.0f} … {max(loads):.0f}"
    figures.add(f"{rate}/s, clients held", "ms", held, load)
    figures.add(f"{rate}/s, held, p99", "ms", [p99(held)], load)
    figures.add(f"{rate}/s, longest statement at a flip", "ms", waits)
    figures.add(f"{rate}/s, longest statement, p99 of flips", "ms", [p99(waits)])
    figures.add(f"{rate}/s, statements in all, median", "ms", [1000 * statistics.median(usual)])
    figures.add(f"{rate}/s, done", "/s", [writers.rate])
    errors = writers.errors
    figures.add(f"{rate}/s, client errors", "", [float(len(errors))], "; ".join(errors[:2]))
    figures.add(f"{rate}/s, fences for each flip", "", [len(tries) / len(spans)])


def _held(server: ServerProcess) -> list[tuple[bool, float]]:
    """Each fence until now: whether it flipped, and how long it held clients, in seconds."""
    found = _WAITED.findall(server.output)
    return [(what == "flipped", float(seconds)) for what, seconds in found]
