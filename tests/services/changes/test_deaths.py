"""A change of a table of MongoDB under writers and under kill -9: nothing acknowledged is lost, no
client sees an error of the change's, and it goes on by itself (issue 5 points 6, 7, 8c; R4.2, R4.6;
EVOLUTION 7, I1, I5, I6).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.integration.server_process import ServerProcess, eventually
from tests.services.changes.dying import (
    ALL,
    CHANGES,
    CONFIG,
    SERVER,
    Killer,
    database_of,
    lives,
    storm_on,
    to_its_end,
    unharmed,
)
from tests.services.conftest import PROPERTY
from tests.services.servers.process import RunningServer

KILLS, MANY_KILLS = 3, 200


def _run(
    directory: Path, mongodb: RunningServer, name: str, kills: int, kinds: tuple[str, ...]
) -> Killer:
    seed = kills
    server = ServerProcess(directory, CHANGES if kinds == SERVER else CONFIG, durable=True)
    server.start()
    killer = Killer(server, random.Random(seed), kinds=kinds)
    try:
        with database_of(mongodb, name):
            storm = storm_on(server, mongodb, name, seed)
            compared = lives(storm, killer, kills)
            to_its_end(storm, psycopg.Connection.execute)
            assert compared > 0
            assert sum(w.writes for w in storm.writers) > kills
    except BaseException:
        if server._process is not None:
            server.kill()
        raise
    server.stop()
    return killer


@pytest.mark.services
@pytest.mark.timeout(600)
def test_writers_see_no_error_while_it_is_promoted_and_rolled_back(
    directory: Path,
    mongodb: RunningServer,
    own_name: str,
    record_property: Callable[[str, object], None],
) -> None:
    record_property(PROPERTY, mongodb.label)
    server = ServerProcess(directory / "data", CONFIG)
    server.start()
    try:
        with database_of(mongodb, own_name):
            storm = storm_on(server, mongodb, own_name, 1)
            storm.start()
            try:
                eventually(lambda: len(storm.calls) >= 4 or storm.refused, timeout_s=200)
            finally:
                storm.stop()
            unharmed(storm)
    finally:
        server.stop()


@pytest.mark.services
@pytest.mark.timeout(900)
def test_the_server_is_killed_again_and_again(
    directory: Path,
    mongodb: RunningServer,
    own_name: str,
    record_property: Callable[[str, object], None],
) -> None:
    record_property(PROPERTY, mongodb.label)
    killer = _run(directory / "data", mongodb, own_name, KILLS, SERVER)
    assert sum(killer.kills.values()) == KILLS


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_hundreds_of_kills(directory: Path, mongodb: RunningServer, own_name: str) -> None:
    killer = _run(directory / "data", mongodb, own_name, MANY_KILLS, ALL)
    assert sum(killer.kills.values()) == MANY_KILLS
