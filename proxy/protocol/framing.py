"""Where messages begin and end: `Framer` for clients, `BackendWalker` for a PostgreSQL server.

Both are sans-IO and for the part of the stream after the startup packet. A message is a type byte,
a big-endian length that counts itself but not the type, and a body (manual, section 54.1.1).

Invariants: any split of a stream gives the same messages; nothing is allocated for an announced
length before the bytes are there; what is held back is at most one message, and for the streamed
types of the walker at most four bytes of a header.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from core.errors import ConnectionFailure, OutOfMemory, ProtocolViolation
from proxy.protocol.message_types import CLIENT_TYPES, SERVER_TYPES, ClientType, ServerType

HEADER_BYTES: Final = 5
# PostgreSQL's PQ_SMALL_MESSAGE_LIMIT: messages that carry a name at most (libpq.h).
SMALL_MESSAGE_BYTES_MAX: Final = 10_000
SMALL_CLIENT_TYPES: Final = frozenset(
    {
        ClientType.CLOSE,
        ClientType.COPY_DONE,
        ClientType.COPY_FAIL,
        ClientType.DESCRIBE,
        ClientType.EXECUTE,
        ClientType.FLUSH,
        ClientType.SYNC,
        ClientType.TERMINATE,
    }
)
STREAMED_SERVER_TYPES: Final = frozenset({ServerType.DATA_ROW, ServerType.COPY_DATA})
WHOLE_SERVER_TYPES: Final = SERVER_TYPES - STREAMED_SERVER_TYPES

# A name of the module is found sooner than one of a class: these are looked at in every answer.
_BIND_COMPLETE: Final = ServerType.BIND_COMPLETE
_COMMAND_COMPLETE: Final = ServerType.COMMAND_COMPLETE
_DATA_ROW: Final = ServerType.DATA_ROW
_NO_DATA: Final = ServerType.NO_DATA
_ROW_DESCRIPTION: Final = ServerType.ROW_DESCRIPTION
_READY = b"Z\0\0\0\5"
_header = Struct(">BI")
read_header = _header.unpack_from
_write_header = _header.pack


def message(kind: int, body: bytes = b"") -> bytes:
    """The bytes of one message.

    >>> message(ord("Z"), b"I")
    b'Z\\x00\\x00\\x00\\x05I'
    """
    return _write_header(kind, len(body) + 4) + body


def walk_answer(data: bytes) -> tuple[int, int, int] | None:
    """`(RowDescription, what follows it, CommandComplete)`: offsets in `data` when it is one plain
    answer from its begin to ReadyForQuery; 0 and 0 when there is no RowDescription.

    Plain is `[BindComplete] [RowDescription | NoData] DataRow* CommandComplete ReadyForQuery`.
    Anything else (errors, notices, several results, an answer in parts) is None.

    >>> walk_answer(message(67, b"BEGIN\\0") + message(90, b"T"))
    (0, 0, 0)
    """
    last = len(data) - 6
    if last < HEADER_BYTES or data[last:-1] != _READY:
        return None
    described = rows = pos = 0
    kind, length = read_header(data)
    if kind == _BIND_COMPLETE:
        pos = length + 1
        if pos > last:
            return None
        kind, length = read_header(data, pos)
    if kind == _ROW_DESCRIPTION:
        described, pos = pos, pos + length + 1
        rows = pos
        if pos > last:
            return None
        kind, length = read_header(data, pos)
    elif kind == _NO_DATA:
        pos += length + 1
        if pos > last:
            return None
        kind, length = read_header(data, pos)
    while kind == _DATA_ROW:
        pos += length + 1
        if pos > last:
            return None
        kind, length = read_header(data, pos)
    if kind != _COMMAND_COMPLETE or pos + length + 1 != last:
        return None
    return described, rows, pos


class Framer:
    """Cuts a client's bytes into `(type byte, body)`.

    A bad length or an unknown type is a `ProtocolViolation`. It is raised by `feed` at once when
    no message stands before it; otherwise those messages are returned first, `violation` is set,
    and the next `feed` raises. So a caller works off what it got and then looks at `violation`.

    >>> framer = Framer(1 << 20)
    >>> framer.feed(b"H\\x00\\x00\\x00\\x04Q\\x00\\x00"), framer.feed(b"\\x00\\x05\\x00")
    ([(72, b'')], [(81, b'\\x00')])
    """

    __slots__ = ("_held", "_limit", "_need", "_plain", "violation", "whole")

    def __init__(self, max_message_bytes: int) -> None:
        self.limit(max_message_bytes)
        self._held = bytearray()
        self._need = 0  # bytes of the held message with its header; 0 while the header is cut
        self.violation: ProtocolViolation | None = None
        self.whole = False  # the last bytes fed were the messages they gave, no more and no less

    def limit(self, max_message_bytes: int) -> None:
        """Change the limit, for headers to come: a client that logs in gets a small one."""
        assert max_message_bytes >= HEADER_BYTES
        self._limit = max_message_bytes
        # Up to this length no look at the type is needed.
        self._plain = min(max_message_bytes, SMALL_MESSAGE_BYTES_MAX)

    @property
    def held_bytes(self) -> int:
        """Bytes of an incomplete message that wait for their rest."""
        return len(self._held)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The messages that `data` completes, in order."""
        if self.violation is not None:
            raise self.violation
        out: list[tuple[int, bytes]] = []
        self.whole = False
        pos = begin = 0
        if self._held:
            pos = begin = self._resume(data, out)
            if pos < 0:
                return out
        size = len(data)
        last = size - HEADER_BYTES
        plain = self._plain
        while pos <= last:
            kind, length = read_header(data, pos)
            if not 4 <= length <= plain and self._refuse(kind, length, out):
                return out
            end = pos + length + 1
            if end > size:
                if kind not in CLIENT_TYPES and self._refuse(kind, length, out):
                    return out
                self._need = length + 1
                break
            out.append((kind, data[pos + 5 : end]))
            pos = end
        if pos < size:
            self._held += data[pos:] if pos else data
        else:
            self.whole = begin == 0
        return out

    def _resume(self, data: bytes, out: list[tuple[int, bytes]]) -> int:
        """Complete the held message: the position after it, or -1 while bytes are missing."""
        held = self._held
        pos = 0
        if self._need == 0:
            pos = HEADER_BYTES - len(held)
            held += data[:pos]
            if len(held) < HEADER_BYTES:
                return -1
            kind, length = read_header(held)
            suspect = kind not in CLIENT_TYPES or not 4 <= length <= self._plain
            if suspect and self._refuse(kind, length, out):
                return -1
            self._need = length + 1
        end = pos + self._need - len(held)
        if end > len(data):
            held += data[pos:] if pos else data
            return -1
        held += data[pos:end]
        out.append((held[0], bytes(memoryview(held)[HEADER_BYTES:])))
        self._held = bytearray()  # a new one: clear() would keep the capacity of a huge message
        self._need = 0
        return end

    def _refuse(self, kind: int, length: int, out: list[tuple[int, bytes]]) -> bool:
        """Whether such a message ends the connection; raises when nothing stands before it."""
        if kind not in CLIENT_TYPES:
            fault = ProtocolViolation(f"invalid frontend message type {kind}")
        elif length < 4 or length > (
            SMALL_MESSAGE_BYTES_MAX if kind in SMALL_CLIENT_TYPES else self._limit
        ):
            fault = ProtocolViolation("invalid message length")
        else:
            return False
        self.violation = fault
        self._held = bytearray()
        if not out:
            raise fault
        return True


