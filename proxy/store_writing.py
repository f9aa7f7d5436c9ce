"""What one statement writes to stores: in which transaction, and in which order.

A statement by itself that changes one table of one store is that store's own atomic write. When it
has more to do (partitions, many rows), it is a transaction of its own with the same rules as the
client's (proxy/store_transactions.py): several stores only with morph.multi_store_commit =
sequential; what a store without transactions gets is written when everything else has been.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backends.base import RowChanges, Scope, StoreBackend, WriteResult
from core.errors import FeatureNotSupported, MorphError
from engine.changes import Difference
from engine.partitions import Place
from proxy.store_block import Block, StoreWork
from proxy.store_transactions import SEQUENTIAL_HINT

if TYPE_CHECKING:
    from proxy.logged_writes import Hold
    from proxy.session import Session
    from proxy.staging import Staging
    from proxy.store_transactions import StoreTransactions


@dataclass(slots=True)
class _Store:
    """A store that the statement writes to; without `work` each write is one by itself."""

    backend: StoreBackend
    scope: Scope
    work: StoreWork | None
    written: int = 0


@dataclass(slots=True)
class StoreWriting:
    """The writes of one statement; `alone` when it is the only one of its transaction."""

    transactions: StoreTransactions
    staging: Staging
    session: Session
    alone: bool
    holds: Sequence[Hold] = ()
    _stores: dict[str, _Store] = field(default_factory=dict)
    _block: Block | None = None

    @property
    def opened(self) -> bool:
        """Whether the stores are known."""
        return bool(self._stores)

    async def open(
        self, places: Sequence[tuple[Place, StoreBackend]], *, several: bool = False
    ) -> None:
        """The stores that will be written. `several`: in more than one piece. Raises
        FeatureNotSupported (0A000) before anything is written.
        """
        block = self.session.block
        names = list(dict.fromkeys(backend.name for _, backend in places))
        own = self.alone and (block is None or not (block.open or block.works))
        if own and (len(names) > 1 or len(places) > 1 or several):
            self._block = await self.transactions.own_block(self.session)
            self._stores.clear()
            streams = len(names) == 1
            if len(names) > 1 and not self._block.sequential:
                raise _several_stores(names)
        else:
            streams = False
        for place, backend in places:
            if backend.name in self._stores:
                continue
            scope = self.staging.scope(self.session, place.table)
            work = await self._work(backend, scope, streams=streams)
            scope = replace(scope, transaction=work.transaction if work is not None else None)
            self._stores[backend.name] = _Store(backend, scope, work)
        self._keep_holds(place.table.id for place, _ in places)

    def _keep_holds(self, table_ids: Iterable[int]) -> None:
        """What a transaction writes it keeps until its own end."""
        wanted = set(table_ids)
        for hold in self.holds:
            store = next((s for n, s in self._stores.items() if n == hold.table.instance), None)
            work = store.work if store is not None else None
            if work is not None and hold.table.id in wanted and hold not in work.holds:
                work.holds.append(hold)

    async def _work(
        self, backend: StoreBackend, scope: Scope, *, streams: bool
    ) -> StoreWork | None:
        if self._block is None:
            return await self.transactions.for_write(self.session, backend, scope, alone=self.alone)
        work = await self.transactions.join(
            self.session, self._block, backend, scope, several=False
        )
        if streams and work.transaction is None:
            # Its rows need not wait: nobody else's COMMIT could fail before.
            self._block.works.clear()
            return None
        return work

    async def apply(
        self, place: Place, backend: StoreBackend, changes: RowChanges
    ) -> WriteResult | None:
        """Write to one of them, or let it wait: None then."""
        store = self._stores[backend.name]
        try:
            result = await self.transactions.write(
                store.work,
                backend,
                place.table,
                changes,
                store.scope,
                next((h for h in self.holds if h.table.id == place.table.id), None),
                self.transactions.logged.author(self.session),
            )
        except MorphError as error:
            if store.written and store.work is None:
                stays = f'{store.written} rows stay in server "{backend.name}".'
                error.detail = f"{error.detail} {stays}".strip()
            raise
        store.written += result.rows if result is not None else 0
        return result

    async def close(self) -> None:
        """COMMIT of a transaction that is the statement's own."""
        if self._block is not None:
            await self.transactions.commit_alone(self._block)

    async def abandon(self) -> None:
        """Undo what can be undone: all that is the statement's own."""
        if self._block is not None:
            await self.transactions.roll_back(self._block.take())

    def check_moves(self, changed: Iterable[tuple[Place, StoreBackend, Difference]]) -> None:
        """Rows that go to another partition are deleted here and inserted there: only where both
        happen or none. FeatureNotSupported (0A000) elsewhere.
        """
        changed = list(changed)
        if not any(difference.arrived for _, _, difference in changed):
            return
        for place, backend, difference in changed:
            store = self._stores[backend.name]
            gone = difference.changes.deleted is not None
            if store.work is None or store.work.transaction is None:
                raise FeatureNotSupported(
                    f'rows cannot move from or to partition "{place.name}"',
                    detail=f'Server "{backend.name}" has no transactions: a row could get lost.',
                    hint=_MOVE_HINT,
                )
            if gone and backend.capabilities.documents:
                raise FeatureNotSupported(
                    f'rows cannot move from partition "{place.name}"',
                    detail="A document may have more than the columns of the table.",
                    hint=_MOVE_HINT,
                )


_MOVE_HINT = "INSERT the rows and DELETE the others, in two statements."


def _several_stores(names: Sequence[str]) -> MorphError:
    listed = ", ".join(f'"{name}"' for name in names)
    return FeatureNotSupported(
        "a statement cannot write to several stores",
        detail=f"Its rows belong to partitions in servers {listed}.",
        hint=SEQUENTIAL_HINT,
    )
