"""A TCP proxy in front of a real server that can cut, reset, stall or delay the server's answers.

For tests that an answer is whole or an error, never short (R0.5), and of failover (R1.9). It runs
in a thread with an event loop of its own, so that a blocking test, an asyncio test and another
process can use it alike. It knows no protocol: a fault is given by counting the bytes of the
answer, from the moment when the client has sent certain bytes (seen without TLS and compression).

    with CuttingProxy(server.host, server.port) as proxy:
        proxy.arm(Fault(after=5_000, trigger=b"getMore"))
        ...  # connect to proxy.host and proxy.port
        assert proxy.fired == 1
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self, TypeVar

from tests.services.servers.process import free_port

PIECE_BYTES = 1 << 16
CONNECT_TIMEOUT_S = 10.0
CONTROL_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
POLL_S = 0.005
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """What shall happen to an answer, and when.

    cut: both ends see the end of the stream. reset: the client sees ECONNRESET. stall: no more
    bytes of the answer pass, the connection stays open; `disarm` lets the rest through.
    """

    action: Literal["cut", "reset", "stall"] = "cut"
    after: int | None = 0
    """Bytes of the answer that pass before; 0: the server has answered, the client gets nothing;
    None: never, only count. An answer that is shorter makes the next one's bytes count too."""
    trigger: bytes = b""
    """Count on connections whose client has sent these bytes since; empty: on all, at once."""
    nth: int = 1
    """Begin with this occurrence of the trigger (1 = the first), over all connections."""
    times: int | None = 1
    """How many connections it may hit; None: all."""
    delay_s: float = 0.0
    """Wait so long before each piece of an answer that counts."""

    def __post_init__(self) -> None:
        from_zero = 0 if self.after is None else self.after, self.delay_s
        from_one = 1 if self.times is None else self.times, self.nth
        if min(from_zero) < 0 or min(from_one) < 1:
            raise ValueError(f"no such fault: {self}")


