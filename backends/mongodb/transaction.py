"""Transactions: one session of the driver each, with snapshot reads and majority writes.

MongoDB gives snapshot isolation: what READ COMMITTED and REPEATABLE READ promise, and less than
SERIALIZABLE does (two transactions may each read what the other writes).
"""

from __future__ import annotations

import asyncio
from typing import Final

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ConnectionFailure as DriverConnectionFailure
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from backends.base import Scope, WithoutSavepoints
from backends.mongodb.client import Connected
from backends.mongodb.errors import TRANSIENT, UNKNOWN_COMMIT, translated
from core.errors import SerializationFailure, TransactionResolutionUnknown

ROLLBACK_S: Final = 5.0
"""How long telling the server of a rollback may take; it forgets the transaction by itself."""


def session_of(scope: Scope) -> AsyncClientSession | None:
    """The session of the scope's transaction; None without one."""
    transaction = scope.transaction
    if transaction is None:
        return None
    assert isinstance(transaction, MongoTransaction), transaction
    return transaction.session


class MongoTransaction(WithoutSavepoints):
    """An open transaction; see StoreTransaction."""

    def __init__(self, instance: str, connected: Connected) -> None:
        self._instance = instance
        self.session: AsyncClientSession = connected.client.start_session()

    async def start(self, deadline: float | None) -> None:
        """Begins it; the server hears of it with the first command."""
        with translated(self._instance):
            async with asyncio.timeout_at(deadline):
                await self.session.start_transaction(
                    read_concern=ReadConcern("snapshot"),
                    write_concern=WriteConcern("majority"),
                    read_preference=ReadPreference.PRIMARY,
                )

    async def commit(self, deadline: float | None) -> None:
        """See StoreTransaction."""
        try:
            with translated(self._instance):
                async with asyncio.timeout_at(deadline):
                    await self._commit()
        finally:
            await self._end()

    async def _commit(self) -> None:
        try:
            await self.session.commit_transaction()
        except PyMongoError as error:
            lost = isinstance(error, DriverConnectionFailure)
            if error.has_error_label(UNKNOWN_COMMIT) or lost:
                raise TransactionResolutionUnknown(
                    f'whether instance "{self._instance}" committed is not known',
                    detail=str(error).split(", full error:", 1)[0],
                ) from error
            if error.has_error_label(TRANSIENT):
                raise SerializationFailure(
                    f'could not serialize access at instance "{self._instance}"'
                ) from error
            raise
        except (TimeoutError, asyncio.CancelledError) as error:
            raise TransactionResolutionUnknown(
                f'whether instance "{self._instance}" committed is not known',
                detail="Its answer did not arrive in time.",
            ) from error

    async def rollback(self, deadline: float | None) -> None:
        """See StoreTransaction."""
        del deadline
        try:
            async with asyncio.timeout(ROLLBACK_S):
                if self.session.in_transaction:
                    await self.session.abort_transaction()
        except (PyMongoError, TimeoutError):
            return  # the server aborts what nobody commits
        finally:
            await self._end()

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(ROLLBACK_S):
                await self.session.end_session()
        except (PyMongoError, TimeoutError):
            return  # the server forgets idle sessions
