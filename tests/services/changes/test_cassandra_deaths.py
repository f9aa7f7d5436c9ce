"""A change of a table of Cassandra under writers and under kill -9: nothing acknowledged is lost,
no client sees an error of the change's, and it goes on by itself (issue 5 points 6, 7, 8c; R4.2,
R4.6; EVOLUTION 7, I1, I5, I6).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.integration.changes.prices import change_type, rows
from tests.integration.changes.storm import check, pass_time
from tests.integration.server_process import ServerProcess, eventually
from tests.services.changes.dying import (
    CONFIG,
    PENDING,
    START_S,
    Killer,
    connected,
    to_its_end,
    unharmed,
)
from tests.services.changes.goods import keyspace_on
from tests.services.changes.patient import PatientStorm, PatientWriter, insist
from tests.services.conftest import PROPERTY
from tests.services.federation.placing import create_server_text
from tests.services.servers.process import RunningServer

LOG = logging.getLogger(__name__)
KILLS, MANY_KILLS = 4, 100
KILLS_A_CHECK = 20
TURNS_EVERY = 12
"""Once in so many lives the operator gets through: a new owner of a change waits for what the one
before may have on its way, for longer than the other lives last."""
TURN_S = 180.0
QUIET_S = 240.0
ROWS = 300
TABLE = """CREATE FOREIGN TABLE price (id int NOT NULL, x int)
  SERVER s OPTIONS (keyspace '{keyspace}', table_name 'price', key 'id')"""


@contextmanager
def _table(cassandra: RunningServer, keyspace: str) -> Iterator[None]:
    with keyspace_on(cassandra, keyspace) as session:
        session.execute("CREATE TABLE price (id int PRIMARY KEY, x int)", timeout=60)
        for number in range(1, ROWS + 1):
            session.execute(f"INSERT INTO price (id, x) VALUES ({number}, {number * 10})")
        yield


def _storm(
    server: ServerProcess, cassandra: RunningServer, keyspace: str, seed: int
) -> PatientStorm:
    with server.connect() as client:
        client.execute(create_server_text("s", cassandra, keyspace=keyspace).encode())
        client.execute(TABLE.format(keyspace=keyspace).encode())
        change_type(client)
    return PatientStorm(server, [PatientWriter(number, seed + number) for number in (1, 2)])


def _lives(storm: PatientStorm, killer: Killer, kills: int, kills_a_check: int) -> int:
    """So many deaths under the storm, everything compared after some of them; rows compared."""
    compared = 0
    for number in range(1, kills + 1):
        if not storm.threads:
            storm.start()
        if number % TURNS_EVERY == 0:
            _turned(storm)
        written = storm.written
        pass_time(killer.rng.uniform(0.3, 2.5))
        eventually(partial(_has_written, storm, written), timeout_s=START_S, what="a write")
        before = killer.kills.get("server", 0)
        killer.strike()
        if killer.kills.get("server", 0) > before:
            storm.server.start(START_S)
        if number % kills_a_check == 0 or number == kills:
            compared += _compared(storm)
            made = [len(storm.calls), len(storm.refused), storm.written]
            LOG.info("kills %s; turns, refused, writes: %s; rows %s", killer.kills, made, compared)
    return compared


def _has_written(storm: PatientStorm, before: int) -> bool:
    return storm.written > before


def _compared(storm: PatientStorm) -> int:
    """Nobody writes any more, what is late has come: everything is compared."""
    storm.stop()
    storm.threads.clear()
    with connected(storm.server) as client:
        eventually(lambda: rows(client, PENDING) == [(0,)], timeout_s=QUIET_S, what="a quiet log")
    return check(storm)


def _turned(storm: PatientStorm) -> None:
    """The roles of the layouts have changed once more."""
    before = len(storm.calls)
    eventually(lambda: len(storm.calls) > before, timeout_s=TURN_S, what="another turn")


def _run(
    directory: Path, cassandra: RunningServer, name: str, kills: int, each: int, seed: int
) -> Killer:
    server = ServerProcess(directory, CONFIG, durable=True)
    server.start(START_S)
    killer = Killer(server, random.Random(seed))
    try:
        with _table(cassandra, f"deaths_{name}"):
            storm = _storm(server, cassandra, f"deaths_{name}", seed)
            try:
                compared = _lives(storm, killer, kills, each)
            finally:
                storm.halt.set()
            to_its_end(storm, insist)
            assert compared > 0
            assert storm.written > kills
    except BaseException:
        LOG.exception("the log of the server: %s", server.output[-20_000:])
        server.kill()
        raise
    server.stop()
    return killer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a server's data may lie: the private PostgreSQL runs as another user."""
    for each in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        each.chmod(0o755)
    return tmp_path


# I1, I6: writes through both versions go on while an operator promotes and rolls back
@pytest.mark.services
@pytest.mark.timeout(600)
def test_writers_see_no_error_while_it_is_promoted_and_rolled_back(
    directory: Path,
    cassandra: RunningServer,
    own_name: str,
    record_property: Callable[[str, object], None],
) -> None:
    record_property(PROPERTY, cassandra.label)
    server = ServerProcess(directory / "data", CONFIG)
    server.start(START_S)
    try:
        with _table(cassandra, f"deaths_{own_name}"):
            storm = _storm(server, cassandra, f"deaths_{own_name}", 1)
            storm.start()
            try:
                eventually(
                    lambda: len(storm.calls) >= 4 or storm.refused, timeout_s=300, what="4 turns"
                )
            finally:
                storm.stop()
            unharmed(storm)
    finally:
        server.stop()


# I1, I5, I6: workers and the whole server are killed at any moment
@pytest.mark.services
@pytest.mark.timeout(1200)
def test_workers_and_servers_are_killed_again_and_again(
    directory: Path,
    cassandra: RunningServer,
    own_name: str,
    record_property: Callable[[str, object], None],
) -> None:
    record_property(PROPERTY, cassandra.label)
    killer = _run(directory / "data", cassandra, own_name, KILLS, KILLS, 7)
    assert sum(killer.kills.values()) == KILLS


@pytest.mark.slow
@pytest.mark.timeout(6000)
@pytest.mark.parametrize("seed", [1970, 2026])
def test_hundreds_of_kills(
    directory: Path, cassandra: RunningServer, own_name: str, seed: int
) -> None:
    killer = _run(directory / "data", cassandra, own_name, MANY_KILLS, KILLS_A_CHECK, seed)
    assert sum(killer.kills.values()) == MANY_KILLS
