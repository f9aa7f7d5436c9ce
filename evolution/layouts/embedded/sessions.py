"""Connections of the layouts: the control plane's, as morph_owner, under fixed settings.

Every step is one transaction. What can be tried again comes out as the error tree's class for its
SQLSTATE, so the controller need not know the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
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


class Sessions:
    """One connection for the steps, made when it is needed and again when it broke."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None

    async def open(self) -> asyncpg.Connection:
        """A connection of the caller's own, set up."""
        connection = await self._connect()
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
        async with self._lock:
            try:
                async with asyncio.timeout(deadline_s):
                    connection = await self._ready()
                    async with connection.transaction(isolation=isolation):
                        yield connection
            except (asyncpg.PostgresError, *_LOST) as error:
                self._drop_broken()
                raise tree_error(error) from error
            except TimeoutError:
                self._drop()
                raise QueryCanceled(
                    f"a step of a layout took longer than {deadline_s:g} s and was undone"
                ) from None
            except BaseException:
                self._drop_broken()
                raise

    async def _ready(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self.open()
        return self._connection

    def _drop_broken(self) -> None:
        connection = self._connection
        if connection is not None and (connection.is_closed() or connection.is_in_transaction()):
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """End the connection."""
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()
