"""An open transaction of a PostgreSQL store: its own connection, one piece of work at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from backends.postgres.connection import Connections, alive, cut
from backends.postgres.faults import translated
from core.errors import (
    ConnectionFailure,
    InvalidTransactionState,
    QueryCanceled,
    SerializationFailure,
    TransactionResolutionUnknown,
)

LEVELS: Final = ("read uncommitted", "read committed", "repeatable read", "serializable")
END_S: Final = 5.0
"""Time for a ROLLBACK that was given no deadline; the connection is cut after it."""


class PostgresTransaction:
    """See backends.base.StoreTransaction."""

    def __init__(self, name: str, connections: Connections, connection: asyncpg.Connection) -> None:
        self._name = name
        self._connections = connections
        self._connection: asyncpg.Connection | None = connection
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def use(self, deadline: float | None) -> AsyncIterator[asyncpg.Connection]:
        """The connection for one piece of work, which leaves the transaction usable if it fails or
        is given up: it runs behind a savepoint.
        """
        with translated(self._name):
            async with asyncio.timeout_at(deadline):
                await self._lock.acquire()
        try:
            connection = self._open()
            with translated(self._name):
                async with asyncio.timeout_at(deadline):
                    await connection.execute("SAVEPOINT morph")
            try:
                yield connection
            except BaseException:
                await self._undo(connection)
                raise
            with translated(self._name):
                async with asyncio.timeout_at(deadline):
                    await connection.execute("RELEASE SAVEPOINT morph")
        finally:
            self._lock.release()

    def _open(self) -> asyncpg.Connection:
        if self._connection is None:
            raise InvalidTransactionState(f'the transaction in server "{self._name}" has ended')
        if not alive(self._connection):
            raise ConnectionFailure(f'connection to server "{self._name}" was lost')
        return self._connection

    async def savepoint(self, number: int, deadline: float | None) -> None:
        """See StoreTransaction."""
        await self._command(f"SAVEPOINT morph_{number}", deadline)

    async def rollback_to(self, number: int, deadline: float | None) -> None:
        """See StoreTransaction."""
        await self._command(f"ROLLBACK TO SAVEPOINT morph_{number}", deadline)

    async def release(self, number: int, deadline: float | None) -> None:
        """See StoreTransaction."""
        await self._command(f"RELEASE SAVEPOINT morph_{number}", deadline)

    async def _command(self, text: str, deadline: float | None) -> None:
        """A command about savepoints; the transaction is lost when it does not come through."""
        async with self._lock:
            connection = self._open()
            try:
                with translated(self._name):
                    async with asyncio.timeout_at(deadline):
                        await connection.execute(text)
            except BaseException:
                cut(connection)
                raise

    async def _undo(self, connection: asyncpg.Connection) -> None:
        try:
            async with asyncio.timeout(END_S):
                await connection.execute("ROLLBACK TO SAVEPOINT morph; RELEASE SAVEPOINT morph")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            cut(connection)  # what it holds is lost, and says so at the next use

    async def commit(self, deadline: float | None) -> None:
        """See StoreTransaction. Given up while the server works on it, its end is unknown too."""
        async with self._lock:
            connection = self._open()
            try:
                with translated(self._name):
                    async with asyncio.timeout_at(deadline):
                        tag = await connection.execute("COMMIT")
            except (ConnectionFailure, QueryCanceled, asyncio.CancelledError) as error:
                await self._end(broken=True)
                raise TransactionResolutionUnknown(
                    f'the answer of server "{self._name}" to COMMIT did not arrive',
                    detail="The transaction may have been committed there, or not.",
                ) from error
            except BaseException:
                await self._end(broken=False)
                raise
            await self._end(broken=False)
        if tag != "COMMIT":
            raise SerializationFailure(f'the transaction in server "{self._name}" was rolled back')

    async def rollback(self, deadline: float | None) -> None:
        """See StoreTransaction."""
        async with self._lock:
            connection = self._connection
            if connection is None:
                return
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + END_S
            try:
                async with asyncio.timeout_at(deadline):
                    await connection.execute("ROLLBACK")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await self._end(broken=True)  # the server rolls back when its connection is gone
                return
            await self._end(broken=False)

    async def _end(self, *, broken: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if broken:
            cut(connection)
        await self._connections.release(connection)


def begin_text(isolation: str, *, read_only: bool) -> str:
    """The BEGIN of a transaction. Raises InvalidTransactionState for an unknown level."""
    level = isolation.lower()
    if level not in LEVELS:
        raise InvalidTransactionState(f'"{isolation}" is not an isolation level')
    return f"BEGIN ISOLATION LEVEL {level.upper()} {'READ ONLY' if read_only else 'READ WRITE'}"
