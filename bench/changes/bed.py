"""A durable server with default settings, and writers at a rate."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.layouts.bed import Bed, open_bed
from tests.integration.server_process import ServerProcess

STARTED_S = 60.0
"""How long the writers may take to connect."""
SETTLE_S = 1.0
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """How much and how often to measure."""

    rows: int = 200_000
    statements: int = 500
    copied: int = 50_000
    repeats: int = 5
    flips: int = 20
    rates: tuple[int, ...] = (100, 1_000)
    foreign_rows: int = 500
    foreign_flips: int = 20
    foreign_rates: tuple[int, ...] = (10, 100)
    large: int = 10_000_000
    load_s: float = 120.0
    backfill_s: float = 20.0
    deadline_s: float = 240.0

    @classmethod
    def quick(cls) -> Options:
        """For a look while developing."""
        return cls(
            rows=20_000,
            statements=100,
            copied=5_000,
            repeats=3,
            flips=4,
            foreign_flips=4,
            large=200_000,
        )


@contextmanager
def running(directory: Path) -> Iterator[ServerProcess]:
    """One server for a case. The controller of changes has no part in it: the cases drive."""
    server = ServerProcess(directory, durable=True)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def opened(server: ServerProcess, options: Options) -> Bed:
    """A bed, none of whose statements takes longer than a case may."""
    bed = open_bed(server)
    bed.ddl(f"SET statement_timeout = '{options.deadline_s:.0f} s'")
    return bed


@dataclass
class Writers:
    """What a process of writers saw (`bench/changes/writers.py`), once it has ended: `latencies`
    are when each statement was done and how many seconds after it was sent, `errors` what clients
    were told.
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


def p99(values: list[float]) -> float:
    """The value that 99 of 100 do not exceed."""
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


@asynccontextmanager
async def writing(
    server: ServerProcess, rate: int, rows: int, deadline_s: float, *, key: str = "id"
) -> AsyncIterator[Writers]:
    """`rate` statements a second on table `orders`, whose key is `key`, from a process of their
    own. The result is filled when the block has ended; after `deadline_s` it gives up by itself.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.changes.writers", server.host, str(server.port)),
        *(str(rate), str(rows), str(deadline_s), key),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 28,
    )
    writers = Writers()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(STARTED_S):
            started = await process.stdout.readline()
        if not started:
            raise RuntimeError("the writers did not start")
        yield writers
        process.stdin.write_eof()
        async with asyncio.timeout(deadline_s):
            found = json.loads(await process.stdout.read())
        writers.latencies = [(at, waited) for at, waited in found["latencies"]]
        writers.errors = found["errors"]
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()
