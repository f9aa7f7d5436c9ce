"""Writes of foreign tables that have a log: the intent first, then the row (decision 0011).

A statement holds its tables until its store has answered, by a shared lock in the session's own
backend, which a cut-over takes alone. The keys it is about to write are in the log, durably, before
the store hears of the write; that they are written is said behind the answer, in batches. So an
acknowledged write is always in the log (I1), and one whose outcome nobody knows is too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import xxhash

from backends.base import RowChanges, Scope, StoreBackend, WriteResult
from backends.change_store import Intent, Key, LogPlace, LogPositionTooOld
from catalog.model import Table
from core.encoding import to_text_carrier
from core.errors import (
    InternalError,
    MorphError,
    StatementCompletionUnknown,
    TransactionResolutionUnknown,
    UndefinedObject,
    UndefinedTable,
)
from core.telemetry.log import Log
from core.types import type_by_name
from evolution.layouts.foreign.fence import shared_lock
from proxy.table_logs import TableLog, TableLogs
from rewrite.tree import ast

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session
    from rewrite.analysis import StatementPlan

LOG = Log("table_logs")
DONE_PAUSE_S: Final = 0.01
"""How long records wait at most until it is said that they are done."""
DONE_AGAIN_S: Final = 1.0
"""Longest pause until that is tried again, when the store did not hear it."""
DONE_S: Final = 10.0
"""A store that takes longer to hear it is asked again."""
DRAWS_MAX: Final = 5
_UNKNOWN: Final = (
    StatementCompletionUnknown,
    TransactionResolutionUnknown,
    asyncio.CancelledError,
)
"""Errors after which a write may have come to effect, or may still."""
_Log = tuple[str, LogPlace]
"""The log of a table: its instance and its place."""


@dataclass(slots=True, eq=False)
class Hold:
    """A statement, or its transaction, has a table: `log` as it was then, None for none."""

    logs: TableLogs
    table: Table
    log: TableLog | None
    plain: int = 0

    def release(self) -> None:
        """The store has answered."""
        if self.plain:
            self.logs.end_plain(self.plain)
            self.plain = 0


@dataclass(slots=True)
class Author:
    """Whose write it is, for the log."""

    session: str
    stmt_hash: int
    epoch: int


class LoggedWrites:
    """The writes of one worker's sessions."""

    def __init__(self, operations: Operations) -> None:
        self._worker = operations.worker
        self._scripts = operations.scripts
        self._timeout = operations.worker.settings.stores.timeout
        self._done: dict[_Log, list[Intent]] = {}
        self._saying: set[_Log] = set()
        self._given_up: dict[_Log, list[Intent]] = {}

    @property
    def _logs(self) -> TableLogs:
        return self._worker.table_logs

    def _now_us(self) -> int:
        return int(self._worker.now().timestamp() * 1e6)

    async def hold(self, session: Session, tables: Sequence[Table]) -> list[Hold]:
        """Keep the tables as they are until the session's transaction ends. Waits for a cut-over;
        LayoutMoved (40001) when the statement was planned for the layout from before.
        """
        held: list[Hold] = []
        try:
            for table in sorted(tables, key=lambda each: each.id):
                log = self._logs.of(table.id)
                if log is None:
                    plain = self._logs.begin_plain(table.id)
                    held.append(Hold(self._logs, table, None, plain))
                    continue
                await self._scripts.fetch(session, shared_lock(table.id))
                await self._logs.check(table)
                held.append(Hold(self._logs, table, log))
        except BaseException:
            for each in held:
                each.release()
            raise
        return held

    def author(self, session: Session) -> Author:
        """Whose writes a session's are."""
        user = session.client.startup.parameters.get("user", "") if session.client.startup else ""
        digest = xxhash.xxh3_64_intdigest(session.last_query.encode(errors="surrogatepass"))
        return Author(user, digest >> 1, self._worker.snapshot.epoch)

    async def apply(
        self,
        hold: Hold | None,
        author: Author | None,
        backend: StoreBackend,
        table: Table,
        changes: RowChanges,
        scope: Scope,
    ) -> WriteResult:
        """`Backend.apply`, with the keys in the log before."""
        if hold is None or author is None:
            raise InternalError(f'foreign table "{table.name}" is written by nobody')
        if hold.log is None:
            return await backend.apply(table, changes, scope)
        changes = _with_keys(backend, table, changes)
        intents = self._intents(hold.log, author, table, changes, scope)
        if not intents:
            return await backend.apply(table, changes, scope)
        place = hold.log.place
        intents = await self._append(backend, place, intents, scope)
        if scope.transaction is not None:
            return await backend.apply(table, changes, scope)
        try:
            result = await backend.apply(table, changes, scope)
        except _UNKNOWN:
            self._are_given_up(backend, place, intents)
            raise
        except BaseException:
            self._are_done(backend.name, place, intents)
            raise
        self._are_done(backend.name, place, intents)
        return result

    def _intents(
        self, log: TableLog, author: Author, table: Table, changes: RowChanges, scope: Scope
    ) -> list[Intent]:
        now_us = self._now_us()
        left = self._timeout
        if scope.deadline is not None:
            left = max(scope.deadline - asyncio.get_running_loop().time(), 0.0)
        touched = _touched(table, changes)
        made: dict[Key, Intent] = {}
        for batch, gone in (
            (changes.deleted, True),
            (changes.before, False),
            (changes.updated, False),
            (changes.inserted, False),
        ):
            for key in _keys(table, batch):
                made[key] = Intent(
                    self._logs.position(),
                    self._logs.incarnation,
                    key,
                    "del" if gone else "put",
                    author.epoch,
                    (log.change_id,),
                    now_us + int(left * 1e6),
                    () if batch is changes.inserted or gone else touched,
                    author.session,
                    author.stmt_hash,
                    now_us,
                    scope.transaction is not None,
                )
        return list(made.values())

    async def _append(
        self, backend: StoreBackend, place: LogPlace, intents: list[Intent], scope: Scope
    ) -> list[Intent]:
        store = backend.change_store()
        for left in reversed(range(DRAWS_MAX)):
            try:
                await store.append(place, intents, scope)
            except LogPositionTooOld:
                self._are_done(backend.name, place, intents)  # nobody makes these
                if not left:
                    raise
            except BaseException:
                self._are_given_up(backend, place, intents)  # some may be there
                raise
            else:
                return intents
            now_us = self._now_us()
            intents = [replace(each, lsn=self._logs.position(), ts_us=now_us) for each in intents]
        raise InternalError("the log was never asked")

    # ------------------------------------------------------------------ behind the answer

    def _are_given_up(
        self, backend: StoreBackend, place: LogPlace, intents: Sequence[Intent]
    ) -> None:
        """Nobody waits for these writes any more; the store may work on them for its grace."""
        log = (backend.name, place)
        if self._given_up.setdefault(log, []) or self._worker.stopping:
            self._given_up[log] += intents
            return
        self._given_up[log] += intents
        work = self._outlast(log, backend.change_store().grace_s)
        self._worker.spawn(work, name="table-logs-given-up")

    async def _outlast(self, log: _Log, grace_s: float) -> None:
        """They are done a grace after the store has answered again: what it was sent before it has
        done by then, or never will.
        """
        try:
            while intents := list(self._given_up[log]):
                pause = DONE_PAUSE_S
                while not await self._told(*log, ()):
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, DONE_AGAIN_S)
                await asyncio.sleep(grace_s)
                self._are_done(*log, intents)
                del self._given_up[log][: len(intents)]
        finally:
            del self._given_up[log]

    def _are_done(self, name: str, place: LogPlace, intents: Sequence[Intent]) -> None:
        log = (name, place)
        self._done.setdefault(log, []).extend(intents)
        if log not in self._saying:
            self._saying.add(log)
            self._worker.spawn(self._say(log), name="table-logs-done")

    async def _say(self, log: _Log) -> None:
        """Say what is done, until the store has heard it: an open record holds up a cut-over."""
        pause = DONE_PAUSE_S
        try:
            while log in self._done:
                await asyncio.sleep(pause)
                intents = self._done.pop(log)
                if await self._told(*log, intents):
                    pause = DONE_PAUSE_S
                else:
                    self._done[log] = [*intents, *self._done.pop(log, ())]
                    pause = min(2 * pause, DONE_AGAIN_S)
        finally:
            self._saying.discard(log)

    async def _told(self, name: str, place: LogPlace, intents: Sequence[Intent]) -> bool:
        """Whether the store has heard it, or nobody asks for that log any more."""
        known = self._logs.of(place.table_id)
        if known is None or known.place != place:
            return True
        scope = Scope(asyncio.get_running_loop().time() + DONE_S)
        try:
            backend = await self._worker.instances.backend(name)
            if intents:
                await backend.change_store().done(place, intents, scope)
            else:
                await backend.change_store().read(place, 1, scope)
        except (UndefinedTable, UndefinedObject):
            return True
        except MorphError as error:
            LOG.warning("table_logs.not_done", instance=name, error=error.primary)
            return False
        return True


