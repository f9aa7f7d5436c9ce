"""The connection to a cluster, and the bridge from the driver's callbacks to asyncio.

cassandra-driver runs an event loop of its own (libev) in a thread. A request is sent from ours
(`execute_async` does not wait), its answer comes back by `call_soon_threadsafe`. Connecting and
preparing wait, so they run in a thread; prepared statements are kept, the oldest are given up.
Decision 0005 says why this and not acsylla or the driver's asyncio reactor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from cassandra import ConsistencyLevel, OperationTimedOut
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    Session,
)
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.query import (
    UNSET_VALUE,
    BatchStatement,
    BatchType,
    BoundStatement,
    PreparedStatement,
    SimpleStatement,
)

from backends.cassandra.faults import cannot_connect, to_error
from backends.cassandra.options import CassandraOptions
from backends.cassandra.outages import (
    GAP_SECONDS,
    REPEATS_MAX,
    NotSent,
    Outages,
    PromptReconnection,
)
from backends.cassandra.pages import Page, RawHandler, first_page
from backends.cassandra.retries import CarefulRetries
from backends.cassandra.shapes import Shape, pack, shape_of
from backends.cassandra.stream_end import PromptConnection
from core.errors import (
    ConnectionFailure,
    FeatureNotSupported,
    InvalidParameterValue,
    NumericValueOutOfRange,
    QueryCanceled,
)

logger = logging.getLogger(__name__)


def _raised_anyway(record: logging.LogRecord) -> bool:
    """Not what the driver also raises; a warning is enough without a stack trace."""
    record.exc_info = None
    return record.levelno < logging.ERROR


for _noisy in ("cluster", "connection", "pool"):
    logging.getLogger(f"cassandra.{_noisy}").addFilter(_raised_anyway)

PREPARED_MAX: Final = 1_000
"""Prepared statements kept for one instance."""
REQUESTS_MAX: Final = 256
"""Requests in flight at an instance; more wait here."""
REQUEST_SECONDS: Final = 60.0
"""The time for one request of a statement without deadline."""
HEARTBEAT_SECONDS: Final = 10
"""A connection on which nothing came for so long is asked for a sign of life, and given up when
there is none for as long again."""
PROTOCOL_MIN: Final = 4
UNSET: Final = UNSET_VALUE
"""A bind value that leaves its column as it is."""

Watcher = Callable[[str, str, str], None]
"""(keyspace, table, CREATED | UPDATED | DROPPED)"""


class Statement:
    """A prepared statement: the driver's, and the shapes of its markers."""

    __slots__ = ("columns", "prepared", "shapes", "text")

    def __init__(self, text: str, prepared: PreparedStatement) -> None:
        self.text = text
        self.prepared = prepared
        markers = prepared.column_metadata or ()
        self.shapes: tuple[Shape, ...] = tuple(shape_of(each.type) for each in markers)

    def bind(self, values: Sequence[Any], *, idempotent: bool) -> BoundStatement:
        """With plain values, None for null, UNSET to leave out; no round trip."""
        bound = BoundStatement(self.prepared)
        bound.values = [
            value if value is None or value is UNSET else packed(shape, value)
            for shape, value in zip(self.shapes, values, strict=True)
        ]
        bound.is_idempotent = idempotent
        return bound

    def bind_stored(
        self, values: Sequence[bytes | object | None], *, idempotent: bool
    ) -> BoundStatement:
        """With values that are stored bytes already."""
        bound = BoundStatement(self.prepared)
        bound.values = list(values)
        bound.is_idempotent = idempotent
        return bound


def packed(shape: Shape, value: Any) -> bytes:
    """The stored bytes of a plain value; 22003 or 22023 for one that the type does not hold."""
    try:
        return pack(shape, value)
    except (struct.error, OverflowError) as error:
        raise NumericValueOutOfRange(f"value out of range for type {shape.name}") from error
    except UnicodeEncodeError as error:
        raise InvalidParameterValue("an ascii of Cassandra holds ASCII only") from error


