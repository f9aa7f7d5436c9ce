"""kill -9 again and again while a change is built, promoted and rolled back under writers (R4.6,
issue 5 point 8c): at random moments, and at named points of every state of the change.

Nothing acknowledged is lost, both versions show the same, and the change goes on by itself (DESIGN
7.1 to 7.6 and 7.9, each named where it is asserted; EVOLUTION I1, I5, I6). MORPH_CHANGE_KILLS says
how many kills at random moments, MORPH_CHANGE_FAULTS how many at named points; MORPH_CHANGE_LIFE
takes one life out of those, by its number: each has a seed of its own.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import signal
from pathlib import Path

import psycopg
import pytest

from tests.integration.changes.conftest import QUICK
from tests.integration.changes.prices import change_type, make_prices, rows
from tests.integration.changes.storm import Storm, Writer, check, pass_time
from tests.integration.conftest import fresh_directory, open_directory
from tests.integration.server_process import ServerProcess, eventually
from tests.slow.change_lives import LIVES, POINTS, ROWS, Life

__all__ = ["fresh_directory", "open_directory"]
RESTARTS = '[private_pg]\nrestart_backoff_min = "50ms"\nrestart_backoff_max = "200ms"\n'
KILLS = int(os.environ.get("MORPH_CHANGE_KILLS", "60"))
FAULTS = int(os.environ.get("MORPH_CHANGE_FAULTS", "2000"))
FIRST = int(os.environ.get("MORPH_CHANGE_LIFE", "0"))
FEED_RATE = f"rows_per_s = {4 * ROWS}\n"


def postgres_is_back(server: ServerProcess, old: int) -> bool:
    try:
        if server.postmaster_pid == old:
            return False
        with server.connect() as client:
            return rows(client, "SELECT 1") == [(1,)]
    except (OSError, IndexError, ValueError, psycopg.Error):  # not there yet
        return False


def settle(server: ServerProcess, change: int) -> None:
    """Bring the change to its end."""
    with server.connect() as client:
        client.execute(f"CALL morph.promote({change})")
        client.execute(f"CALL morph.contract({change})")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("victim", ["morphgres", "postgres"])
def test_kills_lose_nothing(fresh_directory: Path, victim: str) -> None:
    rng = random.Random(victim)
    server = ServerProcess(fresh_directory, QUICK + RESTARTS, durable=True)
    server.start()
    with server.connect() as client:
        make_prices(client)
        change_type(client)
    storm = Storm(server, [Writer(number, number) for number in (1, 2, 3)])
    try:
        for _ in range(KILLS):
            storm.start()
            pass_time(rng.uniform(0.05, 2.5))
            if victim == "morphgres":
                server.kill()
                storm.stop()
                server.start()
            else:
                old = server.postmaster_pid
                os.kill(old, signal.SIGKILL)
                storm.stop()
                eventually(functools.partial(postgres_is_back, server, old), timeout_s=60)
            check(storm)
        settle(server, 2)
        check(storm)
        with server.connect() as client:
            steps = dict(rows(client, "SELECT event, count(*) FROM morph.change_steps GROUP BY 1"))
    finally:
        server.stop()
    assert steps["Flipped"] > KILLS / 20, steps
    assert sum(writer.writes for writer in storm.writers) > KILLS * 5


@pytest.mark.slow
@pytest.mark.timeout(14400)
def test_kills_at_every_named_point_lose_nothing(fresh_directory: Path) -> None:
    server = ServerProcess(fresh_directory, QUICK + FEED_RATE + RESTARTS, durable=True)
    server.start()
    life = Life(server)
    life.set_up()
    try:
        for number in itertools.count(FIRST):
            life.live(number, LIVES[number % len(LIVES)])
            if "MORPH_CHANGE_LIFE" in os.environ or sum(life.tally.kills.values()) >= FAULTS:
                break
    finally:
        print(life.tally)
        server.stop()
    if 20 * len(POINTS) <= FAULTS:
        assert set(life.tally.kills) == POINTS, life.tally
