"""DESIGN 7.1 once more: several processes are killed at once, whichever they are (issue point 9).

Two workers, so the parent, a worker, the postmaster, a backend, the checkpointer or the startup
process of a recovery may be hit, also while what was hit before is not over. A killed process may
hold locks that others wait for, and may be the one that was to clean up.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import psycopg
import pytest

from tests.integration.conftest import fresh_directory, open_directory
from tests.integration.server_process import ServerProcess, descendants, eventually
from tests.slow.test_kills import Writer, _answers, _check

__all__ = ["fresh_directory", "open_directory"]
ROUNDS = 40
AGAIN_S = 60.0
FIRST_START_S = 300.0  # with the sample, on a busy machine


def _kill_some(server: ServerProcess, dice: random.Random) -> list[str]:
    """One to three of the processes; the titles of what was hit."""
    hit = []
    for _ in range(dice.choice((1, 2, 2, 3))):
        time.sleep(dice.choice((0.0, 0.005, 0.05, 0.3)) * dice.random())
        if dice.random() < 0.2:
            hit.append("morphgres")
            server.kill()
            server.start()
            continue
        victims = sorted(descendants(server.pid))
        if not victims:
            continue
        victim = dice.choice(victims)
        try:
            hit.append(Path(f"/proc/{victim}/cmdline").read_bytes().decode("utf-8", "replace"))
            os.kill(victim, signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            hit.append("gone already")
    return hit


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("seed", [1, 2])
def test_several_kills_at_once(fresh_directory: Path, seed: int) -> None:
    workers = "[server]\nworkers = 2\n"
    server = ServerProcess(fresh_directory, workers, ("--sample", "shop"), durable=True)
    server.start(FIRST_START_S)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE ledger (id bigint PRIMARY KEY, twice bigint NOT NULL)")
    dice = random.Random(seed)
    writer = Writer(server)
    writer.start()
    try:
        for _ in range(ROUNDS):
            before = len(writer.acknowledged)
            hit = _kill_some(server, dice)
            eventually(lambda: _answers(server), timeout_s=AGAIN_S, what=f"answers after {hit}")
            eventually(
                lambda: len(writer.acknowledged) > before + 3,  # noqa: B023
                timeout_s=AGAIN_S,
                what=f"writes after {hit}",
            )
            _check(server, set(writer.acknowledged))
    finally:
        writer.halt.set()
        writer.join(AGAIN_S)
        server.kill()
