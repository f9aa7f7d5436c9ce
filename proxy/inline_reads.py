"""Inline validation: reads of clients answered from the shadow, too, and compared (V1).

Of a share of the SELECTs on a table with two layouts, the bytes of the live answer are kept as they
pass (by reference: nothing is copied, hashed or waited for) and queued. A task of the worker reads
the same from the shadow and compares sums of chunks of rows. Where they differ, the rows may have
been written between the two reads: live, shadow and live again are read as of one moment then, and
only what differs there is reported.

The client's answer never waits: a full queue drops the read, a large answer is not kept, the task
rests four times as long as it works, and its own faults are counted and logged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

import asyncpg

from catalog.model import Table
from catalog.store import load_snapshot
from core.errors import MorphError
from core.telemetry.log import Log
from evolution.changes.needs import Verdict
from evolution.changes.records import Record, load_records
from evolution.changes.states import Phase
from evolution.layouts.base import Discrepancy, ShadowWork
from evolution.layouts.by_store import is_foreign
from evolution.layouts.embedded.stand_ins import shown_by
from evolution.transaction import AdminTransaction
from evolution.validation.findings import Found
from evolution.validation.inline import ResultSum, compare_results
from evolution.validation.replay import Check, difference
from evolution.validation.report import Report
from proxy.both_layouts import NO_TYPES, NO_VALUES, BothAnswers, LayoutReader, Read, add_rows
from proxy.inline_asking import NOTHING, OFF, SAY, Asked
from proxy.layout_readers import layout_reader
from proxy.protocol.bind import bind_names
from proxy.protocol.framing import HEADER_BYTES, read_header
from proxy.protocol.message_types import ServerType
from proxy.relay import BATCH, EXECUTE, QUERY
from proxy.replays import ordered, uses_of
from proxy.staged_layouts import comparable

if TYPE_CHECKING:
    from config.validation import ValidationSettings
    from engine.plans import Plan
    from proxy.session import Session
    from proxy.worker import Worker
    from rewrite.analysis import StatementPlan

LOG: Final = Log("validation")
WHOLE_BP: Final = 10_000
BATCH_READS: Final = 16
REST: Final = 4.0
"""Times as long as it worked, the task rests."""
SETTLE_S: Final = 60.0
"""How long a call waits for the reads that were asked before it."""
SAVE_S: Final = 1.0
_WITH_TWO_LAYOUTS: Final = (Phase.VALIDATING, Phase.READY, Phase.PROMOTED, Phase.ROLLED_BACK)
_FAULTS: Final = (MorphError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_IDLE: Final = ord("I")


@dataclass(slots=True)
class Tap:
    """The answer of one statement as it passes. `bytes_left` below zero: it is not kept."""

    plan: Plan
    change_id: int
    read: Read
    bytes_left: int
    pieces: list[bytes] = field(default_factory=list)
    spoiled: bool = False

    def take(self, raw: bytes) -> None:
        """Messages of the answer, from the begin of one or in the middle of a row."""
        self.bytes_left -= len(raw)
        if self.bytes_left < 0:
            self.pieces.clear()
        else:
            self.pieces.append(raw)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A read to compare: who asked, of which change, and the live answer."""

    parameters: tuple[tuple[str, str], ...]
    change_id: int
    read: Read
    ordered: bool
    uses: Mapping[int, Sequence[Table]]
    pieces: tuple[bytes, ...]


