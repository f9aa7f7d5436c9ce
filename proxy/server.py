"""The composition root of a serving process: private PostgreSQL, worker, listening socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import asyncpg

from catalog.store import bootstrap, ensure_role
from config.settings import Settings
from core.errors import ConfigError, MorphError
from core.telemetry.log import Log
from evolution.seeds.library import library_sql
from private_pg.binaries import find_binaries
from private_pg.cluster import DATABASE, SUPERUSER, Cluster, ClusterLimits, prepare_cluster
from private_pg.identity import choose_identity
from private_pg.session_defaults import session_default_statements
from private_pg.supervisor import Supervisor, SupervisorTimes
from proxy.auth.directory import DEFAULT_ROLE
from proxy.client import ClientConnection
from proxy.configured_instances import register_instances
from proxy.deadlines import Deadlines
from proxy.metrics_endpoint import MetricsEndpoint
from proxy.sample_data import load_sample
from proxy.worker import Worker
from proxy.workers import READY_LINE, WorkerProcesses

LOG = Log("proxy")
STOP_MARGIN_S = 5.0
PREPARE_TRIES = 20
PREPARE_PAUSE_S = 0.5
_BROKE_OFF = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # 57P01 to 57P03: it ends, or it starts
)


async def start_private_pg(settings: Settings) -> Supervisor:
    """Prepare the data directory and start the private PostgreSQL in it."""
    private = settings.private_pg
    limits = ClusterLimits(
        backends_max=private.max_backends,
        shared_buffers=private.shared_buffers,
        work_mem=private.work_mem,
        temp_file_limit=private.temp_file_limit,
        durable=private.durable,
        ddl_mode=settings.evolution.ddl_mode,
        store_writes=settings.stores.store_writes,
        multi_store_commit=settings.stores.multi_store_commit,
    )
    cluster = prepare_cluster(
        settings.data.directory,
        find_binaries(private.binaries),
        choose_identity(private.run_as),
        limits,
    )
    times = SupervisorTimes(
        start_s=private.start_timeout,
        stop_s=private.stop_timeout,
        backoff_first_s=private.restart_backoff_min,
        backoff_max_s=private.restart_backoff_max,
    )
    supervisor = Supervisor(cluster, times)
    try:
        await supervisor.start()
    except BaseException:
        cluster.release()
        raise
    return supervisor


async def prepare_database(cluster: Cluster, settings: Settings) -> None:
    """Make the database and its fixed objects, and a role for every user. Tried again when the
    private PostgreSQL dies meanwhile: its supervisor starts it again, and all of this may be there.
    """
    for left in reversed(range(PREPARE_TRIES)):
        try:
            await _prepare(cluster, settings)
            return
        except _BROKE_OFF as error:
            if not left:
                raise
            LOG.warning("private_pg.broke_off", error=str(error) or type(error).__name__)
            await asyncio.sleep(PREPARE_PAUSE_S)


async def _prepare(cluster: Cluster, settings: Settings) -> None:
    host = str(cluster.socket_directory)
    admin = await asyncpg.connect(host=host, user=SUPERUSER, database="postgres", timeout=30)
    try:
        if not await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    finally:
        await admin.close()
    connection = await asyncpg.connect(host=host, user=SUPERUSER, database=DATABASE, timeout=30)
    try:
        await bootstrap(connection, library_sql())
        await ensure_role(connection, DEFAULT_ROLE)
        for user in settings.auth.users:
            await ensure_role(connection, user.name)
        await register_instances(connection, settings.instances)
        server = settings.server
        timeouts = {
            "statement_timeout": server.statement_timeout,
            "lock_timeout": server.lock_timeout,
            "idle_in_transaction_session_timeout": server.idle_in_transaction_timeout,
        }
        for statement in session_default_statements(DATABASE, SUPERUSER, timeouts):
            await connection.execute(statement)
    finally:
        await connection.close()


def _require_free(host: str, port: int, family: socket.AddressFamily) -> None:
    """SO_REUSEPORT would share the port with another Morphgres of the same user."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def listening_socket(settings: Settings, *, accept: bool = True) -> socket.socket:
    """The TCP socket, listening if it is to accept; ConfigError when the port is taken."""
    server = settings.server
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    # The proto must be named: asyncio sets TCP_NODELAY only then (PERFORMANCE, section 1).
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if server.workers > 1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if server.workers > 1 and accept is False:
            _require_free(server.host, server.port, family)
        sock.bind((server.host, server.port))
        if accept:
            sock.listen(server.backlog)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {server.port} on {server.host} is in use",
                hint="Stop the other program, or choose another port: --port, PORT=… make run.",
            ) from None
        raise ConfigError(
            f"could not listen on {server.host}:{server.port}: {error.strerror}"
        ) from None
    sock.setblocking(False)
    return sock


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context of the settings, None without a certificate."""
    tls = settings.tls
    if tls.cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    context.load_cert_chain(tls.cert, tls.key)
    if tls.client_ca is not None:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def certificate_der(path: Path | None) -> bytes | None:
    """The server's own certificate as DER, for channel binding."""
    if path is None:
        return None
    pem = path.read_text()
    end = "-----END CERTIFICATE-----"
    start = pem.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(pem[start : pem.index(end, start) + len(end)])


