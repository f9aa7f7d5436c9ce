"""One client's session: what it asks is planned, rewritten and relayed to its backend.

Messages are worked off in order. Most are handled at once and synchronously; what needs an answer
first (attaching a backend, DDL, COPY into documents, the merge tier) runs as a *script*, one at a
time, while further messages wait in the inbox (bounded: reading from the client pauses).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from core.errors import (
    FeatureNotSupported,
    InternalError,
    MorphError,
    ProtocolViolation,
    QueryCanceled,
)
from engine.plans import Plan, PlanCache, make_plan
from proxy import apart, extended, shortcut, simple
from proxy.backend import BackendConnection, Piece
from proxy.effects import STATEMENT_EFFECTS
from proxy.errors import translate, went_away
from proxy.foreign_prepared import ForeignPrepared
from proxy.kept_snapshots import Isolation, gate
from proxy.name_lookup import look_up
from proxy.notices import DEFAULT_LEVEL, FOLLOWED, notice, warn_superseded
from proxy.prepared import Portal, Prepared
from proxy.protocol import requests
from proxy.protocol.framing import HEADER_BYTES, SMALL_MESSAGE_BYTES_MAX, message
from proxy.protocol.message_types import ClientType
from proxy.protocol.parse import Parse
from proxy.protocol.reports import error_response, sqlstate_of
from proxy.protocol.server import parameter_status
from proxy.relay import BATCH, PARSE, QUERY, SYNC, Entry, Relay
from proxy.shortcut import SessionPlans
from proxy.store_block import Block
from proxy.store_transactions import two_stores
from proxy.table_names import may_name_tables

if TYPE_CHECKING:
    from catalog.model import CatalogSnapshot
    from proxy.client import ClientConnection
    from proxy.worker import Worker
    from rewrite.analysis import StatementPlan

_BIND: Final = ClientType.BIND
_QUERY: Final = ClientType.QUERY
IDLE = ord("I")
FAILED = ord("E")
_LIMIT_EXCEEDED = "canceling statement due to private_pg.statement_timeout_max"
# What a statement means depends on it: the session's own names, and its settings of ours.
_KEEP_TEMPORARIES = frozenset({"Select", "Insert", "Update", "Delete", "Merge"})
CANCEL_AGAIN_S = 0.05
_POISON_SQL = b"morphgres\0"  # never valid SQL: makes the backend fail its transaction


class Session:
    """The state of one logged-in client (DESIGN 4); `client` writes and closes for it."""

    __slots__ = (
        "_cancels", "_clock", "_copying", "_errors", "_inbox", "_outgoing", "_pinned_snapshot",
        "_plan", "_planned", "_plans", "_put_back", "_record", "_rolled_back", "_script",
        "_short_entry", "_short_max", "_started", "_timed_out", "_told_fatal", "_writable",
        "block", "client", "copy_sink", "copy_waiting", "ddl_mode", "foreign_prepared", "id",
        "isolation", "last_query", "maybe_temporary", "messages_min", "on_cancel", "own_snapshot",
        "path_moved", "pending_version", "pinned", "portals", "progress", "push_scans", "pushdown",
        "relay", "reported_path", "reread_due", "search_path",
        "send_to_client", "stale", "statements", "statements_run", "status", "temporary_names",
        "warned_versions", "worker",
    )  # fmt: skip

    def __init__(self, worker: Worker, client: ClientConnection, session_id: int) -> None:
        self.worker = worker
        self.client = client
        self.id = session_id
        self.relay = Relay(self)
        self.status = IDLE
        self.statements: dict[str, Prepared] = {}
        self.portals: dict[str, Portal] = {}
        self.pinned = False
        self.maybe_temporary = self.asks_for_settings()
        self.messages_min = DEFAULT_LEVEL
        self.set_pushdown("on")
        self.foreign_prepared: dict[str, ForeignPrepared] = {}  # by PREPARE in SQL
        self.block: Block | None = None  # a transaction as far as other stores are concerned
        self.isolation = Isolation()
        self.ddl_mode: str = worker.ddl_mode
        self.own_snapshot: CatalogSnapshot | None = None
        self.pending_version = 0
        self.search_path = self.reported_path = ""
        # The path in force is not the one that was reported: see name_lookup.
        self.reread_due = self.path_moved = False
        self.temporary_names: frozenset[str] = frozenset()
        self.stale = self.maybe_temporary  # names and settings: see name_lookup
        self.statements_run = 0
        self.last_query = ""
        self.warned_versions: set[int] = set()
        self._plans: SessionPlans | None = None
        self._planned: apart.Planned | None = None
        self._inbox: deque[tuple[int, bytes]] = deque()
        self._put_back = 0  # bytes of the message in the inbox that the script runs before
        self._script: asyncio.Task[None] | None = None
        self._copying = False  # the client's own COPY FROM STDIN, relayed
        self._outgoing: list[bytes] = []
        self._pinned_snapshot: CatalogSnapshot | None = None
        self._rolled_back = False
        self._cancels = 0
        self._plan: Plan | None = None
        self._started = 0.0
        self._errors = 0
        self.progress = 0  # statements that ended, in any way
        self._timed_out = self._told_fatal = False
        self.copy_sink: Callable[[int, bytes], None] | None = None
        self.copy_waiting: Callable[[int, bytes], None] | None = None
        self.on_cancel: Callable[[], object] | None = None
        self.send_to_client = client.write  # RelayOwner
        self._clock = worker.clock
        self._record = worker.statements.record
        self._short_entry = Entry(QUERY)  # at most one is on its way
        self._short_entry.plain = True
        self._short_max = min(
            SMALL_MESSAGE_BYTES_MAX,
            worker.settings.server.max_message_bytes,
            worker.settings.server.max_statement_bytes,
        )
        self._writable = asyncio.Event()
        self._writable.set()

    def asks_for_settings(self) -> bool:
        """True when the start packet may set a setting that we follow."""
        texts = [text for pair in self.client.startup.parameters.items() for text in pair]
        return any(name in text for text in texts for name in FOLLOWED)

    # ------------------------------------------------------------------ client → session

    def forward(self, data: bytes, now: float) -> bool:
        """The shortcut (shortcut.py) of bytes that begin with a message: True when the statement
        that they are is on its way to the backend, False when `handle` must see to them.
        """
        relay = self.relay
        backend = relay.backend
        if (
            relay.expect
            or relay.skip
            or backend is None
            or self._script is not None
            or self._inbox
            or self._outgoing
            or self._cancels
            or self.stale
            or self.works_in_stores
            or (self.worker.moving and not self.isolation.plain)
            or not HEADER_BYTES < len(data) <= self._short_max
        ):
            return False
        kind = data[0]
        entry = self._short_entry
        if kind == _QUERY:
            entry.kind = QUERY
            found = shortcut.query(self, data)
        elif kind == _BIND:
            entry.kind = BATCH
            found = shortcut.batch(self, data, entry)
        else:
            return False
        if found is None:
            return kind == _BIND and self.worker.scripts.operations.alone.take(self, data, now)
        wire, plan = found
        entry.plan = plan
        if self._started == 0.0:
            self._started = now
        self._plan = plan  # as `note` does for an inert plan
        self.statements_run += 1
        self.last_query = plan.text
        if plan.writes:
            self._writes_here(plan)
        if self.worker.shadowed and plan.touches_store:
            inline = self.worker.inline
            inline.batch(self, plan, data) if kind == _BIND else inline.begin(self, plan)
        relay.push(entry)
        backend.write(wire)
        return True

    def handle(self, messages: list[tuple[int, bytes]]) -> None:
        """Work off messages of the client, or queue them behind a running script."""
        self._inbox.extend(messages)
        if self._script is None:
            self._pump()
        elif self.copy_sink is not None:
            self._feed_copy()

    def _feed_copy(self) -> None:
        """During a script's COPY IN the data goes to it; Sync and Flush are ignored."""
        inbox = self._inbox
        while inbox and self.copy_sink is not None:
            kind, body = inbox.popleft()
            if kind in (ClientType.SYNC, ClientType.FLUSH):
                continue
            self.copy_sink(kind, body)
        if not inbox:
            self.client.reading(True, "read-ahead")
        self.flush_backend()

    def drop_input(self) -> None:
        """The client is gone: nothing of what still waits is begun."""
        self._inbox.clear()

    @property
    def works_in_stores(self) -> bool:
        """True when the session's transaction has something in another store."""
        return self.block is not None and bool(self.block.works)

    @property
    def failed(self) -> bool:
        """True in a transaction that can only be rolled back."""
        return self.status == FAILED

    @property
    def busy(self) -> bool:
        """True while a script runs."""
        return self._script is not None

    @property
    def inbox_bytes(self) -> int:
        """Bytes that wait behind a script; not those of the message that it runs before."""
        if not self._inbox:
            return 0
        return sum(len(body) for _, body in self._inbox) - self._put_back

    def _pump(self) -> None:
        inbox = self._inbox
        try:
            while inbox and self._script is None:
                if self._cancels and self.relay.idle:
                    break  # a cancel on its way must not hit what comes next
                kind, body = inbox.popleft()
                self._dispatch(kind, body)
        except ProtocolViolation as error:
            self.client.fatal(error)
            return
        except Exception as error:  # noqa: BLE001 (as above: an answer, and then the end)
            self.worker.report(error, f"session {self.id}")
            self.client.fatal(InternalError("the message ended in an internal error"))
            return
        if not inbox:
            self.client.reading(True, "read-ahead")
        self.flush_backend()

    def _dispatch(self, kind: int, body: bytes) -> None:
        if self.relay.skip and kind not in (ClientType.SYNC, ClientType.TERMINATE):
            return
        if kind == ClientType.TERMINATE:
            self.drop_input()
            self.client.close()
            return
        if self.relay.backend is None:
            if kind in (ClientType.COPY_DATA, ClientType.COPY_DONE, ClientType.COPY_FAIL):
                return
            self.start_script(self._attach(), before=(kind, body))
            return
        if self.stale and may_name_tables(kind, body):
            self.start_script(look_up(self), before=(kind, body))
            return
        text = apart.long_text(self, kind, body)
        if text is not None:
            self.start_script(self._plan_apart(text), before=(kind, body))
            return
        if self.worker.moving and gate(self, kind, body):
            return
        self.begin()
        try:
            handler = _HANDLERS.get(kind)
            if handler is None:
                raise ProtocolViolation(f"invalid frontend message type {kind}")
            handler(self, body)
        except ProtocolViolation:
            raise
        except MorphError as error:
            self.fail(error, simple_query=kind in (ClientType.QUERY, ClientType.FUNCTION_CALL))

    def put_back(self, messages: list[tuple[int, bytes]]) -> None:
        """Messages that a script was to answer, and left."""
        self._inbox.extendleft(reversed(messages))

    def end_query(self, *, first: bool = False) -> None:
        """A text is answered by a script; `first`: one that runs before its message."""
        if first:
            self._inbox.popleft()
        self.send(requests.SYNC, Entry(SYNC))
        self.relay.skip = False
        self.flush_backend()

    def pause(self) -> tuple[Plan | None, float]:
        """The statement that runs and when it began: the backend's next ReadyForQuery is not its
        end. For `resume`.
        """
        kept = self._plan, self._started
        self._plan = None
        return kept

    def resume(self, plan: Plan | None, started: float) -> None:
        """The statement that runs."""
        self._plan, self._started = plan, started

    # ------------------------------------------------------------------ backend

    async def _attach(self) -> None:
        backend = await self.worker.attach(self.client.startup)
        self.adopt(backend)

    def adopt(self, backend: BackendConnection) -> None:
        """Start to work with a backend."""
        backend.owner = self
        self.relay.backend = backend
        self.search_path = backend.parameters.get("search_path", '"$user", public')
        self.reported_path = self.search_path
        self.isolation = Isolation()
        self._plans = None

    def give_back(self) -> BackendConnection | None:
        """The backend when the session keeps no state in it (see pool.Lender)."""
        backend = self.relay.backend
        if backend is None or self.pinned or self.status != IDLE or not self.relay.in_step:
            return None
        if self._script is not None or self._inbox or self._cancels or self._outgoing:
            return None
        self.relay.backend = None
        self.portals.clear()
        return backend

    def begin(self) -> None:
        """A statement begins, unless one began since the last ReadyForQuery."""
        if self._started == 0.0:
            self._started = self.worker.clock()

    def send(self, data: bytes, entry: Entry | None = None) -> None:
        """Queue a message for the backend, and what it will answer."""
        self._outgoing.append(data)
        if entry is not None:
            self.relay.push(entry)

    def flush_backend(self) -> None:
        """Write what is queued: one write a batch."""
        outgoing = self._outgoing
        if outgoing and self.relay.backend is not None:
            data = outgoing[0] if len(outgoing) == 1 else b"".join(outgoing)
            outgoing.clear()
            self.relay.backend.write(data)

    def backend_pieces(self, pieces: list[Piece], *, still_open: bool) -> None:
        """BackendOwner: answers of the backend."""
        self.relay.pieces(pieces)
        if self._inbox and self._script is None:
            self._pump()

    def backend_whole(self, data: bytes) -> bool:
        """BackendOwner: a complete answer is passed on as it is."""
        if not self.relay.whole(data):
            return False
        if self._inbox and self._script is None:
            self._pump()
        return True

    def backend_lost(self, error: MorphError | None) -> None:
        """BackendOwner: the private PostgreSQL died or ended the connection."""
        relay = self.relay
        relay.backend = None
        waiting = [e.sink for e in relay.expect if e.sink is not None]
        busy = bool(relay.expect) or self.status != IDLE or self.pinned
        relay.expect.clear()
        self._outgoing.clear()
        fault = went_away()
        for sink in waiting:
            sink.fail({"S": "FATAL", "V": "FATAL", "C": fault.sqlstate, "M": fault.primary})
        if self._told_fatal:
            self.client.close()
        elif busy or self._script is not None:
            self.client.fatal(fault)
        if self.client.closing:
            self.drop_input()
            if self._script is not None:
                self._script.cancel()
        self.portals.clear()

    def backend_ends(self, raw: bytes, *, asked: bool) -> None:
        """RelayOwner: a session that keeps nothing in its backend need not know of its end."""
        keeps = self.status != IDLE or self.pinned
        if not asked and keeps:
            self.client.write(raw)
        self._told_fatal = asked or keeps

    def backend_writable(self, writable: bool) -> None:
        """BackendOwner: stop reading from the client while the backend takes no more."""
        if writable:
            self._writable.set()
        else:
            self._writable.clear()
        self.client.reading(writable, "backend")

    async def writable(self) -> None:
        """Wait until the backend takes more."""
        await self._writable.wait()

    # ------------------------------------------------------------------ scripts

    def start_script(
        self, work: Awaitable[None], *, before: tuple[int, bytes] | None = None
    ) -> None:
        """Run `work` before any further message, and before this one."""
        assert self._script is None
        if before is not None:
            self._inbox.appendleft(before)
            self._put_back = len(before[1])
        self.flush_backend()
        task = self.worker.spawn(self._run_script(work), name=f"script-{self.id}")
        self._script = task

    async def _run_script(self, work: Awaitable[None]) -> None:
        admin = self.worker.admin
        try:
            await work
        except MorphError as error:
            self._script = None
            self.client.fatal_or_error(error)
            return
        except Exception as error:  # noqa: BLE001 (whatever it is, the client must not wait for ever)
            if await self.worker.has_lost(admin):
                self.client.fatal(went_away())  # the driver's words for a connection that broke
                return
            self.worker.report(error, f"session {self.id}")
            self.client.fatal(InternalError("the statement ended in an internal error"))
            return
        finally:
            self._script = None
            self._put_back = 0
            self.copy_sink = None
        self.client.reading(True, "read-ahead")
        self._pump()

    async def stop(self) -> None:
        """End the session's work: its script is cancelled, its backend given up."""
        script, self._script = self._script, None
        if script is not None:
            script.cancel()
        self._end_block()
        backend, self.relay.backend = self.relay.backend, None
        if backend is None:
            return
        # A script may be between two statements of an open implicit transaction.
        if script is None and self.status == IDLE and self.relay.in_step and not self._cancels:
            self.worker.pool.release(backend)
        else:
            self.worker.pool.discard(backend)

    # ------------------------------------------------------------------ plans

    @property
    def snapshot(self) -> CatalogSnapshot:
        """The snapshot this session sees: pinned for a transaction (DESIGN 7.5)."""
        if self.own_snapshot is not None:
            return self.own_snapshot
        if self.status != IDLE:
            if self._pinned_snapshot is None:
                self._pinned_snapshot = self.worker.snapshot
            return self._pinned_snapshot
        return self.worker.snapshot

    def plan(self, text: str) -> Plan:
        """The plan for a text in this session's namespaces."""
        plans = self.current_plans()
        planned = self._planned
        if planned is not None and planned.fits(text, plans):
            return planned.result()
        return plans.lookup(text)

    def is_planned(self, text: str) -> bool:
        """True when `plan` need not look into the text."""
        plans = self.current_plans()
        if self._planned is not None and self._planned.fits(text, plans):
            return True
        self._planned = None  # of an earlier message
        return plans.find(text) is not None

    async def _plan_apart(self, text: str) -> None:
        plans = self.current_plans()
        self._planned = await apart.plan(self, text, plans)

    def current_plans(self) -> SessionPlans:
        """The plans for the names as this session sees them now."""
        plans = self._plans
        snapshot = self.snapshot
        if plans is None or plans.namespaces.snapshot is not snapshot:
            plans = self._plans = self.worker.plans_for(
                snapshot, self.search_path, pushdown=self.pushdown, session=self
            )
        return plans

    async def plan_with(self, text: str, widths: Mapping[int, int]) -> Plan:
        """A plan for a text with the widths of its queries known; not cached."""
        if len(text) >= self.worker.settings.plan.apart_bytes_min:
            return (await apart.plan(self, text, self.current_plans(), widths)).result()
        return make_plan(text, self.plans.namespaces, pushdown=self.pushdown, widths=widths)

    def plan_anew(self, text: str) -> Plan:
        """The plan of a text in the versions as this session sees them, over where their tables lie
        by now.
        """
        old, fresh = self.snapshot, self.worker.snapshot
        here = replace(fresh, current=old.current, head=old.head)
        if self.status != IDLE:
            self._pinned_snapshot = here
        self._plans = self.worker.plans_for(
            here, self.search_path, pushdown=self.pushdown, session=self
        )
        return self._plans.lookup(text)

    def prepare(self, request: Parse, plan: Plan, body: bytes) -> None:
        """Keep a planned statement and prepare it in the backend."""
        extended.prepare(self, request, plan, body)

    @property
    def plans(self) -> PlanCache:
        """The plan cache of this session's namespaces."""
        if self._plans is None:
            self.plan(";")
        assert self._plans is not None
        return self._plans

    def set_pushdown(self, value: str) -> None:
        """`value` is what morph.pushdown is now; "scan": predicates go into the scans."""
        value = value.lower()
        self.pushdown = value not in ("off", "false", "0", "no", "scan")
        self.push_scans = value == "scan"

    def follow(self, path: str) -> None:
        """Plan with this search_path until it is reported or followed anew."""
        if path != self.search_path:
            self._plans = None
        self.search_path = path
        self.path_moved = path != self.reported_path

    def forget_plans(self) -> None:
        """Namespaces changed."""
        self._plans = None

    def note(self, plan: Plan) -> None:
        """Keep what running a plan means for this session's state."""
        self._plan = plan
        self.statements_run += 1
        self.last_query = plan.text
        if plan.writes:
            self._writes_here(plan)
        if plan.inert and not self.maybe_temporary:
            return
        if plan.touches_store:
            warn_superseded(self, plan)
        for statement in plan.statements:
            if statement.keeps_state:
                self.pinned = True
                self.isolation.forget()
            if statement.makes_temporary:
                self.pinned = self.maybe_temporary = self.stale = True
            elif self.maybe_temporary and statement.kind not in _KEEP_TEMPORARIES:
                self.stale = True
            if statement.kind in STATEMENT_EFFECTS:
                STATEMENT_EFFECTS[statement.kind](self, statement.node)
            if statement.functions and not statement.functions <= self.worker.stateless_functions:
                self.pinned = self.maybe_temporary = self.stale = True
                self.isolation.forget()

    def _writes_here(self, plan: Plan) -> None:
        """The embedded store is written: is another one, in the same transaction?"""
        block = self.block
        if block is not None and block.wrote and not block.sequential:
            servers = ", ".join(f'server "{name}"' for name in block.wrote)
            raise two_stores(servers, "a table of the embedded store")
        if self.block is None and len(plan.statements) > 1:
            self.block = Block()
        if self.block is not None:
            self.block.wrote_here = True

    def notices_for(self, plan: Plan) -> bytes:
        """WARNINGs that go before the plan's answer."""
        return b"".join(self.notices_for_statement(s) for s in plan.statements)

    def notices_for_statement(self, statement: StatementPlan) -> bytes:
        """WARNINGs that go before one statement's answer."""
        notices = statement.notices
        if notices:
            self.worker.metrics.warnings.cell("01000").value += len(notices)
        return b"".join(
            notice(self, "WARNING", "01000", n.message, n.detail, n.hint) for n in notices
        )

    # ------------------------------------------------------------------ errors

    def fail(self, error: MorphError, *, simple_query: bool) -> None:
        """Answer with our own error, and make the backend's transaction fail as PostgreSQL's
        would: the backend gets a text that cannot parse, its error is replaced by ours.
        """
        if simple_query:
            entry = Entry(QUERY)
            data = message(ClientType.QUERY, _POISON_SQL)
        else:
            entry = Entry(PARSE)
            data = message(ClientType.PARSE, b"\0" + _POISON_SQL + b"\0\0")
            self.statements.pop("", None)
        self.worker.metrics.errors.cell(error.sqlstate).value += 1
        entry.replace_error = error_response(error, self.client.codec)
        self.send(data, entry)

    def translate_error(self, raw: bytes, plan: Plan | None) -> bytes:
        """RelayOwner: names and positions as the client knows them."""
        self.worker.metrics.errors.cell(sqlstate_of(raw)).value += 1
        if self._timed_out and QueryCanceled.sqlstate.encode() in raw:
            return error_response(QueryCanceled(_LIMIT_EXCEEDED))
        return translate(raw, plan, self.plans, self.snapshot)

    # ------------------------------------------------------------------ relay → session

    def shown(self, raw: bytes, plan: Plan) -> bytes:
        """RelayOwner: a RowDescription with the oids of the shapes."""
        return self.worker.shown(raw, plan)

    def parameter_changed(self, name: str, value: str) -> None:
        """RelayOwner: a reported setting changed."""
        if self.relay.backend is not None:
            self.relay.backend.forms = False
        if name == "search_path":
            self.reported_path = self.search_path = value
            self._plans = None
        elif name == "client_encoding":
            self.client.set_encoding(value)

    def command_done(self, tag: bytes) -> None:
        """RelayOwner: a statement ended well."""
        self.progress += 1
        self._rolled_back = tag[5:13] == b"ROLLBACK"
        if self._rolled_back and self.own_snapshot is not None:
            if self._script is None:
                self.worker.mark_stale(self)
            else:
                self.reread_due = True  # the script that runs the statement sees to it

    def answered(self, data: bytes, done: int) -> None:
        """RelayOwner: a statement ended well, and the backend is ready."""
        if self.own_snapshot is None:
            self.progress += 1
        else:
            self.command_done(data[done:-6])
        self.ready(data[-1])

    def error_seen(self) -> None:
        """RelayOwner: a statement failed."""
        self._errors += 1
        self.progress += 1
        self.isolation.forget()
        if self.maybe_temporary:
            self.stale = True  # what the statement or its batch set is undone
        if self.status == IDLE:
            self._rolled_back = True

    def copy_in_begun(self) -> None:
        """RelayOwner: data is forwarded as it comes; a script's COPY takes it from now on."""
        self.copy_sink, self.copy_waiting = self.copy_waiting, None
        self._copying = self.copy_sink is None
        self._feed_copy()

    def copy_in_ended(self) -> None:
        """RelayOwner: what comes now is no part of a COPY."""
        self.copy_sink = None
        self._copying = False

    def ready(self, status: int) -> None:
        """RelayOwner: ReadyForQuery."""
        if self.relay.tap is not None:
            self.worker.inline.ended(self, failed=self._errors > 0)
        self.relay.skip = False
        if self.path_moved:
            self.stale = self.maybe_temporary
            self.follow(self.reported_path)
        if status == IDLE:
            self._pinned_snapshot = None
            if self.own_snapshot is not None:
                self.worker.transaction_ended(self, committed=not self._rolled_back)
            if self.portals:
                self.portals.clear()
            if self.block is not None:
                self._end_block()
            if self.isolation.level:
                self.isolation.ended()
        self.status = status
        plan = self._plan
        if plan is not None:
            self._plan = None
            clock, record = self._clock, self._record
            record(plan, clock() - self._started, self._errors > 0)
        self._started = 0.0
        self._errors = 0
        self._timed_out = False
        self._rolled_back = False

    def _end_block(self) -> None:
        """The transaction is over; what it still has in a store was not to be kept."""
        block, self.block = self.block, None
        if block is not None and block.works:
            transactions = self.worker.scripts.operations.federation.transactions
            ending = transactions.roll_back(block.take())
            self.worker.spawn(ending, name=f"store-rollback-{self.id}")

    # ------------------------------------------------------------------ cancel

    async def cancel(self) -> None:
        """Cancel what runs now; the backend stays ours until the request is through."""
        if self.on_cancel is not None:
            self.on_cancel()
        backend = self.relay.backend
        if backend is None or (self.relay.idle and self._script is None):
            return
        script = self._script
        self._cancels += 1
        try:
            await self.worker.send_cancel(backend)
        finally:
            self._cancels -= 1
        if script is not None and self._script is script and self.copy_sink is None:
            self.worker.spawn(self._insist(backend, script), name=f"cancel-{self.id}")
        elif self._inbox and self._script is None:
            self._pump()

    async def _insist(self, backend: BackendConnection, script: asyncio.Task[None]) -> None:
        """Cancel a script: between two of its statements a single request would meet nobody."""
        self._cancels += 1
        errors = self._errors
        try:
            while True:
                await asyncio.wait([script], timeout=CANCEL_AGAIN_S)
                if self._script is not script or self.relay.backend is not backend:
                    break
                if self._errors != errors or self.copy_sink is not None:
                    break
                await self.worker.send_cancel(backend)
        finally:
            self._cancels -= 1
        if self._inbox and self._script is None:
            self._pump()

    def time_out(self) -> None:
        """Cancel what runs now, because it ran for longer than any statement may."""
        self._timed_out = True
        self.worker.spawn(self.cancel(), name=f"time-out-{self.id}")

    # ------------------------------------------------------------------ plain messages

    def sync(self, body: bytes) -> None:
        """Sync: ends the skipping after an error, and the implicit transaction."""
        if self._copying:
            return  # PostgreSQL ignores it between CopyInResponse and CopyDone: no answer comes
        self.relay.skip = False
        self.send(requests.SYNC, Entry(SYNC))

    def forward_flush(self, body: bytes) -> None:
        """Flush."""
        self.send(requests.FLUSH)

    def forward_copy(self, kind: int, body: bytes) -> None:
        """CopyData, CopyDone, CopyFail: PostgreSQL ignores strays itself."""
        if kind != ClientType.COPY_DATA:
            self._copying = False
        self.send(message(kind, body))

    def function_call(self, body: bytes) -> None:
        """The fast-path interface: relayed; functions that touch files are closed to clients."""
        raise FeatureNotSupported(
            "the function call protocol message is not supported",
            hint="Use SELECT function(...).",
        )


_HANDLERS: dict[int, Callable[[Session, bytes], None]] = {
    ClientType.QUERY: simple.query,
    ClientType.PARSE: extended.parse,
    ClientType.BIND: extended.bind,
    ClientType.DESCRIBE: extended.describe,
    ClientType.EXECUTE: extended.execute,
    ClientType.CLOSE: extended.close,
    ClientType.SYNC: Session.sync,
    ClientType.FLUSH: Session.forward_flush,
    ClientType.COPY_DATA: lambda s, b: s.forward_copy(ClientType.COPY_DATA, b),
    ClientType.COPY_DONE: lambda s, b: s.forward_copy(ClientType.COPY_DONE, b),
    ClientType.COPY_FAIL: lambda s, b: s.forward_copy(ClientType.COPY_FAIL, b),
    ClientType.FUNCTION_CALL: Session.function_call,
}

__all__ = ["Session", "parameter_status"]
