"""Cut-overs under load: writers and readers in blocks and out of them, and no client error
(EVOLUTION 6, invariants I1, I5, I6, I7).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from tests.integration.layouts.bed import DEADLINE_S, Bed

ROWS = 500


@dataclass
class Load:
    """Sessions of clients; `acknowledged` is what they were told is written, by key."""

    dsn: str
    stop: threading.Event = field(default_factory=threading.Event)
    errors: list[str] = field(default_factory=list)
    acknowledged: dict[int, str] = field(default_factory=dict)
    longest_s: float = 0.0
    done: int = 0
    keys: Iterator[int] = field(default_factory=lambda: itertools.count(10_000))

    def run(self, work: str, seed: int) -> None:
        """One session until the end; what fails is kept."""
        rng = random.Random(seed)
        try:
            with psycopg.connect(self.dsn, autocommit=True) as session:
                while not self.stop.is_set():
                    begun = time.monotonic()
                    getattr(self, work)(session, rng, seed)
                    self.longest_s = max(self.longest_s, time.monotonic() - begun)
                    self.done += 1
        except psycopg.Error as error:
            self.errors.append(f"{work}: {error.sqlstate} {error}")

    def write(self, session: psycopg.Connection, rng: random.Random, seed: int) -> None:
        """A statement of its own; each session has its own keys, so the last one told wins."""
        key = seed + 8 * rng.randrange(ROWS // 8)
        text = f"{rng.random()}"
        if rng.random() < 0.2:
            key = next(self.keys)
            session.execute("INSERT INTO orders VALUES (%s, %s)", (key, text))
        else:
            session.execute("UPDATE orders SET x = %s WHERE id = %s", (text, key))
        self.acknowledged[key] = text

    def block(self, session: psycopg.Connection, rng: random.Random, seed: int) -> None:
        """A transaction that reads first and writes then."""
        key = seed + 8 * rng.randrange(ROWS // 8)
        text = f"{rng.random()}"
        with session.transaction():
            session.execute("SELECT * FROM orders WHERE id = %s FOR UPDATE", (key,))
            session.execute("UPDATE orders SET x = %s WHERE id = %s", (text, key))
        self.acknowledged[key] = text

    def read(self, session: psycopg.Connection, rng: random.Random, _: int) -> None:
        """Reads in a block: they stand against the flip until they end."""
        with session.transaction():
            count = session.execute("SELECT count(*) FROM orders").fetchone()
            assert count is not None
            assert count[0] >= ROWS, "rows are missing"
            session.execute("SELECT x FROM orders WHERE id = %s", (rng.randrange(ROWS),))


@contextmanager
def running(load: Load, works: list[str]) -> Iterator[None]:
    """The sessions, joined at the end."""
    threads = [threading.Thread(target=load.run, args=(work, n)) for n, work in enumerate(works)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


async def test_writers_and_readers_notice_nothing(bed: Bed) -> None:
    bed.make("orders", "id int PRIMARY KEY, x text")
    bed.ddl(f"INSERT INTO orders SELECT g, 'start' FROM generate_series(0, {ROWS - 1}) g")
    load = Load(bed.server.dsn)
    with running(load, ["write", "write", "block", "block", "read", "read"]):
        await bed.ready("orders")
        held = []
        for _ in range(3):
            held.append((await bed.through()).waited_s)
            done = load.done
            while load.done < done + 50 and not load.errors:
                await asyncio.sleep(0.01)
    assert load.errors == []
    assert max(held) < DEADLINE_S
    found = dict(bed.client.execute("SELECT id, x FROM orders").fetchall())
    assert {k: found.get(k) for k in load.acknowledged} == load.acknowledged
    await bed.layouts.catch_up(bed.work)
    assert bed.differences() == []


@dataclass
class BothVersions(Load):
    """Writers of a column whose type the newer version changed, each through one version."""

    def old(self, session: psycopg.Connection, rng: random.Random, seed: int) -> None:
        """Through the version from before."""
        self._write(session, rng, seed, "v1", str(rng.randrange(1000)))

    def new(self, session: psycopg.Connection, rng: random.Random, seed: int) -> None:
        """Through the version of the change: values that the old one cannot show."""
        self._write(session, rng, seed, "v2", f"{rng.randrange(1000)}.5")

    def _write(
        self, session: psycopg.Connection, rng: random.Random, seed: int, version: str, value: str
    ) -> None:
        key = seed + 8 * rng.randrange(ROWS // 8)
        kind = rng.random()
        if kind < 0.3:
            key = next(self.keys)
            session.execute(f"INSERT INTO {version}.price VALUES ({key}, {value})")
        elif kind < 0.6:
            session.execute(
                f"INSERT INTO {version}.price VALUES ({key}, {value}) "
                "ON CONFLICT (id) DO UPDATE SET x = excluded.x"
            )
        else:
            session.execute(f"UPDATE {version}.price SET x = {value} WHERE id = {key}")
        self.acknowledged[key] = value

    def reading(self, session: psycopg.Connection, rng: random.Random, _: int) -> None:
        """Reads of both versions."""
        for version in ("v1", "v2"):
            row = session.execute(f"SELECT count(x), count(*) FROM {version}.price").fetchone()
            assert row is not None
            assert row[0] == row[1] >= ROWS, "values are missing"


async def test_writers_of_a_changed_type_notice_nothing(bed: Bed) -> None:
    """Forward and back and forward again under writes through both versions: all are there."""
    bed.make("price", "id int PRIMARY KEY, x int")
    bed.ddl(f"INSERT INTO price SELECT g, g FROM generate_series(0, {ROWS - 1}) g")
    bed.ddl("SET morph.ddl_mode = virtual")
    bed.ddl("ALTER TABLE price ALTER COLUMN x TYPE numeric")
    load = BothVersions(bed.server.dsn)
    with running(load, ["old", "new", "old", "new", "reading"]):
        await bed.ready("price")
        for _ in range(3):
            await bed.through()
            done = load.done
            while load.done < done + 50 and not load.errors:
                await asyncio.sleep(0.01)
    assert load.errors == []
    found = bed.client.execute("SELECT id, x FROM v2.price").fetchall()
    shown = {key: str(value) for key, value in found}
    assert {k: shown.get(k) for k in load.acknowledged} == load.acknowledged
