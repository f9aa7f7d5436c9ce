"""A table `price` of MongoDB under tests/integration/changes/storm.py, and who kills."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from pymongo import MongoClient

from tests.integration.changes.prices import change_type, rows
from tests.integration.changes.storm import Storm, Writer, check, pass_time
from tests.integration.server_process import ServerProcess, descendants, eventually
from tests.services.federation.placing import create_server_text
from tests.services.servers.process import RunningServer

CHANGES = (
    '[changes]\nidle_pause = "20ms"\nbackoff_min = "20ms"\n'
    'backoff_max = "200ms"\nfence_lag = "1s"\nfault_tries = 1000\n'
)
CONFIG = f'[server]\nworkers = 2\nworker_start_timeout = "3min"\n{CHANGES}'
SERVER = ("server",)
ALL = ("worker", "worker", "worker", "workers", "workers", "server")
TABLE = """CREATE FOREIGN TABLE price (id bigint OPTIONS (path '_id') NOT NULL, x int)
  SERVER s OPTIONS (collection 'price', key 'id')"""
ROWS = 300
START_S = 200.0
CURRENT = "SELECT max(version) FROM morph.versions WHERE current"
PENDING = "SELECT coalesce(sum(pending), 0)::int FROM morph.progress"


@contextlib.contextmanager
def database_of(mongodb: RunningServer, name: str) -> Iterator[Any]:
    """A database with the collection of version 1, which is dropped at the end."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongodb.uri)
    with client:
        client.drop_database(name)
        client[name].price.insert_many({"_id": n, "x": n * 10} for n in range(1, ROWS + 1))
        yield client[name]
        client.drop_database(name)


def storm_on(server: ServerProcess, mongodb: RunningServer, database: str, seed: int) -> Storm:
    """The table with a change, and clients that are not there yet."""
    with server.connect() as client:
        client.execute(create_server_text("s", mongodb, database=database).encode())
        client.execute(TABLE.encode())
        change_type(client)
    return Storm(server, [Writer(number, seed + number) for number in (1, 2)])


def connected(server: ServerProcess) -> psycopg.Connection[Any]:
    """A session; a dead worker's socket may take in the first attempts."""

    def attempts() -> list[psycopg.Connection[Any]]:
        with contextlib.suppress(psycopg.OperationalError):
            return [server.connect()]
        return []

    return eventually(attempts, timeout_s=240, what="a session")[0]


def workers_of(server: ServerProcess) -> list[int]:
    """The processes of the workers."""
    found = []
    for pid in descendants(server.pid):
        with contextlib.suppress(OSError):
            if b"_MORPHGRES_WORKER=" in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


@dataclass
class Killer:
    """Kills a worker, all of them, or the whole server; counts what it did."""

    server: ServerProcess
    rng: random.Random
    kills: dict[str, int] = field(default_factory=dict)
    kinds: tuple[str, ...] = ALL

    def strike(self) -> None:
        """Once. The server runs afterwards."""
        kind = self.rng.choice(self.kinds)
        self.kills[kind] = self.kills.get(kind, 0) + 1
        if kind == "server":
            self.server.kill()
            return
        victims = workers_of(self.server)
        assert victims, "there are workers"
        for pid in victims if kind == "workers" else [self.rng.choice(victims)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _written(storm: Storm) -> int:
    return sum(writer.writes for writer in storm.writers)


def _has_written(storm: Storm, before: int) -> bool:
    return _written(storm) > before


def lives(storm: Storm, killer: Killer, kills: int) -> int:
    """So many deaths under the storm, with everything compared after each; rows compared."""
    compared = 0
    for _ in range(kills):
        written = _written(storm)
        storm.start()
        pass_time(killer.rng.uniform(0.2, 5.0))
        eventually(partial(_has_written, storm, written), timeout_s=120, what="a write")
        before = killer.kills.get("server", 0)
        killer.strike()
        storm.stop()
        if killer.kills.get("server", 0) > before:
            storm.server.start(START_S)
        with connected(storm.server) as client:
            # What a dead worker had sent is there now, or never will be.
            eventually(lambda: rows(client, PENDING) == [(0,)], timeout_s=120, what="a quiet log")
        compared += check(storm)
    return compared


def unharmed(storm: Storm) -> None:
    """Nobody was killed: every client wrote on and saw no error, and all is there."""
    assert [f for w in storm.writers for f in w.failures] == []
    assert storm.refused == []
    assert min(w.writes for w in storm.writers) > 20
    assert check(storm) > 0


def to_its_end(storm: Storm, call: Callable[[psycopg.Connection[Any], str], object]) -> None:
    """The change goes forth and back once more with everything compared, and the clients have seen
    no error but those of the deaths.
    """
    with connected(storm.server) as client:
        if rows(client, CURRENT) == [(1,)]:
            call(client, "CALL morph.promote(2)")
        check(storm)
        call(client, "CALL morph.rollback(2)")
        check(storm)
    failures = [f for w in storm.writers for f in w.failures if f[:2] not in ("57", "08")]
    assert failures == []
