"""Starting, stopping, crashing: the private PostgreSQL and Morphgres itself (DESIGN 7.9)."""

from __future__ import annotations

from pathlib import Path

from tests.integration.server_process import ServerProcess, running


def test_serves_and_stops_cleanly(server: ServerProcess) -> None:  # R0.1
    with server.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_stops_cleanly_with_clients_inside(fresh_directory: Path) -> None:
    with running(fresh_directory, '[server]\nshutdown_drain = "0s"\n') as server:
        idle, busy = server.connect(), server.connect(autocommit=False)
        busy.execute("CREATE TEMP TABLE t (a int)")
    idle.close()
    busy.close()
