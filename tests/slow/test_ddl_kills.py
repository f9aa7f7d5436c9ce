"""kill -9 of Morphgres and of the private PostgreSQL during DDL and promotion (DESIGN 7.1, 7.5)."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.conftest import fresh_directory, open_directory
from tests.integration.server_process import ServerProcess, eventually

__all__ = ["fresh_directory", "open_directory"]
KILLS = 20


def work(
    server: ServerProcess, rng: random.Random, acknowledged: list[int], halt: threading.Event
) -> None:
    """Changes of the model and rows until the kill breaks one, or none was under way."""
    try:
        with server.connect() as client:
            while not halt.is_set():
                row = client.execute("SELECT max(version) FROM morph.versions").fetchone()
                assert row is not None
                last = int(row[0])
                client.execute(f"ALTER TABLE t ADD COLUMN c{last}_{rng.randrange(1 << 30)} int")
                client.execute(f"CALL morph.promote({last + 1})")
                key = (acknowledged[-1] if acknowledged else 0) + 1
                client.execute("INSERT INTO t (id) VALUES (%s)", (key,))
                acknowledged.append(key)
                if rng.random() < 0.3:
                    client.execute(f"CALL morph.rollback({last + 1})")
    except (psycopg.Error, AssertionError):
        pass


def check(client: psycopg.Connection[Any], acknowledged: list[int]) -> None:
    """The catalog fits what is there; no acknowledged row is lost."""
    versions = client.execute("SELECT version, current FROM morph.versions").fetchall()
    assert [c for _, c in versions].count(True) == 1
    for number, current in versions:
        columns = client.execute(
            "SELECT name FROM morph.columns WHERE version = %s AND table_name = 't' "
            "ORDER BY column_id",
            (number,),
        ).fetchall()
        for schema in (f"v{number}", "public") if current else (f"v{number}",):
            cursor = client.execute(f"SELECT * FROM {schema}.t")
            assert [(c.name,) for c in cursor.description or ()] == columns
    kept = {i for (i,) in client.execute("SELECT id FROM t").fetchall()}
    assert set(acknowledged) <= kept
    acknowledged[:] = sorted(kept)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["morphgres", "postgres"])
def test_kills_leave_a_consistent_catalog(fresh_directory: Path, victim: str) -> None:  # R1.5
    rng = random.Random(victim)
    server = ServerProcess(fresh_directory, durable=True)
    server.start()
    acknowledged: list[int] = []
    with server.connect() as client:
        client.execute("CREATE TABLE t (id int PRIMARY KEY)")
    for _ in range(KILLS):
        halt = threading.Event()
        thread = threading.Thread(target=work, args=(server, rng, acknowledged, halt))
        thread.start()
        thread.join(rng.uniform(0.05, 0.6))
        if victim == "morphgres":
            server.kill()
            halt.set()
            thread.join()
            server.start()
        else:
            os.kill(server.postmaster_pid, signal.SIGKILL)
            halt.set()
            thread.join()
            eventually(lambda: _serves(server), timeout_s=30)
        with server.connect() as client:
            check(client, acknowledged)
    server.stop()


def _serves(server: ServerProcess) -> bool:
    try:
        with server.connect() as client:
            return client.execute("SELECT count(*) FROM t").fetchone() is not None
    except (psycopg.Error, OSError):
        return False
