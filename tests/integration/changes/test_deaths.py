"""A change under writers and under kill -9: nothing acknowledged is lost, no client sees an error
of the change's, and it goes on by itself (R4.2, R4.6; DESIGN 7.1 to 7.3, I1, I5, I6).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.changes.conftest import QUICK
from tests.integration.changes.prices import change_type, in_state, make_prices, reaches, rows
from tests.integration.changes.storm import Storm, Writer, check, pass_time
from tests.integration.server_process import ServerProcess, descendants, eventually, running

KILLS = 3
OWNER = (
    "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND ((classid::bigint << 32) | objid::bigint) = 470021206120"
)


def storm_on(server: ServerProcess, seed: int) -> Storm:
    """A table with a change, and clients that are not there yet."""
    with server.connect() as client:
        make_prices(client)
        change_type(client)
    return Storm(server, [Writer(number, seed + number) for number in (1, 2)])


def test_writers_see_no_error_while_it_is_promoted_and_rolled_back(server: ServerProcess) -> None:
    storm = storm_on(server, 1)
    storm.start()
    try:
        eventually(lambda: len(storm.calls) >= 4 or storm.refused, timeout_s=100)
    finally:
        storm.stop()
    assert [f for w in storm.writers for f in w.failures] == []
    assert storm.refused == []
    assert min(w.writes for w in storm.writers) > 20
    assert check(storm) > 0


@pytest.mark.timeout(300)
def test_the_server_is_killed_again_and_again(fresh_directory: Path) -> None:
    rng = random.Random(7)
    server = ServerProcess(fresh_directory, QUICK, durable=True)
    server.start()
    storm = storm_on(server, 70)
    try:
        for _ in range(KILLS):
            storm.start()
            pass_time(rng.uniform(0.3, 2.0))
            server.kill()
            storm.stop()
            server.start()
            check(storm)
        with server.connect() as client:
            eventually(lambda: not in_state(client, "fenced"), timeout_s=60)
            if not in_state(client, "promoted"):
                client.execute("CALL morph.promote(2)")
            check(storm)
            client.execute("CALL morph.rollback(2)")
            check(storm)
        assert [f for w in storm.writers for f in w.failures if f[:2] not in ("57", "08")] == []
    finally:
        server.stop()


@pytest.mark.timeout(300)
def test_the_worker_that_drives_dies_and_another_goes_on(fresh_directory: Path) -> None:
    config = f"[server]\nworkers = 2\n{QUICK}rows_per_s = 2000\n"
    with running(fresh_directory, config) as server:
        with server.connect() as client:
            make_prices(client, rows=6000)
            change_type(client)
            reaches(client, "backfilling")
        victim = _worker_of_owner(server)
        os.kill(victim, signal.SIGKILL)
        with _connected(server) as client:
            reaches(client, "ready")
            owners = (
                "SELECT count(DISTINCT actor), max(epoch) FROM morph.change_steps "
                "WHERE event = 'Claimed'"
            )
            claimed, epoch = rows(client, owners)[0]
            assert epoch == 2
            assert claimed in (1, 2)  # the worker is started anew and may be the faster one
            client.execute("CALL morph.promote(2)")
            assert rows(client, "SELECT count(*), sum(x)::int FROM price") == [(6000, 1800300)]


def _connected(server: ServerProcess) -> psycopg.Connection[Any]:
    """A session; the dead worker's socket may take in the first attempts."""

    def attempts() -> list[psycopg.Connection[Any]]:
        with contextlib.suppress(psycopg.OperationalError):
            return [server.connect()]
        return []

    return eventually(attempts, timeout_s=60)[0]


def _worker_of_owner(server: ServerProcess) -> int:
    """The process that has the connection which holds the controllers' lock."""
    with server.root() as root:
        backend = eventually(lambda: root.execute(OWNER).fetchall(), timeout_s=60)[0][0]
        start = "SELECT application_name FROM pg_stat_activity WHERE pid = %s"
        row = root.execute(start, (backend,)).fetchone()
    assert row is not None
    number = int(str(row[0]).rsplit(" ", 1)[1])
    for pid in descendants(server.pid):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if f"_MORPHGRES_WORKER={number}:".encode() in environment:
            return pid
    raise AssertionError(f"there is no worker {number}")
