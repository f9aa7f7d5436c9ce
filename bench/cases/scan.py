"""4. All documents to a client: five columns, by SELECT and by COPY; a slow client."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from bench.bed import Bed, Contender, backend_cpu_us, proxy_cpu_us
from bench.drain import DrainClient
from bench.processes import resident
from bench.results import Figures, differences, ratios
from private_pg.binaries import find_binaries

FIVE = "SELECT _id, customer, status, price, name FROM {table}"
JSONB = (
    "SELECT _id, (doc->>'customer')::bigint, doc->>'status', (doc->>'price')::double precision, "
    "doc->>'name' FROM native_jsonb"
)
ALL = (
    "SELECT _id, customer, status, region, price, quantity, score, active, name, email, note, "
    "created, address FROM documents"
)
TIMES = 5  # scans a sample: CPU time comes in steps of 10 ms
SLOW_BYTES_PER_S = 6e6
SLOW_SECONDS = 8.0
SLOW_BUFFER = 64 << 10


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan: seconds to the first row and to the end, CPU µs of proxy and PostgreSQL."""

    first_s: float
    total_s: float
    proxy_us: float
    postgres_us: float


def scan(server: Contender, sql: str, tag: str) -> Scan:
    """Drain one statement some times on a connection of its own; the means."""
    with DrainClient(server.host, server.port) as client:
        proxy, postgres = proxy_cpu_us(server), backend_cpu_us(server)
        drained = [client.run(sql, tag) for _ in range(TIMES)]
        return Scan(
            fmean(d.first_row_s for d in drained),
            fmean(d.total_s for d in drained),
            (proxy_cpu_us(server) - proxy) / TIMES,
            (backend_cpu_us(server) - postgres) / TIMES,
        )


def run(bed: Bed, figures: Figures) -> None:
    """The slow client first, while the proxy is fresh; then SELECT, COPY, psql."""
    count = bed.files.count
    _slow(bed, figures)
    _race(bed, figures, "", lambda text: text, f"SELECT {count}")
    _race(bed, figures, "COPY, ", lambda text: f"COPY ({text}) TO STDOUT", f"COPY {count}")
    _psql(bed, figures)


def _race(bed: Bed, figures: Figures, name: str, wrap: Callable[[str], str], tag: str) -> None:
    count = bed.files.count
    own, columns, jsonb = bed.race(
        lambda: scan(bed.morphgres, wrap(FIVE.format(table="documents")), tag),
        lambda: scan(bed.native, wrap(FIVE.format(table="native_columns")), tag),
        lambda: scan(bed.native, wrap(JSONB), tag),
    )
    rates = [count / s.total_s for s in own]
    figures.add(
        f"{name}rows/s ÷ native columns", "×", ratios(rates, [count / s.total_s for s in columns])
    )
    figures.add(
        f"{name}rows/s ÷ native jsonb", "×", ratios(rates, [count / s.total_s for s in jsonb])
    )
    figures.add(f"{name}rows/s", "/s", rates)
    figures.add(f"{name}proxy CPU a row", "µs", [s.proxy_us / count for s in own])
    figures.add(f"{name}backend CPU a row", "µs", [s.postgres_us / count for s in own])
    figures.add(f"{name}native columns CPU a row", "µs", [s.postgres_us / count for s in columns])
    figures.add(f"{name}native jsonb CPU a row", "µs", [s.postgres_us / count for s in jsonb])
    late = [1000 * d for d in differences([s.first_s for s in own], [s.first_s for s in jsonb])]
    figures.add(f"{name}first row after the store's", "ms", late, "against native jsonb")


def _psql(bed: Bed, figures: Figures) -> None:
    """What a person sees: psql, unaligned, to /dev/null."""
    psql = str(find_binaries().directory / "psql")

    def seconds(server: Contender, table: str) -> float:
        begun = time.perf_counter()
        subprocess.run(
            [
                psql, "-h", server.host, "-p", str(server.port), "-U", "morph", "-XAtq",
                "-o", "/dev/null", "-c", FIVE.format(table=table), "morph",
            ],
            check=True, timeout=300,
        )  # fmt: skip
        return time.perf_counter() - begun

    own, native = bed.race(
        lambda: seconds(bed.morphgres, "documents"),
        lambda: seconds(bed.native, "native_columns"),
    )
    figures.add("psql, time ÷ native columns", "×", ratios(own, native))


def _slow(bed: Bed, figures: Figures) -> None:
    """A client of 6 MB/s reads all 13 columns; the proxy's largest growth meanwhile."""
    growths = []
    for _ in range(min(2, bed.options.repeats)):
        bed.morphgres.stop()
        bed.morphgres.start()
        with DrainClient(
            bed.morphgres.host, bed.morphgres.port, receive_buffer=SLOW_BUFFER
        ) as client:
            before = resident(bed.morphgres.pid)
            growths.append((_peak(bed.morphgres.pid, client) - before) / 1e6)
    figures.add("memory growth, slow client", "MB", growths, "13 columns at 6 MB/s, the first 8 s")


class _Enough(Exception):
    """Seen enough of the slow stream."""


def _peak(pid: int, client: DrainClient) -> int:
    peak = resident(pid)
    begun = time.monotonic()
    taken = 0

    def pace(size: int) -> None:
        nonlocal peak, taken
        taken += size
        now = time.monotonic() - begun
        peak = max(peak, resident(pid))
        if now > SLOW_SECONDS:
            raise _Enough
        time.sleep(max(0.0, taken / SLOW_BYTES_PER_S - now))

    try:
        client.run(ALL, "never ends", pace=pace, chunk=SLOW_BUFFER)
    except _Enough:
        pass
    return peak
