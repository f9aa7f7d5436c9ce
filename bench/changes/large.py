"""One large table: how long a version takes, what a backfill does to clients, how it is compared.

Nothing here takes longer than its share of the time: the backfill is stopped after a while, and
its rate is that of what was copied; so many rows are compared.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from functools import partial

from bench.changes.bed import Options, Writers, opened, writing
from bench.results import Figures
from config.validation import ValidationSettings
from evolution.layouts.base import Pace
from evolution.validation.embedded.setup import embedded_validator
from tests.integration.layouts.bed import Bed, connect_root
from tests.integration.server_process import ServerProcess

TABLE = "id int PRIMARY KEY, customer int, x int, status text, note text, at timestamptz"
CHANGES = {
    "int to numeric": ("x", "TYPE numeric"),
    "text to varchar(20)": ("status", "TYPE varchar(20)"),
    "int to text": ("customer", "TYPE text"),
}
RATE = 100
ALONE_S = 10.0
WARM_S = 2.0
BLOCK = 50_000
COPIED = 500_000


def _load(bed: Bed, options: Options, figures: Figures) -> int:
    """COPY rows in, then make more of them in the store, for `load_s` at most; how many."""
    copied = min(options.large, COPIED)
    begun = time.perf_counter()
    with bed.client.cursor() as cursor, cursor.copy("COPY orders FROM STDIN") as sink:
        for first in range(1, copied + 1, BLOCK):
            sink.write("".join(map(_line, range(first, min(first + BLOCK, copied + 1)))))
    figures.add(f"COPY of {copied:,} rows", "rows/s", [copied / (time.perf_counter() - begun)])
    rows = copied
    while rows < options.large and time.perf_counter() - begun < options.load_s:
        last = min(rows + COPIED, options.large)
        bed.ddl(
            "INSERT INTO orders SELECT g, g % 1000, g, (ARRAY['new','paid','sent'])[g % 3 + 1], "
            f"'note ' || g, '2024-05-06 07:08:09.123+00' FROM generate_series({rows + 1}, {last}) g"
        )
        rows = last
    figures.add("rows", "", [float(rows)], f"made in {time.perf_counter() - begun:.0f} s")
    return rows


def _line(n: int) -> str:
    status = ("new", "paid", "sent")[n % 3]
    return f"{n}\t{n % 1000}\t{n}\t{status}\tnote {n}\t2024-05-06 07:08:09.123+00\n"


def _versions(bed: Bed, rows: int, figures: Figures) -> None:
    """From the DDL to an answer of the new version, for some changes of types."""
    for title, (column, change) in CHANGES.items():
        begun = time.perf_counter()
        bed.ddl(f"ALTER TABLE orders ALTER COLUMN {column} {change}")
        head = bed.client.execute("SELECT max(version) FROM morph.versions").fetchone()
        assert head is not None
        query = f"SELECT {column} FROM v{head[0]}.orders WHERE id = %s"
        assert bed.client.execute(query, (rows - 1,)).fetchone() is not None
        seconds = time.perf_counter() - begun
        figures.add(f"{title}, from DDL to an answer", "ms", [1000 * seconds])


def _p99(writers: Writers, begun: float, ended: float) -> float:
    found = sorted(s for at, s in writers.latencies if begun <= at <= ended)
    return 1000 * found[int(0.99 * (len(found) - 1))]


async def _backfill(bed: Bed, server: ServerProcess, options: Options, figures: Figures) -> int:
    """Rows a second with and without clients, and what clients see; how many rows were copied."""
    await bed.begin("orders", pace=Pace())
    rates, spans = {}, {}
    async with writing(server, RATE, BLOCK, options.deadline_s) as writers:
        await asyncio.sleep(WARM_S)
        begun = time.monotonic()
        await asyncio.sleep(ALONE_S)
        spans["without a backfill"] = (begun, time.monotonic())
        rates[f"backfill, {RATE} writes/s"] = await _copy(bed, options.backfill_s)
        spans["during a backfill"] = (spans["without a backfill"][1], time.monotonic())
    rates["backfill"] = await _copy(bed, options.backfill_s)
    for title, rate in rates.items():
        figures.add(title, "rows/s", [rate])
    for title, (first, last) in spans.items():
        figures.add(f"statement {title}, p99", "ms", [_p99(writers, first, last)])
    usual = {t: [s for at, s in writers.latencies if a <= at <= b] for t, (a, b) in spans.items()}
    for title, found in usual.items():
        figures.add(f"statement {title}, median", "ms", [1000 * statistics.median(found)])
    figures.add("client errors", "", [float(len(writers.errors))], "; ".join(writers.errors[:2]))
    return (await bed.layouts.catch_up(bed.work)).rows


async def _copy(bed: Bed, seconds: float) -> float:
    """Copy for so long; rows a second."""
    first = (await bed.layouts.catch_up(bed.work)).rows
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        progress = await bed.layouts.advance(bed.work)
        if progress.copied:
            break
    return (progress.rows - first) / (time.perf_counter() - begun)


async def large(server: ServerProcess, options: Options, figures: Figures) -> None:
    """A table of 10,000,000 rows (`--quick`: 200,000)."""
    bed = opened(server, options)
    try:
        bed.make("orders", TABLE)
        rows = _load(bed, options, figures)
        bed.ddl("SET morph.ddl_mode = virtual")
        _versions(bed, rows, figures)
        copied = await _backfill(bed, server, options, figures)
        validator = embedded_validator(
            bed.layouts, partial(connect_root, server), ValidationSettings()
        )
        begun = time.perf_counter()
        report = await validator.run(bed.work, bed.work.tables[0], "checksum")
        assert report.verdict == "equal", report
        figures.add(
            f"checksum of {copied:,} rows", "rows/s", [copied / (time.perf_counter() - begun)]
        )
    finally:
        await bed.close()
