"""Rows of foreign tables on their way into the session's backend.

The scans of a statement run at the same time, each into a pile with bounded memory
(proxy/piles.py): few rows wait as Arrow batches and go as arrays in parameters, many go by COPY
BINARY into temporary tables. A cancel request, the session's statement_timeout and the end of the
client stop the scans, and thereby the stores' work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from backends.base import (
    Misfit,
    Partner,
    ScanAsk,
    ScanPlan,
    Scope,
    StoreBackend,
    TableStatistics,
)
from backends.embedded.backend import EmbeddedBackend
from catalog.model import Table
from catalog.sqltext import quote_ident
from core.encoding.arrays import array_text
from core.encoding.family import to_text_carrier
from core.errors import MorphError
from core.types import type_by_name
from engine.federate import FederatedPlan, names_doc
from engine.lensed_columns import shown_names
from engine.merge import (
    DUMMY_COLUMN,
    ask_of,
    columns_of,
    unnest_text,
)
from engine.scan_copy import ScanColumns
from engine.scans import JoinKey, Scan
from engine.semijoin import Wait, estimate, reduced, took, waits
from engine.waiting_writes import Overlay, Waiting, overlaid_scan
from proxy.notices import notice
from proxy.piles import Limits, Pile
from proxy.session_store import SessionStore
from proxy.store_waits import bounded
from proxy.temporary_tables import load_pile

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session
    from proxy.store_transactions import StoreTransactions

MISFIT = "22000"
_EMBEDDED = EmbeddedBackend("")


@dataclass(frozen=True, slots=True)
class KeysFrom:
    """The keys that a scan waits for: of another scan by its number, or of a query over embedded
    tables; `name` is what the statement calls the other side, `sql_type` the type of its column.
    """

    key: JoinKey
    name: str
    sql_type: str
    source: int | None = None
    query: str = ""


@dataclass(frozen=True, slots=True)
class PlannedScan:
    """A scan with the store that runs it and what the store will do. `place` is the number of the
    reference that it brings rows for; `rows` is an estimate, 0 for none; with `keys` the scan waits
    for those of another one; `overlay` are writes of the transaction that the store does not know.
    """

    scan: Scan
    backend: StoreBackend
    plan: ScanPlan
    columns: ScanColumns
    ask: ScanAsk
    place: int = 0
    rows: int = 0
    keys: KeysFrom | None = None
    overlay: Overlay | None = None


@dataclass(slots=True)
class StagedRows:
    """Staged scans: what stands for each in the text, the arrays behind the client's parameters,
    and the temporary tables to drop.
    """

    relations: list[str]
    arrays: list[bytes]
    tables: list[str]


class Staging:
    """The staging of one worker's sessions."""

    def __init__(self, operations: Operations, transactions: StoreTransactions) -> None:
        self._operations = operations
        self._transactions = transactions
        self._worker = operations.worker
        self._settings = operations.worker.settings.merge
        self._numbers = count(1)

    async def plan(
        self,
        session: Session,
        federated: FederatedPlan,
        values: Mapping[int, str | None],
        *,
        push: bool,
    ) -> list[PlannedScan]:
        """What each store will do, and which scans wait for the keys of others."""
        planned = []
        for place, parts in enumerate(federated.parts):
            for part in parts:
                if not part.needed(values):
                    continue
                scan = part.scan
                backend = await self._worker.instances.backend(scan.placed.table.instance)
                if scan.partner is not None:
                    scan = await self._partnered(session, backend, scan, scan.partner)
                waiting = self._transactions.waiting(session, backend, scan.placed.table)
                if waiting:
                    document = names_doc(federated.context.statement, federated.refs[place])
                    below = overlaid_scan(scan, names_document=document)
                    made = self.planned(below, backend, ask_of(below, values, push=push))
                    made = _overlaid(made, scan, waiting)
                else:
                    made = self.planned(scan, backend, ask_of(scan, values, push=push))
                planned.append(replace(made, place=place))
        if push and any(each.scan.joins for each in planned):
            return await self._with_keys(federated, planned, values)
        return planned

    async def _partnered(
        self, session: Session, backend: StoreBackend, scan: Scan, partner: Partner
    ) -> Scan:
        """The scan with the limit that counts partners where that pays, else without: a small table
        is fetched sooner. The store does not see partners that wait for COMMIT.
        """
        known = await self._worker.table_statistics.of(backend, scan.placed.table)
        large = known.rows >= self._settings.lookup_rows_min
        if not large or self._transactions.waiting(session, backend, partner.table):
            return replace(scan, partner=None, limit=None, order=())
        return replace(scan, joins=())

    def planned(self, scan: Scan, backend: StoreBackend, ask: ScanAsk) -> PlannedScan:
        """A scan as its store will do it."""
        plan = backend.plan_scan(scan.placed.table, ask)
        return PlannedScan(scan, backend, plan, columns_of(scan, ""), ask)

    async def _with_keys(
        self,
        federated: FederatedPlan,
        planned: Sequence[PlannedScan],
        values: Mapping[int, str | None],
    ) -> list[PlannedScan]:
        """The scans with estimates, and with the keys that they wait for."""
        sized = []
        for each in planned:
            known = await self._worker.table_statistics.of(each.backend, each.scan.placed.table)
            sized.append(replace(each, rows=estimate(each.scan, each.plan, known)))
        scans = [*(each.scan for each in sized), *federated.beside]
        rows = [each.rows for each in sized]
        for scan in federated.beside:
            plan = _EMBEDDED.plan_scan(scan.placed.table, scan.ask(values))
            size = await self._worker.embedded_rows(scan.placed.table)
            rows.append(estimate(scan, plan, TableStatistics(size)))
        for wait in waits(scans, rows, self._settings.semi_join_keys_max):
            if wait.waiter < len(sized) and sized[wait.waiter].backend.capabilities.keys:
                keys = self._keys_from(scans[wait.source], wait, len(sized), values)
                sized[wait.waiter] = replace(sized[wait.waiter], keys=keys)
        return sized

    def _keys_from(
        self, other: Scan, wait: Wait, foreign: int, values: Mapping[int, str | None]
    ) -> KeysFrom:
        column = other.placed.table.column_by_id(wait.key.other_id)
        assert column is not None
        if wait.source < foreign:
            return KeysFrom(wait.key, other.alias, column.type, wait.source)
        ask = replace(other.ask(values), columns=(column.id,), limit=None, order=())
        native = _EMBEDDED.plan_scan(other.placed.table, ask).native
        name, limit = quote_ident(column.name), self._settings.semi_join_keys_max + 1
        query = (
            "SELECT pg_catalog.count(*), pg_catalog.array_agg(k)::pg_catalog.text FROM (SELECT "
            f"DISTINCT {name} AS k FROM ({native}) AS a WHERE {name} IS NOT NULL LIMIT {limit}) s"
        )
        return KeysFrom(wait.key, other.alias, column.type, None, query)

    # ------------------------------------------------------------------ waiting for stores

    def scope(self, session: Session, table: Table) -> Scope:
        """The bounds of work on a table for a session's statement."""
        return Scope(
            deadline=asyncio.get_running_loop().time() + self._worker.settings.stores.timeout,
            bytes_max=self._settings.batch_bytes,
            misfits=lambda misfit: self._misfit(session, table, misfit),
        )

    async def reading(self, session: Session, table: Table, backend: StoreBackend) -> Scope:
        """The scope of a scan, in the session's transaction where that reaches the store."""
        scope = self.scope(session, table)
        if session.block is None:
            return scope
        transaction = await self._transactions.for_read(session, backend, scope)
        return replace(scope, transaction=transaction)

    def _misfit(self, session: Session, table: Table, misfit: Misfit) -> None:
        """Counted, and told to the client: nothing is lossy in silence (DESIGN 7.7)."""
        self._worker.metrics.misfits.cell(table.name).value += misfit.count
        self._worker.metrics.warnings.cell(MISFIT).value += 1
        column = table.column_by_id(misfit.column_id)
        name = ", ".join(shown_names(table, column)) if column is not None else ""
        text = f'column "{name}" of table "{table.name}": {misfit.count} values read as NULL'
        detail = f"They have type {misfit.store_type} in the store, as {misfit.example}."
        hint = f"The column's type is {column.type}." if column is not None else ""
        session.send_to_client(notice(session, "WARNING", MISFIT, text, detail, hint))

    # ------------------------------------------------------------------ scans

    async def stage(
        self, session: Session, federated: FederatedPlan, planned: Sequence[PlannedScan], first: int
    ) -> StagedRows:
        """Run the scans and bring their rows; `first` is the number of the first free parameter.

        What the statement changes is not staged here, and has no relation.
        """
        limits = Limits.of(self._settings, read_only=False)
        if not federated.takes_parameters:
            limits.rows_max = -1
        gate = _ReadOnlyGate(self, session, limits)
        piles = [Pile(columns_of(scan, ""), limits) for scan in federated.scans]
        if len(planned) == 1:  # it may bring groups instead of rows
            piles[planned[0].place] = Pile(planned[0].columns, limits)
        scopes = [
            await self.reading(session, each.scan.placed.table, each.backend) for each in planned
        ]
        joins = _Keys(planned, self._settings.semi_join_keys_max)
        await bounded(
            session,
            gather(
                *(
                    self._fill(session, number, piles[each.place], scope, gate, joins)
                    for number, (each, scope) in enumerate(zip(planned, scopes, strict=True))
                )
            ),
        )
        store = SessionStore(self._operations.scripts, session, self._settings.batch_bytes)
        staged = StagedRows([], [], [])
        for place, pile in enumerate(piles):
            if place == federated.target:
                staged.relations.append("")
            elif pile.large or not federated.takes_parameters:
                table = await load_pile(store, f"_morph_f{next(self._numbers)}", pile)
                staged.tables.append(table)
                staged.relations.append(table)
            else:
                staged.relations.append(unnest_text(pile.columns, first + len(staged.arrays)))
                staged.arrays += pile.arrays()
        return staged

    async def _fill(
        self,
        session: Session,
        number: int,
        pile: Pile,
        scope: Scope,
        gate: _ReadOnlyGate,
        joins: _Keys,
    ) -> None:
        each = joins.planned[number]
        if each.keys is not None:
            each = self._reduced(each, await self._keys(session, each.keys, joins))
        async for batch in rows_of(each, scope):
            await gate.before(pile, batch)
            pile.add(batch if batch.num_columns else counted(batch))
            joins.see(number, batch)
        joins.complete(number)

    async def _keys(self, session: Session, wanted: KeysFrom, joins: _Keys) -> str | None:
        """The keys as an array in text form; None for too many."""
        if wanted.source is not None:
            return await joins.of(wanted)
        sink = await self._operations.scripts.fetch(session, wanted.query)
        [[count, array]] = sink.rows()
        if int(count or b"0") > self._settings.semi_join_keys_max:
            return None
        return (array or b"{}").decode()

    def _reduced(self, each: PlannedScan, array: str | None) -> PlannedScan:
        """The scan of the rows with these keys, where the store takes them."""
        if array is None or each.keys is None:
            return each
        ask = reduced(each.ask, each.scan, each.keys.key, each.keys.sql_type, array)
        if ask is None:
            return each
        plan = each.backend.plan_scan(each.scan.placed.table, ask)
        return replace(each, plan=plan) if took(plan) else each

    async def drop(self, session: Session, tables: Sequence[str]) -> None:
        """Drop temporary tables; the end of the transaction would do it, too."""
        if tables:
            await self._operations.scripts.fetch(session, f"DROP TABLE {', '.join(tables)}")

    async def read_only(self, session: Session) -> bool:
        """Whether the session's transaction can make no table."""
        sink = await self._operations.scripts.fetch(session, "SHOW transaction_read_only")
        return sink.rows() == [[b"on"]]


