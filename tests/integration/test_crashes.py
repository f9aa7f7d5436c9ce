"""Crashes that come together or leave a process behind: it serves again, and soon (DESIGN 7.1)."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.server_process import (
    ServerProcess,
    descendants,
    eventually,
    eventually_gone,
    running,
)
from tests.integration.test_lifecycle import backend_of, served
from tests.integration.wire import WireClient, query

CONFIG = '[private_pg]\nstop_timeout = "1s"\n'
AGAIN_S = 15.0
PR_CAPBSET_DROP = 24
CAP_SYS_PTRACE = 19


@pytest.fixture(scope="module")
def mortal(open_directory: Path) -> Iterator[ServerProcess]:
    """A server whose processes are killed again and again."""
    with running(open_directory / "crashes", CONFIG, durable=True) as server:
        yield server


def find(server: ServerProcess, role: str) -> int:
    """The process of the private PostgreSQL that does `role` (a part of its title), 0 if none."""
    for pid in descendants(server.pid):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"postgres: " + role.encode()):
            return pid
    return 0


def process_of(server: ServerProcess, role: str) -> int:
    """The same, waited for."""
    return eventually(lambda: find(server, role), what=role)


def test_a_crash_during_the_recovery_from_a_crash(mortal: ServerProcess) -> None:
    """A postmaster that starts over by itself waits for ever for a startup process that died."""
    startup = 0
    while not startup:  # recovery may be over before it is found: then once more
        os.kill(process_of(mortal, "walwriter"), signal.SIGKILL)
        give_up = time.monotonic() + 2
        while not startup and time.monotonic() < give_up:
            startup = find(mortal, "startup")
    os.kill(startup, signal.SIGKILL)
    eventually(lambda: served(mortal), timeout_s=AGAIN_S)


def test_a_recovery_that_takes_longer_than_a_start_may(fresh_directory: Path) -> None:
    """It is not begun again and again."""
    config = '[private_pg]\nstart_timeout = "8s"\n'
    with running(fresh_directory, config, durable=True) as server:
        startup = 0
        while not startup:  # recovery may be over before it is found: then once more
            os.kill(server.postmaster_pid, signal.SIGKILL)
            give_up = time.monotonic() + 2
            while not startup and time.monotonic() < give_up:
                startup = find(server, "startup")
            if not startup:
                eventually(lambda: served(server), timeout_s=AGAIN_S)
        os.kill(startup, signal.SIGSTOP)
        postmaster = server.postmaster_pid
        time.sleep(11)
        os.kill(startup, signal.SIGCONT)
        eventually(lambda: served(server), timeout_s=AGAIN_S)
        assert server.postmaster_pid == postmaster


def test_a_backend_outlives_the_killed_postmaster(mortal: ServerProcess) -> None:
    """As one does that waits for a lock of a killed one; PostgreSQL does not start beside it."""
    with WireClient(mortal.host, mortal.port) as busy:
        busy.log_in()
        busy.send(query("SELECT pg_sleep(60) -- orphan"))
        orphan = backend_of(mortal, "orphan")
        os.kill(orphan, signal.SIGSTOP)
        os.kill(mortal.postmaster_pid, signal.SIGKILL)
        eventually(lambda: served(mortal), timeout_s=AGAIN_S)
    assert eventually_gone({orphan}) == set()


def test_new_clients_wait_while_it_restarts(mortal: ServerProcess) -> None:
    """Nobody who comes between the crash and the restart is turned away."""
    for role in ("checkpointer", "walwriter"):
        os.kill(process_of(mortal, role), signal.SIGKILL)
        _eight_clients(mortal)
    os.kill(mortal.postmaster_pid, signal.SIGKILL)
    _eight_clients(mortal)


def _eight_clients(server: ServerProcess) -> None:
    clients = [WireClient(server.host, server.port) for _ in range(8)]
    for client in clients:
        client.log_in()
    for client in clients:
        assert client.values("SELECT 1") == [[b"1"]]
        client.close()


def _as_in_a_container() -> None:
    """Root without the capability to look at processes of others; nothing changes for others."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0)


@pytest.mark.parametrize("stuck", ["postmaster", "backend"])
@pytest.mark.parametrize("limit", [None, _as_in_a_container])
def test_morphgres_is_killed_and_its_postgresql_does_not_end(
    fresh_directory: Path, stuck: str, limit: Callable[[], None] | None
) -> None:
    server = ServerProcess(fresh_directory, CONFIG, preexec=limit).start()
    with server.connect() as client:
        client.execute("CREATE TABLE t (a int)")
        family = descendants(server.pid)
        with server.root() as root:
            (backend,) = root.execute("SELECT pg_backend_pid()").fetchone() or (0,)
            os.kill(backend if stuck == "backend" else server.postmaster_pid, signal.SIGSTOP)
            server.kill()
    server.start()
    assert eventually_gone(family) == set()
    with server.connect() as client:
        assert client.execute("SELECT count(*) FROM t").fetchone() == (0,)
    server.stop()


@pytest.mark.parametrize("pause_s", [0.0, 0.02, 0.05, 0.1])
def test_stops_cleanly_during_a_restart(fresh_directory: Path, pause_s: float) -> None:
    server = ServerProcess(fresh_directory).start()
    os.kill(server.postmaster_pid, signal.SIGKILL)
    time.sleep(pause_s)
    server.stop()
