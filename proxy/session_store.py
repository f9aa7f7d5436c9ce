"""A session as the embedded store's handle: COPY out and in on the session's own backend.

Both are part of the client's transaction. Bytes stream with backpressure: reading from the backend
pauses while the consumer is behind, and writing waits while the backend is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from proxy.protocol import requests
from proxy.protocol.framing import HEADER_BYTES, message
from proxy.protocol.message_types import ClientType, ServerType
from proxy.relay import BackendError, Sink

if TYPE_CHECKING:
    from proxy.scripts import Scripts
    from proxy.session import Session


CARRIER_FORMS = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}


class _CopyOut(Sink):
    """Takes COPY data as it comes; `chunks` wait for the consumer."""

    def __init__(self, session: Session, bytes_max: int, framed: bool) -> None:
        super().__init__()
        self._framed = framed  # with the headers of the messages
        self.chunks: deque[bytes] = deque()
        self.waiting = 0
        self.dropping = False
        self._left = 0
        self._bytes_max = bytes_max
        self._session = session
        self._wake: asyncio.Event = asyncio.Event()

    def add(self, kind: int, raw: bytes) -> None:
        if kind != ServerType.COPY_DATA:
            super().add(kind, raw)
            return
        chunk = raw if self._framed else self._payload(raw)
        if self.dropping:
            return
        self.chunks.append(chunk)
        self.waiting += len(chunk)
        if self.waiting > self._bytes_max:
            self.reading(False)
        self._wake.set()

    def _payload(self, raw: bytes) -> bytes:
        """The data without message headers; messages may be cut anywhere but in a header."""
        position = min(self._left, len(raw))
        self._left -= position
        parts = [raw[:position]]
        while position < len(raw):
            end = position + 1 + int.from_bytes(raw[position + 1 : position + HEADER_BYTES])
            parts.append(raw[position + HEADER_BYTES : end])
            self._left = max(end - len(raw), 0)
            position = end
        return b"".join(parts)

    def reading(self, on: bool) -> None:
        """Let the backend's answers come, or wait in the kernel."""
        backend = self._session.relay.backend
        transport = backend.transport if backend is not None else None
        if transport is None or transport.is_closing():
            return
        if on:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def finish(self) -> None:
        super().finish()
        self._wake.set()

    def fail(self, report: dict[str, str], *, answered: bool = False) -> None:
        super().fail(report, answered=answered)
        self._wake.set()

    async def next(self) -> bytes | None:
        """The next bytes, None at the end; raises BackendError."""
        while not self.chunks and not self.done.done():
            self._wake.clear()
            await self._wake.wait()
        if not self.chunks:
            self.done.result()
            return None
        chunk = b"".join(self.chunks)
        self.chunks.clear()
        self.waiting = 0
        self.reading(True)
        return chunk


class SessionStore:
    """See backends.embedded.backend.SessionHandle."""

    def __init__(self, scripts: Scripts, session: Session, bytes_max: int) -> None:
        self._scripts = scripts
        self._session = session
        self._bytes_max = bytes_max
        self.broken = False  # a cancelled COPY made the transaction fail

    async def fetch(self, sql: str) -> list[tuple[str | None, ...]]:
        """The rows of a query as text."""
        sink = await self._scripts.fetch(self._session, sql)
        codec = self._session.client.codec
        return [tuple(None if v is None else v.decode(codec) for v in row) for row in sink.rows()]

    async def copy_out(self, sql: str, *, framed: bool = False) -> AsyncGenerator[bytes, None]:
        """The bytes of a COPY TO STDOUT, or its messages; closing the iterator cancels it."""
        sink = _CopyOut(self._session, self._bytes_max, framed)
        self._scripts.queue(self._session, sql, (), sink)
        self._scripts.flush(self._session, sink)
        try:
            while (chunk := await sink.next()) is not None:
                yield chunk
        finally:
            if not sink.done.done():
                await self._abandon(sink)

    async def _abandon(self, sink: _CopyOut) -> None:
        sink.dropping = True
        sink.chunks.clear()
        sink.reading(True)
        await self._session.cancel()
        try:
            await sink.done
        except BackendError:
            self.broken = True

    @asynccontextmanager
    async def carrier_forms(self) -> AsyncIterator[bool]:
        """Inside, the session prints what the decoders expect (core/types.py, "text carrier"); true
        when its transaction is read-only. An error ends the transaction, and the settings with it.
        """
        names = ["transaction_read_only", *CARRIER_FORMS]
        listed = ", ".join(f"pg_catalog.current_setting('{name}')" for name in names)
        [(read_only, *now)] = await self.fetch(f"SELECT {listed}")
        before = dict(zip(CARRIER_FORMS, map(str, now), strict=True))
        changed = {n: CARRIER_FORMS[n] for n, value in before.items() if value != CARRIER_FORMS[n]}
        await self._set(changed)
        yield read_only == "on"
        await self._set({name: before[name] for name in changed})

    async def _set(self, values: Mapping[str, str]) -> None:
        if values:
            calls = ", ".join(
                f"pg_catalog.set_config('{name}', '{value}', true)"
                for name, value in values.items()
            )
            await self.fetch(f"SELECT {calls}")

    async def copy_in(self, sql: str, pieces: Iterable[bytes]) -> None:
        """COPY FROM STDIN with these bytes; raises BackendError."""
        await self.copy_frames(sql, (message(ClientType.COPY_DATA, piece) for piece in pieces))

    async def copy_frames(self, sql: str, frames: Iterable[bytes], *, cut: bool = False) -> None:
        """The same with messages. When they are cut anywhere all must go, after an error too, or
        the backend would take what follows for the rest of one.
        """
        session = self._session
        sink = Sink()
        self._scripts.queue(session, sql, (), sink, hide_copy=True)
        for frame in frames:
            session.send(frame)
            session.flush_backend()
            await session.writable()
            if sink.done.done() and (not cut or session.relay.backend is None):
                break
        session.send(requests.COPY_DONE)
        await self._scripts.complete(session, sink)
