"""7. Writes: one row durably, many by COPY; `morphgres load` for information."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from bench.bed import Bed, copy_file
from bench.documents import DataFiles, write_files
from bench.pgbench import pgbench, write_script
from bench.results import Figures, ratios

COPIED = 50_000
KEY = "\\set key random(1, 1000000000000)\n"
OWN = KEY + (
    "INSERT INTO arrivals (_id, customer, status, region, price, quantity, score, active, name, "
    "email) VALUES (:key, 4711, 'new', 'north', 12.5, 3, 991, true, 'amber birch', "
    "'amber.birch@example.org');\n"
)
JSONB = KEY + (
    "INSERT INTO arrivals (_id, doc) VALUES (:key, jsonb_build_object('customer', 4711, "
    "'status', 'new', 'region', 'north', 'price', 12.5, 'quantity', 3, 'score', 991, "
    "'active', true, 'name', 'amber birch', 'email', 'amber.birch@example.org'));\n"
)
COLUMNS = (
    "_id, customer, status, region, price, quantity, score, active, name, email, note, created, "
    "address"
)


def run(bed: Bed, figures: Figures) -> None:
    """INSERT by 1 client, which waits for the disk, and by 8; then COPY; then load."""
    own = write_script(bed.directory, "insert-own", OWN)
    jsonb = write_script(bed.directory, "insert-jsonb", JSONB)
    for clients, name in ((1, "INSERT one row"), (8, "INSERT one row, 8 clients")):
        a, b = bed.race(
            lambda n=clients: pgbench(bed.morphgres, own, bed.options, mode="prepared", clients=n),
            lambda n=clients: pgbench(bed.native, jsonb, bed.options, mode="prepared", clients=n),
        )
        figures.add(
            f"{name}, time ÷ native jsonb", "×", ratios([r.tps for r in b], [r.tps for r in a])
        )
        figures.add(f"{name}, time", "ms", [1000 * clients / r.tps for r in a])
        figures.add(f"{name}, proxy CPU", "µs", [r.proxy_us for r in a])
        figures.add(f"{name}, backend CPU", "µs", [r.postgres_us for r in a])
        figures.add(f"{name}, native CPU", "µs", [r.postgres_us for r in b])
    files = write_files(bed.directory, "copied", COPIED, first=20_000_001)
    _copy(bed, figures, files)
    _load(bed, figures, files)


def _copy(bed: Bed, figures: Figures, files: DataFiles) -> None:
    columns = (f"COPY arrivals ({COLUMNS}) FROM STDIN (FORMAT csv)", files.csv)
    documents = ("COPY arrivals (_id, _doc) FROM STDIN", files.typed)
    with bed.morphgres.connect() as own, bed.native.connect() as native:

        def rate(connection: psycopg.Connection[Any], source: tuple[str, Path]) -> float:
            connection.execute("TRUNCATE arrivals")
            return files.count / copy_file(connection, *source)

        theirs = ("COPY arrivals FROM STDIN", files.jsonb)
        rates, base = bed.race(lambda: rate(own, columns), lambda: rate(native, theirs))
        figures.add("COPY in, rows/s ÷ native jsonb", "×", ratios(rates, base), "13 columns, CSV")
        figures.add("COPY in, rows/s", "/s", rates)
        figures.add("COPY in, native jsonb rows/s", "/s", base)
        name = "COPY in of _doc, rows/s ÷ native jsonb"
        try:
            rates, base = bed.race(lambda: rate(own, documents), lambda: rate(native, theirs))
        except psycopg.Error as error:
            figures.missing(name, "×", f"it answers: {error.diag.message_primary}")
        else:
            figures.add(name, "×", ratios(rates, base))


def _load(bed: Bed, figures: Figures, files: DataFiles) -> None:
    """`morphgres load`, as a user runs it; the table shows whether it did."""
    name = "morphgres load, rows/s"
    table = f"loaded_{time.time_ns() // 1_000_000}"
    begun = time.perf_counter()
    result = subprocess.run(
        [
            sys.executable, "-m", "proxy.main", "load", str(files.ndjson), "--table", table,
            "--data", str(bed.morphgres.directory),
        ],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    if result.returncode != 0 or not bed.has_table(table):
        words = result.stderr.strip().splitlines()
        figures.missing(name, "/s", words[-1] if words else "the command made no table")
        return
    figures.add(name, "/s", [files.count / seconds])
