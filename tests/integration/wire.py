"""A raw client of the wire protocol: sends the bytes it is told, reads message by message."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Any, Self

TIMEOUT_S = 20.0
SSL_REQUEST = struct.pack(">II", 8, 80877103)
GSS_REQUEST = struct.pack(">II", 8, 80877104)


def message(kind: str, body: bytes = b"") -> bytes:
    """One message of the client."""
    return kind.encode() + struct.pack(">I", len(body) + 4) + body


def startup(minor: int = 0, major: int = 3, /, **parameters: str) -> bytes:
    """The startup packet; user and database are morph unless told otherwise."""
    settings = {"user": "morph", "database": "morph", **parameters}
    pairs = b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in settings.items())
    body = struct.pack(">I", major << 16 | minor) + pairs + b"\0"
    return struct.pack(">I", len(body) + 4) + body


def query(sql: str | bytes) -> bytes:
    """A simple query."""
    return message("Q", (sql.encode() if isinstance(sql, str) else sql) + b"\0")


def parse(sql: str | bytes, name: str = "", oids: tuple[int, ...] = ()) -> bytes:
    """Parse."""
    text = sql.encode() if isinstance(sql, str) else sql
    types = struct.pack(f">H{len(oids)}I", len(oids), *oids)
    return message("P", name.encode() + b"\0" + text + b"\0" + types)


def bind(
    values: tuple[bytes | None, ...] = (),
    *,
    portal: str = "",
    statement: str = "",
    formats: tuple[int, ...] = (),
    results: tuple[int, ...] = (),
) -> bytes:
    """Bind."""
    body = portal.encode() + b"\0" + statement.encode() + b"\0"
    body += struct.pack(f">H{len(formats)}H", len(formats), *formats)
    body += struct.pack(">H", len(values))
    for value in values:
        body += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return message("B", body + struct.pack(f">H{len(results)}H", len(results), *results))


def describe(target: str, name: str = "") -> bytes:
    """Describe of a statement (S) or portal (P)."""
    return message("D", target.encode() + name.encode() + b"\0")


def execute(portal: str = "", limit: int = 0) -> bytes:
    """Execute."""
    return message("E", portal.encode() + b"\0" + struct.pack(">I", limit))


def close(target: str, name: str = "") -> bytes:
    """Close of a statement or portal."""
    return message("C", target.encode() + name.encode() + b"\0")


SYNC = message("S")
FLUSH = message("H")
TERMINATE = message("X")


@dataclass(frozen=True)
class Message:
    """One message of the server."""

    kind: str
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an error or notice."""
        parts = [p for p in self.body.split(b"\0") if p]
        return {chr(p[0]): p[1:].decode("utf-8", "replace") for p in parts}

    @property
    def code(self) -> str:
        """The SQLSTATE of an error or notice."""
        return self.fields["C"]

    @property
    def text(self) -> str:
        """The body as text without its closing NUL: a tag, or a status byte."""
        return self.body.removesuffix(b"\0").decode()

    @property
    def values(self) -> list[bytes | None]:
        """The values of a DataRow."""
        position, out = 2, []
        for _ in range(struct.unpack_from(">H", self.body)[0]):
            (size,) = struct.unpack_from(">i", self.body, position)
            position += 4
            out.append(None if size < 0 else self.body[position : position + size])
            position += max(size, 0)
        return out

    @property
    def columns(self) -> list[tuple[str, int, int]]:
        """(name, type oid, format) of a RowDescription."""
        position, out = 2, []
        for _ in range(struct.unpack_from(">H", self.body)[0]):
            end = self.body.index(b"\0", position)
            name = self.body[position:end].decode()
            _, _, oid, _, _, code = struct.unpack_from(">IHIhih", self.body, end + 1)
            out.append((name, oid, code))
            position = end + 19
        return out


class Closed(Exception):
    """The server closed the connection."""


class WireClient:
    """A connection; `log_in` makes it a session."""

    def __init__(self, host: str, port: int, *, timeout_s: float = TIMEOUT_S) -> None:
        self.socket: socket.socket = socket.create_connection((host, port), timeout=timeout_s)
        self._held = b""
        self.parameters: dict[str, str] = {}
        self.process_id = 0
        self.key = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(b"".join(parts))

    def take(self, size: int) -> bytes:
        """Exactly so many bytes; Closed when the server ends before."""
        while len(self._held) < size:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError as error:
                raise Closed from error
            if not data:
                raise Closed
            self._held += data
        out, self._held = self._held[:size], self._held[size:]
        return out

    def read(self) -> Message:
        """The next message."""
        kind, length = struct.unpack(">cI", self.take(5))
        return Message(kind.decode(), self.take(length - 4))

    def read_until(self, kinds: str = "Z") -> list[Message]:
        """Messages up to and with the first of one of the kinds."""
        out = [self.read()]
        while out[-1].kind not in kinds:
            out.append(self.read())
        return out

    def read_all(self) -> list[Message]:
        """Messages until the server closes."""
        out: list[Message] = []
        while True:
            try:
                out.append(self.read())
            except Closed:
                return out

    def closed(self) -> bool:
        """True when the server closed without saying more."""
        try:
            self.take(1)
        except Closed:
            return True
        return False

    def quiet(self, seconds: float = 0.2) -> bool:
        """True when the server says nothing for so long."""
        if self._held:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self._held += self.socket.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(before)
        return False

    def log_in(self, **parameters: str) -> list[Message]:
        """Start a session as a trusted user."""
        return self.begin(startup(**parameters))

    def begin(self, packet: bytes) -> list[Message]:
        """Send a startup packet; the messages up to the first ReadyForQuery."""
        self.send(packet)
        answers = self.read_until("ZE")
        for answer in answers:
            if answer.kind == "S":
                name, value = answer.text.split("\0")
                self.parameters[name] = value
            elif answer.kind == "K":
                (self.process_id,) = struct.unpack_from(">I", answer.body)
                self.key = answer.body[4:]
        return answers

    def ask(self, *parts: bytes) -> list[Message]:
        """Send, and read up to ReadyForQuery."""
        self.send(*parts)
        return self.read_until()

    def simple(self, sql: str) -> list[Message]:
        """A simple query and all its answers."""
        return self.ask(query(sql))

    def values(self, sql: str) -> list[list[bytes | None]]:
        """The rows of a simple query; AssertionError on an error."""
        answers = self.simple(sql)
        errors = [a.fields for a in answers if a.kind == "E"]
        assert errors == []
        return [a.values for a in answers if a.kind == "D"]

    def cancel(self, process_id: int, key: bytes) -> None:
        """Send this connection's one CancelRequest and wait for the close."""
        body = struct.pack(">II", 80877102, process_id) + key
        self.send(struct.pack(">I", len(body) + 4), body)
        assert self.closed()


def kinds(answers: list[Message]) -> str:
    """The types of messages as one word: "TDDCZ"."""
    return "".join(a.kind for a in answers)


def error_of(answers: list[Message]) -> dict[str, Any]:
    """The fields of the only error among the answers."""
    errors = [a.fields for a in answers if a.kind == "E"]
    assert len(errors) == 1, kinds(answers)
    return errors[0]
