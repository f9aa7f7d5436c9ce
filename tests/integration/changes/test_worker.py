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
