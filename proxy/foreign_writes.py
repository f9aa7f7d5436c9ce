"""INSERT, UPDATE, DELETE and MERGE of a foreign table (engine/changes.py says how).

The rows that the statement may change are staged under the table's own name, the statement runs
over them, and what became of them is written to the store; only then does the client get its
RETURNING rows and its command tag. Nothing is locked: the store is told what was read, and a row
that is no longer so makes the statement fail with 40001.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from backends.base import RowChanges, StoreBackend
from catalog.model import Table
from catalog.sqltext import quote_ident
from core import expr as ir
from core.errors import FeatureNotSupported
from engine.changes import (
    Difference,
    Target,
    again_text,
    conflict_columns,
    conflict_texts,
    copy_from_text,
    create_texts,
    insert_target,
    target_of,
)
from engine.federate import FederatedPlan
from engine.merge import ask_of
from engine.partitions import Place
from engine.plans import Plan
from proxy.completing import Completing, Completion
from proxy.logged_writes import Hold
from proxy.piles import Limits
from proxy.protocol import requests
from proxy.protocol.message_types import ClientType
from proxy.relay import BackendError, Sink
from proxy.residual import Bound, Residual
from proxy.row_spool import Spool
from proxy.session_store import SessionStore
from proxy.staged_copy import StagedCopy, own_words
from proxy.staging import PlannedScan, StagedRows, Staging, rows_of
from proxy.store_waits import bounded
from proxy.store_writing import StoreWriting
from proxy.temporary_tables import temporary
from rewrite.analysis import StatementPlan
from rewrite.tree import ast

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session
    from proxy.store_transactions import StoreTransactions

WINDOW_SHARE: Final = 16
SMALL_ROWS: Final = 1000
"""Up to so many changed rows the size of what was staged is not asked for."""


@dataclass(frozen=True, slots=True)
class _Again:
    """What it takes to run a statement once more over its copy."""

    federated: FederatedPlan
    relations: Sequence[str]
    text: str
    bound: Bound


class ForeignWrites:
    """The writes of one worker's sessions."""

    def __init__(
        self,
        operations: Operations,
        staging: Staging,
        residual: Residual,
        transactions: StoreTransactions,
    ) -> None:
        self._operations = operations
        self._worker = operations.worker
        self._scripts = operations.scripts
        self._staging = staging
        self._residual = residual
        self._transactions = transactions
        self._settings = operations.worker.settings.merge
        self._numbers = count(1)

    async def run(
        self,
        session: Session,
        federated: FederatedPlan,
        bound: Bound,
        values: Mapping[int, str | None],
        *,
        push: bool,
        alone: bool,
        holds: Sequence[Hold] = (),
    ) -> Sink:
        """Runs the statement and writes what it changed; the sink has rows and tag for the client.

        Raises what the statement raises in PostgreSQL, and what `Backend.apply` raises.
        """
        target = await self._target(federated)
        number = federated.target
        assert number is not None
        writing = StoreWriting(self._transactions, self._staging, session, alone, holds)
        if not target.table.partitioned:
            # First of all, so that a write that is refused has read nothing.
            [place] = target.places
            opened = [(place, await self._writable(place.table))]
            await writing.open(opened, several=target.returning)
        planned = await self._staging.plan(session, federated, values, push=push)
        own = [each for each in planned if each.place == number]
        read = [each for each in planned if each.place != number]
        staged = await self._staging.stage(session, federated, read, len(bound.values) + 1)
        relations = list(staged.relations)
        store = SessionStore(self._scripts, session, self._settings.batch_bytes)
        copy = self._copy(session, store, target)
        relations[number] = copy.relation
        bound = bound.with_arrays(staged.arrays)
        try:
            if isinstance(federated.refs[number].owner, ast.InsertStmt) and target.keeps_rows:
                text = await self._propose(session, federated, copy, own, relations, bound, staged)
                bound = bound.for_part(text)
            else:
                await self._stage(session, copy, own)
                text = federated.text(relations)
            sink = await self._residual.collect(session, text, bound)
            again = _Again(federated, relations, text, bound)
            sink = await self._finish(session, writing, copy, sink, again)
        except BackendError as error:
            own_words(error.fields)
            raise
        finally:
            copy.close()
        await self._staging.drop(session, [*staged.tables, copy.relation])
        return sink

    async def _finish(
        self,
        session: Session,
        writing: StoreWriting,
        copy: StagedCopy,
        sink: Sink,
        again: _Again | None,
    ) -> Sink:
        """Writes what became of the rows; the statement's answer, with what the stores filled in
        where it is wanted.
        """
        target = copy.target
        completion = None
        if target.returning and again is not None:
            limits = Limits.of(self._settings, read_only=False)
            completion = Completion(target, limits, self._window)
        try:
            await copy.check()
            await self._write(session, writing, copy, _rows_done(sink.tag), completion)
            if completion is not None and again is not None and completion.differs:
                sink = await self._answer_again(session, copy, completion, again)
            await bounded(session, writing.close())
        except BaseException:
            await writing.abandon()
            raise
        finally:
            if completion is not None:
                completion.close()
        return sink

    async def _answer_again(
        self, session: Session, copy: StagedCopy, completion: Completion, again: _Again
    ) -> Sink:
        """The statement's answer over rows as the stores have completed them."""
        completed = await completion.load(copy.store)
        await copy.restore()
        if copy.target.keeps_rows:
            completing = Completing(copy, completed)
            await completing.create()
            sink = await self._residual.collect(session, again.text, again.bound)
            await completing.drop()
        else:
            text = again_text(again.federated, again.relations, completed)
            sink = await self._residual.collect(session, text, again.bound.for_part(text))
        await self._staging.drop(session, [completed])
        return sink

    async def copy_in(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        *,
        alone: bool,
        holds: Sequence[Hold] = (),
    ) -> str:
        """COPY FROM STDIN into a foreign table; the command tag.

        PostgreSQL reads and checks the rows into a copy, from where they are written by batches. A
        store without transactions keeps the batches before one that failed; the error says so.
        """
        [ref] = statement.relations
        target = insert_target(ref.resolved.table, ref.resolved.version)
        target = replace(target, filled=_filled(target, await self._stores(target)))
        writing = StoreWriting(self._transactions, self._staging, session, alone, holds)
        if not target.table.partitioned:
            [place] = target.places
            await writing.open([(place, await self._writable(place.table))])
        store = SessionStore(self._scripts, session, self._settings.batch_bytes)
        copy = self._copy(session, store, target)
        await self._stage(session, copy, ())
        session.copy_waiting = lambda kind, body: _forward(session, kind, body)
        text = copy_from_text(plan.analysis, statement, copy.relation)
        try:
            sink = await self._residual.collect(session, text, Bound())
        except BackendError as error:
            own_words(error.fields)
            raise
        await self._finish(session, writing, copy, sink, None)
        await self._staging.drop(session, [copy.relation])
        return sink.tag

    async def _writable(self, table: Table) -> StoreBackend:
        backend = await self._worker.instances.backend(table.instance)
        if not backend.capabilities.writes:
            raise FeatureNotSupported(
                f'foreign table "{table.name}" cannot be written',
                detail=f'Server "{backend.name}" is of kind {backend.kind}.',
            )
        return backend

    async def _stores(self, target: Target) -> list[StoreBackend]:
        """The store of each place."""
        names = [place.table.instance for place in target.places]
        return [await self._worker.instances.backend(name) for name in names]

    async def _target(self, federated: FederatedPlan) -> Target:
        """What the statement does, with what its stores do by themselves."""
        target = target_of(federated, rekeys=True)
        stores = await self._stores(target)
        if not all(store.capabilities.rekeys for store in stores):
            target = target_of(federated)
        assert federated.target is not None
        owner = federated.refs[federated.target].owner
        returns = owner.returningClause is not None and not isinstance(owner, ast.DeleteStmt)
        return replace(
            target,
            filled=_filled(target, stores),
            returning=returns and any(store.capabilities.completes for store in stores),
        )

    # ------------------------------------------------------------------ the staged copy

    def _copy(self, session: Session, store: SessionStore, target: Target) -> StagedCopy:
        name = self._copy_name(session, target.table.name, ())
        return StagedCopy(store, target, name, self._settings.batch_bytes)

    def _copy_name(self, session: Session, name: str, taken: Sequence[str]) -> str:
        if name in session.temporary_names or name in taken:
            name = f"_morph_target{next(self._numbers)}"
        return name

    async def _stage(
        self, session: Session, copy: StagedCopy, planned: Sequence[PlannedScan]
    ) -> None:
        """The copy with the rows that the statement may change."""
        target = copy.target
        names: list[str] = []
        if target.table.partitioned:
            for place in target.places:
                names.append(self._copy_name(session, place.name, (copy.name, *names)))
        await copy.create(names)
        limits = Limits.of(self._settings, read_only=False)
        scans = {each.scan.placed.table.id: each for each in planned}
        for place, name in zip(target.places, names or [copy.name], strict=True):
            before = Spool(limits, self._window)
            scan = scans.get(place.table.id)
            if target.keeps_rows and scan is not None:
                await self._read(session, scan, before)
            await copy.fill(place, temporary(name), before)

    @property
    def _window(self) -> int:
        """Bytes of rows that are compared and written in one piece: a few copies of them are made
        on the way, and memory_max bounds all.
        """
        return max(self._settings.memory_max // WINDOW_SHARE, self._settings.batch_bytes)

    async def _read(self, session: Session, planned: PlannedScan, before: Spool) -> None:
        scope = await self._staging.reading(session, planned.scan.placed.table, planned.backend)

        async def read() -> None:
            async for batch in rows_of(planned, scope):
                before.add(batch)

        await bounded(session, read())

    # ------------------------------------------------------------------ the difference

    async def _write(
        self,
        session: Session,
        writing: StoreWriting,
        copy: StagedCopy,
        rows: int,
        completion: Completion | None,
    ) -> None:
        """What became of the rows, to their stores; `rows` is what the command tag counts, -1 when
        it counts something else.
        """
        small = copy.nbytes <= self._window
        if small and not 0 <= rows <= SMALL_ROWS:
            small = await copy.size() + copy.nbytes <= self._window
        if small:
            found = [each async for each in copy.differences(self._window)]
            await bounded(session, self._apply(writing, found, completion))
        else:
            await self._stream(session, writing, copy, completion)

    async def _apply(
        self,
        writing: StoreWriting,
        found: Sequence[tuple[Place, Difference]],
        completion: Completion | None,
    ) -> None:
        """All changes in one piece a place; those that only lose rows last."""
        if not found:
            return
        ordered = sorted(found, key=lambda each: each[1].changes.inserted is None)
        changed = [(p, await self._writable(p.table), d) for p, d in ordered]
        several = completion is not None or any(difference.arrived for _, difference in found)
        if not writing.opened:
            await writing.open([(p, b) for p, b, _ in changed], several=several)
        writing.check_moves(changed)
        for place, backend, difference in changed:
            await _apply_one(writing, place, backend, difference, completion)

    async def _stream(
        self,
        session: Session,
        writing: StoreWriting,
        copy: StagedCopy,
        completion: Completion | None,
    ) -> None:
        """Window after window."""
        target = copy.target
        seen: dict[int, tuple[Place, Difference]] = {}
        if target.table.partitioned:
            async for place, found in copy.differences(self._window):
                seen[place.table.id] = place, _together(seen.get(place.table.id), found)
        else:
            [place] = target.places
            seen[place.table.id] = place, Difference(RowChanges())
        ordered = sorted(seen.values(), key=lambda each: each[1].changes.inserted is None)
        changed = [(p, await self._writable(p.table), d) for p, d in ordered]
        backends = {place.table.id: backend for place, backend, _ in changed}

        async def stream() -> None:
            await writing.open([(p, b) for p, b, _ in changed], several=True)
            writing.check_moves(changed)
            async with aclosing(copy.differences(self._window)) as found:
                async for place, each in found:
                    backend = backends[place.table.id]
                    await _apply_one(writing, place, backend, each, completion)

        if changed:
            await bounded(session, stream())

    # ------------------------------------------------------------------ ON CONFLICT

    async def _propose(
        self,
        session: Session,
        federated: FederatedPlan,
        copy: StagedCopy,
        planned: Sequence[PlannedScan],
        relations: Sequence[str],
        bound: Bound,
        staged: StagedRows,
    ) -> str:
        """The source runs once, into a table without keys; then the rows that it may meet are
        read by their keys. The text with which the proposed rows meet them.
        """
        proposal = f"_morph_proposed{next(self._numbers)}"
        proposed = temporary(proposal)
        propose, rest = conflict_texts(federated, relations, proposed)
        for text in create_texts(proposal, copy.target, (), constraints=False):
            await copy.store.fetch(text)
        staged.tables.append(proposed)
        await self._residual.collect(session, propose, bound.for_part(propose))
        met = await self._met(copy.store, copy.target, federated, proposed)
        own = []
        for each in planned:
            scan = replace(each.scan, predicate=met, whole=False)
            table = scan.placed.table
            plan = each.backend.plan_scan(table, ask_of(scan, {}, push=True))
            own.append(replace(each, scan=scan, plan=plan))
        await self._stage(session, copy, own)
        return rest

    async def _met(
        self, store: SessionStore, target: Target, federated: FederatedPlan, proposed: str
    ) -> ir.Expr | None:
        """Which rows the proposed ones may meet: by the first column of each unique key."""
        parts: list[ir.Expr] = []
        for column_id in conflict_columns(federated, target):
            column = target.table.column_by_id(column_id)
            assert column is not None
            name = quote_ident(column.name)
            [(array,)] = await store.fetch(
                f"SELECT pg_catalog.array_agg(DISTINCT {name})::pg_catalog.text FROM {proposed} "
                f"WHERE {name} IS NOT NULL"
            )
            base = ir.base_type(column.type)
            literal = ir.Literal(f"{base}[]", array if array is not None else "{}")
            parts.append(ir.In(ir.ColumnRef(column.id, column.type), (literal,), spread=True))
        return parts[0] if len(parts) == 1 else ir.Or(tuple(parts))


async def _apply_one(
    writing: StoreWriting,
    place: Place,
    backend: StoreBackend,
    found: Difference,
    completion: Completion | None,
) -> None:
    """Writes to a store; what it made of the rows is kept for RETURNING."""
    if completion is None:
        await writing.apply(place, backend, found.changes)
        return
    changes = replace(found.changes, returning=backend.capabilities.completes)
    completion.take(found, await writing.apply(place, backend, changes))


def _filled(target: Target, stores: Sequence[StoreBackend]) -> frozenset[int]:
    """The columns that a store fills in."""
    pairs = zip(target.places, stores, strict=True)
    return frozenset().union(*(store.fills(place.table) for place, store in pairs))


def _forward(session: Session, kind: int, body: bytes) -> None:
    """COPY data of the client to the backend, which is asked for its answer at the end."""
    session.forward_copy(kind, body)
    if kind != ClientType.COPY_DATA:
        session.send(requests.FLUSH)


def _rows_done(tag: str) -> int:
    """How many rows a statement changed, -1 when its tag does not say so."""
    words = tag.split()
    if not words or words[0] not in ("INSERT", "UPDATE", "DELETE", "MERGE", "COPY"):
        return -1
    return int(words[-1])


def _together(known: tuple[Place, Difference] | None, found: Difference) -> Difference:
    """What is to be known of all differences of a place before they are written: whether there are
    such, without the rows.
    """
    changes, arrived = found.changes, found.arrived
    old = known[1] if known is not None else Difference(RowChanges())
    return Difference(
        RowChanges(
            inserted=_some(old.changes.inserted, changes.inserted),
            deleted=_some(old.changes.deleted, changes.deleted),
        ),
        old.arrived + arrived,
    )


def _some(one: pa.RecordBatch | None, other: pa.RecordBatch | None) -> pa.RecordBatch | None:
    if one is not None or other is None:
        return one
    return other.slice(0, 1)
