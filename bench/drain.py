"""A client that costs next to nothing: it asks by the simple protocol and throws the answer away.

No message but the first and the last is looked at, so the client is never the bottleneck.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

CHUNK = 1 << 20
TIMEOUT_S = 120.0
_READY = b"Z\0\0\0\5I"
_TAIL = 64


@dataclass(frozen=True, slots=True)
class Drained:
    """Seconds to the first row and to the end, bytes received."""

    first_row_s: float
    total_s: float
    size: int


def ends(tail: bytes, tag: bytes) -> bool:
    """True when the stream ends with CommandComplete `tag` and ReadyForQuery."""
    return tail.endswith(b"C" + struct.pack(">i", len(tag) + 5) + tag + b"\0" + _READY)


def rows_begin(head: bytes) -> bool:
    """True when something follows the first message (the row description, or CopyOutResponse)."""
    if head[:1] == b"E":
        raise RuntimeError(head.decode("utf-8", "replace"))
    return len(head) >= 5 and len(head) > 1 + int.from_bytes(head[1:5])


class DrainClient:
    """A raw connection; `receive_buffer` limits the kernel's buffer for a slow client."""

    def __init__(self, host: str, port: int, *, receive_buffer: int = 0) -> None:
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect((host, port))
        body = struct.pack(">i", 196608) + b"user\0morph\0database\0morph\0\0"
        self._socket.sendall(struct.pack(">i", len(body) + 4) + body)
        self._buffer = bytearray(CHUNK)
        answer = b""
        while not answer.endswith(_READY):
            more = self._socket.recv(CHUNK)
            if not more:
                raise RuntimeError(answer.decode("utf-8", "replace"))
            answer += more

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def run(
        self, sql: str, tag: str, *, pace: Callable[[int], None] | None = None, chunk: int = CHUNK
    ) -> Drained:
        """Ask and drain until the command `tag` ends; `pace` is called with the size of a chunk."""
        view = memoryview(self._buffer)[:chunk]
        body = sql.encode() + b"\0"
        wanted = tag.encode()
        begun = time.perf_counter()
        self._socket.sendall(b"Q" + struct.pack(">i", len(body) + 4) + body)
        first = 0.0
        head, tail, size = b"", b"", 0
        while not ends(tail, wanted):
            got = self._socket.recv_into(view)
            if got == 0:
                raise RuntimeError("the server closed the connection")
            size += got
            if first == 0.0:
                head += bytes(view[:got])
                if rows_begin(head):
                    first = time.perf_counter() - begun
            tail = bytes(view[:got]) if got >= _TAIL else (tail + bytes(view[:got]))[-2 * _TAIL :]
            if got >= _TAIL:
                tail = tail[-_TAIL:]
            if pace is not None:
                pace(got)
        return Drained(first, time.perf_counter() - begun, size)