def _keys(table: Table, batch: pa.RecordBatch | None) -> list[Key]:
    """The keys of a batch's rows."""
    names = [f"c{column_id}" for column_id in table.key]
    if batch is None or not set(names) <= set(batch.schema.names):
        return []
    columns = []
    for column_id, name in zip(table.key, names, strict=True):
        column = table.column_by_id(column_id)
        assert column is not None
        columns.append(to_text_carrier(batch.column(name), type_by_name(column.type)).to_pylist())
    return [tuple(map(str, key)) for key in zip(*columns, strict=True)]


def _touched(table: Table, changes: RowChanges) -> tuple[int, ...]:
    """The columns that an UPDATE sets."""
    if changes.updated is None:
        return ()
    ids = (int(name[1:]) for name in changes.updated.schema.names)
    return tuple(column_id for column_id in ids if column_id not in table.key)


def _with_keys(backend: StoreBackend, table: Table, changes: RowChanges) -> RowChanges:
    """Inserted rows with the keys that the store would make by itself: the log must know them."""
    batch = changes.inserted
    if batch is None or len(table.key) != 1:
        return changes
    name = f"c{table.key[0]}"
    there = name in batch.schema.names
    if there and not batch.column(name).null_count:
        return changes
    known = batch.column(name).to_pylist() if there else [None] * batch.num_rows
    store = backend.change_store()
    keys = [store.new_key(table)[0] if each is None else each for each in known]
    if there:
        at = batch.schema.get_field_index(name)
        array = pa.array(keys, batch.schema.field(at).type)
        return replace(changes, inserted=batch.set_column(at, name, array))
    columns = [pa.array(keys, pa.string()), *batch.columns]
    made = pa.RecordBatch.from_arrays(columns, [name, *batch.schema.names])
    return replace(changes, inserted=made)


def written_tables(statement: StatementPlan) -> list[Table]:
    """The tables of stores that a statement writes: of a partitioned one its partitions."""
    found: list[Table] = []
    copied = isinstance(statement.node, ast.CopyStmt)
    for ref in statement.relations:
        if ref.role != "target" and not copied:
            continue
        table, version = ref.resolved.table, ref.resolved.version
        if not table.partitioned:
            found.append(table)
        parts = (version.table_by_id(each.table_id) for each in table.partitions)
        found += [part for part in parts if part is not None]
    return found


def release_unkept(session: Session, holds: Sequence[Hold]) -> None:
    """The statement has ended: tables that no transaction of the session keeps are free."""
    works = session.block.works.values() if session.block is not None else ()
    kept = {id(hold) for work in works for hold in work.holds}
    for hold in holds:
        if id(hold) not in kept:
            hold.release()