@dataclass(eq=False)
class _Link:
    """One client's connection and ours to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    armed: int = 0
    counting: bool = False
    counted: int = 0
    tail: bytes = b""
    resume: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class CuttingProxy:
    """Forwards `port` of `host` to `target_port` of `target_host`, and does what a Fault says."""

    target_host: str
    target_port: int
    host: str = "127.0.0.1"
    port: int = 0
    fired: int = 0
    """How many connections the fault has hit since `arm`."""
    counted: int = 0
    """Bytes of answers that passed since `arm` on connections that count."""
    connections: int = 0
    """Connections that clients have made."""
    requested: int = 0
    """Bytes that clients have sent and that have passed."""
    _fault: Fault | None = None
    _armed: int = 0
    _seen: int = 0
    _links: set[_Link] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None
    _server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, name="cutting proxy")
        self._thread.start()
        try:
            self.come_back()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.go_down()
        finally:
            self._end()

    def arm(self, fault: Fault) -> None:
        """From now on `fault` is in force, instead of any other; the counters begin at zero."""

        async def change() -> None:
            self._release()
            self._fault = fault
            self._armed += 1
            self.fired = self.counted = self._seen = 0

        self._in_loop(change)

    def disarm(self) -> None:
        """No fault from now on; what was stalled passes."""

        async def change() -> None:
            self._fault = None
            self._release()

        self._in_loop(change)

    def go_down(self) -> None:
        """As if the server had died: all connections are reset, new ones are refused."""

        async def down() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            for link in list(self._links):
                _reset(link.client)
                link.server.transport.abort()
                link.resume.set()
            while self._links:
                await asyncio.sleep(POLL_S)

        self._in_loop(down)

    def come_back(self) -> None:
        """Accept connections, after `go_down` on the same port again."""

        async def up() -> None:
            # not a port of outgoing connections: one of those could hold it while we are down
            self.port = self.port or free_port()
            self._server = await asyncio.start_server(self._serve, self.host, self.port)

        self._in_loop(up)

    def wait_fired(self, times: int = 1, timeout_s: float = 10.0) -> None:
        """Return when the fault has hit `times` connections; AssertionError when it does not."""
        deadline = time.monotonic() + timeout_s
        while self.fired < times:
            assert time.monotonic() < deadline, f"fired {self.fired} times: {self._fault}"
            time.sleep(POLL_S)

    def _in_loop(self, job: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await asyncio.wait_for(job(), CONTROL_TIMEOUT_S)

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(2 * CONTROL_TIMEOUT_S)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join(CONTROL_TIMEOUT_S)
        self._loop.close()

    def _release(self) -> None:
        for link in self._links:
            link.resume.set()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """One connection, until either end closes it."""
        self.connections += 1
        try:
            answers, server = await asyncio.wait_for(
                asyncio.open_connection(self.target_host, self.target_port), CONNECT_TIMEOUT_S
            )
        except OSError:
            _reset(client)
            return
        link = _Link(client, server)
        self._links.add(link)
        pumps = [
            asyncio.ensure_future(self._pass_requests(link, reader)),
            asyncio.ensure_future(self._pass_answers(link, answers)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for writer in (client, server):
            await _close(writer)
        self._links.discard(link)

    async def _pass_requests(self, link: _Link, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(PIECE_BYTES):
                self._look_for_trigger(link, data)
                link.server.write(data)
                await link.server.drain()
                self.requested += len(data)

    async def _pass_answers(self, link: _Link, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(PIECE_BYTES):
                fault = self._fault_of(link)
                if fault is None:
                    await _pass(link, data)
                elif not await self._pass_some(link, fault, data):
                    return

    async def _pass_some(self, link: _Link, fault: Fault, data: bytes) -> bool:
        """Pass an answer's piece that counts; False when the connection was cut."""
        await asyncio.sleep(fault.delay_s)
        if self._fault is not fault:
            await _pass(link, data)
            return True
        free = len(data) if fault.after is None else max(fault.after - link.counted, 0)
        link.counted += len(data[:free])
        self.counted += len(data[:free])
        await _pass(link, data[:free])
        if fault.after is None or link.counted < fault.after or self._spent(fault):
            await _pass(link, data[free:])
            return True
        self.fired += 1
        if fault.action == "stall":
            link.resume.clear()
            await link.resume.wait()
            await _pass(link, data[free:])
            return True
        if fault.action == "reset":
            _reset(link.client)
        return False

    def _spent(self, fault: Fault) -> bool:
        return fault.times is not None and self.fired >= fault.times

    def _fault_of(self, link: _Link) -> Fault | None:
        """The fault, if it is in force on this connection."""
        fault = self._fault
        if fault is None or self._spent(fault):
            return None
        self._renew(link, fault)
        return fault if link.counting else None

    def _renew(self, link: _Link, fault: Fault) -> None:
        if link.armed != self._armed:
            link.armed, link.counting, link.counted = self._armed, not fault.trigger, 0
            link.tail = b""

    def _look_for_trigger(self, link: _Link, data: bytes) -> None:
        fault = self._fault
        if fault is None or not fault.trigger:
            return
        self._renew(link, fault)
        text = link.tail + data
        self._seen += text.count(fault.trigger)
        if fault.trigger in text and self._seen >= fault.nth:
            link.counting = True
        # an occurrence in two pieces counts, one in the tail does not count twice
        keep = len(fault.trigger) - 1
        link.tail = text[max(len(text) - keep, 0) :] if keep else b""


async def _pass(link: _Link, data: bytes) -> None:
    if data:
        link.client.write(data)
        await link.client.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close when all is written, but do not wait long for a client that does not read."""
    writer.close()
    with contextlib.suppress(OSError):
        try:
            await asyncio.wait_for(writer.wait_closed(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other end gets a reset; what is still buffered is lost."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
