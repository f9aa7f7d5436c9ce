"""The cases: each statement through Morphgres and by the store's driver, in turn, in one run."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import asyncpg

from bench.bed import Options
from bench.results import Figures, ratios
from bench.stores.bed import NAMESPACE, StoresBed, timed
from bench.stores.contender import Direct, Query, closed_loop
from bench.stores.postgres import PostgresDirect
from bench.stores.trino import NotPresent

TIMED_S = 0.2  # a sample repeats its statement for about so long
TIMES_MAX = 100
JOIN = (
    "SELECT count(*), sum(d.price * p.weight) FROM postgres_picks p "
    "JOIN {table} d ON d.{key} = p.id"
)


async def point(bed: StoresBed, name: str, direct: Direct, figures: Figures) -> None:
    """A row by its key, prepared: one client, and several."""
    for clients in (1, bed.options.clients):
        at = f"point, {'1 client' if clients == 1 else 'many clients'}"
        async with bed.within(figures, at), bed.connections(clients) as connections:
            prepared = [await each.prepare(direct.point_sql) for each in connections]
            free = list(prepared)

            async def own(key: int, free: list[object] = free) -> None:
                statement = free.pop()
                found = await statement.fetch(key)  # type: ignore[attr-defined]
                free.append(statement)
                assert len(found) == 1

            await _race_points(bed, own, direct, at, clients, figures)


async def _race_points(
    bed: StoresBed,
    own: Callable[[int], Awaitable[None]],
    direct: Direct,
    at: str,
    clients: int,
    figures: Figures,
) -> None:
    seconds = bed.options.seconds

    async def measured() -> tuple[float, float]:
        cpu = bed.proxy_us()
        begun = time.monotonic()
        rate = await closed_loop(own, bed.keys, clients, seconds)
        return rate, (bed.proxy_us() - cpu) / (rate * (time.monotonic() - begun))

    async def by_driver() -> tuple[float, float]:
        return await closed_loop(direct.point, bed.keys, clients, seconds), 0.0

    ours, theirs = await bed.race(measured, by_driver)
    rates = [rate for rate, _ in ours]
    figures.add(f"{at}, QPS ÷ driver", "×", ratios(rates, [rate for rate, _ in theirs]))
    figures.add(f"{at}, proxy CPU", "µs", [cpu for _, cpu in ours], f"{clients} clients")
    figures.add(f"{at}, QPS", "/s", rates)
    figures.add(f"{at}, driver's QPS", "/s", [rate for rate, _ in theirs])


async def scans(bed: StoresBed, name: str, direct: Direct, figures: Figures) -> None:
    """All rows of 5 and of 13 columns."""
    for width, query in direct.scans.items():
        title = f"scan of {width} columns"
        async with bed.within(figures, title) as connection:
            await _scan(bed, connection, title, query, figures)


async def _scan(
    bed: StoresBed, connection: asyncpg.Connection, title: str, query: Query, figures: Figures
) -> None:
    count = await _same(connection, query)
    assert count == len(bed.keys)
    proxy: list[float] = []

    async def own() -> float:
        cpu = bed.proxy_us()
        seconds = await timed(lambda: connection.fetch(query.sql), 2)
        proxy.append((bed.proxy_us() - cpu) / 2 / len(bed.keys))
        return seconds

    ours, theirs = await bed.race(own, lambda: timed(query.direct, 2))
    rates = [count / each for each in ours]
    figures.add(f"{title}, rows/s ÷ driver", "×", ratios(rates, [count / s for s in theirs]))
    figures.add(f"{title}, proxy CPU a row", "µs", proxy[1:])
    figures.add(f"{title}, rows/s", "/s", rates)


async def queries(bed: StoresBed, name: str, direct: Direct, figures: Figures) -> None:
    """Each of the store's queries."""
    for title, query in direct.queries.items():
        async with bed.within(figures, title) as connection:
            await _query(bed, connection, title, query, figures)


async def _query(
    bed: StoresBed, connection: asyncpg.Connection, title: str, query: Query, figures: Figures
) -> None:
    await _same(connection, query)
    once = await timed(query.direct, 2)
    times = max(1, min(TIMES_MAX, round(TIMED_S / once)))
    ours, theirs = await bed.race(
        lambda: timed(lambda: connection.fetch(query.sql), times),
        lambda: timed(query.direct, times),
    )
    limit = [1.3 * each + 0.002 for each in theirs]
    figures.add(f"{title}, wall ÷ (1.3 driver + 2 ms)", "×", ratios(ours, limit))
    figures.add(f"{title}, wall ÷ driver", "×", ratios(ours, theirs))
    figures.add(f"{title}, wall", "ms", [1000 * each for each in ours])
    figures.add(f"{title}, driver's wall", "ms", [1000 * each for each in theirs])


async def join(bed: StoresBed, name: str, direct: Direct, figures: Figures) -> None:
    """10,000 keys of PostgreSQL joined with documents, and the same by hand with both drivers."""
    other = bed.directs.get("postgres")
    if not isinstance(other, PostgresDirect) or other is direct:
        return
    key = "_id" if direct.kind == "mongodb" else "id"
    text = JOIN.format(table=f"{name}_documents", key=key)
    async with bed.within(figures, "join of 10,000 keys") as connection:

        async def own() -> tuple[int, float]:
            row = await connection.fetchrow(text)
            return int(row[0]), float(row[1])

        async def by_hand() -> tuple[int, float]:
            weights = dict(await other.picks())
            found = await direct.by_keys(list(weights))
            return len(found), sum(price * weights[key] for key, price in found)

        mine, theirs = await own(), await by_hand()
        assert mine == theirs, f"the answers differ: {mine} {theirs}"
        ours, hand = await bed.race(lambda: timed(own, 1), lambda: timed(by_hand, 1))
        figures.add("join of 10,000 keys, wall ÷ by hand", "×", ratios(ours, hand))
        figures.add("join of 10,000 keys, wall", "ms", [1000 * each for each in ours])
        figures.add("join of 10,000 keys, by hand", "ms", [1000 * each for each in hand])


async def trino(bed: StoresBed, name: str, direct: Direct, figures: Figures) -> None:
    """The store's queries through Trino, where there is one."""
    server = bed.trino
    if isinstance(server, NotPresent):
        figures.missing("Trino", "", f"not present: {server}")
        return
    for title, query in direct.queries.items():
        text = query.sql.replace(f"{name}_documents", f"{name}.{NAMESPACE}.documents")
        text = text.replace('"address.city"', "address.city")  # a field of a row there
        async with bed.within(figures, f"{title}, Trino") as connection:
            ours, theirs = await bed.race(
                lambda q=query, c=connection: timed(lambda: c.fetch(q.sql), 1),  # type: ignore[misc]
                lambda t=text: timed(lambda: server.query(t), 1),  # type: ignore[misc]
            )
            figures.add(f"{title}, wall ÷ Trino", "×", ratios(ours, theirs))
            figures.add(f"{title}, Trino's wall", "ms", [1000 * each for each in theirs])


async def _same(connection: asyncpg.Connection, query: Query) -> int:
    own, direct = len(await connection.fetch(query.sql)), await query.direct()
    assert own == direct, f"{query.sql}: {own} rows, the driver has {direct}"
    return own


CASES = {"point": point, "scans": scans, "queries": queries, "join": join, "trino": trino}
DEFAULTS = Options(repeats=5, seconds=2.0, documents=50_000, clients=8)
QUICK = Options(repeats=3, seconds=1.0, documents=10_000, clients=8)
