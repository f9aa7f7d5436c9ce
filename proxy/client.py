"""A client's connection: start-up, TLS, authentication, then messages for its session."""

from __future__ import annotations

import asyncio
import codecs
import ssl
from typing import TYPE_CHECKING, cast

from core.errors import (
    AdminShutdown,
    CannotConnectNow,
    FeatureNotSupported,
    InvalidAuthorization,
    InvalidCatalogName,
    InvalidPassword,
    MorphError,
    ProtocolViolation,
    TooManyConnections,
)
from proxy.auth.channel_binding import tls_server_end_point
from proxy.auth.scram import ScramExchange
from proxy.backend import StartupRefused
from proxy.protocol.framing import Framer
from proxy.protocol.message_types import ClientType
from proxy.protocol.password import PASSWORD_BYTES_MAX, SaslInitialResponse, SaslResponse
from proxy.protocol.reports import encode_error, error_response
from proxy.protocol.server import (
    AUTHENTICATION_OK,
    authentication_sasl,
    authentication_sasl_continue,
    authentication_sasl_final,
    backend_key_data,
    parameter_status,
    ready_for_query,
)
from proxy.protocol.startup import (
    CancelRequest,
    GssRequest,
    SslRequest,
    StartupMessage,
    StartupPacket,
    StartupReader,
)
from proxy.session import Session

if TYPE_CHECKING:
    from proxy.worker import Worker

_ENCODINGS = {
    "UTF8": "utf-8", "SQL_ASCII": "latin-1", "LATIN1": "latin-1", "LATIN2": "iso8859-2",
    "LATIN9": "iso8859-15", "WIN1250": "cp1250", "WIN1251": "cp1251", "WIN1252": "cp1252",
    "KOI8R": "koi8-r", "EUC_JP": "euc_jp", "EUC_KR": "euc_kr", "GBK": "gbk", "BIG5": "big5",
    "SJIS": "shift_jis", "GB18030": "gb18030", "WIN1253": "cp1253", "WIN1254": "cp1254",
    "WIN1255": "cp1255", "WIN1256": "cp1256", "WIN1257": "cp1257", "WIN1258": "cp1258",
}  # fmt: skip


