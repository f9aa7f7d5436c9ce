"""The cutting proxy does what a fault says, to the byte (it proves other tests of R0.5, R1.9)."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.integration.server_process import eventually
from tests.services.cutting_proxy import CuttingProxy, Fault

ANSWER = bytes(range(256)) * 1_200
REQUEST = b"give answer\n"
TIMEOUT_S = 10.0


class _Source(socketserver.StreamRequestHandler):
    """Answers each line with ANSWER."""

    def handle(self) -> None:
        try:
            for _ in self.rfile:
                self.wfile.write(ANSWER)
        except OSError:
            return  # the proxy has cut


class _SourceServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture(scope="module")
def source() -> Iterator[int]:
    """The port of a server of bytes."""
    with _SourceServer(("127.0.0.1", 0), _Source) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def proxy(source: int) -> Iterator[CuttingProxy]:
    """A proxy before that server."""
    with CuttingProxy("127.0.0.1", source) as proxy:
        yield proxy


def _connect(proxy: CuttingProxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), TIMEOUT_S)


def _read(connection: socket.socket, size: int) -> bytes:
    """What comes until `size` bytes are there, the stream ends, or nothing comes for a while."""
    pieces = b""
    while len(pieces) < size:
        try:
            piece = connection.recv(size - len(pieces))
        except TimeoutError:
            return pieces
        if not piece:
            return pieces
        pieces += piece
    return pieces


def _ask(proxy: CuttingProxy, request: bytes = REQUEST) -> bytes:
    with _connect(proxy) as connection:
        connection.sendall(request)
        return _read(connection, len(ANSWER))


def test_without_a_fault_all_passes(proxy: CuttingProxy) -> None:
    with _connect(proxy) as connection:
        for _ in range(3):
            connection.sendall(REQUEST)
            assert _read(connection, len(ANSWER)) == ANSWER
    assert (proxy.connections, proxy.fired, proxy.counted) == (1, 0, 0)


@pytest.mark.parametrize("after", [0, 1, 255, 65_536, 65_537, len(ANSWER) - 1])
def test_cut_to_the_byte_and_once(proxy: CuttingProxy, after: int) -> None:
    proxy.arm(Fault(after=after))
    assert _ask(proxy) == ANSWER[:after]
    assert (proxy.fired, proxy.counted) == (1, after)
    assert _ask(proxy) == ANSWER
    proxy.arm(Fault(after=after))
    assert _ask(proxy) == ANSWER[:after]


def test_cut_every_connection(proxy: CuttingProxy) -> None:
    proxy.arm(Fault(after=3, times=None))
    assert [_ask(proxy) for _ in range(4)] == [ANSWER[:3]] * 4
    assert proxy.fired == 4


def test_cut_behind_the_answer_still_gives_it(proxy: CuttingProxy) -> None:
    proxy.arm(Fault(after=len(ANSWER)))
    with _connect(proxy) as connection:
        connection.sendall(REQUEST)
        assert _read(connection, len(ANSWER) + 1) == ANSWER
    assert proxy.fired == 1


def test_reset_is_an_error_of_the_connection(proxy: CuttingProxy) -> None:
    proxy.arm(Fault("reset", after=0))
    with pytest.raises(ConnectionResetError):
        _ask(proxy)


def test_a_stalled_answer_waits_and_comes_whole(proxy: CuttingProxy) -> None:
    proxy.arm(Fault("stall", after=1_000))
    with _connect(proxy) as connection:
        connection.sendall(REQUEST)
        proxy.wait_fired()
        connection.settimeout(0.2)
        first = _read(connection, len(ANSWER))
        assert first == ANSWER[:1_000]
        assert _ask(proxy) == ANSWER  # others are not held up
        proxy.disarm()
        connection.settimeout(TIMEOUT_S)
        assert first + _read(connection, len(ANSWER) - 1_000) == ANSWER


def test_delay_holds_the_answer_back(proxy: CuttingProxy) -> None:
    proxy.arm(Fault(after=None, delay_s=0.05))
    started = time.monotonic()
    assert _ask(proxy) == ANSWER
    assert time.monotonic() - started >= 0.05
    assert (proxy.fired, proxy.counted) == (0, len(ANSWER))


def test_only_behind_the_nth_trigger(proxy: CuttingProxy) -> None:
    proxy.arm(Fault(after=10, trigger=b"this", nth=2))
    with _connect(proxy) as first, _connect(proxy) as second:
        for connection in (first, second):
            connection.sendall(REQUEST)
            assert _read(connection, len(ANSWER)) == ANSWER
        first.sendall(b"give this\n")
        assert _read(first, len(ANSWER)) == ANSWER
        assert proxy.counted == 0
        second.sendall(b"give this\n")
        assert _read(second, len(ANSWER)) == ANSWER[:10]
        first.sendall(REQUEST)
        assert _read(first, len(ANSWER)) == ANSWER


def test_a_trigger_in_pieces(proxy: CuttingProxy) -> None:
    proxy.arm(Fault(after=10, trigger=b"aXa", nth=2))
    with _connect(proxy) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = _send_in_pieces(connection, proxy, b"aX", b"aX", b"b\n")  # one occurrence
        assert _read(connection, len(ANSWER)) == ANSWER
        assert _send_in_pieces(connection, proxy, b"aX", b"a\n") > sent
        assert _read(connection, len(ANSWER)) == ANSWER[:10]


def _send_in_pieces(connection: socket.socket, proxy: CuttingProxy, *pieces: bytes) -> int:
    for piece in pieces:
        before = proxy.requested
        connection.sendall(piece)
        eventually(partial(_grew_by, proxy, before, len(piece)))
    return proxy.requested


def _grew_by(proxy: CuttingProxy, before: int, size: int) -> bool:
    return proxy.requested == before + size


def test_down_and_back_on_the_same_port(proxy: CuttingProxy) -> None:
    port = proxy.port
    with _connect(proxy) as connection:
        connection.sendall(REQUEST)
        assert _read(connection, len(ANSWER)) == ANSWER
        proxy.go_down()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionRefusedError):
        _connect(proxy)
    proxy.come_back()
    assert proxy.port == port
    assert _ask(proxy) == ANSWER


def test_a_server_that_is_not_there() -> None:
    with (
        CuttingProxy("127.0.0.1", 1) as proxy,
        _connect(proxy) as connection,
        pytest.raises(ConnectionResetError),
    ):
        connection.recv(1)


def test_a_fault_that_never_comes_is_told(proxy: CuttingProxy) -> None:
    proxy.arm(Fault(trigger=b"never"))
    assert _ask(proxy) == ANSWER
    with pytest.raises(AssertionError, match=re.escape("fired 0 times")):
        proxy.wait_fired(timeout_s=0.05)


@pytest.mark.parametrize("wrong", [{"after": -1}, {"nth": 0}, {"times": 0}, {"delay_s": -1.0}])
def test_faults_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        Fault(**wrong)
