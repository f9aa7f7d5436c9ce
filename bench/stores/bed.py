"""The bed: store servers of the tests, Morphgres in front of them, both with the same rows."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from bench.bed import Options, proxy_cpu_us
from bench.documents import rows
from bench.morphgres import Morphgres
from bench.results import Figures
from bench.stores.cassandra import CassandraDirect
from bench.stores.contender import Direct, Row
from bench.stores.mongodb import MongoDirect
from bench.stores.postgres import PostgresDirect
from bench.stores.trino import NotPresent, Trino
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
DEADLINE_S = 60.0
"""How long one figure may take, with all of its repeats."""
LOAD_S = 300.0
T = TypeVar("T")


@dataclass
class StoresBed:
    """Servers that run, rows that are loaded. No figure may take longer than `deadline_s`."""

    directory: Path
    options: Options
    morphgres: Morphgres
    trino: Trino | NotPresent
    deadline_s: float
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

    async def connect(self) -> asyncpg.Connection:
        """A connection to Morphgres."""
        host, port = self.morphgres.host, self.morphgres.port
        return await asyncpg.connect(host=host, port=port, user="morph", database="morph")

    @asynccontextmanager
    async def connections(self, count: int) -> AsyncIterator[list[asyncpg.Connection]]:
        """So many of them: a pool of asyncpg's would send four statements after each of ours."""
        opened = [await self.connect() for _ in range(count)]
        try:
            yield opened
        finally:
            for each in opened:
                each.terminate()

    @asynccontextmanager
    async def within(self, figures: Figures, title: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection for one figure. A figure that fails, or does not end, is reported as not
        available; the others are measured.
        """
        connection = await self.connect()
        try:
            async with asyncio.timeout(self.deadline_s):
                yield connection
        except TimeoutError:
            figures.missing(title, "", f"did not end in {self.deadline_s:g} s")
        except Exception as error:  # noqa: BLE001 (one figure must not hide the others)
            traceback.print_exc()
            figures.missing(title, "", f"{type(error).__name__}: {error}"[:200])
        finally:
            connection.terminate()

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
    directory: Path,
    options: Options,
    count: int,
    kinds: Sequence[str],
    *,
    deadline_s: float = DEADLINE_S,
    with_trino: bool = False,
) -> AsyncIterator[StoresBed]:
    """Start all that is needed, load it, end it. `kinds` are names of SERVERS."""
    data: list[Row] = list(rows(count))
    fleet = Fleet(directory, {SERVERS[kind] for kind in kinds})
    morphgres = Morphgres(directory / "morphgres")
    directs: dict[str, Direct] = {}
    trino: Trino | NotPresent = NotPresent("not asked for (TRINO=1)")
    try:
        servers = {kind: await asyncio.to_thread(fleet.get, SERVERS[kind]) for kind in kinds}
        await asyncio.to_thread(morphgres.start)
        labels = {kind: server.label for kind, server in servers.items()}
        keys = [row["_id"] for row in data]
        bed = StoresBed(directory, options, morphgres, trino, deadline_s, directs, labels, keys)
        async with bed.connections(1) as [connection]:
            for kind, server in servers.items():
                directs[kind] = await _direct(kind, server, options)
                async with asyncio.timeout(LOAD_S):
                    await directs[kind].load(data)
                    await _register(connection, kind, server)
        if with_trino:
            bed.trino = trino = await asyncio.to_thread(_start_trino, directory / "trino", servers)
        yield bed
    finally:
        for direct in directs.values():
            await direct.close()
        if isinstance(trino, Trino):
            await asyncio.to_thread(trino.stop)
        await asyncio.to_thread(morphgres.stop)
        await asyncio.to_thread(fleet.stop)


def _start_trino(directory: Path, servers: Mapping[str, RunningServer]) -> Trino | NotPresent:
    directory.mkdir()
    trino = Trino(directory, servers)
    try:
        trino.start()
    except NotPresent as why:
        trino.stop()
        return why
    return trino


async def _direct(kind: str, server: RunningServer, options: Options) -> Direct:
    table = f"{kind}_documents"
    if server.kind == "mongodb":
        return MongoDirect(server.uri, NAMESPACE, table)
    if server.kind == "cassandra":
        return CassandraDirect(server.host, server.port, NAMESPACE, table)
    return await PostgresDirect.open(server.uri, NAMESPACE, table, options.clients)


async def _register(connection: asyncpg.Connection, kind: str, server: RunningServer) -> None:
    more = {"mongodb": f", database '{NAMESPACE}'", "postgres": ", user 'postgres', "
            "database 'postgres'", "cassandra": ""}[server.kind]  # fmt: skip
    await connection.execute(
        f"CREATE SERVER {kind} FOREIGN DATA WRAPPER {server.kind} "
        f"OPTIONS (host '{server.host}', port '{server.port}'{more})"
    )
    await connection.execute(
        f"IMPORT FOREIGN SCHEMA {NAMESPACE} FROM SERVER {kind} INTO public "
        f"OPTIONS (prefix '{kind}_')"
    )
