"""Transactions that reach other stores: they are real there, or they are refused (R1.8).

One store can take part in a transaction. Where it has transactions of its own, one is begun with
the first write (or the first read above READ COMMITTED) and ends with the client's: its COMMIT
comes first, and only then the private PostgreSQL's, which has nothing but staged rows. A store
without transactions refuses writes inside a block: a ROLLBACK must never leave rows behind.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.base import Scope, StoreBackend, StoreTransaction
from core.errors import FeatureNotSupported, MorphError, StatementCompletionUnknown
from rewrite.tree import Node

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session

READ_COMMITTED = "read committed"


@dataclass(slots=True)
class StoreWork:
    """What a transaction of a session has in a store."""

    backend: StoreBackend
    transaction: StoreTransaction
    wrote: bool = False


@dataclass(slots=True)
class Block:
    """The client's transaction as far as stores are concerned: `open` between BEGIN and its end,
    `isolation` once it was asked for, `work` in the one store that takes part.
    """

    open: bool = False
    wrote_here: bool = False
    isolation: str = ""
    work: StoreWork | None = None


class StoreTransactions:
    """The transactions of one worker's sessions."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._worker = operations.worker

    async def for_read(
        self, session: Session, backend: StoreBackend, scope: Scope
    ) -> StoreTransaction | None:
        """The transaction that a scan belongs to."""
        block = session.block
        if block is None:
            return None
        if block.work is not None and block.work.backend is backend:
            return block.work.transaction
        if not block.open or block.work is not None or not backend.capabilities.transactions:
            return None
        if await self._isolation(session, block) == READ_COMMITTED:
            return None
        return (await self._begin(session, block, backend, scope)).transaction

    async def for_write(
        self, session: Session, backend: StoreBackend, scope: Scope, *, alone: bool
    ) -> StoreTransaction | None:
        """The transaction that a write belongs to; None for a write that is one by itself.

        `alone`: the statement is the only one of its implicit transaction. Raises
        FeatureNotSupported (0A000) where a ROLLBACK could not undo the write.
        """
        block = session.block or Block()
        name = f'server "{backend.name}"'
        if block.work is not None and block.work.backend is not backend:
            raise FeatureNotSupported(
                "a transaction cannot write to two stores",
                detail=f'It works in server "{block.work.backend.name}" and would write to {name}.',
                hint="COMMIT between the two, or write to one store only.",
            )
        if block.wrote_here and (block.open or not alone):
            raise FeatureNotSupported(
                "a transaction cannot write to two stores",
                detail=f"It wrote to tables of the embedded store and would write to {name}.",
                hint="COMMIT between the two, or write to one store only.",
            )
        if block.work is not None:
            block.work.wrote = True
            return block.work.transaction
        if alone and not block.open:
            return None
        if not backend.capabilities.transactions:
            raise FeatureNotSupported(
                f"{name} has no transactions: a write inside one is refused",
                detail="A ROLLBACK could not take it back.",
                hint="Write outside of a transaction block, one statement at a time.",
            )
        session.block = block
        work = await self._begin(session, block, backend, scope)
        work.wrote = True
        return work.transaction

    async def _isolation(self, session: Session, block: Block) -> str:
        if not block.isolation:
            sink = await self._operations.scripts.fetch(session, "SHOW transaction_isolation")
            block.isolation = (sink.rows()[0][0] or b"").decode()
        return block.isolation

    async def _begin(
        self, session: Session, block: Block, backend: StoreBackend, scope: Scope
    ) -> StoreWork:
        isolation = await self._isolation(session, block)
        transaction = await backend.begin(scope, isolation=isolation, read_only=False)
        work = block.work = StoreWork(backend, transaction)
        return work

    # ------------------------------------------------------------------ the end

    async def statement(self, session: Session, node: Node) -> None:
        """Before a statement about transactions reaches the private PostgreSQL."""
        work = session.store_work
        if work is None:
            return
        kind = node.kind.name.removeprefix("TRANS_STMT_")
        if kind == "COMMIT":
            if session.failed:
                await self.abandon(session)
            else:
                await self.commit(session)
        elif kind == "ROLLBACK":
            await self.abandon(session)
        elif kind == "ROLLBACK_TO":
            raise FeatureNotSupported(
                "ROLLBACK TO SAVEPOINT is not supported in a transaction that works in "
                f'server "{work.backend.name}"',
                hint="ROLLBACK the whole transaction.",
            )
        elif kind.startswith("PREPARE"):
            raise FeatureNotSupported(
                f'a transaction that works in server "{work.backend.name}" cannot be prepared'
            )

    async def commit(self, session: Session) -> None:
        """Commits in the store; raises what the store says, the transaction is over then."""
        work = _take(session)
        if work is None:
            return
        try:
            await work.transaction.commit(self._deadline())
        except MorphError:
            raise
        except Exception as error:
            raise StatementCompletionUnknown(
                f'whether server "{work.backend.name}" committed is not known', detail=str(error)
            ) from error

    async def abandon(self, session: Session) -> None:
        """Rolls back in the store."""
        work = _take(session)
        if work is not None:
            await self.roll_back(work)

    async def roll_back(self, work: StoreWork) -> None:
        """The same for work that a session has given up."""
        with suppress(MorphError):  # a store that cannot be reached rolls back by itself
            await work.transaction.rollback(self._deadline())

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._worker.settings.stores.timeout


def _take(session: Session) -> StoreWork | None:
    work = session.store_work
    if work is not None and session.block is not None:
        session.block.work = None
    return work


def note_transaction(session: Session, node: Node) -> None:
    """A statement about transactions is on its way to the private PostgreSQL."""
    kind = node.kind.name.removeprefix("TRANS_STMT_")
    if kind in ("BEGIN", "START"):
        session.block = session.block or Block()
        session.block.open = True
    elif kind in ("COMMIT", "ROLLBACK") and session.block is not None and not node.chain:
        session.block.open = False