class _Keys:
    """The keys that scans of a statement bring for those that wait."""

    def __init__(self, planned: Sequence[PlannedScan], keys_max: int) -> None:
        self.planned = planned
        self._max = keys_max
        self._ready = [asyncio.Event() for _ in planned]
        self._seen: dict[tuple[int, int], pa.Array | None] = {
            (each.keys.source, each.keys.key.other_id): pa.array([], pa.string())
            for each in planned
            if each.keys is not None and each.keys.source is not None
        }

    def see(self, number: int, batch: pa.RecordBatch) -> None:
        """Keep the distinct keys of a batch, unless there are too many."""
        for (source, column_id), known in list(self._seen.items()):
            if source != number or known is None:
                continue
            each = self.planned[number]
            column = each.scan.placed.table.column_by_id(column_id)
            assert column is not None
            keys = batch.column(each.plan.columns.index(column_id))
            texts = to_text_carrier(keys.drop_null(), type_by_name(column.type))
            distinct = pc.unique(pa.concat_arrays([known, texts.cast(pa.string())]))
            self._seen[source, column_id] = distinct if len(distinct) <= self._max else None

    def complete(self, number: int) -> None:
        """The scan has ended."""
        self._ready[number].set()

    async def of(self, wanted: KeysFrom) -> str | None:
        """The keys of a scan that has ended, as an array; None for too many."""
        assert wanted.source is not None
        await self._ready[wanted.source].wait()
        keys = self._seen[wanted.source, wanted.key.other_id]
        return None if keys is None else array_text(keys.to_pylist())


