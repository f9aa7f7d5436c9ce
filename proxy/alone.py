"""Prepared statements that a store answers alone, asked in one batch: Bind, Describe (or not),
Execute and Sync of the unnamed portal, by a client that waits for nothing else.

Outside a transaction block nothing of such a batch is the private PostgreSQL's business: its
parameters are in forms that it would take as they are, and the statement was answered the long way
(federation.py) once before, which found that nothing of it is left to PostgreSQL. So the batch is
one call of the store and one write to the client. What comes out of `take` as False, or is put back
by a script that found more to do, is worked off message by message, which gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from core.encoding.few_rows import encode_few_rows
from core.encoding.parameters import parameter_text
from core.encoding.plain_rows import encode_plain_rows, plain_cells
from core.errors import MorphError
from core.types import PgType
from engine.direct import Direct
from proxy.direct_answers import PORTAL_SUSPENDED, SMALL_BYTES, free_of_settings, prints_alike
from proxy.protocol import requests
from proxy.protocol.bind import Bind
from proxy.protocol.descriptions import FieldDescription, row_description
from proxy.protocol.framing import HEADER_BYTES, message, read_header
from proxy.protocol.message_types import ClientType, ServerType
from proxy.protocol.reports import error_response
from proxy.protocol.server import command_complete, ready_for_query
from proxy.residual import Parameters
from proxy.staging import batches_of
from proxy.store_waits import bounded

if TYPE_CHECKING:
    from backends.base import ScanPlan, StoreBackend
    from engine.plans import Plan
    from proxy.operations import Operations
    from proxy.prepared import Prepared
    from proxy.session import Session
    from proxy.staging import Staging
    from rewrite.analysis import StatementPlan
    from rewrite.namespaces import Namespaces

IDLE: Final = ord("I")
BIND_COMPLETE: Final = message(ServerType.BIND_COMPLETE)
READY: Final = ready_for_query("I")
_EXECUTE_HEAD: Final = requests.EXECUTE_ALL[:-4]
_END_BYTES: Final = len(requests.EXECUTE_ALL) + len(requests.SYNC)
_limit: Final = Struct(">i")


@dataclass(slots=True, eq=False)
class StoreAnswer:
    """What is known of a prepared statement that its store answers alone."""

    namespaces: Namespaces
    plan: Plan
    direct: Direct
    parameters: tuple[str, ...]
    fields: tuple[PgType, ...]
    types: bytes
    description: list[FieldDescription] | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """One batch: the statement, its parameters, and what of the answer the client wants."""

    answer: StoreAnswer
    values: Mapping[int, str | None]
    formats: tuple[int, ...]
    describes: bool
    limit: int
    messages: list[tuple[int, bytes]]


class Alone:
    """The batches of one worker's sessions."""

    def __init__(self, operations: Operations, staging: Staging) -> None:
        self._operations = operations
        self._worker = operations.worker
        self._staging = staging

    def learn(
        self,
        session: Session,
        prepared: Prepared,
        statement: StatementPlan,
        direct: Direct,
        parameters: Parameters | None,
        fields: Sequence[PgType],
    ) -> None:
        """A prepared statement was answered by its store alone: the next time it is asked so."""
        if statement.notices or statement.keeps_state or statement.makes_temporary:
            return
        if statement.functions or statement.system_views or statement.kind != "Select":
            return
        current = session.snapshot.current
        if any(ref.resolved.version.number < current for ref in statement.relations):
            return  # reading a superseded version warns
        names: tuple[str, ...] = ()
        if parameters is not None:
            names = tuple(parameters.name(n) for n in range(1, len(parameters.oids) + 1))
        prepared.store_answer = StoreAnswer(
            session.plans.namespaces,
            prepared.plan,
            direct,
            names,
            tuple(fields),
            prepared.types,
        )

    # ------------------------------------------------------------------ the batch

    def take(self, session: Session, data: bytes, now: float) -> bool:
        """True when the bytes, which begin with a Bind, are such a batch: it is being answered."""
        end = read_header(data)[1] + 1
        name_end = data.find(0, HEADER_BYTES + 1, end)
        if data[HEADER_BYTES] != 0 or name_end < 0:
            return False
        try:
            prepared = session.statements.get(data[HEADER_BYTES + 1 : name_end].decode())
        except UnicodeDecodeError:
            return False
        if prepared is None or prepared.store_answer is None or not _fits(session, prepared):
            return False
        asked = _asked(session, prepared.store_answer, data, end)
        if asked is None:
            return False
        session.resume(asked.answer.plan, now)
        session.statements_run += 1
        session.last_query = asked.answer.plan.text
        session.start_script(self._run(session, asked))
        return True

    async def _run(self, session: Session, asked: _Asked) -> None:
        reading = _Reading(self._operations, self._staging, session, asked)
        if self._worker.shadowed and not asked.limit:
            known, (_, bind) = asked.answer, asked.messages[0]
            self._worker.inline.begin_scanned(session, known.plan, known.types, bind)
        try:
            done = await reading.answer()
        except MorphError as error:
            self._worker.metrics.errors.cell(error.sqlstate).value += 1
            session.error_seen()
            reading.write(error_response(error, session.client.codec) + READY)
        else:
            if not done:
                session.relay.tap = None
                session.put_back(asked.messages)
                return
            session.progress += 1
        session.ready(IDLE)