class InlineReads:
    """The reads of one worker's sessions. `worker.shadowed` are the tables that are looked at."""

    def __init__(self, worker: Worker, validation: ValidationSettings) -> None:
        self._worker = worker
        self._share_bp = validation.inline_share_bp
        self._waiting_max = validation.inline_waiting
        self._bytes_max = validation.inline_bytes
        self._timeout_s = validation.inline_timeout
        self._due = 0
        self._queue: deque[_Waiting] = deque()
        self._records: dict[int, Record] = {}
        self._by_table: dict[int, int] = {}
        self._reports: dict[int, Report] = {}
        self._counts = worker.metrics.inline_reads
        self._looking = self._looking_again = False
        self._task: asyncio.Task[None] | None = None
        self._open = self._compared = 0
        self._news, self._hurry = asyncio.Event(), asyncio.Event()
        self._backend: tuple[tuple[int, tuple[tuple[str, str], ...]], LayoutReader] | None = None

    # ---------------------------------------------------------------- which tables

    def announced(self) -> None:
        """Something was written about a change: which tables have two layouts?"""
        if not self._share_bp:
            return
        self._looking_again = True
        if not self._looking:
            self._looking = True
            self._worker.spawn(self._look(), name="inline-tables")

    async def _look(self) -> None:
        try:
            while self._looking_again:
                self._looking_again = False
                try:
                    await self._read_changes()
                except _FAULTS as error:
                    LOG.warning("inline.not_read", error=str(error))
        finally:
            self._looking = False

    async def _read_changes(self) -> None:
        connection = await self._worker.changes.connect()
        try:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            records = await load_records(AdminTransaction(connection))
            snapshot = await load_snapshot(connection)
        finally:
            connection.terminate()
        found = {r.change_id: r for r in records if r.phase in _WITH_TWO_LAYOUTS}
        tables: dict[int, int] = {}
        for number, record in found.items():
            ids = {table.table_id for table in record.tables}
            if any(map(is_foreign, record.tables)):  # views of theirs are written out
                tables.update(dict.fromkeys(ids, number))
                continue
            for version in snapshot.versions.values():
                tables.update(dict.fromkeys(shown_by(snapshot, version, ids), number))
        self._records, self._by_table = found, tables
        self._worker.shadowed = frozenset(tables)
        for number in [n for n in self._reports if n not in found]:
            report = self._reports.pop(number)
            report.close()
            await self._worker.changes.validator.save_inline(report)

    # ---------------------------------------------------------------- beside the live answer

    def batch(self, session: Session, plan: Plan, data: bytes) -> None:
        """A Bind message, with what follows it, is about to go to the backend."""
        portal = session.portals.get("")
        if portal is not None:
            body = data[HEADER_BYTES : read_header(data)[1] + 1]
            self.begin(session, plan, portal.prepared.types, body)

    def begin(
        self, session: Session, plan: Plan, types: bytes = NO_TYPES, bind: bytes = b""
    ) -> None:
        """A statement is about to go to the backend: keep its answer if it is its turn."""
        self._begin(session, plan, types, bind, relayed=True)

    def begin_scanned(
        self, session: Session, plan: Plan, types: bytes = NO_TYPES, bind: bytes = b""
    ) -> None:
        """The same of a statement over foreign tables, which is about to be answered."""
        self._begin(session, plan, types, bind, relayed=False)

    def _begin(
        self, session: Session, plan: Plan, types: bytes, bind: bytes, *, relayed: bool
    ) -> None:
        relay = session.relay
        if relay.tap is not None:
            relay.tap.spoiled = True
            return
        single = plan.single
        if single is None or single.kind != "Select" or plan.relay_only != relayed:
            return
        record = self._record_of(single, relayed=relayed)
        if record is None:
            return
        self._due += self._share_bp
        if self._due < WHOLE_BP:
            return
        self._due -= WHOLE_BP
        if session.status != _IDLE or session.own_snapshot is not None:
            return  # it may see what others do not
        if any(entry.kind in (QUERY, BATCH, EXECUTE) for entry in relay.expect):
            return
        if not relayed and not comparable(single, record.work()):
            return
        path = session.plans.namespaces.search_path
        values = bind[bind_names(bind)[2] :] if bind else NO_VALUES
        read = Read(plan.text, path, types, values)
        relay.tap = Tap(plan, record.change_id, read, self._bytes_max)

    def _record_of(self, single: StatementPlan, *, relayed: bool) -> Record | None:
        """The change whose tables a statement reads: of the embedded store where it is relayed."""
        for ref in single.relations:
            number = self._by_table.get(ref.resolved.table.id)
            record = self._records.get(number) if number is not None else None
            if record is not None and any(map(is_foreign, record.tables)) != relayed:
                return record
        return None

    def ended(self, session: Session, *, failed: bool) -> None:
        """The statement's answer is on its way to the client."""
        tap, session.relay.tap = session.relay.tap, None
        assert tap is not None
        single = tap.plan.single
        if tap.spoiled or failed or single is None:
            return
        if tap.bytes_left < 0:
            self._counts.cell("too large").value += 1
            return
        if len(self._queue) >= self._waiting_max:
            self._counts.cell("dropped").value += 1
            return
        startup = self._worker.startup_of(session.client.startup)
        self._queue.append(
            _Waiting(
                tuple(sorted(startup.parameters.items())),
                tap.change_id,
                tap.read,
                ordered(single),
                uses_of(single),
                tuple(tap.pieces),
            )
        )
        if self._task is None or self._task.done():
            self._task = self._worker.spawn(self._drain(), name="inline-reads")

    # ---------------------------------------------------------------- the task

    async def _drain(self) -> None:
        try:
            while self._queue:
                await self._compare_waiting()
                await self._save()  # reads that come meanwhile start no task of their own
        finally:
            self._drop_backend()

    async def _compare_waiting(self) -> None:
        clock = self._worker.clock
        save_at = clock() + SAVE_S
        while self._queue:
            begun = clock()
            batch = self._next()
            self._open = len(batch)
            try:
                await self._compare(batch)
            except _FAULTS as error:
                self._counts.cell("failed").value += len(batch)
                self._drop_backend()
                LOG.warning("inline.failed", change=batch[0].change_id, error=str(error))
            if clock() >= save_at:
                await self._save()
                save_at = clock() + SAVE_S
            self._ended_batch()
            await self._rest(REST * (clock() - begun))

    def _ended_batch(self) -> None:
        self._compared += self._open
        self._open = 0
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _rest(self, seconds: float) -> None:
        """Leave the time to others, unless somebody waits for what the reads show."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _next(self) -> list[_Waiting]:
        """The first read that waits, and those behind it of the same role and change."""
        first = self._queue[0]
        key = first.parameters, first.change_id
        batch = []
        for each in list(islice(self._queue, BATCH_READS)):
            if (each.parameters, each.change_id) != key:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _compare(self, batch: Sequence[_Waiting]) -> None:
        record = self._records.get(batch[0].change_id)
        if record is None:
            return
        work = record.work()
        uses: dict[int, list[Table]] = {}
        for each in batch:
            for number, tables in each.uses.items():
                uses.setdefault(number, []).extend(tables)
        report = await self._report(work)
        layouts = await self._opened(record, batch[0].parameters)
        begun = self._worker.clock()
        async with layouts.reading(work, uses, self._timeout_s) as moment:
            for each in batch:
                await self._one(moment, work, report, each)
        report.seconds += self._worker.clock() - begun

    async def _one(
        self, moment: BothAnswers, work: ShadowWork, report: Report, waiting: _Waiting
    ) -> None:
        live = await _summed(waiting.pieces)
        other = await moment.ask("shadow", waiting.read)
        outcome = "equal"
        found = ("ERROR_MISMATCH", other.sqlstate) if other.sqlstate else None
        if found is None:
            found = compare_results(live, other.rows, ordered=waiting.ordered)
        if found is not None:
            outcome = await self._again(moment, work, report, waiting)
        self._counts.cell(outcome).value += 1
        report.rows_compared += live.multiset.count

    async def _again(
        self, moment: BothAnswers, work: ShadowWork, report: Report, waiting: _Waiting
    ) -> str:
        """Both layouts as of one moment: what differs there is no write that came between."""
        read = waiting.read
        check = Check(read.text, read.text, waiting.ordered)
        first, other = await moment.ask("live", read), await moment.ask("shadow", read)
        found = difference(first, other, check)
        if found is None:
            return "moved"
        for layout in ("live", "shuffled"):
            again = await moment.ask("live" if layout == "live" else "shuffled", read)
            if difference(first, again, check) is not None:
                return "nondeterministic"
        category, message = found
        severity = self._worker.changes.validator.policy(work).of(category)
        words = f"{message}: {read.text[:200]}"
        report.findings.add(
            Found(Discrepancy(category, words, "", report.table_id, severity=severity))
        )
        return "different"

    async def _report(self, work: ShadowWork) -> Report:
        report = self._reports.get(work.change_id)
        if report is None:
            report = await self._worker.changes.validator.begin_inline(work)
            self._reports[work.change_id] = report
        return report

    async def _save(self) -> None:
        validator = self._worker.changes.validator
        for number, report in list(self._reports.items()):
            try:
                await validator.save_inline(report)
            except _FAULTS as error:
                self._reports.pop(number, None)  # it is gone, as the oldest of many
                LOG.warning("inline.not_saved", change=number, error=str(error))

    async def _opened(
        self, record: Record, parameters: tuple[tuple[str, str], ...]
    ) -> LayoutReader:
        wanted = record.change_id, parameters
        if self._backend is not None and self._backend[0] != wanted:
            self._drop_backend()
        if self._backend is None:
            layouts = layout_reader(self._worker, record, dict(parameters))
            await layouts.open()
            self._backend = wanted, layouts
        return self._backend[1]

    def _drop_backend(self) -> None:
        if self._backend is not None:
            self._backend[1].close()
            self._backend = None

    # ---------------------------------------------------------------- when somebody asks

    def asked(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        """Somebody wants to know what this worker's reads showed (inline_asking.py)."""
        asked = Asked.read(str(payload))
        self._worker.spawn(self._answer(asked), name="inline-asked")

    async def _answer(self, asked: Asked) -> None:
        state, verdict = "on", Verdict(0, 0, True, NOTHING)
        if not self._share_bp:
            state = OFF
        else:
            verdict = await self._verdict(asked.change_id)
        await self._worker.tell_admin(
            SAY,
            asked.ask,
            self._worker.number,
            state,
            verdict.report_id,
            verdict.critical,
            verdict.reason,
        )

    async def _verdict(self, change_id: int) -> Verdict:
        """What the reads of this worker showed until now; the next ones get a new report."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._settled()
        report = self._reports.pop(change_id, None)
        if report is None:
            return Verdict(0, 0, True, NOTHING)
        report.close()
        try:
            return await self._worker.changes.validator.save_inline(report)
        except _FAULTS as error:
            LOG.warning("inline.not_saved", change=change_id, error=str(error))
            return Verdict(0, 0, True, NOTHING)

    async def _settled(self) -> None:
        """Wait until the reads that wait by now are compared."""
        wanted = self._compared + self._open + len(self._queue)
        self._hurry.set()
        try:
            while self._compared < wanted:
                await self._news.wait()
        finally:
            self._hurry.clear()


async def _summed(pieces: Sequence[bytes]) -> ResultSum:
    """The sums of the rows among the messages of an answer."""
    made = ResultSum()
    rest = b""
    for piece in pieces:
        rest = _rows_of(made, rest + piece)
        await asyncio.sleep(0)
    made.end()
    return made


def _rows_of(made: ResultSum, data: bytes) -> bytes:
    """Sum the rows among complete messages; what is left over."""
    start = at = 0
    while len(data) - at >= HEADER_BYTES:
        kind, length = read_header(data, at)
        if at + length + 1 > len(data):
            break
        if kind != ServerType.DATA_ROW:
            add_rows(made, data[start:at])
            start = at + length + 1
        at += length + 1
    add_rows(made, data[start:at])
    return data[at:]
