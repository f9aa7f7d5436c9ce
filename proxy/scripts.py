"""Work that needs answers of the backend before it can go on: one coroutine at a time a session.

A script talks to the session's own backend, inside the client's transaction. Internal statements
use the unnamed statement of the extended protocol with Flush, so nothing commits behind the
client's back; an error of one reaches the client as the error of its statement, and the backend
skips to the Sync that follows.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from catalog.model import CatalogSnapshot
from catalog.store import snapshot_from_rows
from core.errors import InternalError, MorphError
from engine.plans import Plan
from proxy import simple
from proxy.kept_snapshots import before_statement
from proxy.name_lookup import follow_path, moves_names
from proxy.operations import Operations
from proxy.prepared import Portal
from proxy.protocol import requests
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType
from proxy.protocol.parse import Parse
from proxy.protocol.reports import encode_error, error_response
from proxy.relay import BIND, CLOSE, DESCRIBE, EXECUTE, PARSE, SYNC, BackendError, Entry, Sink
from rewrite.analysis import Action, StatementPlan
from rewrite.context import NeedsWidth

if TYPE_CHECKING:
    from proxy.session import Session
    from proxy.worker import Worker


class Scripts:
    """The scripts of one worker's sessions."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.operations = Operations(worker, self)

    # ------------------------------------------------------------------ internal statements

    async def fetch(
        self, session: Session, sql: str, parameters: Sequence[str | None] = ()
    ) -> Sink:
        """Run one internal statement with text parameters; raises BackendError."""
        sink = Sink()
        self.queue(session, sql, parameters, sink)
        return await self.complete(session, sink)

    def queue(
        self,
        session: Session,
        sql: str,
        parameters: Sequence[str | None],
        sink: Sink,
        *,
        hide_copy: bool = False,
    ) -> None:
        """Send one internal statement; the sink takes its answer (and tells of COPY or not)."""
        values = [None if p is None else p.encode() for p in parameters]
        body = struct.pack(">HH", 0, len(values)) + b"".join(
            struct.pack(">i", -1) if v is None else struct.pack(">i", len(v)) + v for v in values
        )
        data = b"\0" + sql.encode(session.client.codec) + b"\0\0\0"
        self.forget_unnamed(session)
        session.send(message(ClientType.PARSE, data), Entry(PARSE, None, True, sink))
        bind = b"\0\0" + body + b"\0\0"
        session.send(message(ClientType.BIND, bind), Entry(BIND, None, True, sink))
        session.send(requests.DESCRIBE_PORTAL, Entry(DESCRIBE, None, True, sink))
        execute = Entry(EXECUTE, None, True, sink)
        execute.last = True
        execute.hide_copy = hide_copy
        session.send(requests.EXECUTE_ALL, execute)

    def forget_unnamed(self, session: Session) -> None:
        """The client's unnamed statement is about to be replaced: prepare it again if needed."""
        if session.relay.backend is not None:
            session.relay.backend.statements.discard("")

    async def complete(self, session: Session, sink: Sink) -> Sink:
        """Flush and wait for a sink; raises BackendError, or what ended the backend."""
        self.flush(session, sink)
        return await sink.done

    async def sync(self, session: Session) -> None:
        """End an implicit transaction of our own: what the client begins next is no part of it."""
        sink = Sink()
        entry = Entry(SYNC, None, True, sink)
        entry.last = True
        session.send(requests.SYNC, entry)
        session.flush_backend()
        await sink.done

    def flush(self, session: Session, sink: Sink) -> None:
        """Have the backend work; BackendError when it never will answer the sink."""
        session.send(requests.FLUSH)
        session.flush_backend()
        if session.relay.backend is None:
            raise InternalError("the session lost its backend")
        if session.relay.skip and not sink.done.done():
            # What the client sent before has failed meanwhile, and the Sync waits behind this
            # script: the backend skips all of it and will never answer.
            raise BackendError({}, answered=True)

    # ------------------------------------------------------------------ simple protocol

    async def run_text(self, session: Session, text: str) -> None:
        """A simple query some statement of which needs a script."""
        transactions = self.operations.federation.transactions
        try:
            await self._run_statements(session, text)
            if session.block is not None and not session.block.open:
                await transactions.commit(session)  # the implicit transaction of the text
        except AnsweredError:
            pass
        except BackendError as error:
            if not error.answered:
                raw = encode_error(error.fields)
                session.send_to_client(session.translate_error(raw, None))
        except MorphError as error:
            await self.poison(session, error)
        session.end_query()

    async def poison(self, session: Session, error: MorphError) -> None:
        """Report our own error and make the backend's transaction fail."""
        try:
            await self.fetch(session, "morphgres")
        except BackendError as poisoned:
            if not poisoned.answered:
                self._worker.metrics.errors.cell(error.sqlstate).value += 1
                session.send_to_client(error_response(error, session.client.codec))

    async def _run_statements(self, session: Session, text: str) -> None:
        plan = await self._plan(session, text)
        block = session.block
        savepoints = list(block.savepoints) if block is not None else []
        session.note(plan)
        if session.block is not None:
            session.block.savepoints = savepoints  # each statement sees to them when its turn comes
        for number in range(len(plan.statements)):
            statement = plan.statements[number]
            notices = session.notices_for_statement(statement)
            if notices:
                session.send_to_client(notices)
            await self.run_one(session, plan, statement)
            stale, session.reread_due = session.reread_due, False
            if stale:
                await self.reread(session)
            if number + 1 == len(plan.statements):
                break
            moved = moves_names(statement)
            if moved:
                await follow_path(session)
            if moved or stale or statement.action is Action.DDL:
                # Later statements see the catalog that this one made, or another namespace.
                plan = await self._plan(session, text)

    async def _plan(self, session: Session, text: str) -> Plan:
        widths: dict[int, int] = {}
        while True:
            try:
                if widths:
                    return await session.plan_with(text, widths)
                return session.plan(text)
            except NeedsWidth as question:
                widths[question.start] = await self._width(session, question.query)

    async def _width(self, session: Session, query: str) -> int:
        return len((await self.describe(session, session.plan(query), b"\0\0")).fields)

    async def describe(self, session: Session, plan: Plan, types: bytes) -> Sink:
        """Parameters and columns of a rewritten text; `types` are the raw end of a Parse."""
        sink = Sink()
        data = b"\0" + plan.wire_text.encode(session.client.codec) + b"\0" + types
        self.forget_unnamed(session)
        session.send(message(ClientType.PARSE, data), Entry(PARSE, plan, True, sink))
        describe = Entry(DESCRIBE, plan, True, sink)
        describe.last = True
        session.send(requests.DESCRIBE_STATEMENT, describe)
        return await self.complete(session, sink)

    async def run_one(self, session: Session, plan: Plan, statement: StatementPlan) -> None:
        """One statement, answered in the form of the simple protocol."""
        if self._worker.moving:
            await before_statement(session, statement)
        if simple.runs_foreign(session, statement):
            await self.operations.federation.prepared.execute(session, plan, statement)
            return
        if statement.kind == "Transaction":
            transactions = self.operations.federation.transactions
            if await transactions.statement(session, statement.node):
                return
        if statement.action in (Action.RELAY, Action.EXPLAIN):
            if statement.system_views & simple._RUNTIME_VIEWS:
                await self._worker.write_runtime()
            if statement.action is Action.EXPLAIN:
                await self.operations.explain(session, plan, statement)
                return
            entry = simple.run_statement(session, plan, statement)
            await self.wait_for(session, entry)
            return
        await self.operations.run(session, plan, statement)

    async def wait_for(self, session: Session, entry: Entry) -> None:
        """Wait until the backend has answered an entry whose answer goes to the client."""
        del entry  # what was sent last is answered last
        await self.settled(session)

    async def settled(self, session: Session) -> None:
        """Wait until all that was sent to the backend is answered; AnsweredError when some of it
        failed, and the client knows.
        """
        if session.relay.idle:
            return
        marker = Sink()
        barrier = Entry(PARSE, None, True, marker)
        barrier.last = True
        session.send(message(ClientType.PARSE, b"_morph_barrier\0\0\0\0"), barrier)
        close = message(ClientType.CLOSE, b"S_morph_barrier\0")
        session.send(close, Entry(CLOSE, None, True))
        try:
            await self.complete(session, marker)
        except BackendError as error:
            raise AnsweredError from error

    # ------------------------------------------------------------------ extended protocol

    async def parse_with_width(self, session: Session, body: bytes) -> None:
        """Parse of an INSERT … SELECT * into documents: the query is described first."""
        request = Parse.decode(body, session.client.codec)
        try:
            plan = await self._plan(session, request.sql)
        except BackendError as error:
            session.send_to_client(session.translate_error(encode_error(error.fields), None))
            return
        session.prepare(request, plan, body)
        session.flush_backend()

    async def execute(self, session: Session, portal: Portal, body: bytes) -> None:
        """Execute of a portal that a relay cannot answer."""
        plan = portal.prepared.plan
        statement = plan.single
        assert statement is not None
        try:
            if statement.system_views & simple._RUNTIME_VIEWS:
                await self._worker.write_runtime()
            if statement.kind == "Transaction":
                transactions = self.operations.federation.transactions
                if await transactions.statement(session, statement.node):
                    return
            if simple.runs_foreign(session, statement):
                await self.operations.federation.prepared.execute(session, plan, statement)
            elif statement.action is Action.RELAY:
                session.send(message(ClientType.EXECUTE, body), Entry(EXECUTE, plan))
                session.flush_backend()
            else:
                await self.operations.run(session, plan, statement, portal=portal, execute=body)
        except AnsweredError:
            return
        except BackendError as error:
            if not error.answered:
                session.send_to_client(encode_error(error.fields))
        except MorphError as error:
            await self.poison(session, error)

    # ------------------------------------------------------------------ catalog

    async def reread(self, session: Session) -> None:
        """Read the catalog as this transaction sees it, unless it has ended: ROLLBACK and ROLLBACK
        TO have the same tag, and only what follows it tells which one it was.
        """
        if session.own_snapshot is None:
            return
        snapshot = await self.read_snapshot(session)
        if session.own_snapshot is None:
            await self.sync(session)
            return
        session.own_snapshot = snapshot
        session.forget_plans()

    async def read_snapshot(self, session: Session) -> CatalogSnapshot:
        """The catalog as the session's transaction sees it."""
        sink = await self.fetch(session, "SELECT * FROM morph_catalog.snapshot()")
        rows = [tuple(None if v is None else v.decode() for v in row) for row in sink.rows()]
        return snapshot_from_rows(rows)


class AnsweredError(Exception):
    """The statement failed and its error was relayed."""
