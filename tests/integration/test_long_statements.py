"""Long texts are planned beside the event loop: the same answers, and nobody else waits (R6.3)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.integration.server_process import (
    ServerProcess,
    descendants,
    eventually,
    eventually_gone,
    running,
)

LIMITED = """
[plan]
apart_bytes_min = "4kB"
apart_processes = 1
[server]
idle_timeout = "1s"
"""
WAIT_MAX_S = 0.1
LONG = 160_000  # numbers
WORKED_S = 1.0  # more than a process needs to start


@pytest.fixture(scope="module")
def limited(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "long", LIMITED) as server:
        with server.connect() as connection:
            connection.execute(
                "CREATE TABLE long_rows (id bigint PRIMARY KEY, name text, qty bigint)"
            )
        yield server


def _numbers(count: int) -> str:
    return ", ".join(map(str, range(count)))


def _timed(server: ServerProcess, done: threading.Event) -> list[float]:
    waits = []
    with server.connect() as connection:
        while not done.is_set():
            begun = time.perf_counter()
            connection.execute("SELECT 1")
            waits.append(time.perf_counter() - begun)
            time.sleep(0.005)
    return waits


def test_others_do_not_wait(limited: ServerProcess) -> None:
    done = threading.Event()
    waits: list[float] = []
    watcher = threading.Thread(target=lambda: waits.extend(_timed(limited, done)))
    with limited.connect() as connection:
        watcher.start()
        begun = time.perf_counter()
        rows = connection.execute(
            f"SELECT count(*) FROM long_rows WHERE id IN ({_numbers(LONG)})"
        ).fetchall()
        took = time.perf_counter() - begun
        done.set()
        watcher.join()
        time.sleep(0.3)
        # it was not idle meanwhile
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    assert rows == [(0,)]
    assert took > 5 * WAIT_MAX_S, "the text is too short to tell"
    assert quantiles(waits, n=20)[-1] < WAIT_MAX_S
    assert max(waits) < took / 3


@pytest.mark.parametrize("binary", [False, True], ids=["simple", "extended"])
def test_rows_are_written_and_read(limited: ServerProcess, binary: bool) -> None:
    first = 1_000_000 if binary else 2_000_000
    values = ", ".join(f"({first + i}, 'it''s {i}', {i})" for i in range(2000))
    ids = ", ".join(str(first + i) for i in range(2000))
    with limited.connect() as connection, connection.cursor(binary=binary) as cursor:
        cursor.execute(f"INSERT INTO long_rows (id, name, qty) VALUES {values}")
        assert cursor.rowcount == 2000
        found = cursor.execute(
            f"SELECT sum(qty), max(name) FROM long_rows WHERE id IN ({ids})"
        ).fetchall()
    assert found == [(sum(range(2000)), "it's 999")]


def test_an_error_is_where_it_is_in_the_text(limited: ServerProcess) -> None:
    text = f"SELECT id FROM long_rows WHERE id IN ({_numbers(3000)}) AND nosuch = 1"
    with limited.connect() as connection:
        with pytest.raises(errors.UndefinedColumn) as raised:
            connection.execute(text)
        assert raised.value.diag.statement_position == str(text.index("nosuch") + 1)
        with pytest.raises(errors.ReservedName):
            connection.execute(f"SELECT {_numbers(3000)} FROM morph_v1.long_rows")
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_what_needs_answers_first_gets_them(limited: ServerProcess) -> None:
    text = (
        "INSERT INTO long_rows SELECT * FROM long_rows WHERE false AND id IN "
        f"({_numbers(3000)}); SELECT count(*) > 0 FROM pg_class"
    )
    with limited.connect() as connection:
        cursor = connection.execute(text)
        assert cursor.nextset()
        assert cursor.fetchall() == [(True,)]
        plan = connection.execute(
            f"EXPLAIN SELECT id FROM long_rows WHERE id IN ({_numbers(3000)})"
        ).fetchall()
        assert plan


def _worked(server: ServerProcess) -> dict[int, float]:
    """CPU seconds of the planning processes."""
    found = {}
    for pid in descendants(server.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if b"engine.apart.planner" in command:
            found[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _send_long(server: ServerProcess, connection: psycopg.Connection[Any], text: str) -> set[int]:
    """Ask what takes long to plan; the process that is at it."""
    before = _worked(server)
    connection.pgconn.send_query(text.encode())
    while connection.pgconn.flush():
        time.sleep(0.01)

    def at_it() -> set[int]:
        now = _worked(server)
        return {pid for pid, worked in now.items() if worked > before.get(pid, 0) + WORKED_S}

    return eventually(at_it, timeout_s=60)


def test_a_cancel_ends_the_planning(limited: ServerProcess) -> None:
    with limited.connect() as connection:
        connection.execute("BEGIN")
        planning = _send_long(limited, connection, f"SELECT {_numbers(2 * LONG)}")
        connection.cancel()
        result = connection.pgconn.get_result()
        assert result is not None
        assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
        assert b"user request" in result.error_message
        assert connection.pgconn.get_result() is None
        assert eventually_gone(planning) == set()
        with pytest.raises(errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_a_client_that_leaves_is_not_planned_for(limited: ServerProcess) -> None:
    connection = limited.connect()
    planning = _send_long(limited, connection, f"SELECT {_numbers(2 * LONG)}")
    connection.close()
    assert eventually_gone(planning) == set()


def test_a_table_made_meanwhile_is_found(limited: ServerProcess) -> None:
    text = f"SELECT count(*) FROM meanwhile WHERE id IN ({_numbers(LONG)})"
    with limited.connect() as connection:
        _send_long(limited, connection, text)
        with limited.connect() as other:
            other.execute("CREATE TABLE meanwhile (id bigint PRIMARY KEY)")
        result = connection.pgconn.get_result()
        assert result is not None
        assert result.error_message == b""
        assert result.get_value(0, 0) == b"0"
        assert connection.pgconn.get_result() is None
