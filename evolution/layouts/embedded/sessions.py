"""Connections of the layouts: the control plane's, as morph_owner, under fixed settings.

Every step is one transaction. What can be tried again comes out as the error tree's class for its
SQLSTATE, so the controller need not know the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from core.errors import (
    ConnectionFailure,
    DiskFull,
    MorphError,
    QueryCanceled,
    SerializationFailure,
    StoreError,
)
from evolution.transaction import Row

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class LockNotAvailable(MorphError, sqlstate="55P03"):
    """A lock was not given in time; clients go on, it can be tried again."""


SETTINGS: Final = (
    "SET ROLE morph_owner",
    # Temporary tables are found, and a client's cannot shadow anything: this session has its own.
    "SET search_path = pg_catalog, pg_temp",
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO, MDY'",
    "SET IntervalStyle = 'postgres'",
    "SET bytea_output = 'hex'",
    "SET extra_float_digits = 1",
    "SET application_name = 'morphgres layouts'",
    "SET idle_in_transaction_session_timeout = 0",
    "SET morph.applying = 'on'",
)
_LOST: Final = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, ConnectionError, OSError)
_KINDS: Final[tuple[type[MorphError], ...]] = (
    LockNotAvailable,
    SerializationFailure,
    DiskFull,
    QueryCanceled,
)
_AGAIN: Final = {kind.sqlstate: kind for kind in _KINDS} | {"40P01": SerializationFailure}


def tree_error(error: Exception) -> MorphError:
    """The error of the tree for one of the driver."""
    if isinstance(error, asyncpg.PostgresError):
        kind = _AGAIN.get(error.sqlstate or "")
        if kind is None and (error.sqlstate or "").startswith(("08", "57P")):
            kind = ConnectionFailure
        text = str(error.args[0]) if error.args else "the store failed"
        if kind is None:
            return StoreError(text, detail=f"SQLSTATE {error.sqlstate}")
        return kind(text)
    return ConnectionFailure(f"the private PostgreSQL broke off: {error or type(error).__name__}")


class OwnerTransaction:
    """An `evolution.transaction.Transaction` on a connection of the layouts, which is in one."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def apply(self, statements: Sequence[str]) -> None:
        """See Transaction: the connection is morph_owner's already."""
        for statement in statements:
            await self._connection.execute(statement)

    async def fetch(self, sql: str) -> list[Row]:
        """See Transaction."""
        rows = await self._connection.fetch(sql)
        return [tuple(None if v is None else str(v) for v in row) for row in rows]


class Sessions:
    """Connections for the steps: as many as steps run at once, kept for the next ones."""

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self._idle: list[asyncpg.Connection] = []

    async def open(self) -> asyncpg.Connection:
        """A connection of the caller's own, set up."""
        connection = await self.connect()
        try:
            await connection.execute("; ".join(SETTINGS))
        except BaseException:
            connection.terminate()
            raise
        return connection

    @asynccontextmanager
    async def step(
        self, deadline_s: float, *, isolation: str = "repeatable_read"
    ) -> AsyncIterator[asyncpg.Connection]:
        """One transaction. After `deadline_s` it is given up and the connection closed, which
        undoes it. Errors of the driver come out as those of the tree.
        """
        connection: asyncpg.Connection | None = None
        begun = False
        try:
            async with asyncio.timeout(deadline_s):
                connection = await self._take()
                async with connection.transaction(isolation=isolation):
                    begun = True
                    yield connection
            self._idle.append(connection)
        except (asyncpg.PostgresError, *_LOST) as error:
            self._put_back(connection, begun)
            raise tree_error(error) from error
        except TimeoutError:
            if connection is not None:
                connection.terminate()
            raise QueryCanceled(
                f"a step of a layout took longer than {deadline_s:g} s and was undone"
            ) from None
        except asyncio.CancelledError:
            self._put_back(connection, False)
            raise
        except BaseException:
            self._put_back(connection, begun)
            raise

    async def _take(self) -> asyncpg.Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self.open()

    def _put_back(self, connection: asyncpg.Connection | None, whole: bool) -> None:
        """Keep a connection whose transaction came to its own end. One cut off in the middle of
        BEGIN looks idle, but the driver believes for ever that it is in a transaction.
        """
        if connection is None or connection.is_closed():
            return
        if not whole or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)

    async def close(self) -> None:
        """End the connections that no step uses."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()