class ClientConnection(asyncio.Protocol):
    """asyncio protocol of one client; see the module's text."""

    __slots__ = (
        "_clock", "_closing", "_exchange", "_framer", "_last_heard", "_pauses", "_reader",
        "_received", "_sasl_begun", "_sent", "_task", "_timer", "_writable", "address", "codec",
        "connected_at", "session", "startup", "tls", "transport", "worker",
    )  # fmt: skip

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.transport: asyncio.Transport | None = None
        self.startup = StartupMessage(0, {})
        self.session: Session | None = None
        self.codec = "utf-8"
        self.address = ""
        self.tls = False
        self.connected_at = 0.0
        self._reader: StartupReader | None = StartupReader()
        self._framer = Framer(PASSWORD_BYTES_MAX)
        self._exchange: ScramExchange | None = None
        self._sasl_begun = False
        self._task: asyncio.Task[None] | None = None
        self._pauses: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_heard = 0.0
        self._closing = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._clock = worker.clock
        self._received = worker.metrics.received_bytes
        self._sent = worker.metrics.sent_bytes

    # ------------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected, or TLS is up."""
        transport = cast("asyncio.Transport", transport)
        self.transport = transport
        server = self.worker.settings.server
        transport.set_write_buffer_limits(
            high=server.write_buffer_high, low=server.write_buffer_low
        )
        if self.tls:
            return
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        self.connected_at = self.worker.clock()
        self.worker.connected(self)
        self._timer = asyncio.get_running_loop().call_later(
            server.authentication_timeout, self._authentication_late
        )

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes of the client."""
        if self._closing:
            return
        try:
            self._received.value += len(data)
            if self._reader is not None:
                self._start(data)
                return
            clock = self._clock
            now = self._last_heard = clock()
            session = self.session
            if session is not None and self._framer.whole and session.forward(data, now):
                return
            messages = self._framer.feed(data)
            if session is None or self._exchange is not None:
                self._authenticate(messages)
                return
            session.handle(messages)
            if self._framer.violation is not None:
                raise self._framer.violation
            if session.inbox_bytes > self.worker.settings.server.read_ahead_max_bytes:
                self.reading(False, "read-ahead")
        except MorphError as error:
            self.fatal(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the client is gone."""
        self._closing = True
        self._writable.set()
        self.transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self.worker.disconnected(self)

    def pause_writing(self) -> None:
        """asyncio: the client reads too slowly: stop the store."""
        self._writable.clear()
        backend = self.session.relay.backend if self.session else None
        if backend is not None and backend.transport is not None:
            backend.transport.pause_reading()

    def resume_writing(self) -> None:
        """asyncio: the client caught up."""
        self._writable.set()
        backend = self.session.relay.backend if self.session else None
        if backend is not None and backend.transport is not None:
            backend.transport.resume_reading()

    def reading(self, on: bool, reason: str) -> None:
        """Read from the client, or leave its bytes in the kernel while there is a reason."""
        if on and not self._pauses:
            return
        paused = bool(self._pauses)
        if on:
            self._pauses.discard(reason)
        else:
            self._pauses.add(reason)
        if self.transport is None or self._closing or paused == bool(self._pauses):
            return
        if paused:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    # ------------------------------------------------------------------ start-up

    def _start(self, data: bytes) -> None:
        reader = self._reader
        assert reader is not None
        packet = reader.feed(data)
        while packet is not None:
            self._packet(packet)
            if self._reader is None or self._closing:
                return
            packet = reader.feed(b"")

    def _packet(self, packet: StartupPacket) -> None:
        reader = self._reader
        assert reader is not None
        if isinstance(packet, SslRequest):
            reader.ssl_done = True
            reader.refuse_early_data()
            context = self.worker.tls_context
            if context is None or self.tls:
                self.write(b"N")
            else:
                self.write(b"S")
                self._task = self.worker.spawn(self._upgrade(context), name="tls")
        elif isinstance(packet, GssRequest):
            reader.gss_done = True
            self.write(b"N")
        elif isinstance(packet, CancelRequest):
            self._reader = None
            self.worker.spawn(self._cancel(packet), name="cancel")
        else:
            rest = reader.rest
            self._reader = None
            self._begin(packet)
            if rest:
                self.data_received(rest)

    async def _cancel(self, request: CancelRequest) -> None:
        await self.worker.cancel(request)
        self.close()  # only now: libpq takes the close for "the cancel is through"

    async def _upgrade(self, context: ssl.SSLContext) -> None:
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        self.tls = True
        try:
            transport = await loop.start_tls(
                self.transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self.worker.settings.server.authentication_timeout,
            )
        except (OSError, ssl.SSLError, ConnectionError):
            self.close()
            return
        if transport is None:
            self.close()
            return
        self.connection_made(transport)

    def _begin(self, startup: StartupMessage) -> None:
        self.startup = startup
        self.write(startup.negotiation())
        if self.worker.stopping:
            raise CannotConnectNow("the database system is shutting down")
        if self.worker.connections > self.worker.settings.server.max_connections:
            raise TooManyConnections("sorry, too many clients already")
        if self.worker.settings.tls.required and not self.tls:
            raise InvalidAuthorization(
                "the server accepts encrypted connections only",
                hint="Connect with sslmode=require or stronger.",
            )
        certificate = self._certificate_name()
        method = self.worker.auth.method(
            self.address, startup.user, tls=self.tls, certificate=certificate
        )
        if method == "scram":
            self._begin_scram(startup.user)
        else:
            self._accept()

    def _certificate_name(self) -> str | None:
        if not self.tls or self.transport is None:
            return None
        certificate = self.transport.get_extra_info("peercert") or {}
        for part in certificate.get("subject", ()):
            for name, value in part:
                if name == "commonName":
                    return str(value)
        return None

    def _begin_scram(self, user: str) -> None:
        auth = self.worker.auth
        self._exchange = ScramExchange(
            user,
            auth.verifier(user),
            nonce=auth.nonce(),
            mock_secret=auth.mock_secret,
            certificate_hash=self._binding_hash(),
        )
        self.write(authentication_sasl(self._exchange.mechanisms))

    def _binding_hash(self) -> bytes | None:
        der = self.worker.certificate_der
        return tls_server_end_point(der) if self.tls and der is not None else None

    def _authenticate(self, messages: list[tuple[int, bytes]]) -> None:
        for position, (kind, body) in enumerate(messages):
            exchange = self._exchange
            if exchange is None:
                if self.session is not None:
                    self.session.handle(messages[position:])
                    return
                raise ProtocolViolation(f"unexpected message type {kind} during start-up")
            if kind != ClientType.PASSWORD:
                raise ProtocolViolation(f"expected SASL response, got message type {kind}")
            self._scram_step(exchange, body)

    def _scram_step(self, exchange: ScramExchange, body: bytes) -> None:
        if not self._sasl_begun:
            self._sasl_begun = True
            first = SaslInitialResponse.decode(body)
            answer = exchange.start(first.mechanism, first.response)
        else:
            answer = exchange.respond(SaslResponse.decode(body).response)
        if not exchange.done:
            self.write(authentication_sasl_continue(answer))
            return
        self.write(authentication_sasl_final(answer))
        self._exchange = None
        self._accept()

    def _accept(self) -> None:
        startup = self.startup
        if not self.worker.auth.known_role(startup.user):
            raise InvalidPassword(f'role "{startup.user}" does not exist')
        if startup.database != self.worker.database:
            raise InvalidCatalogName(f'database "{startup.database}" does not exist')
        if startup.parameters.get("replication", "false") not in ("false", "off", "0", "no"):
            raise FeatureNotSupported("replication connections are not supported")
        self._framer.limit(self.worker.settings.server.max_message_bytes)
        self.session = self.worker.make_session(self)
        self.session.start_script(self._log_in(self.session))

    async def _log_in(self, session: Session) -> None:
        try:
            backend = await self.worker.attach(self.startup)
        except StartupRefused as error:
            refused = self.worker.metrics.connections_rejected
            refused.cell(error.fields.get("C", "XX000")).value += 1
            self.write(encode_error({**error.fields, "S": "FATAL", "V": "FATAL"}))
            self.close()
            return
        if self._timer is not None:
            self._timer.cancel()
        session.adopt(backend)
        self.set_encoding(backend.parameters.get("client_encoding", "UTF8"))
        key = self.worker.cancel_key(session, long=self.startup.agreed_minor >= 2)
        self._last_heard = self.worker.clock()
        self.write(
            AUTHENTICATION_OK
            + b"".join(parameter_status(n, v) for n, v in backend.parameters.items())
            + backend_key_data(*key)
            + ready_for_query("I")
        )

    def _authentication_late(self) -> None:
        self.close()

    # ------------------------------------------------------------------ out

    def set_encoding(self, name: str) -> None:
        """The client's encoding changed; unknown ones are read as single bytes."""
        codec = _ENCODINGS.get(name, "latin-1")
        self.codec = codecs.lookup(codec).name

    def write(self, data: bytes) -> None:
        """Send bytes; ignored when the client is gone."""
        transport = self.transport
        if transport is not None and data:
            self._sent.value += len(data)
            transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has taken most of what was written, or is gone."""
        await self._writable.wait()

    def fatal(self, error: MorphError) -> None:
        """Report an error as FATAL and close."""
        if self._closing:
            return
        metrics = self.worker.metrics
        rejected = self.session is None
        (metrics.connections_rejected if rejected else metrics.errors).cell(
            error.sqlstate
        ).value += 1
        error.fields = {**error.fields, "S": "FATAL", "V": "FATAL"}
        self.write(error_response(error, self.codec))
        self.close()

    def fatal_or_error(self, error: MorphError) -> None:
        """An error that no script turned into an answer: the session cannot go on safely."""
        self.fatal(error)

    def close(self) -> None:
        """End the connection after what was written."""
        self._closing = True
        if self.transport is not None:
            self.transport.close()

    def shut_down(self) -> None:
        """The server goes down."""
        self.fatal(AdminShutdown("terminating connection due to administrator command"))

    @property
    def closing(self) -> bool:
        """True when nothing more is read from the client."""
        return self._closing

    @property
    def idle_since(self) -> float:
        """When the client was last heard, on the worker's clock."""
        return self._last_heard
