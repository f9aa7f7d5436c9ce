"""A durable server with default settings, and writers at a rate."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.integration.server_process import ServerProcess

CONNECTIONS = 8
QUEUED_MAX = 400


@dataclass(frozen=True, slots=True)
class Options:
    """How much and how often to measure."""

    rows: int = 200_000
    statements: int = 2_000
    copied: int = 50_000
    repeats: int = 5
    flips: int = 20
    rates: tuple[int, ...] = (100, 1_000)

    @classmethod
    def quick(cls) -> Options:
        """For a look while developing."""
        return cls(rows=20_000, statements=200, copied=5_000, repeats=3, flips=4)


@contextmanager
def running(directory: Path) -> Iterator[ServerProcess]:
    """One server for a case. The controller of changes has no part in it: the cases drive."""
    server = ServerProcess(directory, durable=True)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass
class Writers:
    """Single-row statements at a rate. `latencies` are seconds from when each was sent, by when it
    was done; `errors` is what clients saw. What the machine cannot do in time is left out:
    `rate` says how many statements there really were.
    """

    latencies: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Statements a second, as they were done."""
        times = sorted(at for at, _ in self.latencies)
        return len(times) / (times[-1] - times[0])

    def longest(self, begun: float, ended: float) -> float:
        """The longest wait of statements that were under way in a span of time."""
        return max((s for at, s in self.latencies if at >= begun and at - s <= ended), default=0.0)


@asynccontextmanager
async def writing(server: ServerProcess, rate: int, rows: int) -> AsyncIterator[Writers]:
    """`rate` statements a second on table `orders`: updates, and every fourth an insert."""
    pool = await asyncpg.create_pool(
        host=server.host, port=server.port, user="morph", database="morph",
        min_size=CONNECTIONS, max_size=CONNECTIONS,
    )  # fmt: skip
    writers, stop, keys = (
        Writers(),
        asyncio.Event(),
        itertools.count(time.monotonic_ns() // 1_000_000 % 1_000_000_000 + rows),
    )
    pending: set[asyncio.Task[None]] = set()

    async def one(n: int) -> None:
        async with pool.acquire() as connection:
            sent = time.monotonic()
            try:
                await send(connection, n)
            except asyncpg.PostgresError as error:
                writers.errors.append(f"{error.sqlstate} {error}")
            now = time.monotonic()
        writers.latencies.append((now, now - sent))

    async def send(connection: asyncpg.Connection, n: int) -> None:
        if n % 4:
            key = n * 7919 % rows + 1
            await connection.execute("UPDATE orders SET x = $1::int WHERE id = $2", n, key)
        else:
            key = next(keys)
            await connection.execute("INSERT INTO orders (id, x) VALUES ($1, $2::int)", key, n)

    async def drive() -> None:
        begun = time.monotonic()
        for n in itertools.count():
            due = begun + n / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if stop.is_set():
                return
            if len(pending) >= QUEUED_MAX:
                continue  # the machine cannot do so many
            task = asyncio.create_task(one(n))
            pending.add(task)
            task.add_done_callback(pending.discard)

    driver = asyncio.create_task(drive())
    try:
        yield writers
    finally:
        stop.set()
        await driver
        await asyncio.gather(*pending)
        await pool.close()
