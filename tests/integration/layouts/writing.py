"""Clients that write to a table while a test compares its layouts."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.integration.server_process import ServerProcess

KEYS = 3_000
_STATEMENTS = (
    "UPDATE fed SET n = n WHERE id = {a}",
    "UPDATE fed SET n = n + {b} WHERE id = {a}",
    "UPDATE fed SET x = 'w' || {b} WHERE id BETWEEN {a} AND {a} + 5",
    "DELETE FROM fed WHERE id = {a}",
    "INSERT INTO fed VALUES ({a}, {b}, 'i') ON CONFLICT (id) DO UPDATE SET n = excluded.n",
    "UPDATE fed SET id = -id WHERE id = {a} AND NOT EXISTS (SELECT FROM fed WHERE id = -{a})",
    "BEGIN; DELETE FROM fed WHERE id = {a}; INSERT INTO fed VALUES ({a}, {b}, NULL); COMMIT",
    "BEGIN; UPDATE fed SET n = 0 WHERE id = {a}; ROLLBACK",
)


class Writers:
    """`written` statements were done; `faults` are errors nobody expects."""

    def __init__(self, server: ServerProcess, pause_s: float) -> None:
        self._server = server
        self._pause_s = pause_s
        self._stop = threading.Event()
        self.written = 0
        self.faults: list[str] = []

    def run(self, number: int) -> None:
        """One client, on keys of its own: no deadlocks."""
        choose = random.Random(number)
        try:
            with psycopg.connect(self._server.dsn, autocommit=True) as client:
                while not self._stop.is_set():
                    key = choose.randrange(1, KEYS // 10) * 10 + 2 * number
                    statement = choose.choice(_STATEMENTS)
                    client.execute(statement.format(a=key, b=choose.randrange(100)).encode())
                    self.written += 1
                    self._stop.wait(self._pause_s)
        except psycopg.Error as error:
            self.faults.append(str(error))

    def stop(self) -> None:
        """After the statements that run."""
        self._stop.set()


@contextmanager
def writing(server: ServerProcess, clients: int = 2, pause_s: float = 0.002) -> Iterator[Writers]:
    """Clients write until the block ends; then all of them are done."""
    writers = Writers(server, pause_s)
    threads = [threading.Thread(target=writers.run, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        writers.stop()
        for thread in threads:
            thread.join(60)
