"""The composition root of a serving process: private PostgreSQL, worker, listening socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import ssl
from collections.abc import Callable
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
from private_pg.supervisor import Supervisor
from proxy.auth.directory import DEFAULT_ROLE
from proxy.client import ClientConnection
from proxy.sample_data import load_sample
from proxy.worker import Worker

LOG = Log("proxy")
IDLE_CHECK_S = 1.0


async def start_private_pg(settings: Settings) -> Supervisor:
    """Prepare the data directory and start the private PostgreSQL in it."""
    private = settings.private_pg
    limits = ClusterLimits(
        backends_max=private.max_backends,
        shared_buffers=private.shared_buffers,
        work_mem=private.work_mem,
        temp_file_limit=private.temp_file_limit,
        durable=private.durable,
    )
    cluster = prepare_cluster(
        settings.data.directory,
        find_binaries(private.binaries),
        choose_identity(private.run_as),
        limits,
    )
    supervisor = Supervisor(cluster, start_timeout_s=private.start_timeout)
    try:
        await supervisor.start()
    except BaseException:
        cluster.release()
        raise
    return supervisor


async def prepare_database(cluster: Cluster, settings: Settings) -> None:
    """Make the database and its fixed objects, and a role for every user."""
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
    finally:
        await connection.close()


def listening_socket(settings: Settings) -> socket.socket:
    """The listening TCP socket; ConfigError when the port is taken."""
    server = settings.server
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    # The proto must be named: asyncio sets TCP_NODELAY only then (PERFORMANCE, section 1).
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if server.workers > 1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.bind((server.host, server.port))
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
        self._idle_watch: asyncio.Task[None] | None = None

    async def start(self, sock: socket.socket) -> None:
        """Accept clients."""
        await self.worker.open()
        self.worker.tls_context = tls_context(self.settings)
        self.worker.certificate_der = certificate_der(self.settings.tls.cert)
        gc.collect()
        gc.freeze()
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: ClientConnection(self.worker), sock=sock, backlog=self.settings.server.backlog
        )
        if self.settings.server.idle_timeout:
            self._idle_watch = self.worker.spawn(self._watch_idle(), name="idle-watch")

    async def _watch_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_CHECK_S)
            self.worker.end_idle(self.settings.server.idle_timeout)

    async def stop(self) -> None:
        """Stop accepting, drain, end."""
        if self._listener is not None:
            self._listener.close()
        await self.worker.close(self.settings.server.shutdown_drain)
        if self._listener is not None:
            await self._listener.wait_closed()


async def serve(
    settings: Settings, announce: Callable[[Server, int], None], *, sample: str | None = None
) -> None:
    """Run one process until SIGINT or SIGTERM: the private PostgreSQL, one worker, the socket."""
    sock = listening_socket(settings)
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
        server = Server(settings, str(supervisor.cluster.socket_directory))
        supervisor.on_down = lambda: LOG.error("private_pg.died", restarts=supervisor.restarts)
        supervisor.on_up = lambda: LOG.info("private_pg.restarted")
        await server.start(sock)
        announce(server, sock.getsockname()[1])
        await stop.wait()
        with contextlib.suppress(asyncio.CancelledError):
            await server.stop()
    finally:
        await supervisor.stop()
