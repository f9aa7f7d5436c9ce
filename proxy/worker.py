"""One worker process: its sessions, its backends, its view of the catalog."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import ssl
from collections import OrderedDict
from collections.abc import Coroutine, Iterable, Mapping
from datetime import datetime
from typing import Any

import asyncpg

from catalog.instances import HEALTH_STATEMENT, INSTANCES_QUERY, Instance, instances_from_rows
from catalog.model import CatalogSnapshot, Table
from catalog.sqltext import PUBLIC, STORE_SCHEMA, quote_ident, view_schema, whole_schema
from catalog.store import EPOCH_CHANNEL, load_snapshot, read_secret
from config.settings import Settings
from core.clock import SystemClock
from core.errors import CrashShutdown, ProgramLimitExceeded
from core.telemetry.metrics import Metrics
from engine.apart.process import Planners
from engine.instances import Health, Instances
from engine.plans import CacheCounts, Plan
from engine.table_statistics import StatisticsCache
from evolution.changes.records import CHANGE_CHANNEL
from evolution.layouts.revision import REVISION_CHANNEL
from private_pg.cluster import DATABASE, PORT, SUPERUSER
from proxy import cancel_routes
from proxy.admin_faults import ADMIN_FAULTS, says_gone
from proxy.auth.directory import UserDirectory
from proxy.backend import BackendConnection, send_cancel
from proxy.change_control import PINS_CHANNEL, ChangeControl
from proxy.client import ClientConnection
from proxy.inline_asking import CHANNEL as INLINE_CHANNEL
from proxy.inline_reads import InlineReads
from proxy.loop_faults import report_loop_fault
from proxy.pool import BackendPool, Lender, PoolLimits
from proxy.protocol.descriptions import patch_table_oids
from proxy.protocol.startup import CancelRequest, StartupMessage
from proxy.runtime_views import write_runtime
from proxy.scripts import Scripts
from proxy.session import Session
from proxy.shortcut import SessionPlans
from proxy.stats import Statements
from proxy.table_logs import TableLogs
from rewrite.namespaces import Namespaces, parse_search_path

CANCEL_TIMEOUT_S = 5.0
ADMIN_TIMEOUT_S = 30.0
REOPEN_PAUSE_S = 0.1
NAMESPACE_CACHES_MAX = 64
DESCRIPTIONS_MAX = 1000
DRAIN_POLL_S = 0.02
SESSION_BITS = 20

CHILD_ROWS = 10_000
"""The size of a table that nobody has counted: the elements of arrays, a table never analyzed."""

OID_QUERY = (
    "SELECT n.nspname, c.relname, c.oid::int8 FROM pg_class c JOIN pg_namespace n "
    "ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v', 'f') "
    "AND (n.nspname = 'public' OR n.nspname ~ '^(morph_[vw]|v)[0-9]+$')"
)
# Functions of pg_catalog that change what a session would find on another backend.
_STATEFUL = frozenset(
    [
        "set_config",
        "nextval",
        "setval",
        "currval",
        "lastval",
        "setseed",
        "pg_export_snapshot",
        "pg_advisory_lock",
        "pg_advisory_lock_shared",
        "pg_advisory_unlock",
        "pg_advisory_unlock_all",
        "pg_advisory_unlock_shared",
        "pg_try_advisory_lock",
        "pg_try_advisory_lock_shared",
        "lo_open",
        "lo_close",
        "lo_creat",
        "lo_create",
        "pg_prepared_statement",
        "pg_cursor",
        "pg_my_temp_schema",
        "pg_listening_channels",
    ]
)


class Worker:
    """Shared by all sessions of the process."""

    def __init__(self, settings: Settings, *, socket_directory: str, number: int = 0) -> None:
        self.settings = settings
        self.number = number
        self.database = DATABASE
        self.stopping = False
        self.ddl_mode = settings.evolution.ddl_mode
        self.auth = UserDirectory(settings.auth, os.environ)
        self.tls_context: ssl.SSLContext | None = None
        self.certificate_der: bytes | None = None
        self.snapshot = CatalogSnapshot(0, 0, 0, {}, 1)
        self.secret = b""
        self.stateless_functions: frozenset[str] = frozenset()
        self.metrics = Metrics()
        self.cache_counts = CacheCounts()
        self.statements = Statements(self.metrics)
        self.scripts = Scripts(self)
        self.sessions: dict[int, Session] = {}
        self.clients: set[ClientConnection] = set()
        self._keys: dict[int, tuple[bytes, Session]] = {}
        self._socket_directory = socket_directory
        self._socket = f"{socket_directory}/.s.PGSQL.{PORT}"
        self._tasks: set[asyncio.Task[None]] = set()
        self._caches: OrderedDict[tuple[object, ...], SessionPlans] = OrderedDict()
        self._oids: dict[str, dict[str, int]] = {}
        self._oid_maps: dict[tuple[int, bool], dict[int, int]] = {}
        self._shown: dict[bytes, tuple[object, bytes]] = {}
        self._next_session = 1
        self._reloading = False
        self._reopening = False
        self._clock = SystemClock()
        self.clock = self._clock.monotonic  # seconds; asked for in every statement
        self._started_at: datetime | None = None
        private = settings.private_pg
        self.pool = BackendPool(
            self._socket,
            PoolLimits(
                max(private.max_backends // settings.server.workers, 1),
                private.max_waiting,
                private.attach_timeout,
            ),
            self._lenders,
        )
        plan = settings.plan
        self.planners = Planners(plan.apart_processes, plan.apart_timeout)
        self._admin: asyncpg.Connection | None = None
        self._admin_lock = asyncio.Lock()  # asyncpg takes one operation at a time
        self._cancel_listener: asyncio.Server | None = None
        self.instances = Instances(
            settings.stores, self._load_instances, os.environ, self._note_health
        )
        self.changes = ChangeControl(self, settings, socket_directory)
        self.moving: frozenset[int] = frozenset()  # tables of the embedded store with two layouts
        self.table_logs = TableLogs(self)
        self.shadowed: frozenset[int] = frozenset()
        self.inline = InlineReads(self, settings.validation)
        self.table_statistics = StatisticsCache(
            lambda work, name: self.spawn(work, name=name), self.clock
        )

    # ------------------------------------------------------------------ life

    async def open(self) -> None:
        """Connect the control plane and load the catalog."""
        asyncio.get_running_loop().set_exception_handler(report_loop_fault)
        admin = await asyncpg.connect(
            host=self._socket_directory,
            user=SUPERUSER,
            database=self.database,
            timeout=ADMIN_TIMEOUT_S,
            command_timeout=ADMIN_TIMEOUT_S,
        )
        try:
            await self._prepare_admin(admin)
        except BaseException:
            admin.terminate()
            raise
        self._admin = admin
        admin.add_termination_listener(self._admin_lost)
        await self.reload()
        await self.table_logs.refresh()
        self.table_logs.announced()
        self.inline.announced()
        if self.number and self._cancel_listener is None:
            self._cancel_listener = await cancel_routes.listen(
                self._socket_directory, self.number, self.cancel
            )

    async def _prepare_admin(self, admin: asyncpg.Connection) -> None:
        await admin.add_listener(EPOCH_CHANNEL, self._epoch_announced)
        await admin.add_listener(CHANGE_CHANNEL, self.changes.announced)
        await admin.add_listener(PINS_CHANNEL, self.changes.pins_asked)
        await admin.add_listener(REVISION_CHANNEL, self.table_logs.announced)
        await admin.add_listener(INLINE_CHANNEL, self.inline.asked)
        self.secret = await read_secret(admin)
        started_at = await admin.fetchval("SELECT pg_catalog.pg_postmaster_start_time()")
        if self._started_at not in (None, started_at):
            self.metrics.private_pg_restarts.value += 1
        self._started_at = started_at
        names = await admin.fetch(
            "SELECT DISTINCT p.proname FROM pg_proc p "
            "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'pg_catalog'"
        )
        known = {r[0] for r in names} - _STATEFUL
        generators = await admin.fetch(
            "SELECT DISTINCT 'morph.' || p.proname FROM pg_proc p "
            "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'morph'"
        )
        self.stateless_functions = frozenset(
            known | {f"pg_catalog.{n}" for n in known} | {r[0] for r in generators}
        )

    @property
    def admin(self) -> asyncpg.Connection | None:
        """The control plane's own connection, None while there is none. When the other end died in
        the middle of a transaction, the driver may close it without a word to its listeners.
        """
        admin = self._admin
        if admin is not None and admin.is_closed():
            self._admin_lost(admin)
        return self._admin

    def _admin_lost(self, connection: object) -> None:
        if connection is not self._admin:
            return  # it was found closed before
        self._admin = None
        if not self.stopping and not self._reopening:
            self._reopening = True
            self.spawn(self._reopen(), name="admin-reopen")

    async def _reopen(self) -> None:
        self.pool.retire()
        try:
            while not self.stopping and self.admin is None:
                try:
                    await self.open()
                except (*ADMIN_FAULTS, CrashShutdown):
                    self._admin = None
                    await asyncio.sleep(REOPEN_PAUSE_S)
        finally:
            self._reopening = False

    def _epoch_announced(self, *args: object) -> None:
        epoch = str(args[3])  # any client can notify the channel
        known = not epoch.isdecimal() or int(epoch[:20]) <= self.snapshot.epoch
        if not known and not self._reloading:
            self._reloading = True
            self.spawn(self._reload_announced(), name="catalog-reload")

    async def _reload_announced(self) -> None:
        self._reloading = False  # what is announced from now on needs another look
        try:
            await self.reload()
        except ADMIN_FAULTS:
            if self.admin is not None:
                self.admin.terminate()  # opening it again reads the catalog

    async def reload(self) -> None:
        """Take over the committed catalog: the model and its oids as of one moment."""
        async with self._admin_lock:
            admin = self.admin
            if admin is None:
                return
            oids: dict[str, dict[str, int]] = {}
            async with admin.transaction(isolation="repeatable_read", readonly=True):
                snapshot = await load_snapshot(admin)
                for schema, name, oid in await admin.fetch(OID_QUERY):
                    oids.setdefault(schema, {})[name] = oid
        self._oids = oids
        self._oid_maps.clear()
        self._shown.clear()
        if snapshot.epoch >= self.snapshot.epoch:
            self.snapshot = snapshot
            self._caches.clear()
        self.instances.invalidate()

    async def _load_instances(self) -> tuple[Instance, ...]:
        """The committed instances."""
        try:
            async with self._admin_lock:
                if self.admin is not None:
                    rows = await self.admin.fetch(INSTANCES_QUERY)
                    return instances_from_rows(tuple(row) for row in rows)
        except ADMIN_FAULTS as error:
            raise CrashShutdown("the private PostgreSQL is not there") from error
        raise CrashShutdown("the private PostgreSQL is not there")

    async def embedded_rows(self, table: Table) -> int:
        """About how many rows a table of the embedded store has."""
        query = "SELECT greatest(reltuples, 0)::int8 FROM pg_class WHERE oid = to_regclass($1)"
        name = f"{STORE_SCHEMA}.{quote_ident(table.store)}"
        with contextlib.suppress(*ADMIN_FAULTS):
            async with self._admin_lock:
                if self.admin is not None and table.store:
                    return await self.admin.fetchval(query, name) or CHILD_ROWS
        return CHILD_ROWS

    async def _note_health(self, name: str, health: Health) -> None:
        """Write what was found of an instance where morph.instances reads it."""
        values = (self.number, name, health.text, health.server, self.now())
        with contextlib.suppress(*ADMIN_FAULTS):
            async with self._admin_lock:
                if self.admin is not None:
                    await self.admin.execute(HEALTH_STATEMENT, *values)

    async def close(self, drain_s: float) -> None:
        """Let transactions end for at most `drain_s`, then end all sessions and backends."""
        self.stopping = True
        deadline = self.clock() + drain_s
        # Sessions do not announce that they became idle.
        while self.clock() < deadline and any(  # noqa: ASYNC110
            s.status != ord("I") or not s.relay.idle or s.busy for s in self.sessions.values()
        ):
            await asyncio.sleep(DRAIN_POLL_S)
        for client in list(self.clients):
            client.shut_down()
        await asyncio.sleep(0)
        self.changes.controller.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.pool.close()
        await self.changes.close()
        await self.instances.close()
        await self.planners.close()
        if self._cancel_listener is not None:
            self._cancel_listener.close()
        if self.admin is not None:
            admin, self._admin = self.admin, None
            admin.remove_termination_listener(self._admin_lost)
            await admin.close(timeout=5)

    def now(self) -> datetime:
        """The time of day, UTC."""
        return self._clock.now()

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Start a task that the worker owns."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def report(self, error: BaseException, where: str) -> None:
        """Log a fault that nobody expected, with its traceback."""
        asyncio.get_running_loop().call_exception_handler({"message": where, "exception": error})

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.report(error, f"task {task.get_name()} failed")

    # ------------------------------------------------------------------ clients

    @property
    def connections(self) -> int:
        """Client connections, those that are starting included."""
        return len(self.clients)

    def connected(self, client: ClientConnection) -> None:
        """A client is there."""
        self.clients.add(client)
        self.metrics.connections_opened.value += 1

    def disconnected(self, client: ClientConnection) -> None:
        """A client is gone: its session ends, a running statement is cancelled."""
        self.clients.discard(client)
        session = client.session
        if session is not None:
            self.sessions.pop(session.id, None)
            self._keys.pop(session.id, None)
            if not self.stopping:
                self.spawn(self._end(session), name=f"end-{session.id}")

    async def _end(self, session: Session) -> None:
        session.drop_input()
        await session.cancel()
        await session.stop()

    def make_session(self, client: ClientConnection) -> Session:
        """A session for a client that is let in."""
        number = self._next_session
        self._next_session = number % ((1 << SESSION_BITS) - 1) + 1
        while self._next_session in self.sessions:
            self._next_session += 1
        session = Session(self, client, number)
        self.sessions[number] = session
        return session

    def cancel_key(self, session: Session, *, long: bool) -> tuple[int, bytes]:
        """(process id, key) of BackendKeyData: the worker's number is in the id's high bits."""
        key = secrets.token_bytes(32 if long else 4)
        self._keys[session.id] = (key, session)
        return (self.number << SESSION_BITS) | session.id, key

    async def cancel(self, request: CancelRequest) -> None:
        """A CancelRequest: silently ignored when it does not fit. Returns when it is through."""
        found = self._keys.get(request.process_id & ((1 << SESSION_BITS) - 1))
        number = request.process_id >> SESSION_BITS
        if number != self.number:
            await cancel_routes.forward(self._socket_directory, number, request)
            return
        if found is not None and secrets.compare_digest(found[0], request.key):
            await found[1].cancel()

    # ------------------------------------------------------------------ backends

    def _lenders(self) -> Iterable[Lender]:
        return list(self.sessions.values())

    async def attach(self, startup: StartupMessage) -> BackendConnection:
        """A backend for a client's role and settings."""
        return await self.pool.acquire(self.startup_of(startup))

    def startup_of(self, startup: StartupMessage) -> StartupMessage:
        """What a backend of a client is asked for."""
        parameters = {
            name: value
            for name, value in startup.parameters.items()
            if name not in ("database", "replication")
        }
        parameters["database"] = self.database
        return StartupMessage(0, parameters)

    async def send_cancel(self, backend: BackendConnection) -> None:
        """Cancel what a backend does."""
        await send_cancel(self._socket, backend.pid, backend.key, CANCEL_TIMEOUT_S)

    # ------------------------------------------------------------------ plans

    def check_length(self, text: str) -> None:
        """ProgramLimitExceeded (54000) for a statement longer than the limit."""
        limit = self.settings.server.max_statement_bytes
        if len(text) > limit:
            raise ProgramLimitExceeded(
                f"statement is longer than {limit} bytes",
                hint="Raise server.max_statement_bytes.",
            )

    def plans_for(
        self, snapshot: CatalogSnapshot, search_path: str, *, pushdown: bool, session: Session
    ) -> SessionPlans:
        """The plan cache of one view of the names, shared by sessions that see the same."""
        shared = snapshot is self.snapshot and not session.maybe_temporary
        key = (snapshot.epoch, search_path, pushdown)
        cache = self._caches.get(key) if shared else None
        if cache is None:
            namespaces = Namespaces(
                snapshot, parse_search_path(search_path), session.temporary_names
            )
            plan = self.settings.plan
            cache = SessionPlans(
                namespaces,
                pushdown=pushdown,
                entries_max=max(plan.cache_entries, 1),
                text_max=plan.cache_text_bytes_max if plan.cache_entries else -1,
                counts=self.cache_counts,
            )
            if shared:
                self._caches[key] = cache
                if len(self._caches) > NAMESPACE_CACHES_MAX:
                    self._caches.popitem(last=False)
        return cache

    @property
    def plans_cached(self) -> int:
        """Plans in the caches that sessions share."""
        return sum(cache.entries for cache in self._caches.values())

    def shown(self, raw: bytes, plan: Plan) -> bytes:
        """A RowDescription of a plan as the client should see it: with the oids of the shapes."""
        known = self._shown.get(raw)
        if known is not None and known[0] is plan.statements:
            return known[1]
        if len(self._shown) >= DESCRIPTIONS_MAX:
            self._shown.clear()
        patched = patch_table_oids(raw, self.oid_map(plan))
        self._shown[raw] = plan.statements, patched
        return patched

    def oid_map(self, plan: Plan) -> Mapping[int, int]:
        """View oid → oid of the shape in the schema that the client's names came from."""
        merged: dict[int, int] = {}
        for statement in plan.statements:
            for ref in statement.relations:
                number, public = ref.resolved.version.number, ref.resolved.schema == PUBLIC
                merged.update(self._oid_map(number, public))
        return merged

    def _oid_map(self, number: int, public: bool) -> dict[int, int]:
        known = self._oid_maps.get((number, public))
        if known is None:
            shapes = self._oids.get(PUBLIC if public else f"v{number}", {})
            known = {}
            for schema in (view_schema(number), whole_schema(number)):
                for name, oid in self._oids.get(schema, {}).items():
                    if name in shapes:
                        known[oid] = shapes[name]
            self._oid_maps[(number, public)] = known
        return known

    # ------------------------------------------------------------------ catalog changes

    def mark_stale(self, session: Session) -> None:
        """A rollback to a savepoint may have undone the session's DDL: read the catalog again."""
        session.start_script(self.scripts.reread(session))

    def transaction_ended(self, session: Session, *, committed: bool) -> None:
        """A transaction with DDL ended: publish its snapshot, or forget it."""
        snapshot, session.own_snapshot = session.own_snapshot, None
        session.pending_version = 0
        session.forget_plans()
        if committed and snapshot is not None and snapshot.epoch > self.snapshot.epoch:
            self.snapshot = snapshot
            self._caches.clear()
            self.instances.invalidate()
            self.spawn(self._reload_announced(), name="catalog-reload")

    async def ask_admin(self, query: str) -> Any:
        """One value of the committed catalog; CrashShutdown (57P02) without a connection."""
        async with self._admin_lock:
            if self.admin is None:
                raise CrashShutdown("the private PostgreSQL is not there")
            try:
                return await self.admin.fetchval(query)
            except ADMIN_FAULTS as error:
                if not says_gone(error):
                    raise
                raise CrashShutdown("the private PostgreSQL is not there") from error

    async def has_lost(self, admin: asyncpg.Connection | None) -> bool:
        """Whether what was `admin` before works no more. The driver knows of a fatal answer before
        it knows that the connection is closed.
        """
        if admin is None or admin is not self.admin:
            return True
        try:
            await self.ask_admin("SELECT 1")
        except (*ADMIN_FAULTS, CrashShutdown):
            return True
        return admin is not self.admin

    async def tell_admin(self, statement: str, *values: object) -> None:
        """Write to the catalog's own tables; not while there is no connection."""
        with contextlib.suppress(*ADMIN_FAULTS):
            async with self._admin_lock:
                if self.admin is not None:
                    await self.admin.execute(statement, *values)

    async def write_runtime(self) -> None:
        """Write sessions and statements where morph.sessions and morph.statements read them."""
        async with self._admin_lock:
            if self.admin is not None:
                await write_runtime(self.admin, self)