class _Reading:
    """One answer: `head` is what goes before the rows, until it is sent."""

    def __init__(
        self, operations: Operations, staging: Staging, session: Session, asked: _Asked
    ) -> None:
        self._scripts = operations.scripts
        self._worker = operations.worker
        self._staging = staging
        self._session = session
        self._asked = asked
        self._answer = asked.answer
        self._head = BIND_COMPLETE
        self._rows = 0
        self._waiting: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """What waits, and this behind it."""
        self._session.relay.send_kept(b"".join([self._head, *self._waiting, data]))
        self._head = b""
        self._waiting.clear()

    async def answer(self) -> bool:
        """Sends all of the answer; False, and nothing is sent, when the store leaves something."""
        direct = self._answer.direct
        table = direct.scan.placed.table
        backend = await self._worker.instances.backend(table.instance)
        plan = backend.plan_scan(table, direct.scan.ask(self._asked.values))
        if not direct.answers(plan):
            return False
        if self._asked.describes:
            self._head += await self._description()
        await bounded(self._session, self._send(backend, plan), alone=True)
        return True

    async def _description(self) -> bytes:
        """The row description, which PostgreSQL makes once for a prepared statement."""
        answer = self._answer
        if answer.description is None:
            session = self._session
            try:
                sink = await self._scripts.describe(session, answer.plan, answer.types)
            finally:
                session.relay.skip = False
                kept = session.pause()
                await self._scripts.sync(session)
                session.resume(*kept)
            answer.description = sink.fields
        fields = [
            field._replace(format=form)
            for field, form in zip(answer.description, self._asked.formats, strict=True)
        ]
        raw = row_description(fields, self._session.client.codec)
        return self._worker.shown(raw, answer.plan)

    async def _send(self, backend: StoreBackend, plan: ScanPlan) -> None:
        direct, limit = self._answer.direct, self._asked.limit
        places = [plan.columns.index(each) for each in direct.columns]
        if not await self._send_few(backend, plan, places):
            await self._send_scanned(backend, plan, places)
        suspended = 0 < limit == self._rows
        self.write(
            (PORTAL_SUSPENDED if suspended else command_complete(f"SELECT {self._rows}")) + READY
        )

    async def _send_few(self, backend: StoreBackend, plan: ScanPlan, places: list[int]) -> bool:
        """The rows of a read by key, where the store has them as values."""
        direct, limit = self._answer.direct, self._asked.limit
        cells = plain_cells(self._answer.fields, self._asked.formats)
        if cells is None or not backend.capabilities.few:
            return False
        scope = self._staging.scope(self._session, direct.scan.placed.table)
        found = await backend.few(plan, scope)
        if found is None:
            return False
        if isinstance(found, pa.RecordBatch):
            await self._take(found, places, direct.skip)
            return True
        rows = found[direct.skip :] if direct.skip else found
        if limit:
            rows = rows[:limit]
        if places != list(range(len(plan.columns))):
            rows = [tuple([row[place] for place in places]) for row in rows]
        self._rows = len(rows)
        self._waiting = encode_plain_rows(rows, cells)
        return True

    async def _send_scanned(self, backend: StoreBackend, plan: ScanPlan, places: list[int]) -> None:
        skip, limit = self._answer.direct.skip, self._asked.limit
        scan = self._answer.direct.scan
        scope = self._staging.scope(self._session, scan.placed.table)
        async with aclosing(batches_of(backend, plan, scope)) as batches:
            async for batch in batches:
                skip -= await self._take(batch, places, skip)
                if 0 < limit <= self._rows:
                    return

    async def _take(self, batch: pa.RecordBatch, places: list[int], skip: int) -> int:
        """Keep the rows of a batch, or send them when they are many; how many it skipped."""
        skipped = min(skip, int(batch.num_rows))
        limit = self._asked.limit
        wanted = limit - self._rows if limit else batch.num_rows
        rows = batch.slice(skipped, wanted)
        self._rows += rows.num_rows
        data = encode_few_rows(rows.select(places), self._answer.fields, self._asked.formats)
        self._size += len(data)
        self._waiting.append(data)
        if self._size > SMALL_BYTES:
            self.write(b"")
            await self._session.client.drained()
        return skipped