class BackendWalker:
    """Walks a PostgreSQL server's bytes so that a relay can pass them on untouched.

    `feed` returns pieces `(type byte, raw bytes with headers, count)`:

    - a type in `whole` comes one message a piece, complete, with count 1;
    - every other type (rows and COPY data by default) comes as runs: consecutive messages of one
      type in one slice, `count` = how many of them begin in it;
    - count 0 marks the continuation of a message whose first part was given before, so a row
      larger than the buffer is passed on and never held; `open` tells whether more of it follows.

    The pieces joined are the input. Anything may be sent to the client between two pieces when
    `open` is false. A `whole` message above `max_message_bytes` is OutOfMemory.
    """

    __slots__ = ("_held", "_kind", "_left", "_limit", "_need", "_whole")

    def __init__(self, max_message_bytes: int, whole: frozenset[int] = WHOLE_SERVER_TYPES) -> None:
        self._limit = max_message_bytes
        self._whole = whole
        self._held = bytearray()
        self._need = 0  # bytes of the held whole message; 0 while a header is cut
        self._kind = 0  # type of the message that is passed on in parts
        self._left = 0  # bytes of it that are still to come

    @property
    def open(self) -> bool:
        """Whether the last piece ended within a message."""
        return self._left > 0

    @property
    def between(self) -> bool:
        """Whether what comes next begins with a message."""
        return not (self._held or self._left)

    @property
    def held_bytes(self) -> int:
        """Bytes kept back until their message or header is complete."""
        return len(self._held)

    def feed(self, data: bytes) -> list[tuple[int, bytes, int]]:
        """The pieces that `data` gives, in order."""
        out: list[tuple[int, bytes, int]] = []
        pos = 0
        if self._left or self._held:
            data, pos = self._resume(data, out)
        size = len(data)
        last = size - HEADER_BYTES
        whole = self._whole
        while pos <= last:
            start = pos
            kind, length = read_header(data, pos)
            if kind in whole:
                if not 4 <= length <= self._limit:
                    raise _broken_stream(kind, length)
                pos += length + 1
                if pos > size:
                    self._need = length + 1
                    self._held += data[start:] if start else data
                    return out
                out.append((kind, data[start:pos], 1))
                continue
            if kind not in SERVER_TYPES:
                raise _broken_stream(kind, length)
            count, run_kind = 0, kind
            while kind == run_kind:
                if length < 4:
                    raise _broken_stream(kind, length)
                count += 1
                pos += length + 1
                if pos > last:
                    break
                kind, length = read_header(data, pos)
            out.append((run_kind, data[start:pos], count))
            if pos > size:
                self._left, self._kind = pos - size, run_kind
                return out
        if pos < size:
            self._held += data[pos:]
        return out

    def _resume(self, data: bytes, out: list[tuple[int, bytes, int]]) -> tuple[bytes, int]:
        """Deal with the message that was cut: what to walk on, and from where."""
        if self._left:
            taken = min(self._left, len(data))
            if taken:
                self._left -= taken
                out.append((self._kind, data[:taken], 0))
            return data, taken
        held = self._held
        if not self._need:  # at most four bytes: joining is cheaper than minding them
            self._held = bytearray()
            return bytes(held) + data, 0
        taken = min(self._need - len(held), len(data))
        held += data[:taken]
        if len(held) == self._need:
            out.append((held[0], bytes(held), 1))
            self._held = bytearray()
            self._need = 0
        return data, taken


def _broken_stream(kind: int, length: int) -> ConnectionFailure | OutOfMemory:
    if length < 4 or kind not in SERVER_TYPES:
        return ConnectionFailure(
            "lost synchronization with server",
            detail=f"Got message type {kind}, length {length}.",
        )
    return OutOfMemory(
        "message of the server is too large",
        detail=f"It has {length} bytes and is of type {kind}.",
    )
