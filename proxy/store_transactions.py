"""Transactions that reach other stores: they are real there, or they are refused (R1.8).

Where a store has transactions of its own, one is begun with the first write (or the first read
above READ COMMITTED) and ends with the client's: its COMMIT comes first, and only then the private
PostgreSQL's. A store without transactions refuses writes inside a block, as a ROLLBACK must never
leave rows behind; with morph.store_writes = at_commit they wait for COMMIT instead
(engine/waiting_writes.py). A transaction writes to one store, the embedded one included; with
morph.multi_store_commit = sequential to several, committed one after the other
(proxy/store_commit.py). Both settings count as they are at the transaction's first write to a
store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from backends.base import RowChanges, Scope, StoreBackend, StoreTransaction, WriteResult
from catalog.model import Table
from core.errors import FeatureNotSupported, InvalidParameterValue, MorphError
from engine.waiting_writes import Waiting, same_place, to_wait
from proxy.logged_writes import Author, Hold, LoggedWrites
from proxy.protocol.server import command_complete
from proxy.relay import BackendError
from proxy.store_block import Block, StoreWork
from proxy.store_commit import commit_all, in_part, roll_back_all
from proxy.store_waits import bounded
from rewrite.tree import Node

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session

READ_COMMITTED: Final = "read committed"
REFUSE, AT_COMMIT, SEQUENTIAL = "refuse", "at_commit", "sequential"
_SETTINGS: Final = {
    "morph.store_writes": (REFUSE, AT_COMMIT),
    "morph.multi_store_commit": (REFUSE, SEQUENTIAL),
}
HERE: Final = ("the embedded store",)
_IDLE: Final = ord("I")
_WAITING_HINT = (
    "Write outside of a transaction block, one statement at a time, or SET morph.store_writes = "
    "at_commit."
)
SEQUENTIAL_HINT = (
    "Write to one store only, or SET morph.multi_store_commit = sequential: the stores commit one "
    "after the other then."
)


class StoreTransactions:
    """The transactions of one worker's sessions."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._scripts = operations.scripts
        self._settings = operations.worker.settings
        self.logged = LoggedWrites(operations)

    # ------------------------------------------------------------------ reading

    async def for_read(
        self, session: Session, backend: StoreBackend, scope: Scope
    ) -> StoreTransaction | None:
        """The transaction that a scan belongs to."""
        block = session.block
        if block is None:
            return None
        work = block.works.get(backend.name)
        if work is not None:
            return work.transaction
        if not block.open or not backend.capabilities.transactions:
            return None
        if await self._isolation(session, block) == READ_COMMITTED:
            return None
        work = await self._begin(session, block, backend, scope)
        return work.transaction if work is not None else None

    def waiting(self, session: Session, backend: StoreBackend, table: Table) -> tuple[Waiting, ...]:
        """What the session's transaction has written to the table and the store does not know."""
        return self._waiting(session, backend.name, table)

    def any_waiting(self, session: Session, tables: Iterable[Table]) -> bool:
        """Whether there is something of the kind for one of the tables."""
        return any(self._waiting(session, table.instance, table) for table in tables)

    def _waiting(self, session: Session, instance: str, table: Table) -> tuple[Waiting, ...]:
        work = session.block.works.get(instance) if session.block is not None else None
        if work is None:
            return ()
        return tuple(each for each in work.waiting if same_place(each.table, table))

    # ------------------------------------------------------------------ writing

    async def for_write(
        self, session: Session, backend: StoreBackend, scope: Scope, *, alone: bool
    ) -> StoreWork | None:
        """The work that a write belongs to; None for a write that is one by itself.

        `alone`: the statement is the only one of its implicit transaction. Raises
        FeatureNotSupported (0A000) where a ROLLBACK could not undo the write, and for a second
        store, unless the settings say otherwise.
        """
        block = session.block or Block()
        if alone and not block.open and not block.works:
            return None
        session.block = block
        return await self.join(session, block, backend, scope, several=block.open or not alone)

    async def join(
        self,
        session: Session,
        block: Block,
        backend: StoreBackend,
        scope: Scope,
        *,
        several: bool,
    ) -> StoreWork:
        """The block's work in a store that is to be written; `several`: other statements may have
        written in the same transaction of the private PostgreSQL.
        """
        await self._read_settings(session, block)
        others = [w.backend.name for w in block.works.values() if w.wrote]
        others = [f'server "{name}"' for name in others if name != backend.name]
        if block.wrote_here and several:
            others.append("tables of the embedded store")
        if others and not block.sequential:
            raise two_stores(", ".join(others), f'server "{backend.name}"')
        work = block.works.get(backend.name)
        if work is None:
            work = await self._begin(session, block, backend, scope)
        if work is None:
            work = self._without(block, backend)
        work.writes += 1
        return work

    def _without(self, block: Block, backend: StoreBackend) -> StoreWork:
        if not block.at_commit:
            raise FeatureNotSupported(
                f'server "{backend.name}" has no transactions: a write inside one is refused',
                detail="A ROLLBACK could not take it back.",
                hint=_WAITING_HINT,
            )
        work = StoreWork(backend, None, since=block.numbers)
        block.works[backend.name] = work
        return work

    async def write(
        self, work: StoreWork | None, backend: StoreBackend, table: Table,
        changes: RowChanges, scope: Scope, hold: Hold | None, author: Author,
    ) -> WriteResult | None:  # fmt: skip
        """Writes what a statement changed, or lets it wait for COMMIT: None then."""
        if work is None or work.transaction is not None:
            return await self.logged.apply(hold, author, backend, table, changes, scope)
        work.author = author
        waiting = to_wait(table, changes, work.waiting)
        used = sum(each.nbytes for each in (*work.waiting, waiting))
        work.keep(waiting, used, self._settings.merge.memory_max)
        return None

    async def _read_settings(self, session: Session, block: Block) -> None:
        if block.settled:
            return
        listed = ", ".join(f"pg_catalog.current_setting('{name}')" for name in _SETTINGS)
        [row] = (await self._scripts.fetch(session, f"SELECT {listed}")).rows()
        values = [(each or b"").decode().lower() for each in row]
        for (name, allowed), value in zip(_SETTINGS.items(), values, strict=True):
            if value not in allowed:
                raise InvalidParameterValue(
                    f'invalid value for parameter "{name}": "{value}"',
                    hint=f"Available values: {', '.join(allowed)}.",
                )
        block.at_commit, block.sequential = values[0] == AT_COMMIT, values[1] == SEQUENTIAL
        block.settled = True

    async def _isolation(self, session: Session, block: Block) -> str:
        if not block.isolation:
            sink = await self._scripts.fetch(session, "SHOW transaction_isolation")
            block.isolation = (sink.rows()[0][0] or b"").decode()
        return block.isolation

    async def _begin(
        self, session: Session, block: Block, backend: StoreBackend, scope: Scope
    ) -> StoreWork | None:
        """A transaction of the store; None where it has none."""
        if not backend.capabilities.transactions:
            return None
        isolation = await self._isolation(session, block)
        try:
            transaction = await backend.begin(scope, isolation=isolation, read_only=False)
        except FeatureNotSupported:
            # Of a kind with transactions, a server without them: a MongoDB standalone.
            if (await backend.server(scope)).features.get("transactions", False):
                raise
            return None
        work = block.works[backend.name] = StoreWork(backend, transaction, since=block.numbers)
        if block.savepoints and backend.capabilities.savepoints:
            await transaction.savepoint(0, scope.deadline)
        return work

    # ------------------------------------------------------------------ statements about them

    async def statement(self, session: Session, node: Node) -> bool:
        """Before a statement about transactions reaches the private PostgreSQL; True when it need
        not go there any more.
        """
        kind = node.kind.name.removeprefix("TRANS_STMT_")
        block = session.block
        if block is None:
            return False
        if kind in ("COMMIT", "ROLLBACK"):
            block.savepoints.clear()
            if kind == "ROLLBACK" or session.failed:
                await self.abandon(session)
            elif block.works:
                await self._commit_block(session, block, node)
                return True
        elif session.failed and kind != "ROLLBACK_TO":
            return False  # PostgreSQL refuses it
        elif kind == "SAVEPOINT":
            await self._savepoint(block, node.savepoint_name)
        elif kind == "RELEASE":
            await self._release(block, node.savepoint_name)
        elif kind == "ROLLBACK_TO":
            await self._roll_back_to(block, node.savepoint_name)
        elif kind.startswith("PREPARE") and block.works:
            names = ", ".join(f'"{name}"' for name in block.works)
            raise FeatureNotSupported(
                f"a transaction that works in server {names} cannot be prepared"
            )
        return False

    async def _savepoint(self, block: Block, name: str) -> None:
        mark = block.push(name)
        for work in block.works.values():
            work.marks[mark.number] = work.writes
            if work.transaction is not None and work.backend.capabilities.savepoints:
                await work.transaction.savepoint(mark.number, self._deadline())

    async def _release(self, block: Block, name: str) -> None:
        mark = block.find(name)
        if mark is None:
            return
        for work in block.works.values():
            later = mark.number > work.since
            if later and work.transaction is not None and work.backend.capabilities.savepoints:
                await work.transaction.release(mark.number, self._deadline())
        block.forget(mark, itself=True)

    async def _roll_back_to(self, block: Block, name: str) -> None:
        """Undoes what was written since, in every store; refused before anything is undone."""
        mark = block.find(name)
        if mark is None:
            return  # PostgreSQL says so
        changed = [w for w in block.works.values() if w.writes > w.at(mark)]
        for work in changed:
            if work.transaction is not None and not work.backend.capabilities.savepoints:
                raise FeatureNotSupported(
                    f"ROLLBACK TO SAVEPOINT cannot undo what was written in server "
                    f'"{work.backend.name}" since',
                    detail="The store's transactions have no savepoints.",
                    hint="ROLLBACK the whole transaction.",
                )
        for work in changed:
            if work.transaction is not None:
                number = mark.number if mark.number > work.since else 0
                await work.transaction.rollback_to(number, self._deadline())
            work.undo_to(mark)
        block.forget(mark, itself=False)

    # ------------------------------------------------------------------ the end

    async def _commit_block(self, session: Session, block: Block, node: Node) -> None:
        """COMMIT of a block: the stores', then the private PostgreSQL's. As in PostgreSQL, a COMMIT
        that fails has ended the transaction.
        """
        chain = " AND CHAIN" if node.chain else ""
        done: list[str] = []
        try:
            done = await self._commit_stores(session, block)
            sink = await self._scripts.fetch(session, f"COMMIT{chain}")
        except BackendError as error:
            await self._end_failed(session, skipping=True)
            if done:
                raise in_part(done, (), HERE, str(error)) from error
            session.relay.skip = True  # what the client sent behind it, until its Sync
            raise
        except MorphError:
            await self._end_failed(session)
            raise
        self._told(session, sink.tag)

    async def _end_failed(self, session: Session, *, skipping: bool = False) -> None:
        await self.abandon(session)
        rolled_back = command_complete("ROLLBACK")
        if skipping and session.relay.backend is not None:
            session.command_done(rolled_back)
            await self._scripts.sync(session)
        if session.relay.backend is not None and session.status != _IDLE:
            await self._scripts.fetch(session, "ROLLBACK")
            session.command_done(rolled_back)
        if session.block is not None:
            session.block.open = False

    def _told(self, session: Session, tag: str) -> None:
        data = command_complete(tag)
        session.relay.answer_locally(data)
        session.command_done(data)

    async def commit(self, session: Session) -> None:
        """At the end of an implicit transaction; raises what the stores say."""
        block = session.block
        if block is None or not block.works:
            return
        done = await self._commit_stores(session, block)
        if not (done and block.wrote_here):
            return
        try:
            await self._scripts.sync(session)
        except BackendError as error:
            raise in_part(done, (), HERE, str(error)) from error

    async def _commit_stores(self, session: Session, block: Block) -> list[str]:
        """The names of the stores that committed rows."""
        wrote = [work for work in block.works.values() if work.wrote]
        if block.wrote_here and wrote:
            # What the private PostgreSQL could refuse at COMMIT, it shall refuse before theirs.
            await self._scripts.fetch(session, "SET CONSTRAINTS ALL IMMEDIATE")
        works = block.take()
        after = HERE if block.wrote_here else ()
        return await bounded(session, commit_all(works, self._deadline, after, self.logged))

    async def own_block(self, session: Session) -> Block:
        """A transaction of one statement's own: nobody can roll it back before its end, so a store
        without transactions may take part.
        """
        block = Block()
        await self._read_settings(session, block)
        block.at_commit = True
        return block

    async def commit_alone(self, block: Block) -> None:
        """The end of a statement that is a transaction of its own in several tables or stores."""
        await commit_all(block.take(), self._deadline, (), self.logged)

    async def abandon(self, session: Session) -> None:
        """Rolls back in the stores."""
        if session.block is not None:
            await self.roll_back(session.block.take())

    async def roll_back(self, works: Sequence[StoreWork]) -> None:
        """The same for work that a session has given up."""
        await roll_back_all(works, self._deadline)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._settings.stores.timeout


def two_stores(first: str, second: str) -> MorphError:
    """The refusal of a write to a second store."""
    return FeatureNotSupported(
        "a transaction cannot write to two stores",
        detail=f"It wrote to {first} and would write to {second}.",
        hint=SEQUENTIAL_HINT,
    )


def note_transaction(session: Session, node: Node) -> None:
    """A statement about transactions is on its way to the private PostgreSQL."""
    kind = node.kind.name.removeprefix("TRANS_STMT_")
    block = session.block
    if kind in ("BEGIN", "START"):
        block = session.block = block or Block()
        block.open = True
        return
    if block is None:
        return
    if kind in ("COMMIT", "ROLLBACK"):
        if not node.chain:
            block.open = False
        if not block.works:
            block.savepoints.clear()
    elif not block.works and not session.failed:
        # No store has begun yet; else StoreTransactions.statement sees to it.
        if kind == "SAVEPOINT":
            block.push(node.savepoint_name)
        elif kind in ("RELEASE", "ROLLBACK_TO"):
            mark = block.find(node.savepoint_name)
            if mark is not None:
                block.forget(mark, itself=kind == "RELEASE")
