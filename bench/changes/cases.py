"""The cases: the log's cost, the backfill, the fence, the time to a version that can be queried."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from bench.changes.bed import PAUSE_S, SETTLE_S, Options, opened, p99, writing
from bench.changes.foreign import fence_of
from bench.changes.large import large
from bench.changes.validation import validation
from bench.processes import cpu_us, family
from bench.results import Figures, ratios
from evolution.layouts.base import Pace
from tests.integration.layouts.bed import Bed
from tests.integration.server_process import ServerProcess

STEP = Pace(step_s=300.0)


async def log(server: ServerProcess, options: Options, figures: Figures) -> None:
    """The same statements on two equal tables, one of which has a log: ratios of wall time, and of
    the CPU time of Morphgres and PostgreSQL together.
    """
    bed = opened(server, options)
    try:
        for name in ("plain", "logged"):
            bed.make(name, "id int PRIMARY KEY, x int, note text")
            bed.ddl(f"INSERT INTO {name} SELECT g, g, 'n' FROM generate_series(1, 10000) g")
        await bed.begin("logged", pace=STEP)
        for title, work in _statements(bed, options).items():
            wall: dict[str, list[float]] = {"plain": [], "logged": []}
            cpu: dict[str, list[float]] = {"plain": [], "logged": []}
            for turn in range(options.repeats + 1):
                for name in ("plain", "logged") if turn % 2 else ("logged", "plain"):
                    begun, used = time.perf_counter(), cpu_us(family(server.pid))
                    work(name, turn)
                    if turn:  # the first round is for warmth
                        wall[name].append(time.perf_counter() - begun)
                        cpu[name].append(cpu_us(family(server.pid)) - used)
                await bed.copy()
            figures.add(f"{title}, time ÷ without log", "×", ratios(wall["logged"], wall["plain"]))
            figures.add(f"{title}, CPU ÷ without log", "×", ratios(cpu["logged"], cpu["plain"]))
    finally:
        await bed.close()


def _statements(bed: Bed, options: Options) -> dict[str, Callable[[str, int], None]]:
    count, copied = options.statements, options.copied

    def insert(name: str, turn: int) -> None:
        for n in range(count):
            key = 1_000_000 + turn * count + n
            bed.client.execute(f"INSERT INTO {name} VALUES (%s, 1, 'i')", (key,))

    def update(name: str, turn: int) -> None:
        for n in range(count):
            bed.client.execute(f"UPDATE {name} SET x = x + 1 WHERE id = %s", (n % 10_000 + 1,))

    def in_block(name: str, turn: int) -> None:
        with bed.client.transaction():
            update(name, turn)

    def many(name: str, turn: int) -> None:
        bed.client.execute(f"UPDATE {name} SET x = x + 1 WHERE id <= 10000")

    def copy(name: str, turn: int) -> None:
        first = 10_000_000 + turn * copied
        lines = "".join(f"{first + n}\t1\tcopied\n" for n in range(copied))
        with bed.client.cursor() as cursor, cursor.copy(f"COPY {name} FROM STDIN") as sink:
            sink.write(lines)

    return {
        f"COPY {copied:,} rows": copy,
        "UPDATE 10,000 rows": many,
        "INSERT one row": insert,
        "UPDATE one row": update,
        "UPDATE one row, in a transaction": in_block,
    }


async def _price(bed: Bed, rows: int, table: str = "orders") -> None:
    bed.make(table, "id int PRIMARY KEY, x int, note text")
    bed.ddl(f"INSERT INTO {table} SELECT g, g, 'note ' || g FROM generate_series(1, {rows}) g")
    bed.ddl(f"ANALYZE {table}")
    bed.ddl("SET morph.ddl_mode = virtual")


async def version(server: ServerProcess, options: Options, figures: Figures) -> None:
    """From the DDL to an answer of the version, over tables of two sizes."""
    bed = opened(server, options)
    try:
        for rows in (options.rows // 100, options.rows):
            await _price(bed, rows, f"t{rows}")
            begun = time.perf_counter()
            bed.ddl(f"ALTER TABLE t{rows} ALTER COLUMN x TYPE numeric")
            head = bed.client.execute("SELECT max(version) FROM morph.versions").fetchone()
            bed.client.execute(f"SELECT x FROM v{head[0]}.t{rows} WHERE id = 7")  # type: ignore[index]
            figures.add(f"{rows:,} rows", "ms", [1000 * (time.perf_counter() - begun)])
    finally:
        await bed.close()


async def backfill(server: ServerProcess, options: Options, figures: Figures) -> None:
    """Rows a second, nothing else running, and how long indexes take."""
    bed = opened(server, options)
    try:
        await _price(bed, options.rows)
        bed.ddl("CREATE INDEX orders_note ON orders (note)")
        bed.ddl("ALTER TABLE orders ALTER COLUMN x TYPE numeric")
        rates, finishes = [], []
        for _ in range(options.repeats):
            await bed.begin("orders", pace=STEP)
            begun = time.perf_counter()
            await bed.copy()
            rates.append(options.rows / (time.perf_counter() - begun))
            begun = time.perf_counter()
            await bed.layouts.finish(bed.work)
            finishes.append(time.perf_counter() - begun)
            await bed.layouts.discard(bed.work)
        figures.add("type change", "rows/s", rates)
        figures.add("one index afterwards", "s", finishes)
    finally:
        await bed.close()


async def fence(server: ServerProcess, options: Options, figures: Figures) -> None:
    """Cut-overs there and back under writers: how long anybody waited, and no error."""
    bed = opened(server, options)
    try:
        await _price(bed, options.rows // 10)
        bed.ddl("ALTER TABLE orders ALTER COLUMN x TYPE numeric")
        await bed.ready("orders")
        for rate in options.rates:
            await _flips(bed, server, options, rate, figures)
    finally:
        await bed.close()


async def _flips(
    bed: Bed, server: ServerProcess, options: Options, rate: int, figures: Figures
) -> None:
    held, spans, tries = [], [], 0
    async with writing(server, rate, options.rows // 10, options.deadline_s) as writers:
        await asyncio.sleep(SETTLE_S)
        for _ in range(options.flips):
            begun = time.monotonic()
            while True:
                tries += 1
                result = await bed.cut_over(verify=_nothing)
                if result.done:
                    break
                await asyncio.sleep(PAUSE_S)
            held.append(1000 * result.waited_s)
            spans.append((begun, time.monotonic()))
            for _ in range(int(PAUSE_S / 0.05)):
                await bed.layouts.catch_up(bed.work)
                await asyncio.sleep(0.05)
    waits = [1000 * writers.longest(begun, ended) for begun, ended in spans]
    usual = sorted(s for _, s in writers.latencies)
    figures.add(f"{rate}/s, clients held", "ms", held)
    figures.add(f"{rate}/s, held, p99", "ms", [p99(held)])
    figures.add(f"{rate}/s, longest statement at a flip", "ms", waits)
    figures.add(f"{rate}/s, longest statement, p99 of flips", "ms", [p99(waits)])
    figures.add(f"{rate}/s, statements in all, median", "ms", [1000 * statistics.median(usual)])
    figures.add(f"{rate}/s, done", "/s", [writers.rate])
    figures.add(
        f"{rate}/s, client errors", "", [float(len(writers.errors))], "; ".join(writers.errors[:2])
    )
    figures.add(f"{rate}/s, calls for each flip", "", [tries / options.flips])


async def _nothing(*_: object) -> list[object]:
    """The verification is measured by itself."""
    return []


Case = Callable[[ServerProcess, Options, Figures], Awaitable[None]]
CASES: dict[str, Case] = {
    "log": log,
    "version": version,
    "backfill": backfill,
    "fence": fence,
    "fence-mongodb": fence_of("mongodb"),
    "fence-cassandra": fence_of("cassandra"),
    "validation": validation,
    "large": large,
}