class Link:
    """One instance's connection; made when it is first used, made anew after it failed."""

    def __init__(self, instance: str, options: CassandraOptions) -> None:
        self.instance = instance
        self.options = options
        self.watch: Watcher | None = None
        self._session: Session | None = None
        self._outages = Outages()
        self._opening: asyncio.Task[Session] | None = None
        self._statements: OrderedDict[str, asyncio.Future[Statement]] = OrderedDict()
        self._places = asyncio.Semaphore(REQUESTS_MAX)
        self._arrived: deque[tuple[Any, ...]] = deque()
        self._woken = False
        self._closed = False

    # Connecting

    async def open(self, deadline: float | None) -> Session:
        """The session; 08001 when no node answers, 28000 when one refuses, 57014 when late."""
        if self._session is not None:
            return self._session
        if self._closed:
            raise self._gone()
        opening = self._opening
        if opening is None or (opening.done() and self._session is None):
            opening = self._opening = asyncio.create_task(self._connect())
            opening.add_done_callback(_seen)
        await asyncio.wait({opening}, timeout=self._remaining(deadline))
        if not opening.done():
            raise self._late()
        return opening.result()

    async def _connect(self) -> Session:
        cluster = self._cluster()
        try:
            session = await asyncio.to_thread(cluster.connect)
        except Exception as fault:
            hosts = cluster.metadata.all_hosts()
            found = {host.datacenter for host in hosts if host.datacenter}
            await asyncio.to_thread(cluster.shutdown)
            raise cannot_connect(fault, self.instance, self.options.local_dc, found) from fault
        if cluster.protocol_version < PROTOCOL_MIN or self._closed:
            await asyncio.to_thread(cluster.shutdown)
            if self._closed:
                raise self._gone()
            raise FeatureNotSupported("the Cassandra server is older than 3.0")
        session.client_protocol_handler = RawHandler
        self._session = session
        return session

    def _cluster(self) -> Cluster:
        options = self.options
        local = DCAwareRoundRobinPolicy(local_dc=options.local_dc)
        profile = ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(local),
            retry_policy=CarefulRetries(),
            consistency_level=ConsistencyLevel.name_to_value[options.consistency],
            serial_consistency_level=ConsistencyLevel.name_to_value[options.serial_consistency],
            request_timeout=REQUEST_SECONDS,
            row_factory=first_page,
        )
        login = PlainTextAuthProvider(options.user, options.password) if options.user else None
        cluster = Cluster(
            contact_points=list(options.hosts),
            port=options.port,
            auth_provider=login,
            ssl_context=_tls(options),
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            connect_timeout=options.connect_timeout,
            control_connection_timeout=options.connect_timeout,
            reconnection_policy=PromptReconnection(),
            # A broken connection leaves the node what it has prepared; another node is asked when
            # it turns out not to have it.
            reprepare_on_up=False,
            idle_heartbeat_interval=HEARTBEAT_SECONDS,
            idle_heartbeat_timeout=HEARTBEAT_SECONDS,
            compression=False,
        )
        cluster.register_listener(self._outages)
        cluster.connection_class = PromptConnection
        # Tried first; unlike one given to the constructor it may be lowered for an older server.
        cluster.protocol_version = 5
        self._listen(cluster)
        return cluster

    def _listen(self, cluster: Cluster) -> None:
        """Tells `watch` of schema changes; the driver re-registers when it reconnects."""
        control = cluster.control_connection
        handle = control._handle_schema_change
        loop = asyncio.get_running_loop()

        def changed(event: dict[str, Any]) -> None:
            names = (event.get("keyspace", ""), event.get("table", ""), event["change_type"])
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._tell, *names)
            handle(event)

        control._handle_schema_change = changed

    def _tell(self, keyspace: str, table: str, change: str) -> None:
        if self.watch is not None:
            self.watch(keyspace, table, change)

    async def close(self) -> None:
        """Gives up the connections; requests in flight fail. Who does not wait for the end leaves
        nothing behind either: a connection that is being made is given up when it is there.
        """
        self._closed = True
        opening, session = self._opening, self._session
        self._opening = self._session = None
        self._statements.clear()
        if session is not None:
            await asyncio.to_thread(session.cluster.shutdown)
        elif opening is not None:
            await asyncio.wait({opening})

    # Requests

    async def prepare(self, text: str, deadline: float | None) -> Statement:
        """The prepared statement of a text; errors of the text are those of its execution."""
        found = self._statements.get(text)
        if found is not None and not (found.done() and (found.cancelled() or found.exception())):
            self._statements.move_to_end(text)
        else:
            session = await self.open(deadline)
            found = asyncio.ensure_future(self._prepare(session, text))
            found.add_done_callback(_seen)
            self._statements[text] = found
            if len(self._statements) > PREPARED_MAX:
                self._statements.popitem(last=False)
        if not found.done():
            await asyncio.wait({found}, timeout=self._remaining(deadline))
            if not found.done():
                raise self._late()
        return found.result()

    async def _prepare(self, session: Session, text: str, repeats: int = REPEATS_MAX) -> Statement:
        try:
            return Statement(text, await asyncio.to_thread(session.prepare, text))
        except Exception as fault:
            if not repeats or not await self._outages.passed(session, fault, GAP_SECONDS):
                raise to_error(fault, self.instance) from fault
        return await self._prepare(session, text, repeats - 1)

    async def run(
        self,
        bound: BoundStatement | BatchStatement | SimpleStatement,
        deadline: float | None,
        *,
        state: bytes | None = None,
        writes: bool = False,
        host: Any = None,
    ) -> Page | None:
        """One page of its answer (None for an answer without rows), or the SQL error; of the node
        `host`, if it is named.

        After a break it is sent again, by another connection, if it never left; so is what is
        idempotent, but not a later page: a scan that gave rows is not taken up by itself.
        """
        first: BaseException | None = None
        for repeats in range(REPEATS_MAX, -1, -1):
            session = self._session or await self.open(deadline)
            try:
                return await self._ask(session, bound, deadline, state, host)
            except Exception as fault:  # noqa: BLE001 - the driver's fault is the request's
                sent = not isinstance(fault, NotSent)
                if writes and sent:
                    # Whatever becomes of a second try, the first one may have been done.
                    first = first or fault
                again = repeats > 0 and state is None and (bound.is_idempotent or not sent)
                left = self._left(deadline) if again else 0.0
                if not await self._outages.passed(session, fault, left):
                    said = first or fault
                    raise to_error(said, self.instance, writes=writes) from said
        raise AssertionError

    async def _ask(
        self,
        session: Session,
        bound: Any,
        deadline: float | None,
        state: bytes | None,
        host: Any,
    ) -> Page | None:
        timeout = self._remaining(deadline)
        async with self._places:
            answer = self._send(session, bound, state, host)
            # A timer of the driver would wake its thread once more for every request.
            timer = answer.get_loop().call_later(
                timeout, _set_exception, answer, OperationTimedOut()
            )
            try:
                return await answer
            finally:
                timer.cancel()

    def _send(
        self, session: Session, bound: Any, state: bytes | None, host: Any
    ) -> asyncio.Future[Page | None]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Page | None] = loop.create_future()

        def done(page: Page | None) -> None:
            self._deliver(loop, (_set_result, answer, page))

        def failed(fault: BaseException) -> None:
            if isinstance(fault, NoHostAvailable) and not request.attempted_hosts:
                fault = NotSent(str(fault), fault.errors)
            self._deliver(loop, (_set_exception, answer, fault))

        try:
            request = session.execute_async(bound, timeout=None, paging_state=state, host=host)
        except Exception as fault:  # noqa: BLE001 - the driver's fault is the request's
            answer.set_exception(fault)
            return answer
        request.add_callbacks(done, failed)
        return answer

    def _deliver(self, loop: asyncio.AbstractEventLoop, item: tuple[Any, ...]) -> None:
        """Runs in the driver's thread: hands an answer over, and wakes our loop once for many."""
        self._arrived.append(item)
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._take_arrived)

    def _take_arrived(self) -> None:
        # Before the queue is emptied: what comes while it is wakes us again.
        self._woken = False
        while self._arrived:
            set_it, answer, value = self._arrived.popleft()
            set_it(answer, value)

    async def query(self, text: str, values: Sequence[Any], deadline: float | None) -> list[Any]:
        """All rows of a small read, as tuples of raw values."""
        statement = await self.prepare(text, deadline)
        bound = statement.bind(values, idempotent=True)
        return [row for page in await self.pages(bound, deadline) for row in page.rows()]

    async def pages(self, bound: BoundStatement, deadline: float | None) -> list[Page]:
        """All pages of a small read."""
        pages: list[Page] = []
        state: bytes | None = None
        while not pages or state is not None:
            page = await self.run(bound, deadline, state=state)
            assert page is not None, bound
            pages.append(page)
            state = page.state
        return pages

    async def execute(self, text: str, deadline: float | None) -> None:
        """A statement without values or rows, of DDL that may be done twice."""
        statement = SimpleStatement(text, is_idempotent=True)
        await self.run(statement, deadline)

    def batch(self, statements: Sequence[BoundStatement], *, idempotent: bool) -> BatchStatement:
        """An unlogged batch: of one partition it is one mutation, all or nothing."""
        batch = BatchStatement(BatchType.UNLOGGED)
        for each in statements:
            batch.add(each)
        batch.is_idempotent = idempotent
        return batch

    def _remaining(self, deadline: float | None) -> float:
        left = self._left(deadline)
        if left <= 0:
            raise self._late()
        return left

    def _left(self, deadline: float | None) -> float:
        if deadline is None:
            return REQUEST_SECONDS
        return deadline - asyncio.get_running_loop().time()

    def _gone(self) -> ConnectionFailure:
        return ConnectionFailure(f'Cassandra instance "{self.instance}" is closed')

    def _late(self) -> QueryCanceled:
        return QueryCanceled(f'Cassandra instance "{self.instance}": no answer within the deadline')


def _seen(work: asyncio.Future[Any]) -> None:
    """Who asked for it may not wait any more: then nobody looks at the fault."""
    if not work.cancelled():
        work.exception()


def _set_result(answer: asyncio.Future[Any], page: Any) -> None:
    if not answer.done():
        answer.set_result(page)


def _set_exception(answer: asyncio.Future[Any], fault: BaseException) -> None:
    if not answer.done():
        answer.set_exception(fault)


def _tls(options: CassandraOptions) -> ssl.SSLContext | None:
    """`require` encrypts, `verify-full` checks the certificate and the host's name as well."""
    if options.tls == "disable":
        return None
    context = ssl.create_default_context(cafile=options.tls_ca or None)
    if options.tls == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.tls_certificate:
        context.load_cert_chain(options.tls_certificate, options.tls_key or None)
    return context
