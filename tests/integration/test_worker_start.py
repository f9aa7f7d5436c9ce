"""A worker that does not come to accept clients: the parent says which and why (DESIGN 7.1)."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from core.errors import CannotConnectNow
from private_pg.cluster import PORT
from proxy.workers import WorkerProcesses

LONG_S = 60.0


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a parent was started with; the directory of its private PostgreSQL."""
    monkeypatch.setattr(sys, "argv", ["morphgres", "serve", "--data", str(tmp_path / "data")])
    return tmp_path


# A private PostgreSQL that takes the connection and says nothing
async def test_too_slow(command: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(command / f".s.PGSQL.{PORT}"))
        listener.listen()
        workers = WorkerProcesses(1, 0, str(command), 0.5)
        with pytest.raises(CannotConnectNow) as caught:
            await workers.start()
        await workers.stop(LONG_S)
    assert str(caught.value) == "worker 1 did not start in 0.5 s"
    assert "server.worker_start_timeout" in caught.value.hint


# One that is not there
async def test_ended(command: Path) -> None:
    workers = WorkerProcesses(1, 0, str(command), LONG_S)
    with pytest.raises(CannotConnectNow) as caught:
        await workers.start()
    await workers.stop(LONG_S)
    assert str(caught.value) == "worker 1 ended before it accepted clients"
