"""DESIGN 7.1: an acknowledged write is never lost, whatever is killed (issue point 9).

A writer inserts and updates documents and declared rows, and remembers what was acknowledged. Again
and again one of the processes is killed with SIGKILL: Morphgres itself, the private PostgreSQL's
postmaster, or the backend that works for the writer. After each kill everything acknowledged must
be there, and nothing of an aborted transaction.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import psycopg
import pytest

from tests.integration.conftest import fresh_directory, open_directory
from tests.integration.server_process import ServerProcess, eventually

__all__ = ["fresh_directory", "open_directory"]
KILLS = 200
SEEDS = (20261121, 7)
FIRST_START_S = 300.0  # with the sample, on a busy machine
TARGETS = ("morphgres", "postmaster", "backend", "backend")


class Writer(threading.Thread):
    """Writes pairs (document, row) in one transaction each, until stopped."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.acknowledged: set[int] = set()
        self.attempted = 0
        self.backend_pid = 0
        self.halt = threading.Event()

    def run(self) -> None:
        while not self.halt.is_set():
            try:
                with psycopg.connect(self.server.dsn, autocommit=True) as connection:
                    self.backend_pid = self._pid(connection)
                    while not self.halt.is_set():
                        self._write(connection)
            except psycopg.Error:
                time.sleep(0.02)

    @staticmethod
    def _pid(connection: psycopg.Connection) -> int:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        return int(row[0])

    def _write(self, connection: psycopg.Connection) -> None:
        self.attempted += 1
        number = self.attempted
        with connection.transaction():
            connection.execute(
                "INSERT INTO events (_id, kind, value) VALUES (%s, 'kill', to_jsonb(%s::int))",
                (f"k{number}", number),
            )
            connection.execute("INSERT INTO ledger VALUES (%s, %s)", (number, number * 2))
            connection.execute("UPDATE ledger SET twice = twice + 1 WHERE id = %s", (number,))
        self.acknowledged.add(number)


def _check(server: ServerProcess, acknowledged: set[int]) -> None:
    """Retries while a crash that was just caused is not over (57P02, 57P03)."""

    def attempt() -> bool:
        try:
            _compare(server, acknowledged)
        except psycopg.OperationalError:
            return False
        return True

    eventually(attempt, timeout_s=60, what="a quiet moment to compare")


def _compare(server: ServerProcess, acknowledged: set[int]) -> None:
    with psycopg.connect(server.dsn) as connection:
        # The writer goes on: both reads must see one moment.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        documents = {
            int(r[0])
            for r in connection.execute("SELECT value FROM events WHERE kind = 'kill'").fetchall()
        }
        rows = {int(r[0]): int(r[1]) for r in connection.execute("SELECT * FROM ledger").fetchall()}
    assert acknowledged <= documents, f"lost documents: {sorted(acknowledged - documents)[:5]}"
    assert documents == set(rows), "a transaction was applied in part"
    assert all(twice == number * 2 + 1 for number, twice in rows.items())


def _kill(server: ServerProcess, writer: Writer, target: str) -> None:
    pid = {
        "morphgres": server.pid,
        "postmaster": server.postmaster_pid,
        "backend": writer.backend_pid,
    }[target]
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    if target == "morphgres":
        server.kill()
        server.start()


def _answers(server: ServerProcess) -> bool:
    try:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("SELECT 1 FROM ledger LIMIT 1")
    except psycopg.Error:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_acknowledged_write_is_lost_over_200_kills(fresh_directory: Path, seed: int) -> None:
    server = ServerProcess(fresh_directory, arguments=("--sample", "shop"), durable=True)
    server.start(FIRST_START_S)
    dice = random.Random(seed)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE ledger (id bigint PRIMARY KEY, twice bigint NOT NULL)")
    writer = Writer(server)
    writer.start()
    try:
        for number in range(KILLS):
            before = len(writer.acknowledged)
            eventually(lambda: len(writer.acknowledged) > before + 3, timeout_s=60)  # noqa: B023
            time.sleep(dice.random() * 0.02)
            _kill(server, writer, dice.choice(TARGETS))
            eventually(lambda: _answers(server), timeout_s=60, what=f"answers after kill {number}")
            if number % 10 == 9:
                _check(server, set(writer.acknowledged))
        writer.halt.set()
        writer.join(60)
        _check(server, set(writer.acknowledged))
        assert len(writer.acknowledged) > KILLS * 3
    finally:
        writer.halt.set()
        server.kill()
