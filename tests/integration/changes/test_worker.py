"""The control plane's own connection comes back whatever becomes of it (DESIGN 7.9, issue 5 8c)."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from config.settings import Settings
from core.errors import CrashShutdown
from proxy.worker import Worker
from tests.integration.server_process import ServerProcess

DEADLINE_S = 60.0
NUMBER = 7
"""No worker of the server has it."""


async def answers(worker: Worker) -> None:
    """Wait until the catalog can be asked."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                assert await worker.ask_admin("SELECT 1") == 1
                return
            except (asyncpg.PostgresError, asyncpg.InterfaceError, CrashShutdown, OSError):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("told", [True, False])
async def test_a_connection_that_broke_is_opened_again(server: ServerProcess, told: bool) -> None:
    """Also when the driver closes it and tells nobody, as it may when PostgreSQL is killed in the
    middle of a transaction: all changes stood still then until Morphgres was started again.
    """
    worker = Worker(Settings(), socket_directory=str(server.socket_directory), number=NUMBER)
    await worker.open()
    try:
        first = worker.admin
        assert first is not None
        if not told:
            first.remove_termination_listener(worker._admin_lost)
        with server.root() as root:
            root.execute("SELECT pg_terminate_backend(%s)", (first.get_server_pid(),))
        async with asyncio.timeout(DEADLINE_S):
            while not first.is_closed():
                await asyncio.sleep(0.01)
        await answers(worker)
        assert worker.admin is not first
    finally:
        await worker.close(0)


async def test_a_lost_connection_is_told_from_an_error_of_the_program(
    server: ServerProcess,
) -> None:
    """The first is 57P02 for a client, the second XX000."""
    worker = Worker(Settings(), socket_directory=str(server.socket_directory), number=NUMBER)
    assert await worker.has_lost(None)
    await worker.open()
    try:
        first = worker.admin
        assert first is not None
        assert not await worker.has_lost(first)
        with server.root() as root:
            root.execute("SELECT pg_terminate_backend(%s)", (first.get_server_pid(),))
        async with asyncio.timeout(DEADLINE_S):
            while not await worker.has_lost(first):
                await asyncio.sleep(0.01)
        await answers(worker)
        assert await worker.has_lost(first)
        assert not await worker.has_lost(worker.admin)
    finally:
        await worker.close(0)


@pytest.mark.parametrize(
    "broken", [asyncpg.InternalClientError("cannot switch to state 12"), ConnectionResetError()]
)
async def test_what_has_a_log_is_learnt_when_the_connection_is_back(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, broken: Exception
) -> None:
    """The driver may notice in the middle of a question that PostgreSQL has died; whoever asked is
    told 57P02, and the task that says what this worker knows goes on (decision 0011, two epochs).
    """
    worker = Worker(Settings(), socket_directory=str(server.socket_directory), number=NUMBER)
    await worker.open()
    try:
        admin = worker.admin
        assert admin is not None
        fetchval, faults = type(admin).fetchval, [broken, broken]

        async def fails(self: asyncpg.Connection, *args: object) -> object:
            if self is admin and faults:
                raise faults.pop()
            return await fetchval(self, *args)

        monkeypatch.setattr(type(admin), "fetchval", fails)
        with pytest.raises(CrashShutdown):
            await worker.ask_admin("SELECT 1")
        with server.root() as root:
            root.execute("DELETE FROM morph_log.workers WHERE worker = %s", (NUMBER,))
            worker.table_logs.announced()
            async with asyncio.timeout(DEADLINE_S):
                while not root.execute(
                    "SELECT FROM morph_log.workers WHERE worker = %s", (NUMBER,)
                ).fetchall():
                    await asyncio.sleep(0.01)
        assert faults == []
    finally:
        await worker.close(0)
