"""A connection to the private PostgreSQL as a session uses it: raw, sans framing cost for rows.

It owns the order of things: every message sent is matched by an Entry, and what the server answers
is given to the owner's `backend_pieces` piece by piece (see BackendWalker).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from core.errors import ConnectionFailure, MorphError
from proxy.protocol.framing import HEADER_BYTES, BackendWalker
from proxy.protocol.message_types import ServerType
from proxy.protocol.reports import decode_report
from proxy.protocol.server import decode_backend_key_data, decode_parameter_status
from proxy.protocol.startup import CancelRequest, StartupMessage

WHOLE_MESSAGE_BYTES_MAX = 64 << 20
WRITE_HIGH_BYTES = 1 << 20

Piece = tuple[int, bytes, int]


class BackendOwner(Protocol):
    """Who works with a backend just now."""

    def backend_pieces(self, pieces: list[Piece], *, still_open: bool) -> None:
        """The server's answer, in order."""

    def backend_whole(self, data: bytes) -> bool:
        """Bytes that begin with a message: False when they must come in pieces."""
        return False

    def backend_lost(self, error: MorphError | None) -> None:
        """The connection is gone."""

    def backend_writable(self, writable: bool) -> None:
        """The server takes no more (False) or takes more again (True)."""


class StartupRefused(MorphError, sqlstate="08004", severity="FATAL"):
    """The private PostgreSQL refused the session; `fields` are its own report."""


class BackendConnection(asyncio.Protocol):
    """One backend. States: starting (until the first ReadyForQuery), then owned or pooled."""

    __slots__ = (
        "_between", "_ready", "_socket_path", "_walker", "forms", "generation", "key", "on_lost",
        "owner", "parameters", "pid", "startup", "statement_timeout", "statements",
        "transport", "used",
    )  # fmt: skip

    def __init__(self, socket_path: str, startup: StartupMessage) -> None:
        self._socket_path = socket_path
        self.startup = startup
        self._walker = BackendWalker(WHOLE_MESSAGE_BYTES_MAX)
        self._between = True  # what comes next begins with a message
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.owner: BackendOwner | None = None
        self.parameters: dict[str, str] = {}
        self.pid = 0
        self.key = b""
        self.statements: set[str] = set()
        self.generation = 0
        self.used = False
        self.statement_timeout: float | None = None  # its default in seconds, once asked
        self.forms = False  # its defaults print values as stores' encoders do
        self.on_lost: Callable[[BackendConnection], None] = lambda _: None

    async def open(self, timeout_s: float) -> None:
        """Connect and log in; StartupRefused with the server's report, 08006 when unreachable."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                await loop.create_unix_connection(lambda: self, self._socket_path)
                await self._ready
        except (OSError, TimeoutError) as error:
            self.close()
            raise ConnectionFailure(
                "could not connect to the private PostgreSQL", detail=str(error)
            ) from error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is open."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        transport.write(self.startup.encode())

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes from the server."""
        owner = self.owner
        if self._between and owner is not None and owner.backend_whole(data):
            return
        try:
            pieces = self._walker.feed(data)
        except MorphError:
            self.close()
            return
        self._between = self._walker.between
        if self.owner is not None:
            self.owner.backend_pieces(pieces, still_open=self._walker.open)
        else:
            for kind, raw, _ in pieces:
                self._starting(kind, raw)

    def _starting(self, kind: int, raw: bytes) -> None:
        body = raw[HEADER_BYTES:]
        if kind == ServerType.PARAMETER_STATUS:
            name, value = decode_parameter_status(body)
            self.parameters[name] = value
        elif kind == ServerType.BACKEND_KEY_DATA:
            self.pid, self.key = decode_backend_key_data(body)
        elif kind == ServerType.ERROR_RESPONSE and not self._ready.done():
            fields = decode_report(body)
            self._ready.set_exception(StartupRefused(fields.get("M", ""), fields=fields))
        elif kind == ServerType.READY_FOR_QUERY and not self._ready.done():
            self._ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the server closed or died."""
        if not self._ready.done():
            self._ready.set_exception(
                ConnectionFailure("the private PostgreSQL closed the connection")
            )
            self._ready.exception()
        self.transport = None
        self.on_lost(self)
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.backend_lost(None)

    def pause_writing(self) -> None:
        """asyncio: too much is waiting for the server."""
        if self.owner is not None:
            self.owner.backend_writable(False)

    def resume_writing(self) -> None:
        """asyncio: the server caught up."""
        if self.owner is not None:
            self.owner.backend_writable(True)

    @property
    def alive(self) -> bool:
        """True while the connection is usable."""
        return self.transport is not None and not self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes; ignored when the connection is gone (backend_lost tells the owner)."""
        transport = self.transport
        if transport is not None:
            self.used = True
            transport.write(data)

    def close(self) -> None:
        """End the connection."""
        if self.transport is not None:
            self.transport.close()


class _CancelSender(asyncio.Protocol):
    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._packet)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def send_cancel(socket_path: str, pid: int, key: bytes, timeout_s: float) -> None:
    """Ask the private PostgreSQL to cancel what a backend does; returns when it has taken it."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, sender = await loop.create_unix_connection(
                lambda: _CancelSender(CancelRequest(pid, key).encode()), socket_path
            )
            await sender.done
    except (OSError, TimeoutError):
        return
