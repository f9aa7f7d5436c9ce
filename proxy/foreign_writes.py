"""INSERT, UPDATE, DELETE and MERGE of a foreign table (engine/changes.py says how).

The rows that the statement may change are staged under the table's own name, the statement runs
over them, and what became of them is written to the store; only then does the client get its
RETURNING rows and its command tag. Nothing is locked: the store is told what was read, and a row
that is no longer so makes the statement fail with 40001.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pyarrow as pa

from backends.base import RowChanges, StoreBackend
from catalog.sqltext import quote_ident
from core import expr as ir
from core.encoding.rows import COPY_HEADER, COPY_TRAILER, encode_copy_rows
from core.errors import FeatureNotSupported, MorphError, OutOfMemory
from core.types import type_by_name
from engine.changes import (
    Target,
    conflict_columns,
    conflict_texts,
    copy_from_text,
    create_text,
    difference,
    insert_target,
    load_columns,
    numbered,
    read_back_text,
    target_of,
)
from engine.federate import FederatedPlan
from engine.merge import ask_of
from engine.plans import Plan
from engine.scan_copy import ScanReader, copy_text
from proxy.protocol import requests
from proxy.protocol.message_types import ClientType
from proxy.relay import Sink
from proxy.residual import Bound, Residual
from proxy.session_store import SessionStore
from proxy.staging import PlannedScan, StagedRows, Staging, rows_of
from proxy.store_waits import bounded
from rewrite.analysis import StatementPlan
from rewrite.tree import ast

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session


class ForeignWrites:
    """The writes of one worker's sessions."""

    def __init__(self, operations: Operations, staging: Staging, residual: Residual) -> None:
        self._operations = operations
        self._worker = operations.worker
        self._scripts = operations.scripts
        self._staging = staging
        self._residual = residual
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
    ) -> Sink:
        """Runs the statement and writes what it changed; the sink has rows and tag for the client.

        Raises what the statement raises in PostgreSQL, and what `Backend.apply` raises.
        """
        target = target_of(federated)
        number = federated.target
        assert number is not None
        backend = await self._writable(target)
        # First of all, so that a write that is refused has read nothing.
        scope = await self._staging.writing(session, target.table, backend, alone=alone)
        planned = await self._staging.plan(federated, values, push=push)
        own = next(each for each in planned if each.place == number)
        read = [each for each in planned if each.place != number]
        staged = await self._staging.stage(session, federated, read, len(bound.values) + 1)
        relations = list(staged.relations)
        name = self._copy_name(session, target)
        copy = relations[number] = _temporary(name)
        bound = bound.with_arrays(staged.arrays)
        store = SessionStore(self._scripts, session, self._settings.batch_bytes)
        owner = federated.refs[number].owner
        if isinstance(owner, ast.InsertStmt) and owner.onConflictClause is not None:
            before, sink = await self._upsert(
                session, store, federated, target, own, relations, bound, staged, name
            )
        else:
            before = await self._stage_target(session, store, target, name, own)
            sink = await self._residual.collect(session, federated.text(relations), bound)
        after = [batch async for batch in self._rows(store, target, copy)]
        changes = difference(target, before, after)
        if changes != RowChanges():
            applying = backend.apply(target.table, changes, scope)
            await bounded(session, applying)
        await self._staging.drop(session, [*staged.tables, copy])
        return sink

    async def copy_in(
        self, session: Session, plan: Plan, statement: StatementPlan, *, alone: bool
    ) -> str:
        """COPY FROM STDIN into a foreign table; the command tag.

        PostgreSQL reads and checks the rows into a copy, from where they are written by batches. A
        store without transactions keeps the batches before one that failed; the error says so.
        """
        [ref] = statement.relations
        target = insert_target(ref.resolved.table)
        backend = await self._writable(target)
        scope = await self._staging.writing(session, target.table, backend, alone=alone)
        store = SessionStore(self._scripts, session, self._settings.batch_bytes)
        name = self._copy_name(session, target)
        copy = _temporary(name)
        await store.fetch(create_text(name, target.table))
        session.copy_waiting = lambda kind, body: _forward(session, kind, body)
        text = copy_from_text(plan.analysis, statement, copy)
        sink = await self._residual.collect(session, text, Bound())
        written = 0
        async for batch in self._rows(store, target, copy):
            changes = difference(target, [], [batch])
            try:
                applying = backend.apply(target.table, changes, scope)
                written += (await bounded(session, applying)).rows
            except MorphError as error:
                if written and scope.transaction is None:
                    stays = f'{written} rows stay in server "{backend.name}".'
                    error.detail = f"{error.detail} {stays}".strip()
                raise
        await self._staging.drop(session, [copy])
        return sink.tag

    async def _writable(self, target: Target) -> StoreBackend:
        backend = await self._worker.instances.backend(target.table.instance)
        if not backend.capabilities.writes:
            raise FeatureNotSupported(
                f'foreign table "{target.table.name}" cannot be written',
                detail=f'Server "{backend.name}" is of kind {backend.kind}.',
            )
        return backend

    def _copy_name(self, session: Session, target: Target) -> str:
        name = target.table.name
        if name in session.temporary_names:
            name = f"_morph_target{next(self._numbers)}"
        return name

    # ------------------------------------------------------------------ the staged copy

    async def _stage_target(
        self,
        session: Session,
        store: SessionStore,
        target: Target,
        name: str,
        planned: PlannedScan,
    ) -> list[pa.RecordBatch]:
        """The copy with the rows that the statement may change; the rows as they were read."""
        await store.fetch(create_text(name, target.table))
        if not target.keeps_rows:
            return []
        before = await self._read(session, planned)
        await self._fill(store, target, _temporary(name), before)
        return before

    async def _read(self, session: Session, planned: PlannedScan) -> list[pa.RecordBatch]:
        batches: list[pa.RecordBatch] = []
        scope = await self._staging.reading(session, planned.scan.placed.table, planned.backend)
        limit = self._settings.memory_max

        async def read() -> None:
            used = 0
            async for batch in rows_of(planned, scope):
                used += batch.nbytes
                if used > limit:
                    raise OutOfMemory(
                        "rows that the statement may change need more memory than merge.memory_max",
                        hint="Raise merge.memory_max, or let fewer rows be changed at a time.",
                    )
                batches.append(batch)

        await bounded(session, read())
        return batches

    async def _fill(
        self, store: SessionStore, target: Target, copy: str, batches: Sequence[pa.RecordBatch]
    ) -> None:
        if not batches:
            return
        columns = load_columns(target.table)
        fields = [type_by_name(each) for each in columns.types]
        listed = ", ".join(map(quote_ident, columns.names))
        rows = (bytes(encode_copy_rows(each, fields)) for each in numbered(batches))
        await store.copy_in(
            f"COPY {copy} ({listed}) FROM STDIN (FORMAT binary)",
            [COPY_HEADER, *rows, COPY_TRAILER],
        )

    # ------------------------------------------------------------------ ON CONFLICT

    async def _upsert(
        self,
        session: Session,
        store: SessionStore,
        federated: FederatedPlan,
        target: Target,
        planned: PlannedScan,
        relations: Sequence[str],
        bound: Bound,
        staged: StagedRows,
        name: str,
    ) -> tuple[list[pa.RecordBatch], Sink]:
        """The source runs once, into a table without keys; then the rows that it may meet are
        read by their keys, and the proposed rows meet them.
        """
        proposal = f"_morph_proposed{next(self._numbers)}"
        proposed = _temporary(proposal)
        propose, rest = conflict_texts(federated, relations, proposed)
        await store.fetch(create_text(proposal, target.table, constraints=False))
        staged.tables.append(proposed)
        await self._residual.collect(session, propose, bound)
        scan = replace(
            planned.scan, predicate=await self._met(store, target, federated, proposed), whole=False
        )
        plan = planned.backend.plan_scan(target.table, ask_of(scan, {}, push=True))
        before = await self._stage_target(
            session, store, target, name, replace(planned, scan=scan, plan=plan)
        )
        return before, await self._residual.collect(session, rest, bound)

    async def _met(
        self, store: SessionStore, target: Target, federated: FederatedPlan, proposed: str
    ) -> ir.Expr | None:
        """Which rows the proposed ones may meet: by the first column of each unique key."""
        parts: list[ir.Expr] = []
        for column_id in conflict_columns(federated):
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

    # ------------------------------------------------------------------ the difference

    async def _rows(
        self, store: SessionStore, target: Target, copy: str
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        """The rows of the copy, with their numbers behind."""
        columns = read_back_text(copy, target.table)
        reader = ScanReader([columns], self._settings.batch_bytes)
        async with store.carrier_forms(), aclosing(store.copy_out(copy_text([columns]))) as chunks:
            async for chunk in chunks:
                for _, batch in reader.feed(chunk):
                    yield batch
        for _, batch in reader.finish():
            yield batch


def _forward(session: Session, kind: int, body: bytes) -> None:
    """COPY data of the client to the backend, which is asked for its answer at the end."""
    session.forward_copy(kind, body)
    if kind != ClientType.COPY_DATA:
        session.send(requests.FLUSH)


def _temporary(name: str) -> str:
    """A temporary table as statements call it."""
    return f"pg_temp.{quote_ident(name)}"
