"""Clients that write at a rate, in a process of their own.

`python -m bench.changes.writers HOST PORT RATE ROWS SECONDS KEY` says `started` when all are
connected, writes until its standard input ends (or for so many seconds), and prints what each
statement took as JSON. A client sends its next statement when that is due and the last one is
answered: what the machine cannot do in time is done later, and shows in the rate.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import asyncpg
import uvloop

CONNECTIONS = 16


@dataclass
class Seen:
    """When each statement was done, how long it took, and errors."""

    latencies: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def _client(
    connection: asyncpg.Connection, turns: Iterator[int], rate: float, rows: int, until: float,
    stop: asyncio.Event, seen: Seen, first: int, key: str,
) -> None:  # fmt: skip
    """Updates, and every fourth statement an insert, each as prepared statement."""
    update = await connection.prepare(f"UPDATE orders SET x = $1::int WHERE {key} = $2")
    insert = await connection.prepare(f"INSERT INTO orders ({key}, x) VALUES ($1, $2::int)")
    begun = time.monotonic()
    for n in turns:
        wait = begun + n / rate - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        sent = time.monotonic()
        if stop.is_set() or sent > until:
            return
        try:
            if n % 4:
                await update.fetch(n % 1_000_000, n * 7919 % rows + 1)
            else:
                await insert.fetch(first + n, n % 1_000_000)
        except asyncpg.PostgresError as error:
            seen.errors.append(f"{error.sqlstate} {error}")
        done = time.monotonic()
        seen.latencies.append((done, done - sent))


async def _stopped(stop: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()
    stop.set()


async def write(host: str, port: int, rate: float, rows: int, seconds: float, key: str) -> Seen:
    """Connect, write, and tell."""
    connections = [
        await asyncpg.connect(host=host, port=port, user="morph", database="morph", timeout=60)
        for _ in range(CONNECTIONS)
    ]
    stop, seen = asyncio.Event(), Seen()
    waiting = asyncio.create_task(_stopped(stop))
    first = 1_000_000_000 + time.monotonic_ns() // 1_000_000 % 1_000_000_000  # of inserts
    print("started", flush=True)
    try:
        await asyncio.gather(
            *(
                _client(
                    connection, itertools.count(n, CONNECTIONS), rate, rows,
                    time.monotonic() + seconds, stop, seen, first, key,
                )
                for n, connection in enumerate(connections)
            )
        )  # fmt: skip
    finally:
        waiting.cancel()
        for connection in connections:
            await connection.close(timeout=10)
    return seen


def main() -> None:
    """Run."""
    host, port, rate, rows, seconds, key = sys.argv[1:]
    gc.disable()  # a collection would look like a pause of the server
    seen = uvloop.run(write(host, int(port), float(rate), int(rows), float(seconds), key))
    print(json.dumps({"latencies": seen.latencies, "errors": seen.errors}))


if __name__ == "__main__":
    main()