def _fits(session: Session, prepared: Prepared) -> bool:
    """Whether the statement means what it did, and the session is in no transaction."""
    answer = prepared.store_answer
    assert answer is not None
    return (
        session.status == IDLE
        and session.block is None
        and session.own_snapshot is None
        and prepared.plan is answer.plan
        and prepared.epoch == session.snapshot.epoch
        and session.current_plans().namespaces is answer.namespaces
        and (session.pushdown or session.push_scans)
        and session.client.codec == "utf-8"
    )


def _asked(session: Session, answer: StoreAnswer, data: bytes, end: int) -> _Asked | None:
    """The batch, or None when it is another one, or of values that PostgreSQL must look at."""
    describes = data.startswith(requests.DESCRIBE_PORTAL, end)
    at = end + (len(requests.DESCRIBE_PORTAL) if describes else 0)
    if len(data) != at + _END_BYTES or not data.startswith(_EXECUTE_HEAD, at):
        return None
    if not data.endswith(requests.SYNC):
        return None
    try:
        bind = Bind.decode(data[HEADER_BYTES:end])
    except MorphError:
        return None
    formats = bind.result_formats
    if len(formats) < 2:
        formats = (formats or (0,)) * len(answer.fields)
    if len(formats) != len(answer.fields) or not set(formats) <= {0, 1}:
        return None
    if not (prints_alike(session) or free_of_settings(answer.fields, formats)):
        return None
    values = _values(answer, bind)
    if values is None:
        return None
    (limit,) = _limit.unpack_from(data, at + len(_EXECUTE_HEAD))
    messages = [(ClientType.BIND, data[HEADER_BYTES:end])]
    if describes:
        messages.append((ClientType.DESCRIBE, requests.DESCRIBE_PORTAL[HEADER_BYTES:]))
    messages.append((ClientType.EXECUTE, data[at + HEADER_BYTES : -len(requests.SYNC)]))
    messages.append((ClientType.SYNC, b""))
    return _Asked(answer, values, formats, describes, max(limit, 0), messages)


def _values(answer: StoreAnswer, bind: Bind) -> dict[int, str | None] | None:
    """The parameters as text, or None when one is in a form that PostgreSQL must look at."""
    names, formats = answer.parameters, bind.parameter_formats
    if len(bind.parameters) != len(names):
        return None
    if len(formats) < 2:
        formats = (formats or (0,)) * len(names)
    values: dict[int, str | None] = {}
    for number, raw in enumerate(bind.parameters):
        text = None
        if raw is not None:
            text = parameter_text(names[number], formats[number], raw)
            if text is None or "\0" in text:
                return None
        values[number + 1] = text
    return values
