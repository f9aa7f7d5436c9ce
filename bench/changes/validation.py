"""How fast layouts are compared: over batches that are read, and over tables."""

from __future__ import annotations

import time
from functools import partial

from bench.changes.bed import Options, opened
from bench.results import Figures
from config.validation import ValidationSettings
from core.checksum import MultisetChecksum
from evolution.layouts.base import Chunk, Row
from evolution.validation.embedded.setup import embedded_validator
from evolution.validation.lines import cut_lines, cut_row, last_key
from evolution.validation.localise import unequal, unequal_rows
from evolution.validation.scrub import same
from tests.integration.layouts.bed import Bed, connect_root
from tests.integration.server_process import ServerProcess

BATCH_ROWS = 20_000
BATCHES = 20
TABLE = "id int PRIMARY KEY, customer int, x int, status text, note text, at timestamptz"
FILL = (
    "INSERT INTO orders SELECT g, g % 1000, g, (ARRAY['new','paid','sent'])[g % 3 + 1], "
    "'note ' || g, '2024-01-01'::timestamptz + g * interval '1 minute' "
    "FROM generate_series(1, {}) g"
)


def _cut(line: bytes) -> Row:
    return cut_row(line, 1)


def _split(data: bytes) -> list[Row]:
    return [_cut(line) for line in cut_lines(data)]


def _chunk(data: bytes) -> Chunk:
    return Chunk(data, BATCH_ROWS, last_key(data, 1), False, partial(_split, data), (), _cut)


def _batches(wrong: bool) -> list[Chunk]:
    """Rows as a side reads them, of about 100 bytes."""
    found = []
    for batch in range(BATCHES):
        lines = [
            b"%d\t%d\t%d\t%d.25\tpaid\tcustomer %d, some street\t2024-05-06 07:08:09.123456+00\tt\n"
            % (n, 2 * n, n % 1000, n, n + (wrong and n % BATCH_ROWS == 77))
            for n in range(batch * BATCH_ROWS, (batch + 1) * BATCH_ROWS)
        ]
        found.append(_chunk(b"".join(lines)))
    return found


def _cpu(work: object, repeats: int) -> list[float]:
    """Rows (of one side) a second of this process's CPU time."""
    samples = []
    for turn in range(repeats + 1):
        begun = time.process_time()
        work()  # type: ignore[operator]
        if turn:  # the first round is for warmth
            samples.append(BATCHES * BATCH_ROWS / (time.process_time() - begun))
    return samples


def _over_batches(options: Options, figures: Figures) -> None:
    live, equal, wrong = _batches(False), _batches(False), _batches(True)

    def sums() -> None:
        assert all(same(a, b, "checksum") for a, b in zip(live, equal, strict=True))

    def multisets() -> None:
        for chunks in (live, equal):
            total = MultisetChecksum()
            for chunk in chunks:
                total.add_rows(cut_lines(chunk.data))

    def located() -> None:
        for a, b in zip(live, wrong, strict=True):
            assert not same(a, b, "checksum")
            assert len(list(unequal(*unequal_rows(a, b)))) == 1

    figures.add("checksum of read batches", "rows/s", _cpu(sums, options.repeats))
    figures.add("sums of rows in any order", "rows/s", _cpu(multisets, options.repeats))
    figures.add("a wrong row in each batch located", "rows/s", _cpu(located, options.repeats))


async def _over_tables(bed: Bed, options: Options, figures: Figures) -> None:
    bed.make("orders", TABLE)
    bed.ddl(FILL.format(options.rows))
    bed.ddl("SET morph.ddl_mode = virtual")
    bed.ddl("ALTER TABLE orders ALTER COLUMN x TYPE numeric")
    await bed.ready("orders")
    connect = partial(connect_root, bed.server)
    validator = embedded_validator(bed.layouts, connect, ValidationSettings())
    table = bed.work.tables[0]
    for method in ("checksum", "full", "sample"):
        samples = []
        for _ in range(options.repeats):
            begun = time.perf_counter()
            report = await validator.run(bed.work, table, method)  # type: ignore[arg-type]
            assert report.verdict == "equal"
            samples.append(options.rows / (time.perf_counter() - begun))
        figures.add(f"{method}, of a table and its shadow", "rows/s", samples)


async def validation(server: ServerProcess, options: Options, figures: Figures) -> None:
    """Rows a second: the pure part by CPU time, whole runs by wall time."""
    _over_batches(options, figures)
    bed = opened(server, options)
    try:
        await _over_tables(bed, options, figures)
    finally:
        await bed.close()
