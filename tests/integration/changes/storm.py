"""Writers and an operator on a changing table, who know what was acknowledged.

Writers write through both versions; the operator promotes and rolls back. When the server dies,
one write of each writer may or may not have happened; everything that was acknowledged must be
there, in both versions, and nothing else.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.integration.changes.prices import WAIT_S, rows
from tests.integration.server_process import ServerProcess

KEYS = 40
GONE = None


@dataclass
class Writer:
    """One client with keys of its own. `sure` is what it knows, `unsure` the last write when its
    answer did not come: (key, value) or nothing. It writes through `versions`.
    """

    number: int
    seed: int
    sure: dict[int, int | None] = field(default_factory=dict)
    unsure: tuple[int, int | None] | None = None
    writes: int = 0
    failures: list[str] = field(default_factory=list)
    versions: tuple[str, ...] = ("v1", "v2")

    def run(self, server: ServerProcess, halt: threading.Event) -> None:
        """Write until told to stop or the connection breaks."""
        rng = random.Random(self.seed + self.writes)
        try:
            with server.connect() as client:
                while not halt.is_set():
                    self._write(client, rng)
        except psycopg.Error as error:
            if error.sqlstate is not None:
                self.failures.append(f"{error.sqlstate} {error}")

    def _write(self, client: psycopg.Connection[Any], rng: random.Random) -> None:
        key = self.number * 1000 + rng.randrange(KEYS)
        value = GONE if rng.random() < 0.2 else rng.randrange(1_000_000)
        version = rng.choice(self.versions)
        shown = value if version == "v1" else f"{(value or 0) / 100:.2f}"
        self.unsure = (key, value)
        if value is GONE:
            client.execute(f"DELETE FROM {version}.price WHERE id = {key}")
        elif key in self.sure and self.sure[key] is not GONE and rng.random() < 0.7:
            client.execute(f"UPDATE {version}.price SET x = {shown} WHERE id = {key}")
        else:
            client.execute(
                f"INSERT INTO {version}.price VALUES ({key}, {shown}) "
                "ON CONFLICT (id) DO UPDATE SET x = excluded.x"
            )
        self.sure[key], self.unsure = value, None
        self.writes += 1

    def settle(self, found: dict[int, int]) -> None:
        """Learn from the store what became of the unsure write."""
        if self.unsure is None:
            return
        (key, value), self.unsure = self.unsure, None
        assert found.get(key) in (value, self.sure.get(key)), f"key {key} is neither"
        self.sure[key] = found.get(key)


@dataclass
class Storm:
    """Writers and one operator, in threads, until `stop`."""

    server: ServerProcess
    writers: list[Writer]
    halt: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Begin, again after a stop."""
        self.halt.clear()
        targets = [lambda w=writer: w.run(self.server, self.halt) for writer in self.writers]
        self.threads = [threading.Thread(target=t) for t in [*targets, self._operate]]
        for thread in self.threads:
            thread.start()

    def _operate(self) -> None:
        try:
            with self.server.connect() as client:
                while not self.halt.is_set():
                    current = rows(client, "SELECT max(version) FROM morph.versions WHERE current")
                    call = "rollback" if current == [(2,)] else "promote"
                    try:
                        client.execute(f"CALL morph.{call}(2)")
                        self.calls.append(call)
                    except psycopg.errors.ObjectNotInPrerequisiteState as error:
                        self.refused.append(str(error))
        except psycopg.Error as error:
            if error.sqlstate is not None and error.sqlstate[:2] not in ("57", "08"):
                self.refused.append(f"{error.sqlstate} {error}")

    def stop(self) -> None:
        """Let all come to their end."""
        self.halt.set()
        for thread in self.threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "a client hangs"


def everything(client: psycopg.Connection[Any], version: str) -> dict[int, int]:
    """All rows that writers made, in cents, as a version shows them."""
    scale = "" if version == "v1" else " * 100"
    query = f"SELECT id, (x{scale})::int FROM {version}.price WHERE id >= 1000"
    return dict(rows(client, query))


def check(storm: Storm) -> int:
    """Both versions show what was acknowledged, and nothing else; how many rows."""
    with storm.server.connect() as client:
        found = everything(client, "v1")
        for writer in storm.writers:
            writer.settle(found)
        known = {
            key: value
            for writer in storm.writers
            for key, value in writer.sure.items()
            if value is not GONE
        }
        assert found == known
        assert everything(client, "v2") == known
    return len(known)


def pass_time(seconds: float) -> None:
    """Let the storm go on for a while."""
    time.sleep(seconds)
