"""The bed: store servers of the tests, Morphgres in front of them, both with the same rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from bench.bed import Options, proxy_cpu_us
from bench.documents import rows
from bench.morphgres import Morphgres
from bench.stores.cassandra import CassandraDirect
from bench.stores.contender import Direct, Row
from bench.stores.mongodb import MongoDirect
from bench.stores.postgres import PostgresDirect
from tests.services.servers import cassandra, mongojava, postgres, secantus
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer

NAMESPACE = "bench"
SERVERS = {
    "mongodb": f"{secantus.PRODUCT}-{secantus.VERSION}",
    "mongojava": f"{mongojava.PRODUCT}-{mongojava.VERSION}",
    "cassandra": f"{cassandra.PRODUCT}-{cassandra.VERSION}",
    "postgres": f"{postgres.PRODUCT}-{postgres.MAJOR}",
}
T = TypeVar("T")


@dataclass
class StoresBed:
    """Servers that run, rows that are loaded. `pool` are connections to Morphgres."""

    directory: Path
    options: Options
    morphgres: Morphgres
    pool: asyncpg.Pool
    directs: dict[str, Direct]
    labels: dict[str, str]
    keys: Sequence[int]

    async def race(self, *works: Callable[[], Awaitable[T]]) -> list[list[T]]:
        """Samples of each work: all in turn, in changing order, after one round for warmth."""
        samples: list[list[T]] = [[] for _ in works]
        for work in works:
            await work()
        for turn in range(self.options.repeats):
            order = range(len(works)) if turn % 2 == 0 else reversed(range(len(works)))
            for place in order:
                samples[place].append(await works[place]())
        return samples

    def proxy_us(self) -> float:
        """CPU time of the proxy until now."""
        return proxy_cpu_us(self.morphgres)


async def timed(work: Callable[[], Awaitable[Any]], times: int) -> float:
    """Seconds of one call, the mean of some."""
    begun = time.perf_counter()
    for _ in range(times):
        await work()
    return (time.perf_counter() - begun) / times


@asynccontextmanager
async def running(
    directory: Path, options: Options, count: int, kinds: Sequence[str]
) -> AsyncIterator[StoresBed]:
    """Start all that is needed, load it, end it. `kinds` are names of SERVERS."""
    data: list[Row] = list(rows(count))
    fleet = Fleet(directory, {SERVERS[kind] for kind in kinds})
    morphgres = Morphgres(directory / "morphgres")
    directs: dict[str, Direct] = {}
    try:
        servers = {kind: await asyncio.to_thread(fleet.get, SERVERS[kind]) for kind in kinds}
        await asyncio.to_thread(morphgres.start)
        pool = await asyncpg.create_pool(
            host=morphgres.host, port=morphgres.port, user="morph", database="morph",
            min_size=1, max_size=options.clients,
        )  # fmt: skip
        for kind, server in servers.items():
            directs[kind] = await _direct(kind, server, options)
            await directs[kind].load(data)
            await _register(pool, kind, server)
        labels = {kind: server.label for kind, server in servers.items()}
        keys = [row["_id"] for row in data]
        yield StoresBed(directory, options, morphgres, pool, directs, labels, keys)
        await pool.close()
    finally:
        for direct in directs.values():
            await direct.close()
        await asyncio.to_thread(morphgres.stop)
        await asyncio.to_thread(fleet.stop)


async def _direct(kind: str, server: RunningServer, options: Options) -> Direct:
    table = f"{kind}_documents"
    if server.kind == "mongodb":
        return MongoDirect(server.uri, NAMESPACE, table)
    if server.kind == "cassandra":
        return CassandraDirect(server.host, server.port, NAMESPACE, table)
    return await PostgresDirect.open(server.uri, NAMESPACE, table, options.clients)


async def _register(pool: asyncpg.Pool, kind: str, server: RunningServer) -> None:
    more = {"mongodb": f", database '{NAMESPACE}'", "postgres": ", user 'postgres', "
            "database 'postgres'", "cassandra": ""}[server.kind]  # fmt: skip
    await pool.execute(
        f"CREATE SERVER {kind} FOREIGN DATA WRAPPER {server.kind} "
        f"OPTIONS (host '{server.host}', port '{server.port}'{more})"
    )
    await pool.execute(
        f"IMPORT FOREIGN SCHEMA {NAMESPACE} FROM SERVER {kind} INTO public "
        f"OPTIONS (prefix '{kind}_')"
    )