class Server:
    """A worker with its socket."""

    def __init__(self, settings: Settings, socket_directory: str, number: int = 0) -> None:
        self.settings = settings
        self.worker = Worker(settings, socket_directory=socket_directory, number=number)
        self._listener: asyncio.Server | None = None
        self._metrics = MetricsEndpoint(self.worker, settings.metrics.address)

    async def start(self, sock: socket.socket) -> None:
        """Accept clients."""
        await self.worker.open()
        self.worker.tls_context = tls_context(self.settings)
        self.worker.certificate_der = certificate_der(self.settings.tls.cert)
        await self._metrics.start()
        gc.collect()
        gc.freeze()
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: ClientConnection(self.worker), sock=sock, backlog=self.settings.server.backlog
        )
        deadlines = Deadlines(
            self.worker,
            idle_s=self.settings.server.idle_timeout,
            statement_s=self.settings.private_pg.statement_timeout_max,
        )
        self.worker.spawn(deadlines.watch(), name="deadlines")
        self.worker.spawn(self.worker.instances.watch(), name="instances")
        self.worker.spawn(self.worker.changes.controller.run(), name="changes")

    async def stop(self) -> None:
        """Stop accepting, drain, end."""
        if self._listener is not None:
            self._listener.close()
        await self.worker.close(self.settings.server.shutdown_drain)
        self._metrics.stop()
        if self._listener is not None:
            await self._listener.wait_closed()


async def _serve_with_workers(
    settings: Settings,
    supervisor: Supervisor,
    sock: socket.socket,
    announce: Callable[[str, int], None],
    stop: asyncio.Event,
) -> None:
    """The parent: it holds the port without accepting, and keeps PostgreSQL and workers alive."""
    port = sock.getsockname()[1]
    directory = str(supervisor.cluster.socket_directory)
    workers = WorkerProcesses(
        settings.server.workers, port, directory, settings.server.worker_start_timeout
    )
    try:
        await workers.start()
        announce(settings.server.host, port)
        await stop.wait()
    finally:
        await workers.stop(settings.server.shutdown_drain + STOP_MARGIN_S)
        sock.close()


async def serve_as_worker(settings: Settings, number: int, port: int, directory: str) -> None:
    """One worker of a parent process, until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the terminal's ^C goes to the parent
    shared = replace(settings, server=replace(settings.server, port=port))
    server = Server(shared, directory, number)
    await server.start(listening_socket(shared))
    sys.stdout.write(f"{READY_LINE}\n")
    sys.stdout.flush()
    await stop.wait()
    await server.stop()


async def serve(
    settings: Settings, announce: Callable[[str, int], None], *, sample: str | None = None
) -> None:
    """Run one process until SIGINT or SIGTERM: the private PostgreSQL, one worker, the socket."""
    sock = listening_socket(settings, accept=settings.server.workers == 1)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    try:
        supervisor = await start_private_pg(settings)
    except MorphError:
        sock.close()
        raise
    try:
        await prepare_database(supervisor.cluster, settings)
        if sample is not None:
            await load_sample(sample, str(supervisor.cluster.socket_directory))
        if settings.server.workers > 1:
            await _serve_with_workers(settings, supervisor, sock, announce, stop)
            return
        server = Server(settings, str(supervisor.cluster.socket_directory))
        supervisor.on_down = lambda: LOG.error("private_pg.died", restarts=supervisor.restarts)
        supervisor.on_up = lambda: LOG.info("private_pg.restarted")
        await server.start(sock)
        announce(settings.server.host, sock.getsockname()[1])
        await stop.wait()
        with contextlib.suppress(asyncio.CancelledError):
            await server.stop()
    finally:
        await supervisor.stop()
