"""The test bed: both contenders with the same data, and how a case uses them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import psycopg

from bench.documents import DOCUMENTS, FIELDS, DataFiles, write_files
from bench.morphgres import Morphgres
from bench.native import NativePostgres
from bench.processes import cpu_us, family

ORDERED = 20_000  # rows of the join's other side
SEEN_TIMEOUT_S = 20.0
SETTLE_TRIES, SETTLE_S, SETTLED_US = 100, 0.02, 20_000.0
T = TypeVar("T")
INDEXED = ("customer", "name", "score")


class Contender(Protocol):
    """What cases need of either server."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def pid(self) -> int: ...

    @property
    def pg_pids(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how often to measure."""

    repeats: int = 5
    seconds: float = 2.0
    documents: int = DOCUMENTS
    clients: int = 8

    @classmethod
    def quick(cls) -> Options:
        """For a look while developing."""
        return cls(repeats=3, seconds=1.0)


def backend_cpu_us(server: Contender) -> float:
    """CPU time of a PostgreSQL: postmaster, backends that live, and backends that ended.

    A backend that ends while we count is seen twice or not at all: count until nothing moves.
    """
    last = _count_cpu_us(server)
    for _ in range(SETTLE_TRIES):
        time.sleep(SETTLE_S)
        now = _count_cpu_us(server)
        if 0 <= now - last <= SETTLED_US:
            return now
        last = now
    return last


def _count_cpu_us(server: Contender) -> float:
    total = 0.0
    for pid in server.pg_pids:
        total += cpu_us([pid], reaped=True) + cpu_us(family(pid) - {pid})
    return total


def proxy_cpu_us(server: Contender) -> float:
    """CPU time of what stands between client and PostgreSQL: 0 for PostgreSQL itself."""
    if server.pid in server.pg_pids:
        return 0.0
    postgres: set[int] = set()
    for pid in server.pg_pids:
        postgres |= family(pid)
    return cpu_us(family(server.pid) - postgres)


class Bed:
    """Servers that run, data that is loaded."""

    def __init__(self, directory: Path, options: Options) -> None:
        self.directory = directory
        self.options = options
        self.morphgres = Morphgres(directory / "morphgres")
        self.native = NativePostgres(directory / "native")
        self.files: DataFiles = write_files(directory, "documents", options.documents)
        self.few: DataFiles = write_files(directory, "few", 1000, first=10_000_001)

    @contextlib.contextmanager
    def running(self) -> Iterator[Bed]:
        """Start both, load what is not there, stop both."""
        with contextlib.ExitStack() as stack:
            self.native.start()
            stack.callback(self.native.stop)
            self.morphgres.start()
            stack.callback(self.morphgres.stop)
            self._fill_native()
            self._fill_morphgres()
            yield self

    def race(
        self, *works: Callable[[], T], repeats: int | None = None, warm_up: bool = True
    ) -> list[list[T]]:
        """Samples of each work: all in turn, in changing order, after one round for warmth."""
        samples: list[list[T]] = [[] for _ in works]
        if warm_up:
            for work in works:
                work()
        for turn in range(repeats or self.options.repeats):
            order = range(len(works)) if turn % 2 == 0 else reversed(range(len(works)))
            for place in order:
                samples[place].append(works[place]())
        return samples

    def has_table(self, table: str) -> bool:
        """True when Morphgres has the table."""
        with self.morphgres.connect() as connection:
            found = connection.execute("SELECT to_regclass(%s::text)", [table]).fetchone()
        return found is not None and found[0] is not None

    def document_table(self, table: str, files: DataFiles) -> None:
        """Make a document table, unless it is there."""
        if self.has_table(table):
            return
        self.morphgres.load(files.ndjson, table)
        deadline = time.monotonic() + SEEN_TIMEOUT_S
        while not self.has_table(table):
            assert time.monotonic() < deadline, f"table {table} does not appear"
            time.sleep(0.05)

    def _fill_morphgres(self) -> None:
        fresh = not self.has_table("documents")
        self.document_table("documents", self.files)
        self.document_table("arrivals", self.few)
        if fresh:
            with self.morphgres.connect() as connection:
                for column in INDEXED:
                    connection.execute(f"CREATE INDEX ON documents ({column})")  # type: ignore[arg-type]
                _make_customers(connection)
                connection.execute("VACUUM ANALYZE documents")

    def _fill_native(self) -> None:
        columns = ", ".join(f"{name} {kind}" for name, kind in FIELDS.items())
        with self.native.connect() as connection:
            if connection.execute("SELECT to_regclass('customers')").fetchone() != (None,):
                return
            for statement in (
                "CREATE TABLE native_jsonb (_id bigint PRIMARY KEY, doc jsonb NOT NULL)",
                "CREATE TABLE arrivals (_id bigint PRIMARY KEY, doc jsonb NOT NULL)",
                f"CREATE TABLE native_columns ({columns}, PRIMARY KEY (_id))",
                "CREATE INDEX ON native_columns (customer)",
            ):
                connection.execute(statement)  # type: ignore[arg-type]
            copy_file(connection, "COPY native_jsonb FROM STDIN", self.files.jsonb)
            copy_file(connection, "COPY native_columns FROM STDIN (FORMAT csv)", self.files.csv)
            for column in INDEXED:
                expression = f"doc ->> '{column}'"
                if FIELDS[column] != "text":
                    expression = f"({expression})::{FIELDS[column]}"
                connection.execute(f"CREATE INDEX ON native_jsonb (({expression}))")  # type: ignore[arg-type]
            connection.execute("VACUUM ANALYZE native_jsonb")
            connection.execute("VACUUM ANALYZE native_columns")
            _make_customers(connection)


def _make_customers(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute(
        "CREATE TABLE customers (id bigint PRIMARY KEY, segment text NOT NULL, weight bigint)"
    )
    connection.execute(
        f"INSERT INTO customers SELECT g, 'segment ' || g % 7, g % 100 "
        f"FROM generate_series(1, {ORDERED}) g"
    )
    connection.execute("VACUUM ANALYZE customers")


def copy_file(
    connection: psycopg.Connection[tuple[object, ...]], statement: str, file: Path
) -> float:
    """COPY a file in; seconds it took."""
    begun = time.perf_counter()
    with file.open("rb") as source, connection.cursor().copy(statement) as copy:  # type: ignore[arg-type]
        while chunk := source.read(1 << 20):
            copy.write(chunk)
    return time.perf_counter() - begun


def seconds_of(
    connection: psycopg.Connection[tuple[object, ...]], statements: Sequence[str]
) -> float:
    """Wall time of statements, results fetched."""
    begun = time.perf_counter()
    for statement in statements:
        connection.execute(statement, prepare=False).fetchall()  # type: ignore[arg-type]
    return time.perf_counter() - begun