def counted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch of rows without columns, as it is staged (engine/merge.staged_columns)."""
    return pa.RecordBatch.from_arrays([pa.nulls(batch.num_rows, pa.int32())], [DUMMY_COLUMN])


def _overlaid(made: PlannedScan, scan: Scan, waiting: tuple[Waiting, ...]) -> PlannedScan:
    """The scan `made` below what the transaction wrote, as the statement's `scan`."""
    overlay = Overlay(scan.placed.table, made.scan.columns, len(scan.columns), waiting)
    return replace(
        made, scan=replace(scan, joins=()), columns=columns_of(scan, ""), overlay=overlay
    )


class _ReadOnlyGate:
    """Asks whether the transaction is read-only when the first pile outgrows parameters."""

    def __init__(self, staging: Staging, session: Session, limits: Limits) -> None:
        self._staging = staging
        self._session = session
        self._limits = limits
        self._asked = limits.rows_max < 0
        self._lock = asyncio.Lock()

    async def before(self, pile: Pile, batch: pa.RecordBatch) -> None:
        """In a read-only transaction all rows must stay in memory."""
        if self._asked or pile.rows + batch.num_rows <= self._limits.rows_max:
            return
        async with self._lock:
            if not self._asked and await self._staging.read_only(self._session):
                self._limits.rows_max, self._limits.spill_max = 1 << 62, 0
            self._asked = True


async def rows_of(each: PlannedScan, scope: Scope) -> AsyncGenerator[pa.RecordBatch, None]:
    """The batches of a planned scan, as the transaction sees them."""
    overlay = each.overlay
    async with aclosing(batches_of(each.backend, each.plan, scope)) as batches:
        async for batch in batches:
            yield batch if overlay is None else overlay.over(batch)
    for added in overlay.added() if overlay is not None else ():
        yield added


async def batches_of(
    backend: StoreBackend, plan: ScanPlan, scope: Scope
) -> AsyncGenerator[pa.RecordBatch, None]:
    """The batches of a scan; leaving the loop ends the store's work."""
    scanning: Any = backend.scan(plan, scope)
    async with aclosing(scanning) as batches:
        async for batch in batches:
            yield batch


async def gather(*work: Coroutine[Any, Any, None]) -> None:
    """All of it at the same time; the first error ends the rest and is raised as it is."""
    if len(work) == 1:
        await work[0]
        return
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as errors:
        found = next((e for e in errors.exceptions if isinstance(e, MorphError)), None)
        raise found or errors.exceptions[0] from errors
