"""The cases: each statement through Morphgres and by the store's driver, in turn, in one run."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from bench.bed import Options
from bench.results import Figures, ratios
from bench.stores.bed import StoresBed, timed
from bench.stores.contender import Direct, Query, closed_loop
from bench.stores.postgres import PostgresDirect

TIMED_S = 0.2  # a sample repeats its statement for about so long
TIMES_MAX = 100
JOIN = (
    "SELECT count(*), sum(d.price * p.weight) FROM postgres_picks p "
    "JOIN {table} d ON d.{key} = p.id"
)


async def point(bed: StoresBed, name: str, direct: Direct, figures: Figures) -> None:
    """A row by its key, prepared: one client, and several."""
    connections = [await bed.pool.acquire() for _ in range(bed.options.clients)]
    try:
        prepared = [await each.prepare(direct.point_sql) for each in connections]
        for clients in (1, bed.options.clients):
            free = list(prepared[:clients])

            async def own(key: int, free: list[object] = free) -> None:
                statement = free.pop()
                found = await statement.fetch(key)  # type: ignore[attr-defined]
                free.append(statement)
                assert len(found) == 1

            await _race_points(bed, own, direct, clients, figures)
    finally:
        for each in connections:
            await bed.pool.release(each)


async def _race_points(
    bed: StoresBed,
    own: Callable[[int], Awaitable[None]],
    direct: Direct,
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
    at = f"point, {'1 client' if clients == 1 else 'many clients'}"
    rates = [rate for rate, _ in ours]
    figures.add(f"{at}, QPS ÷ driver", "×", ratios(rates, [rate for rate, _ in theirs]))
    figures.add(f"{at}, proxy CPU", "µs", [cpu for _, cpu in ours], f"{clients} clients")
    figures.add(f"{at}, QPS", "/s", rates)
    figures.add(f"{at}, driver's QPS", "/s", [rate for rate, _ in theirs])


async def scans(bed: StoresBed, name: str, direct: Direct, figures: Figures) -> None:
    """All rows of 5 and of 13 columns."""
    for width, query in direct.scans.items():
        count = await _same(bed, query)
        assert count == len(bed.keys)
        proxy: list[float] = []

        async def own(query: Query = query, proxy: list[float] = proxy) -> float:
            cpu = bed.proxy_us()
            seconds = await timed(lambda: bed.pool.fetch(query.sql), 2)
            proxy.append((bed.proxy_us() - cpu) / 2 / len(bed.keys))
            return seconds

        ours, theirs = await bed.race(own, lambda q=query: timed(q.direct, 2))  # type: ignore[misc]
        title = f"scan of {width} columns"
        rates = [count / each for each in ours]
        figures.add(f"{title}, rows/s ÷ driver", "×", ratios(rates, [count / s for s in theirs]))
        figures.add(f"{title}, proxy CPU a row", "µs", proxy[1:])
        figures.add(f"{title}, rows/s", "/s", rates)


async def queries(bed: StoresBed, name: str, direct: Direct, figures: Figures) -> None:
    """Each of the store's queries."""
    for title, query in direct.queries.items():
        await _same(bed, query)
        once = await timed(query.direct, 2)
        times = max(1, min(TIMES_MAX, round(TIMED_S / once)))
        ours, theirs = await bed.race(
            lambda q=query, n=times: timed(lambda: bed.pool.fetch(q.sql), n),  # type: ignore[misc]
            lambda q=query, n=times: timed(q.direct, n),  # type: ignore[misc]
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

    async def own() -> tuple[int, float]:
        row = await bed.pool.fetchrow(text)
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


async def _same(bed: StoresBed, query: Query) -> int:
    own, direct = len(await bed.pool.fetch(query.sql)), await query.direct()
    assert own == direct, f"{query.sql}: {own} rows, the driver has {direct}"
    return own


CASES = {"point": point, "scans": scans, "queries": queries, "join": join}
DEFAULTS = Options(repeats=5, seconds=2.0, documents=50_000, clients=8)
QUICK = Options(repeats=3, seconds=1.0, documents=10_000, clients=8)
